//! The side that receives: one task that follows the stream over a connection of its own, and
//! reconnects.
//!
//! The stream keeps what arrives while the connection is down, so it goes on behind the last
//! message that it gave to the hub. There is a gap only if retention was faster (`Trimmed`) or the
//! log is another one (`LogReplaced`). What the log is, is found out in [`super::log`].

use std::sync::Arc;

use futures_util::FutureExt;
use hubplane_backplane::{Event, EventSender, GapCause, Publication, Result, Scope};
use hubplane_kit::Backoff;
use lapin::message::Delivery;
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    cursor::{Cursor, From},
    known::{Known, LANE},
    log,
    retention::Retained,
};
use crate::{
    link::{Link, explain},
    message::received,
    shared::{ASK_EVERY, ATTEMPT, SILENCE, Shared},
};

/// Messages in one event.
const BATCH: usize = 100;

/// A connection that reads, and the cursor on it.
#[derive(Debug)]
pub(crate) struct Following {
    link: Link,
    cursor: Cursor,
}

/// What the reading task owns.
#[derive(Debug)]
pub(crate) struct Reader {
    shared: Arc<Shared>,
    events: EventSender,
    known: watch::Sender<Known>,
    /// The offset that the hub was told last as the next one.
    told: u64,
    retained: Retained,
}

/// Why the reader stopped using a connection.
enum End {
    Stopped,
    Broken(String),
}

/// Returns the end of a connection that can no longer be used, for this reason.
fn broken(why: &dyn ToString) -> End {
    End::Broken(why.to_string())
}

impl Reader {
    /// Makes sure that the stream is there, finds its end and follows it from there. Returns the
    /// task, its first connection, and what is known of the log.
    pub(crate) async fn open(
        shared: &Arc<Shared>,
        events: EventSender,
    ) -> Result<(Self, Following, watch::Receiver<Known>)> {
        let config = &shared.config;
        let link = Link::dial(config, &shared.nodes, "consume").await?;
        let node = link.node;
        // If anything fails from here on, the next search begins at another node.
        shared.nodes.avoid(node);
        let epoch = log::ensure(&link, config, None).await?;
        let next = log::end(&link, config, epoch).await? + 1;
        let following = follow(link, shared, next).await?;
        let known = Known {
            epoch,
            next,
            up: true,
        };
        // The queue of events is empty: this one has room.
        let _ = events.send(Event::Progress(known.position(next - 1))).await;
        let (known, seen) = watch::channel(known);
        let this = Self {
            shared: Arc::clone(shared),
            events,
            known,
            told: next,
            retained: Retained::new(next),
        };
        shared.nodes.choose(node);
        Ok((this, following, seen))
    }

    /// Reads until the backend is closed, over this connection and those that come after it.
    pub(crate) async fn run(mut self, mut following: Following) {
        let shared = Arc::clone(&self.shared);
        loop {
            let end = self.serve(&mut following).await;
            self.known.send_modify(|known| known.up = false);
            let why = match end {
                End::Stopped => return following.link.close().await,
                End::Broken(why) => why,
            };
            drop(following);
            shared.nodes.avoid(shared.nodes.used());
            tracing::warn!(why, "RabbitMQ's messages no longer arrive");
            if !self.say(Event::Down(why)).await {
                return;
            }
            let Some((next, replaced)) = self.reconnect().await else {
                return;
            };
            following = next;
            shared.reconnected();
            if replaced && !self.say_replaced().await {
                return;
            }
            shared.publishing_too().await;
            self.known.send_modify(|known| known.up = true);
            tracing::info!("RabbitMQ's messages arrive again");
            if !self.say(Event::Up).await {
                return;
            }
        }
    }

    /// Tells the hub that the log is another one, and where that one ends. Returns false if the
    /// backend was closed.
    async fn say_replaced(&mut self) -> bool {
        let known = *self.known.borrow();
        self.told = known.next;
        let gap = Event::Gap {
            scope: Scope::Lane(LANE),
            cause: GapCause::LogReplaced,
        };
        let at = Event::Progress(known.position(known.next - 1));
        self.say(gap).await && self.say(at).await
    }

    /// Tells the hub, and waits for room in its queue. Returns false if the backend was closed
    /// meanwhile.
    async fn say(&self, event: Event) -> bool {
        select! {
            sent = self.events.send(event) => sent.is_ok(),
            () = self.shared.stopped() => false,
        }
    }

    /// Connects until it succeeds. Returns the connection, and whether the log is another one;
    /// `None` if the backend was closed meanwhile.
    async fn reconnect(&mut self) -> Option<(Following, bool)> {
        let shared = Arc::clone(&self.shared);
        let (mut backoff, mut replaced, mut refused) = (Backoff::default(), false, None);
        loop {
            let attempt = select! {
                () = shared.stopped() => return None,
                attempt = timeout(ATTEMPT, self.attempt(&shared, &mut replaced)) => attempt,
            };
            match attempt {
                Ok(Ok(following)) => return Some((following, replaced)),
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
            select! {
                () = shared.stopped() => return None,
                () = sleep(backoff.next_wait()) => {}
            }
        }
    }

    /// Goes on where the reading ended, or at the end of another log. May be cancelled at any
    /// point: `replaced` keeps what was found out, so that the hub is told of it later.
    async fn attempt(&mut self, shared: &Shared, replaced: &mut bool) -> Result<Following> {
        let config = &shared.config;
        let link = Link::dial(config, &shared.nodes, "consume").await?;
        let node = link.node;
        // The next attempt begins elsewhere, if this one fails at whatever point.
        shared.nodes.avoid(node);
        let known = *self.known.borrow();
        let mut epoch = log::ensure(&link, config, None).await?;
        let mut end = log::end(&link, config, epoch).await?;
        if epoch == known.epoch && end < known.next {
            // Somebody else has made the stream anew, or its end was lost. The second marker tells all others: they
            // may have read less than was lost, or come when the stream has grown again.
            epoch = log::ensure(&link, config, Some(epoch)).await?;
            end = log::end(&link, config, epoch).await?;
        }
        if epoch != known.epoch {
            *replaced = true;
            self.known.send_modify(|known| {
                known.epoch = epoch;
                known.next = end + 1;
            });
        }
        let next = self.known.borrow().next;
        if *replaced {
            self.retained.replaced(next);
        }
        let first = log::first(&link, config).await?;
        self.retained.look(first, end + 1, config);
        let following = follow(link, shared, next).await?;
        shared.nodes.choose(node);
        Ok(following)
    }

    /// Reads over one connection until it ends.
    async fn serve(&mut self, following: &mut Following) -> End {
        let shared = Arc::clone(&self.shared);
        let mut ask_due = Instant::now() + ASK_EVERY;
        loop {
            let step = select! {
                biased;
                () = shared.stopped() => return End::Stopped,
                () = shared.renew.notified() => Err(broken(&"the hub asked for another connection")),
                () = shared.leave.notified() => Err(broken(&"nothing can be published at this node")),
                () = shared.exchange_lost.notified() => Err(broken(&"the exchange was deleted")),
                () = sleep_until(ask_due) => {
                    ask_due = Instant::now() + ASK_EVERY;
                    self.ask(following).await
                }
                first = following.cursor.next() => match first {
                    Some(Ok(first)) => self.take(first, following).await,
                    Some(Err(error)) => Err(broken(&error)),
                    None => Err(broken(&"RabbitMQ ended the consumer: the stream was deleted")),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Once a second, makes sure that the broker answers, looks at the retention if that is due,
    /// and tells the hub how far the lane is.
    async fn ask(&mut self, following: &Following) -> Result<(), End> {
        match timeout(
            SILENCE,
            log::ask(&following.cursor.channel, &self.shared.config),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(broken(&error)),
            Err(_) => return Err(broken(&"RabbitMQ does not answer")),
        }
        if self.retained.due <= Instant::now() {
            let first = log::first(&following.link, &self.shared.config).await;
            let (first, next) = (
                first.map_err(|error| broken(&error))?,
                self.known.borrow().next,
            );
            self.retained.look(first, next, &self.shared.config);
        }
        let known = *self.known.borrow();
        if self.told < known.next {
            self.told = known.next;
            return self
                .give(Event::Progress(known.position(known.next - 1)))
                .await;
        }
        Ok(())
    }

    /// Tells the hub; the reading ends if the backend was closed.
    async fn give(&self, event: Event) -> Result<(), End> {
        match self.say(event).await {
            true => Ok(()),
            false => Err(End::Stopped),
        }
    }

    /// Takes this message and all that have arrived behind it, and gives them to the hub.
    async fn take(&mut self, first: (u64, Delivery), following: &mut Following) -> Result<(), End> {
        let mut batch: Vec<Publication> = Vec::new();
        let mut known = *self.known.borrow();
        let mut next = Some(first);
        let mut end = None;
        while let Some((offset, delivery)) = next.take() {
            // What came before the hole goes first, then perhaps a gap.
            if offset > known.next {
                self.flush(&mut batch, known).await?;
                self.hole(known.next, following).await?;
            }
            // A cursor begins at a chunk, so it may bring older messages first; those are passed
            // over.
            if offset >= known.next {
                known.next = offset + 1;
                self.retained.read(delivery.data.len());
                if log::is_marker(&delivery, &self.shared.config) {
                    if !log::agrees(&delivery, known.epoch) {
                        end = Some(broken(&"another instance reads another log"));
                        break;
                    }
                } else {
                    let mut publication = received(delivery);
                    publication.position = Some(known.position(offset));
                    batch.push(publication);
                }
            }
            if batch.len() < BATCH {
                match following.cursor.next().now_or_never() {
                    Some(Some(Ok(more))) => next = Some(more),
                    Some(Some(Err(error))) => end = Some(broken(&error)),
                    Some(None) => end = Some(broken(&"RabbitMQ ended the consumer")),
                    None => {}
                }
            }
        }
        self.flush(&mut batch, known).await?;
        end.map_or(Ok(()), Err)
    }

    /// Gives the batch to the hub. Only what was given counts as read: a reading that ends here
    /// begins here again.
    async fn flush(&self, batch: &mut Vec<Publication>, known: Known) -> Result<(), End> {
        if !batch.is_empty() {
            self.give(Event::Published(std::mem::take(batch))).await?;
        }
        self.known.send_modify(|now| now.next = known.next);
        Ok(())
    }

    /// Tells the hub of a gap if retention has taken the messages at `next`. Other offsets that
    /// nobody delivers are the broker's own entries.
    async fn hole(&self, next: u64, following: &Following) -> Result<(), End> {
        let first = log::first(&following.link, &self.shared.config).await;
        if first.map_err(|error| broken(&error))? <= next {
            return Ok(());
        }
        let (scope, cause) = (Scope::Lane(LANE), GapCause::Trimmed);
        self.give(Event::Gap { scope, cause }).await
    }
}

/// Returns a connection that reads from the offset `next` on.
async fn follow(link: Link, shared: &Shared, next: u64) -> Result<Following> {
    let config = &shared.config;
    let cursor = Cursor::open(&link, &log::name(config), From::Offset(next)).await;
    let cursor = cursor.map_err(|error| explain(config, "consuming (permission read)", error))?;
    Ok(Following { link, cursor })
}
