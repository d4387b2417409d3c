//! What a client that comes back is told, on a log that was treated badly.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, ErrorKind, Outgoing, Result};
use tokio::time::{Instant, sleep};

use super::{Broker, shown};
use crate::{
    ClientPosition, Health, Hub, Mailbox,
    key::{Key, SubscriptionKey},
    limits::Limits,
    recovery::RecoveryRequest,
    shard::Mail,
    window::{ReadLimit, WindowRead},
};

/// Beacons come so seldom that none is among the messages of a test.
fn quiet() -> Limits {
    Limits {
        beacon_interval: Duration::from_secs(600),
        deaf_after: Duration::from_secs(600),
        ..Limits::default()
    }
}

async fn publish(hub: &Hub, channel: &str, data: &'static str) -> ClientPosition {
    let answers = hub.publish(vec![Outgoing::new(channel, data)]).await;
    answers.unwrap().remove(0).unwrap().expect("a log")
}

async fn past(hub: &Hub, channel: &str, after: ClientPosition) -> Result<Vec<String>> {
    let page = hub.past(&channel.into(), Some(after), 100).await?;
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    Ok(page.messages.iter().map(|it| text(&it.data)).collect())
}

/// No hub remembers the log: the client's position alone tells that another message is there now.
#[tokio::test]
async fn who_comes_back_to_a_log_that_was_rolled_back_while_no_hub_ran_is_told() {
    let broker = Broker::new(1);
    let (before, _mailboxes) = broker.hub(quiet()).await;
    let kept = publish(&before, "c", "kept").await;
    for _ in 0..5 {
        publish(&before, "c", "lost").await;
    }
    let last = publish(&before, "c", "lost").await;
    before.close().await;
    // Another program writes until the log is longer than before.
    broker.roll_back(0, kept.offset);
    for _ in 0..10 {
        broker.write(0, "c", "new").await;
    }
    // One hub has the log in its window, another one hasn't.
    for window_bytes in [1 << 20, 0] {
        let limits = Limits {
            window_bytes,
            ..quiet()
        };
        let (after, _mailboxes) = broker.hub(limits).await;
        let lost = past(&after, "c", last).await.unwrap_err();
        assert_eq!(lost.kind(), ErrorKind::PositionLost);
        let whole = past(&after, "c", kept).await.unwrap();
        assert_eq!(whole, ["new"; 10], "who had read nothing that was lost");
        after.close().await;
    }
}

#[tokio::test]
async fn every_position_that_a_client_is_given_is_recognised_later() {
    let broker = Broker::new(1);
    let (hub, _mailboxes) = broker.hub(quiet()).await;
    let start = publish(&hub, "c", "one").await;
    publish(&hub, "other", "x").await;
    let channel: Channel = "c".into();
    let page = hub.past(&channel, None, 100).await.unwrap();
    let end = publish(&hub, "c", "two").await;
    let from = page.upto.expect("a place");
    assert_eq!(past(&hub, "c", from).await.unwrap(), ["two"]);
    hub.close().await;
    let limits = Limits {
        window_bytes: 0,
        ..quiet()
    };
    let (later, _mailboxes) = broker.hub(limits).await;
    for (place, count) in [(start, 1), (from, 1), (end, 0)] {
        let whole = past(&later, "c", place).await.unwrap();
        assert_eq!(whole.len(), count, "{place}");
    }
}

/// Another program's partitioner puts a channel into a lane of its own choice.
#[tokio::test]
async fn a_channel_in_a_foreign_lane_is_recovered_there_and_otherwise_told() {
    let broker = Broker::new(4);
    let (own, foreign) = (broker.lane_of("c"), (broker.lane_of("c") + 1) % 4);
    let (hub, _mailboxes) = broker.hub(quiet()).await;
    let subscribed = hub.log().window().head(own).expect("the lane is read");
    assert!(subscribed.fingerprint.is_some(), "{subscribed}");
    let first = broker.write(foreign, "c", "1").await;
    broker.write(foreign, "c", "2").await;
    shown(&hub, foreign, first.offset + 1).await;
    let lost = past(&hub, "c", subscribed).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::PositionLost, "some are elsewhere");
    // The position of a message that it has received.
    let first = first_message(&hub, "c").await;
    assert_eq!(past(&hub, "c", first).await.unwrap(), ["2"]);
    // Now the channel is in two lanes.
    let mine = publish(&hub, "c", "mine").await;
    shown(&hub, own, mine.offset).await;
    for place in [first, mine] {
        assert!(past(&hub, "c", place).await.is_err(), "{place}");
    }
    // And all other channels go on as before.
    let other = publish(&hub, "other", "x").await;
    shown(&hub, other.lane, other.offset).await;
    assert_eq!(past(&hub, "other", other).await.unwrap(), [""; 0]);
}

async fn first_message(hub: &Hub, channel: &str) -> ClientPosition {
    let page = hub.past(&channel.into(), None, 1).await.unwrap();
    page.messages[0].position.expect("a log")
}

#[tokio::test]
async fn a_loss_in_a_foreign_lane_concerns_the_channels_that_are_there() {
    let broker = Broker::new(4);
    let (own, foreign) = (broker.lane_of("c"), (broker.lane_of("c") + 1) % 4);
    let (hub, _mailboxes) = broker.hub(quiet()).await;
    assert!(hub.may_be_in("c", own) && !hub.may_be_in("c", foreign));
    let place = broker.write(foreign, "c", "1").await;
    shown(&hub, foreign, place.offset).await;
    assert!(hub.may_be_in("c", own) && hub.may_be_in("c", foreign));
}

/// Both hubs and all of the channel's messages survive that the log gets more lanes.
#[tokio::test]
async fn lanes_that_are_added_while_hubs_run_lose_nothing() {
    let broker = Broker::new(2);
    let limits = Limits {
        beacon_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let (a, _a_mailboxes) = broker.hub(limits.clone()).await;
    let (b, _b_mailboxes) = broker.hub(limits).await;
    // Numbers of the lanes that there are run ahead of those of the new ones.
    for channel in ["a", "b", "c", "d"] {
        for _ in 0..20 {
            publish(&a, channel, "before").await;
        }
    }
    broker.grow(5).await;
    for channel in ["a", "b", "c", "d"] {
        let first = publish(&a, channel, "after").await;
        let last = publish(&a, channel, "after").await;
        for hub in [&a, &b] {
            shown(hub, last.lane, last.offset).await;
            let whole = past(hub, channel, first).await.unwrap();
            assert_eq!(whole, ["after"], "{channel}");
        }
    }
    sleep(Duration::from_millis(500)).await;
    for hub in [&a, &b] {
        assert_eq!(hub.health(), Health::Up, "their beacons come back");
        // Told once, by the backend.
        let gaps: u64 = hub.counts().gaps().map(|(_, count)| count).sum();
        assert_eq!(gaps, 1, "{:?}", hub.counts().gaps().collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn an_id_that_is_none_makes_no_message_a_repetition() {
    let broker = Broker::new(1);
    let (hub, _mailboxes) = broker.hub(quiet()).await;
    let from = publish(&hub, "c", "first").await;
    let long = "x".repeat(65);
    for id in ["", "", "a b", "a b", &long, &long, "\u{fc}", "\u{fc}"] {
        let mut outgoing = Outgoing::new("c", "foreign");
        outgoing.id = Some(id.into());
        broker.append(0, outgoing).await;
    }
    shown(&hub, 0, from.offset + 8).await;
    let page = hub.past(&"c".into(), Some(from), 100).await.unwrap();
    assert_eq!(page.messages.len(), 8);
    assert!(page.messages.iter().all(|message| message.id.is_none()));
    assert_eq!(hub.counts().bad_ids.load(Ordering::Relaxed), 8);
}

#[tokio::test]
async fn a_lane_that_takes_nothing_holds_up_its_own_channels_alone() {
    let broker = Broker::new(4);
    let limits = Limits {
        beacon_interval: Duration::from_millis(20),
        ..Limits::default()
    };
    let (hub, _mailboxes) = broker.hub(limits).await;
    broker.hang(Some(broker.lane_of("a")));
    let waits = hub.publish((0..10).map(|n| Outgoing::new("a", n.to_string())).collect());
    let mut waits = std::pin::pin!(waits);
    let goes_on = async {
        for _ in 0..50 {
            for channel in ["b", "c", "d"] {
                publish(&hub, channel, "x").await;
            }
        }
    };
    let started = Instant::now();
    tokio::select! {
        _ = &mut waits => panic!("its lane hangs"),
        () = goes_on => {}
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    broker.hang(None);
    let answers = waits.await.unwrap();
    let places: Vec<_> = answers.into_iter().map(|it| it.unwrap().unwrap()).collect();
    assert!(places.is_sorted_by_key(|place| place.offset), "{places:?}");
    // One job with messages in several lanes is answered as one.
    let messages = ["a", "b", "c", "a"].map(|channel| Outgoing::new(channel, "x"));
    let answers = hub.publish(messages.to_vec()).await.unwrap();
    let lanes: Vec<_> = answers
        .iter()
        .map(|it| it.as_ref().unwrap().unwrap().lane)
        .collect();
    assert_eq!(
        lanes,
        ["a", "b", "c", "a"].map(|channel| broker.lane_of(channel))
    );
}

/// It looks like a repetition to all that have read a higher number of its lane.
#[tokio::test]
async fn a_message_that_strays_while_lanes_are_added_is_told() {
    let broker = Broker::new(2);
    let limits = Limits {
        beacon_interval: Duration::from_millis(50),
        ..Limits::default()
    };
    let (a, _a_mailboxes) = broker.hub(limits.clone()).await;
    let (b, _b_mailboxes) = broker.hub(limits).await;
    broker.hang(Some(broker.lane_of("a")));
    let stray = a.publish(vec![Outgoing::new("a", "stray")]);
    let others = async {
        sleep(Duration::from_millis(20)).await;
        broker.grow(5).await;
        let falls = |name: &String| broker.lane_of(name) == broker.lane_of("a");
        let other = (0..100).map(|n| format!("o{n}")).find(falls).unwrap();
        publish(&a, &other, "x").await;
        broker.hang(None);
    };
    let (answers, ()) = tokio::join!(stray, others);
    answers.unwrap().remove(0).unwrap();
    let gaps = |hub: &Hub| -> u64 { hub.counts().gaps().map(|(_, count)| count).sum() };
    // Under load it takes longer; then some time more, in which a third could come.
    for _ in 0..100 {
        if gaps(&a) >= 2 && gaps(&b) >= 2 {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_millis(300)).await;
    for hub in [&a, &b] {
        assert_eq!(gaps(hub), 2, "one by the backend, one for the stray");
    }
}

/// What hubs published before is where the channel was then; no other program has done that.
#[tokio::test]
async fn a_hub_that_starts_after_lanes_were_added_finds_no_foreign_messages() {
    let broker = Broker::new(2);
    let (before, _mailboxes) = broker.hub(quiet()).await;
    for channel in ["a", "b", "c", "d"] {
        publish(&before, channel, "before").await;
    }
    broker.grow(5).await;
    before.close().await;
    let (after, _mailboxes) = broker.hub(quiet()).await;
    assert!(!after.log().window().placements().has_foreign());
    let first = publish(&after, "a", "1").await;
    let last = publish(&after, "a", "2").await;
    shown(&after, last.lane, last.offset).await;
    assert_eq!(past(&after, "a", first).await.unwrap(), ["2"]);
}

/// A topic was compacted while no hub ran: the last message of the channel is there, and the log is as long as before.
#[tokio::test]
async fn who_comes_back_to_a_log_with_holes_is_told() {
    let broker = Broker::new(1);
    let (before, _mailboxes) = broker.hub(quiet()).await;
    let seen = publish(&before, "c", "seen").await;
    let other = publish(&before, "other", "x").await;
    for _ in 0..5 {
        publish(&before, "c", "removed").await;
    }
    let last = publish(&before, "c", "last").await;
    before.close().await;
    broker.compact(0, "c");
    // One hub has the log in its window, another one reads it.
    for window_bytes in [1 << 20, 0] {
        let limits = Limits {
            window_bytes,
            ..quiet()
        };
        let (after, mut mailboxes) = broker.hub(limits).await;
        for since in [seen, other, last] {
            let whole = recovers(&after, &mut mailboxes[0], since).await;
            assert_eq!(whole, since == last, "{since}, {window_bytes}");
        }
        after.close().await;
    }
}

/// Whether a client of the channel `c` is given all that came after a position: by the window, else by the log.
async fn recovers(hub: &Hub, mailbox: &mut Mailbox, since: ClientPosition) -> bool {
    let all = ReadLimit {
        messages: 100,
        bytes: usize::MAX,
    };
    let read = hub.log().window().read("c", since, None, all);
    if matches!(read, WindowRead::All(_)) {
        return true;
    }
    let wanted = Arc::new(());
    let session = Key {
        index: 0,
        serial: 0,
    };
    assert!(hub.reads().offer(RecoveryRequest {
        shard: 0,
        subscription: SubscriptionKey { session, serial: 0 },
        channel: "c".into(),
        after: since,
        wanted: Arc::downgrade(&wanted),
    }));
    let mut mails = Vec::new();
    loop {
        mailbox.receive(&mut mails, 1).await;
        if let Some(Mail::RecoveryAnswer(answer)) = mails.pop() {
            return answer.found.is_some();
        }
    }
}
