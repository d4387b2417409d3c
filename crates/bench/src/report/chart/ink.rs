//! Defines the stand-in colours of the charts, and what replaces them on the page.

use plotters::style::RGBColor;

use super::pixel::FINE;

/// What a part of a chart is drawn with. The style sheet decides the colours, for light and dark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    /// Words.
    Text,
    /// Less important words.
    Quiet,
    /// Lines behind the figures.
    Grid,
    /// The limit.
    Limit,
    /// A backend's line: with a pattern of dashes of its own.
    Line(usize),
    /// A backend's marks.
    Mark(usize),
    /// A part of one backend's figures: delivery, acknowledgement, the broker alone.
    Part(usize),
    /// A bar: plain, then striped.
    Bar(usize),
}

/// How many colours for backends the style sheet has.
///
/// The style sheet has a variable `--s0` to `--s5` for each.
const SERIES: usize = 6;
/// Dashes and gaps in pixels, so that lines can be told apart without colours.
const DASHES: [&[i32]; 6] = [&[], &[7, 3], &[2, 3], &[10, 3, 2, 3], &[4, 2], &[14, 4]];
/// Dashes of delivery, acknowledgement and the broker alone.
const PARTS: [&[i32]; 3] = [&[], &[6, 3], &[2, 3]];
/// The red of every stand-in; its green and blue hold group and number. Nobody sees these colours.
const RED: u8 = 0x0A;

impl Ink {
    /// Returns the stand-in as plotters takes it.
    pub(super) fn color(self) -> RGBColor {
        let (group, number) = self.key();
        RGBColor(RED, group, number)
    }

    /// Returns group and number, which must be different for each ink: they are all that tells
    /// stand-ins apart in the SVG. A test checks it.
    const fn key(self) -> (u8, u8) {
        match self {
            Self::Text => (0, 0),
            Self::Quiet => (0, 1),
            Self::Grid => (0, 2),
            Self::Limit => (0, 3),
            // An eighth backend shares its colour with the second one; its mark and its name still
            // tell them apart.
            Self::Line(n) => (1, (n % SERIES) as u8),
            Self::Mark(n) => (2, (n % SERIES) as u8),
            Self::Part(n) => (3, (n % PARTS.len()) as u8),
            Self::Bar(n) => (4, (n % 2) as u8),
        }
    }

    /// Returns each ink once; what is missing here keeps its stand-in on the page.
    fn all() -> impl Iterator<Item = Self> {
        let series = (0..SERIES).flat_map(|n| [Self::Line(n), Self::Mark(n)]);
        let parts = (0..PARTS.len()).map(Self::Part);
        [
            Self::Text,
            Self::Quiet,
            Self::Grid,
            Self::Limit,
            Self::Bar(0),
            Self::Bar(1),
        ]
        .into_iter()
        .chain(series)
        .chain(parts)
    }

    /// Returns the colour as the style sheet names it, and the dashes as an attribute with a space
    /// before it, or nothing.
    fn style(self) -> (String, String) {
        let dashes = |dashes: &[i32]| {
            // plotters has no dashes of its own that survive a change of colour, so they are added
            // here.
            let lengths: Vec<_> = dashes.iter().map(|it| (it * FINE).to_string()).collect();
            match lengths.is_empty() {
                true => String::new(),
                false => format!(" stroke-dasharray=\"{}\"", lengths.join(" ")),
            }
        };
        match self {
            Self::Text => ("var(--ink)".to_owned(), String::new()),
            Self::Quiet => ("var(--quiet)".to_owned(), String::new()),
            Self::Grid => ("var(--grid)".to_owned(), String::new()),
            Self::Limit => ("var(--limit)".to_owned(), dashes(&[1, 3])),
            Self::Line(n) => (format!("var(--s{n})"), dashes(DASHES[n % DASHES.len()])),
            Self::Mark(n) => (format!("var(--s{n})"), String::new()),
            Self::Part(n) => (format!("var(--p{n})"), dashes(PARTS[n % PARTS.len()])),
            Self::Bar(0) => ("var(--bar)".to_owned(), String::new()),
            Self::Bar(_) => ("url(#stripes)".to_owned(), String::new()),
        }
    }
}

/// Replaces the stand-ins by the page's colours.
///
/// A plain text replacement is safe: no words of a chart can hold such a colour in quotation marks,
/// since they are escaped.
pub(super) fn dye(mut svg: String) -> String {
    for ink in Ink::all() {
        let (group, number) = ink.key();
        let stand_in = format!("#{RED:02X}{group:02X}{number:02X}");
        let (color, dashes) = ink.style();
        svg = svg
            .replace(
                &format!("fill=\"{stand_in}\""),
                &format!("fill=\"{color}\""),
            )
            .replace(
                &format!("stroke=\"{stand_in}\""),
                &format!("stroke=\"{color}\"{dashes}"),
            );
    }
    svg
}

/// Returns the patterns that fill bars; the page must contain them once.
/// The identifier is the one that a striped bar refers to.
pub(crate) fn patterns() -> String {
    let (step, half) = (6 * FINE, 3 * FINE);
    format!(
        "<svg class=\"patterns\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs><pattern id=\"stripes\" width=\"{step}\" \
         height=\"{step}\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\"><rect width=\"{step}\" \
         height=\"{step}\" fill=\"var(--paper)\"/><rect width=\"{half}\" height=\"{step}\" fill=\"var(--bar-2)\"/>\
         </pattern></defs></svg>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_differ_and_are_all_replaced() {
        let all: Vec<_> = Ink::all().collect();
        for (at, ink) in all.iter().enumerate() {
            assert!(
                all[..at].iter().all(|it| it.color() != ink.color()),
                "{ink:?}"
            );
            let RGBColor(r, g, b) = ink.color();
            let dyed = dye(format!(
                "<a fill=\"#{r:02X}{g:02X}{b:02X}\" stroke=\"#{r:02X}{g:02X}{b:02X}\"/>"
            ));
            assert!(
                // The one link with a number sign is that to the pattern.
                !dyed.contains('#') || dyed.contains("url(#stripes)"),
                "{dyed}"
            );
        }
    }
}
