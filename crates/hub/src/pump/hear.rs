//! What this instance learns from beacons, its own and those of others: that it hears its broker,
//! that a lane has a new generation, and that the last messages of a channel are missing.
//!
//! The numbers themselves were judged before, by the gap detector.

use std::time::Instant;

use hubplane_backplane::{Channel, GapCause, Origin, Position, Scope};

use super::Pump;
use crate::{beacon::Beacon, sequencer::Sequence};

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
        // Its own: the time since it was sent is what a message takes through the broker and back.
        if origin.id == hub.origin() {
            let took = hub
                .beacon_monitor()
                .returned(sequence, origin.number, Instant::now());
            if let Some(took) = took {
                hub.counts().loops.record(took);
            }
        } else if let (Sequence::Lane(lane), Some(position)) = (sequence, position) {
            // Kept apart from what this hub has seen itself, or the word would go round for ever.
            if beacon.foreign {
                hub.log().window().hear_of_foreign();
            }
            let news = hub.log().generations().adopt(*lane, beacon.generation);
            // Another instance found the chain broken: positions given out before are void here,
            // too.
            if news {
                self.post().await;
                hub.begin(position);
                hub.announce(Scope::Lane(*lane), GapCause::LogReplaced)
                    .await;
            }
        }
        // Channels that count for themselves carry no beacons of their own, so a lost last message
        // shows only here.
        let short = |(channel, last): &(Channel, u64)| {
            let sequence = Sequence::Channel(Channel::clone(channel));
            // For a channel that was given back since, what was heard of it says nothing.
            hub.interest().is_active(channel)
                && hub
                    .log()
                    .gap_detector()
                    .is_short(&sequence, origin.id, *last)
        };
        let short: Vec<_> = beacon.tails.iter().filter(|tail| short(tail)).collect();
        if !short.is_empty() {
            let channels = short.iter().map(|(channel, _)| Channel::clone(channel));
            let scope = Scope::Channels(channels.collect());
            self.post().await;
            hub.announce(scope, GapCause::Missing).await;
        }
    }
}
