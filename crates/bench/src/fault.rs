//! What is broken on purpose: a hub is killed, or the broker is restarted, while clients listen that reconnect as any would.
//!
//! The clients are those of `hubplane-client` and not the load's sockets: what a user loses depends on what a client does to
//! get back what it missed.

use std::{collections::HashSet, io, process::Command, sync::Arc, thread, time::Duration};

use tokio::{runtime::Builder, sync::watch, task::JoinSet, time::sleep};

use super::{
    load::{Clock, Feed, Layout, Mark, Stage},
    results::Fault,
    scenario::{Publish, Scenario},
    site::Site,
    target::Target,
};
use hubplane_client::{Client, Event, Options};

/// How long to publish before the fault.
const CALM: Duration = Duration::from_secs(2);
/// How long to publish after the fault. A client that has no message by then counts as not recovered.
const AFTER: Duration = Duration::from_secs(15);
/// How long to wait for the last messages.
const SETTLE: Duration = Duration::from_secs(2);
/// The most channels, with two clients each, and the most messages per second: recovery is measured, not throughput.
const CHANNELS: u32 = 50;
const RATE: f64 = 200.0;

/// What one client has received.
#[derive(Debug, Default)]
struct Watched {
    channel: u32,
    numbers: HashSet<u64>,
    /// Whether it was told of a gap.
    told: bool,
    /// When the first message came that was due after the fault, in microseconds of the clock.
    back: Option<u64>,
}

/// Kills one hub with SIGKILL; publishers use the others. An error if the hubs were not started here.
pub(super) fn hub(run: &str, site: &mut Site, scenario: &Scenario) -> io::Result<Fault> {
    let target = Target {
        hubs: site.target.hubs[1..].to_vec(),
    };
    let urls = urls(&site.target);
    let hubs = site.hubs.as_mut();
    let hubs =
        hubs.ok_or_else(|| io::Error::other("only hubs that were started here are killed"))?;
    watch(run, scenario, (&urls, &target), || hubs.kill_first()).map(|fault| Fault {
        what: "hub".to_owned(),
        ..fault
    })
}

/// Runs the command that kills and restarts the broker. An error if the command fails.
pub(super) fn broker(
    run: &str,
    site: &Site,
    scenario: &Scenario,
    command: &str,
) -> io::Result<Fault> {
    let urls = urls(&site.target);
    let restart = || {
        let status = Command::new("sh").arg("-c").arg(command).status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!("`{command}` failed: {status}"))),
        }
    };
    watch(run, scenario, (&urls, &site.target), restart).map(|fault| Fault {
        what: "broker".to_owned(),
        ..fault
    })
}

fn urls(target: &Target) -> Vec<String> {
    let url = |hub: &super::target::HubAddress| format!("http://{}", hub.authority);
    target.hubs.iter().map(url).collect()
}

/// Connects clients, publishes, breaks something in the middle, and returns what came of it.
fn watch(
    run: &str,
    scenario: &Scenario,
    (urls, target): (&[String], &Target),
    fault: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<Fault> {
    let channels = scenario.channels.min(CHANNELS);
    let scenario = Scenario {
        channels,
        connections: 2 * channels,
        channels_per_connection: 1,
        publish: Publish::Http,
        churn: 0,
        rate: scenario.rate.min(RATE),
        ..scenario.clone()
    };
    let layout = Arc::new(Layout::new(&scenario, &format!("{run}.f"), 1));
    let clock = Clock::start();
    let stage = Arc::new(Stage::with_names(clock));
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    // When the fault was; 0 before.
    let (broken, when) = watch::channel(0);
    let (end, over) = watch::channel(false);
    let mut watching = JoinSet::new();
    runtime.block_on(async {
        for n in 0..scenario.connections {
            let mut urls = urls.to_vec();
            let turn = n as usize % urls.len().max(1);
            urls.rotate_left(turn);
            let (client, events) = Client::connect(Options::new(urls))
                .await
                .map_err(io::Error::other)?;
            let name = layout.name(n % channels);
            client
                .subscribe(&name, None)
                .await
                .map_err(io::Error::other)?;
            let (over, when) = (over.clone(), when.clone());
            watching.spawn(one(client, events, n % channels, (clock, over, when)));
        }
        sleep(Duration::from_millis(500)).await;
        io::Result::Ok(())
    })?;
    let mut feed = Feed::connect(&layout, target, &stage)?;
    let begin = clock.now();
    stage.set(begin, begin + (CALM + AFTER).as_micros() as u64);
    let broke = thread::scope(|scope| {
        let feeding = scope.spawn(|| feed.run(scenario.rate));
        clock.sleep_until(begin + CALM.as_micros() as u64);
        broken.send_replace(clock.now());
        let broke = fault();
        match feeding.join() {
            Ok(fed) => broke.and(fed),
            Err(_panic) => Err(io::Error::other("the schedule's thread panicked")),
        }
    });
    let due = broke?;
    let watched = runtime.block_on(async {
        sleep(SETTLE).await;
        end.send_replace(true);
        watching.join_all().await
    });
    let tally = stage.look();
    Ok(judge(&watched, &tally.accepted, *broken.borrow(), due))
}

/// Listens with one client until the measurement is over, and returns what it has received.
async fn one(
    client: Client,
    mut events: hubplane_client::Events,
    channel: u32,
    (clock, mut over, when): (Clock, watch::Receiver<bool>, watch::Receiver<u64>),
) -> Watched {
    let mut watched = Watched {
        channel,
        ..Watched::default()
    };
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            _ = over.changed() => break,
        };
        match event {
            None => break,
            Some(Event::Gap { .. }) => watched.told = true,
            Some(Event::Message(message)) => {
                let data = message.data.get().as_bytes();
                let Some(mark) = data.get(1..).and_then(Mark::parse) else {
                    continue;
                };
                watched.numbers.insert(mark.number);
                let at = *when.borrow();
                if at > 0 && mark.due >= at && watched.back.is_none() {
                    watched.back = Some(clock.now());
                }
            }
            Some(_) => {}
        }
    }
    client.close().await;
    watched
}

/// Compares what the hubs acknowledged with what each client has received.
fn judge(watched: &[Watched], accepted: &[(u32, u64)], broken: u64, due: u64) -> Fault {
    let (mut lost, mut announced) = (0, 0);
    for client in watched {
        let of_channel = accepted
            .iter()
            .filter(|(channel, _)| *channel == client.channel);
        let missing = of_channel.filter(|(_, number)| !client.numbers.contains(number));
        let missing = missing.count() as u64;
        lost += missing;
        announced += if client.told { missing } else { 0 };
    }
    let back: Option<Vec<u64>> = watched.iter().map(|client| client.back).collect();
    let last = back.and_then(|all| all.into_iter().max());
    Fault {
        run: 0,
        what: String::new(),
        recovered: last.map(|at| at.saturating_sub(broken) / 1_000),
        lost,
        announced,
        refused: due.saturating_sub(accepted.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_and_did_not_come_is_lost_and_told_or_not() {
        let client = |channel, numbers: &[u64], told, back| Watched {
            channel,
            numbers: numbers.iter().copied().collect(),
            told,
            back,
        };
        let accepted = [(0, 1), (0, 2), (1, 1), (1, 2)];
        let watched = [
            client(0, &[1, 2], false, Some(5_000)),
            client(0, &[1], true, Some(9_000)),
            client(1, &[], false, Some(7_000)),
        ];
        let fault = judge(&watched, &accepted, 2_000, 5);
        assert_eq!((fault.lost, fault.announced, fault.refused), (3, 1, 1));
        assert_eq!(fault.recovered, Some(7));
        let never = [client(0, &[1, 2], false, None)];
        assert_eq!(judge(&never, &accepted, 2_000, 4).recovered, None);
    }
}
