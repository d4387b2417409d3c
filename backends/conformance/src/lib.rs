//! The conformance suite: what every backend must do, held against the real broker.
//!
//! A backend's `tests/conformance.rs` writes a [`Harness`] and one macro line, `hubplane_conformance::suite!(…)`, which
//! expands to one named test per case of the central list. Cases read the declared capabilities: what is declared
//! must be there, what is not must be absent. Every case opens at least two instances, as production does.

mod harness;

pub use harness::{Control, Harness, Refused, required};
