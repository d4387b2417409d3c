//! That subscribing and unsubscribing take effect when they return, and disturb no other channel.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hubplane_backplane::{Channel, Interest, Outgoing};
use tokio::time::sleep;

use crate::{
    Harness,
    space::{SETTLE, SOON, Space},
};

/// How many channels come and go.
const CHANNELS: usize = 1_000;
/// How many of them each call subscribes to.
const CHUNK: usize = 100;

/// A thousand channels are subscribed to and unsubscribed from while another one carries traffic. A message that is
/// published after `subscribe` returned arrives; one after `unsubscribe` does not, if interest is routed; and the
/// other channel loses nothing meanwhile.
pub(crate) async fn interest_changes_lose_nothing(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = (space.open().await, space.open().await);
    // The channel that must not notice anything.
    b.subscribe(&["stay"]).await;
    let stop = AtomicBool::new(false);
    // Ends with the changes, so that it covers all of them.
    let traffic = async {
        let mut sent = 0;
        // `Relaxed` is enough: one more message does no harm.
        while !stop.load(Ordering::Relaxed) {
            a.publish("stay", sent.to_string())
                .await
                .expect("published");
            sent += 1;
            sleep(Duration::from_millis(3)).await;
        }
        sent
    };
    let changes = async {
        let channels: Vec<Channel> = (0..CHANNELS).map(|n| format!("come.{n}").into()).collect();
        let say = |chunk: &[Channel], text: &'static str| {
            chunk
                .iter()
                .map(|channel| Outgoing::new(Channel::clone(channel), text))
                .collect::<Vec<_>>()
        };
        // A publishes as soon as B's `subscribe` has returned: no message may be too early.
        for chunk in channels.chunks(CHUNK) {
            // Subscribing has returned, so the very next message must arrive.
            b.backplane.subscribe(chunk).await.expect("subscribed");
            for answer in a.publish_all(say(chunk, "wanted")).await {
                answer.expect("published");
            }
        }
        let all = |it: &crate::space::Instance| {
            it.all_heard()
                .iter()
                .filter(|publication| publication.channel.starts_with("come."))
                .count()
        };
        b.until("a message on each of the channels", SOON, |it| {
            all(it) >= CHANNELS
        })
        .await;
        for chunk in channels.chunks(CHUNK) {
            // The same for the end: a message after it must not come.
            b.backplane.unsubscribe(chunk).await.expect("unsubscribed");
            for answer in a.publish_all(say(chunk, "unwanted")).await {
                answer.expect("published");
            }
        }
        sleep(SETTLE).await;
        // Wanted and unwanted messages differ in their data, not in their channels.
        let unwanted = b
            .all_heard()
            .iter()
            .filter(|publication| &publication.data[..] == b"unwanted")
            .count();
        assert_eq!(
            all(&b) - unwanted,
            CHANNELS,
            "each wanted message arrives once"
        );
        // A backend that receives everything can't filter; its hub does.
        match space.capabilities.interest {
            Interest::Routed => {
                assert_eq!(unwanted, 0, "nothing arrives after the interest is gone")
            }
            Interest::Everything => assert_eq!(unwanted, CHANNELS, "everything arrives"),
        }
        stop.store(true, Ordering::Relaxed);
    };
    let (sent, ()) = tokio::join!(traffic, changes);
    // All of them, and no one twice.
    b.hears("stay", sent).await;
    let expected: Vec<_> = (0..sent).map(|n| n.to_string()).collect();
    assert_eq!(b.texts("stay"), expected, "the other channel loses nothing");
    a.close().await;
    b.close().await;
}

/// Interest is a set: subscribing twice is the same as once, and unsubscribing from a channel that is not there does
/// nothing.
pub(crate) async fn repeated_interest_is_as_once(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["twice", "kept"]).await;
    // Three times in all: once by `pair`, and twice in one call.
    b.subscribe(&["twice", "twice"]).await;
    a.publish("twice", "1").await.expect("published");
    b.hears("twice", 1).await;
    // One that was never subscribed to is not an error, as a hub may tidy up twice.
    let unwanted = ["twice".into(), "never".into()];
    b.backplane.unsubscribe(&unwanted).await.expect("removed");
    for channel in ["twice", "never", "kept"] {
        a.publish(channel, "2").await.expect("published");
    }
    b.hears("kept", 1).await;
    let everything = space.capabilities.interest == Interest::Everything;
    // A backend that receives everything hears one more message on each channel.
    let more = usize::from(everything);
    // `pair` made both hear; only `b` was changed.
    assert_eq!(
        (b.heard("twice").len(), b.heard("never").len()),
        (1 + more, more),
        "removed once is removed, and what was never wanted is not sent where interest is routed"
    );
    // The other instance has not unsubscribed.
    a.hears("twice", 2).await;
    a.close().await;
    b.close().await;
}
