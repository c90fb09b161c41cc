//! x
mod bind;
mod srv_bind;
