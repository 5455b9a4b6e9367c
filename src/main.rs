//! The `quorate` binary: hands the command line to the library.

use std::process::ExitCode;

/// Messages and keys are many small, short-lived allocations, passed between threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    quorate::cli::main()
}
