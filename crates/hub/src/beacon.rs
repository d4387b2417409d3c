//! Beacons: once in `beacon_interval` each instance publishes a small message in every lane. A
//! beacon carries the last number, so that receivers see a lost tail. It stands for numbers that
//! were given up. And its return tells its sender that it hears its broker. A beacon is numbered
//! like any other message, so receivers have one rule for both.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hubplane_backplane::{Backplane, Channel, Origin, Publication, Scope};
use serde::{Deserialize, Serialize};

use super::{gap_detector::Word, generations::Generation, map::HashMap, sequencer::Sequence};

/// Where beacons are published. Lanes that this name does not fall into have names with a number
/// behind it.
pub(super) const CHANNEL: &str = "$hubplane/beacon";
/// How many names are tried for a lane.
const TRIES: u32 = 1_000_000;
/// How many beacons of one sequence are watched on their way.
const WATCHED: usize = 16;

/// What a beacon says, as it travels in JSON. Fields that were added later may be missing: hubs of
/// several versions run side by side.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Beacon {
    /// Its origin and number, also where the broker carries no metadata.
    of: String,
    /// The beacon stands for all numbers from this one to its own.
    from: u64,
    /// How long its sender has been running, in milliseconds.
    up: u64,
    /// How long its sender has been connected to the broker, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) connected: Option<u64>,
    /// The lane's generation. Not written while it is the first.
    #[serde(default, skip_serializing_if = "Generation::is_first")]
    pub(super) generation: Generation,
    /// True if its sender itself has seen a message outside its channel's own lane.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) foreign: bool,
    /// The last numbers of channels, where each channel has a count of its own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) tails: Vec<(Channel, u64)>,
}

impl Beacon {
    pub(super) fn new(origin: Origin, from: u64, up: Duration) -> Self {
        Self {
            of: origin.to_string(),
            from,
            up: up.as_millis() as u64,
            connected: None,
            generation: Generation::default(),
            foreign: false,
            tails: Vec::new(),
        }
    }

    pub(super) fn encode(&self) -> Bytes {
        serde_json::to_vec(self)
            .expect("invariant: numbers and text are always JSON")
            .into()
    }

    /// Returns the beacon that a message is, with its origin. `None` if it is none.
    pub(super) fn of(publication: &Publication) -> Option<(Self, Origin)> {
        match is_beacon(&publication.channel) {
            true => Self::decode(&publication.data),
            false => None,
        }
    }

    /// Reads a beacon. Returns `None` if the bytes are none; anybody may have published them.
    pub(super) fn decode(data: &[u8]) -> Option<(Self, Origin)> {
        let beacon: Self = serde_json::from_slice(data).ok()?;
        let origin = beacon.of.parse().ok()?;
        Some((beacon, origin))
    }

    /// Returns what the gap detector needs of the beacon.
    pub(super) fn word(&self) -> Word {
        Word {
            from: self.from,
            up: Duration::from_millis(self.up),
            connected: self.connected.map(Duration::from_millis),
        }
    }
}

/// Returns true if a channel is one of the beacons'.
pub(super) fn is_beacon(channel: &str) -> bool {
    channel.starts_with(CHANNEL)
}

/// Returns a channel whose messages fall into the sequence's lane, for its beacons.
pub(super) fn channel(backplane: &dyn Backplane, sequence: &Sequence) -> Channel {
    // Where there are no lanes, one channel serves all.
    let Sequence::Lane(lane) = sequence else {
        return CHANNEL.into();
    };
    let fits = |name: &String| backplane.lane(name).is_none_or(|falls| falls == *lane);
    let mut names =
        std::iter::once(CHANNEL.to_owned()).chain((1..TRIES).map(|n| format!("{CHANNEL}/{n}")));
    names.find(fits).unwrap_or_default().into()
}

/// Watches for the return of this instance's own beacons. Pure.
#[derive(Debug, Default)]
pub(super) struct BeaconMonitor {
    sequences: HashMap<Sequence, Out>,
    /// True while nothing that arrives is looked at.
    paused: bool,
    /// Lanes that the broker holds back: their beacons return later.
    waiting: Vec<u32>,
}

#[derive(Debug)]
struct Out {
    /// Sent and not yet returned, oldest first.
    beacons: VecDeque<Sent>,
    /// True once one has returned since the start.
    heard: bool,
    /// When one returned last, or when watching began.
    last: Instant,
    /// When anything of the sequence arrived last.
    arrived: Instant,
    /// When the backend was last asked to read anew.
    renewed: Option<Instant>,
    /// True once its subscriptions were told that it is deaf.
    told: bool,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    at: Instant,
    /// True once the broker has acknowledged it.
    acknowledged: bool,
}

/// What a look at the beacons has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// Why this instance doesn't hear everything, for people.
    pub(super) trouble: Option<String>,
    /// Sequences that have just gone deaf.
    pub(super) deaf: Vec<Sequence>,
    /// True if the broker has what doesn't come back, so that the backend must read anew.
    pub(super) renew: bool,
}

impl BeaconMonitor {
    /// Expects this sequence's beacons to return, from now on if they were not expected before. The
    /// sequence counts as having moved just now.
    pub(super) fn watch(&mut self, sequence: Sequence, now: Instant) {
        let fresh = || Out {
            beacons: VecDeque::new(),
            heard: false,
            last: now,
            arrived: now,
            renewed: None,
            told: false,
        };
        self.sequences.entry(sequence).or_insert_with(fresh).arrived = now;
    }

    /// Notes that something of these sequences has arrived.
    pub(super) fn arrived(&mut self, sequences: impl Iterator<Item = Sequence>, now: Instant) {
        for sequence in sequences {
            if let Some(out) = self.sequences.get_mut(&sequence) {
                out.arrived = now;
            }
        }
    }

    /// Returns the sequences that need beacons.
    pub(super) fn sequences(&self) -> Vec<Sequence> {
        self.sequences.keys().cloned().collect()
    }

    /// Notes that a beacon is on its way.
    pub(super) fn sent(&mut self, sequence: &Sequence, number: u64, now: Instant) {
        if let Some(out) = self.sequences.get_mut(sequence)
            && out.beacons.len() < WATCHED
        {
            out.beacons.push_back(Sent {
                number,
                at: now,
                acknowledged: false,
            });
        }
    }

    /// Notes that the broker has a beacon.
    pub(super) fn acknowledged(&mut self, sequence: &Sequence, number: u64) {
        let beacons = self.sequences.get_mut(sequence).map(|out| &mut out.beacons);
        for sent in beacons.into_iter().flatten() {
            if sent.number == number {
                sent.acknowledged = true;
            }
        }
    }

    /// Notes that a beacon came back. Returns how long it took, if it was watched.
    pub(super) fn returned(
        &mut self,
        sequence: &Sequence,
        number: u64,
        now: Instant,
    ) -> Option<Duration> {
        let out = self.sequences.get_mut(sequence)?;
        out.heard = true;
        // It hears again, so the next silence is told again.
        out.told = false;
        out.last = now;
        let mut took = None;
        while let Some(sent) = out.beacons.front()
            && sent.number <= number
        {
            // Earlier ones that have not come back are passed over; gaps are judged elsewhere.
            took = (sent.number == number).then(|| now.saturating_duration_since(sent.at));
            out.beacons.pop_front();
        }
        took
    }

    /// Notes an announced loss: beacons on their way may be part of it, so their silence says
    /// nothing more.
    pub(super) fn on_gap(&mut self, scope: &Scope) {
        for (sequence, out) in &mut self.sequences {
            let concerned = match (scope, sequence) {
                (Scope::All, _) => true,
                (Scope::Lane(lane), Sequence::Lane(own)) => lane == own,
                (Scope::Lane(_) | Scope::Channels(_), _) => false,
            };
            if concerned {
                out.beacons.clear();
            }
        }
    }

    /// Nothing that arrives is looked at until [`Self::resume`], so silence means nothing.
    pub(super) const fn pause(&mut self) {
        self.paused = true;
    }

    /// What arrives is looked at again. What was due meanwhile is due from now on.
    pub(super) fn resume(&mut self, now: Instant) {
        self.paused = false;
        for out in self.sequences.values_mut() {
            out.last = now;
            out.arrived = now;
        }
    }

    /// The broker holds back these lanes and no others. What was due of a lane that goes on is due
    /// from now on.
    pub(super) fn wait(&mut self, lanes: Vec<u32>, now: Instant) {
        for lane in &self.waiting {
            if let Some(out) = self.sequences.get_mut(&Sequence::Lane(*lane)) {
                out.last = now;
                out.arrived = now;
            }
        }
        self.waiting = lanes;
    }

    /// Finds out whether every sequence's beacons return. If none of a sequence has returned for
    /// `most`, this instance is in trouble. If none has for `deaf`, the sequence is deaf, and its
    /// subscriptions must be told.
    pub(super) fn look(&mut self, now: Instant, most: Duration, deaf: Duration) -> Findings {
        let mut findings = Findings::default();
        if self.sequences.is_empty() {
            findings.trouble = Some("the backend has named no lane yet".to_owned());
        }
        // Nothing is judged while the window is being filled.
        if self.paused {
            findings.trouble =
                Some("what the log has of the last minutes is being read".to_owned());
            return findings;
        }
        // A lane that the broker holds back is silent for a reason.
        let waiting = &self.waiting;
        let waits = |sequence: &Sequence| matches!(sequence, Sequence::Lane(lane) if waiting.contains(lane));
        let looked_at = self.sequences.iter_mut();
        for (sequence, out) in looked_at.filter(|(sequence, _)| !waits(sequence)) {
            let place = match sequence {
                Sequence::Lane(lane) => format!("lane {lane}"),
                Sequence::Channel(_) => "the broker".to_owned(),
            };
            let since = |at: Instant| now.saturating_duration_since(at);
            if since(out.last) < most {
                if !out.heard {
                    findings.trouble = Some(format!("nothing has come back from {place} yet"));
                }
                continue;
            }
            findings.trouble = Some(format!(
                "what this instance publishes has not come back from {place} for {:.1} s",
                since(out.last).as_secs_f32()
            ));
            let silent_for_long = since(out.last) >= deaf;
            if out.heard && silent_for_long && !std::mem::replace(&mut out.told, true) {
                findings.deaf.push(sequence.clone());
            }
            // An instance that still has much to read hears its broker, so it must not begin again.
            let silent = since(out.arrived) >= most;
            let overdue = |sent: &Sent| sent.acknowledged && since(sent.at) >= most / 2;
            let rested = out.renewed.is_none_or(|at| since(at) >= 2 * most);
            if silent && rested && out.beacons.iter().any(overdue) {
                out.renewed = Some(now);
                findings.renew = true;
            }
        }
        findings
    }
}

#[cfg(test)]
mod tests;
