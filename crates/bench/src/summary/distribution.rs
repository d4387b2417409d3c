//! Joins latency distributions and reads percentiles from their buckets.
//!
//! Percentiles of several rounds can't be averaged; the buckets of all rounds are added instead. Values are microseconds.

use std::collections::BTreeMap;

use crate::results::Latency;

/// Points of a curve for each power of ten on its axis.
const POINTS: i32 = 12;

/// Joins several distributions into one, in which each measurement has the same weight.
///
/// The percentiles come from rounded buckets (two digits, rounded up); only `max` is exact.
pub fn pool<'a>(parts: impl IntoIterator<Item = &'a Latency>) -> Latency {
    // Sorted by value, as `at` needs it.
    let mut all = BTreeMap::new();
    let mut max = 0;
    for part in parts {
        for (value, count) in &part.buckets {
            *all.entry(*value).or_insert(0) += count;
        }
        max = max.max(part.max);
    }
    let buckets: Vec<(u64, u64)> = all.into_iter().collect();
    Latency {
        count: buckets.iter().map(|(_, count)| count).sum(),
        p50: at(&buckets, 0.5),
        p90: at(&buckets, 0.9),
        p99: at(&buckets, 0.99),
        p999: at(&buckets, 0.999),
        max,
        buckets,
    }
}

/// Returns the percentile for a share from 0 to 1: at least this share of the measurements is not above the value. Returns
/// 0 if there are no measurements.
///
/// `buckets` must ascend by their values.
pub fn at(buckets: &[(u64, u64)], share: f64) -> u64 {
    let count: u64 = buckets.iter().map(|(_, count)| count).sum();
    // `ceil` alone would be wrong: in floating point, 0.99 * 100 is a little more than 99.
    // At least the first measurement, even for a share of 0.
    let wanted = ((share * count as f64 - 1e-6).ceil() as u64).max(1);
    let mut seen = 0;
    let found = buckets.iter().find(|(_, count)| {
        seen += count;
        seen >= wanted
    });
    // Rounding could ask for more than there are; the largest value answers then.
    found.or(buckets.last()).map_or(0, |(value, _)| *value)
}

/// Returns a curve by percentile. Its x says that one out of x measurements is above the value (2 for the median, 100 for
/// p99). The curve ends where less than one measurement is left above.
pub fn quantiles(latency: &Latency) -> Vec<(f64, u64)> {
    // Results without buckets have only the four percentiles that were stored.
    if latency.buckets.is_empty() {
        let given = [
            (2.0, latency.p50),
            (10.0, latency.p90),
            (100.0, latency.p99),
            (1000.0, latency.p999),
        ];
        let enough = |(out_of, _): &(f64, u64)| *out_of <= latency.count as f64;
        return given.into_iter().filter(enough).collect();
    }
    // The curve begins at 1.25, which is p20, so that a part left of the median is visible. The even steps do not hit the
    // median, so it is added.
    let from = (1.25f64.log10() * f64::from(POINTS)).floor() as i32;
    let steps = (from..).map(|n| 10f64.powf(f64::from(n) / f64::from(POINTS)));
    let mut all: Vec<f64> = steps
        .take_while(|out_of| *out_of <= latency.count as f64)
        .chain((latency.count > 1).then_some(2.0))
        .collect();
    // The median stands among even steps and must be at its place.
    all.sort_by(f64::total_cmp);
    all.into_iter()
        .map(|out_of| (out_of, at(&latency.buckets, 1.0 - 1.0 / out_of)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hundred() -> Latency {
        pool([&Latency {
            max: 100,
            buckets: (1..=100).map(|value| (value, 1)).collect(),
            ..Latency::default()
        }])
    }

    #[test]
    fn percentiles_come_from_the_buckets() {
        let latency = hundred();
        // Of the values 1 to 100, the n-th percentile is n.
        assert_eq!((latency.p50, latency.p90, latency.p99), (50, 90, 99));
        assert_eq!((latency.p999, latency.count), (100, 100));
        assert_eq!(at(&[], 0.5), 0);
    }

    #[test]
    fn a_pool_has_the_weight_of_its_parts() {
        let slow = Latency {
            max: 9_000,
            buckets: vec![(5_000, 300)],
            ..Latency::default()
        };
        let both = pool([&hundred(), &slow]);
        // Each measurement has one weight: 300 slow ones of 400 move the median.
        assert_eq!((both.count, both.p50, both.max), (400, 5_000, 9_000));
    }

    #[test]
    fn a_curve_ends_where_its_measurements_do() {
        let curve = quantiles(&hundred());
        // Of 100 measurements, one is above p99 and none is above anything later.
        assert_eq!(curve.last(), Some(&(100.0, 99)));
        assert!(curve.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1));
        let few = Latency {
            count: 50,
            p50: 3,
            p90: 4,
            ..Latency::default()
        };
        // 50 measurements have no p99.
        assert_eq!(quantiles(&few), [(2.0, 3), (10.0, 4)]);
    }
}
