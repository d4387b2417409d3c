//! D15: what is wrong from the start: no broker yet, a wrong password, an address that means nothing.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    hub::{Hub, Plan},
    workload::new_space,
};

pub(crate) const DRILL: Drill = Drill {
    name: "D15",
    what: "the hub is started before its broker; with a wrong password; with an unknown scheme",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(starts(bench))
}

/// What the user got wrong ends the hub with exit code 2; a broker that is away is no mistake of
/// his.
async fn starts(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let space = new_space()?;
    let address = bench.backend.address(&space);
    let unknown = outcome(bench, "zmq://127.0.0.1:1").await?;
    cell.figure("unknown_scheme", unknown.clone());
    cell.gate(unknown == "exit 2", format!("an unknown scheme: {unknown}"));
    // A key that no backend knows.
    let misspelt = format!("{address}&nonsense=1");
    let misspelt = outcome(bench, &misspelt).await?;
    cell.gate(misspelt == "exit 2", format!("an unknown key: {misspelt}"));
    if let Some(wrong) = wrong_password(bench.backend.kind(), &address, bench.backend.authority()) {
        let refused = outcome(bench, &wrong).await?;
        cell.figure("wrong_password", refused.clone());
        // It may end or wait, but it must not serve.
        cell.gate(refused != "ready", "a wrong password was accepted");
    } else {
        cell.note("no wrong password here: that listener asks for none");
    }
    if !bench.backend.can_break() {
        cell.note("the hub was not started first: no script controls this broker");
        return Ok(cell);
    }
    first(bench, &address, &mut cell).await?;
    Ok(cell)
}

/// The address with a password that the broker refuses; `None` where the broker asks for none.
fn wrong_password(kind: Kind, address: &str, authority: &str) -> Option<String> {
    let with = |user: &str| {
        let (scheme, rest) = address.split_once("://")?;
        let rest = &rest[rest.find(authority)?..];
        Some(format!("{scheme}://{user}@{rest}"))
    };
    match kind {
        Kind::Redis | Kind::RedisStreams => with("app:wrong"),
        Kind::Rabbitmq | Kind::AmqpStreams => with("guest:wrong"),
        Kind::Memory | Kind::Kafka => None,
    }
}

/// A hub at this address, without anything else.
fn plan(bench: &Bench, address: &str) -> Plan {
    Plan {
        program: bench.hubplane.clone(),
        wrapper: Vec::new(),
        address: address.to_owned(),
        node: "hub-0".to_owned(),
        options: Vec::new(),
        environment: bench.environment.clone(),
        log: bench.directory.join("hub-0.log"),
    }
}

/// How a start ends: `exit N`, `ready`, or `not ready`.
async fn outcome(bench: &Bench, address: &str) -> Result<String> {
    match Hub::start(plan(bench, address)).await {
        Ok(hub) => match hub.until_ready(true, Duration::from_secs(8)).await {
            Ok(_) => Ok("ready".to_owned()),
            Err(_) => Ok("not ready".to_owned()),
        },
        // The exit code stands in the error of `Hub::start`.
        Err(error) => {
            let text = error.to_string();
            let code = text
                .split("exit status: ")
                .nth(1)
                .and_then(|rest| rest.split(')').next());
            Ok(format!("exit {}", code.ok_or(text.clone())?))
        }
    }
}

/// The hub waits for its broker, or says that it can't be reached and ends: never does it go on without.
async fn first(bench: &Bench, address: &str, cell: &mut Cell) -> Result<()> {
    bench.backend.control("kill").await?;
    let plan = plan(bench, address);
    let waiting = tokio::spawn(async move {
        // Either outcome is right, so both are judged.
        let start = Instant::now();
        (Hub::start(plan).await, start.elapsed())
    });
    sleep(Duration::from_secs(if bench.short { 6 } else { 30 })).await;
    bench.backend.control("start").await?;
    let back = Instant::now();
    let (outcome, after) = waiting.await?;
    match outcome {
        Ok(hub) => {
            let ready = hub.until_ready(true, Duration::from_secs(15)).await;
            cell.gate(
                ready.is_ok(),
                "started before its broker, it is not ready 15 s after it",
            );
            cell.figure("ready_after_broker_ms", back.elapsed().as_millis() as u64);
        }
        Err(error) => {
            cell.gate(
                error.to_string().contains("exit status: 1"),
                format!("started first: {error}"),
            );
            cell.figure("gave_up_after_s", after.as_secs_f64());
            cell.note("started before its broker, the hub ends with exit code 1 and is to be started again");
        }
    }
    Ok(())
}
