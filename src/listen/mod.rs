//! listen

pub mod wire;
