//! D11: subscribing while others publish, and resuming from each of the last positions.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::{
    Result,
    cell::Cell,
    drill::{Bench, Drill, Running},
    workload::{Settings, new_space, start_hubs, wire::Wire},
};

/// As many at once, each on a channel of its own.
const LANES: usize = 8;
/// Positions from which is resumed, the last ones of each channel.
const BACK: usize = 200;
/// Longer than a hub keeps asking its broker for a channel that nobody wants.
const FORGOTTEN: Duration = Duration::from_millis(2300);

pub(crate) const DRILL: Drill = Drill {
    name: "D11",
    what: "subscribing while others publish, then resuming from each of the last 200 positions",
    short: true,
    fits: |_| true,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(race(bench))
}

/// What one channel, or all of them, have found.
#[derive(Debug, Default)]
struct Found {
    cycles: u64,
    /// With a position that is one of a message, so that the next is known for certain.
    exact: u64,
    /// In words; the first few are shown.
    wrong: Vec<String>,
    resumed: u64,
    refused: u64,
}

/// What is subscribed to must arrive from the very next message on, and each position must lead to
/// exactly what followed.
async fn race(bench: &Bench) -> Result<Cell> {
    let mut settings = Settings::of(bench);
    // Two are enough: one publishes, and the other is subscribed to.
    settings.hubs = settings.hubs.min(2);
    let space = new_space()?;
    let hubs = start_hubs(bench, &settings, &space).await?;
    let cycles = if bench.short { 125 } else { 1250 };
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let (near, far) = (hubs[0].address(), hubs[hubs.len() - 1].address());
        lanes.spawn(cycle(format!("race.{lane}"), near, far, cycles));
    }
    let mut cell = Cell::default();
    let mut all = Found::default();
    while let Some(found) = lanes.join_next().await {
        let found = found??;
        all.cycles += found.cycles;
        all.exact += found.exact;
        all.resumed += found.resumed;
        all.refused += found.refused;
        all.wrong.extend(found.wrong);
    }
    cell.figure("cycles", all.cycles);
    cell.figure("position_of_a_message", all.exact);
    cell.figure("resumes", all.resumed);
    cell.figure("resumes_refused", all.refused);
    cell.gate(
        all.cycles == (LANES * cycles) as u64,
        "not all cycles were run",
    );
    cell.gate(all.wrong.is_empty(), format!("{} wrong", all.wrong.len()));
    if bench.backend.kind().is_log() {
        cell.gate(
            all.resumed == (LANES * BACK) as u64,
            "not every position was tried",
        );
        cell.gate(
            all.refused == 0,
            format!("{} resumes were not recovered", all.refused),
        );
    } else {
        cell.note("no positions on this backend: nothing to resume from");
    }
    cell.notes.extend(all.wrong.into_iter().take(5));
    Ok(cell)
}

/// Everything that a channel carries, with its positions, read as it comes: who doesn't is cut off. Ends with the last
/// message once it is known, or when nothing more comes.
async fn read_all(
    mut reader: Wire,
    ends: watch::Receiver<Option<u64>>,
) -> Result<Vec<(u64, Option<String>)>> {
    let mut positions = Vec::new();
    loop {
        let message = reader.message(Duration::from_secs(5)).await?;
        let last = *ends.borrow();
        let Some(message) = message else {
            if last.is_some() {
                return Ok(positions);
            }
            continue;
        };
        let seq = message.seq;
        positions.push((seq, message.position));
        if last.is_some_and(|last| seq >= last) {
            return Ok(positions);
        }
    }
}

/// One channel: a publisher and a reader of everything at the far hub, and the subscriber at the near one.
async fn cycle(channel: String, near: SocketAddr, far: SocketAddr, cycles: usize) -> Result<Found> {
    let mut found = Found::default();
    let mut reader = Wire::connect(far).await?;
    reader.subscribe(&channel, None).await?;
    let (end, ends) = watch::channel(None);
    let reading = tokio::spawn(read_all(reader, ends));
    let publishing = Publishing::start(far, channel.clone()).await?;
    let mut subscriber = Wire::connect(near).await?;
    let mut seen = Vec::new();
    for at in 0..cycles {
        // Now and then long enough that the hub gives the channel up and must ask for it again.
        if at % 25 == 24 {
            sleep(FORGOTTEN).await;
        }
        let answer = subscriber.subscribe(&channel, None).await?;
        // Read after the answer: what is sent from now on must come.
        let floor = publishing.sent();
        let mut got = Vec::new();
        let start = Instant::now();
        // Two messages: the first shows where it begins, the second that nothing is between.
        while got.len() < 2 {
            let Some(message) = subscriber.message(Duration::from_secs(5)).await? else {
                break;
            };
            got.push(message.seq);
        }
        if got.len() < 2 {
            found.wrong.push(format!(
                "{channel} cycle {at}: {got:?} came in {:?} after {floor}",
                start.elapsed()
            ));
        }
        seen.push((answer.position, floor, got));
        subscriber.unsubscribe(&channel).await?;
        found.cycles += 1;
    }
    let last = publishing.end().await?;
    end.send_replace(Some(last));
    let positions = reading.await??;
    if positions.last().is_none_or(|(seq, _)| *seq < last) {
        found.wrong.push(format!(
            "{channel}: the reader of everything got {:?} of {last}",
            positions.last()
        ));
    }
    check(&channel, &positions, &seen, &mut found);
    resume(&channel, near, &positions, &mut found).await?;
    Ok(found)
}

/// The position of the answer, what had been sent by then, and the numbers that came.
type Seen = (Option<String>, u64, Vec<u64>);

/// Judges all cycles of one channel against what the reader of everything got.
fn check(channel: &str, positions: &[(u64, Option<String>)], seen: &[Seen], found: &mut Found) {
    let by_position: HashMap<&str, u64> = positions
        .iter()
        .filter_map(|(seq, position)| Some((position.as_deref()?, *seq)))
        .collect();
    // The reader itself must have no hole, or it could judge nobody.
    for (at, pair) in positions.windows(2).enumerate() {
        if pair[1].0 != pair[0].0 + 1 {
            found.wrong.push(format!(
                "{channel}: the reader of everything got {} after {} ({at})",
                pair[1].0, pair[0].0
            ));
        }
    }
    for (at, (position, floor, got)) in seen.iter().enumerate() {
        let words =
            || format!("{channel} cycle {at}: {got:?} after {position:?}, sent {floor} before");
        let Some(first) = got.first() else { continue };
        // The first may be older than the floor, but never later than the next one.
        if got.windows(2).any(|pair| pair[1] != pair[0] + 1) || *first > floor + 1 {
            found.wrong.push(words());
        }
        if let Some(seq) = position
            .as_deref()
            .and_then(|position| by_position.get(position))
        {
            // The position is of a message that the reader knows, so the next one is certain.
            found.exact += 1;
            if *first != seq + 1 {
                found.wrong.push(format!("{}, which is {seq}'s", words()));
            }
        }
    }
}

/// From each of the last positions, exactly what came after it.
async fn resume(
    channel: &str,
    hub: SocketAddr,
    positions: &[(u64, Option<String>)],
    found: &mut Found,
) -> Result<()> {
    let last = positions.last().map_or(0, |(seq, _)| *seq);
    for (seq, position) in positions.iter().rev().take(BACK) {
        let Some(position) = position else { continue };
        let mut wire = Wire::connect(hub).await?;
        let answer = wire.subscribe(channel, Some(position)).await?;
        found.resumed += 1;
        // Honest where the log no longer reaches back; the cell judges it.
        if !answer.recovered {
            found.refused += 1;
            continue;
        }
        for expected in seq + 1..=last {
            let came = wire
                .message(Duration::from_secs(5))
                .await?
                .map(|message| message.seq);
            if came != Some(expected) {
                found.wrong.push(format!(
                    "{channel}: resumed from {seq}, {came:?} came instead of {expected}"
                ));
                break;
            }
        }
    }
    Ok(())
}

/// A publisher that goes on until it is told to end.
#[derive(Debug)]
struct Publishing {
    sent: std::sync::Arc<std::sync::atomic::AtomicU64>,
    stop: std::sync::Arc<std::sync::atomic::AtomicBool>,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Publishing {
    async fn start(hub: SocketAddr, channel: String) -> Result<Self> {
        use std::sync::{Arc, atomic};
        let sent = Arc::new(atomic::AtomicU64::new(0));
        let stop = Arc::new(atomic::AtomicBool::new(false));
        let mut wire = Wire::connect(hub).await?;
        let (counting, stopping) = (Arc::clone(&sent), Arc::clone(&stop));
        let task = tokio::spawn(async move {
            while !stopping.load(atomic::Ordering::SeqCst) {
                // Counted before it is sent: what a subscriber reads is never less than what may have come before.
                let seq = counting.fetch_add(1, atomic::Ordering::SeqCst) + 1;
                wire.publish(&channel, seq).await?;
                sleep(Duration::from_millis(2)).await;
            }
            Ok(())
        });
        Ok(Self { sent, stop, task })
    }

    fn sent(&self) -> u64 {
        self.sent.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// The last number.
    async fn end(self) -> Result<u64> {
        self.stop.store(true, std::sync::atomic::Ordering::SeqCst);
        self.task.await??;
        Ok(self.sent.load(std::sync::atomic::Ordering::SeqCst))
    }
}
