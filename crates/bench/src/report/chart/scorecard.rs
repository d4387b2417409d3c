//! Draws the scorecard: a row for each backend, a column for each figure, and a bar under each value.
//!
//! Which figures these are is decided in `report/scorecard.rs`.

use plotters::{
    prelude::Rectangle,
    style::{Color, text_anchor::HPos},
};

use super::{
    canvas::{Area, Failed, draw, failed, line, mark, word},
    ink::Ink,
    pixel::FINE,
    plot::Format,
};

/// How many figures a row has.
/// A fifth column holds words (the promise) and has no bar.
pub(crate) const FIGURES: usize = 4;

/// The words and rows of a scorecard.
pub(crate) struct Scorecard {
    /// The head of each figure's column: its name, a short form for a small screen, and which direction is better.
    pub(crate) heads: [(&'static str, &'static str, &'static str); FIGURES],
    /// The head of the last column: its two lines.
    pub(crate) promise: (&'static str, &'static str),
    pub(crate) rows: Vec<Row>,
    /// The title above the rows that are set apart.
    pub(crate) apart: &'static str,
}

/// One backend.
pub(crate) struct Row {
    /// Its number among all backends. It decides mark and colour, which are the same in all charts.
    pub(crate) number: usize,
    pub(crate) name: String,
    /// Each figure's value, which decides the length of its bar, and its text; absent if it was not measured.
    pub(crate) figures: [Option<(f64, String)>; FIGURES],
    /// What happens when the broker restarts.
    pub(crate) restart: String,
    /// True if the row stands below the others because the backend does not do the same work.
    pub(crate) apart: bool,
}

/// Where things stand, in pixels.
struct Layout {
    width: i32,
    class: &'static str,
    /// Where each figure's column begins, and then where the last one ends.
    columns: [i32; FIGURES + 1],
    /// The distance from the top of a row to its values; 0 if they stand beside the name.
    values: i32,
    row: i32,
    head: i32,
}

/// The layout for the width of a page.
const WIDE: Layout = Layout {
    width: 880,
    class: "wide",
    columns: [150, 295, 440, 585, 730],
    values: 0,
    row: 42,
    head: 48,
};
/// The layout for a telephone: the values stand below the name.
const NARROW: Layout = Layout {
    width: 340,
    class: "narrow",
    columns: [0, 78, 156, 258, 352],
    values: 21,
    row: 66,
    head: 30,
};
/// The space between a bar and the next column.
const GUTTER: i32 = 14;
const BAR: i32 = 7;

impl Scorecard {
    /// Returns the scorecard as SVG. `name` is what a screen reader says.
    ///
    /// Small panels have no scorecard; they get the narrow form.
    pub(crate) fn svg(&self, format: Format, name: &str) -> Result<String, Failed> {
        let layout = match format {
            Format::Wide => WIDE,
            Format::Narrow | Format::Small => NARROW,
        };
        // Backends that do not do the same work stand below a line, so that nobody ranks them with
        // the others.
        let (apart, together): (Vec<&Row>, Vec<&Row>) = self.rows.iter().partition(|it| it.apart);
        let divider = if apart.is_empty() { 0 } else { 34 };
        let height = layout.head + layout.row * self.rows.len() as i32 + divider;
        draw((layout.width, height), layout.class, name, |area| {
            self.heads(area, &layout)?;
            let mut y = layout.head;
            for row in together {
                self.row(area, row, y, &layout)?;
                y += layout.row;
            }
            if !apart.is_empty() {
                let title = (0, (y + 20) * FINE);
                rule(area, y + 2, &layout)?;
                word(area, title, self.apart, Ink::Quiet, HPos::Left)?;
                y += divider;
            }
            for row in apart {
                self.row(area, row, y, &layout)?;
                y += layout.row;
            }
            Ok(())
        })
    }

    /// Draws the heads and the line below them.
    fn heads(&self, area: &Area<'_>, layout: &Layout) -> Result<(), Failed> {
        let narrow = layout.values > 0;
        for (column, (long, short, better)) in self.heads.iter().enumerate() {
            let x = layout.columns[column] * FINE;
            let title = if narrow { short } else { long };
            word(area, (x, 10 * FINE), title, Ink::Text, HPos::Left)?;
            if !narrow {
                word(area, (x, 28 * FINE), better, Ink::Quiet, HPos::Left)?;
            }
        }
        // A small screen has each promise beside the backend's name, which needs no head.
        if !narrow {
            let x = layout.columns[FIGURES] * FINE;
            let (title, says) = self.promise;
            word(area, (x, 10 * FINE), title, Ink::Text, HPos::Left)?;
            word(area, (x, 28 * FINE), says, Ink::Quiet, HPos::Left)?;
        }
        rule(area, layout.head - 8, layout)
    }

    /// Draws one row: mark and name, the promise, then each figure with its bar. `y` is the row's
    /// top in pixels.
    fn row(&self, area: &Area<'_>, row: &Row, y: i32, layout: &Layout) -> Result<(), Failed> {
        let middle = (y + 10) * FINE;
        mark(area, (6 * FINE, middle), row.number)?;
        word(area, (16 * FINE, middle), &row.name, Ink::Text, HPos::Left)?;
        let (x, side, ink) = match layout.values {
            // On a telephone the promise stands at the right end of the name's line.
            0 => (layout.columns[FIGURES], HPos::Left, Ink::Text),
            _ => (layout.width - 2, HPos::Right, Ink::Quiet),
        };
        word(area, (x * FINE, middle), &row.restart, ink, side)?;
        let top = y + layout.values;
        for (column, figure) in row.figures.iter().enumerate() {
            let x = layout.columns[column];
            let at = (x * FINE, (top + 10) * FINE);
            // Not measured: a dash, and no bar that could be taken for a 0.
            let Some((length, says)) = figure else {
                word(area, at, "–", Ink::Quiet, HPos::Left)?;
                continue;
            };
            word(area, at, says, Ink::Text, HPos::Left)?;
            // Widths are in pixels; the product is in plotters' units.
            let room = f64::from((layout.columns[column + 1] - x - GUTTER) * FINE);
            let full = self.longest(column);
            // All values of a column may be 0.
            let share = if full > 0.0 { length / full } else { 0.0 };
            let corner = (x * FINE, (top + 20) * FINE);
            // At least one pixel, so that a small value is seen.
            bar(area, corner, ((room * share) as i32).max(FINE))?;
        }
        Ok(())
    }

    /// Returns the largest value of a column; its bar has the column's whole width.
    fn longest(&self, column: usize) -> f64 {
        let figures = self
            .rows
            .iter()
            .filter_map(|row| row.figures[column].as_ref());
        figures.map(|(length, _)| *length).fold(0.0, f64::max)
    }
}

/// Draws a bar from its left upper corner; places and length in plotters' units.
fn bar(area: &Area<'_>, (x, y): (i32, i32), length: i32) -> Result<(), Failed> {
    let style = Ink::Bar(0).color().filled();
    let bar = Rectangle::new([(x, y), (x + length, y + BAR * FINE)], style);
    area.draw(&bar).map_err(failed)
}

/// Draws a line from side to side.
fn rule(area: &Area<'_>, y: i32, layout: &Layout) -> Result<(), Failed> {
    let (from, to) = ((0, y * FINE), (layout.width * FINE, y * FINE));
    line(area, from, to, Ink::Grid)
}
