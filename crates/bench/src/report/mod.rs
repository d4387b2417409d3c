//! Writes the report: one HTML file that holds all that it shows, in light and dark. It has no script and loads nothing, so
//! that it can be mailed, archived and opened without a network.
//!
//! All figures and sentences come from `summary` and `table`; nothing is computed only for the report.

mod chart;
mod figure;
mod html;
mod page;
mod scenario;
mod scorecard;
mod source;

pub use chart::Failed;
pub use source::day;

use super::merge::Merged;

/// Returns the report of one or several runs as an HTML document.
///
/// # Errors
/// A chart can't be drawn.
pub fn html(merged: &Merged) -> Result<String, Failed> {
    page::page(merged)
}

#[cfg(test)]
mod tests;
