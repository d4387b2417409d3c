//! The command line: one file or folder for each command, and what they share: failures, printing, the runtime.
//!
//! Nothing outside this folder knows clap, and nothing outside it prints. The doc of an option is its `--help`, so it is written
//! for users.

mod backends;
mod bench;
mod check;
mod client;
mod config;
mod conformance;
mod demo;
mod environment;
mod files;
mod recommend;
mod serve;
mod signals;
mod token;

use std::{
    fmt,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use hubplane_backplane::{Error, ErrorKind};
use hubplane_identity::reference::Reference;

/// A WebSocket hub on the broker you already run: any instance publishes, every instance receives, and the one
/// that holds the browser's socket delivers.
#[derive(Debug, Parser)]
#[command(name = "hubplane", version, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// What each does is the doc of its arguments, which is also its `--help`.
#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Pub(client::Pub),
    Sub(client::Sub),
    Token(token::Token),
    Check(Box<check::Check>),
    Demo(demo::Demo),
    Backends(backends::Backends),
    Bench(Box<bench::Bench>),
    Conformance(conformance::Conformance),
    Recommend(Box<recommend::Recommend>),
    /// Print a completion script for a shell
    Completions {
        /// Shell to print the script for
        shell: clap_complete::Shell,
    },
}

/// Reads the key or token in the file that an option names, without white space around it.
fn secret_of(option: &str, file: &Path) -> Result<String, Failure> {
    match Reference::File(file.to_owned()).read() {
        Ok(secret) => Ok(secret.reveal().to_owned()),
        Err(error) => Err(Failure::wrong(format!("{option}: {error}"))),
    }
}

/// Where a hub is, for its clients.
#[derive(Debug, clap::Args)]
struct HubArgs {
    /// Address of the hub
    #[arg(long, env = "HUBPLANE_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// File with the hub's key
    #[arg(long, env = "HUBPLANE_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with your token, in place of a key; `sub` reads it again for each connection and before the token ends, so that
    /// another program can renew it
    #[arg(
        long,
        env = "HUBPLANE_TOKEN_FILE",
        value_name = "FILE",
        conflicts_with = "key_file"
    )]
    token_file: Option<PathBuf>,
}

/// Why a command failed: its exit code, and what it says on standard error.
#[derive(Debug)]
struct Failure {
    /// 1 if the command failed; 2 if the command line or the configuration is wrong, so that trying again is no use.
    code: u8,
    message: String,
}

impl Failure {
    /// The command could not do its work (code 1).
    fn failed(message: impl fmt::Display) -> Self {
        Self {
            code: 1,
            message: message.to_string(),
        }
    }

    /// What the user gave is wrong (code 2).
    fn wrong(message: impl fmt::Display) -> Self {
        Self {
            code: 2,
            message: message.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A broker's error as a failure: what the user can mend is 2, what may pass by itself is 1.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error.kind() {
            ErrorKind::Config | ErrorKind::Rejected => Self::wrong(error),
            _ => Self::failed(error),
        }
    }
}

impl Cli {
    /// Reads this process's command line and environment; ends the process if they are wrong, or for `--help`.
    pub fn from_process() -> Self {
        let command = environment::prepared(Self::command());
        let read = command
            // `from_arg_matches` can't fail after clap's own checks; if it did, its message would
            // be shown likewise.
            .try_get_matches()
            .and_then(|matches| Self::from_arg_matches(&matches));
        // Through one place, so that no error of clap quotes a password.
        read.unwrap_or_else(|error| environment::without_addresses(error).exit())
    }
}

/// Runs a command to its end, and returns the exit code of the process.
///
/// Prints the reason of a failure on standard error; nothing else does.
pub fn run(cli: Cli) -> ExitCode {
    let done = match cli.command {
        Command::Serve(serve) => serve.run(),
        Command::Pub(publish) => publish.run(),
        Command::Sub(subscribe) => subscribe.run(),
        Command::Token(token) => token.run(),
        Command::Check(check) => check.run(),
        Command::Demo(demo) => demo.run(),
        Command::Backends(backends) => backends.run(),
        Command::Bench(bench) => bench.run(),
        Command::Conformance(conformance) => conformance.run(),
        Command::Recommend(recommend) => recommend.run(),
        Command::Completions { shell } => {
            // For the shell to keep in a file: nothing but the script may be on standard output.
            clap_complete::generate(shell, &mut Cli::command(), "hubplane", &mut io::stdout());
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // If even this can't be written, there is nobody left to tell.
            _ = writeln!(io::stderr(), "hubplane: {}", failure.message);
            ExitCode::from(failure.code)
        }
    }
}

/// Prints a line on standard output at once, so that a program that reads it need not wait. Fails if the reader has gone away.
fn print(line: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    // Flushed by line, since standard output is buffered by block if it is a pipe.
    writeln!(out, "{line}")
        .and_then(|()| out.flush())
        .map_err(Failure::failed)
}

/// Says something on standard error, beside the output.
fn note(line: impl fmt::Display) {
    // Nobody has to read it.
    _ = writeln!(io::stderr(), "hubplane: {line}");
}

/// Returns the runtime of a command that is no hub. Two threads, so that a driver goes on while the command computes.
///
/// # Errors
///
/// The operating system has no thread for it.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::failed)
}
