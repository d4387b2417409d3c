//! Reading back, as the hub asks for it: one read at a time, off the runtime.

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

/// The contract's time for a call, less a little.
const ANSWER: Duration = Duration::from_millis(4_800);
/// Of it, for the reading itself to come to an end.
const READ: Duration = Duration::from_millis(4_500);
/// Of it, for the reads before this one.
const QUEUE: Duration = Duration::from_millis(2_800);

/// See [`History`].
#[derive(Debug)]
pub(crate) struct Past {
    shared: Arc<Shared>,
    /// Fair: who came first is served first, and who has gone away costs nothing.
    turn: Arc<Semaphore>,
}

/// Ends the reading of a call that was cancelled.
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

/// The place of a position, where it is one of this log and lane.
fn after_in(position: Position, epoch: u64, lane: u32) -> Result<From> {
    if position.epoch != epoch || position.lane != lane {
        return Err(lost(LostPosition::OtherLog));
    }
    let next = i64::try_from(position.offset);
    let ahead = |error: TryFromIntError| lost(LostPosition::AheadOfEnd).with_source(error);
    next.map(From::After).map_err(ahead)
}

impl Past {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    async fn look(&self, wanted: Wanted) -> Result<Page> {
        let start = Instant::now();
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
            // Not before its end, also where nobody waits for it any more.
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
