//! That the log can be read back as declared, and that reading says so if it no longer reaches back far enough.

use std::time::Duration;

use hubplane_backplane::{Channel, Error, ErrorKind, History, Position};
use tokio::time::{Instant, sleep};

use crate::{
    Harness,
    space::{Instance, SOON, Space},
};

/// The history of an instance, which must be there.
/// Panics if there is none, as the case has seen that it is declared.
fn history(instance: &Instance) -> &dyn History {
    instance
        .backplane
        .history()
        .expect("a history, as declared")
}

/// Reads a channel in pages: they are what was heard, in order, without the messages of another channel. A backend
/// that declares no history must have none.
pub(crate) async fn history_is_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    // A channel that no earlier case used: in place, the log is older than this case.
    let own = format!("c.{}", space.name);
    let (a, b) = space.pair(&[&own]).await;
    if !space.capabilities.has_history() {
        assert!(
            // A history that is not declared would not be tried by anybody.
            a.backplane.history().is_none(),
            "no history is declared, so there is none"
        );
        a.close().await;
        return b.close().await;
    }
    let channel: Channel = own.as_str().into();
    // A channel that has never been used is empty, which is no error.
    let empty = history(&b)
        .read(&channel, None, 10)
        .await
        .expect("a channel without messages can be read");
    assert!(empty.publications.is_empty() && !empty.more);
    let mut receipts = Vec::new();
    for n in 0..25 {
        // Another channel shares the log, and perhaps the lane.
        a.publish("other", "noise").await.expect("published");
        let position = a
            .publish(&own, n.to_string())
            .await
            .expect("published")
            .position();
        receipts.push(position);
    }
    // Heard first, so that the log is complete wherever it is read.
    b.hears(&own, 25).await;
    // If the acknowledgement tells no position, the message that was heard does.
    let heard = b.heard(&own).into_iter();
    let positions: Vec<_> = heard
        .zip(receipts)
        .map(|(heard, receipt)| receipt.or(heard.position).expect("a position, as declared"))
        .collect();
    // Without `after` the reading begins with the oldest message.
    let mut after = None;
    let mut got = Vec::new();
    // Pages of 10 from 25 messages: two full ones and a part.
    loop {
        let page = history(&b).read(&channel, after, 10).await.expect("a page");
        assert!(
            page.publications.len() <= 10,
            "a page has at most what was asked for"
        );
        got.extend(page.publications);
        if !page.more {
            break;
        }
        // Without this the loop could go on for ever.
        assert!(
            page.upto.is_some() && page.upto != after,
            "a page says where the next begins"
        );
        after = page.upto;
    }
    assert_eq!(got, b.heard(&own), "the pages are what was heard, in order");
    edges(&b, &channel, &positions).await;
    a.close().await;
    b.close().await;
}

/// Reads after a position in the middle, after the end, and after positions that this log never had: of another epoch, and
/// ahead of its end. A client may give back any of them.
async fn edges(b: &Instance, channel: &Channel, positions: &[Position]) {
    let rest = history(b)
        .read(channel, Some(positions[19]), 100)
        .await
        .expect("a page");
    let rest: Vec<_> = rest
        .publications
        .iter()
        .map(|publication| publication.position)
        .collect();
    // Exclusive: a client that gives its last position must not get that message again.
    assert_eq!(
        rest,
        positions[20..]
            .iter()
            .copied()
            .map(Some)
            .collect::<Vec<_>>(),
        "`after` is exclusive"
    );
    let end = history(b)
        .read(channel, Some(positions[24]), 100)
        .await
        .expect("a page");
    assert!(
        end.publications.is_empty() && !end.more,
        "nothing comes after the end"
    );
    // As a client has it that comes back after the log was replaced, or rolled back.
    // One bit of the epoch is enough to be another log.
    let foreign = Position {
        epoch: positions[0].epoch ^ 1,
        ..positions[0]
    };
    // As after a broker was set back to an older state.
    let ahead = Position {
        offset: positions[24].offset + 1_000_000,
        ..positions[24]
    };
    for lost in [foreign, ahead] {
        let error = history(b)
            .read(channel, Some(lost), 10)
            .await
            .expect_err("not of this log");
        assert_eq!(error.kind(), ErrorKind::PositionLost);
    }
}

/// A position is read, the log is trimmed, and reading the same position answers `PositionLost`. An empty page would
/// hide the loss.
pub(crate) async fn trimmed_history_is_said(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    if space.capabilities.has_history() {
        let channel = "c".into();
        let first = a.publish("c", "first").await.expect("published").position();
        a.publish("c", "second").await.expect("published");
        b.until("both", SOON, |it| it.heard("c").len() == 2).await;
        let first = first.or(b.heard("c")[0].position).expect("a position");
        // It can be read before, so the error below is the trimming's.
        history(&b)
            .read(&channel, Some(first), 10)
            .await
            .expect("not trimmed yet");
        // By the harness, since each broker forgets in its own way.
        harness.trim(&space.name).await;
        let error = lost(&b, &channel, first).await;
        assert_eq!(error.kind(), ErrorKind::PositionLost, "{error}");
    } else {
        assert!(
            a.backplane.history().is_none(),
            "no history is declared, so there is none"
        );
    }
    a.close().await;
    b.close().await;
}

/// Returns the error of reading after a position that is gone. A log that was just filled keeps its broker busy, so
/// `Unavailable` is tried again for a while.
async fn lost(b: &Instance, channel: &Channel, after: Position) -> Error {
    // Three times the usual patience: a log of many messages was just made.
    let deadline = Instant::now() + 3 * SOON;
    loop {
        let read = history(b).read(channel, Some(after), 10).await;
        let error = read.expect_err("trimmed");
        if error.kind() != ErrorKind::Unavailable || Instant::now() > deadline {
            return error;
        }
        sleep(Duration::from_millis(100)).await;
    }
}
