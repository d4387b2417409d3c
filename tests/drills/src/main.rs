//! Fault and load drills: real hubs on real brokers, broken on purpose, and a checker that shares no code with them.
//!
//! `cargo run -p hubplane-drills -- --help` says how; each drill says in its file what it does and what must hold.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

mod backend;
mod bench;
mod cell;
mod checker;
mod clusters;
mod drill;
mod drills;
mod http;
mod hub;
mod load;
mod options;
mod proxy;
mod report;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;

/// What went wrong with a drill itself, as against what it found.
pub(crate) type Error = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Result<T> = std::result::Result<T, Error>;

fn main() -> ExitCode {
    let options = options::Options::parse();
    // Two threads, as the hubs and the broker need the cores.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("invariant: a runtime can be made");
    match runtime.block_on(bench::run(options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("drills: {error}");
            // 2 tells a run that could not be made from one that found something (1).
            ExitCode::from(2)
        }
    }
}
