//! The binary: arguments in, exit code out, and the allocator. Everything else is in the library.

use std::process::ExitCode;

// Against glibc's: memory of closed connections goes back to the system instead of staying in fragments, and a request
// costs fewer instructions. ARCHITECTURE.md has the figures.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    buckler::cli::run(std::env::args_os()).into()
}
