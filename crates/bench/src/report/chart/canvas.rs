//! Draws on the chart's area: words, lines and marks, in fractions of the page's pixels.

use std::fmt;

use plotters::{
    coord::Shift,
    element::{Circle, Polygon},
    prelude::{DrawingArea, IntoDrawingArea, PathElement, SVGBackend, Text},
    style::{
        Color, IntoFont,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    ink::{Ink, dye},
    pixel::{FINE, FONT, HEIGHT},
};

/// The area that plotters draws on.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A place as x and y, in fractions of a pixel (see [`FINE`]).
pub(super) type At = (i32, i32);

/// A chart that could not be drawn.
///
/// A report is a whole: one chart that can't be drawn fails all of it, rather than leave a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a chart could not be drawn: {}", self.0)
    }
}

impl std::error::Error for Failed {}

/// Turns an error of plotters into one type, since plotters has a type of error for each kind of output.
pub(super) fn failed(error: impl fmt::Display) -> Failed {
    Failed(error.to_string())
}

/// Draws a chart of this size in pixels and returns the SVG element. `name` is what a screen reader says for it.
///
/// `class` names the form (`wide`, `narrow`, `small`) by which the style sheet shows or hides it.
pub(super) fn draw(
    (width, height): (i32, i32),
    class: &str,
    name: &str,
    fill: impl FnOnce(&Area<'_>) -> Result<(), Failed>,
) -> Result<String, Failed> {
    let mut svg = String::new();
    let (wide, high) = (width * FINE, height * FINE);
    // A block of its own: the text is borrowed until the area is gone.
    {
        let area =
            SVGBackend::with_string(&mut svg, (wide as u32, high as u32)).into_drawing_area();
        fill(&area)?;
        area.present().map_err(failed)?;
    }
    // Replace the opening tag of plotters by one that has a class, a label and a size in the page's pixels.
    let body = svg.split_once('>').map_or("", |(_, body)| body);
    let mut label = String::new();
    crate::report::html::escape(&mut label, name);
    // The style sheet sets the font, and full opacity is the default; without the two the page is a
    // good part smaller.
    let body = dye(body
        .replace(" font-family=\"sans-serif\"", "")
        .replace(" opacity=\"1\"", ""));
    Ok(format!(
        // A viewBox in fine units with a size in pixels: the browser does the division.
        "<svg class=\"{class}\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {wide} {high}\" width=\"{width}\" \
         height=\"{height}\">{body}"
    ))
}

/// Writes words that begin (`Left`), end (`Right`) or are centred at a place.
pub(super) fn word(
    area: &Area<'_>,
    at: At,
    text: &str,
    ink: Ink,
    side: HPos,
) -> Result<(), Failed> {
    // The height that plotters wants for this size of font.
    let size = f64::from(FONT * FINE) * HEIGHT;
    let style = ("sans-serif", size)
        .into_font()
        .color(&ink.color())
        .pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))
        .map_err(failed)
}

/// Draws a straight line.
pub(super) fn line(area: &Area<'_>, from: At, to: At, ink: Ink) -> Result<(), Failed> {
    let style = ink.color().stroke_width(FINE as u32);
    area.draw(&PathElement::new(vec![from, to], style))
        .map_err(failed)
}

/// Draws a backend's mark. Each has its own shape, so that charts can be read without colours; the seventh backend has the
/// shape of the first.
///
/// The shapes have about the same area, so that none looks more important.
pub(super) fn mark(area: &Area<'_>, (x, y): At, number: usize) -> Result<(), Failed> {
    let style = Ink::Mark(number).color().filled();
    // Half of a mark's width: 4 pixels.
    let r = 4 * FINE;
    let corners = match number % 6 {
        0 => return area.draw(&Circle::new((x, y), r, style)).map_err(failed),
        // A square.
        1 => vec![
            (x - r, y - r),
            (x + r, y - r),
            (x + r, y + r),
            (x - r, y + r),
        ],
        // A triangle; slightly larger, since its area is only half of its box.
        2 => vec![
            (x, y - r - r / 3),
            (x + r + r / 4, y + r),
            (x - r - r / 4, y + r),
        ],
        // A diamond.
        3 => {
            let r = r + r / 3;
            vec![(x, y - r), (x + r, y), (x, y + r), (x - r, y)]
        }
        // A triangle that points down.
        4 => vec![
            (x, y + r + r / 3),
            (x + r + r / 4, y - r),
            (x - r - r / 4, y - r),
        ],
        // A flat rectangle.
        _ => vec![
            (x - r, y - r / 2),
            (x + r, y - r / 2),
            (x + r, y + r / 2),
            (x - r, y + r / 2),
        ],
    };
    area.draw(&Polygon::new(corners, style)).map_err(failed)
}

/// Draws a cross, for a step that failed.
pub(super) fn cross(area: &Area<'_>, (x, y): At, number: usize) -> Result<(), Failed> {
    let r = 4 * FINE;
    let style = Ink::Mark(number).color().stroke_width(2 * FINE as u32);
    for path in [
        vec![(x - r, y - r), (x + r, y + r)],
        vec![(x - r, y + r), (x + r, y - r)],
    ] {
        area.draw(&PathElement::new(path, style)).map_err(failed)?;
    }
    Ok(())
}
