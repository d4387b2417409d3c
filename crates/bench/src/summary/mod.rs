//! Computes what tables, reports and recommendations show of rounds: the median with the smallest and the largest value,
//! and what may be said of two backends. Nothing here is fitted or tested for significance: ranges that overlap are not
//! told apart. Nothing here measures, draws or prints.

mod compare;
mod distribution;
mod figure;
mod finding;
mod knee;
mod soundness;

pub use compare::{Range, Verdict, compare};
pub use distribution::{at, pool, quantiles};
pub(crate) use figure::rate;
pub use figure::{Figure, Spread, Unit};
pub(crate) use finding::list;
pub use finding::{Matter, findings, pairs};
pub use knee::{Knee, knee, knees, most_deliveries};
pub use soundness::soundness;
