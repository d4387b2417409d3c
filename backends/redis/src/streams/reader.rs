//! The side that receives: one task that follows the streams of a part on a connection of its own,
//! and the loop that reconnects it.
//!
//! It goes on behind the last entry that it gave to the hub, so a lost connection loses nothing. A
//! *look* asks for everything (tokens, states, entries) at one moment and finds out whether the log
//! is still the same; *waiting* is cheaper, and good enough while lengths and tokens agree. What a
//! look means is judged in [`super::lane`], and what to ask is in [`super::ask`].

mod give;

use std::{sync::Arc, time::Duration};

use futures_util::FutureExt;
use hubplane_backplane::{Error, Event, EventSender, GapCause, Result, Scope};
use redis::{RedisResult, aio::MultiplexedConnection};
use tokio::{
    select,
    sync::Notify,
    time::{Instant, timeout},
};

use super::{
    absence::Absence,
    ask,
    backend::STREAMS,
    config::Log,
    keys::{Key, Part},
    lane::{Lane, Verdict},
    log::{Entry, Seen},
    promises::{EXAMINE, Promises},
};
use crate::{config::Node, connection::Link, dial::Dialer, failure};
use hubplane_kit::Backoff;
use hubplane_kit::ReconnectLog;

/// Entries of a stream in one answer, to begin with. The count grows while there is more: see
/// `pace`.
const FEWEST: usize = 16;
/// How often this checks whether the streams are still the same while messages come, and says how
/// far they are.
const CHECK: Duration = Duration::from_secs(1);
/// How long the first look on a new connection may take.
const LOOK_LIMIT: Duration = Duration::from_secs(5);
/// Looks after which the state is taken as it is: other instances may be giving tokens at the same
/// time.
const LOOKS: usize = 10;

/// Why the reader stopped using a connection.
enum End {
    Lost(String),
    /// Nobody is there to take events.
    Abandoned,
}

/// What the reading task owns.
pub(crate) struct Reader {
    /// What the address says.
    log: Arc<Log>,
    dialer: Arc<Dialer>,
    /// What the promises depend on, as found out by all readers.
    promises: Arc<Promises>,
    /// The streams that this reader follows.
    part: Part,
    events: EventSender,
    /// Which of the instance's readers are away.
    absence: Arc<Absence>,
    /// Asked by the hub for another connection.
    renew: Arc<Notify>,
    /// How far each stream of the part was read, in the order of its keys.
    lanes: Vec<Lane>,
    /// How many entries of a stream to ask for.
    count: usize,
    /// Whether something was read since the last look.
    moved: bool,
    troubles: ReconnectLog,
}

impl Reader {
    /// Finds the ends of the streams and tells the hub of them; reading begins there. The link is
    /// the connection that [`Self::run`] is then called with.
    pub(crate) async fn open(
        dialer: &Arc<Dialer>,
        (streams, promises): (Arc<Log>, Arc<Promises>),
        part: &Part,
        link: &mut Link,
        (events, absence): (EventSender, Arc<Absence>),
    ) -> Result<Self> {
        let mut this = Self {
            log: Arc::clone(&streams),
            dialer: Arc::clone(dialer),
            promises,
            part: part.clone(),
            events,
            absence,
            renew: Arc::default(),
            lanes: part.lanes.clone().map(Lane::new).collect(),
            count: FEWEST,
            moved: false,
            troubles: ReconnectLog::of(STREAMS, "reader"),
        };
        let seen = this.look(&mut link.connection).await;
        let seen = seen.map_err(|error| failure::of_log(&link.node, &streams.server, error))?;
        // The queue has room for one event a stream.
        let _ = this.take(seen).await;
        Ok(this)
    }

    /// Returns what asks this reader for another connection.
    pub(crate) fn renew(&self) -> Arc<Notify> {
        Arc::clone(&self.renew)
    }

    /// Returns the keys of this reader's streams.
    fn keys(&self) -> &[Key] {
        self.log.keys.within(&self.part)
    }

    /// Reads until nobody takes events any more. Closing the instance drops this future, at
    /// whatever await.
    pub(crate) async fn run(mut self, mut link: Link) {
        let dialer = Arc::clone(&self.dialer);
        let mut backoff = Backoff::default();
        loop {
            let up = Instant::now();
            let (connection, renew) = (link.connection.clone(), Arc::clone(&self.renew));
            let node = link.node.clone();
            let end = select! {
                reason = dialer.lost(&mut link) => End::Lost(reason),
                () = renew.notified() => End::Lost("the hub asked for another connection".to_owned()),
                end = self.serve(connection, &node) => end,
            };
            // Nobody takes events: the instance is gone.
            let End::Lost(reason) = end else { return };
            drop(link);
            backoff.lost(up);
            tracing::warn!(backend = STREAMS, "reader: {reason}");
            if self.absence.begin(&self.events, reason).await.is_err() {
                return;
            }
            let (again, seen) = self.reconnect(&mut backoff).await;
            link = again;
            // A renewal that the hub asked for during the reconnection is done by it.
            let _ = self.renew.notified().now_or_never();
            self.troubles.end();
            tracing::info!(
                backend = STREAMS, node = %link.node, "reader: back after {:?}", backoff.elapsed()
            );
            // What the first look brought, gaps included, comes before `Up`.
            if self.take(seen).await.is_err() || self.absence.end(&self.events).await.is_err() {
                return;
            }
        }
    }

    /// Connects until it succeeds, and returns the connection with the first look over it. Until
    /// then nothing is told.
    async fn reconnect(&mut self, backoff: &mut Backoff) -> (Link, Vec<Seen>) {
        // The messages may be larger than before; a first answer that is too large might not come
        // through in time.
        self.count = FEWEST;
        loop {
            backoff.wait().await;
            let mut link = match self.dialer.dial(self.part.slot, None).await {
                Ok(link) => link,
                Err(error) => {
                    self.trouble(&error).await;
                    continue;
                }
            };
            match timeout(LOOK_LIMIT, self.begin(&mut link)).await {
                Ok(Ok(seen)) => return (link, seen),
                Ok(Err(error)) => self.trouble(&error).await,
                Err(_elapsed) => {
                    let error = failure::unavailable("no answer to the first questions");
                    self.trouble(&error).await;
                }
            }
        }
    }

    /// Makes the first look on a new connection, and checks what the promises depend on.
    async fn begin(&self, link: &mut Link) -> Result<Vec<Seen>> {
        let node = link.node.clone();
        let seen = self.look(&mut link.connection).await;
        let seen = seen.map_err(|error| failure::of_log(&node, &self.log.server, error))?;
        self.check(&mut link.connection, &node).await?;
        self.promises.examine(&mut link.connection, &node).await;
        Ok(seen)
    }

    /// Returns an error unless all instances still mean the same streams.
    async fn check(&self, connection: &mut MultiplexedConnection, node: &Node) -> Result<()> {
        let (log, part) = (&self.log, &self.part);
        self.promises.check(log, part, connection, node).await
    }

    /// Notes a try to reconnect that has failed, and tells the hub if a person has to do something.
    async fn trouble(&mut self, error: &Error) {
        if let Some(reason) = self.troubles.note(error) {
            // Whether anybody takes events shows when it is back.
            let _ = self.events.send(Event::Down(reason)).await;
        }
    }

    /// Reads over one connection until it is lost. A look is made at the start, whenever waiting
    /// saw something odd, and once a second while messages come.
    async fn serve(&mut self, mut connection: MultiplexedConnection, node: &Node) -> End {
        let lost = |error| End::Lost(format!("reading failed: {error}"));
        let (mut checked, mut behind) = (Instant::now(), true);
        let (mut told, mut examined) = (checked, checked);
        loop {
            // A look costs two commands for each stream, so the cheaper waiting is the rule.
            let taken = if behind || self.moved && checked.elapsed() >= CHECK {
                let seen = match self.look(&mut connection).await {
                    Ok(seen) => seen,
                    Err(error) => return lost(error),
                };
                checked = Instant::now();
                self.take(seen).await
            } else {
                match self.wait(&mut connection).await {
                    Ok(Some(entries)) => self.give_all(entries).await.map(|()| false),
                    // Counts as being behind, so that the next round looks.
                    Ok(None) => Ok(true),
                    Err(error) => return lost(error),
                }
            };
            behind = match taken {
                Ok(behind) => behind,
                Err(()) => return End::Abandoned,
            };
            // These are for quiet times as well: the number of streams may change although no
            // message comes.
            if told.elapsed() >= CHECK {
                told = Instant::now();
                if self.tell().await.is_err() {
                    return End::Abandoned;
                }
                if let Err(error) = self.check(&mut connection, node).await {
                    return End::Lost(error.message().to_owned());
                }
            }
            if examined.elapsed() >= EXAMINE {
                examined = Instant::now();
                self.promises.examine(&mut connection, node).await;
            }
        }
    }

    /// Waits for entries and returns them. `None` if a closer look is needed: an answer was full, a
    /// token has changed, or a stream is too short for what was read of it.
    async fn wait(
        &mut self,
        connection: &mut MultiplexedConnection,
    ) -> RedisResult<Option<Vec<Vec<Entry>>>> {
        let awaited = ask::wait(connection, self.keys(), &self.lanes, self.count).await?;
        // Cheap signs, all of one moment: nothing is changed if the tokens are the same and no
        // stream is shorter than it can be.
        let known = self.lanes.iter().map(|lane| &lane.token);
        let lanes = self.lanes.iter().zip(&awaited.lengths);
        let mut lanes = lanes.zip(&awaited.entries);
        let whole = |((lane, length), new): ((&Lane, &u64), &Vec<Entry>)| {
            new.len() < self.count && lane.is_whole(*length, new.len() as u64)
        };
        let sound = known.eq(&awaited.tokens) && lanes.all(whole);
        Ok(sound.then_some(awaited.entries))
    }

    /// Looks until every stream has a token that can be trusted: gives one to a stream that has
    /// none, and another to one that was rolled back.
    async fn look(&self, connection: &mut MultiplexedConnection) -> RedisResult<Vec<Seen>> {
        let mut looks = 0;
        loop {
            let seen = ask::look(connection, self.keys(), &self.lanes, self.count).await?;
            looks += 1;
            let mut settled = true;
            for (lane, seen) in self.lanes.iter().zip(&seen) {
                match (lane.judge(seen), &seen.token) {
                    (Verdict::Unsigned, _) => {
                        ask::sign(connection, &self.log.keys, lane.number).await?;
                    }
                    (Verdict::RolledBack, Some(token)) => {
                        let key = self.log.keys.of(lane.number);
                        ask::sign_anew(connection, &key.token, token).await?;
                    }
                    _ => continue,
                }
                // What was just written may be another instance's by now, so it is looked at again.
                settled = false;
            }
            if settled || looks == LOOKS {
                return Ok(seen);
            }
        }
    }

    /// Acts on a look: gives out the new entries, and before them a gap if the log was cut or
    /// replaced. Returns true if there is more to read at once. An error says that nobody takes
    /// events any more.
    async fn take(&mut self, all: Vec<Seen>) -> Result<bool, ()> {
        self.moved = false;
        let asked = self.count;
        self.pace(&all.iter().map(|seen| &seen.entries));
        let mut full = false;
        for (index, seen) in all.into_iter().enumerate() {
            let verdict = self.lanes[index].judge(&seen);
            let scope = Scope::Lane(self.lanes[index].number);
            match verdict {
                Verdict::Same => {}
                Verdict::Trimmed => {
                    let cause = GapCause::Trimmed;
                    self.events
                        .send(Event::Gap { scope, cause })
                        .await
                        .or(Err(()))?;
                }
                Verdict::Other | Verdict::Unsigned | Verdict::RolledBack => {
                    // At the first look the token is new to us, but nothing was read that could be
                    // missing.
                    let first = self.lanes[index].told.is_none();
                    if !first {
                        let cause = GapCause::LogReplaced;
                        self.events
                            .send(Event::Gap { scope, cause })
                            .await
                            .or(Err(()))?;
                    }
                    let lane = &mut self.lanes[index];
                    // Reading goes on at the end of the new log: what it has before that belongs to
                    // nobody's position.
                    lane.token = seen.token;
                    (lane.at, lane.added) = (seen.info.last, seen.info.added);
                    (lane.last, lane.told) = (None, Some(lane.at));
                    let at = lane.position(lane.at);
                    self.events.send(Event::Progress(at)).await.or(Err(()))?;
                    continue;
                }
            }
            // A full answer ends somewhere in the stream; any other reaches its end, also past
            // entries that were deleted.
            let more = seen.entries.len() >= asked;
            self.give(index, seen.entries).await?;
            let lane = &mut self.lanes[index];
            match more {
                true => full = true,
                false => (lane.at, lane.added) = (seen.info.last, seen.info.added),
            }
        }
        Ok(full)
    }
}
