//! x
mod bind;
mod cli;
mod srv_bind;
