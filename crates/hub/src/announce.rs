//! What the hub tells all its shards, and what it takes from its own channels.

use std::sync::Arc;

use hubplane_backplane::{Channel, Error, ErrorKind, GapCause, Listed, Publication, Scope};

use super::{Hub, connections, disconnect, presence, sabotage, shard::Mail};

impl Hub {
    /// Takes a message on one of the hub's own channels. No client ever gets it.
    pub(crate) fn reserved(&self, publication: &Publication) {
        match &*publication.channel {
            presence::CHANNEL => self.presence().receive(&publication.data),
            connections::CHANNEL => self.connections().receive(&publication.data),
            disconnect::CHANNEL => self.ordered(&publication.data),
            channel => tracing::debug!(
                channel,
                "a message on a reserved channel that nobody here reads"
            ),
        }
    }

    /// Tells the subscriptions concerned that they may have missed messages, and counts the gap.
    /// Waits until every shard has it in its mailbox, so it stands in front of the messages behind
    /// the hole.
    pub(crate) async fn announce(&self, scope: Scope, cause: GapCause) {
        tracing::warn!(%cause, %scope, "messages may have been missed; telling the subscriptions concerned");
        self.counts().count_gap(cause);
        if sabotage::swallows_gaps() {
            return;
        }
        let scope = Arc::new(scope);
        self.post(|| Mail::Gap(Arc::clone(&scope), cause)).await;
    }

    /// Ends the subscriptions of channels that the broker refuses from now on. Their clients are
    /// told why.
    pub(crate) async fn refuse(&self, channels: Vec<Channel>, reason: String) {
        tracing::warn!(channels = %Listed(&channels), %reason, "the broker refuses channels; ending their subscriptions");
        self.interest().drop_refused(&channels);
        let error = Arc::new(Error::new(ErrorKind::Rejected, self.driver(), reason));
        self.post(|| Mail::Interest(channels.clone(), Err(Arc::clone(&error))))
            .await;
    }

    /// Sends one mail to every shard. Waits for a shard whose mailbox is full.
    pub(crate) async fn post(&self, mail: impl Fn() -> Mail) {
        for shard in self.shards() {
            // A shard that is gone has no sessions.
            _ = shard.send(mail()).await;
        }
    }
}
