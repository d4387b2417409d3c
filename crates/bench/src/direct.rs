//! The broker alone: two instances of its driver in this process, without hub and socket. The difference to a round is what
//! the hub adds. Same rate, same payload and same clock as the round, or the two could not be compared.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use hubplane_backplane::{Channel, Event, Events, Outgoing, Result};
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    load::{Clock, Layout, Mark, histogram, latency},
    results::Latency,
    scenario::Scenario,
};
use crate::plan::Drivers;

/// The most channels: a broker's latency does not depend on more.
const CHANNELS: u32 = 100;
/// How many publications may be on their way at once. One more waits, and its time runs meanwhile.
const ON_THEIR_WAY: usize = 1_000;
/// How long to wait at the end for what is still on its way.
const SETTLE: Duration = Duration::from_secs(2);

/// Publishes at the scenario's rate through one instance, and measures the time until the other has each message. Returns an
/// empty latency if nothing came, and an error if the broker can't be reached. `run` keeps runs apart by their channels.
///
/// # Errors
///
/// The driver's own, when one of the two instances can't be opened or can't subscribe. A
/// publication that the broker refuses is no error: it is missing from the latency.
pub(super) fn measure(
    (drivers, backplane): (Drivers, &str),
    scenario: &Scenario,
    run: &str,
    (warm_up, length): (Duration, Duration),
) -> io::Result<Latency> {
    // Two threads for both drivers, whatever the machine has: the broker needs the other cores.
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let measured: Result<Latency> = runtime.block_on(async {
        let from = drivers.open(backplane).await?;
        let to = drivers.open(backplane).await?;
        // One hub in the layout, since there is none: only the names and the payload are used here.
        let layout = Layout::new(scenario, &format!("{run}.direct"), 1);
        let channels: Vec<Channel> = (0..scenario.channels.min(CHANNELS))
            .map(|channel| layout.name(channel).into())
            .collect();
        // Subscribed before the first message is due, so that a missing one is the broker's doing.
        to.backplane.subscribe(&channels).await?;
        let clock = Clock::start();
        let begin = clock.now() + warm_up.as_micros() as u64;
        let layout = Arc::new(layout);
        let hearing = tokio::spawn(hear(to.events, clock, begin, Arc::clone(&layout)));
        // Nobody needs what comes back to the publisher, but it must be taken.
        let mut echoes = from.events;
        let echo = tokio::spawn(async move { while echoes.recv().await.is_some() {} });
        let total = warm_up + length;
        // Publisher and subscriber are different instances, so that each message passes through the
        // broker as it does between two hubs.
        let publisher = from.backplane;
        let room = Arc::new(tokio::sync::Semaphore::new(ON_THEIR_WAY));
        let start = Instant::now();
        let messages = (total.as_secs_f64() * scenario.rate) as u64;
        for number in 0..messages {
            // From the start and not from the message before, so that delays don't add up (an open
            // loop).
            sleep_until(start + total.mul_f64(number as f64 / messages as f64)).await;
            let due = clock.now();
            let mut data = Vec::new();
            layout.write(
                &mut data,
                Mark {
                    rank: 0,
                    number,
                    due,
                },
            );
            let channel = &channels[number as usize % channels.len()];
            let outgoing = Outgoing::new(Arc::clone(channel), Bytes::from(data));
            let (publisher, room) = (Arc::clone(&publisher), Arc::clone(&room));
            // Only closing the semaphore fails this, and nobody closes it.
            let Ok(permit) = room.acquire_owned().await else {
                break;
            };
            // A task for each message: the schedule must not wait for an acknowledgement.
            tokio::spawn(async move {
                // One that is refused does not come, and is no latency.
                _ = publisher.publish(vec![outgoing]).await;
                drop(permit);
            });
        }
        // The last messages may still be on their way between the two drivers.
        sleep(Duration::from_millis(50)).await;
        // Closing ends the stream of events, and with it the task that measures.
        to.backplane.close().await;
        publisher.close().await;
        echo.abort();
        let heard = timeout(SETTLE, hearing).await;
        Ok(heard.ok().and_then(|heard| heard.ok()).unwrap_or_default())
    });
    measured.map_err(io::Error::other)
}

/// Takes what comes until the driver is closed, and returns the times of what was due from `begin` on.
async fn hear(mut events: Events, clock: Clock, begin: u64, layout: Arc<Layout>) -> Latency {
    let mut heard = histogram();
    while let Some(event) = events.recv().await {
        let Event::Published(publications) = event else {
            continue;
        };
        let now = clock.now();
        for publication in publications {
            // A log may still have what was published before, by another clock.
            if layout.number(publication.channel.as_bytes()).is_none() {
                continue;
            }
            // The first byte of the data is the quotation mark of its JSON string.
            let mark = publication.data.get(1..).and_then(Mark::parse);
            if let Some(mark) = mark.filter(|mark| mark.due >= begin) {
                // At least 1: the histogram begins there, and would drop a 0.
                heard.saturating_record(now.saturating_sub(mark.due).max(1));
            }
        }
    }
    latency(&heard)
}
