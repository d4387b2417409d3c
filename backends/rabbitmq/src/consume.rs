//! The side that receives, as one task: it reconnects, finds out what became of the queue and says what was lost.

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use hubplane_backplane::{Event, EventSender, GapCause, Result, Scope};
use tokio::{
    select,
    time::{Instant, sleep, timeout},
};

use crate::{
    connection::{Backoff, Shared},
    instance_queue::{Fate, InstanceQueue},
    link::{Link, explain},
    reading::{End, Reading},
    redelivery::RedeliveryFilter,
};

/// For one attempt to connect and find the queue.
const ATTEMPT: Duration = Duration::from_secs(12);
/// For deleting queues.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the receiving task owns, across connections.
#[derive(Debug)]
pub(crate) struct Receiver {
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: EventSender,
    pub(crate) queue: InstanceQueue,
    pub(crate) redelivery: RedeliveryFilter,
    /// To be said before anything else is delivered.
    pub(crate) gap: Option<GapCause>,
    /// When the token may be tried again.
    pub(crate) token_due: Instant,
    /// The queue must not be used again.
    unusable: bool,
}

impl Receiver {
    /// Creates the queue and starts to receive from it.
    pub(crate) async fn open(shared: &Arc<Shared>, events: EventSender) -> Result<(Self, Reading)> {
        let config = &shared.config;
        let link = Link::dial(config, "consume").await?;
        let mut queue = InstanceQueue::new(config)?;
        queue.create(&link, config).await?;
        let reading = Reading::start(link, &queue).await;
        let reading = reading.map_err(|error| explain(config, "consuming", error))?;
        let this = Self {
            shared: Arc::clone(shared),
            events,
            queue,
            redelivery: RedeliveryFilter::default(),
            gap: None,
            token_due: Instant::now(),
            unusable: false,
        };
        Ok((this, reading))
    }

    /// Receives until the backend is closed.
    pub(crate) async fn run(mut self, mut reading: Reading) {
        loop {
            let why = match self.serve(reading).await {
                End::Stopped(link) => {
                    let _ = timeout(FAREWELL, self.queue.delete(&link)).await;
                    link.close().await;
                    return;
                }
                End::Broken(why) => why,
                End::Unusable(why, cause) => {
                    self.unusable = true;
                    self.gap = Some(cause);
                    why
                }
            };
            tracing::warn!(why, "RabbitMQ's messages no longer arrive");
            self.redelivery.interrupted();
            if !self.say(Event::Down(why)).await {
                return;
            }
            match self.reconnect().await {
                Some(next) => reading = next,
                None => return,
            }
            // Asked for while it was under way.
            let _ = self.shared.renew.notified().now_or_never();
            tracing::info!(gap = ?self.gap, "RabbitMQ's messages arrive again");
            if let Some(cause) = self.gap.take()
                && !self
                    .say(Event::Gap {
                        scope: Scope::All,
                        cause,
                    })
                    .await
            {
                return;
            }
            self.shared.publishing_too().await;
            if !self.say(Event::Up).await {
                return;
            }
        }
    }

    /// Tells the hub; `false` where the backend was closed meanwhile.
    async fn say(&self, event: Event) -> bool {
        select! {
            sent = self.events.send(event) => sent.is_ok(),
            () = self.shared.stopped() => false,
        }
    }

    /// Tries until it succeeds; `None` where the backend was closed meanwhile.
    async fn reconnect(&mut self) -> Option<Reading> {
        let shared = Arc::clone(&self.shared);
        let mut backoff = Backoff::default();
        loop {
            select! {
                () = shared.stopped() => return None,
                () = sleep(backoff.next()) => {}
            }
            let attempt = select! {
                () = shared.stopped() => return None,
                attempt = timeout(ATTEMPT, self.attempt(&shared)) => attempt,
            };
            match attempt {
                Ok(Ok(reading)) => return Some(reading),
                Ok(Err(error)) => tracing::debug!(%error, "not connected yet"),
                Err(_) => tracing::debug!("not connected yet: no answer"),
            }
        }
    }

    /// May be cancelled at any point: what it finds out is kept, and a queue half created is not used again.
    async fn attempt(&mut self, shared: &Shared) -> Result<Reading> {
        let config = &shared.config;
        let failed = |error| explain(config, "reconnecting", error);
        let link = Link::dial(config, "consume").await?;
        let channel = link.channel().await.map_err(failed)?;
        let fate = match self.unusable || !self.queue.token {
            true => Fate::Lost,
            false => self.queue.fate(&channel).await.map_err(failed)?,
        };
        match fate {
            Fate::Whole => {}
            Fate::Cut => {
                self.gap = Some(GapCause::Overflow);
                self.queue.forget_cut(&channel).await.map_err(failed)?;
            }
            Fate::Lost => {
                self.gap.get_or_insert(GapCause::QueueLost);
                let old = std::mem::replace(&mut self.queue, InstanceQueue::new(config)?);
                self.unusable = false;
                // In a cluster the old name may belong to a node that is away, and can't be used or deleted.
                let _ = timeout(FAREWELL, old.delete(&link)).await;
                self.queue.create(&link, config).await?;
            }
        }
        let _ = channel.close(200, "done".into()).await;
        Reading::start(link, &self.queue).await.map_err(failed)
    }
}
