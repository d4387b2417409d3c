//! What slow clients hold up together. Each outbox has a limit of its own; many of them at once must not fill the
//! machine's memory, so the fullest go first.

use super::ShardState;
use crate::{Hub, command::Ending};

impl ShardState {
    /// Notes how much waits for a session's socket. Costs one comparison if nothing waits.
    pub(super) fn weigh(&mut self, index: u32) {
        let session = &mut self.sessions[index as usize];
        let waits = u32::try_from(session.outbox.bytes()).unwrap_or(u32::MAX);
        if waits != session.held {
            self.held = self.held + waits as usize - session.held as usize;
            session.held = waits;
        }
    }

    /// Ends the sessions for which most waits, until the rest is within this shard's share of the limit.
    pub(super) fn relieve(&mut self, hub: &Hub) {
        let share = hub.limits().outboxes_bytes / hub.shards.len().max(1);
        while self.held > share {
            let open = self.sessions.iter().filter(|(_, it)| !it.is_ending());
            let fullest = open.max_by_key(|(_, it)| it.held);
            let Some((index, _)) = fullest.filter(|(_, it)| it.held > 0) else {
                return;
            };
            hub.count_slow();
            let index = index as u32;
            self.end(hub, index, Ending::Slow);
            self.weigh(index);
        }
    }
}
