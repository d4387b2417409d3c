//! Draws the charts as SVG with the library plotters.
//!
//! plotters knows no style sheets, so the charts use stand-in colours that `ink` replaces by classes; the page's style
//! sheet says what these are in light and dark. A chart decides no figure.

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
