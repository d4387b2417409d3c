//! Charts as SVG, drawn by plotters in stand-in colours; the page's style sheet says what these are in light and dark.

mod bars;
mod canvas;
mod ink;
mod knee;
mod latency;
mod pixel;
mod plot;
mod scorecard;

pub(super) use bars::{Bar, Group, bars};
pub use canvas::Failed;
pub(super) use ink::patterns;
pub(super) use knee::knees;
pub(super) use latency::{parts, together};
pub(super) use plot::Format;
pub(super) use scorecard::{Row, Scorecard};
