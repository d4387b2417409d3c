//! That positions are there if they are declared, grow, and are reported also for lanes that are silent here.

use hubplane_backplane::{Event, Position};

use crate::{
    Harness,
    space::{Instance, SOON, Space},
};

/// Publishes to two channels: what is heard carries the position of the receipt, in the lane of its channel, and
/// positions grow. Without declared positions there are none.
pub(crate) async fn positions_are_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c", "d"]).await;
    let declared = space.capabilities.has_positions();
    // A lane and positions belong together: without positions there is nothing to count in it.
    assert_eq!(a.backplane.lane("c").is_some(), declared, "lane");
    // Two channels in turn: they may share a lane or not.
    let mut receipts = Vec::new();
    for n in 0..20 {
        for channel in ["c", "d"] {
            receipts.push((
                channel,
                n,
                a.publish(channel, n.to_string())
                    .await
                    .expect("published")
                    .position(),
            ));
        }
    }
    for instance in [&a, &b] {
        instance.hears("c", 20).await;
        instance.hears("d", 20).await;
        // Each message against its own receipt.
        for &(channel, n, receipt) in &receipts {
            let heard = &instance.heard(channel)[n];
            // An acknowledgement may tell no position; if it tells one, it is the true one.
            assert_eq!(
                (receipt.or(heard.position), heard.position.is_some()),
                (heard.position, declared),
                "position of {n} in {channel}"
            );
            let lane = heard.position.map(|position| position.lane);
            assert_eq!(
                lane,
                instance.backplane.lane(channel),
                "a position is of its channel's lane"
            );
        }
        let c = instance.heard("c");
        // Only within a channel: two channels may be in lanes of their own.
        for pair in c.windows(2) {
            if let (Some(before), Some(after)) = (pair[0].position, pair[1].position) {
                assert_eq!(after.is_after(&before), Some(true), "positions grow");
            }
        }
    }
    a.close().await;
    b.close().await;
}

/// All `Progress` events of an instance so far.
fn progress(instance: &Instance) -> Vec<Position> {
    let events = instance.events().into_iter();
    events
        .filter_map(|event| match event {
            Event::Progress(position) => Some(position),
            _ => None,
        })
        .collect()
}

/// `Progress` comes right after `open`, and soon after a lane has moved, also to an instance that is subscribed to nothing
/// in that lane. By it a hub knows that nothing is missing there.
pub(crate) async fn progress_is_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = (space.open().await, space.open().await);
    // `b` is subscribed to nothing at all, as a hub without clients is.
    a.subscribe(&["mine"]).await;
    // Nobody is subscribed to this channel, so nothing but `Progress` can tell how far its lane is.
    let mut last = None;
    for n in 0..20 {
        let receipt = a.publish("other", n.to_string()).await.expect("published");
        last = receipt.position();
    }
    // In a channel of its own, so that something tells that all before it is stored.
    a.publish("mine", "x").await.expect("published");
    a.until("its own message", SOON, |it| !it.heard("mine").is_empty())
        .await;
    match b.backplane.lane("other") {
        Some(lane) => {
            // If receipts tell no position: the message that came last, which is in the same log.
            let last = last.or_else(|| a.heard("mine")[0].position);
            let last = last.expect("a position, as there are lanes");
            for instance in [&a, &b] {
                // The exact position, or one behind it: other messages may have come after.
                let reaches = |it: &Instance| {
                    let all = progress(it);
                    all.iter()
                        .any(|p| *p == last || p.is_after(&last) == Some(true))
                };
                instance
                    .until("Progress up to the last position", SOON, reaches)
                    .await;
                opening(instance, lane, last);
            }
        }
        // Without positions, `Progress` has nothing to say.
        None => {
            for instance in [&a, &b] {
                assert_eq!(
                    progress(instance),
                    [],
                    "without positions there is no Progress"
                );
            }
        }
    }
    a.close().await;
    b.close().await;
}

/// The lane's first `Progress` comes before its first message, and from there it only grows.
fn opening(instance: &Instance, lane: u32, last: Position) {
    let all = progress(instance).into_iter();
    // Each lane begins with one at `open`, so the list is not empty.
    let own: Vec<_> = all.filter(|position| position.lane == lane).collect();
    assert_eq!(
        last.is_after(&own[0]),
        Some(true),
        "the first Progress says where the lane was at open"
    );
    for pair in own.windows(2) {
        assert_ne!(
            pair[0].is_after(&pair[1]),
            Some(true),
            "Progress never goes back"
        );
    }
}
