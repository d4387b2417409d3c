//! Writes the words of a recommendation: capabilities as sentences, figures and sizes as people write them.
//!
//! Nothing here decides whether a backend meets a requirement.

use std::time::Duration;

use super::super::summary::{Spread, Unit, rate};

/// Returns a cell of the capability table as a sentence. A word that is not known here is shown as it is, so that a new
/// capability is never hidden.
/// The columns are those of [`super::super::results::PROMISES`].
pub(super) fn plain(column: &str, says: &str) -> String {
    let sentence = match (column, says) {
        ("on restart", "no broker") => {
            "its messages stay inside one process; other hub processes don't get them"
        }
        ("on restart", "delivered") => {
            "messages that it accepted are delivered after the broker's restart"
        }
        ("on restart", "announced") => {
            "a restart of the broker may lose messages that it accepted; clients are told of it"
        }
        ("replay", "none") => {
            "it keeps no messages, so a client that comes back misses what was sent meanwhile"
        }
        ("order", "per channel") => "all clients see a channel's messages in the same order",
        ("order", "none") => "it keeps no order",
        ("order", _) => return format!("it keeps the order {says} only"),
        ("delivery", "at most once") => "a message may be lost, and never arrives twice",
        ("delivery", "at least once") => "a message is not lost, but may arrive twice",
        ("replay", _) => return format!("what a client missed can be read again (kept: {says})"),
        ("payload", _) => return format!("its largest message is {says}"),
        _ => return format!("its {column} is declared as {says}"),
    };
    sentence.to_owned()
}

/// Writes a median with the smallest and largest value; the values are microseconds.
pub(super) fn range(spread: Spread) -> String {
    Unit::Time.show_spread(spread)
}

/// Writes a time in µs, ms or s, whichever fits.
pub(super) fn time(time: Duration) -> String {
    Unit::Time.show(time.as_micros() as f64)
}

/// Tells the user how to measure a rate that no figure answers.
pub(super) fn measure_at(wanted: f64) -> String {
    format!(
        // Never "run the ladder again": its steps would be the same, and the rate between them as
        // unknown.
        "measure {} messages a second with a scenario of your own: `hubplane bench --print-scenario progress` prints one to begin with",
        rate(wanted)
    )
}

/// Reads a size in bytes: `64 KiB`, `16KiB`, `1 MiB`, `1000000 B`, `512`. Returns nothing if the text is not a size or the
/// number does not fit in 64 bits.
///
/// Units of 1,000 (kB, MB) are refused, so that no size is read as another than was meant.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    // Up to the first byte that is no digit; an empty number fails to parse.
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let number: u64 = text[..digits].parse().ok()?;
    let scale = match text[digits..].trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    // An overflow is no size.
    number.checked_mul(scale)
}
