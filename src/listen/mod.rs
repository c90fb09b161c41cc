//! Listening: accepting connections on a shard, judging their bytes, timing them, and handing each request to
//! [`crate::inbound`]. What a request means is not known here.

pub mod accept;
mod connection;
pub mod http1;
mod line;
pub mod socket;
pub mod transport;
pub mod wire;
