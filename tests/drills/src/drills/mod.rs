//! Fault drills, one file each.

pub(crate) mod sabotage;

use crate::bench::Drill;

/// The fault drills, in the order in which they run.
pub(crate) const DRILLS: &[Drill] = &[];
