//! Load and abuse drills.

mod drain;
pub(crate) mod hubs;
mod l01;
mod l02;
mod l03;
mod l05;
mod l07;
pub(crate) mod socket;

use crate::drill::Drill;

/// The load drills, in the order in which they run.
pub(crate) const DRILLS: &[Drill] = &[
    l01::DRILL,
    l02::STORM,
    l03::DRILL,
    drain::DRILL,
    l02::FAN_OUT,
    l05::FLOOD,
    l05::CHURN,
    l05::PINGS,
    l05::DEAF,
    l07::DRILL,
];
