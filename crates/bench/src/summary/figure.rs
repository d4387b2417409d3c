//! Defines the figures of a round: their names, their units, where a round holds them, and how they are written.
//!
//! Tables, charts and sentences all take their values from here, so that a figure means the same everywhere.

use crate::results::{Figures, Latency, Round};

/// One figure of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    /// Delivery: from when a message was due until a subscriber received it; the median.
    DeliveryP50,
    /// The same, 90 %.
    DeliveryP90,
    /// The same, 99 %.
    DeliveryP99,
    /// The same, 99.9 %.
    DeliveryP999,
    /// The same, the largest.
    DeliveryMax,
    /// Acknowledgement: from when a message was due until its publisher received the acknowledgement; the median.
    AcknowledgementP50,
    /// The same, 99 %.
    AcknowledgementP99,
    /// Delivery by the broker alone, through the same client library without a hub; the median.
    AloneP50,
    /// The same, 99 %.
    AloneP99,
    /// CPU time of all hubs in microseconds, divided by the number of deliveries.
    HubCpu,
    /// The broker's.
    BrokerCpu,
    /// Memory of all hubs in bytes at the end of the round.
    HubMemory,
    /// The broker's.
    BrokerMemory,
    /// Bytes between hubs and broker in both directions, divided by the number of published messages.
    Wire,
    /// Deliveries in a second to all subscribers together.
    Deliveries,
    /// How late the load published its messages, the 99th percentile. A large value means that the load itself was slow.
    Late,
    /// CPU time of the load as a share of one core.
    LoadCpu,
}

/// The unit of a figure's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Microseconds.
    Time,
    /// Bytes, of memory.
    Memory,
    /// Bytes, of a message.
    Bytes,
    /// A number of messages or deliveries in a second.
    Rate,
    /// A share, where 1 is the whole; it is written in percent.
    Share,
}

impl Figure {
    /// The figures that a table shows, in the order of its rows.
    pub const TABLE: [Self; 15] = [
        Self::DeliveryP50,
        Self::DeliveryP90,
        Self::DeliveryP99,
        Self::DeliveryP999,
        Self::DeliveryMax,
        Self::AcknowledgementP50,
        Self::AcknowledgementP99,
        Self::AloneP50,
        Self::AloneP99,
        Self::Deliveries,
        Self::HubCpu,
        Self::BrokerCpu,
        Self::HubMemory,
        Self::BrokerMemory,
        Self::Wire,
    ];

    /// Returns the name that tables use.
    pub const fn label(self) -> &'static str {
        match self {
            Self::DeliveryP50 => "delivery p50",
            Self::DeliveryP90 => "delivery p90",
            Self::DeliveryP99 => "delivery p99",
            Self::DeliveryP999 => "delivery p99.9",
            Self::DeliveryMax => "delivery max",
            Self::AcknowledgementP50 => "acknowledgement p50",
            Self::AcknowledgementP99 => "acknowledgement p99",
            Self::AloneP50 => "the broker alone, p50",
            Self::AloneP99 => "the broker alone, p99",
            Self::HubCpu => "hub CPU per delivery",
            Self::BrokerCpu => "broker CPU per delivery",
            Self::HubMemory => "hub memory",
            Self::BrokerMemory => "broker memory",
            Self::Wire => "wire bytes per message",
            Self::Deliveries => "deliveries a second",
            Self::Late => "lateness of the load, p99",
            Self::LoadCpu => "CPU of the load",
        }
    }

    /// Returns the unit of its values.
    pub const fn unit(self) -> Unit {
        match self {
            Self::HubMemory | Self::BrokerMemory => Unit::Memory,
            Self::Wire => Unit::Bytes,
            Self::Deliveries => Unit::Rate,
            Self::LoadCpu => Unit::Share,
            _ => Unit::Time,
        }
    }

    /// Returns its value in one round; absent if it was not measured, which is not the same as 0.
    pub fn of(self, round: &Round) -> Option<f64> {
        // A percentile of no measurements is 0 in the file; it must not look like a very fast one.
        let time = |count: u64, value: u64| (count > 0).then_some(value as f64);
        let delivery = |value| time(round.delivery.count, value);
        let acknowledgement = |value| time(round.acknowledgement.count, value);
        let alone = |value: fn(&Latency) -> u64| {
            let latency = round.alone.as_ref()?;
            time(latency.count, value(latency))
        };
        match self {
            Self::DeliveryP50 => delivery(round.delivery.p50),
            Self::DeliveryP90 => delivery(round.delivery.p90),
            Self::DeliveryP99 => delivery(round.delivery.p99),
            Self::DeliveryP999 => delivery(round.delivery.p999),
            Self::DeliveryMax => delivery(round.delivery.max),
            Self::AcknowledgementP50 => acknowledgement(round.acknowledgement.p50),
            Self::AcknowledgementP99 => acknowledgement(round.acknowledgement.p99),
            Self::AloneP50 => alone(|it| it.p50),
            Self::AloneP99 => alone(|it| it.p99),
            Self::HubCpu => round.cost.hub_cpu,
            Self::BrokerCpu => round.cost.broker_cpu,
            Self::HubMemory => round.cost.hub_memory.map(|bytes| bytes as f64),
            Self::BrokerMemory => round.cost.broker_memory.map(|bytes| bytes as f64),
            Self::Wire => round.cost.wire,
            // Without a length there is no rate; old files may lack it.
            Self::Deliveries => {
                (round.seconds > 0.0).then(|| round.delivered as f64 / round.seconds)
            }
            Self::Late => Some(round.late as f64),
            Self::LoadCpu => round.cost.load_cpu,
        }
    }

    /// Returns the median and the range over all rounds; absent if no round has the figure.
    ///
    /// Rounds of different runs are taken together here; only `compare` keeps runs apart.
    pub fn spread(self, figures: &Figures) -> Option<Spread> {
        Spread::of(figures.rounds.iter().filter_map(|round| self.of(round)))
    }
}

/// The median of several measurements, with the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The value in the middle, or the mean of the two values there.
    pub median: f64,
    /// The smallest.
    pub least: f64,
    /// The largest.
    pub most: f64,
    /// How many there are.
    pub count: usize,
}

impl Spread {
    /// Computes the spread of some values; absent if there are none. Values that are not finite are left out.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        // `total_cmp`, as the values are finite and have an order.
        let mut values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let count = values.len();
        // With an even number, the mean of the two in the middle. `get` fails only without values.
        let middle = (values.get(count.saturating_sub(1) / 2)? + values.get(count / 2)?) / 2.0;
        Some(Self {
            median: middle,
            least: *values.first()?,
            most: *values.last()?,
            count,
        })
    }
}

impl Unit {
    /// Returns the divisor and the suffix that fit a value of this size.
    fn scale(self, size: f64) -> (f64, &'static str) {
        // Each step: below this size, divide by this, and write this.
        let fit = |steps: &[(f64, f64, &'static str)]| {
            let step = steps.iter().find(|(below, ..)| size < *below);
            step.or(steps.last())
                .map_or((1.0, ""), |(_, by, word)| (*by, *word))
        };
        // Memory in powers of 1,024, as the operating system counts it; bytes of a message stay
        // bytes.
        let kibi = 1024.0;
        match self {
            Self::Time => fit(&[
                (1e3, 1.0, " µs"),
                (1e6, 1e3, " ms"),
                (f64::INFINITY, 1e6, " s"),
            ]),
            Self::Memory => fit(&[
                (kibi, 1.0, " B"),
                (kibi * kibi, kibi, " KiB"),
                (kibi * kibi * kibi, kibi * kibi, " MiB"),
                (f64::INFINITY, kibi * kibi * kibi, " GiB"),
            ]),
            Self::Bytes => (1.0, " B"),
            Self::Rate => (1.0, "/s"),
            Self::Share => (0.01, " %"),
        }
    }

    /// Writes one value with its unit.
    pub fn show(self, value: f64) -> String {
        let (by, word) = self.scale(value);
        match self {
            Self::Rate => format!("{}{word}", rate(value)),
            _ => format!("{}{word}", digits(value / by)),
        }
    }

    /// Writes a median with its range, such as `310 µs (298–325)`; without the range if its ends look the same. The range uses
    /// the unit of the median, so that the three can be compared at a glance.
    pub fn show_spread(self, spread: Spread) -> String {
        // The unit of the median for all three: 310 µs (298–1,325), and not 1.3 ms beside it.
        let (by, _) = self.scale(spread.median);
        let text = if self == Self::Rate { rate } else { digits };
        let (least, most) = (text(spread.least / by), text(spread.most / by));
        // Compared as text: what looks the same is not shown as a range.
        match least == most {
            true => self.show(spread.median),
            false => format!("{} ({least}–{most})", self.show(spread.median)),
        }
    }
}

/// Writes a number with three significant digits, or whole with commas between thousands.
pub(crate) fn digits(value: f64) -> String {
    match value.abs() {
        // 99.95 rounds to 100, which needs no decimal; so does 9.995 with two of them.
        size if size >= 99.95 => thousands(value),
        size if size >= 9.995 => format!("{value:.1}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.2}"),
    }
}

/// Writes a rate; from ten on as a whole number.
pub(crate) fn rate(value: f64) -> String {
    match value {
        // Small rates keep their digits: 0.5 a second is not 1.
        small if small < 9.5 && small.fract() != 0.0 => digits(small),
        value => thousands(value),
    }
}

/// Writes a whole number with commas between thousands.
fn thousands(value: f64) -> String {
    let plain = format!("{value:.0}");
    let mut text = String::new();
    for (at, sign) in plain.chars().enumerate() {
        let left = plain.len() - at;
        // Not behind a minus sign.
        if at > 0 && left.is_multiple_of(3) && !text.ends_with('-') {
            text.push(',');
        }
        text.push(sign);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_median_and_the_range() {
        let spread = Spread::of([3.0, 1.0, 10.0]).unwrap();
        assert_eq!((spread.median, spread.least, spread.most), (3.0, 1.0, 10.0));
        // Four values: the mean of the two in the middle.
        assert_eq!(Spread::of([1.0, 2.0, 4.0, 9.0]).unwrap().median, 3.0);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn values_are_written_for_readers() {
        let show = |unit: Unit, value| unit.show(value);
        assert_eq!(show(Unit::Time, 310.0), "310 µs");
        assert_eq!(show(Unit::Time, 4.25), "4.25 µs");
        assert_eq!(show(Unit::Time, 12_340.0), "12.3 ms");
        assert_eq!(show(Unit::Time, 2_500_000.0), "2.50 s");
        assert_eq!(show(Unit::Memory, 1.5 * f64::from(1 << 30)), "1.50 GiB");
        assert_eq!(show(Unit::Rate, 1_234_567.0), "1,234,567/s");
        assert_eq!(show(Unit::Share, 0.4), "40.0 %");
        let spread = Spread::of([310.0, 298.0, 1_325.0]).unwrap();
        // The range keeps the median's unit even where it is longer.
        assert_eq!(Unit::Time.show_spread(spread), "310 µs (298–1,325)");
        let still = Spread::of([310.0, 310.0]).unwrap();
        assert_eq!(Unit::Time.show_spread(still), "310 µs");
    }

    #[test]
    fn what_was_not_measured_is_absent() {
        let round = Round::default();
        assert_eq!(Figure::DeliveryP50.of(&round), None);
        assert_eq!(Figure::Deliveries.of(&round), None);
        assert_eq!(Figure::HubCpu.of(&round), None);
    }
}
