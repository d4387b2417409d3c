use hubplane_backplane::{Channel, ErrorKind, Event, History, Position};

use crate::{
    Harness,
    space::{Instance, SOON, Space},
};

pub(crate) async fn positions_are_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c", "d"]).await;
    let declared = space.capabilities.has_positions();
    assert_eq!(a.backplane.lane("c").is_some(), declared, "lane");
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
        for &(channel, n, receipt) in &receipts {
            let heard = &instance.heard(channel)[n];
            assert_eq!(
                (heard.position, receipt.is_some()),
                (receipt, declared),
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
        for pair in c.windows(2) {
            if let (Some(before), Some(after)) = (pair[0].position, pair[1].position) {
                assert_eq!(after.is_after(&before), Some(true), "positions grow");
            }
        }
        let progress = instance
            .events()
            .iter()
            .any(|event| matches!(event, Event::Progress(_)));
        assert_eq!(
            progress, declared,
            "Progress is sent where there are positions"
        );
    }
    a.close().await;
    b.close().await;
}

fn history(instance: &Instance) -> &dyn History {
    instance
        .backplane
        .history()
        .expect("a history, as declared")
}

pub(crate) async fn history_is_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    if !space.capabilities.has_history() {
        assert!(
            a.backplane.history().is_none(),
            "no history is declared, so there is none"
        );
        a.close().await;
        return b.close().await;
    }
    let channel: Channel = "c".into();
    let empty = history(&b)
        .read(&channel, None, 10)
        .await
        .expect("an empty log can be read");
    assert!(empty.publications.is_empty() && !empty.more);
    let mut positions = Vec::new();
    for n in 0..25 {
        a.publish("other", "noise").await.expect("published");
        let position = a
            .publish("c", n.to_string())
            .await
            .expect("published")
            .position();
        positions.push(position.expect("a position, as declared"));
    }
    b.hears("c", 25).await;
    let mut after = None;
    let mut got = Vec::new();
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
        assert!(
            page.upto.is_some() && page.upto != after,
            "a page says where the next begins"
        );
        after = page.upto;
    }
    assert_eq!(got, b.heard("c"), "the pages are what was heard, in order");
    edges(&b, &channel, &positions).await;
    a.close().await;
    b.close().await;
}

/// What is read from the middle, the end, and from where this log never was.
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
    let foreign = Position {
        epoch: positions[0].epoch ^ 1,
        ..positions[0]
    };
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

pub(crate) async fn trimmed_history_is_said(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    if space.capabilities.has_history() {
        let channel = "c".into();
        let first = a
            .publish("c", "first")
            .await
            .expect("published")
            .position()
            .expect("a position");
        a.publish("c", "second").await.expect("published");
        b.until("both", SOON, |it| it.heard("c").len() == 2).await;
        history(&b)
            .read(&channel, Some(first), 10)
            .await
            .expect("not trimmed yet");
        harness.trim(&space.name).await;
        let error = history(&b)
            .read(&channel, Some(first), 10)
            .await
            .expect_err("trimmed");
        assert_eq!(error.kind(), ErrorKind::PositionLost);
    } else {
        assert!(
            a.backplane.history().is_none(),
            "no history is declared, so there is none"
        );
    }
    a.close().await;
    b.close().await;
}
