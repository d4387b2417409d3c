//! That names and payloads arrive byte by byte, up to the declared limits. A name either arrives exactly or is
//! `Rejected`; it never becomes another one.

use hubplane_backplane::{Channel, ErrorKind, Interest, Outgoing};
use tokio::time::sleep;

use crate::{
    Harness,
    space::{SETTLE, SOON, Space},
};

/// Names with characters that mean something to some broker, such as patterns and separators, and names that these would
/// reach if they were read so.
// In the order: patterns of Redis (glob), words of AMQP and NATS, separators, escapes, zero and
// control bytes, letters beyond ASCII and in either direction, names that brokers reserve,
// quotation marks.
const NAMES: &[&str] = &[
    "",
    "*",
    "**",
    "?",
    "a*",
    "a?",
    "[a-z]",
    "[ab]",
    "\\",
    "\\*",
    "#",
    "a.#",
    "a.*",
    "*.b",
    ">",
    "a.>",
    "a.b",
    "a_b",
    "a b",
    "{tag}",
    "{tag}x",
    "%00",
    "%2a",
    "+",
    "a/+",
    "/",
    "//",
    ".",
    "..",
    "a\0b",
    "\0",
    "a\nb",
    "\r\n",
    "\t",
    "$",
    "$SYS",
    "é",
    "e\u{301}",
    "🦀",
    "שלום",
    "\u{202e}x",
    "ab",
    "a",
    "b",
    "A",
    "a.b.c",
    "amq.direct",
    "__c",
    "-",
    "'",
    "\"",
    ";",
    "&x=1",
    "?x=1",
    " ",
    "null",
];

/// Names that nobody subscribes to. They would be heard if one of the names above were read as a pattern.
const DECOYS: &[&str] = &[
    "aZ", "Z", "a.Z", "Z.b", "aZZ", "z", "a/Z", "tag", "a.b.Z", "*Z",
];

/// Subscribes to all the names and publishes to each. Everything that was accepted arrives exactly, and nothing else.
pub(crate) async fn hostile_names_and_payloads_arrive_exactly(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = (space.open().await, space.open().await);
    // Around 255 bytes, the limit of AMQP's names, which counts bytes and not letters (AMQP 0-9-1, `shortstr`).
    let long = [
        "l".repeat(254),
        "l".repeat(255),
        "l".repeat(256),
        "é".repeat(127),
    ];
    let names: Vec<&str> = NAMES
        .iter()
        .copied()
        .chain(long.iter().map(String::as_str))
        .collect();
    // A name may be refused here or there; what both calls take must arrive.
    let mut wanted = Vec::new();
    for &name in &names {
        match b.backplane.subscribe(&[Channel::from(name)]).await {
            Ok(()) => wanted.push(name),
            Err(error) => assert_eq!(
                error.kind(),
                // Only a clear refusal is allowed; a connection that breaks is not.
                ErrorKind::Rejected,
                "subscribing to {name:?}: {error}"
            ),
        }
    }
    let mut expected = Vec::new();
    // One message on each name, with bytes of its own: one that arrives under another name shows.
    for (i, &name) in names.iter().enumerate() {
        let data = payload(i);
        match a
            .publish_all(vec![Outgoing::new(name, data.clone())])
            .await
            .remove(0)
        {
            Ok(_) => expected.push((name, data)),
            Err(error) => assert_eq!(
                error.kind(),
                ErrorKind::Rejected,
                // The same for publishing: another error would mean that the name has reached the
                // broker.
                "publishing to {name:?}: {error}"
            ),
        }
    }
    // A backend that rejects everything would pass otherwise.
    let everyday = ["a", "a.b", "ab", "a_b", "é", "🦀"];
    assert!(
        everyday
            .iter()
            .all(|name| expected.iter().any(|(known, _)| known == name)),
        "everyday names are taken"
    );
    // Without a subscription to it, a name can't be heard.
    expected.retain(|(name, _)| wanted.contains(name));
    // Without a subscription these arrive only where everything does.
    for &name in DECOYS {
        a.publish(name, "decoy").await.expect("an everyday name");
        if space.capabilities.interest == Interest::Everything {
            expected.push((name, b"decoy".to_vec()));
        }
    }
    b.until("all that was taken arrives", SOON, |it| {
        it.all_heard().len() >= expected.len()
    })
    .await;
    // Nothing tells that no more will come, so a time has to do.
    sleep(SETTLE).await;
    // Each expected message is taken out once; what is left was heard too often, or was never sent.
    let mut heard: Vec<_> = b
        .all_heard()
        .into_iter()
        .map(|p| (p.channel, p.data.to_vec()))
        .collect();
    for (name, data) in &expected {
        let at = heard
            .iter()
            .position(|(channel, bytes)| &**channel == *name && bytes == data);
        heard.swap_remove(
            at.unwrap_or_else(|| panic!("{name:?} does not arrive exactly: {:?}", b.texts(name))),
        );
    }
    assert!(
        heard.is_empty(),
        "nothing arrives that was not sent: {heard:?}"
    );
    a.close().await;
    b.close().await;
}

/// Returns other bytes for each name: empty ones, ones that are not UTF-8, and ones that look like hubplane's envelope.
fn payload(i: usize) -> Vec<u8> {
    // Six kinds, against the length of the list, so that neighbours differ.
    match i % 6 {
        0 => Vec::new(),
        1 => vec![i as u8],
        2 => vec![0xff, 0, 0xfe, i as u8],
        3 => format!("\x1ehubplane1 {{\"id\":\"{i}\"}}\nx").into_bytes(),
        // Looks like the envelope of an own message, and must arrive as data all the same.
        4 => format!("\x1ehubplane1 broken {i}").into_bytes(),
        _ => format!("🦀 {i}\r\n\0").into_bytes(),
    }
}

/// The largest declared payload arrives exactly; with one byte more it is `Rejected`.
pub(crate) async fn payloads_are_limited_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    let most = space.capabilities.max_payload;
    // Not all bytes are the same, so that a part that is missing or moved shows.
    // 251 is a prime number, so no block size of a library hides a part that moved.
    let largest: Vec<u8> = (0..most).map(|i| (i % 251) as u8).collect();
    let taken = a.publish("c", largest.clone()).await;
    taken.unwrap_or_else(|error| panic!("a payload of {most} bytes is not taken: {error}"));
    b.hears("c", 1).await;
    assert!(
        b.heard("c")[0].data == largest,
        "the largest payload arrives exactly"
    );
    // One byte more is refused here; at the broker it might close the connection.
    let mut larger = largest;
    larger.push(0);
    let refused = a.publish("c", larger).await;
    assert_eq!(
        refused.expect_err("one over the limit").kind(),
        ErrorKind::Rejected
    );
    // Still one: what was refused must not arrive.
    b.hears("c", 1).await;
    a.close().await;
    b.close().await;
}

/// The longest declared name arrives; with one byte more, publishing and subscribing are `Rejected`.
pub(crate) async fn names_are_limited_as_declared(harness: &dyn Harness) {
    let space = Space::new(harness);
    let most = space.capabilities.max_channel;
    let longest = "n".repeat(most);
    let (a, b) = space.pair(&[&longest]).await;
    let taken = a.publish(&longest, "x").await;
    taken.unwrap_or_else(|error| panic!("a name of {most} bytes is not taken: {error}"));
    b.hears(&longest, 1).await;
    let longer = format!("{longest}n");
    let published = a.publish(&longer, "x").await;
    // Both calls: a name that only publishing refuses would never be heard, and nobody would know.
    let subscribed = a.backplane.subscribe(&[Channel::from(&*longer)]).await;
    for answer in [published.map(drop), subscribed] {
        assert_eq!(
            answer.expect_err("one over the limit").kind(),
            ErrorKind::Rejected
        );
    }
    b.hears(&longest, 1).await;
    a.close().await;
    b.close().await;
}
