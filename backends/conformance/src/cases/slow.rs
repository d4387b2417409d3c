//! A hub that reads too slowly: it is not waited for, and what it misses is announced.

use std::time::Duration;

use hubplane_backplane::{Event, Outgoing};
use tokio::time::{Instant, timeout};

use crate::{
    Harness,
    space::{SOON, Space},
};

/// How long the slow instance reads nothing.
const ASLEEP: Duration = Duration::from_millis(1_500);
/// After so long without an event, the last messages count as lost.
const QUIET: Duration = Duration::from_secs(2);
/// How many messages are published meanwhile at most.
const MOST: u32 = 40_000;
/// Messages in one call of `publish`.
const BATCH: u32 = 100;

/// One instance does not read its events. Publishing goes on and another instance hears at once; when the slow one reads
/// again, it finds each message, or a gap in its place.
pub(crate) async fn a_slow_instance_loses_nothing_in_silence(harness: &dyn Harness) {
    let space = Space::new(harness);
    // Raw: nobody reads these events until the case does.
    let (slow, mut events) = space.open_raw().await;
    slow.subscribe(&["c".into()]).await.expect("subscribed");
    // The publisher is another instance, which must not be held up.
    let quick = space.open().await;
    quick.subscribe(&["quick"]).await;
    // As much as fits into the time, or what is enough to overflow any queue.
    let (mut sent, start) = (0_u32, Instant::now());
    while start.elapsed() < ASLEEP && sent < MOST {
        let batch = (sent..sent + BATCH).map(|n| Outgoing::new("c", numbered(n)));
        // Answered within the contract's time, although one instance sleeps.
        for answer in quick.publish_all(batch.collect()).await {
            answer.expect("nobody waits for a slow instance");
        }
        sent += BATCH;
    }
    quick.publish("quick", "x").await.expect("published");
    quick
        .until("its own message, while the other sleeps", SOON, |it| {
            !it.heard("quick").is_empty()
        })
        .await;
    let (mut reading, end, awake) = (Reading::default(), sent, Instant::now());
    while reading.next < end {
        // Until all that was published is accounted for, heard or covered by a gap.
        assert!(
            awake.elapsed() < 3 * SOON,
            "it never catches up: {} of {end}",
            reading.next
        );
        // A quiet time means that nothing more is on its way.
        match timeout(QUIET, events.recv()).await {
            Ok(event) => reading.take(event.expect("the events go on")),
            // A hole at the very end is announced with the next message, so there must be one.
            Err(_) => {
                quick.publish("c", numbered(sent)).await.expect("published");
                sent += 1;
            }
        }
    }
    let closed = timeout(Duration::from_secs(5), slow.close()).await;
    assert!(closed.is_ok(), "close takes at most 5 s");
    quick.close().await;
}

/// Returns a message with its number, large enough to fill the queues on the way soon.
fn numbered(n: u32) -> Vec<u8> {
    let mut text = format!("{n} ").into_bytes();
    text.resize(1_024, b'x');
    text
}

/// What the slow instance has read so far.
#[derive(Default)]
struct Reading {
    /// The number that comes next if nothing is lost.
    next: u32,
    /// True if a gap was announced since the last message.
    gap: bool,
}

impl Reading {
    /// Notes an event. Panics if messages are missing in front of it without a gap, or come again.
    fn take(&mut self, event: Event) {
        let publications = match event {
            Event::Gap { .. } => {
                self.gap = true;
                return;
            }
            Event::Published(publications) => publications,
            // What else is told is not judged here.
            Event::Progress(_)
            | Event::Waiting(_)
            | Event::Refused { .. }
            | Event::Down(_)
            | Event::Up => return,
        };
        for publication in publications.iter().filter(|p| &*p.channel == "c") {
            let text = String::from_utf8_lossy(&publication.data);
            // The number is in front of the filling.
            let number = text.split(' ').next().and_then(|n| n.parse::<u32>().ok());
            let number = number.expect("a number");
            assert!(number >= self.next, "{number} comes again, or late");
            assert!(
                number == self.next || self.gap,
                "{} to {number} are lost without a gap before {number}",
                self.next
            );
            // A gap covers one hole.
            (self.next, self.gap) = (number + 1, false);
        }
    }
}
