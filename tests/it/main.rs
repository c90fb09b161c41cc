//! Buckler as its users meet it: the real binary, real sockets, real processes, one file for each behaviour.
//!
//! `world` is the harness: its verbs start workers that behave or misbehave, start Buckler in front of them, and
//! speak to it byte by byte. Logic that needs no socket is tested beside its code in `src/`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must stop, loudly")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests stand outside: they read the clock and wait for processes"
)]

mod ages;
mod agreed;
mod balance;
mod bind;
mod blame;
mod callers;
mod capacity;
mod checks;
mod cli;
mod discovery;
mod documents;
mod explained;
mod extended_connect;
mod faults;
mod flood;
mod forwarding;
mod framing;
mod grpc;
mod harness;
mod http2_answers;
mod http2_clients;
mod http2_connections;
mod http2_floods;
mod http2_workers;
mod illness;
mod interim;
mod lifecycle;
mod limits;
mod neighbours;
mod permissions;
mod places;
mod proxy_protocol;
mod python;
mod reloads;
mod replaced;
mod retries;
mod said_again;
mod seats;
mod seen;
mod seen_health;
mod several_limits;
mod simulation;
mod slow_clients;
mod spread;
mod srv_bind;
mod streaming;
mod strictness;
mod tcp;
mod tls;
mod unix_sockets;
mod upgrade;
mod websocket;
mod worker_faults;
mod world;
