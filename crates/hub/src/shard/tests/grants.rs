//! What becomes of a session whose grant ends, is replaced, or is taken away.

use std::time::Instant;

use super::*;
use crate::{
    disconnect::{REFUSED_FOR, Whose},
    grant::{Action, Permissions, Who},
};

/// May use channels of one letter.
#[derive(Debug)]
struct Letter(&'static str);

impl Permissions for Letter {
    fn allows(&self, _: Action, channel: &str) -> bool {
        channel == self.0
    }
}

fn ann(letter: &'static str) -> Grant {
    Grant::by(Who::User, Arc::new(Letter(letter))).named("ann")
}

fn open_with(shard: &Shard, grant: Grant) -> (Key, Wire) {
    let (key, wire) = open(shard, &SOUND);
    shard.grant(key, grant);
    (key, wire)
}

async fn until(is_so: impl Fn() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to that");
}

#[tokio::test]
async fn a_grant_that_ends_is_announced_and_a_new_one_goes_on() {
    let test = async {
        let (_hub, shard) = shard(Limits::default()).await;
        let end = |seconds| Instant::now() + Duration::from_secs(seconds);
        let (key, wire) = open_with(&shard, ann("c").until(end(2)));
        subscribe(&shard, key, None);
        until(|| wire.text() == "ok.expiring.").await;
        // Long enough that nothing is told of it, though it has an end.
        shard.grant(key, ann("c").until(end(60)));
        let (_, other) = open_with(&shard, ann("c").until(end(1)));
        until(|| other.text() == "expiring.Expired.").await;
        sleep(Duration::from_millis(1_200)).await;
        assert_eq!(wire.text(), "ok.expiring.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_new_grant_ends_the_subscriptions_that_it_does_not_allow() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = open_with(&shard, Grant::anonymous());
        for channel in ["a", "c", "z"] {
            shard.command(
                key,
                Command::Subscribe {
                    reference: None,
                    channel: channel.into(),
                    tag: None,
                    since: None,
                    presence: None,
                    max_rate: None,
                },
            );
        }
        shard.grant(key, ann("c"));
        shard.flush_dirty();
        let narrowed = "ok.ok.ok.error forbidden.ok.error forbidden.ok.";
        assert_eq!(wire.text(), narrowed);
        publish(&hub, &["heard"]).await;
        assert_eq!(wire.text(), format!("{narrowed}heard."));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn somebody_can_be_disconnected_and_a_token_refused() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (_, of_ann) = open_with(&shard, ann("c"));
        let bob = Grant::by(Who::User, Arc::new(Letter("c"))).named("bob");
        let (_, of_bob) = open_with(&shard, bob.clone().of_token("t1"));
        let (key, third) = open(&shard, &SOUND);
        let name = shard.state.borrow().name(&hub, key).to_string();
        let all = || [of_ann.text(), of_bob.text(), third.text()];
        for (whose, after) in [
            (
                Whose::User("ann".into()),
                ["Disconnected(\"why\").", "", ""],
            ),
            (
                Whose::TokenId("t1".into()),
                ["Disconnected(\"why\").", "Disconnected(\"why\").", ""],
            ),
            (Whose::Client(name.into()), ["Disconnected(\"why\")."; 3]),
        ] {
            hub.disconnect(whose, "why", REFUSED_FOR).await.unwrap();
            until(|| all() == after).await;
        }
        // The token is of no use any more, also where its check was under way.
        assert!(!hub.admits(&bob.clone().of_token("t1")) && hub.admits(&bob));
        let wire = Wire::default();
        shard.open(SessionSetup {
            socket: Box::new(wire.clone()),
            encoding: &SOUND,
            grant: bob.of_token("t1").shared(),
        });
        shard.flush_dirty();
        assert_eq!(wire.text(), "Disconnected(\"the token was revoked\").");
    };
    LocalSet::new().run_until(test).await;
}
