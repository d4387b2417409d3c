//! Load and abuse drills.

use crate::bench::Drill;

/// The load drills, in the order in which they run.
pub(crate) const DRILLS: &[Drill] = &[];
