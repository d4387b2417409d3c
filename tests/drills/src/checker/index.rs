//! What was published, by whom and when, and when something was broken.

use std::collections::{BTreeMap, HashMap};

use super::{Log, Phase, Verdict, What};

/// How it ended for the publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
/// Accepted and refused are certain; unknown and open may have been published.
pub(super) enum State {
    Open,
    Accepted,
    Unknown,
    Refused,
}

/// A message as its publisher saw it. Times are microseconds of the run's clock.
#[derive(Debug, Clone)]
pub(super) struct Published {
    /// Its number among the publisher's own.
    pub(super) publisher: u32,
    pub(super) seq: u64,
    pub(super) channel: String,
    /// When it was tried first.
    pub(super) sent: u64,
    /// When the answer came; the largest number if none came.
    pub(super) done: u64,
    /// How often it was tried until it was accepted.
    pub(super) tries: u32,
    /// Of the bytes, so that another content is seen.
    pub(super) hash: u64,
    /// Published straight to the broker, without a hub and a number.
    pub(super) native: bool,
    pub(super) state: State,
}

impl Published {
    /// Whether every reader must see this one before that one, of the same publisher and channel.
    ///
    /// Only certain where the first was accepted before the second was sent, or both went out in
    /// one batch, once.
    pub(super) fn before(&self, later: &Self) -> bool {
        let both = self.state == State::Accepted && later.state == State::Accepted;
        let together =
            self.sent == later.sent && self.seq < later.seq && self.tries == 1 && later.tries == 1;
        both && (self.done <= later.sent || together)
    }
}

/// From the breaking to the moment when it was whole again. Times are microseconds of the run's clock.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) what: String,
    /// When somebody began to mend it: from here on it may answer.
    pub(super) begin: u64,
    pub(super) mend: u64,
    pub(super) end: u64,
}

/// All publications and faults.
#[derive(Debug, Default)]
/// Publishers get numbers, as their names would be stored a million times.
pub(crate) struct Index {
    names: Vec<String>,
    numbers: HashMap<String, u32>,
    published: HashMap<(u32, u64), Published>,
    /// By channel, in the order of sending.
    pub(super) channels: BTreeMap<String, Vec<(u32, u64)>>,
    pub(super) faults: Vec<Fault>,
}

impl Index {
    ///
    /// An answer must stand behind its message in a publisher's log, as it does.
    pub(crate) fn new(publishers: &[Log], faults: &Log) -> Self {
        let mut index = Self::default();
        for log in publishers {
            for record in &log.records {
                index.add(record.t, &record.what);
            }
        }
        // A hash map has no order; the lists get one below.
        for one in index.published.values() {
            let list = index.channels.entry(one.channel.clone()).or_default();
            list.push((one.publisher, one.seq));
        }
        for list in index.channels.values_mut() {
            list.sort_by_key(|key| (index.published[key].sent, *key));
        }
        for record in &faults.records {
            if let What::Fault { what, phase } = &record.what {
                index.fault(record.t, what, *phase);
            }
        }
        index
    }

    /// Takes one line of a publisher's log.
    fn add(&mut self, t: u64, what: &What) {
        match what {
            What::Publish {
                channel,
                publisher,
                seq,
                hash,
                native,
            } => {
                let publisher = self.number_or_new(publisher);
                let one = Published {
                    publisher,
                    seq: *seq,
                    channel: channel.clone(),
                    sent: t,
                    done: u64::MAX,
                    tries: 0,
                    hash: *hash,
                    native: *native,
                    state: State::Open,
                };
                self.published.insert((publisher, *seq), one);
            }
            What::Ack {
                publisher,
                seq,
                tries,
            } => self.close(t, (publisher, *seq), State::Accepted, *tries),
            What::Unknown { publisher, seq } => self.close(t, (publisher, *seq), State::Unknown, 0),
            What::Refused { publisher, seq } => self.close(t, (publisher, *seq), State::Refused, 0),
            _ => {}
        }
    }

    /// Notes how a message ended. One that is not known, as its line was cut off, is passed over.
    fn close(&mut self, t: u64, (publisher, seq): (&str, u64), state: State, tries: u32) {
        let key = self.number(publisher).map(|number| (number, seq));
        if let Some(one) = key.and_then(|key| self.published.get_mut(&key)) {
            (one.done, one.state, one.tries) = (t, state, tries);
        }
    }

    /// Notes a phase of a fault. The last open one of the name is meant.
    fn fault(&mut self, t: u64, what: &str, phase: Phase) {
        let open = self
            .faults
            .iter_mut()
            .rev()
            .find(|fault| fault.what == what && fault.end == u64::MAX);
        match (phase, open) {
            (Phase::Begin, _) => self.faults.push(Fault {
                what: what.to_owned(),
                begin: t,
                mend: u64::MAX,
                end: u64::MAX,
            }),
            (Phase::Mend, Some(fault)) => fault.mend = t,
            (Phase::End, Some(fault)) => {
                // Whoever never said that it is being mended began to at its end.
                fault.mend = fault.mend.min(t);
                fault.end = t;
            }
            (_, None) => {}
        }
    }

    fn number_or_new(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).expect("invariant: few publishers");
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(super) fn name(&self, number: u32) -> &str {
        &self.names[number as usize]
    }

    /// Finds a message by what stands in it.
    pub(super) fn find(&self, publisher: &str, seq: u64) -> Option<&Published> {
        self.published.get(&(self.number(publisher)?, seq))
    }

    pub(super) fn get(&self, key: (u32, u64)) -> &Published {
        &self.published[&key]
    }

    /// When a message was tried first.
    pub(crate) fn sent(&self, publisher: &str, seq: u64) -> Option<u64> {
        self.find(publisher, seq).map(|one| one.sent)
    }

    /// Counts how the messages ended.
    pub(super) fn count(&self, verdict: &mut Verdict) {
        for one in self.published.values() {
            verdict.published += 1;
            match one.state {
                State::Accepted => verdict.accepted += 1,
                State::Refused => verdict.refused += 1,
                // A message without an answer may have been published.
                State::Unknown | State::Open => verdict.unknown += 1,
            }
        }
    }

    /// Seconds in which nobody got an acknowledgement, counting holes of more than a second.
    ///
    /// Any publisher's acknowledgement will do: one hub that works is a service that works.
    pub(super) fn unavailable_s(&self) -> f64 {
        let mut times: Vec<u64> = Vec::new();
        for one in self.published.values().filter(|one| !one.native) {
            if one.state == State::Accepted {
                times.push(one.done);
            }
        }
        times.sort_unstable();
        let holes = times.windows(2).map(|pair| pair[1] - pair[0]);
        holes.filter(|hole| *hole > 1_000_000).sum::<u64>() as f64 / 1e6
    }

    /// Messages sent after the broker's death and accepted before anybody began to start it again.
    ///
    /// Only faults that are called `broker` count: then nobody was there who could have accepted.
    pub(super) fn accepted_while_dead(&self) -> Vec<String> {
        let dead: Vec<_> = self
            .faults
            .iter()
            .filter(|fault| fault.what == "broker")
            .collect();
        let mut found = Vec::new();
        for one in self
            .published
            .values()
            .filter(|one| one.state == State::Accepted && !one.native)
        {
            if dead
                // 2 ms, as the kill itself takes a moment.
                .iter()
                .any(|fault| fault.begin + 2_000 < one.sent && one.done < fault.mend)
            {
                let name = self.name(one.publisher);
                found.push(format!(
                    "{name} {} accepted at {} while the broker was dead",
                    one.seq, one.done
                ));
            }
        }
        found
    }

    /// The end of the last fault that may have touched what was sent or accepted then.
    ///
    /// 0 if none did. 5 s and 10 s are what a fault may reach beyond itself: time limits before it,
    /// healing after it.
    pub(super) fn whole_after(&self, sent: u64, done: u64) -> u64 {
        let touched = self.faults.iter().filter(|fault| {
            fault.begin <= done.saturating_add(5_000_000)
                && fault.end.saturating_add(10_000_000) >= sent
        });
        touched
            .map(|fault| fault.end)
            .filter(|end| *end != u64::MAX)
            .max()
            .unwrap_or(0)
    }
}
