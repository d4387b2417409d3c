//! Lines on logarithmic scales, each with its name at its end.

use plotters::{
    prelude::{ChartBuilder, IntoLogRange, LineSeries, PathElement},
    style::{Color, text_anchor::HPos},
};

use super::{
    canvas::{At, FINE, FONT, Failed, cross, draw, failed, line, mark, wide, word},
    ink::Ink,
};

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
        let small = format == Format::Small;
        let gutter = match small {
            true => 8,
            false => names.max().unwrap_or(0).min(width / 3) + 22,
        };
        let left = 12
            + self
                .y
                .ticks
                .iter()
                .map(|(_, it)| wide(it))
                .max()
                .unwrap_or(0);
        draw((width, height), class, name, |area| {
            let mut builder = ChartBuilder::on(area);
            let [top, bottom] = [34, 46];
            let mut chart = builder
                .margin_top(top * FINE)
                .margin_bottom(bottom * FINE)
                .margin_left(left * FINE)
                .margin_right(gutter * FINE)
                .build_cartesian_2d(
                    (self.x.low..self.x.high).log_scale(),
                    (self.y.low..self.y.high).log_scale(),
                )
                .map_err(failed)?;
            let place = |x: f64, y: f64| chart.backend_coord(&(x, y));
            let bottom_right = place(self.x.high, self.y.low);
            let top_left = place(self.x.low, self.y.high);
            for (y, label) in &self.y.ticks {
                let (_, at) = place(self.x.low, *y);
                line(area, (top_left.0, at), (bottom_right.0, at), Ink::Grid)?;
                word(
                    area,
                    (top_left.0 - 8 * FINE, at),
                    label,
                    Ink::Quiet,
                    HPos::Right,
                )?;
            }
            self.x_ticks(area, &place)?;
            match small {
                true => self.key(area)?,
                false => {
                    let corner = (2 * FINE, 12 * FINE);
                    word(area, corner, &self.y.title, Ink::Quiet, HPos::Left)?;
                }
            }
            let title = (bottom_right.0, (height - 10) * FINE);
            word(area, title, &self.x.title, Ink::Quiet, HPos::Right)?;
            if let Some((limit, says)) = &self.limit {
                let (_, at) = place(self.x.low, *limit);
                line(area, (top_left.0, at), (bottom_right.0, at), Ink::Limit)?;
                let above = (top_left.0 + 4 * FINE, at - 9 * FINE);
                word(area, above, says, Ink::Limit, HPos::Left)?;
            }
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
            if small {
                return Ok(());
            }
            self.names(area, &ends, (bottom_right.0, top_left.1, bottom_right.1))
        })
    }

    /// Marks on the scale, as many as have room.
    fn x_ticks(
        &self,
        area: &super::canvas::Area<'_>,
        place: &dyn Fn(f64, f64) -> At,
    ) -> Result<(), Failed> {
        let mut free = i32::MIN;
        for (x, label) in &self.x.ticks {
            let (at, low) = place(*x, self.y.low);
            let half = wide(label) * FINE / 2;
            line(area, (at, low), (at, low + 5 * FINE), Ink::Grid)?;
            if at - half > free {
                word(area, (at, low + 15 * FINE), label, Ink::Quiet, HPos::Center)?;
                free = at + half + 6 * FINE;
            }
        }
        Ok(())
    }

    fn ends(&self, place: &dyn Fn(f64, f64) -> At) -> Vec<At> {
        let last = |line: &Line| line.points.last().map_or((0, 0), |(x, y)| place(*x, *y));
        self.lines.iter().map(last).collect()
    }

    fn marks(&self, place: &dyn Fn(f64, f64) -> At) -> Vec<(At, usize, bool)> {
        let all = self.lines.iter().flat_map(|line| &line.marks);
        all.map(|((x, y), number, held)| (place(*x, *y), *number, *held))
            .collect()
    }

    /// Names beside a piece of their lines, above a small chart.
    fn key(&self, area: &super::canvas::Area<'_>) -> Result<(), Failed> {
        let (mut x, y) = (2 * FINE, 12 * FINE);
        for it in &self.lines {
            let style = it.ink.color().stroke_width(2 * FINE as u32);
            let piece = PathElement::new(vec![(x, y), (x + 20 * FINE, y)], style);
            area.draw(&piece).map_err(failed)?;
            word(area, (x + 25 * FINE, y), &it.name, Ink::Text, HPos::Left)?;
            x += (25 + wide(&it.name) + 12) * FINE;
        }
        Ok(())
    }

    /// Names at the right, none over another, with a thin line to where theirs ends if that is far.
    fn names(
        &self,
        area: &super::canvas::Area<'_>,
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
            word(area, (x, y), &self.lines[at].name, Ink::Text, HPos::Left)?;
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
