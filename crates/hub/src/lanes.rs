//! Which lane and which sequence things are in, for this hub's backend. A channel has a lane of its
//! own; other programs may publish it elsewhere, which is remembered here.

use std::{sync::atomic::Ordering, time::Instant};

use hubplane_backplane::{Channel, GapCause, Interest, Origin, Position, Publication, Scope};

use super::{Hub, position::ClientPosition, sequencer::Sequence};

impl Hub {
    /// Returns the lane in which a channel's messages are: its own, unless they were seen in
    /// another one last. `None` on brokers without lanes.
    pub(super) fn lane(&self, channel: &str) -> Option<u32> {
        let own = self.backplane().lane(channel)?;
        Some(self.log().window().placements().lane(channel, own))
    }

    /// Returns true if a loss in this lane may concern the channel.
    pub(super) fn may_be_in(&self, channel: &str, lane: u32) -> bool {
        self.backplane().lane(channel) == Some(lane)
            || self.log().window().placements().may_be_in(channel, lane)
    }

    /// Notes the lane that a message has come in, and warns of the first one outside its channel's
    /// lane.
    pub(super) fn place_channel(&self, publication: &Publication, now: Instant) {
        let channel = &publication.channel;
        let (Some(position), Some(own)) = (publication.position, self.backplane().lane(channel))
        else {
            return;
        };
        let lane = position.lane;
        if lane != own && publication.origin.is_some() {
            // A hub published it before lanes were added. Positions from before that are void
            // anyway.
            return;
        }
        if lane != own && self.counts().foreign_lane.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                %channel, lane, own,
                "another program publishes outside the channel's lane; clients that come back may not be recovered"
            );
        }
        self.log().window().place_channel(channel, lane, own, now);
    }

    /// Returns the sequence that a channel's messages are counted in.
    pub(super) fn sequence_of(&self, channel: &Channel) -> Sequence {
        let routed = self.capabilities().interest == Interest::Routed;
        Sequence::of(&**self.backplane(), routed, channel)
    }

    /// Voids a lane's positions, because a message got into it with a number of another lane's and
    /// hubs may take that for a repetition. Begins a new generation, which beacons carry to all
    /// hubs, and tells the lane's subscriptions.
    pub(super) async fn void_lane(&self, lane: u32, origin: Origin) {
        let head = self.log().window().head(lane);
        let at = head.map(|head| self.log().to_backend(head));
        self.log().generations().begin(lane, Some(origin));
        if let Some(at) = at {
            self.begin(at);
        }
        self.announce(Scope::Lane(lane), GapCause::LogReplaced)
            .await;
    }

    /// Begins a lane's window anew after a backend's position. Returns that position as clients
    /// know it.
    pub(super) fn begin(&self, position: Position) -> ClientPosition {
        let position = self.log().to_client(position);
        self.log().window().begin(position);
        position
    }
}
