//! D6: the broker forgets. Its data is as it was a while ago, or gone, or grown again past what everybody knows.

use std::{path::Path, time::Duration};

use tokio::{
    fs,
    time::{Instant, sleep},
};

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, resp::Resp},
};

/// Published after the copy, and lost by going back to it; grown again by as many and more.
const MORE: u64 = 500;

pub(crate) const DRILL: Drill = Drill {
    name: "D6",
    what: "the broker's data goes back in time and grows again; is deleted; is flushed",
    short: true,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(amnesia(bench))
}

/// Losses are allowed, since the broker has forgotten; each must be announced.
async fn amnesia(bench: &Bench) -> Result<Cell> {
    if !bench.backend.can_break() {
        return Ok(Cell::left_out("no script controls this broker"));
    }
    let kind = bench.backend.kind();
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let mut faults = 0;
    // Plain Redis keeps nothing that could go back.
    if kind != Kind::Redis {
        sleep(Duration::from_secs(3)).await;
        rollback(bench, &mut workload, &mut cell).await?;
        faults += 1;
    }
    sleep(Duration::from_secs(8)).await;
    deletion(bench, &mut workload, &mut cell).await?;
    faults += 1;
    sleep(Duration::from_secs(12)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        kind,
        verdict,
        Demands {
            lossless: false,
            native_may_be_lost: false,
            faults,
        },
    );
    Ok(cell)
}

/// Whatever makes this broker forget.
pub(crate) async fn forget(bench: &Bench, workload: &mut Workload, cell: &mut Cell) -> Result<()> {
    // For plain Redis, being away is all the forgetting that there is.
    if bench.backend.kind() == Kind::Redis {
        return super::d01::kill_for(bench, workload, std::time::Duration::from_secs(2)).await;
    }
    rollback(bench, workload, cell).await
}

/// Stop, copy, start; 500 more; kill; the copy back; grown past the old end where nobody sees it; start.
async fn rollback(bench: &Bench, workload: &mut Workload, cell: &mut Cell) -> Result<()> {
    let backend = &bench.backend;
    workload.fault("copy", Phase::Begin)?;
    // Stopped, so that the copy is of one moment.
    backend.control("stop").await?;
    backend.control("save").await?;
    backend.control("start").await?;
    workload.fault("copy", Phase::End)?;
    for hub in &workload.hubs {
        hub.until_ready(true, Duration::from_secs(30)).await?;
    }
    let target = workload.target(bench, backend.authority());
    workload.publish_native("more", target, MORE).await?;
    // Time for the hubs to have read past the copy.
    sleep(Duration::from_secs(3)).await;
    let frozen = frozen_count(workload);
    // Killed: an orderly end might write once more.
    backend.control("kill").await?;
    workload.fault("broker", Phase::Begin)?;
    backend.control("restore").await?;
    // RabbitMQ's node is named after its port, so its copy can't run at another one.
    if bench.backend.kind() != Kind::Rabbitmq && bench.backend.kind() != Kind::AmqpStreams {
        regrow(bench, workload, cell, frozen).await?;
    }
    workload.fault("broker", Phase::Mend)?;
    backend.control("start").await?;
    workload.fault("broker", Phase::End)?;
    cell.figure("rolled_back_at_least", MORE);
    Ok(())
}

/// About how many messages have been published since the copy.
fn frozen_count(workload: &Workload) -> u64 {
    MORE + u64::from(workload.rate()) * 8
}

/// A broker on other ports writes more into the copy than was lost.
///
/// Afterwards a position that a client remembers exists again, and is another message's.
async fn regrow(bench: &Bench, workload: &Workload, cell: &mut Cell, count: u64) -> Result<()> {
    let directory = bench.backend.directory()?;
    let name = directory.file_name().ok_or("a directory without a name")?;
    let other = directory
        .parent()
        .ok_or("a directory without a parent")?
        .join("regrow")
        .join(name);
    // What an earlier run has left.
    _ = fs::remove_dir_all(&other).await;
    fs::create_dir_all(&other).await?;
    move_data(directory, &other).await?;
    bench.backend.control_in("start", &other).await?;
    let ports = fs::read_to_string(other.join("ports")).await?;
    let port = ports.split_whitespace().next().ok_or("no port")?;
    let target = workload.target(bench, &format!("127.0.0.1:{port}"));
    let start = Instant::now();
    let written = workload.publish_native("regrow", target, count).await;
    bench.backend.control_in("stop", &other).await?;
    // Moved back even if writing failed, or the broker would have no data at all.
    move_data(&other, directory).await?;
    written?;
    cell.figure("regrown", count);
    cell.figure("regrow_s", start.elapsed().as_secs_f64());
    Ok(())
}

/// Moves what brokers call their data; the rest of a directory belongs to its process.
async fn move_data(from: &Path, to: &Path) -> Result<()> {
    for name in ["data", "appendonlydir"] {
        if from.join(name).exists() {
            fs::rename(from.join(name), to.join(name)).await?;
        }
    }
    Ok(())
}

/// What a hub reads from is deleted under it.
async fn deletion(bench: &Bench, workload: &mut Workload, cell: &mut Cell) -> Result<()> {
    let backend = &bench.backend;
    workload.fault("deletion", Phase::Begin)?;
    match backend.kind() {
        Kind::Memory => {}
        Kind::Redis | Kind::RedisStreams => {
            let mut redis = Resp::connect(backend.authority()).await?;
            redis.ask(&["FLUSHALL"]).await?;
            cell.note("FLUSHALL");
        }
        Kind::Kafka => {
            topic(bench, &["--delete", "--topic", &workload.space]).await?;
            // Kafka deletes in the background; creating too soon would meet the old topic.
            sleep(Duration::from_secs(1)).await;
            topic(
                bench,
                // As many partitions as a hub creates, so that only the content is another.
                &["--create", "--topic", &workload.space, "--partitions", "8"],
            )
            .await?;
            cell.note("topic deleted and created again");
        }
        Kind::Rabbitmq | Kind::AmqpStreams => {
            let directory = backend.directory()?.to_string_lossy().into_owned();
            let list = backend
                .script(&[
                    "ctl",
                    &directory,
                    "-q",
                    "list_queues",
                    "--no-table-headers",
                    "name",
                ])
                .await?;
            let mut deleted = 0;
            for queue in list.lines().filter(|queue| queue.contains(&workload.space)) {
                // A hub that lost one of its queues may have replaced the other by then.
                let gone = ["ctl", &directory, "-q", "delete_queue", queue];
                deleted += u64::from(backend.script(&gone).await.is_ok());
            }
            cell.gate(
                deleted > 0,
                format!("no queue of {} to delete in {list:?}", workload.space),
            );
            cell.figure("queues_deleted", deleted);
        }
    }
    workload.fault("deletion", Phase::End)
}

/// Runs Kafka's own tool for topics.
async fn topic(bench: &Bench, arguments: &[&str]) -> Result<()> {
    let mut words = vec![
        "run",
        "org.apache.kafka.tools.TopicCommand",
        "--bootstrap-server",
        bench.backend.authority(),
    ];
    words.extend_from_slice(arguments);
    bench.backend.script(&words).await.map(drop)
}
