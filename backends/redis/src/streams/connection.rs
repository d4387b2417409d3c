//! One open instance of the second backend, as the hub holds it: passes the hub's calls on to the
//! tasks, two for each part, and ends them.
//!
//! A part is what one connection can serve: all streams of a server, or one stream of a Cluster.
//! The publisher, the outbox and the dialer are those of the first backend.

use std::{
    fmt, mem,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures_util::future::{join_all, try_join_all};
use hubplane_backplane::{Backplane, Channel, History, Opened, Outgoing, Receipt, Result, events};
use redis::cmd;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::timeout,
};

use super::{
    absence::Absence,
    backend::{CAPABILITIES, STREAMS, renamed},
    config::Log,
    history::Past,
    keys::Part,
    message,
    promises::Promises,
    reader::Reader,
};
use crate::{
    backend::EVENTS,
    connection::Link,
    dial::Dialer,
    failure, hello,
    outbox::{CALL_LIMIT, Outbox},
    publish::{self, Writer},
};
use hubplane_kit::LogLimiter;

/// Connects the hub's calls with the tasks. Dropping it ends them.
pub(crate) struct Instance {
    /// What the address says; shared with every task.
    log: Arc<Log>,
    dialer: Arc<Dialer>,
    /// One for each part, in the order of `Log::parts`; so are the renewals.
    outboxes: Vec<Outbox>,
    renewals: Vec<Arc<Notify>>,
    /// What the readers have found out that forbids publishing.
    promises: Arc<Promises>,
    /// Reads history over connections of its own.
    past: Past,
    /// Set to true by closing, and seen by every task; dropping the sender has the same effect.
    closed: watch::Sender<bool>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("prefix", &self.log.server.prefix)
            .field("closed", &*self.closed.borrow())
            .finish_non_exhaustive()
    }
}

/// Opens an instance: connects all parts, checks what the promises depend on, and finds the ends of
/// the streams. Once it returns, every message that is added is delivered. `Config` if the server
/// is too old, the user lacks a right, or others use another number of streams.
pub(crate) async fn open(log: Arc<Log>) -> Result<Opened> {
    let dialer = Dialer::new(Arc::clone(&log.server));
    let connecting = log.parts.iter().map(|part| connect(&dialer, &log, part));
    // All parts side by side: 64 streams of a Cluster, one after the other, would take longer than
    // opening may.
    let mut links = try_join_all(connecting).await?;
    let promises = Arc::new(Promises::default());
    // Before anything is started: an instance that means other streams than the others must not
    // open at all.
    for ((link, _), part) in links.iter_mut().zip(&log.parts) {
        let (connection, node) = (&mut link.connection, &link.node);
        promises.check(&log, part, connection, node).await?;
        promises.examine(connection, node).await;
    }
    // Room for one event of each stream on top: `Reader::open` says where the streams end, before
    // the hub takes events.
    let (sender, events) = events(EVENTS + log.keys.count() as usize);
    let absence = Arc::new(Absence::default());
    let (closed, closing) = watch::channel(false);
    let mut instance = Instance {
        past: Past::new(Arc::clone(&log), Arc::clone(&dialer), closing.clone()),
        dialer: Arc::clone(&dialer),
        log: Arc::clone(&log),
        outboxes: Vec::new(),
        renewals: Vec::new(),
        promises: Arc::clone(&promises),
        closed,
        tasks: Mutex::default(),
    };
    // If one of these fails, dropping the instance ends the tasks that were started.
    for (part, (mut link, publisher)) in log.parts.iter().zip(links) {
        let outlet = (sender.clone(), Arc::clone(&absence));
        let watched = (Arc::clone(&log), Arc::clone(&promises));
        let reader = Reader::open(&dialer, watched, part, &mut link, outlet).await?;
        instance.start(part, (reader, link), publisher, closing.clone());
    }
    Ok(Opened {
        backplane: Arc::new(instance),
        events,
    })
}

/// Returns the connections of a part's reader and publisher, to a server that will do.
async fn connect(dialer: &Dialer, log: &Log, part: &Part) -> Result<(Link, Link)> {
    let mut link = dialer.dial(part.slot, None).await?;
    let version = hello::major_version(&link.hello().await?);
    // Before Redis 7, XINFO lacks `entries-added` and `recorded-first-entry-id`, by which lost
    // entries are noticed.
    if version.is_some_and(|version| version < 7) {
        let node = &link.node;
        return Err(failure::config(format!(
            "{node} is too old: the streams need Redis 7 or newer"
        )));
    }
    let mut publisher = dialer.dial(part.slot, None).await?;
    probe(log, part, &mut publisher).await?;
    Ok((link, publisher))
}

/// Tries the commands that are needed later and not at the start, so that a user without the right
/// is told now. An XADD with the id 0-0 is always refused, but only after Redis has looked at the
/// rights; so nothing is written.
async fn probe(log: &Log, part: &Part, link: &mut Link) -> Result<()> {
    let key = log.keys.of(part.lanes.start);
    // What is asked for at the start anyway (MGET, XINFO, XREAD, MULTI) needs no trial.
    let (mut add, mut length, mut watch) = (cmd("XADD"), cmd("XLEN"), cmd("WATCH"));
    add.arg(&key.stream).arg("NOMKSTREAM").arg("0-0");
    add.arg("c").arg("");
    length.arg(&key.stream);
    watch.arg(&*key.token);
    for command in [add, length, watch, cmd("UNWATCH"), cmd("TIME")] {
        match command.exec_async(&mut link.connection).await {
            Err(error) if matches!(error.code(), Some("NOPERM" | "WRONGTYPE")) => {
                return Err(failure::of_log(&link.node, &log.server, error));
            }
            // The other errors are of the moment, or, for XADD, the one that was asked for.
            _ => {}
        }
    }
    Ok(())
}

impl Instance {
    /// Starts the two tasks of a part.
    fn start(
        &mut self,
        part: &Part,
        (reader, link): (Reader, Link),
        publisher: Link,
        closing: watch::Receiver<bool>,
    ) {
        // The closing is given to each of them, so that none depends on another one's end.
        let (outbox, jobs) = Outbox::new(closing.clone());
        let writer = Writer {
            dialer: Arc::clone(&self.dialer),
            slot: part.slot,
            jobs,
            closed: closing.clone(),
            refusals: LogLimiter::new(),
        };
        self.outboxes.push(outbox);
        self.renewals.push(reader.renew());
        let mut ending = closing;
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.push(tokio::spawn(writer.run(publisher)));
        tasks.push(tokio::spawn(async move {
            // Dropping the reader ends the events, wherever it waits.
            tokio::select! {
                () = reader.run(link) => {}
                () = publish::closing(&mut ending) => {}
            }
        }));
    }

    /// Refuses calls on a closed instance, and names that are too long.
    fn check(&self, channels: &[Channel]) -> Result<()> {
        if *self.closed.borrow() {
            return Err(renamed(failure::closed()));
        }
        channels
            .iter()
            .try_for_each(|name| CAPABILITIES.check(STREAMS, name, 0))
    }
}

#[async_trait]
impl Backplane for Instance {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let log = &self.log;
        // Others would not read what is published now, so nothing is.
        if self.promises.broken().is_some() {
            let broken = |_: &Outgoing| Err(self.promises.broken().unwrap_or_else(failure::closed));
            return batch
                .iter()
                .map(broken)
                .map(|it| it.map_err(renamed))
                .collect();
        }
        // To each part its own messages, side by side: one whose node is away holds up no other.
        // The indexes bring the answers back into the order of the batch.
        let mut parts: Vec<(Vec<usize>, Vec<Outgoing>)> = vec![Default::default(); log.parts.len()];
        for (index, outgoing) in batch.into_iter().enumerate() {
            let (indexes, batch) = &mut parts[log.part(&outgoing.channel)];
            indexes.push(index);
            batch.push(outgoing);
        }
        let publishing = parts
            .iter()
            .zip(&self.outboxes)
            .filter(|((indexes, _), _)| !indexes.is_empty())
            .map(|((indexes, batch), outbox)| async move {
                let results = outbox.publish(batch, |outgoing| message::item(log, outgoing));
                indexes.iter().zip(results.await).collect::<Vec<_>>()
            });
        let mut results: Vec<_> = join_all(publishing).await.into_iter().flatten().collect();
        // One answer for each message, so the indexes are complete.
        results.sort_by_key(|(index, _)| **index);
        let results = results.into_iter();
        results.map(|(_, result)| result.map_err(renamed)).collect()
    }

    /// Needs nothing of Redis: this instance reads all streams already.
    async fn subscribe(&self, channels: &[Channel]) -> Result<()> {
        self.check(channels)
    }

    /// Needs nothing of Redis either: the hub passes on only what is wanted.
    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        self.check(&[])
    }

    /// Returns the channel's stream: messages of one lane have one order.
    fn lane(&self, channel: &str) -> Option<u32> {
        Some(self.log.keys.lane(channel))
    }

    /// Makes the reading connections anew. Nothing is missed by that: each reader goes on behind
    /// its last entry.
    fn renew(&self) {
        for reader in &self.renewals {
            reader.notify_one();
        }
    }

    fn history(&self) -> Option<&dyn History> {
        Some(&self.past)
    }

    /// Ends all tasks. Each gets half of the call's time to answer what is on its way.
    async fn close(&self) {
        self.closed.send_replace(true);
        // The connections for history belong to no task, so they are cut here.
        self.past.close();
        let tasks = mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let abort = task.abort_handle();
            if timeout(CALL_LIMIT / 2, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        // The tasks see it and end; nothing of an instance outlives it.
        self.closed.send_replace(true);
    }
}
