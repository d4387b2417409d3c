//! The report: one HTML file that holds all it shows. No script, no request, light and dark.

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

/// The report of one or several runs.
///
/// # Errors
/// Where a chart can't be drawn.
pub fn html(merged: &Merged) -> Result<String, Failed> {
    page::page(merged)
}

#[cfg(test)]
mod tests;
