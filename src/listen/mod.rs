//! Listening: accepting connections on a shard, judging their bytes, timing them, and handing each request to
//! [`crate::inbound`]. What a request means is not known here.

pub mod accept;
pub mod connection;
pub mod frames;
pub mod socket;
pub mod wire;
