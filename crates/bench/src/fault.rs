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
/// Messages a second over all channels: far below any knee, so that nothing is lost for lack of
/// room.
const RATE: f64 = 200.0;

/// What one client has received.
#[derive(Debug, Default)]
/// Only numbers are kept: what is lost follows from comparing them with what the hubs acknowledged.
struct Watched {
    /// The only channel of this client, by its number in the layout.
    channel: u32,
    /// The numbers that came, each once: a client that recovers may get some of them twice.
    numbers: HashSet<u64>,
    /// Whether it was told of a gap.
    told: bool,
    /// When the first message came that was due after the fault, in microseconds of the clock.
    back: Option<u64>,
}

/// Kills one hub with SIGKILL; publishers use the others. An error if the hubs were not started here.
///
/// # Errors
///
/// Also those of [`watch()`], such as a client that can't connect.
pub(super) fn hub(run: &str, site: &mut Site, scenario: &Scenario) -> io::Result<Fault> {
    // Publishers leave the first hub out, as it is the one that dies: what is refused then comes
    // from the fault's effect on the others and not from publishing to a dead process.
    let target = Target {
        hubs: site.target.hubs[1..].to_vec(),
    };
    // The clients know all hubs, the dying one too: some are connected to it, and must find
    // another.
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
/// `command` is given to `sh -c` and must return when the broker runs again, or has begun to.
pub(super) fn broker(
    run: &str,
    site: &Site,
    scenario: &Scenario,
    command: &str,
) -> io::Result<Fault> {
    let urls = urls(&site.target);
    // Publishers use all hubs here: none of them dies, but each may lose its connection to the
    // broker.
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

/// The addresses as `hubplane-client` takes them.
fn urls(target: &Target) -> Vec<String> {
    let url = |hub: &super::target::HubAddress| format!("http://{}", hub.authority);
    target.hubs.iter().map(url).collect()
}

/// Connects clients, publishes, breaks something in the middle, and returns what came of it.
///
/// `fault` runs on this thread and blocks it; publishing goes on meanwhile on another.
fn watch(
    run: &str,
    scenario: &Scenario,
    (urls, target): (&[String], &Target),
    fault: impl FnOnce() -> io::Result<()> + Send,
) -> io::Result<Fault> {
    let channels = scenario.channels.min(CHANNELS);
    // Two clients a channel and no churn: the scenario gives only payload and channels. HTTP, since
    // the clients of this measurement are not sockets of the load that could publish.
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
    // When the fault was, in microseconds of the clock; 0 before.
    let (broken, when) = watch::channel(0);
    let (end, over) = watch::channel(false);
    let mut watching = JoinSet::new();
    runtime.block_on(async {
        for n in 0..scenario.connections {
            // Each client begins with another hub, so that the hub that dies has its share of them.
            let mut urls = urls.to_vec();
            let turn = n as usize % urls.len().max(1);
            urls.rotate_left(turn);
            let (client, events) = Client::connect(Options::new(urls))
                .await
                .map_err(io::Error::other)?;
            let name = layout.name(n % channels);
            // Subscribed before anything is published: otherwise a message could be missing
            // without a fault.
            client
                .subscribe(&name, None)
                .await
                .map_err(io::Error::other)?;
            let (over, when) = (over.clone(), when.clone());
            watching.spawn(one(client, events, n % channels, (clock, over, when)));
        }
        // The confirmation of a subscription may come before the hub's interest has reached the
        // broker.
        sleep(Duration::from_millis(500)).await;
        io::Result::Ok(())
    })?;
    let mut feed = Feed::connect(&layout, target, &stage)?;
    let begin = clock.now();
    // Counting begins at once: there is no warm-up, since no latency is measured here.
    stage.set(begin, begin + (CALM + AFTER).as_micros() as u64);
    let broke = thread::scope(|scope| {
        let feeding = scope.spawn(|| feed.run(scenario.rate));
        // The middle of the publishing, so that messages are due before, during and after the
        // fault.
        clock.sleep_until(begin + CALM.as_micros() as u64);
        // The time is set before the fault and not after it: a restart takes seconds, which count.
        broken.send_replace(clock.now());
        let broke = fault();
        match feeding.join() {
            // The fault's own error comes first: it explains what the publishers then met.
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
            // The server's own end of the stream; what it missed by then counts as lost.
            None => break,
            // Told once is enough: `judge` asks only whether the client knew that something is
            // missing.
            Some(Event::Gap { .. }) => watched.told = true,
            Some(Event::Message(message)) => {
                // Data that is not of this load has no mark, and is passed over.
                let data = message.data.get().as_bytes();
                let Some(mark) = data.get(1..).and_then(Mark::parse) else {
                    continue;
                };
                watched.numbers.insert(mark.number);
                let at = *when.borrow();
                // The first message that was due after the fault, not the first that came after it:
                // the latter may have been on its way when the fault began.
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
///
/// `accepted` holds channel and number of each acknowledged message, `broken` the time of the fault
/// in microseconds, `due` how many messages were due in all.
fn judge(watched: &[Watched], accepted: &[(u32, u64)], broken: u64, due: u64) -> Fault {
    // Only what was acknowledged can be lost: a refused message is the publisher's to repeat.
    let (mut lost, mut announced) = (0, 0);
    for client in watched {
        let of_channel = accepted
            .iter()
            .filter(|(channel, _)| *channel == client.channel);
        let missing = of_channel.filter(|(_, number)| !client.numbers.contains(number));
        let missing = missing.count() as u64;
        lost += missing;
        // A loss that the client was told of (a gap) is one that it can repair by loading the state
        // anew.
        announced += if client.told { missing } else { 0 };
    }
    // `None` as soon as one client has not come back: a mean over the others would hide it.
    let back: Option<Vec<u64>> = watched.iter().map(|client| client.back).collect();
    let last = back.and_then(|all| all.into_iter().max());
    Fault {
        run: 0,
        what: String::new(),
        // Microseconds to milliseconds.
        recovered: last.map(|at| at.saturating_sub(broken) / 1_000),
        lost,
        announced,
        // Due but not acknowledged: no publisher here tries a second time.
        refused: due.saturating_sub(accepted.len() as u64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_accepted_and_did_not_come_is_lost_and_told_or_not() {
        // Two clients have channel 0, one has channel 1; four messages were accepted, five were
        // due.
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
        // Lost: number 2 for the second client (who was told), both for the third (who was not).
        assert_eq!((fault.lost, fault.announced, fault.refused), (3, 1, 1));
        // The slowest client decides: 9,000 µs less 2,000 µs are 7 ms.
        assert_eq!(fault.recovered, Some(7));
        // One client that never came back is enough for "not recovered".
        let never = [client(0, &[1, 2], false, None)];
        assert_eq!(judge(&never, &accepted, 2_000, 4).recovered, None);
    }
}
