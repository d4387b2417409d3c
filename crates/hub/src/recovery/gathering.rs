//! What one reading of a lane's log has gathered, and who can't be given what it missed. Pure: messages and times come in,
//! answers go out. [`Scan`](super::scan::Scan) reads the log and sends the answers.

use std::{collections::HashMap, sync::Arc, time::Instant};

use hubplane_backplane::{Channel, Publication};

use super::queue::RecoveryRequest;
use crate::{
    beacon::Beacon,
    frame::Encoded,
    gap_detector::{GapDetector, Verdict},
    sequencer::Sequence,
    window::{ReadLimit, WindowEntry},
};

/// What is gathered for one subscription.
struct Gathered {
    request: RecoveryRequest,
    entries: Vec<WindowEntry>,
    /// Bytes of their data.
    bytes: usize,
}

/// All subscriptions that one reading serves. Each that was added is given out once: refused, or at the end.
pub(super) struct Gathering {
    /// The most that one client may be given; the bytes are also the most that is held for all.
    most: ReadLimit,
    /// Sees where numbers are missing, in what is read.
    numbers: GapDetector,
    waiting: HashMap<Channel, Vec<Gathered>>,
    /// Can't be given what they missed.
    refused: Vec<RecoveryRequest>,
}

impl Gathering {
    pub(super) fn new(most: ReadLimit) -> Self {
        Self {
            most,
            numbers: GapDetector::default(),
            waiting: HashMap::new(),
            refused: Vec::new(),
        }
    }

    /// Serves this subscription, too, from the next batch on.
    pub(super) fn add(&mut self, request: RecoveryRequest) {
        let channel = Channel::clone(&request.channel);
        self.waiting.entry(channel).or_default().push(Gathered {
            request,
            entries: Vec::new(),
            bytes: 0,
        });
    }

    /// This subscription can't be given what it missed.
    pub(super) fn refuse(&mut self, request: RecoveryRequest) {
        self.refused.push(request);
    }

    /// Returns true if messages of this channel are to be gathered.
    pub(super) fn wants(&self, channel: &Channel) -> bool {
        self.waiting.contains_key(channel)
    }

    /// Looks for missing numbers in what was read. Something was removed from the log there, such as by a topic that was
    /// compacted for a while, so those who stand before it are refused.
    pub(super) fn check(&mut self, read: &[Publication], now: Instant) {
        let mut hole = None;
        for publication in read {
            let (Some(origin), Some(position)) = (publication.origin, publication.position) else {
                continue;
            };
            let word = Beacon::of(publication).map(|(beacon, _)| beacon.word());
            let sequence = Sequence::Lane(position.lane);
            let verdict = self.numbers.check(&sequence, origin, word, now);
            if matches!(verdict, Verdict::Missing { .. }) {
                hole = Some(position.offset);
            }
        }
        let Some(hole) = hole else {
            return;
        };
        for waiting in self.waiting.values_mut() {
            let before = waiting.extract_if(.., |it| it.request.after.offset < hole);
            self.refused.extend(before.map(|it| it.request));
        }
    }

    /// Gives each subscription its messages of a batch. One that missed more than a client may be given is refused.
    pub(super) fn gather(&mut self, batch: &Arc<Vec<Encoded>>) {
        let most = self.most;
        for (index, encoded) in (0..).zip(batch.iter()) {
            let message = encoded.message();
            let Some(waiting) = self.waiting.get_mut(&message.channel) else {
                continue;
            };
            let entry = WindowEntry::new(Arc::clone(batch), index);
            let offset = entry.position().offset;
            let missed_it = |it: &&mut Gathered| it.request.after.offset < offset;
            for gathered in waiting.iter_mut().filter(missed_it) {
                gathered.bytes += message.data.len();
                gathered.entries.push(entry.clone());
            }
            let over =
                |it: &mut Gathered| it.entries.len() > most.messages || it.bytes > most.bytes;
            let too_much = waiting.extract_if(.., over);
            self.refused.extend(too_much.map(|it| it.request));
        }
        self.relieve();
    }

    /// Refuses the channels that most is held for, until the rest is no more than one client may be given.
    fn relieve(&mut self) {
        // What several are given of a channel is held once.
        let held = |all: &Vec<Gathered>| all.iter().map(|it| it.bytes).max().unwrap_or_default();
        while self.waiting.values().map(held).sum::<usize>() > self.most.bytes {
            let largest = self.waiting.iter().max_by_key(|(_, all)| held(all));
            let Some(channel) = largest.map(|(channel, _)| Channel::clone(channel)) else {
                break;
            };
            let taken = self.waiting.remove(&channel).unwrap_or_default();
            self.refused.extend(taken.into_iter().map(|it| it.request));
        }
    }

    /// Forgets subscriptions that are gone. Returns true if nobody is left to read for.
    pub(super) fn drop_unwanted(&mut self) -> bool {
        self.waiting.retain(|_, waiting| {
            waiting.retain(|it| it.request.is_wanted());
            !waiting.is_empty()
        });
        self.waiting.is_empty()
    }

    /// Takes those who can't be given what they missed.
    pub(super) fn take_refused(&mut self) -> Vec<RecoveryRequest> {
        std::mem::take(&mut self.refused)
    }

    /// Takes all others, each with what was gathered for it, oldest first.
    pub(super) fn take_waiting(&mut self) -> Vec<(RecoveryRequest, Vec<WindowEntry>)> {
        let waiting = std::mem::take(&mut self.waiting).into_values().flatten();
        waiting.map(|it| (it.request, it.entries)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use hubplane_backplane::{Origin, Position};

    use super::*;
    use crate::{
        key::{Key, SubscriptionKey},
        message::Message,
        position::ClientPosition,
    };

    fn at(offset: u128) -> ClientPosition {
        ClientPosition {
            epoch: 1,
            lane: 0,
            offset,
            fingerprint: None,
        }
    }

    fn request(channel: &str, after: u128, wanted: Weak<()>) -> RecoveryRequest {
        RecoveryRequest {
            shard: 0,
            subscription: SubscriptionKey {
                session: Key {
                    index: 0,
                    serial: 0,
                },
                serial: after as u64,
            },
            channel: channel.into(),
            after: at(after),
            wanted,
        }
    }

    fn gathering(requests: &[(&str, u128)]) -> Gathering {
        let mut gathering = Gathering::new(ReadLimit {
            messages: 2,
            bytes: 10,
        });
        for (channel, after) in requests {
            gathering.add(request(channel, *after, Weak::new()));
        }
        gathering
    }

    /// Messages of these sizes in a channel, at the offsets from 11 on.
    fn batch(messages: &[(&str, usize)]) -> Arc<Vec<Encoded>> {
        let messages = (11..).zip(messages).map(|(offset, (channel, size))| {
            Encoded::new(Message {
                channel: (*channel).into(),
                data: vec![b'x'; *size].into(),
                position: Some(at(offset)),
                id: None,
                origin: None,
                tags: Default::default(),
            })
        });
        Arc::new(messages.collect())
    }

    /// Where those stand who were refused.
    fn refused(gathering: &mut Gathering) -> Vec<u128> {
        let refused = gathering.take_refused();
        refused.iter().map(|it| it.after.offset).collect()
    }

    #[test]
    fn each_gets_what_is_behind_its_position() {
        let mut gathering = gathering(&[("a", 10), ("a", 11), ("b", 10)]);
        assert!(gathering.wants(&"b".into()) && !gathering.wants(&"c".into()));
        gathering.gather(&batch(&[("a", 1), ("a", 1), ("c", 1)]));
        let mut given: Vec<_> = gathering
            .take_waiting()
            .into_iter()
            .map(|(request, entries)| (request.channel, request.after.offset, entries.len()))
            .collect();
        given.sort();
        let expected = [("a", 10, 2), ("a", 11, 1), ("b", 10, 0)];
        assert_eq!(
            given,
            expected.map(|(name, at, count)| (name.into(), at, count))
        );
    }

    #[test]
    fn who_missed_too_much_is_refused_and_the_others_are_not() {
        let mut gathering = gathering(&[("a", 10), ("a", 11)]);
        gathering.gather(&batch(&[("a", 1), ("a", 1), ("a", 1)]));
        assert_eq!(refused(&mut gathering), [10]);
        assert_eq!(gathering.take_waiting().len(), 1);
    }

    #[test]
    fn the_channel_that_most_is_held_for_is_refused_first() {
        let mut gathering = gathering(&[("a", 9), ("b", 10)]);
        gathering.gather(&batch(&[("a", 8), ("b", 3)]));
        assert_eq!(refused(&mut gathering), [9]);
    }

    #[test]
    fn who_stands_before_a_hole_is_refused() {
        let mut gathering = gathering(&[("a", 10), ("a", 12)]);
        let read = [(11, 1), (12, 3)].map(|(offset, number)| Publication {
            channel: "a".into(),
            data: "x".into(),
            position: Some(Position {
                epoch: 1,
                lane: 0,
                offset,
            }),
            id: None,
            origin: Some(Origin { id: 7, number }),
            tags: Default::default(),
        });
        gathering.check(&read, Instant::now());
        assert_eq!(refused(&mut gathering), [10]);
    }

    #[test]
    fn nobody_is_left_once_all_subscriptions_are_gone() {
        let mut gathering = gathering(&[("a", 10)]);
        let wanted = Arc::new(());
        gathering.add(request("b", 10, Arc::downgrade(&wanted)));
        assert!(!gathering.drop_unwanted(), "one is still there");
        drop(wanted);
        assert!(gathering.drop_unwanted());
    }
}
