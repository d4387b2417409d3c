//! That messages arrive: once, in order, with their metadata, and in their own space only.

use futures_util::future::join_all;
use hubplane_backplane::{ErrorKind, Event, Order, Origin, Outgoing};

use crate::{Harness, space::Space};

/// Two instances publish in turn; both hear every message once, their own included, with id, origin and tags as they
/// were published. No event speaks of a fault.
pub(crate) async fn every_instance_hears_each_message_once(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    let mut expected = Vec::new();
    // Each with its own bytes, so that it can be told apart, and with a tag that is not ASCII.
    for number in 0..50_u64 {
        for (publisher, id) in [(&a, 1), (&b, 2)] {
            let outgoing = Outgoing {
                id: Some(format!("id-{id}-{number}").into()),
                origin: Some(Origin { id, number }),
                tags: vec![("color".into(), format!("{number} é").into())],
                ..Outgoing::new("c", format!("{id} {number}"))
            };
            expected.push(outgoing.clone());
            // One after the other, so that each is acknowledged before the next is sent.
            publisher
                .publish_all(vec![outgoing])
                .await
                .remove(0)
                .expect("published");
        }
    }
    for (name, instance) in [("the first", &a), ("the second", &b)] {
        // `hears` also waits for what should not come: one more would be a repetition.
        instance.hears("c", expected.len()).await;
        for outgoing in &expected {
            let heard = instance.heard("c");
            // By its bytes, since a backend that is broken may have lost the id.
            let got: Vec<_> = heard
                .iter()
                .filter(|publication| publication.data == outgoing.data)
                .collect();
            assert_eq!(
                got.len(),
                1,
                "{name} instance hears {:?} once",
                outgoing.data
            );
            // What a backend does not carry in the broker's own fields must be in its envelope.
            assert_eq!(
                (&got[0].id, &got[0].origin, &got[0].tags),
                (&outgoing.id, &outgoing.origin, &outgoing.tags),
                "the metadata arrives with it"
            );
        }
        // A gap without a loss would make every client recover.
        let quiet = instance
            .events()
            .iter()
            .all(|event| matches!(event, Event::Published(_) | Event::Progress(_)));
        assert!(
            quiet,
            "{name} instance is told of a fault, and there was none"
        );
    }
    a.close().await;
    b.close().await;
}

/// Four publishers on two instances publish at the same time. Each publisher's order must be kept if any is declared,
/// and all instances must see one order if that is declared.
pub(crate) async fn order_is_as_declared(harness: &dyn Harness) {
    /// Messages of each publisher.
    const EACH: usize = 200;
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    // Two publishers on each instance, so that order is tried within an instance and between them.
    let publishers = (0..4).map(|publisher| {
        let instance = if publisher % 2 == 0 { &a } else { &b };
        async move {
            // In batches, so that the order within one is tried, too.
            for first in (0..EACH).step_by(4) {
                let batch = (first..first + 4)
                    .map(|n| Outgoing::new("c", format!("{publisher} {n}")))
                    .collect();
                for answer in instance.publish_all(batch).await {
                    answer.expect("published");
                }
            }
        }
    });
    join_all(publishers).await;
    a.hears("c", 4 * EACH).await;
    b.hears("c", 4 * EACH).await;
    // Each message names its publisher and counts, so that both orders can be read off the texts.
    let order = space.capabilities.order;
    for instance in [&a, &b] {
        for publisher in 0..4 {
            let prefix = format!("{publisher} ");
            let got: Vec<_> = instance
                .texts("c")
                .into_iter()
                .filter(|text| text.starts_with(&prefix))
                .collect();
            let expected: Vec<_> = (0..EACH).map(|n| format!("{publisher} {n}")).collect();
            assert!(
                order == Order::None || got == expected,
                "a publisher's order is kept: {got:?}"
            );
        }
    }
    // Compared as whole lists: one order means the same list everywhere.
    let same = a.texts("c") == b.texts("c");
    assert!(
        order != Order::PerChannel || same,
        "all instances see one order of a channel"
    );
    a.close().await;
    b.close().await;
}

/// A batch with a payload and a name over the limits: these items are `Rejected`, and the others of the batch arrive.
pub(crate) async fn a_batch_is_answered_item_by_item(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    // Exactly one byte more than declared; a limit that is only about right fails.
    let large = vec![b'x'; space.capabilities.max_payload + 1];
    let long = "n".repeat(space.capabilities.max_channel + 1);
    let batch = vec![
        Outgoing::new("c", "one"),
        Outgoing::new("c", large),
        Outgoing::new("c", "two"),
        Outgoing::new(long, "lost"),
        Outgoing::new("c", "three"),
    ];
    // Good and bad items in turn: an answer that is moved by one place shows.
    let answers = a.publish_all(batch).await;
    let kinds: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().err().map(|error| error.kind()))
        .collect();
    let rejected = Some(ErrorKind::Rejected);
    assert_eq!(
        kinds,
        [None, rejected, None, rejected, None],
        "each item has its own answer"
    );
    for instance in [&a, &b] {
        instance.hears("c", 3).await;
        assert_eq!(
            instance.texts("c"),
            ["one", "two", "three"],
            "what was not rejected arrives"
        );
    }
    // A batch without items is answered, too, and not left waiting.
    assert!(a.publish_all(Vec::new()).await.is_empty());
    a.close().await;
    b.close().await;
}

/// Two spaces have a channel of the same name: each hears only what was published in it.
pub(crate) async fn spaces_never_hear_each_other(harness: &dyn Harness) {
    let (here, there) = (Space::new(harness), Space::new(harness));
    let (a, b) = (here.open().await, there.open().await);
    // The same name in both: only the space may tell them apart.
    a.subscribe(&["c"]).await;
    b.subscribe(&["c"]).await;
    // Both at the same time, so that a shared topic or pattern would mix them.
    for _ in 0..20 {
        a.publish("c", "here").await.expect("published");
        b.publish("c", "there").await.expect("published");
    }
    for (instance, expected) in [(&a, "here"), (&b, "there")] {
        instance.hears("c", 20).await;
        assert!(
            instance.texts("c").iter().all(|text| text == expected),
            "only the own space is heard"
        );
    }
    a.close().await;
    b.close().await;
}

/// A program that has never heard of hubplane publishes bytes that are not text. They arrive exactly, without id and
/// origin.
pub(crate) async fn outside_messages_arrive_as_they_are(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    // Not UTF-8, and with a zero byte: no text type of a library may be in the way.
    let data = b"bare \x00\xff bytes";
    // Through the harness, which uses the broker's own client.
    harness.publish_outside(&space.name, "c", data).await;
    for instance in [&a, &b] {
        instance.hears("c", 1).await;
        let heard = instance.heard("c").remove(0);
        assert_eq!(&heard.data[..], data);
        assert_eq!(
            // What has no envelope must not be given a made-up id: it would look like a repetition
            // elsewhere.
            (heard.id, heard.origin),
            (None, None),
            "an outside message has no metadata of ours"
        );
    }
    a.close().await;
    b.close().await;
}
