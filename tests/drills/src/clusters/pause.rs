//! The longest time in which nothing arrived.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use crate::{
    Result,
    checker::{Log, What},
};

/// Of arrivals in microseconds of the run's clock, the longest wait for the next one between two times. Both times count
/// as arrivals, so that what never came back is as long as the rest of the time.
pub(super) fn longest(mut arrivals: Vec<u64>, from: u64, to: u64) -> Duration {
    arrivals.retain(|t| (from..=to).contains(t));
    arrivals.push(to);
    arrivals.sort_unstable();
    let mut before = from;
    let mut most = 0;
    for t in arrivals {
        most = most.max(t - before);
        before = t;
    }
    Duration::from_micros(most)
}

/// The longest pause that any client saw on any channel, from the clients' logs in this directory.
pub(super) fn of_clients(directory: &Path, from: u64, to: u64) -> Result<Duration> {
    let mut most = Duration::ZERO;
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let log = path
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("client-"));
        if !log {
            continue;
        }
        let mut channels: HashMap<String, Vec<u64>> = HashMap::new();
        for record in Log::read(&path)?.records {
            match record.what {
                What::Message { channel, .. } => {
                    channels.entry(channel).or_default().push(record.t)
                }
                // So a channel that delivers nothing at all is seen, too.
                What::Subscribed { channel, .. } => _ = channels.entry(channel).or_default(),
                _ => {}
            }
        }
        for arrivals in channels.into_values() {
            most = most.max(longest(arrivals, from, to));
        }
    }
    Ok(most)
}

#[test]
fn a_pause_at_either_end_counts() {
    let us = Duration::from_micros;
    // 5 to 12; what came at 99 is not within.
    assert_eq!(longest(vec![4, 5, 12, 99], 1, 13), us(7));
    // From 5 to the end.
    assert_eq!(longest(vec![4, 5], 1, 20), us(15));
    // Nothing at all: the whole time.
    assert_eq!(longest(vec![], 1, 20), us(19));
}
