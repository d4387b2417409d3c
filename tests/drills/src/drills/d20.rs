//! D20: partitions are added to the topic under load, while an outside producer goes on with its old metadata.

use std::time::{Duration, Instant};

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

/// A hub is ready again within this.
const READY: Duration = Duration::from_secs(10);

pub(crate) const DRILL: Drill = Drill {
    name: "D20",
    what: "a topic of 8 partitions gets 12, while a producer has old metadata",
    short: true,
    // Other backends' lanes are as many as they were made.
    fits: |kind| kind == Kind::Kafka,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(grow(bench))
}

/// New partitions move channels to other lanes; hubs must notice and announce it, without a
/// restart.
async fn grow(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    sleep(Duration::from_secs(4)).await;
    workload.fault("partitions", Phase::Begin)?;
    let topic = workload.space.clone();
    let alter = ["--alter", "--topic", &topic, "--partitions", "12"];
    let tool = ["run", "org.apache.kafka.tools.TopicCommand"];
    let server = ["--bootstrap-server", bench.backend.authority()];
    bench
        .backend
        .script(&[&tool[..], &server, &alter].concat())
        .await?;
    workload.fault("partitions", Phase::End)?;
    let grown = Instant::now();
    // Time to notice; being ready meanwhile proves nothing.
    sleep(Duration::from_secs(2)).await;
    for hub in &workload.hubs {
        let ready = hub.until_ready(true, READY).await;
        cell.gate(ready.is_ok(), format!("{}: {ready:?}", hub.node()));
    }
    cell.figure("ready_ms", grown.elapsed().as_millis() as u64);
    sleep(Duration::from_secs(if bench.short { 10 } else { 40 })).await;
    // Each hub must have seen it, and told its clients.
    for hub in &workload.hubs {
        let told = hub.metric("hubplane_gaps_total").await?;
        cell.gate(
            told > 0.0,
            format!("{}: the growth was not seen", hub.node()),
        );
        let ready = hub.ready().await?;
        cell.gate(ready.is_ok(), format!("{}: {ready:?}", hub.node()));
    }
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: false,
            native_may_be_lost: false,
            faults: 1,
        },
    );
    Ok(cell)
}
