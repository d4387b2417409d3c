//! D17: the broker cuts every connection, so that what was not acknowledged is sent again.

use std::time::Duration;

use tokio::time::sleep;

use super::{Demands, judge};
use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    checker::Phase,
    drill::{Bench, Drill, Running},
    workload::{Settings, Workload, resp::Resp},
};

pub(crate) const DRILL: Drill = Drill {
    name: "D17",
    what: "the broker cuts every connection and delivers again what was not acknowledged",
    short: false,
    fits: |kind| kind.has_broker() && kind != Kind::Kafka,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(cuts(bench))
}

/// What was not acknowledged comes again with the same id, so clients must not get it twice.
async fn cuts(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut workload = Workload::start(bench, &Settings::of(bench)).await?;
    let cuts = if bench.short { 4 } else { 12 };
    for _ in 0..cuts {
        sleep(Duration::from_secs(3)).await;
        workload.fault("connections", Phase::Begin)?;
        cut(bench).await?;
        workload.fault("connections", Phase::End)?;
    }
    sleep(Duration::from_secs(4)).await;
    cell.figure("rate", workload.rate());
    let verdict = workload.finish().await?;
    judge(
        &mut cell,
        bench.backend.kind(),
        verdict,
        Demands {
            lossless: true,
            native_may_be_lost: false,
            faults: cuts,
        },
    );
    Ok(cell)
}

/// Closes every connection at the broker, hubs' and publishers' alike.
async fn cut(bench: &Bench) -> Result<()> {
    match bench.backend.kind() {
        Kind::Redis | Kind::RedisStreams => {
            let mut redis = Resp::connect(bench.backend.authority()).await?;
            let mut cut = 0;
            // Connections that publish and read are "normal", subscribed ones "pubsub" (Redis'
            // manual, CLIENT KILL).
            for kind in ["pubsub", "normal"] {
                let answer = redis
                    .ask(&["CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes"])
                    .await?;
                cut += answer.trim_start_matches(':').parse::<u64>()?;
            }
            // Without a connection that was cut, the drill would prove nothing.
            if cut == 0 {
                Err("Redis had no connection to cut".into())
            } else {
                Ok(())
            }
        }
        _ => {
            let directory = bench.backend.directory()?.to_string_lossy().into_owned();
            bench
                .backend
                .script(&["ctl", &directory, "-q", "close_all_connections", "drill"])
                .await
                .map(drop)
        }
    }
}
