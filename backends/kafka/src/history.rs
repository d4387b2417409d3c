//! Reading back, as the hub asks for it: the queue in front of `replay.rs`, and what must be known
//! before anything is read.
//!
//! One page is read at a time, on a thread that may block. A call must be answered within the
//! contract's time, also if it waits for others or if the broker is silent. How records are read is
//! not known here.

use std::{
    num::TryFromIntError,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hubplane_backplane::{Channel, History, Page, Position, Result, Start};
use hubplane_kit::log_errors::LostPosition;
use tokio::{
    sync::Semaphore,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

use crate::{
    failure::{closed, lost, unavailable, unreadable},
    partition,
    replay::{self, From, Wanted},
    shared::{Layout, Shared},
};

/// How long a call may take; a little less than the contract's time for it.
const ANSWER: Duration = Duration::from_millis(4_800);
/// When the reading itself must end, counted from the call's beginning.
const READ: Duration = Duration::from_millis(4_500);
/// How long a call may wait for the reads before it.
const QUEUE: Duration = Duration::from_millis(2_800);

/// The past of one instance. See [`History`].
#[derive(Debug)]
pub(crate) struct Past {
    shared: Arc<Shared>,
    /// The turn to read. tokio's semaphore is fair: who came first is served first, and a caller
    /// who has gone costs nothing.
    turn: Arc<Semaphore>,
}

/// Tells the reading that its caller has gone away: a future that is dropped can't stop a thread.
struct Caller(Arc<AtomicBool>);

impl Drop for Caller {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[async_trait]
impl History for Past {
    async fn read(&self, channel: &Channel, after: Option<Position>, limit: usize) -> Result<Page> {
        let Layout { partitions, epoch } = self.shared.layout();
        // The channel is looked for where its key belongs; see the crate's documentation for
        // records elsewhere.
        let lane = partition::of(channel.as_bytes(), partitions);
        let from = match after {
            Some(position) => after_in(position, epoch, lane)?,
            None => From::Oldest,
        };
        self.look(Wanted {
            partition: i32::try_from(lane).unwrap_or_default(),
            channel: Some(Arc::clone(channel)),
            from,
            limit,
            epoch,
        })
        .await
    }

    async fn scan(&self, lane: u32, from: Start, limit: usize) -> Result<Page> {
        let Layout { partitions, epoch } = self.shared.layout();
        let partition = i32::try_from(lane).ok().filter(|_| lane < partitions);
        let partition = partition.ok_or_else(|| lost(LostPosition::NoSuchLane))?;
        let from = match from {
            Start::After(position) => after_in(position, epoch, lane)?,
            Start::Recent { age, most } => From::Recent(age, most),
        };
        self.look(Wanted {
            partition,
            channel: None,
            from,
            limit,
            epoch,
        })
        .await
    }
}

/// Returns where to begin for a position. A position is the next offset, so reading begins exactly
/// there.
///
/// # Errors
/// `PositionLost`: it is a position of another log or another lane, or no offset that Kafka could
/// have.
fn after_in(position: Position, epoch: u64, lane: u32) -> Result<From> {
    if position.epoch != epoch || position.lane != lane {
        return Err(lost(LostPosition::OtherLog));
    }
    let next = i64::try_from(position.offset);
    let ahead = |error: TryFromIntError| lost(LostPosition::AheadOfEnd).with_source(error);
    next.map(From::After).map_err(ahead)
}

impl Past {
    /// Returns the past of an instance, with nothing to read.
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// Waits for the turn, reads a page, and gives up in time. The thread may go on a little
    /// longer; it keeps the turn until its end, so two readings never share the consumer.
    async fn look(&self, wanted: Wanted) -> Result<Page> {
        let start = Instant::now();
        // Once more: the broker may have gone away, or the topic been changed, while this call
        // waited.
        self.ready()?;
        let turn = Arc::clone(&self.turn).acquire_owned();
        let turn = timeout(QUEUE, turn)
            .await
            .map_err(|late| {
                unavailable("too many reads of the past wait before this one").with_source(late)
            })?
            .map_err(|ended| closed().with_source(ended))?;
        self.ready()?;
        let gone = Arc::new(AtomicBool::new(false));
        let caller = Caller(Arc::clone(&gone));
        let shared = Arc::clone(&self.shared);
        let reading = spawn_blocking(move || {
            let page = replay::read(&shared, &wanted, (start + READ).into_std(), &gone);
            // The turn ends with the reading, also where nobody waits for the page any more.
            drop(turn);
            page
        });
        let page = timeout_at(start + ANSWER, reading).await;
        drop(caller);
        match page {
            Ok(Ok(page)) => page,
            Ok(Err(ended)) => Err(unavailable("the reading was ended").with_source(ended)),
            Err(late) => Err(unavailable("the broker answers too slowly").with_source(late)),
        }
    }

    /// Returns an error if nothing can be read back now. It costs nothing to say so at once while
    /// the broker is away.
    fn ready(&self) -> Result<()> {
        if self.shared.is_closed() {
            return Err(closed());
        }
        if self.shared.down.load(Ordering::Relaxed) {
            return Err(unavailable("the broker is away"));
        }
        match self.shared.compacted.load(Ordering::Relaxed) {
            true => Err(unreadable(
                "the topic is compacted (cleanup.policy), so messages of its past may be missing",
            )),
            false => Ok(()),
        }
    }
}
