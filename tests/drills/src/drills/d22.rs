//! D22: an operator's policies fall on the queues of hubplane under load: one that keeps a single message in a queue, and two
//! that drop what is old. A hub that stands still for a moment loses by the first two, and tells it; one that reads on loses
//! nothing by the third.

use std::time::Duration;

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload},
};

/// More often than this a hub does not tell of one policy.
const MOST_GAPS: f64 = 3.0;

/// Messages that are published while a hub stands still.
const BURST: u64 = 2_500;

pub(crate) const DRILL: Drill = Drill {
    name: "D22",
    what: "an operator's policies shorten the queues: max-length 1, message-ttl 2 s and 10 s",
    short: true,
    fits: |kind| matches!(kind, Kind::Rabbitmq | Kind::AmqpStreams),
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(policies(bench))
}

async fn policies(bench: &Bench) -> Result<Cell> {
    let outcome = shortened(bench).await;
    // Whatever became of it, it must not fall on the drills behind this one.
    _ = control(bench, &["clear_policy", "drill"]).await;
    outcome
}

async fn control(bench: &Bench, words: &[&str]) -> Result<()> {
    let directory = bench.backend.directory()?.to_string_lossy().into_owned();
    let words = [&["ctl", &directory, "-q"], words].concat();
    bench.backend.script(&words).await.map(drop)
}

async fn shortened(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let healthy = if bench.short { 14 } else { 40 };
    let queues = bench.backend.kind() == Kind::Rabbitmq;
    for (name, policy, frozen, seconds) in [
        ("max-length", r#"{"max-length":1}"#, 2, 3),
        ("short message-ttl", r#"{"message-ttl":2000}"#, 4, 3),
        ("message-ttl", r#"{"message-ttl":10000}"#, 0, healthy),
    ] {
        sleep(Duration::from_secs(2)).await;
        let before = gaps(&workload).await?;
        workload.fault(name, Phase::Begin)?;
        let words = ["set_policy", "drill", ".*", policy, "--apply-to", "queues"];
        control(bench, &words).await?;
        // The broker takes a moment to lay a policy on each queue.
        sleep(Duration::from_secs(1)).await;
        if frozen > 0 {
            workload.hubs[0].signal("STOP").await?;
            // More than what the broker has on its way to a hub: the rest waits in the hub's queue, where policies reach it.
            let target = workload.target(bench, bench.backend.authority());
            let publisher = format!("burst-{frozen}");
            let burst = workload.publish_native(&publisher, target, BURST);
            let (published, ()) = tokio::join!(burst, sleep(Duration::from_secs(frozen)));
            workload.hubs[0].signal("CONT").await?;
            published?;
        }
        sleep(Duration::from_secs(seconds)).await;
        control(bench, &["clear_policy", "drill"]).await?;
        workload.fault(name, Phase::End)?;
        sleep(Duration::from_secs(2)).await;
        let told = gaps(&workload).await? - before;
        cell.figure(&format!("gaps_{name}"), told);
        let most = MOST_GAPS * workload.hubs.len() as f64;
        cell.gate(told <= most, format!("{name} was told {told} times"));
        let lost = queues && frozen > 0;
        cell.gate(told > 0.0 || !lost, format!("{name}: nothing was lost"));
    }
    sleep(Duration::from_secs(2)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            // Such policies don't apply to streams.
            lossless: true,
            native_may_be_lost: false,
            faults: 3,
        },
    );
    Ok(cell)
}

/// How many losses the hubs have announced.
async fn gaps(workload: &Workload) -> Result<f64> {
    let mut all = 0.0;
    for hub in &workload.hubs {
        all += hub.metric("hubplane_gaps_total").await?;
    }
    Ok(all)
}
