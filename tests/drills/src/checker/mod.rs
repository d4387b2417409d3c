//! The checker: reads what clients, publishers and fault injectors wrote down, and counts what must not be.
//!
//! It knows nothing of the hub but the words of its protocol, and does nothing but read logs. The rules:
//!
//! - **accepted**: a publisher got an acknowledgement.
//! - **expected**: pairs of an accepted message and a client that was subscribed before it was sent, and is at the end.
//! - **delivered** of these, or **announced**: a `gap`, or `recovered: false`, in time (`announce.rs`); else **silent**.
//! - **repeated**: twice on one connection, or again under another id; `repeated_raw` also counts what comes again after
//!   a resume under the same id, which a client drops. After `recovered: false` a session begins anew.
//! - **reordered**: after a message of the same publisher and channel that was sent only when this one was accepted.
//! - **phantom**: not published, not on that channel, or with other bytes.
//! - **dishonest**: accepted while the broker was surely dead, or refused for certain and delivered all the same.
//! - **false gaps**: announcements that cover no loss.

mod announce;
mod client;
mod heal;
mod index;
mod record;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, fs, path::Path};

use serde::Serialize;

pub(crate) use index::Index;
pub(crate) use record::{Phase, Record, What};

use crate::Result;

/// One writer's log.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) who: String,
    pub(crate) records: Vec<Record>,
}

/// Percentiles in whole milliseconds.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    /// Of microseconds.
    pub(crate) fn of(mut values: Vec<u64>) -> Self {
        // Values are few enough to be sorted.
        values.sort_unstable();
        // The nearest rank; 0 without values.
        let at = |share: usize| {
            values
                .get(values.len().saturating_sub(1) * share / 100)
                .map_or(0, |us| us / 1000)
        };
        Self {
            p50: at(50),
            p99: at(99),
            max: at(100),
        }
    }
}

/// What the logs say.
///
/// The words are those of this module's rules.
#[derive(Debug, Default, Clone, Serialize)]
pub(crate) struct Verdict {
    pub(crate) published: u64,
    pub(crate) accepted: u64,
    pub(crate) unknown: u64,
    pub(crate) refused: u64,
    pub(crate) expected: u64,
    pub(crate) delivered: u64,
    pub(crate) announced: u64,
    pub(crate) lost_silent: u64,
    /// The same of messages that went straight to the broker and carry no number.
    pub(crate) lost_silent_native: u64,
    pub(crate) repeated: u64,
    pub(crate) repeated_raw: u64,
    pub(crate) reordered: u64,
    pub(crate) phantom: u64,
    pub(crate) dishonest: u64,
    pub(crate) gaps: u64,
    pub(crate) false_gaps: u64,
    pub(crate) resumes: u64,
    pub(crate) recovered: u64,
    /// From when everything was whole until a loss was announced.
    pub(crate) detect_ms: Spread,
    /// From the end of a fault until a hub delivered what was sent since.
    pub(crate) heal_ms: Spread,
    /// Hubs that delivered nothing new for ten seconds after a fault had ended.
    pub(crate) unhealed: u64,
    /// From the end of a connection until the subscription of the next one.
    pub(crate) resume_ms: Spread,
    /// From sending to delivery.
    pub(crate) latency_ms: Spread,
    /// Seconds without any acknowledgement, in holes of more than one.
    pub(crate) unavailable_s: f64,
    pub(crate) faults: u64,
    /// The first few offences of each kind, in words.
    pub(crate) examples: Vec<String>,
}

/// Counts over all clients.
#[derive(Debug)]
pub(crate) struct Checker {
    index: Index,
    verdict: Verdict,
    /// How many examples of each kind were kept.
    told: HashMap<&'static str, u32>,
    detect: Vec<u64>,
    resume: Vec<u64>,
    latency: Vec<u64>,
    heal: heal::Heal,
}

impl Checker {
    /// From the logs of all publishers and of the fault injector.
    pub(crate) fn new(publishers: &[Log], faults: &Log) -> Self {
        let index = Index::new(publishers, faults);
        let mut verdict = Verdict {
            faults: index.faults.len() as u64,
            unavailable_s: index.unavailable_s(),
            ..Verdict::default()
        };
        index.count(&mut verdict);
        let heal = heal::Heal::new(&index.faults);
        let mut checker = Self {
            index,
            verdict,
            told: HashMap::new(),
            detect: Vec::new(),
            resume: Vec::new(),
            latency: Vec::new(),
            heal,
        };
        for dishonest in checker.index.accepted_while_dead() {
            checker.verdict.dishonest += 1;
            checker.tell("dishonest", || dishonest);
        }
        checker
    }

    /// The verdict, after every client was read.
    /// Clients are read one after the other, so that their logs need not be in memory at once.
    pub(crate) fn end(mut self) -> Verdict {
        self.verdict.detect_ms = Spread::of(self.detect);
        self.verdict.resume_ms = Spread::of(self.resume);
        self.verdict.latency_ms = Spread::of(self.latency);
        self.verdict.heal_ms = Spread::of(self.heal.times());
        self.verdict.unhealed = self.heal.unhealed();
        self.verdict
    }

    /// Counts an offence of this kind and keeps its words, if they are among the first four.
    fn tell(&mut self, kind: &'static str, words: impl FnOnce() -> String) {
        let told = self.told.entry(kind).or_default();
        *told += 1;
        if *told <= 4 {
            self.verdict.examples.push(format!("{kind}: {}", words()));
        }
    }
}

/// Reads a directory of logs: `publisher-*.jsonl`, `client-*.jsonl`, `faults.jsonl`.
pub(crate) fn check(directory: &Path) -> Result<Verdict> {
    let (mut checker, clients) = open(directory)?;
    for name in clients {
        checker.client(&Log::read(&directory.join(name))?);
    }
    Ok(checker.end())
}

/// The checker for a directory and the names of its clients' logs.
pub(crate) fn open(directory: &Path) -> Result<(Checker, Vec<String>)> {
    let (mut publishers, mut clients) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("publisher-") {
            publishers.push(Log::read(&directory.join(name))?);
        } else if name.starts_with("client-") {
            clients.push(name);
        }
    }
    clients.sort();
    let faults = directory.join("faults.jsonl");
    let faults = if faults.exists() {
        Log::read(&faults)?
    } else {
        // No faults at all is a valid run.
        Log::default()
    };
    Ok((Checker::new(&publishers, &faults), clients))
}

/// Microseconds from the sending to the delivery of what the clients got between two times.
///
/// `wanted` chooses clients by the names of their logs.
pub(crate) fn latencies(
    directory: &Path,
    wanted: impl Fn(&str) -> bool,
    from: u64,
    to: u64,
) -> Result<Vec<u64>> {
    let (checker, clients) = open(directory)?;
    let mut found = Vec::new();
    for name in clients.iter().filter(|name| wanted(name)) {
        for record in Log::read(&directory.join(name))?.records {
            if let What::Message { publisher, seq, .. } = &record.what
                && (from..to).contains(&record.t)
                && let Some(sent) = checker.index.sent(publisher, *seq)
            {
                found.push(record.t.saturating_sub(sent));
            }
        }
    }
    Ok(found)
}
