//! D16: a consumer that stays deaf after its broker's restart. One idle channel, and a message after each restart.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::Http,
    workload::{Settings, new_space, start_hubs, wire::Wire},
};

/// After the broker answers again.
const HEARD: Duration = Duration::from_secs(5);

pub(crate) const DRILL: Drill = Drill {
    name: "D16",
    what: "the broker is killed while nothing is said; is every hub still listening?",
    short: false,
    fits: |kind| kind == Kind::Kafka,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(deaf(bench))
}

/// librdkafka may be silent after its broker's return; whether a hub hears is tried round by round.
async fn deaf(bench: &Bench) -> Result<Cell> {
    if !bench.backend.can_break() {
        return Ok(Cell::left_out("no script controls this broker"));
    }
    let mut cell = Cell::default();
    let rounds = if bench.short { 5 } else { 50 };
    let space = new_space()?;
    let hubs = start_hubs(bench, &Settings::of(bench), &space).await?;
    let (mut late, mut slowest) = (0, Duration::ZERO);
    for round in 1..=rounds {
        // Nothing is published meanwhile, so nobody has a reason to look.
        bench.backend.control("kill").await?;
        bench.backend.control("start").await?;
        let back = Instant::now();
        // Gaps are no matter here, so each round has clients of its own.
        let mut readers = Vec::new();
        for hub in &hubs {
            let mut reader = Wire::connect(hub.address()).await?;
            reader.subscribe("idle", None).await?;
            readers.push(reader);
        }
        publish(hubs[0].address(), round).await?;
        for reader in &mut readers {
            let came = hear(reader, round).await?;
            // Late counts like deaf: 5 s is the promise.
            late += u64::from(!came || back.elapsed() > HEARD);
        }
        slowest = slowest.max(back.elapsed());
    }
    cell.figure("rounds", rounds);
    cell.figure("late_or_deaf", late);
    cell.figure("slowest_ms", slowest.as_millis() as u64);
    cell.gate(
        late == 0,
        format!("{late} times a hub did not hear within 5 s of the broker's return"),
    );
    for hub in &hubs {
        let ready = hub.until_ready(true, HEARD).await.is_ok();
        cell.gate(ready, format!("{} is not ready at the end", hub.node()));
    }
    Ok(cell)
}

/// Publishes until it is accepted, at most for 5 s. The same id each time, so it comes once.
async fn publish(hub: std::net::SocketAddr, round: u64) -> Result<()> {
    let mut http = Http::new(hub);
    let body = format!("{{\"channel\":\"idle\",\"data\":{round},\"id\":\"round-{round}\"}}");
    for _ in 0..100 {
        if matches!(http.post("/v1/publish", &body).await, Ok((200, _))) {
            return Ok(());
        }
        sleep(Duration::from_millis(50)).await;
    }
    Err("nothing is accepted any more".into())
}

/// Waits for this round's message, whatever else comes.
async fn hear(reader: &mut Wire, round: u64) -> Result<bool> {
    let deadline = Instant::now() + Duration::from_secs(15);
    while let Some(value) = reader.next(deadline - Instant::now()).await? {
        if value["type"] == "message" && value["data"].as_u64() == Some(round) {
            return Ok(true);
        }
    }
    Ok(false)
}
