//! What a drill is: its name, the backends it applies to, and what it is given when it runs.

use std::{future::Future, path::PathBuf, pin::Pin};

use crate::{
    Result,
    backend::{Backend, Kind},
    cell::Cell,
};

/// What a drill is given: one backend, the hub's program, and how long and how hard it shall try.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) backend: Backend,
    /// The program `hubplane`, which is tested.
    pub(crate) hubplane: PathBuf,
    /// Makes the random choices of a run repeatable.
    pub(crate) seed: u64,
    /// The drill shall take its short form, of at most some 40 s.
    pub(crate) short: bool,
    /// Messages a second that the command line asks for; `None` is the backend's own rate.
    pub(crate) rate: Option<u32>,
    /// How long the soak (D18) takes.
    pub(crate) minutes: u64,
    /// For the logs and other files of this drill alone. It exists.
    pub(crate) directory: PathBuf,
    /// Environment variables that hubs get in addition.
    pub(crate) environment: Vec<(String, String)>,
}

/// A drill that runs. An error means that the drill itself failed, not that it found a fault.
pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<Cell>> + 'a>>;

/// A drill by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    /// What happens, in one line for the terminal.
    pub(crate) what: &'static str,
    /// Part of the short round.
    pub(crate) short: bool,
    /// Returns false for a backend on which this fault cannot happen; the drill has no row there.
    pub(crate) fits: fn(Kind) -> bool,
    pub(crate) run: for<'a> fn(&'a Bench) -> Running<'a>,
}
