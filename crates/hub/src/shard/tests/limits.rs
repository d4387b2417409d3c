//! What sessions are held to, beside what they may do at all.

use super::*;
use crate::{
    ChannelLimits, Limit, Slow,
    grant::{Action, Permissions, Who},
};

/// Rules for tests. A channel's name begins with its rule for slow clients; `few` has a rate, and
/// `short` a size. `publishes` is whether publishing is allowed.
#[derive(Debug)]
struct ByName {
    publishes: bool,
}

impl Permissions for ByName {
    fn allows(&self, action: Action, _: &str) -> bool {
        action != Action::Publish || self.publishes
    }

    fn limits(&self, channel: &str) -> ChannelLimits {
        let mut all = Slow::ALL.into_iter();
        let slow = all.find(|it| channel.starts_with(it.as_str()));
        ChannelLimits {
            slow: slow.unwrap_or_default(),
            message_bytes: channel.starts_with("short").then_some(3),
            publish_rate: channel
                .starts_with("few")
                .then(|| "2/h".parse().expect("it is a rate")),
        }
    }
}

/// The grant of one who listens, on a hub with these rules.
pub(super) fn listening() -> Grant {
    Grant::by(Who::Anonymous, Arc::new(ByName { publishes: false }))
}

fn publishing(who: Who) -> Grant {
    Grant::by(who, Arc::new(ByName { publishes: true }))
}

/// Publishes and returns what the session was answered, once it is.
async fn published(shard: &Shard, key: Key, wire: &Wire, channel: &str) -> String {
    wire.0.bytes.borrow_mut().clear();
    let command = Command::Publish {
        reference: None,
        channel: channel.into(),
        data: Bytes::from_static(b"1234"),
        id: None,
        not_to_me: false,
    };
    shard.command(key, command);
    shard.flush_dirty();
    while wire.text().is_empty() {
        yield_now().await;
    }
    wire.text()
}

fn counted(hub: &Hub, limit: Limit) -> u64 {
    let mut all = hub.counts().limited();
    all.find(|(it, _)| *it == limit).unwrap().1
}

#[tokio::test]
async fn a_rules_rate_and_size_hold_for_each_session_and_channel() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        for _ in 0..2 {
            let (key, wire) = open(&shard, &SOUND);
            shard.grant(key, publishing(Who::User));
            for channel in ["few.a", "few.b"] {
                for _ in 0..2 {
                    assert_eq!(published(&shard, key, &wire, channel).await, "ok.");
                }
                let refused = published(&shard, key, &wire, channel).await;
                assert_eq!(refused, "error limit_reached.");
            }
            let refused = published(&shard, key, &wire, "short").await;
            assert_eq!(refused, "error limit_reached.");
            assert_eq!(published(&shard, key, &wire, "long").await, "ok.");
        }
        assert_eq!(counted(&hub, Limit::PublishRate), 4);
        assert_eq!(counted(&hub, Limit::MessageBytes), 2);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_session_publishes_and_subscribes_at_its_rate() {
    let test = async {
        let limits = Limits {
            session_publishes_burst: 3,
            session_subscribes_burst: 3,
            ..Limits::default()
        };
        let (hub, shard) = shard(limits).await;
        let (key, wire) = open(&shard, &SOUND);
        shard.grant(key, publishing(Who::User));
        let mut refused = 0;
        for _ in 0..8 {
            let answer = published(&shard, key, &wire, "c").await;
            refused += u64::from(answer == "error limit_reached.");
        }
        assert!(refused > 0);
        assert_eq!(counted(&hub, Limit::SessionPublishes), refused);
        // A key speaks for many.
        shard.grant(key, publishing(Who::Key));
        for _ in 0..8 {
            assert_eq!(published(&shard, key, &wire, "few").await, "ok.");
        }
        wire.0.bytes.borrow_mut().clear();
        for _ in 0..8 {
            subscribe(&shard, key, None);
        }
        let refused = wire.text().matches("error limit_reached.").count();
        assert!((1..=5).contains(&refused), "{}", wire.text());
        assert_eq!(counted(&hub, Limit::SessionSubscribes), refused as u64);
    };
    LocalSet::new().run_until(test).await;
}
