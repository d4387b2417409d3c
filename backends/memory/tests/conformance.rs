//! The suite on `memory:`.
