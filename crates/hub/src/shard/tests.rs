mod faulty_log;
mod grants;
mod limits;
mod presence;
mod rate;
mod recovery;
mod slow;
mod subscriptions;

use std::{
    cell::{Cell, RefCell},
    io,
    pin::pin,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use hubplane_backplane::{Driver, GapCause, Opened, Outgoing};
use tokio::{task::LocalSet, time::sleep};

use super::*;
use crate::{
    Setup,
    command::{Command, Ending, Push, Reply, Which},
    format::{Close, Decoder, Format, Incoming, Input},
    frame::{Encoding, Frame, Framing, Socket},
    grant::Grant,
    limits::Limits,
    presence::{PresenceOptions, Roster},
};

/// Notes what is written; takes nothing while it is full.
#[derive(Clone, Debug, Default)]
struct Wire(Rc<Noted>);

#[derive(Debug, Default)]
struct Noted {
    bytes: RefCell<Vec<u8>>,
    writes: Cell<usize>,
    /// Writes while it was full.
    refused: Cell<usize>,
    full: Cell<bool>,
}

impl Wire {
    fn text(&self) -> String {
        String::from_utf8(self.0.bytes.borrow().clone()).unwrap()
    }
}

impl Socket for Wire {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.full.get() {
            self.0.refused.set(self.0.refused.get() + 1);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.writes.set(self.0.writes.get() + 1);
        self.0.bytes.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&self, slices: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.write(
            &slices
                .iter()
                .flat_map(|slice| slice.to_vec())
                .collect::<Vec<_>>(),
        )
    }
}

/// Frames without anything around them.
#[derive(Debug)]
struct Bare;

impl Framing for Bare {
    fn room(&self) -> usize {
        0
    }

    fn frame(&self, _binary: bool, buffer: Vec<u8>, _tail: usize) -> Frame {
        buffer.into()
    }

    fn ping(&self) -> Frame {
        Bytes::from_static(b"ping.")
    }

    fn close(&self, close: &Close) -> Frame {
        Bytes::from(format!("{}.", close.reason))
    }
}

/// Reads nothing: these tests give the commands themselves.
#[derive(Debug)]
struct Unread;

impl Decoder for Unread {
    fn decode(&mut self, _incoming: Incoming<'_>, _on: &mut dyn FnMut(Input)) {}
}

/// Writes the data alone; panics on `boom` where it is told to.
#[derive(Debug)]
struct Plain {
    panics: bool,
}

static SOUND: Encoding = Encoding {
    format: &Plain { panics: false },
    framing: &Bare,
};
static BROKEN: Encoding = Encoding {
    format: &Plain { panics: true },
    framing: &Bare,
};

impl Format for Plain {
    fn subprotocol(&self) -> &'static str {
        "plain"
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        Box::new(Unread)
    }

    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        let text = match reply {
            Reply::Error { code, .. } => format!("error {}.", code.as_str()),
            Reply::Members { .. } => "of ".to_owned(),
            Reply::Subscribed {
                recovered: true, ..
            } => "recovered.".to_owned(),
            Reply::Expiring(_) => "expiring.".to_owned(),
            _ => "ok.".to_owned(),
        };
        out.extend_from_slice(text.as_bytes());
    }

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        match push {
            Push::Message(message) => {
                assert!(!(self.panics && message.data == "boom"), "as tested");
                out.extend_from_slice(&message.data);
            }
            Push::Gap {
                channel,
                cause: GapCause::Slow,
            } => out.extend_from_slice(format!("[{channel}]").as_bytes()),
            Push::Gap { .. } => out.extend_from_slice(b"gap"),
            Push::Presence(change) => {
                out.push(if change.joined { b'+' } else { b'-' });
                out.extend_from_slice(change.member.client.as_bytes());
            }
        }
        out.push(b'.');
    }

    fn members(&self, _channel: &str, roster: &Roster, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{}.", roster.count).as_bytes());
    }

    fn ending(&self, ending: Ending, _out: &mut Vec<u8>) -> Close {
        Close::new(0, format!("{ending:?}"))
    }
}

async fn memory() -> Opened {
    let address = "memory:".parse().unwrap();
    hubplane_memory::DRIVER.open(&address).await.unwrap()
}

async fn shard(limits: Limits) -> (Arc<Hub>, Rc<Shard>) {
    shard_on(memory().await, limits)
}

fn shard_on(opened: Opened, limits: Limits) -> (Arc<Hub>, Rc<Shard>) {
    let setup = Setup {
        node: "test".to_owned(),
        driver: &hubplane_memory::DRIVER,
        limits,
        shards: 1,
    };
    let (hub, mut mailboxes) = Hub::start(opened, setup).unwrap();
    let mailbox = mailboxes.remove(0);
    let shard = Shard::new(Arc::clone(&hub), &mailbox);
    tokio::task::spawn_local(Rc::clone(&shard).run(mailbox));
    (hub, shard)
}

fn open(shard: &Shard, encoding: &'static Encoding) -> (Key, Wire) {
    let wire = Wire::default();
    let key = shard.open(SessionSetup {
        socket: Box::new(wire.clone()),
        encoding,
        grant: limits::listening().shared(),
    });
    (key, wire)
}

fn subscribe(shard: &Shard, key: Key, presence: Option<Box<PresenceOptions>>) {
    shard.command(
        key,
        Command::Subscribe {
            reference: None,
            channel: "c".into(),
            tag: None,
            since: None,
            presence,
            max_rate: None,
        },
    );
    shard.flush_dirty();
}

fn listener(shard: &Shard, encoding: &'static Encoding) -> (Key, Wire) {
    let (key, wire) = open(shard, encoding);
    subscribe(shard, key, None);
    (key, wire)
}

async fn publish(hub: &Hub, data: &[&'static str]) {
    let messages = data.iter().map(|data| Outgoing::new("c", *data)).collect();
    for answer in hub.publish(messages).await.unwrap() {
        answer.unwrap();
    }
    sleep(Duration::from_millis(50)).await;
}

#[tokio::test]
async fn what_comes_together_leaves_in_one_write() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (_, wire) = listener(&shard, &SOUND);
        let before = wire.0.writes.get();
        publish(&hub, &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10"]).await;
        assert_eq!(wire.text(), "ok.1.2.3.4.5.6.7.8.9.10.");
        assert_eq!(wire.0.writes.get() - before, 1);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_panic_costs_its_message_and_says_so() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (_, sound) = listener(&shard, &SOUND);
        let (_, broken) = listener(&shard, &BROKEN);
        publish(&hub, &["before", "boom", "after"]).await;
        assert_eq!(hub.counts().panics.load(Relaxed), 1);
        assert_eq!(sound.text(), "ok.before.boom.after.");
        assert_eq!(broken.text(), "ok.before.gap.after.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_channel_that_the_broker_refuses_ends_its_subscriptions_and_no_others() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, first) = listener(&shard, &SOUND);
        let (_, second) = listener(&shard, &SOUND);
        let refused = ["c".into(), "nobody is here".into()];
        hub.refuse(refused.to_vec(), "forbidden".to_owned()).await;
        publish(&hub, &["unheard"]).await;
        for wire in [&first, &second] {
            assert_eq!(wire.text(), "ok.error rejected.ok.");
        }
        // The session goes on, and may try again.
        subscribe(&shard, key, None);
        publish(&hub, &["heard"]).await;
        assert_eq!(first.text(), "ok.error rejected.ok.ok.heard.");
        assert_eq!(second.text(), "ok.error rejected.ok.");
    };
    LocalSet::new().run_until(test).await;
}

/// Answers to what a client keeps asking count like messages.
#[tokio::test]
async fn who_asks_and_does_not_read_is_cut_off() {
    let test = async {
        let (hub, shard) = shard(Limits {
            outbox_frames: 4,
            ..Limits::default()
        })
        .await;
        let (key, slow) = listener(&shard, &SOUND);
        slow.0.full.set(true);
        for _ in 0..10 {
            shard.command(key, Command::Ping);
            shard.flush_dirty();
        }
        assert_eq!(hub.counts().slow.load(Relaxed), 1);
        slow.0.full.set(false);
        shard.flush(key);
        assert_eq!(slow.text(), "ok.Slow.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_takes_nothing_is_cut_off_and_the_other_goes_on() {
    let test = async {
        let (hub, shard) = shard(Limits {
            outbox_frames: 4,
            ..Limits::default()
        })
        .await;
        let (key, slow) = listener(&shard, &SOUND);
        let (_, other) = listener(&shard, &SOUND);
        slow.0.full.set(true);
        for _ in 0..10 {
            publish(&hub, &["x"]).await;
        }
        assert_eq!(hub.counts().slow.load(Relaxed), 1);
        assert_eq!(other.text(), format!("ok.{}", "x.".repeat(10)));
        slow.0.full.set(false);
        shard.flush(key);
        assert_eq!(
            slow.text(),
            "ok.Slow.",
            "what was not written is dropped; the last word says why"
        );
    };
    LocalSet::new().run_until(test).await;
}

/// What waits for all of them together has a limit, too; the one that reads does not pay for it.
#[tokio::test]
async fn many_that_take_nothing_are_relieved_of_the_fullest() {
    let test = async {
        let (hub, shard) = shard(Limits {
            outboxes_bytes: 50,
            ..Limits::default()
        })
        .await;
        let (first, fullest) = listener(&shard, &SOUND);
        fullest.0.full.set(true);
        publish(&hub, &["12345678", "12345678"]).await;
        let (second, other) = listener(&shard, &SOUND);
        other.0.full.set(true);
        let (_, reader) = listener(&shard, &SOUND);
        publish(&hub, &["12345678", "12345678", "12345678"]).await;
        assert_eq!(hub.counts().slow.load(Relaxed), 1);
        fullest.0.full.set(false);
        other.0.full.set(false);
        shard.flush(first);
        shard.flush(second);
        publish(&hub, &["x"]).await;
        assert!(fullest.text().ends_with("Slow."), "{}", fullest.text());
        assert!(!other.text().contains("Slow"), "{}", other.text());
        assert_eq!(reader.text(), format!("ok.{}x.", "12345678.".repeat(3)));
        assert_eq!(shard.state.borrow().held, 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_waits_for_the_last_session_of_all_shards_is_told_of_it() {
    let setup = Setup {
        node: "test".to_owned(),
        driver: &hubplane_memory::DRIVER,
        limits: Limits::default(),
        shards: 2,
    };
    let (hub, _mailboxes) = Hub::start(memory().await, setup).unwrap();
    assert!(hub.until_no_sessions().now_or_never().is_some());
    let mut ended = pin!(hub.until_no_sessions());
    for shard in [0, 1, 1] {
        hub.count_session(shard, 1);
    }
    for shard in [1, 0, 1] {
        assert!(ended.as_mut().now_or_never().is_none());
        hub.count_session(shard, -1);
    }
    assert!(ended.now_or_never().is_some());
}
