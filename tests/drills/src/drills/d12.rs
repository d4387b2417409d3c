//! D12: the connection to the broker breaks between a message and its acknowledgement; the publisher tries again.

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use crate::{
    Result,
    backend::Kind,
    cell::Cell,
    drill::{Bench, Drill, Running},
    http::Http,
    workload::{
        Settings, new_space, start_hubs,
        valve::{Settings as Set, Valve},
        wire::Wire,
    },
};

pub(crate) const DRILL: Drill = Drill {
    name: "D12",
    what: "the way to the broker is cut between a message and its acknowledgement",
    short: false,
    fits: Kind::has_broker,
    run,
};

fn run(bench: &Bench) -> Running<'_> {
    Box::pin(ambiguity(bench))
}

/// An acknowledgement that is lost leaves the publisher in doubt; it tries again with the same id,
/// and nobody may get it twice.
async fn ambiguity(bench: &Bench) -> Result<Cell> {
    let mut cell = Cell::default();
    let mut settings = Settings::of(bench);
    settings.hubs = 2;
    let space = new_space()?;
    let (valve, address) = bench.backend.valve(&space, bench.seed).await?;
    // Only the publisher's hub is behind the valve.
    settings.addresses = vec![address];
    let hubs = start_hubs(bench, &settings, &space).await?;
    let mut reader = Wire::connect(hubs[1].address()).await?;
    reader.subscribe("a", None).await?;
    // It reads all the while: a client that doesn't is let go.
    let (over, is_over) = watch::channel(false);
    let reading = tokio::spawn(count(reader, is_over));
    let rounds: u64 = if bench.short { 30 } else { 1000 };
    let mut http = Http::new(hubs[0].address());
    let (mut held, mut again) = (0, 0);
    for seq in 1..=rounds {
        let (was_held, tries) = once(&valve, &mut http, seq).await?;
        held += u64::from(was_held);
        again += tries - 1;
    }
    sleep(Duration::from_secs(2)).await;
    over.send_replace(true);
    let came = reading.await??;
    let twice = came.values().filter(|count| **count > 1).count();
    let missing = (1..=rounds).filter(|seq| !came.contains_key(seq)).count();
    cell.figure("rounds", rounds);
    cell.figure("acknowledgements_held", held);
    cell.figure("tried_again_by_the_client", again);
    // The proof that it was tried: more than half were held up at the valve.
    cell.gate(
        held > rounds / 2,
        format!("only {held} of {rounds} acknowledgements were held"),
    );
    cell.gate(twice == 0, format!("{twice} came twice"));
    cell.gate(
        missing == 0,
        format!("{missing} were accepted and did not come"),
    );
    Ok(cell)
}

/// How often each number comes, until it is over and quiet.
async fn count(mut reader: Wire, over: watch::Receiver<bool>) -> Result<HashMap<u64, u64>> {
    let mut came = HashMap::new();
    loop {
        match reader.next(Duration::from_secs(2)).await? {
            Some(message) if message["type"] == "message" => {
                let number = message["data"].as_u64().unwrap_or(0);
                *came.entry(number).or_default() += 1;
            }
            Some(_) => {}
            None if *over.borrow() => return Ok(came),
            None => {}
        }
    }
}

/// One message; its acknowledgement is held up and lost. Returns whether, and how often it was published.
async fn once(valve: &Valve, http: &mut Http, seq: u64) -> Result<(bool, u64)> {
    let body = format!("{{\"channel\":\"a\",\"data\":{seq},\"id\":\"d12-{seq}\"}}");
    let before = valve.settings.held.load(Ordering::SeqCst);
    // Shut inwards: the message gets out, and the acknowledgement does not come back.
    Set::set(&valve.settings.in_shut, true);
    let cutting = async {
        // Long enough for the message to reach the broker.
        sleep(Duration::from_millis(30)).await;
        valve.cut();
        Set::set(&valve.settings.in_shut, false);
    };
    let (mut answer, ()) = tokio::join!(http.post("/v1/publish", &body), cutting);
    let (mut tries, start) = (1, Instant::now());
    // As a client does that has no answer: again, until there is one.
    while !matches!(answer, Ok((200, _))) {
        if start.elapsed() > Duration::from_secs(20) {
            return Err(format!("{seq} is never accepted: {answer:?}").into());
        }
        sleep(Duration::from_millis(50)).await;
        answer = http.post("/v1/publish", &body).await;
        tries += 1;
    }
    Ok((valve.settings.held.load(Ordering::SeqCst) > before, tries))
}
