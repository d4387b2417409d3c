//! What tables, reports and advice take from rounds: the median with the smallest and the largest, and what may be said
//! of two backends. Nothing here is fitted or tested for significance: what overlaps is not told apart.

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
