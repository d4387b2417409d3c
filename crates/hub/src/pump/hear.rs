//! What this instance learns from beacons, its own and those of others: that it hears its broker,
//! that a lane has a new generation, and that the last messages of a channel are missing.
//!
//! The numbers themselves were judged before, by the gap detector.

use std::time::Instant;

use hubplane_backplane::{Channel, GapCause, Origin, Position, Scope};

use super::Pump;
use crate::{beacon::Beacon, sequencer::Sequence};

/// Whose beacon it is, and what it may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// This instance's own, come back. Its word on a lane is nothing new.
    Own,
    /// Another instance's: its word on this lane holds from this position on.
    Lane(u32, Position),
    /// Another instance's that is in no log, so it has no word on a lane.
    Elsewhere,
}

impl Source {
    /// Decides it for a beacon of `origin`, on the instance `own`.
    fn of(own: u128, origin: Origin, sequence: &Sequence, position: Option<Position>) -> Self {
        match (sequence, position) {
            _ if origin.id == own => Self::Own,
            (Sequence::Lane(lane), Some(position)) => Self::Lane(*lane, position),
            _ => Self::Elsewhere,
        }
    }
}

/// Returns the channels whose last messages did not come, by what a beacon says of them; `None` if
/// nothing is missing.
fn missing(tails: &[(Channel, u64)], is_missing: impl Fn(&Channel, u64) -> bool) -> Option<Scope> {
    let missing = tails
        .iter()
        .filter(|(channel, last)| is_missing(channel, *last));
    let channels: Vec<_> = missing
        .map(|(channel, _)| Channel::clone(channel))
        .collect();
    (!channels.is_empty()).then_some(Scope::Channels(channels))
}

impl Pump<'_> {
    /// Takes in a beacon: another instance's word on a lane, or this instance's own come back.
    pub(super) async fn hear(
        &mut self,
        sequence: &Sequence,
        beacon: Beacon,
        origin: Origin,
        position: Option<Position>,
    ) {
        let hub = self.hub;
        match Source::of(hub.origin(), origin, sequence, position) {
            // The time since it was sent is what a message takes through the broker and back.
            Source::Own => {
                let now = Instant::now();
                let took = hub.beacon_monitor().returned(sequence, origin.number, now);
                if let Some(took) = took {
                    hub.counts().loops.record(took);
                }
            }
            Source::Lane(lane, position) => self.believe(lane, position, &beacon).await,
            Source::Elsewhere => {}
        }
        // Channels that count for themselves carry no beacons of their own, so a lost last message
        // shows only here.
        let missing = missing(&beacon.tails, |channel, last| {
            let sequence = Sequence::Channel(Channel::clone(channel));
            // For a channel that was given back since, what was heard of it says nothing.
            hub.interest().is_active(channel)
                && hub
                    .log()
                    .gap_detector()
                    .is_short(&sequence, origin.id, last)
        });
        if let Some(scope) = missing {
            self.post().await;
            hub.announce(scope, GapCause::Missing).await;
        }
    }

    /// Takes another instance's word on a lane. If it found the chain broken, positions given out
    /// before are void here, too.
    async fn believe(&mut self, lane: u32, position: Position, beacon: &Beacon) {
        let hub = self.hub;
        // Kept apart from what this hub has seen itself, or the word would go round for ever.
        if beacon.foreign {
            hub.log().window().hear_of_foreign();
        }
        let news = hub.log().generations().adopt(lane, beacon.generation);
        if news {
            self.post().await;
            hub.begin(position);
            hub.announce(Scope::Lane(lane), GapCause::LogReplaced).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u128 = 7;

    #[test]
    fn only_another_instances_beacon_in_a_log_has_a_word_on_a_lane() {
        let at = Position {
            epoch: 1,
            lane: 3,
            offset: 9,
        };
        let (lane, channel) = (Sequence::Lane(3), Sequence::Channel("c".into()));
        for (id, sequence, position, source) in [
            (OWN, &lane, Some(at), Source::Own),
            (OWN, &channel, None, Source::Own),
            (8, &lane, Some(at), Source::Lane(3, at)),
            (8, &lane, None, Source::Elsewhere),
            (8, &channel, None, Source::Elsewhere),
        ] {
            let origin = Origin { id, number: 1 };
            assert_eq!(Source::of(OWN, origin, sequence, position), source);
        }
    }

    #[test]
    fn only_channels_whose_last_message_did_not_come_are_missing() {
        let tails = [("a".into(), 5), ("b".into(), 6), ("c".into(), 7)];
        let scope = missing(&tails, |_, last| last > 5);
        assert_eq!(scope, Some(Scope::Channels(vec!["b".into(), "c".into()])));
        assert_eq!(missing(&tails, |_, _| false), None);
        assert_eq!(missing(&[], |_, _| true), None);
    }
}
