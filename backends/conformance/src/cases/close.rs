//! How an instance ends: in time, in whatever state it is, with every call answered.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures_util::future::join;
use hubplane_backplane::{Backplane, Channel, ErrorKind, Outgoing};
use tokio::time::{Instant as Clock, timeout};

use crate::{
    Harness,
    space::{Instance, SOON, Space},
};

/// How long `close` and calls on a closed instance may take.
const LIMIT: Duration = Duration::from_secs(5);

/// An instance is closed while it publishes. What it had acknowledged arrives all the same, every later call answers
/// `Closed`, a second `close` returns, and another instance goes on undisturbed.
pub(crate) async fn close_ends_everything(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    let backplane = Arc::clone(&a.backplane);
    // Publishes are on their way all the time, so that `close` meets some of them.
    let flying = tokio::spawn(flying(backplane));
    // Time for some publishes to be acknowledged, and others to be on their way.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let backplane = Arc::clone(&a.backplane);
    a.close().await;
    let acknowledged = timeout(LIMIT, flying)
        .await
        .expect("publishes end with close")
        .expect("answers as allowed");
    // An acknowledged message belongs to the broker, and does not end with the instance that published it.
    let all_heard = |it: &Instance| {
        let heard: HashSet<_> = it.texts("c").into_iter().collect();
        acknowledged.iter().all(|text| heard.contains(text))
    };
    // A set, since at-least-once brokers may deliver one of them twice.
    b.until("what was acknowledged before the close", SOON, all_heard)
        .await;
    // The contract allows any number of calls; each must return.
    assert!(
        timeout(LIMIT, backplane.close()).await.is_ok(),
        "a second close returns"
    );
    is_closed(&*backplane).await;
    // The other instance is not closed with it.
    b.publish("c", "still here").await.expect("published");
    b.until("its own message", LIMIT, |it| {
        it.texts("c").contains(&"still here".to_owned())
    })
    .await;
    b.close().await;
}

/// Every call on a closed instance answers `Closed`, and in time.
async fn is_closed(backplane: &dyn Backplane) {
    // Each call has a limit of its own: an instance that hangs must not look slow.
    let late = timeout(LIMIT, backplane.publish(vec![Outgoing::new("c", "late")]))
        .await
        .expect("an answer");
    assert_eq!(
        late[0].as_ref().expect_err("closed").kind(),
        ErrorKind::Closed,
        "publish after close"
    );
    let late = timeout(LIMIT, backplane.subscribe(&[Channel::from("d")]))
        .await
        .expect("an answer");
    assert_eq!(
        late.expect_err("closed").kind(),
        ErrorKind::Closed,
        "subscribe after close"
    );
    let late = timeout(LIMIT, backplane.unsubscribe(&[Channel::from("c")])).await;
    // There is nothing left to remove, which is no error.
    if let Err(error) = late.expect("an answer") {
        assert_eq!(error.kind(), ErrorKind::Closed, "unsubscribe after close");
    }
    if let Some(history) = backplane.history() {
        let late = timeout(LIMIT, history.read(&Channel::from("c"), None, 1)).await;
        assert_eq!(
            late.expect("an answer").expect_err("closed").kind(),
            ErrorKind::Closed,
            "history after close"
        );
    }
}

/// Publishes until an answer is an error, which only `close` can cause here. Returns what was acknowledged.
async fn flying(backplane: Arc<dyn Backplane>) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0.. {
        // Batches of 20, so that `close` may fall within one.
        let texts: Vec<_> = (0..20).map(|item| format!("{number}.{item}")).collect();
        let batch = texts.iter().map(|text| Outgoing::new("c", text.clone()));
        let mut ended = false;
        for (text, answer) in texts.iter().zip(backplane.publish(batch.collect()).await) {
            match answer.map_err(|error| error.kind()) {
                Ok(_) => acknowledged.push(text.clone()),
                // Never sent, or sent without an answer; nothing else may happen to it.
                Err(ErrorKind::Closed | ErrorKind::Unknown | ErrorKind::Unavailable) => {
                    ended = true
                }
                Err(kind) => panic!("a publish in flight is answered {kind:?}"),
            }
        }
        if ended {
            break;
        }
        // Lets other tasks run; without it, a fast backend would never be closed.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    acknowledged
}

/// The hub has stopped reading, so the event queue is full. The backend must not wait for it when it is told to end.
pub(crate) async fn close_works_while_blocked(harness: &dyn Harness) {
    let space = Space::new(harness);
    // Its events are never read, so the queue fills up.
    let (blocked, mut events) = space.open_raw().await;
    blocked.subscribe(&["c".into()]).await.expect("subscribed");
    // The instance that is blocked can't be asked to publish: it may wait for its own queue.
    let other = space.open().await;
    let start = Clock::now();
    // 1.5 s of publishing or 40,000 messages: either fills every queue on the way.
    let mut left = 400;
    while start.elapsed() < Duration::from_millis(1_500) && left > 0 {
        left -= 1;
        // 512 bytes: some 20 MB in all, more than any buffer on the way.
        let batch = (0..100)
            .map(|_| Outgoing::new("c", vec![b'x'; 512]))
            .collect();
        other.publish_all(batch).await;
    }
    assert!(
        timeout(LIMIT, blocked.close()).await.is_ok(),
        "close takes at most 5 s, also while blocked"
    );
    // A hub that wakes up takes what is there, and sees the end.
    // Otherwise the hub would lose what it had been sent already.
    let drained = async { while events.recv().await.is_some() {} };
    assert!(
        timeout(LIMIT, drained).await.is_ok(),
        "what was queued can be taken, and then the events end"
    );
    other.close().await;
}

/// Two tasks close the same instance at the same time: both calls return in time, and another instance is not
/// affected.
pub(crate) async fn close_works_twice_at_once(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    // The two calls share one runtime task, so both really are under way at once.
    let both = join(a.backplane.close(), a.backplane.close());
    assert!(
        timeout(LIMIT, both).await.is_ok(),
        "two calls of close at once take at most 5 s"
    );
    a.close().await;
    b.publish("c", "x").await.expect("published");
    b.hears("c", 1).await;
    b.close().await;
}
