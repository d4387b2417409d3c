//! Clients that want only so many messages a second. The time is handed in, where that decides.

use hubplane_backplane::Scope;

use super::{
    slow::{answered, deliver, subscribe_at, taken},
    *,
};

/// Sends what is due an hour from now.
fn later(shard: &Shard) {
    let then = Instant::now() + Duration::from_secs(3_600);
    shard.state.borrow_mut().send_due_at(&shard.hub, then);
    shard.flush_dirty();
}

/// A client that wants one message a second of this channel.
async fn patient(shard: &Shard, channel: &str) -> (Key, Wire) {
    let (key, wire) = open(shard, &SOUND);
    subscribe_at(shard, key, channel, Some(1));
    answered(&wire).await;
    (key, wire)
}

#[tokio::test]
async fn the_newest_is_sent_when_it_is_due() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = patient(&shard, "c").await;
        let (_, other) = listener(&shard, &SOUND);
        deliver(&shard, &["c 1", "c 2", "c 3", "c 4"]);
        assert_eq!(taken(&shard, key, &wire), "1.");
        later(&shard);
        assert_eq!(taken(&shard, key, &wire), "4.");
        later(&shard);
        assert_eq!(taken(&shard, key, &wire), "");
        assert_eq!(hub.counts().thinned.load(Relaxed), 2);
        assert_eq!(hub.counts().deliveries.load(Relaxed), 6);
        while !other.text().ends_with("4.") {
            yield_now().await;
        }
        assert_eq!(other.text(), "ok.1.2.3.4.");
    };
    LocalSet::new().run_until(test).await;
}

/// Nobody hands in the time here: the shard wakes up by itself, and does not wait for its tick. Twenty
/// rounds would take twenty ticks.
#[tokio::test]
async fn what_waits_is_sent_without_another_message() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_at(&shard, key, "c", Some(1_000));
        answered(&wire).await;
        let begun = Instant::now();
        for _ in 0..20 {
            let texts = ["1", "2", "3"].map(|text| Outgoing::new("c", text));
            hub.publish(texts.to_vec()).await.unwrap();
            while !wire.text().ends_with("3.") {
                sleep(Duration::from_millis(1)).await;
            }
            wire.0.bytes.borrow_mut().clear();
        }
        assert!(begun.elapsed() < 10 * clock::TICK);
        assert!(shard.state.borrow().unwritten.due.is_empty());
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_waits_is_dropped_by_who_leaves_and_by_a_gap() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = patient(&shard, "c").await;
        deliver(&shard, &["c 1", "c 2"]);
        let all = &Scope::All;
        let missing = GapCause::Missing;
        shard.state.borrow_mut().announce(&hub, all, missing);
        later(&shard);
        assert_eq!(
            taken(&shard, key, &wire),
            "1.gap.",
            "2 is older than the gap"
        );
        deliver(&shard, &["c 3", "c 4"]);
        let which = Which::Channel("c".into());
        let reference = None;
        shard.command(key, Command::Unsubscribe { reference, which });
        later(&shard);
        assert!(taken(&shard, key, &wire).ends_with("ok."));
        // A new subscription begins anew, also where it takes the place of the old one.
        subscribe_at(&shard, key, "c", Some(1));
        answered(&wire).await;
        deliver(&shard, &["c 5", "c 6"]);
        assert_eq!(taken(&shard, key, &wire), "5.");
        shard.remove(key);
        later(&shard);
        assert!(shard.state.borrow().unwritten.due.is_empty());
    };
    LocalSet::new().run_until(test).await;
}

/// To subscribe again changes the rate, or leaves it as it is.
#[tokio::test]
async fn a_rate_is_changed_by_subscribing_again() {
    let test = async {
        let (_, shard) = shard(Limits::default()).await;
        let (key, wire) = open(&shard, &SOUND);
        subscribe_at(&shard, key, "c", None);
        answered(&wire).await;
        deliver(&shard, &["c 1", "c 2"]);
        assert_eq!(taken(&shard, key, &wire), "1.2.");
        for rate in [Some(1), None] {
            subscribe_at(&shard, key, "c", rate);
            answered(&wire).await;
        }
        deliver(&shard, &["c 3", "c 4", "c 5"]);
        assert_eq!(taken(&shard, key, &wire), "3.");
        later(&shard);
        assert_eq!(taken(&shard, key, &wire), "5.");
    };
    LocalSet::new().run_until(test).await;
}

/// A rate and a rule together: what is due and not taken is dropped by the rule.
#[tokio::test]
async fn a_rule_holds_for_what_a_rate_lets_through() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = patient(&shard, "latest").await;
        wire.0.full.set(true);
        deliver(&shard, &["latest 1", "latest 2", "latest 3"]);
        later(&shard);
        assert_eq!(taken(&shard, key, &wire), "3.");
        let counts = hub.counts();
        let told = [&counts.thinned, &counts.replaced].map(|it| it.load(Relaxed));
        assert_eq!(told, [1, 1]);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn what_a_client_missed_is_given_whole() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let texts = ["1", "2", "3", "4"].map(|text| Outgoing::new("c", text));
        let answers = hub.publish(texts.to_vec()).await.unwrap();
        let first = answers[0].as_ref().unwrap().unwrap();
        while shard
            .state
            .borrow()
            .head(&hub, "c")
            .is_none_or(|it| it.offset < first.offset + 3)
        {
            yield_now().await;
        }
        let (key, wire) = open(&shard, &SOUND);
        shard.command(
            key,
            Command::Subscribe {
                reference: None,
                channel: "c".into(),
                tag: None,
                since: Some(first),
                presence: None,
                max_rate: crate::MaxRate::new(1).ok(),
            },
        );
        shard.flush_dirty();
        while !wire.text().ends_with("4.") {
            yield_now().await;
        }
        deliver(&shard, &["c 5", "c 6"]);
        assert_eq!(taken(&shard, key, &wire), "recovered.2.3.4.5.");
    };
    LocalSet::new().run_until(test).await;
}
