//! `hubplane bench`: what each broker costs and gives through the hub, to the client.
//!
//! Real hub processes, real sockets. Messages are published on a schedule (open loop), and a latency counts from when a
//! message was due; backends are measured in turn, round by round, on the same machine in one run.
//!
//! In the order of the work: `scenario` says what to measure, `plan` how long each part takes, `run` does it with `load`
//! (clients), `site` (hubs and costs), `ladder`, `fault` and `direct`; `results` is what is kept. `merge` puts runs
//! together, `summary` says what may be concluded, and `table`, `report` and `recommend` show it.
//!
//! This crate measures hubs from outside, and knows nothing of their inside. It knows no registry of backends either: its
//! caller hands in the drivers ([`plan::Drivers`]). It prints nothing; it returns text and calls back.

mod direct;
mod fault;
mod ladder;
mod load;
pub mod merge;
pub mod plan;
pub mod recommend;
pub mod report;
pub mod results;
pub mod run;
#[doc(hidden)]
pub mod sample;
pub mod scenario;
mod site;
pub mod summary;
mod system;
pub mod table;
pub mod target;
mod toml_reason;

pub use self::toml_reason::toml_reason;
