//! Writes where the figures come from and how to read them.
//!
//! Without the machine, the version and the command, nobody could repeat a run or doubt it.

use super::html::Html;
use crate::merge::{Merged, describe};

/// Writes for each run its time, machine, version and command, then the addresses of the backends without secrets.
/// Secrets were left out when the run was made; nothing here could find them.
pub(super) fn machines(html: &mut Html, merged: &Merged) {
    for (number, source) in merged.sources.iter().enumerate() {
        // A single run needs no number.
        if merged.sources.len() > 1 {
            html.element("h3", &[], &format!("Run {}", number + 1));
        }
        html.inside("dl", &[], |html| {
            let mut pair = |term: &str, says: &str| {
                html.inside("div", &[], |html| {
                    html.element("dt", &[], term);
                    html.element("dd", &[], says);
                });
            };
            pair("Started", &time(source.started));
            pair("Machine", &describe(&source.machine));
            pair("hubplane", &source.hubplane);
            pair("Hub processes for each backend", &source.hubs.to_string());
        });
        let label = format!("The command of run {}", number + 1);
        // A command may be longer than the screen: it scrolls, and must be reachable by the
        // keyboard.
        let region = [
            ("tabindex", "0"),
            ("role", "region"),
            ("aria-label", &*label),
        ];
        html.inside("pre", &region, |html| {
            html.element("code", &[], &source.command)
        });
    }
    let addresses = merged.backends.iter().map(|it| {
        // Older files have no fingerprint, and neither have hubs that ran already.
        let program = it.program.as_deref().unwrap_or("not known");
        vec![it.name.clone(), it.address.clone(), program.to_owned()]
    });
    let head = ["backend", "address", "fingerprint of the hubs' program"];
    let head = head.map(str::to_owned).to_vec();
    let rows: Vec<_> = [head].into_iter().chain(addresses).collect();
    html.table("Addresses of the backends, without secrets", &rows);
}

/// The terms of the report and what they mean in it.
///
/// Each explains what a reader may take for something else; the order goes from the method to the
/// limits.
const TERMS: [(&str, &str); 9] = [
    (
        "Open loop",
        "Messages are published on a schedule, whether or not earlier ones have arrived. Each latency counts from when the \
         message was due, not from when it was sent, so that a stall is not hidden by the load's own waiting.",
    ),
    (
        "p50, p90, p99, p99.9",
        "50, 90, 99 or 99.9 of 100 deliveries took at most this long. With 1,000 subscribers, nearly every message has one \
         delivery that took longer than p99.9.",
    ),
    (
        "Rounds",
        "Each backend is measured several times, in turn with the others (A B C A B C), so that other work on the machine \
         slows all of them alike.",
    ),
    (
        "Median and range",
        "The middle one of all rounds, followed by the smallest and the largest. If the ranges of two backends overlap, this \
         report says that they can't be told apart. “1.4–1.8 times” compares the nearest ends of two ranges, then the \
         furthest.",
    ),
    (
        "Highest rate",
        "The highest step at which nothing was lost or refused and p99 stayed within the scenario's limit. The true limit lies \
         between this step and the one that failed. Each run looks for it only once, and another search may end elsewhere, so \
         a small difference between two backends means nothing.",
    ),
    (
        "CPU per delivery",
        "The CPU time of the hubs' and the broker's processes, as the operating system counts it. It leaves out a broker on \
         another machine, and the load's own process.",
    ),
    (
        "Broker alone",
        "The same client library at the same rate without a hub: how long the broker itself takes to deliver to one \
         receiver. If a message has many subscribers, the delivery through the hub includes the time that the last of them \
         waits for the others.",
    ),
    (
        "Lost, repeated, out of order",
        "Lost: acknowledged, and not delivered to a subscriber. Repeated: delivered twice. Out of order: delivered after a \
         later message of the same publisher and channel.",
    ),
    (
        "Other machines",
        "Compare only figures of the same run. Figures from another machine, day or version differ for other reasons, too.",
    ),
];

/// Writes the terms and their meaning.
/// As a list of terms, which a screen reader announces as such.
pub(super) fn reading(html: &mut Html) {
    html.inside("dl", &[], |html| {
        for (term, says) in TERMS {
            html.inside("div", &[], |html| {
                html.element("dt", &[], term);
                html.element("dd", &[], says);
            });
        }
    });
}

/// Writes the day (UTC) of a time in seconds since 1970, such as `25 November 2026`.
///
/// Without a library for dates: only days of the Gregorian calendar are needed, in one language.
pub fn day(seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    // Months count from 1, the list from 0.
    let (year, month, day) = date(seconds);
    format!("{day} {} {year}", MONTHS[month as usize - 1])
}

/// Writes the day and the minute, in UTC.
/// UTC and not local time, so that a report means the same wherever it is opened.
fn time(seconds: u64) -> String {
    let minutes = seconds / 60 % (24 * 60);
    format!(
        "{}, {:02}:{:02} UTC",
        day(seconds),
        minutes / 60,
        minutes % 60
    )
}

/// Returns year, month (from 1) and day. It counts in eras of 400 years (146,097 days) that begin on a 1 March, so that a
/// leap day is the last day of its year.
fn date(seconds: u64) -> (u64, u64, u64) {
    // 719,468 days lie between 1 March of the year 0 and 1 January 1970.
    let days = seconds / 86_400 + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    // The corrections take the leap days out: one in 4 years, none in 100, one in 400.
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March on have 31, 30, 31, 30, 31 days and again, which is 153 days in five
    // months.
    let month = (5 * day + 2) / 153;
    let of_month = day - (153 * month + 2) / 5 + 1;
    // Back to a year that begins in January.
    let month = if month < 10 { month + 3 } else { month - 9 };
    // January and February belong to the year that began ten months before.
    (era * 400 + year + u64::from(month <= 2), month, of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_the_calendars() {
        assert_eq!(day(0), "1 January 1970");
        // The leap day of a year that is divisible by 400.
        assert_eq!(day(951_782_400), "29 February 2000");
        assert_eq!(time(1_795_600_000), "25 November 2026, 09:46 UTC");
        // The last second of a February in a common year.
        assert_eq!(day(1_772_323_199), "28 February 2026");
    }
}
