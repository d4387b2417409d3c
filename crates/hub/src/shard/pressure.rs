//! What slow clients hold up together. Each outbox has a limit of its own; ten thousand full ones
//! at once would still fill the machine's memory, so the fullest sessions end first.
//!
//! Only what a blocked socket holds up is counted, and only when a flush is over, so the way of a
//! delivery carries no counter. `held` must always be the sum over the sessions.

use super::ShardState;
use crate::{Hub, command::Ending};

impl ShardState {
    /// Notes how much waits for a session's socket, in bytes. Costs one comparison if nothing has
    /// changed.
    pub(super) fn weigh(&mut self, index: u32) {
        let session = &mut self.sessions[index as usize];
        let waits = u32::try_from(session.outbox.bytes()).unwrap_or(u32::MAX);
        if waits != session.held {
            self.held = self.held + waits as usize - session.held as usize;
            session.held = waits;
        }
    }

    /// Ends the sessions for which most waits, until the rest is within this shard's share of the
    /// limit. Those clients are told that they were too slow. A session whose rules let messages be
    /// dropped loses these first, and ends only if that is not enough.
    pub(super) fn relieve(&mut self, hub: &Hub) {
        // The limit is for the whole process; every shard may use an equal share without asking the
        // others.
        let share = hub.limits().outboxes_bytes / hub.shards().len().max(1);
        while self.held > share {
            let open = self.sessions.iter().filter(|(_, it)| !it.is_ending());
            let fullest = open.max_by_key(|(_, it)| it.held);
            // What is left belongs to sessions that are ending already.
            let Some((index, _)) = fullest.filter(|(_, it)| it.held > 0) else {
                return;
            };
            let index = index as u32;
            if self.drop_waiting(hub, index) {
                continue;
            }
            hub.count_slow();
            self.end(hub, index, Ending::Slow);
            self.weigh(index);
        }
    }

    /// Drops all messages of a session that its rules let drop. Returns false if that makes nothing
    /// free.
    fn drop_waiting(&mut self, hub: &Hub, index: u32) -> bool {
        let session = &mut self.sessions[index as usize];
        let before = session.outbox.bytes();
        let dropped = session.outbox.drop_all(session.setup.encoding);
        hub.counts().count_dropped(dropped);
        let after = session.outbox.bytes();
        self.weigh(index);
        after < before
    }
}
