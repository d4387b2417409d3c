//! A drill by name, and what it gets to run with.

use std::{future::Future, path::PathBuf, pin::Pin};

use crate::{
    Result,
    backend::{Backend, Kind},
    cell::Cell,
};

/// What a drill gets: one backend, the hub's program, and how hard to try.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) backend: Backend,
    pub(crate) hubplane: PathBuf,
    pub(crate) seed: u64,
    pub(crate) short: bool,
    /// What the command line asks for, instead of the backend's own rate.
    pub(crate) rate: Option<u32>,
    pub(crate) minutes: u64,
    /// A directory of this drill alone.
    pub(crate) directory: PathBuf,
    /// Further environment of the hubs.
    pub(crate) environment: Vec<(String, String)>,
}

pub(crate) type Running<'a> = Pin<Box<dyn Future<Output = Result<Cell>> + 'a>>;

/// A drill by name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drill {
    pub(crate) name: &'static str,
    pub(crate) what: &'static str,
    /// Part of the short round.
    pub(crate) short: bool,
    pub(crate) fits: fn(Kind) -> bool,
    pub(crate) run: for<'a> fn(&'a Bench) -> Running<'a>,
}
