//! x

mod cli;
