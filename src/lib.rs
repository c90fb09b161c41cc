//! Buckler: one port per service, every caller gets its agreed share, and anyone can ask why.
//!
//! This page is the map of the tree. The folders stand in the order in which a request meets them:
//!
//! ```text
//! listen  →  admit (caller → permission → limit)  →  balance  →  forward  →  record
//! ```
//!
//! A request arrives on a shard ([`listen`]): one thread per CPU core with its own listeners and its own worker
//! connections. [`inbound`] is its way, one function that reads like the line above. [`admit`] says who is calling
//! and whether they may; [`balance`] chooses one of the [`workers`]; [`forward`] sends the request there and brings
//! the answer back; [`record`] counts and logs it, exactly once. Every answer that Buckler gives by itself comes
//! from the one table in [`refusal`].
//!
//! [`tls`] keeps the certificates of a service and says whose certificate a client showed.
//!
//! [`config`] is what the operator wrote, checked; [`service`] is one running service built from it; [`lifecycle`]
//! starts, reloads and stops; [`admin`] lets people look; [`cli`] holds the commands.
//!
//! Imports point one way only: `tests/tidy.rs` knows the allowed directions and fails on any other.

pub mod admin;
pub mod admit;
pub mod balance;
pub mod cli;
pub mod clock;
pub mod config;
pub mod fields;
pub mod forward;
pub mod inbound;
pub mod lifecycle;
pub mod listen;
pub mod message;
pub mod queue;
pub mod record;
pub mod refusal;
pub mod service;
pub mod shard;
pub mod socket;
pub mod tls;
pub mod workers;
