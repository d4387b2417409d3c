//! Repeats one case: `counted CASE TIMES`, or `counted --list`. By itself it tells nothing; run by a simulator that counts
//! instructions, once with N and once with more repetitions, the difference is what the repetitions cost.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the command line"
)]

use std::{env, process::ExitCode};

use hubplane_guard::{CASES, find};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--list"] => {
            CASES.iter().for_each(|case| println!("{}", case.name));
            ExitCode::SUCCESS
        }
        [name, times] => match (find(name), times.parse()) {
            (Some(case), Ok(times)) => {
                // Preparing costs the same for any number of times, so it falls out of the
                // difference.
                let mut run = (case.prepare)();
                (0..times).for_each(|_: u32| run());
                ExitCode::SUCCESS
            }
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    eprintln!("counted CASE TIMES | counted --list");
    ExitCode::from(2)
}
