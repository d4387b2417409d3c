//! Lines on logarithmic scales, each with its name at its end.

use plotters::{
    prelude::{ChartBuilder, IntoLogRange, LineSeries, PathElement},
    style::{Color, text_anchor::HPos},
};

use super::{
    canvas::{Area, At, Failed, cross, draw, failed, line, mark, word},
    ink::Ink,
    pixel::{FINE, FONT, wide},
};

/// A piece of a line beside its name, and from one row of names to the next; pixels.
const PIECE: i32 = 20;
const KEY: i32 = 20;

/// From values to places.
type Place<'a> = &'a dyn Fn(f64, f64) -> At;

/// For which page a chart is drawn: text has its size there and is not scaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The whole width of a page.
    Wide,
    /// The whole width of a telephone.
    Narrow,
    /// One of several beside each other.
    Small,
}

/// What is drawn.
pub(super) struct Plot {
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// A value of y that is a limit, and what it says.
    pub(super) limit: Option<(f64, String)>,
}

/// A scale: its ends, and where it is marked.
pub(super) struct Axis {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) ticks: Vec<(f64, String)>,
    pub(super) title: String,
}

/// A line.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) ink: Ink,
    pub(super) points: Vec<(f64, f64)>,
    /// Marks of the backend of this number, on some points, and whether what they show held.
    pub(super) marks: Vec<((f64, f64), usize, bool)>,
}

impl Axis {
    /// A scale that holds these values, marked at 1, 2 and 5 or, where it is long, at the powers of ten.
    pub(super) fn around(
        values: impl Iterator<Item = f64>,
        title: &str,
        show: fn(f64) -> String,
    ) -> Self {
        let (mut low, mut high) = (f64::INFINITY, 0.0f64);
        for value in values.filter(|value| *value > 0.0 && value.is_finite()) {
            (low, high) = (low.min(value), high.max(value));
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        let (low, high) = (step_below(low / 1.001), step_above(high * 1.001));
        let long = high / low > 600.0;
        let mut ticks = Vec::new();
        let mut at = low;
        while at < high * 1.01 {
            let power = at.log10().round();
            if !long || (at / 10f64.powf(power) - 1.0).abs() < 0.01 {
                ticks.push((at, show(at)));
            }
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

/// The next of 1, 2, 5, 10, …
fn step_above(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let above = steps.into_iter().find(|step| *step >= value * 0.999_999);
    above.unwrap_or(10.0 * power)
}

fn step_below(value: f64) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let steps = [5.0, 2.0, 1.0].map(|step| step * power);
    let below = steps.into_iter().find(|step| *step <= value * 1.000_001);
    below.unwrap_or(power)
}

impl Plot {
    /// As SVG; `name` is read out for it.
    pub(super) fn svg(&self, format: Format, name: &str) -> Result<String, Failed> {
        let ((width, height), class) = match format {
            Format::Wide => ((880, 400), "wide"),
            Format::Narrow => ((340, 340), "narrow"),
            Format::Small => ((320, 280), "small"),
        };
        let names = self.lines.iter().map(|line| wide(&line.name));
        let names = names.max().unwrap_or(0);
        // Names stand beside the ends of their lines, and above the chart where that would take too much of it.
        let above = format == Format::Small || names + 14 > width / 3;
        let key = if above { self.key(width) } else { Vec::new() };
        let rows = key.last().map_or(0, |(_, y)| *y);
        let gutter = if above { 8 } else { names + 36 };
        let labels = self.y.ticks.iter().map(|(_, it)| wide(it));
        let left = 12 + labels.max().unwrap_or(0);
        let title = if format == Format::Small { 0 } else { KEY };
        let top = if above { 14 + KEY } else { 14 };
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
            let (_, top) = place(self.x.low, self.y.high);
            let (right, bottom) = place(self.x.high, self.y.low);
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

    /// Both scales, and the limit.
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
        // Where the scale is shorter than its title, that reaches beyond it.
        let end = right.max((wide(&self.x.title) + 4) * FINE);
        let title = (end, (height - 10) * FINE);
        word(area, title, &self.x.title, Ink::Quiet, HPos::Right)?;
        if let Some((limit, says)) = &self.limit {
            let at = across(*limit, Ink::Limit)?;
            let above = (left + 4 * FINE, at - 9 * FINE);
            word(area, above, says, Ink::Limit, HPos::Left)?;
        }
        Ok(())
    }

    /// Marks on the scale, as many as have room.
    fn x_ticks(&self, area: &Area<'_>, place: Place<'_>) -> Result<(), Failed> {
        let (edge, _) = area.dim_in_pixel();
        let mut free = i32::MIN;
        for (x, label) in &self.x.ticks {
            let (at, low) = place(*x, self.y.low);
            let half = wide(label) * FINE / 2;
            line(area, (at, low), (at, low + 5 * FINE), Ink::Grid)?;
            let at = at.min(edge as i32 - half);
            if at - half > free {
                word(area, (at, low + 15 * FINE), label, Ink::Quiet, HPos::Center)?;
                free = at + half + 6 * FINE;
            }
        }
        Ok(())
    }

    fn ends(&self, place: Place<'_>) -> Vec<At> {
        let last = |line: &Line| line.points.last().map_or((0, 0), |(x, y)| place(*x, *y));
        self.lines.iter().map(last).collect()
    }

    fn marks(&self, place: Place<'_>) -> Vec<(At, usize, bool)> {
        let all = self.lines.iter().flat_map(|line| &line.marks);
        all.map(|((x, y), number, held)| (place(*x, *y), *number, *held))
            .collect()
    }

    /// Where the names stand above a chart, in rows, in pixels.
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

    /// Names beside a piece of their lines.
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

    /// Names at the right, none over another, with a thin line to where theirs ends if that is far.
    fn names(
        &self,
        area: &Area<'_>,
        ends: &[At],
        (right, top, bottom): (i32, i32, i32),
    ) -> Result<(), Failed> {
        let step = (FONT + 3) * FINE;
        let mut order: Vec<usize> = (0..ends.len()).collect();
        order.sort_by_key(|at| ends[*at].1);
        let mut places: Vec<i32> = Vec::new();
        for at in &order {
            let free = places.last().map_or(top, |last| last + step);
            places.push(ends[*at].1.max(free));
        }
        // From the lower end upwards, where they ran over it.
        let mut most = bottom;
        for place in places.iter_mut().rev() {
            *place = (*place).min(most);
            most = *place - step;
        }
        for (at, y) in order.into_iter().zip(places) {
            let (end, x) = (ends[at], right + 14 * FINE);
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
        assert_eq!((axis.low, axis.high), (100.0, 1000.0));
        let ticks: Vec<_> = axis.ticks.iter().map(|(_, it)| &**it).collect();
        assert_eq!(ticks, ["100", "200", "500", "1000"]);
        let long = Axis::around([1.5, 90_000.0].into_iter(), "", |it| it.to_string());
        assert_eq!(long.ticks.len(), 6);
        assert_eq!(
            Axis::around([].into_iter(), "", |it| it.to_string()).high,
            20.0
        );
    }
}
