//! Draws bars: what a backend costs, each bar with its range on it and its value after it.

use plotters::{
    prelude::Rectangle,
    style::{Color, text_anchor::HPos},
};

use super::{
    canvas::{Area, Failed, draw, failed, line, word},
    ink::Ink,
    pixel::{FINE, wide},
};
use crate::summary::Spread;

/// The chart's width, and the height of a bar, in pixels.
const WIDTH: i32 = 320;
const BAR: i32 = 12;
/// From one bar to the next.
const STEP: i32 = 19;
/// The height of a group's name, and the space after a group, in pixels.
const NAME: i32 = 20;
const GAP: i32 = 8;

/// One backend's bars.
///
/// Its bars share one scale with those of all other groups.
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) bars: Vec<Bar>,
}

/// One bar.
pub(crate) struct Bar {
    /// The bar shows the median; a thin line over it goes from the least to the most.
    pub(crate) spread: Spread,
    /// The text after the bar.
    pub(crate) says: String,
    /// Striped where the bar is the broker's and not the hub's, so that the two differ without
    /// colour.
    pub(crate) striped: bool,
}

/// Returns the bars as SVG; nothing if there are no bars. `name` is what a screen reader says.
///
/// # Errors
///
/// What plotters says; with text as its output, nothing is known that fails.
pub(crate) fn bars(groups: &[Group], name: &str) -> Result<Option<String>, Failed> {
    // One scale for all: bars of different backends must be comparable by eye.
    let all = || groups.iter().flat_map(|group| &group.bars);
    let most = all().map(|bar| bar.spread.most).fold(0.0, f64::max);
    let Some(words) = all().map(|bar| wide(&bar.says)).max() else {
        return Ok(None);
    };
    // The longest text decides how much room is left for the bars, so that no text is cut off.
    // 60 pixels remain even beside a long text: a bar of no length would say nothing.
    let room = (WIDTH - words - 16).max(60);
    let scale = match most > 0.0 {
        // All values may be 0; then there is no ratio, and each bar gets its least length.
        true => f64::from(room * FINE) / most,
        false => 0.0,
    };
    let height: i32 = groups
        .iter()
        .map(|group| NAME + GAP + STEP * group.bars.len() as i32)
        .sum();
    draw((WIDTH, height), "small", name, |area| {
        let mut y = 0;
        for group in groups {
            word(
                area,
                (0, (y + 10) * FINE),
                &group.name,
                Ink::Text,
                HPos::Left,
            )?;
            y += NAME;
            for bar in &group.bars {
                one(area, bar, y, scale)?;
                y += STEP;
            }
            y += GAP;
        }
        Ok(())
    })
    .map(Some)
}

/// Draws one bar at height `y`: its fill, its outline, the range as a thin line, and the text.
fn one(area: &Area<'_>, bar: &Bar, y: i32, scale: f64) -> Result<(), Failed> {
    let length = |value: f64| (value * scale) as i32;
    // At least one unit, so that a very small value is still seen as a bar.
    let end = length(bar.spread.median).max(1);
    let (top, bottom) = (y * FINE, (y + BAR) * FINE);
    let ink = Ink::Bar(usize::from(bar.striped));
    let fill = Rectangle::new([(0, top), (end, bottom)], ink.color().filled());
    area.draw(&fill).map_err(failed)?;
    let outline = Rectangle::new(
        [(0, top), (end, bottom)],
        Ink::Quiet.color().stroke_width(FINE as u32),
    );
    area.draw(&outline).map_err(failed)?;
    let middle = (top + bottom) / 2;
    // A single round has no range; a line of no length would look like a mistake.
    let (least, most) = (length(bar.spread.least), length(bar.spread.most));
    if most > least {
        line(area, (least, middle), (most, middle), Ink::Text)?;
        for x in [least, most] {
            line(
                area,
                (x, middle - 3 * FINE),
                (x, middle + 3 * FINE),
                Ink::Text,
            )?;
        }
    }
    let says = (end.max(most) + 7 * FINE, middle);
    // Behind the bar or its range, whichever is longer.
    word(area, says, &bar.says, Ink::Text, HPos::Left)
}
