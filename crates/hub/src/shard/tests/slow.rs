//! Clients that take too little of channels with a rule. A channel's name begins with its rule.

use super::*;
use crate::{frame::Encoded, message::Message};

/// Subscribes a session, and waits until it is answered.
pub(super) async fn subscribe_to(shard: &Shard, key: Key, wire: &Wire, channel: &str) {
    subscribe_at(shard, key, channel, None);
    answered(wire).await;
}

pub(super) fn subscribe_at(shard: &Shard, key: Key, channel: &str, rate: Option<u64>) {
    let command = Command::Subscribe {
        reference: None,
        channel: channel.into(),
        tag: None,
        since: None,
        presence: None,
        max_rate: rate.map(|rate| crate::MaxRate::new(rate).unwrap()),
    };
    shard.command(key, command);
    shard.flush_dirty();
}

/// Waits for one more answer than before, and forgets what was written.
pub(super) async fn answered(wire: &Wire) {
    while wire.text().is_empty() {
        yield_now().await;
    }
    assert_eq!(std::mem::take(&mut *wire.0.bytes.borrow_mut()), b"ok.");
}

/// Delivers messages in one turn of the shard, each `channel data`.
pub(super) fn deliver(shard: &Shard, messages: &[&str]) {
    let batch: Vec<_> = messages
        .iter()
        .map(|text| {
            let (channel, data) = text.split_once(' ').unwrap();
            Encoded::new(Message {
                channel: channel.into(),
                data: data.to_owned().into(),
                position: None,
                id: None,
                origin: None,
                tags: Vec::new(),
            })
        })
        .collect();
    shard.state.borrow_mut().deliver(&shard.hub, &batch);
    shard.flush_dirty();
}

/// Lets the socket take everything, and returns what it has got since it was last asked.
pub(super) fn taken(shard: &Shard, key: Key, wire: &Wire) -> String {
    wire.0.full.set(false);
    shard.flush(key);
    let text = wire.text();
    wire.0.bytes.borrow_mut().clear();
    text
}

fn few_frames(outbox_frames: usize) -> Limits {
    Limits {
        outbox_frames,
        ..Limits::default()
    }
}

/// How many messages were dropped and replaced, how many gaps tell of it, and how many sessions ended.
fn counted(hub: &Hub) -> [u64; 4] {
    let counts = hub.counts();
    let gaps = counts.gaps().find(|it| it.0 == GapCause::Slow).unwrap().1;
    let [dropped, replaced, slow] =
        [&counts.dropped, &counts.replaced, &counts.slow].map(|it| it.load(Relaxed));
    [dropped, replaced, gaps, slow]
}

#[tokio::test]
async fn the_oldest_are_dropped_and_each_hole_is_told_once() {
    let test = async {
        let (hub, shard) = shard(few_frames(4)).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_to(&shard, key, &wire, "drop-oldest").await;
        for (hole, last) in ["8.9.10.", "18.19.20."].into_iter().zip(1..) {
            wire.0.full.set(true);
            for number in 10 * last - 9..=10 * last {
                deliver(&shard, &[&format!("drop-oldest {number}")]);
            }
            let held = shard.state.borrow().held;
            assert!(held < 40, "{held}");
            assert_eq!(taken(&shard, key, &wire), format!("[drop-oldest].{hole}"));
            assert_eq!(counted(&hub), [7 * last, 0, last, 0]);
        }
        deliver(&shard, &["drop-oldest x"]);
        assert_eq!(taken(&shard, key, &wire), "x.", "no hole, no gap");
        // Five in one turn are more than four, but this socket takes them.
        deliver(&shard, &["drop-oldest 1"; 5]);
        assert_eq!(taken(&shard, key, &wire), "1.1.1.1.1.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn only_the_newest_waits_and_nobody_is_told() {
    let test = async {
        let (hub, shard) = shard(few_frames(4)).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_to(&shard, key, &wire, "latest").await;
        subscribe_to(&shard, key, &wire, "other").await;
        wire.0.full.set(true);
        for number in 0..1_000 {
            deliver(&shard, &[&format!("latest {number}.")]);
        }
        deliver(&shard, &["other o", "latest last"]);
        assert!(shard.state.borrow().held < 20);
        assert_eq!(taken(&shard, key, &wire), "o.last.");
        assert_eq!(counted(&hub), [0, 1_000, 0, 0]);
        deliver(&shard, &["latest a", "latest b"]);
        assert_eq!(taken(&shard, key, &wire), "b.", "a was not written yet");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn rules_of_one_session_stand_side_by_side() {
    let test = async {
        let (hub, shard) = shard(few_frames(8)).await;
        let (key, wire) = open(&shard, &SOUND);
        for channel in ["c", "drop-oldest.a", "drop-oldest.b", "latest.x"] {
            subscribe_to(&shard, key, &wire, channel).await;
        }
        wire.0.full.set(true);
        let first = [
            "c c1",
            "drop-oldest.a a1",
            "latest.x x1",
            "drop-oldest.b b1",
        ];
        deliver(&shard, &first);
        deliver(&shard, &["drop-oldest.a a2", "latest.x x2", "c c2"]);
        deliver(
            &shard,
            &["drop-oldest.a a3", "latest.x x3", "drop-oldest.b b2"],
        );
        // Full; both gaps take the place of what they tell of, so a third message must go.
        deliver(&shard, &["c c3"]);
        let waits = "c1.[drop-oldest.a].[drop-oldest.b].c2.a3.x3.b2.c3.";
        assert_eq!(taken(&shard, key, &wire), waits);
        assert_eq!(counted(&hub), [3, 2, 2, 0]);
        // Answers and other channels' messages drop what they need, and no more.
        wire.0.full.set(true);
        deliver(&shard, &["drop-oldest.b b3", "drop-oldest.b b4", "c c4"]);
        for _ in 0..6 {
            shard.command(key, Command::Ping);
        }
        shard.flush_dirty();
        assert_eq!(counted(&hub), [5, 2, 3, 0]);
        // Nothing more may be dropped.
        shard.command(key, Command::Ping);
        assert_eq!(counted(&hub), [5, 2, 3, 1]);
        deliver(&shard, &["drop-oldest.a a4", "latest.x x4"]);
        assert_eq!(taken(&shard, key, &wire), "Slow.");
    };
    LocalSet::new().run_until(test).await;
}

/// Its own task has not run yet, so the shard takes its socket for blocked.
#[tokio::test]
async fn a_socket_that_takes_again_is_tried_before_its_session_ends() {
    let test = async {
        let (hub, shard) = shard(few_frames(4)).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_to(&shard, key, &wire, "latest").await;
        subscribe_to(&shard, key, &wire, "c").await;
        wire.0.full.set(true);
        deliver(&shard, &["c 1", "c 2", "c 3", "latest 4"]);
        wire.0.full.set(false);
        deliver(&shard, &["c 5"]);
        assert_eq!(taken(&shard, key, &wire), "1.2.3.4.5.");
        assert_eq!(counted(&hub), [0; 4]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_leaves_a_channel_is_given_nothing_more_of_it() {
    let test = async {
        let (_, shard) = shard(few_frames(100)).await;
        let (key, wire) = open(&shard, &SOUND);
        for channel in ["latest", "drop-oldest", "c"] {
            subscribe_to(&shard, key, &wire, channel).await;
        }
        wire.0.full.set(true);
        deliver(&shard, &["latest l", "drop-oldest d", "c c"]);
        let which = Which::Channel("latest".into());
        let reference = None;
        shard.command(key, Command::Unsubscribe { reference, which });
        deliver(&shard, &["latest l", "c c", "drop-oldest d"]);
        assert_eq!(taken(&shard, key, &wire), "d.c.ok.c.d.");
        // The places of the others in the session's list have changed; their rules have not.
        subscribe_to(&shard, key, &wire, "latest").await;
        wire.0.full.set(true);
        deliver(&shard, &["latest 1", "latest 2", "c 1", "c 2"]);
        assert_eq!(taken(&shard, key, &wire), "2.1.2.");
    };
    LocalSet::new().run_until(test).await;
}

/// All sessions together hold too much: messages that may be dropped go first.
#[tokio::test]
async fn what_all_hold_together_is_dropped_before_a_session_ends() {
    let test = async {
        let limits = Limits {
            outboxes_bytes: 50,
            ..Limits::default()
        };
        let (hub, shard) = shard(limits).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_to(&shard, key, &wire, "drop-oldest").await;
        wire.0.full.set(true);
        deliver(&shard, &["drop-oldest 123456789012345"; 4]);
        assert_eq!(counted(&hub), [4, 0, 1, 0]);
        assert_eq!(taken(&shard, key, &wire), "[drop-oldest].");
        subscribe_to(&shard, key, &wire, "c").await;
        wire.0.full.set(true);
        deliver(&shard, &["c 123456789012345"; 4]);
        assert_eq!(counted(&hub), [4, 0, 1, 1]);
    };
    LocalSet::new().run_until(test).await;
}

/// A thousand that take nothing, and one that takes everything.
#[tokio::test]
async fn a_thousand_slow_ones_cost_the_fast_one_nothing() {
    let test = async {
        let mut work = Vec::new();
        for frames in [8, 128] {
            let (hub, shard) = shard(few_frames(frames)).await;
            let channels = ["drop-oldest", "latest"];
            let (fast_key, fast) = open(&shard, &SOUND);
            let mut slow = Vec::new();
            for channel in channels {
                subscribe_to(&shard, fast_key, &fast, channel).await;
            }
            for _ in 0..1_000 {
                let (key, wire) = open(&shard, &SOUND);
                for channel in channels {
                    subscribe_to(&shard, key, &wire, channel).await;
                }
                wire.0.full.set(true);
                slow.push((key, wire));
            }
            let mut expected = String::new();
            for number in 0..200 {
                let (oldest, latest) = (format!("o{number}"), format!("l{number}"));
                expected += &format!("{oldest}.{latest}.");
                let batch = [format!("drop-oldest {oldest}"), format!("latest {latest}")];
                deliver(&shard, &[&batch[0], &batch[1]]);
            }
            assert_eq!(taken(&shard, fast_key, &fast), expected);
            let [dropped, replaced, gaps, ended] = counted(&hub);
            // All but the newest, less one each for the gap and for the last of the other channel.
            let kept = frames as u64 - 2;
            assert_eq!((dropped, gaps), (1_000 * (200 - kept), 1_000));
            assert_eq!((replaced, ended), (1_000 * 199, 0));
            let state = shard.state.borrow();
            work.push(
                state
                    .sessions
                    .iter()
                    .map(|it| it.1.outbox.steps())
                    .sum::<u64>()
                    / 400_000,
            );
            drop(state);
            for (key, wire) in slow {
                assert_eq!(wire.0.refused.get(), 1, "a blocked socket is left alone");
                let text = taken(&shard, key, &wire);
                assert!(text.starts_with("[drop-oldest].o") && text.ends_with("o199.l199."));
                assert_eq!(text.matches('[').count(), 1);
            }
        }
        assert!(
            (1..=12).contains(&work[0]) && work[1] <= work[0],
            "pieces for a message: {work:?}"
        );
    };
    LocalSet::new().run_until(test).await;
}
