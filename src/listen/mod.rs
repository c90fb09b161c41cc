//! Listening: accepting connections on a shard, judging their bytes, timing them, and handing each request to
//! [`crate::inbound`]. What a request means is not known here.

pub mod accept;
mod connection;
mod date;
mod extended_connect;
pub mod frames;
pub mod hpack;
pub mod http1;
mod http2;
mod http2_stream;
pub mod listener;
pub mod proxy_header;
mod timer;
pub mod transport;
pub mod wire;
