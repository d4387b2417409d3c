//! The `hubplane` command.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    hubplane::cli::run(hubplane::cli::Cli::parse())
}
