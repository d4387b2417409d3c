//! The receiving side between connections: it reconnects, finds out what became of the queue
//! meanwhile, and tells the hub what was lost.
//!
//! The queue outlives a connection and keeps what arrives. After a loss there are three cases: the
//! queue has everything (no gap); it has dropped messages because it was full or they grew too old
//! (`Overflow`); it is gone or may have lost messages in a restart (`QueueLost`, and a new queue).
//! The work on one connection is in [`crate::serve`].

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Event, EventSender, GapCause, Result, Scope};
use hubplane_kit::Backoff;
use tokio::{
    select,
    time::{Instant, sleep, timeout},
};

use crate::{
    guard::round,
    instance_queue::InstanceQueue,
    link::{Link, NOT_FOUND, explain, reply_code},
    probe::Probe,
    reading::{End, Reading},
    receiver::Receiver,
    redelivery::RedeliveryFilter,
    shared::{ATTEMPT, Shared},
    witness::{Testimony, Witness, fence},
};

/// How long to look for a queue that another node keeps, which may be frozen. A node that lives
/// answers within milliseconds; meanwhile nothing is delivered, so this adds to the pause.
const RESUME: Duration = Duration::from_millis(1_500);
/// How long deleting queues may take. What is not deleted expires by itself.
const FAREWELL: Duration = Duration::from_secs(2);

impl Receiver {
    /// Creates the queue and starts to receive from it. Once it returns, whatever is published is
    /// delivered.
    pub(crate) async fn open(shared: &Arc<Shared>, events: EventSender) -> Result<(Self, Reading)> {
        let config = &shared.config;
        let link = Link::dial(config, &shared.nodes, "consume").await?;
        let node = link.node;
        // If anything fails from here on, the next search begins at another node.
        shared.nodes.avoid(node);
        let mut this = Self {
            shared: Arc::clone(shared),
            events,
            queue: InstanceQueue::new(config)?,
            redelivery: RedeliveryFilter::default(),
            gap: None,
            probe: Probe::default(),
            round_due: Instant::now(),
            logged: None,
            unusable: false,
        };
        let witness = this.create(&link).await?;
        let reading = Reading::start(link, &this.queue, witness).await;
        let reading =
            reading.map_err(|error| explain(config, "consuming (permission read)", error))?;
        shared.nodes.choose(node);
        Ok((this, reading))
    }

    /// Receives until the backend is closed, over this connection and those that come after it.
    pub(crate) async fn run(mut self, mut reading: Reading) {
        loop {
            let why = match self.serve(reading).await {
                // The queue would only collect messages until it expires.
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
            // What is not acknowledged comes again on the next connection.
            self.redelivery.interrupted();
            self.shared.nodes.avoid(self.shared.nodes.used());
            if !self.say(Event::Down(why)).await {
                return;
            }
            match self.reconnect().await {
                Some(next) => reading = next,
                None => return,
            }
            self.shared.reconnected();
            tracing::info!(gap = ?self.gap, "RabbitMQ's messages arrive again");
            // The gap comes before the first message behind it, and before `Up`.
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

    /// Connects until it succeeds; returns `None` if the backend was closed meanwhile.
    async fn reconnect(&mut self) -> Option<Reading> {
        let shared = Arc::clone(&self.shared);
        let (mut backoff, mut refused) = (Backoff::default(), None);
        loop {
            select! {
                () = shared.stopped() => return None,
                () = sleep(backoff.next_wait()) => {}
            }
            let attempt = select! {
                () = shared.stopped() => return None,
                attempt = timeout(ATTEMPT, self.attempt(&shared)) => attempt,
            };
            match attempt {
                Ok(Ok(reading)) => return Some(reading),
                Ok(Err(error)) => {
                    tracing::debug!(%error, "not connected yet");
                    if let Some(why) = shared.news(&error, &mut refused)
                        && !self.say(Event::Down(why)).await
                    {
                        return None;
                    }
                }
                Err(_) => tracing::debug!("not connected yet: no answer"),
            }
        }
    }

    /// Connects, finds the old queue or creates a new one, and starts to receive. May be cancelled
    /// at any point: what it finds out is kept in `self`, and a queue that was only half created is
    /// not used again.
    async fn attempt(&mut self, shared: &Shared) -> Result<Reading> {
        let config = &shared.config;
        let failed = |error| explain(config, "consuming again (permission read)", error);
        let mut link = Link::dial(config, &shared.nodes, "consume").await?;
        let node = link.node;
        // The next attempt begins elsewhere, if this one fails at whatever point.
        shared.nodes.avoid(node);
        let kept = match self.unusable {
            true => None,
            false => self.resume_in_time(&link).await.map_err(failed)?,
        };
        let witness = match kept {
            Some(witness) => witness,
            None => {
                // A reason that is known already says more than that the queue is another one.
                self.gap.get_or_insert(GapCause::QueueLost);
                let old = std::mem::replace(&mut self.queue, InstanceQueue::new(config)?);
                self.probe.interrupted();
                self.redelivery.unsure();
                self.unusable = false;
                // In a cluster the old name may belong to a node that is away, and can't be used or deleted.
                let _ = timeout(FAREWELL, old.delete(&link)).await;
                if shared.nodes.several() {
                    // What was asked there and not answered fails late, and would take the new queue's
                    // connection with it.
                    link = Link::dial_node(config, node, "consume").await?;
                }
                self.create(&link).await?
            }
        };
        let reading = Reading::start(link, &self.queue, witness).await;
        let reading = reading.map_err(failed)?;
        shared.nodes.choose(node);
        Ok(reading)
    }

    /// Does [`Self::resume`], and gives the queue up if that takes too long. A queue that another
    /// node of the cluster keeps can't be reached through this one while that node is frozen. With
    /// a single node there is nothing to change for, so the whole attempt waits.
    async fn resume_in_time(&mut self, link: &Link) -> lapin::Result<Option<Witness>> {
        let wait = match self.shared.nodes.several() {
            true => RESUME,
            false => ATTEMPT,
        };
        timeout(wait, self.resume(link)).await.unwrap_or(Ok(None))
    }

    /// Creates the queues, and puts a token into the witness if the broker takes one.
    async fn create(&mut self, link: &Link) -> Result<Witness> {
        let shared = Arc::clone(&self.shared);
        let failed = |error| explain(&shared.config, "consuming (permission read)", error);
        self.queue.create(link, &shared.config).await?;
        let mut witness = Witness::open(link, &self.queue).await.map_err(failed)?;
        let probe = std::mem::take(&mut self.probe);
        let first = round(Arc::clone(&shared), link.node, self.queue.clone(), probe).await;
        self.probe = first.probe;
        self.round_due = Instant::now() + first.pause;
        // Now the witness has delivered the token, if it was put.
        fence(&witness.channel, &self.queue).await.map_err(failed)?;
        let heard = witness.hear().await.map_err(failed)?.unwrap_or_default();
        self.queue.token = heard.tokens.last().copied();
        Ok(witness)
    }

    /// Finds out what the old queue still holds. Returns its witness if the queue has everything or
    /// was cut (then `gap` says so), and `None` if it is gone or may have lost messages in a
    /// restart.
    async fn resume(&mut self, link: &Link) -> lapin::Result<Option<Witness>> {
        let channel = link.channel().await?;
        if !self.queue.exists(&channel).await? {
            return Ok(None);
        }
        // Only after the answer: by then the queue has passed on to its witness what it had
        // dropped.
        let _ = channel.close(200, "done".into()).await;
        let mut witness = match Witness::open(link, &self.queue).await {
            Ok(witness) => witness,
            Err(error) if reply_code(&error) == Some(NOT_FOUND) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(Testimony { tokens, dropped }) = witness.hear().await? else {
            return Ok(None);
        };
        if !dropped.is_empty() {
            self.cut(&dropped);
            witness.forget_dropped().await?;
        // The token is a message that a restart loses. If it is still there, the queue has lost
        // nothing either.
        } else if self
            .queue
            .token
            .is_none_or(|token| !tokens.contains(&token))
        {
            return Ok(None);
        }
        self.queue.token = tokens.last().copied();
        self.round_due = Instant::now();
        Ok(Some(witness))
    }
}
