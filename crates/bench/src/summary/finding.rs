//! Writes in sentences what the figures say of the backends.
//!
//! Whether a difference may be stated is decided in `compare`; this file only puts the verdict into words.

use super::{
    Figure, Range, Spread, Unit, Verdict, compare,
    compare::{ranges, times},
    knees,
};
use crate::{merge::Merged, results::Figures, scenario::Scenario};

/// The figures by which a broker is chosen.
///
/// Their order is that of the sentences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matter {
    /// The median of the delivery.
    Median,
    /// Its 99th percentile.
    Tail,
    /// CPU time of the hubs per delivery.
    Cpu,
    /// The highest rate.
    Knee,
}

/// One backend's values in a comparison: the median over all runs for the order, the ranges for the verdict.
struct Part<'a> {
    name: &'a str,
    middle: f64,
    ranges: Vec<Range>,
}

impl Matter {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Median, Self::Tail, Self::Cpu, Self::Knee];

    const fn label(self) -> &'static str {
        match self {
            Self::Median => "Median latency (p50)",
            Self::Tail => "Tail latency (p99)",
            Self::Cpu => "CPU of the hubs",
            Self::Knee => "Highest rate",
        }
    }

    /// Returns the figure of the rounds; the highest rate has none, since it comes from the ladders.
    const fn figure(self) -> Option<Figure> {
        match self {
            Self::Median => Some(Figure::DeliveryP50),
            Self::Tail => Some(Figure::DeliveryP99),
            Self::Cpu => Some(Figure::HubCpu),
            Self::Knee => None,
        }
    }

    /// Returns a backend's values; absent if this was not measured.
    fn part<'a>(self, name: &'a str, figures: &Figures) -> Option<Part<'a>> {
        let (middle, ranges) = match self.figure() {
            Some(figure) => (figure.spread(figures)?.median, ranges(figure, figures)),
            None => {
                let knees = knees(figures);
                // A ladder in which no step held counts as 0, the worst.
                let held = knees.iter().map(|knee| knee.held.unwrap_or(0.0));
                let middle = Spread::of(held)?.median;
                (middle, knees.iter().map(|knee| knee.range()).collect())
            }
        };
        Some(Part {
            name,
            middle,
            ranges,
        })
    }

    /// Returns all backends that have this figure, the best first: the highest rate, or the least of the other figures.
    fn parts<'a>(self, merged: &'a Merged, scenario: &str) -> Vec<Part<'a>> {
        let named = merged.backends.iter();
        let found = named.filter_map(|it| self.part(&it.name, it.scenarios.get(scenario)?));
        let mut parts: Vec<_> = found.collect();
        parts.sort_by(|a, b| a.middle.total_cmp(&b.middle));
        // Of a rate more is better; of all other figures less.
        if self == Self::Knee {
            parts.reverse();
        }
        parts
    }

    /// Says how the worse backend compares with the better one. `again` is true if the sentence has named the better one
    /// already.
    fn better(self, better: &str, worse: &str, times: &str, again: bool) -> String {
        match (self, again) {
            (Self::Median | Self::Tail, false) => {
                format!("{worse} takes {times} as long as {better}")
            }
            (Self::Cpu, false) => format!("{worse} costs {times} as much as {better}"),
            (Self::Median | Self::Tail | Self::Cpu, true) => format!("{worse} {times}"),
            (Self::Knee, false) => format!("{better} holds {times} the rate of {worse}"),
            (Self::Knee, true) => format!("{times} that of {worse}"),
        }
    }

    /// Gives both medians and why they allow no statement; the reader may judge them.
    /// A reader who sees both may still draw a conclusion, which the sentence does not.
    fn unknown(self, a: &Part<'_>, b: &Part<'_>, why: &str) -> String {
        let unit = self.figure().map_or(Unit::Rate, Figure::unit);
        let shown = |it: &Part<'_>| format!("{} ({})", it.name, unit.show(it.middle));
        format!("{} and {} {why}", shown(a), shown(b))
    }

    /// Returns the better backend, the worse one, and the ratio in words; nothing if the verdict does not tell them apart.
    ///
    /// `a` and `b` are in the order in which they were compared.
    fn winner<'a>(
        self,
        a: &'a str,
        b: &'a str,
        verdict: Verdict,
    ) -> Option<(&'a str, &'a str, String)> {
        let smaller = match verdict {
            Verdict::Smaller { .. } => true,
            Verdict::Larger { .. } => false,
            Verdict::Same | Verdict::Unknown(_) => return None,
        };
        // Either verdict holds its ratios; only which one is smaller differs.
        let (Verdict::Smaller { least, most } | Verdict::Larger { least, most }) = verdict else {
            return None;
        };
        let times = times(least, most);
        // Smaller is better, except for a rate.
        match smaller != (self == Self::Knee) {
            true => Some((a, b, times)),
            false => Some((b, a, times)),
        }
    }

    /// Compares the best backend with each of the others in one sentence; nothing if there are no others.
    fn finding(self, parts: &[Part<'_>]) -> Option<String> {
        let (best, others) = parts.split_first()?;
        // Those that are worse, those that are not told apart, and those that need a sentence of
        // their own.
        let (mut told, mut same, mut rest) = (Vec::new(), Vec::new(), Vec::new());
        for other in others {
            let verdict = compare(&best.ranges, &other.ranges);
            match (self.winner(best.name, other.name, verdict), verdict) {
                (Some((better, worse, times)), _) if better == best.name => {
                    // Only the first names the best backend; the others continue the sentence.
                    told.push(self.better(better, worse, &times, !told.is_empty()));
                }
                // The other one wins in the runs that measured both, although its median over all runs is worse.
                (Some((better, worse, times)), _) => {
                    rest.push(self.better(better, worse, &times, false));
                }
                (None, Verdict::Unknown(why)) => {
                    rest.push(self.unknown(best, other, why));
                }
                (None, _) => same.push(other.name),
            }
        }
        let mut sentences = Vec::new();
        if !told.is_empty() {
            sentences.push(list(&told));
        }
        if !same.is_empty() {
            // The best comes first, since it is what the others are compared with.
            let all: Vec<_> = [best.name].into_iter().chain(same).collect();
            sentences.push(match all.len() {
                // Two names need no "from".
                2 => format!("{} can't be told apart by these runs", list(&all)),
                _ => format!(
                    "{} can't be told apart from {} by these runs",
                    list(&all[1..]),
                    best.name
                ),
            });
        }
        sentences.append(&mut rest);
        match sentences.is_empty() {
            true => None,
            false => Some(format!("{}: {}.", self.label(), sentences.join("; "))),
        }
    }

    /// Compares one pair in a sentence.
    fn pair(self, a: &Part<'_>, b: &Part<'_>) -> String {
        let verdict = compare(&a.ranges, &b.ranges);
        let said = match (self.winner(a.name, b.name, verdict), verdict) {
            (Some((better, worse, times)), _) => self.better(better, worse, &times, false),
            (None, Verdict::Unknown(why)) => self.unknown(a, b, why),
            (None, _) => format!(
                "{} and {} can't be told apart by these runs",
                a.name, b.name
            ),
        };
        format!("{}: {said}.", self.label())
    }
}

/// What a scenario's figures say. For each figure that matters, compares the best backend with the others; then compares
/// the hub with the brokers alone. A backend of one process does less work than a broker, and is left out where there is a
/// broker to speak of.
pub fn findings(merged: &Merged, scenario: &Scenario) -> Vec<String> {
    let one_process = |name: &str| {
        let mut backends = merged.backends.iter();
        backends.any(|it| it.name == name && it.is_one_process())
    };
    let finding = |matter: &Matter| {
        let mut parts = matter.parts(merged, &scenario.name);
        // With nothing but backends of one process, these are compared with each other.
        if parts.iter().any(|it| !one_process(it.name)) {
            parts.retain(|it| !one_process(it.name));
        }
        matter.finding(&parts)
    };
    let mut sentences: Vec<_> = Matter::ALL.iter().filter_map(finding).collect();
    sentences.extend(beside_the_broker(merged, scenario));
    sentences
}

/// Compares every pair of backends, figure by figure.
pub fn pairs(merged: &Merged, scenario: &Scenario) -> Vec<String> {
    let mut sentences = Vec::new();
    for matter in Matter::ALL {
        let parts = matter.parts(merged, &scenario.name);
        for (at, a) in parts.iter().enumerate() {
            // Each pair once.
            sentences.extend(parts[at + 1..].iter().map(|b| matter.pair(a, b)));
        }
    }
    sentences
}

/// Compares the median latency through the hub with that of the broker alone; nothing if no broker was measured alone.
/// A ratio of medians and not a difference: the hub's share of a fast broker and of a slow one can
/// be compared.
fn beside_the_broker(merged: &Merged, scenario: &Scenario) -> Option<String> {
    let each = merged.backends.iter().filter_map(|backend| {
        let figures = backend.scenarios.get(&scenario.name)?;
        let hub = Figure::DeliveryP50.spread(figures)?;
        let alone = Figure::AloneP50.spread(figures)?.median;
        Some(format!("{} {:.1} times", backend.name, hub.median / alone))
    });
    let each: Vec<_> = each.collect();
    let all = list(&each);
    (!each.is_empty())
        .then(|| format!("Median latency through the hub, against the broker alone: {all}."))
}

/// Joins words as in a sentence: `a`, `a and b`, `a, b and c`.
pub(crate) fn list<T: AsRef<str>>(words: &[T]) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, before)) => format!("{} and {last}", before.join(", ")),
    }
}

#[cfg(test)]
mod tests;
