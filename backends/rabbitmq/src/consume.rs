//! The side that receives, as one task: it reconnects, finds out what became of the queue and says what was lost.

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

/// For finding a queue that may be kept by a node that is frozen.
const RESUME: Duration = Duration::from_secs(3);
/// For deleting queues.
const FAREWELL: Duration = Duration::from_secs(2);

impl Receiver {
    /// Creates the queue and starts to receive from it.
    pub(crate) async fn open(shared: &Arc<Shared>, events: EventSender) -> Result<(Self, Reading)> {
        let config = &shared.config;
        let link = Link::dial(config, &shared.nodes, "consume").await?;
        let node = link.node;
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

    /// Tries until it succeeds; `None` if the backend was closed meanwhile.
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

    /// May be cancelled at any point: what it finds out is kept, and a queue half created is not used again.
    async fn attempt(&mut self, shared: &Shared) -> Result<Reading> {
        let config = &shared.config;
        let failed = |error| explain(config, "consuming again (permission read)", error);
        let link = Link::dial(config, &shared.nodes, "consume").await?;
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
                self.gap.get_or_insert(GapCause::QueueLost);
                let old = std::mem::replace(&mut self.queue, InstanceQueue::new(config)?);
                self.probe.interrupted();
                self.redelivery.unsure();
                self.unusable = false;
                // In a cluster the old name may belong to a node that is away, and can't be used or deleted.
                let _ = timeout(FAREWELL, old.delete(&link)).await;
                self.create(&link).await?
            }
        };
        let reading = Reading::start(link, &self.queue, witness).await;
        let reading = reading.map_err(failed)?;
        shared.nodes.choose(node);
        Ok(reading)
    }

    /// A queue that another node of the cluster keeps can't be reached through this one while that node is frozen: then it
    /// is given up. With one node alone there is nothing to change for, and the attempt waits.
    async fn resume_in_time(&mut self, link: &Link) -> lapin::Result<Option<Witness>> {
        let wait = match self.shared.nodes.several() {
            true => RESUME,
            false => ATTEMPT,
        };
        timeout(wait, self.resume(link)).await.unwrap_or(Ok(None))
    }

    /// Creates the queues, with a token in the witness where the broker takes one.
    async fn create(&mut self, link: &Link) -> Result<Witness> {
        let shared = Arc::clone(&self.shared);
        let failed = |error| explain(&shared.config, "consuming (permission read)", error);
        self.queue.create(link, &shared.config).await?;
        let mut witness = Witness::open(link, &self.queue).await.map_err(failed)?;
        let probe = std::mem::take(&mut self.probe);
        let first = round(Arc::clone(&shared), link.node, self.queue.clone(), probe).await;
        self.probe = first.probe;
        self.round_due = Instant::now() + first.pause;
        fence(&witness.channel, &self.queue).await.map_err(failed)?;
        let heard = witness.hear().await.map_err(failed)?.unwrap_or_default();
        self.queue.token = heard.tokens.last().copied();
        Ok(witness)
    }

    /// Finds out whether the queue still holds everything, or has been cut; `None` if it is gone, or where it may have
    /// lost messages in a restart.
    async fn resume(&mut self, link: &Link) -> lapin::Result<Option<Witness>> {
        let channel = link.channel().await?;
        if !self.queue.exists(&channel).await? {
            return Ok(None);
        }
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
