//! Draws lines on logarithmic scales, each with its name at its end.
//!
//! What the lines mean is not known here: `latency` and `knee` give values, labels and units.

use plotters::{
    prelude::{ChartBuilder, IntoLogRange, LineSeries, PathElement},
    style::{Color, text_anchor::HPos},
};

use super::{
    canvas::{Area, At, Failed, cross, draw, failed, line, mark, word},
    ink::Ink,
    pixel::{FINE, FONT, wide},
};

/// The length of the piece of a line beside its name, and the height of a row of names, in pixels.
const PIECE: i32 = 20;
const KEY: i32 = 20;

/// Turns a value of x and one of y into a place on the chart.
type Place<'a> = &'a dyn Fn(f64, f64) -> At;

/// The width for which a chart is drawn. Each width has its own chart, since text must keep its size and not be scaled.
///
/// The style sheet shows the one that fits the screen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The whole width of a page.
    Wide,
    /// The whole width of a telephone.
    Narrow,
    /// One of several beside each other.
    Small,
}

/// A chart's axes and lines.
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A limit on y, drawn as a line across the chart, and its label.
    pub(super) limit: Option<(f64, String)>,
}

/// An axis: its ends, its marked values with their labels, and its title.
///
/// Values must be above 0, since every axis is logarithmic.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) title: String,
}

/// A line with its name and its points, ordered by x.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) ink: Ink,
    pub(super) points: Vec<(f64, f64)>,
    /// Marks on some points: the point, the backend's number, and whether the step held (if not, the mark is a cross).
    pub(super) marks: Vec<((f64, f64), usize, bool)>,
}

impl Axis {
    /// Returns an axis that holds these values. It is marked at 1, 2 and 5, or only at the powers of ten if it is long.
    pub(super) fn around(
        values: impl Iterator<Item = f64>,
        title: &str,
        show: fn(f64) -> String,
    ) -> Self {
        // Values that have no place on a logarithmic scale are left out.
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        // No values: any axis will do, but it must have two different ends.
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        // A thousandth of room, so that no point lies on the edge.
        let (low, high) = (step_below(low / 1.001), step_above(high * 1.001));
        // More than about two and a half powers of ten: labels at 2 and 5 would touch.
        let long = high / low > 600.0;
        let mut ticks = Vec::new();
        let mut at = low;
        while at < high * 1.01 {
            let power = at.log10().round();
            // A tolerance, since steps of 1, 2 and 5 are computed in floating point.
            if !long || (at / 10f64.powf(power) - 1.0).abs() < 0.01 {
                ticks.push((at, show(at)));
            }
            // A little above, or the step would find itself again.
            at = step_above(at * 1.001);
        }
        Self {
            low,
            high,
            ticks,
            title: title.to_owned(),
        }
    }
}

/// Returns the next larger of 1, 2, 5, 10, …
fn step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    // Just below counts as reached: 2 * 10^n is not exact.
    let above = steps.into_iter().find(|step| *step >= value * 0.999_999);
    above.unwrap_or(10.0 * power)
}

/// Returns the next smaller of these.
fn step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    let below = steps.into_iter().find(|step| *step <= value * 1.000_001);
    below.unwrap_or(power)
}

impl Plot {
    /// Returns the chart as SVG. `name` is what a screen reader says.
    pub(super) fn svg(&self, format: Format, name: &str) -> Result<String, Failed> {
        let ((width, height), class) = match format {
            Format::Wide => ((880, 400), "wide"),
            Format::Narrow => ((340, 340), "narrow"),
            Format::Small => ((320, 280), "small"),
        };
        let names = self.lines.iter().map(|line| wide(&line.name));
        let names = names.max().unwrap_or(0);
        // Names stand beside the ends of their lines, or above the chart if they would take too much of its width.
        // A third of the width: more would squeeze the curves.
        let above = format == Format::Small || names + 14 > width / 3;
        let key = if above { self.key(width) } else { Vec::new() };
        let rows = key.last().map_or(0, |(_, y)| *y);
        // Beside the chart, names need their own length, a mark and some air.
        let gutter = if above { 8 } else { names + 36 };
        let labels = self.y.ticks.iter().map(|(_, it)| wide(it));
        // As wide as the widest label, or labels would run out of the picture.
        let left = 12 + labels.max().unwrap_or(0);
        let title = if format == Format::Small { 0 } else { KEY };
        let top = if above { 14 + KEY } else { 14 };
        // Rows of names make the chart higher, not the area of the curves smaller.
        let height = height + rows;
        draw((width, height), class, name, |area| {
            let mut builder = ChartBuilder::on(area);
            let mut chart = builder
                .margin_top((top + title + rows) * FINE)
                .margin_bottom(46 * FINE)
                .margin_left(left * FINE)
                .margin_right(gutter * FINE)
                .build_cartesian_2d(
                    (self.x.low..self.x.high).log_scale(),
                    (self.y.low..self.y.high).log_scale(),
                )
                .map_err(failed)?;
            let place = |x: f64, y: f64| chart.backend_coord(&(x, y));
            if title > 0 {
                let corner = (2 * FINE, 12 * FINE);
                word(area, corner, &self.y.title, Ink::Quiet, HPos::Left)?;
            }
            self.scales(area, height, &place)?;
            self.draw_key(area, &key, title)?;
            // The corners of the area of curves, in plotters' units.
            let (_, top) = place(self.x.low, self.y.high);
            let (right, bottom) = place(self.x.high, self.y.low);
            // Computed before drawing: `place` borrows the chart, which drawing changes.
            let ends: Vec<At> = self.ends(&place);
            let marks: Vec<_> = self.marks(&place);
            for it in &self.lines {
                let style = it.ink.color().stroke_width(2 * FINE as u32);
                chart
                    .draw_series(LineSeries::new(it.points.iter().copied(), style))
                    .map_err(failed)?;
            }
            for (at, number, held) in marks {
                let sign = if held { mark } else { cross };
                sign(area, at, number)?;
            }
            match above {
                true => Ok(()),
                false => self.names(area, &ends, (right, top, bottom)),
            }
        })
    }

    /// Draws both axes and the limit.
    ///
    /// Done before the lines, so that the grid lies behind them.
    fn scales(&self, area: &Area<'_>, height: i32, place: Place<'_>) -> Result<(), Failed> {
        let (left, _) = place(self.x.low, self.y.high);
        let (right, _) = place(self.x.high, self.y.low);
        let across = |y: f64, ink: Ink| {
            let (_, at) = place(self.x.low, y);
            line(area, (left, at), (right, at), ink).map(|()| at)
        };
        for (y, label) in &self.y.ticks {
            let at = across(*y, Ink::Grid)?;
            let beside = (left - 8 * FINE, at);
            word(area, beside, label, Ink::Quiet, HPos::Right)?;
        }
        self.x_ticks(area, place)?;
        // A title that is longer than its axis reaches beyond it.
        let end = right.max((wide(&self.x.title) + 4) * FINE);
        let title = (end, (height - 10) * FINE);
        word(area, title, &self.x.title, Ink::Quiet, HPos::Right)?;
        if let Some((limit, says)) = &self.limit {
            let at = across(*limit, Ink::Limit)?;
            // Words above the line: below it they would be among the points.
            let above = (left + 4 * FINE, at - 9 * FINE);
            word(area, above, says, Ink::Limit, HPos::Left)?;
        }
        Ok(())
    }

    /// Draws the marks of the x axis, as many as have room.
    ///
    /// A label that would touch the one before it is left out; its tick stays.
    fn x_ticks(&self, area: &Area<'_>, place: Place<'_>) -> Result<(), Failed> {
        let (edge, _) = area.dim_in_pixel();
        let mut free = i32::MIN;
        for (x, label) in &self.x.ticks {
            let (at, low) = place(*x, self.y.low);
            let half = wide(label) * FINE / 2;
            line(area, (at, low), (at, low + 5 * FINE), Ink::Grid)?;
            // The last label is moved inwards rather than cut off.
            let at = at.min(edge as i32 - half);
            if at - half > free {
                word(area, (at, low + 15 * FINE), label, Ink::Quiet, HPos::Center)?;
                free = at + half + 6 * FINE;
            }
        }
        Ok(())
    }

    /// Returns where each line ends.
    fn ends(&self, place: Place<'_>) -> Vec<At> {
        // A line without points has no end; it is never made, but must not panic.
        let last = |line: &Line| line.points.last().map_or((0, 0), |(x, y)| place(*x, *y));
        self.lines.iter().map(last).collect()
    }

    /// Returns where the marks of all lines are.
    fn marks(&self, place: Place<'_>) -> Vec<(At, usize, bool)> {
        let all = self.lines.iter().flat_map(|line| &line.marks);
        all.map(|((x, y), number, held)| (place(*x, *y), *number, *held))
            .collect()
    }

    /// Returns where the names stand above a chart, row by row, in pixels.
    /// A name that does not fit in its row begins the next one.
    fn key(&self, width: i32) -> Vec<(i32, i32)> {
        let (mut x, mut y, mut places) = (0, 0, Vec::new());
        for it in &self.lines {
            let need = PIECE + 5 + wide(&it.name);
            if x > 0 && x + need > width {
                (x, y) = (0, y + KEY);
            }
            places.push((x, y));
            x += need + 12;
        }
        places
    }

    /// Draws the names above the chart, each beside a piece of its line.
    fn draw_key(&self, area: &Area<'_>, places: &[(i32, i32)], title: i32) -> Result<(), Failed> {
        for (it, (x, y)) in self.lines.iter().zip(places) {
            let (x, y) = ((2 + x) * FINE, (8 + title + y) * FINE);
            let end = x + PIECE * FINE;
            let style = it.ink.color().stroke_width(2 * FINE as u32);
            let piece = PathElement::new(vec![(x, y), (end, y)], style);
            area.draw(&piece).map_err(failed)?;
            if let Some((_, number, _)) = it.marks.first() {
                mark(area, ((x + end) / 2, y), *number)?;
            }
            word(area, (end + 5 * FINE, y), &it.name, Ink::Text, HPos::Left)?;
        }
        Ok(())
    }

    /// Draws the names at the right so that none covers another. If a name is far from the end of its line, a thin line
    /// connects them.
    ///
    /// `ends` holds the ends of the lines in their order; the other numbers are the right edge, the
    /// top and the bottom of the area.
    fn names(
        &self,
        area: &Area<'_>,
        ends: &[At],
        (right, top, bottom): (i32, i32, i32),
    ) -> Result<(), Failed> {
        let step = (FONT + 3) * FINE;
        let mut order: Vec<usize> = (0..ends.len()).collect();
        // From the top down: each name gets the place of its line's end, or the next free one
        // below.
        order.sort_by_key(|at| ends[*at].1);
        let mut places: Vec<i32> = Vec::new();
        for at in &order {
            let free = places.last().map_or(top, |last| last + step);
            places.push(ends[*at].1.max(free));
        }
        // If the names ran over the lower end, move them upwards.
        let mut most = bottom;
        for place in places.iter_mut().rev() {
            *place = (*place).min(most);
            most = *place - step;
        }
        for (at, y) in order.into_iter().zip(places) {
            let (end, x) = (ends[at], right + 14 * FINE);
            // A line that ends early, or a name that was moved: without the connection nobody could
            // tell which name is whose.
            if right - end.0 > 8 * FINE || (y - end.1).abs() > 6 * FINE {
                line(
                    area,
                    (end.0 + 6 * FINE, end.1),
                    (x - 3 * FINE, y),
                    Ink::Grid,
                )?;
            }
            let line = &self.lines[at];
            if let Some((_, number, _)) = line.marks.first() {
                mark(area, (x + 4 * FINE, y), *number)?;
            }
            word(area, (x + 14 * FINE, y), &line.name, Ink::Text, HPos::Left)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_marked_at_round_values() {
        let axis = Axis::around([130.0, 870.0].into_iter(), "", |it| it.to_string());
        // 100 and 1000 are the nearest steps around the values.
        assert_eq!((axis.low, axis.high), (100.0, 1000.0));
        let ticks: Vec<_> = axis.ticks.iter().map(|(_, it)| &**it).collect();
        assert_eq!(ticks, ["100", "200", "500", "1000"]);
        // 1 to 100,000 is long: marked at the six powers of ten only.
        let long = Axis::around([1.5, 90_000.0].into_iter(), "", |it| it.to_string());
        assert_eq!(long.ticks.len(), 6);
        assert_eq!(
            Axis::around([].into_iter(), "", |it| it.to_string()).high,
            20.0
        );
    }
}
