//! From a publish to the sockets of one shard, all on this thread: the embedded backend, the pump, the mail, the outboxes,
//! and a socket that takes everything and costs nothing.

use std::{
    io,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Driver, Outgoing};
use hubplane_hub::{
    Grant, Hub, Limits, SessionSetup, Setup, Shard, command::Command, frame::Socket,
};
use hubplane_memory::DRIVER;
use hubplane_server::inside;
use tokio::{
    runtime,
    task::{self, LocalSet},
};

use crate::{Run, text};

/// Longer than any measurement.
const HOUR: Duration = Duration::from_secs(3_600);

/// The way alone, with hardly any delivery.
pub(crate) fn one() -> Run {
    dispatch(1, 1, 16)
}

/// Delivering to many outboxes.
pub(crate) fn many() -> Run {
    dispatch(1_000, 1, 16)
}

/// Each message to another channel, with one subscriber each.
pub(crate) fn own() -> Run {
    dispatch(1_000, 1_000, 1_000)
}

/// Takes everything.
/// A system call would cost more than all that is to be timed.
#[derive(Debug)]
struct Sink;

impl Socket for Sink {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn write_vectored(&self, bytes: &[io::IoSlice<'_>]) -> io::Result<usize> {
        Ok(bytes.iter().map(|slice| slice.len()).sum())
    }
}

/// `batch` messages in one publish, spread over `channels`, as the `subscribers` are.
fn dispatch(subscribers: usize, channels: usize, batch: usize) -> Run {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("invariant: a runtime can be made");
    let local = LocalSet::new();
    let hub = local.block_on(&runtime, start());
    let shard = local.block_on(&runtime, async {
        let (hub, mailbox) = hub;
        let shard = Shard::new(hub, &mailbox);
        task::spawn_local(Rc::clone(&shard).run(mailbox));
        for subscriber in 0..subscribers {
            subscribe(&shard, format!("jobs.{}", subscriber % channels));
        }
        // Confirmations are written before the timing begins.
        shard.flush_dirty();
        shard
    });
    let messages: Vec<_> = (0..batch)
        .map(|message| Outgoing::new(format!("jobs.{}", message % channels), text(128)))
        .collect();
    // Every channel has the same share of messages and of subscribers.
    let deliveries = (batch * subscribers / channels) as u64;
    Box::new(move || {
        // The messages are cloned in the time that counts; their data is shared and not copied.
        let round = round(shard.hub(), messages.clone(), deliveries);
        local.block_on(&runtime, round);
    })
}

/// Starts a hub with one shard, which runs on this thread.
async fn start() -> (Arc<Hub>, hubplane_hub::Mailbox) {
    // So small that it is full after a moment: a message costs the same from then on.
    let address = "memory:?max-messages=4096"
        .parse()
        .expect("invariant: an address");
    let opened = DRIVER
        .open(&address)
        .await
        .expect("invariant: the embedded backend opens");
    let setup = Setup {
        node: "bench".to_owned(),
        driver: &DRIVER,
        limits: Limits {
            window_bytes: 1024 * 1024,
            // Nothing that happens by the clock is counted in.
            ping_interval: HOUR,
            beacon_interval: HOUR,
            deaf_after: HOUR,
            ..Limits::default()
        },
        shards: 1,
    };
    let (hub, mut mailboxes) = Hub::start(opened, setup).expect("a hub starts");
    // Its own messages come back: all parts are at work.
    assert!(hub.heard(Duration::from_secs(10)).await, "the hub is up");
    (hub, mailboxes.remove(0))
}

/// Opens an anonymous session, and subscribes it.
fn subscribe(shard: &Shard, channel: String) {
    let key = shard.open(SessionSetup {
        socket: Box::new(Sink),
        encoding: inside::encoding(),
        grant: Grant::anonymous().shared(),
    });
    let command = Command::Subscribe {
        reference: None,
        channel: channel.into(),
        tag: None,
        since: None,
        presence: None,
        max_rate: None,
    };
    shard.command(key, command);
}

/// Publishes, and waits until all is delivered: a shard writes in the same step in which it counts.
async fn round(hub: &Hub, messages: Vec<Outgoing>, deliveries: u64) {
    let delivered = || hub.counts().deliveries.load(Ordering::Relaxed);
    let before = delivered();
    let answers = hub
        .publish(messages)
        .await
        .expect("invariant: nothing waits");
    assert!(answers.iter().all(Result::is_ok), "all are taken");
    // Everything is on this thread, so it goes on only when this task lets it.
    while delivered() < before + deliveries {
        task::yield_now().await;
    }
    assert_eq!(delivered(), before + deliveries, "none comes twice");
}
