//! The `hubplane` command.

use std::process::ExitCode;

/// Many small things that live long beside many that don't: that is what it is made for.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hubplane::cli::run(hubplane::cli::Cli::from_process())
}
