//! Subscriptions that come and go faster than what they wait for: each answer belongs to one of them.

use hubplane_backplane::Origin;

use super::{faulty_log::FaultyLog, *};
use crate::{
    position::{ClientPosition, Fingerprint},
    pump::Health,
};

/// A hub whose window holds nothing, so that every past is read from the log, and this many messages in it. Returns the
/// messages' positions, too.
async fn with_past(limits: Limits, count: usize) -> (Arc<Hub>, Rc<Shard>, Vec<ClientPosition>) {
    let (hub, shard) = shard(short(limits)).await;
    let positions = past(&hub, count).await;
    (hub, shard, positions)
}

/// The window holds nothing.
fn short(mut limits: Limits) -> Limits {
    limits.window_bytes = 1;
    limits
}

/// Publishes so many messages. Returns their positions.
async fn past(hub: &Hub, count: usize) -> Vec<ClientPosition> {
    let texts = (1..=count).map(|n| Outgoing::new("c", format!("{n}")));
    let answers = hub.publish(texts.collect()).await.unwrap();
    let positions = answers.into_iter().map(|it| it.unwrap().unwrap());
    a_moment().await;
    positions.collect()
}

async fn a_moment() {
    sleep(Duration::from_millis(100)).await;
}

fn since(shard: &Shard, key: Key, since: ClientPosition) {
    let command = Command::Subscribe {
        reference: None,
        channel: "c".into(),
        tag: None,
        since: Some(since),
        presence: None,
        max_rate: None,
    };
    shard.command(key, command);
}

fn unsubscribe(shard: &Shard, key: Key) {
    let which = Which::Channel("c".into());
    let reference = None;
    shard.command(key, Command::Unsubscribe { reference, which });
}

/// The messages from one to another as the test's encoding writes them.
fn messages(from: usize, upto: usize) -> String {
    (from..=upto).map(|n| format!("{n}.")).collect()
}

#[tokio::test]
async fn what_was_read_for_an_earlier_subscription_is_not_given_to_a_later_one() {
    let test = async {
        let (_, shard, positions) = with_past(Limits::default(), 25).await;
        for (first, second) in [(20, 2), (2, 20)] {
            let (key, wire) = open(&shard, &SOUND);
            since(&shard, key, positions[first - 1]);
            unsubscribe(&shard, key);
            since(&shard, key, positions[second - 1]);
            shard.flush_dirty();
            a_moment().await;
            let expected = format!("ok.recovered.{}", messages(second + 1, 25));
            assert_eq!(wire.text(), expected);
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_subscription_that_waits_for_this_shard_outlives_the_reading_of_an_earlier_one() {
    let test = async {
        let limits = Limits {
            // A beacon would take the place of the next message.
            beacon_interval: Duration::from_secs(3_600),
            deaf_after: Duration::from_secs(3_600),
            ..Limits::default()
        };
        let (hub, shard, positions) = with_past(limits, 5).await;
        let (key, wire) = open(&shard, &SOUND);
        since(&shard, key, positions[0]);
        unsubscribe(&shard, key);
        // Another instance has shown the client the next message already.
        let last = hub.publish(vec![Outgoing::new("other", "x")]).await;
        let mut next = last.unwrap().remove(0).unwrap().unwrap();
        next.offset += 1;
        let origin = Origin {
            id: hub.origin(),
            number: next.offset as u64,
        };
        next.fingerprint = Some(Fingerprint::of(&"c".into(), b"6", Some(origin)));
        since(&shard, key, next);
        shard.flush_dirty();
        a_moment().await;
        assert_eq!(wire.text(), "ok.");
        publish(&hub, &["6", "7"]).await;
        assert_eq!(wire.text(), "ok.recovered.7.");
        publish(&hub, &["8"]).await;
        assert_eq!(wire.text(), "ok.recovered.7.8.");
        let state = shard.state.borrow();
        assert!(state.ahead.is_empty() && state.recovering.is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_asks_again_while_it_waits_is_answered_after_it() {
    let test = async {
        let (hub, shard, positions) = with_past(Limits::default(), 5).await;
        let (key, wire) = open(&shard, &SOUND);
        since(&shard, key, positions[2]);
        subscribe(&shard, key, None);
        assert_eq!(wire.text(), "", "nothing is promised before it holds");
        a_moment().await;
        publish(&hub, &["6"]).await;
        assert_eq!(wire.text(), "recovered.4.5.ok.6.");
        // One that goes away takes with it what it was to be answered.
        since(&shard, key, positions[2]);
        unsubscribe(&shard, key);
        since(&shard, key, positions[2]);
        subscribe(&shard, key, None);
        unsubscribe(&shard, key);
        shard.flush_dirty();
        a_moment().await;
        let status = shard.status(key, Waker::noop()).unwrap();
        assert!(!status.paused);
        assert_eq!(shard.state.borrow().sessions[0].unanswered, 0);
        assert_eq!(wire.text(), "recovered.4.5.ok.6.ok.ok.ok.");
    };
    LocalSet::new().run_until(test).await;
}

/// Positions are given up only by a hub that hears its broker: another one is itself behind, and would give the client
/// again what it has.
#[tokio::test]
async fn a_hub_that_hears_nothing_keeps_a_client_that_is_ahead_of_it_waiting() {
    let test = async {
        let limits = Limits {
            deaf_after: Duration::from_millis(200),
            beacon_interval: Duration::from_millis(100),
            ..Limits::default()
        };
        let (hub, shard, positions) = with_past(limits, 1).await;
        assert!(hub.heard(Duration::from_secs(5)).await);
        let mut far = positions[0];
        far.offset += 1_000;
        let (key, wire) = open(&shard, &SOUND);
        hub.health_state().set(Health::Down("as tested".to_owned()));
        since(&shard, key, far);
        for _ in 0..4 {
            sleep(Duration::from_millis(250)).await;
            assert_eq!(wire.text(), "");
        }
        hub.health_state().set(Health::Up);
        sleep(Duration::from_millis(1_000)).await;
        assert_eq!(wire.text(), "ok.", "it is not recovered");
        publish(&hub, &["2"]).await;
        assert_eq!(wire.text(), "ok.2.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn one_reading_serves_all_who_wait_for_a_lane() {
    let test = async {
        let (hub, shard, positions) = with_past(Limits::default(), 25).await;
        let reads = || hub.counts().history_reads.load(Relaxed);
        let before = reads();
        let open_at = |at: usize| {
            let (key, wire) = open(&shard, &SOUND);
            since(&shard, key, positions[at]);
            wire
        };
        let wires: Vec<_> = (0..24).map(|at| (at, open_at(at))).collect();
        a_moment().await;
        for (at, wire) in wires {
            let expected = format!("recovered.{}", messages(at + 2, 25));
            assert_eq!(wire.text(), expected);
        }
        // Eight at once, and each looks up first whether the client's message is still at its place.
        let count = reads() - before;
        assert!(count <= 16, "{count} readings");
    };
    LocalSet::new().run_until(test).await;
}

/// Whichever of its reads fails, nobody is left without an answer.
#[tokio::test]
async fn a_reading_that_fails_answers_all_whom_it_took_along() {
    let test = async {
        for fails_at in [1, 8, 9, 16, 17, 18, 20, 24, 28] {
            let (opened, log) = FaultyLog::around(memory().await);
            let (hub, shard) = shard_on(opened, short(Limits::default()));
            let positions = past(&hub, 10).await;
            log.fail_at(fails_at);
            // Those who stand where the first does are looked up in the log each.
            let mut places = vec![1; 20];
            places.push(7);
            let subscribe = |at: usize| {
                let (key, wire) = open(&shard, &SOUND);
                since(&shard, key, positions[at - 1]);
                (at, wire)
            };
            let wires: Vec<_> = places.into_iter().map(subscribe).collect();
            a_moment().await;
            for (at, wire) in wires {
                let recovered = format!("recovered.{}", messages(at + 1, 10));
                let told = wire.text();
                assert!(
                    ["ok.", &recovered].contains(&&*told),
                    "read {fails_at} fails, from {at}: {told:?}"
                );
            }
        }
    };
    LocalSet::new().run_until(test).await;
}
