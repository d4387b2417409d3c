//! Several subscriptions of one session.

use super::*;
use crate::presence::Member;

fn tagged(shard: &Shard, key: Key, channel: &str, tag: &str, client: Option<&str>) {
    let member = client.map(|client| Member {
        client: client.into(),
        user: None,
        info: None,
        verified: false,
    });
    let watch = false;
    let presence = member.map(|member| {
        let member = Some(member);
        Box::new(PresenceOptions { member, watch })
    });
    let command = Command::Subscribe {
        reference: None,
        channel: channel.into(),
        tag: Some(tag.into()),
        since: None,
        presence,
        max_rate: None,
    };
    shard.command(key, command);
    shard.flush_dirty();
}

fn leave(shard: &Shard, key: Key, which: Which) {
    let reference = None;
    shard.command(key, Command::Unsubscribe { reference, which });
    shard.flush_dirty();
}

#[tokio::test]
async fn a_channel_is_subscribed_once_for_each_tag() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let (key, wire) = open(&shard, &SOUND);
        tagged(&shard, key, "c", "1", Some("a"));
        tagged(&shard, key, "c", "2", None);
        tagged(&shard, key, "c", "2", None);
        tagged(&shard, key, "d", "2", None);
        let (_, other) = listener(&shard, &SOUND);
        publish(&hub, &["x"]).await;
        assert_eq!(wire.text(), "ok.ok.ok.error malformed.x.x.");
        leave(&shard, key, Which::Tag("2".into()));
        leave(&shard, key, Which::Tag("2".into()));
        leave(&shard, key, Which::Channel("c".into()));
        let before = wire.text().len();
        publish(&hub, &["y"]).await;
        assert_eq!(&wire.text()[before..], "y.");
        assert_eq!(hub.members("c", 1).count, 1, "the first one is there still");
        leave(&shard, key, Which::Tag("1".into()));
        let before = wire.text().len();
        publish(&hub, &["z"]).await;
        assert_eq!(&wire.text()[before..], "");
        assert!(shard.state.borrow().attending.is_empty());
        assert_eq!(other.text(), "ok.x.y.z.");
    };
    LocalSet::new().run_until(test).await;
}

/// Everybody's places stay right whoever leaves, in whatever order.
#[tokio::test]
async fn who_leaves_takes_nobody_along() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let clients: Vec<_> = (0..40).map(|_| open(&shard, &SOUND)).collect();
        for (n, (key, _)) in clients.iter().enumerate() {
            for channel in ["a", "b", "c", "d"].iter().cycle().skip(n).take(3) {
                tagged(&shard, *key, channel, channel, None);
            }
        }
        // Each third goes away, each third leaves `c` alone, if it is there.
        for (n, (key, _)) in clients.iter().enumerate() {
            match n % 3 {
                0 => shard.remove(*key),
                1 => leave(&shard, *key, Which::Tag("c".into())),
                _ => {}
            }
        }
        let before: Vec<_> = clients.iter().map(|(_, wire)| wire.text().len()).collect();
        publish(&hub, &["x"]).await;
        for (n, (_, wire)) in clients.iter().enumerate() {
            let is_there = n % 3 == 2 && n % 4 != 3;
            let expected = if is_there { "x." } else { "" };
            assert_eq!(&wire.text()[before[n]..], expected, "client {n}");
        }
    };
    LocalSet::new().run_until(test).await;
}
