//! What the receiving task of the first backend owns, across connections; and what it tells the hub
//! and the log.
//!
//! The work is in three places: [`crate::consume`] between connections, [`crate::serve`] on one,
//! [`crate::guard`] beside it.

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Event, EventSender, GapCause};
use tokio::{select, time::Instant};

use crate::{
    instance_queue::InstanceQueue, probe::Probe, redelivery::RedeliveryFilter, shared::Shared,
    witness::advice,
};

/// How often a drop for the same reason is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What the receiving task owns.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSender,
    pub(crate) queue: InstanceQueue,
    pub(crate) redelivery: RedeliveryFilter,
    /// A gap that the hub must be told of before anything else is delivered.
    pub(crate) gap: Option<GapCause>,
    pub(crate) probe: Probe,
    /// When the next token is to be put, and the probe to be looked at.
    pub(crate) round_due: Instant,
    /// When the last drop was logged, and its reason.
    pub(crate) logged: Option<(Instant, String)>,
    /// Whether the queue must not be used again.
    pub(crate) unusable: bool,
}

impl Receiver {
    /// Tells the hub, and waits for room in its queue. Returns false if the backend was closed
    /// meanwhile.
    pub(crate) async fn say(&self, event: Event) -> bool {
        select! {
            sent = self.events.send(event) => sent.is_ok(),
            () = self.shared.stopped() => false,
        }
    }

    /// Notes that the broker has dropped messages of the queue, for these reasons, of which there
    /// is at least one.
    pub(crate) fn cut(&mut self, reasons: &[String]) {
        self.gap = Some(GapCause::Overflow);
        self.redelivery.unsure();
        let reason = &reasons[0];
        let fresh = |(at, last): &(Instant, String)| at.elapsed() < LOG_EVERY && last == reason;
        if !self.logged.as_ref().is_some_and(fresh) {
            let why = advice(reason);
            tracing::warn!(
                reason,
                why,
                "RabbitMQ has dropped messages of this instance's queue"
            );
            self.logged = Some((Instant::now(), reason.clone()));
        }
    }
}
