//! All subscribers, on a few threads that do nothing else.
//!
//! Knows how sockets are spread over threads; what a client does with a frame is in `subscriber`.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
    thread,
};

use tokio::{
    runtime::{Builder, Handle},
    sync::{Semaphore, oneshot},
};

use super::{
    layout::Layout,
    subscriber::Subscriber,
    tally::{Stage, Tally},
};
use crate::target::Target;

/// How many handshakes each thread makes at once, so that not all sockets come to a hub in the same moment.
const AT_ONCE: usize = 64;
/// The most threads of the load: they take cores from the hubs.
const MOST_THREADS: usize = 4;

/// A thread that serves sockets. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Worker {
    /// Tasks are put on that thread through this.
    pub(super) runtime: Handle,
    _end: oneshot::Sender<()>,
}

impl Worker {
    /// Starts a thread with a runtime of its own. The error is the operating system's.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        // One thread and no work stealing: what a socket costs stays on its thread, and a tally has
        // one writer.
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (end, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            // Named, so that `top -H` tells the load from the hubs.
            .name(name.to_owned())
            .spawn(move || {
                // It ends when the other side is dropped.
                _ = runtime.block_on(ended);
            })?;
        // The thread is never joined: whoever drops this must not wait for a socket.
        Ok(Self {
            runtime: handle,
            _end: end,
        })
    }

    /// Starts one thread for two cores: the hubs need the others.
    pub(super) fn some() -> io::Result<Vec<Self>> {
        // At least one thread, even on one core.
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let many = (cores / 2).clamp(1, MOST_THREADS);
        (0..many)
            .map(|n| Self::start(&format!("bench-load-{n}")))
            .collect()
    }
}

/// All subscribers of a scenario, connected or not.
/// Threads and tallies stand in pairs: each thread counts in one of its own.
#[derive(Debug)]
pub(super) struct Sockets {
    layout: Arc<Layout>,
    target: Target,
    stage: Arc<Stage>,
    workers: Vec<(Worker, Arc<Mutex<Tally>>)>,
    /// By their number in the layout; the slice never changes its length.
    all: Vec<Arc<Subscriber>>,
}

impl Sockets {
    /// Connects all; returns when each is subscribed. The error is the first of any socket.
    pub(super) fn connect(
        layout: &Arc<Layout>,
        target: &Target,
        stage: &Arc<Stage>,
    ) -> io::Result<Self> {
        let workers = Worker::some()?
            .into_iter()
            .map(|worker| (worker, stage.tally()))
            .collect();
        let all = (0..layout.connections).map(|index| Arc::new(Subscriber::new(layout, index)));
        let sockets = Self {
            layout: Arc::clone(layout),
            target: target.clone(),
            stage: Arc::clone(stage),
            workers,
            all: all.collect(),
        };
        sockets.repair()?;
        Ok(sockets)
    }

    /// Connects those that are not connected, such as after a hub was killed. The error is the first of any socket.
    ///
    /// Blocks this thread until each has an answer; sockets that are connected are left alone.
    pub(super) fn repair(&self) -> io::Result<()> {
        // Room for all results, so that `try_send` never finds the channel full. At least 1, since
        // 0 would make each sender wait for this thread.
        let (done, all_done) = mpsc::sync_channel(self.all.len().max(1));
        let mut open = 0;
        let room: Vec<_> = self
            .workers
            .iter()
            // For each thread: the handshakes of one must not wait for another's.
            .map(|_| Arc::new(Semaphore::new(AT_ONCE)))
            .collect();
        for (n, subscriber) in self.all.iter().enumerate() {
            if subscriber.is_alive() {
                continue;
            }
            open += 1;
            // The same socket is always on the same thread, so its tally keeps one writer.
            let at = n % self.workers.len();
            let (worker, tally) = &self.workers[at];
            let (layout, stage) = (Arc::clone(&self.layout), Arc::clone(&self.stage));
            let (tally, room) = (Arc::clone(tally), Arc::clone(&room[at]));
            let (subscriber, done) = (Arc::clone(subscriber), done.clone());
            let hub = self.target.hubs[self.layout.hub_of(subscriber.index())].clone();
            worker.runtime.spawn(async move {
                // Held for the handshake only, and not while the socket listens.
                let permit = room.acquire().await;
                let connected = subscriber.connect(&layout, &hub).await;
                drop(permit);
                let connection = match connected {
                    Ok(connection) => {
                        _ = done.try_send(Ok(()));
                        connection
                    }
                    Err(error) => {
                        _ = done.try_send(Err(error));
                        return;
                    }
                };
                // Before listening, which lasts: if a task panics without a result, the channel
                // must still come to its end.
                drop(done);
                subscriber.listen(connection, &layout, &stage, &tally).await;
            });
        }
        drop(done);
        // All are awaited before the first error is returned, or sockets would go on connecting in
        // the next measurement.
        let results: Vec<io::Result<()>> = all_done.iter().take(open).collect();
        results.into_iter().collect()
    }

    /// Returns how many are not connected.
    pub(super) fn broken(&self) -> usize {
        self.all.iter().filter(|it| !it.is_alive()).count()
    }

    /// Publishes by a subscriber's socket. Returns false if it is not connected; the message then counts as refused.
    pub(super) fn publish(&self, connection: u32, frame: &[u8]) -> bool {
        self.all[connection as usize].publish(frame)
    }
}
