//! D14: no file descriptors left. Disks and memory that run out need mounts and cgroups, which not every machine allows.

use std::time::Duration;

use tokio::{
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

use crate::{
    Result,
    bench::{Bench, Cell, Drill, Running},
    hub::{Hub, Plan},
    workload::{new_space, wire::Wire},
};

const FILES: usize = 200;

pub(crate) const DRILL: Drill = Drill {
    name: "D14",
    what: "a hub with 200 file descriptors, and 400 connections",
    short: false,
    fits: |_| true,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(files(bench))
}

async fn files(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let space = new_space()?;
    let hub = Hub::start(Plan {
        program: bench.hubplane.clone(),
        wrapper: vec!["prlimit".to_owned(), format!("--nofile={FILES}")],
        address: bench.backend.address(&space),
        node: "hub-0".to_owned(),
        options: Vec::new(),
        environment: bench.environment.clone(),
        log: bench.directory.join("hub-0.log"),
    })
    .await?;
    hub.until_ready(true, Duration::from_secs(30)).await?;
    let mut reader = Wire::connect(hub.address()).await?;
    let mut writer = Wire::connect(hub.address()).await?;
    reader.subscribe("a", None).await?;
    let mut crowd = Vec::new();
    for _ in 0..2 * FILES {
        if let Ok(Ok(stream)) =
            timeout(Duration::from_secs(1), TcpStream::connect(hub.address())).await
        {
            crowd.push(stream);
        }
    }
    sleep(Duration::from_millis(500)).await;
    let open = hub.files()?;
    cell.figure("files", open);
    cell.gate(
        open >= FILES - 2,
        format!("only {open} of {FILES} descriptors are taken"),
    );
    let (cpu, start) = (hub.cpu()?, Instant::now());
    let mut slowest = Duration::ZERO;
    for seq in 0..20 {
        let asked = Instant::now();
        writer.publish("a", seq).await?;
        let came = reader
            .message(Duration::from_secs(5))
            .await?
            .map(|message| message.seq);
        cell.gate(came == Some(seq), format!("{came:?} came instead of {seq}"));
        slowest = slowest.max(asked.elapsed());
        sleep(Duration::from_millis(100)).await;
    }
    let busy = (hub.cpu()? - cpu).as_secs_f64() / start.elapsed().as_secs_f64() * 100.0;
    cell.figure("cpu_percent", busy);
    cell.figure("slowest_ms", slowest.as_millis() as u64);
    cell.gate(
        busy < 10.0,
        format!("{busy:.0} % of a core with no descriptors left"),
    );
    drop(crowd);
    sleep(Duration::from_secs(1)).await;
    cell.gate(
        Wire::connect(hub.address()).await.is_ok(),
        "no new client gets in after the crowd has left",
    );
    cell.note("a full disk and a memory limit are not tried");
    Ok(cell)
}
