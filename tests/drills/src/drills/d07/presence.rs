//! Members of one channel, through every hub. Of those of a killed hub half come back through another one within their
//! grace, the others never; what the hubs that live on tell of them is compared with that.

use std::{collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use futures_util::future::{try_join, try_join_all};
use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until},
};

use super::history::{Fate, History};
use crate::{
    Result,
    cell::Cell,
    http,
    workload::{random::Random, wire::Wire},
};

const CHANNEL: &str = "attended";
/// New members of each hub before it is killed.
const NEW: usize = 20;
/// Ticks of a tenth of a second on two hubs, the broker's time, and a machine that others use, too.
const SLACK: Duration = Duration::from_secs(1);
/// How long all hubs may take to know the same.
const AGREED: Duration = Duration::from_secs(10);

/// `presence_grace`, `presence_beat` and `presence_dead` of the hubs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) grace: Duration,
    pub(super) beat: Duration,
    pub(super) dead: Duration,
}

impl Times {
    /// The hubs' own.
    pub(super) const USUAL: Self = Self {
        grace: Duration::from_secs(10),
        beat: Duration::from_secs(5),
        dead: Duration::from_secs(15),
    };
    /// For a round that has no time.
    pub(super) const SHORT: Self = Self {
        grace: Duration::from_secs(2),
        beat: Duration::from_millis(500),
        dead: Duration::from_secs(4),
    };

    /// The configuration file that says so.
    pub(super) fn file(self) -> String {
        let Self { grace, beat, dead } = self;
        format!(
            "[limits]\npresence_grace = \"{}ms\"\npresence_beat = \"{}ms\"\npresence_dead = \"{}ms\"\n",
            grace.as_millis(),
            beat.as_millis(),
            dead.as_millis()
        )
    }

    /// From a hub's death to its members' leaves. Both times count from when the hub was last heard, at most a beat before
    /// its death, so one is over with the other; and nobody leaves within the grace.
    fn leave(self) -> RangeInclusive<Duration> {
        self.grace.saturating_sub(SLACK)..=self.dead.max(self.grace) + SLACK
    }
}

/// A subscription at a hub, from before the kill, that hears who comes and goes.
#[derive(Debug)]
pub(super) struct Watcher {
    hub: usize,
    wire: Wire,
    heard: BTreeMap<String, History>,
}

impl Watcher {
    /// Notes joins and leaves until a time, and passes over everything else.
    async fn listen(&mut self, until: Instant) -> Result<()> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Some(push) = self.wire.next(left).await? else {
                return Ok(());
            };
            let joined = match push["type"].as_str() {
                Some("join") => true,
                Some("leave") => false,
                _ => continue,
            };
            let client = push["client"].as_str().ok_or("nobody")?.to_owned();
            let history = self.heard.entry(client).or_default();
            history.push((joined, Instant::now()));
        }
    }
}

/// The channel.
#[derive(Debug)]
pub(super) struct Room {
    times: Times,
    hubs: Vec<SocketAddr>,
    random: Random,
    /// Who is there, and through which hub.
    /// By client; the hub is the number in `hubs`.
    there: BTreeMap<String, usize>,
    /// Those of the next kill that come to stay away.
    away: Vec<String>,
    /// One for each member, which ends with its hub.
    sessions: JoinSet<()>,
    /// How many histories were judged.
    compared: u64,
    /// The longest time from a death to a leave.
    slowest: Duration,
    failures: Vec<String>,
}

impl Room {
    pub(super) fn new(hubs: Vec<SocketAddr>, times: Times, seed: u64) -> Self {
        Self {
            times,
            hubs,
            random: Random::new(seed, 70),
            there: BTreeMap::new(),
            away: Vec::new(),
            sessions: JoinSet::new(),
            compared: 0,
            slowest: Duration::ZERO,
            failures: Vec::new(),
        }
    }

    /// Before a hub's death: new members come through it, and all hubs know them.
    pub(super) async fn gather(&mut self, hub: usize) -> Result<Vec<Watcher>> {
        // All hubs know the same before anything new begins.
        self.agree().await?;
        let mut watchers = Vec::new();
        // The watchers are at the hubs that live on.
        for other in (0..self.hubs.len()).filter(|other| *other != hub) {
            let wire = subscribe(self.hubs[other], &json!({ "watch": true })).await?;
            let heard = BTreeMap::new();
            watchers.push(Watcher {
                hub: other,
                wire,
                heard,
            });
        }
        self.away.clear();
        for number in 0..NEW {
            let client = format!("h{hub}-{number}");
            self.attend(client.clone(), hub).await?;
            // Every second one stays away.
            if number % 2 == 1 {
                self.away.push(client);
            }
        }
        self.agree().await?;
        Ok(watchers)
    }

    /// After it: some come back, and the watchers hear until all that is to be told has been.
    pub(super) async fn part(
        &mut self,
        hub: usize,
        killed: Instant,
        mut watchers: Vec<Watcher>,
    ) -> Result<()> {
        // Half the slack more, so that what is late is still heard.
        let end = killed + *self.times.leave().end() + SLACK / 2;
        let listening = try_join_all(watchers.iter_mut().map(|watcher| watcher.listen(end)));
        try_join(self.come_back(hub, killed), listening).await?;
        let mut expected: BTreeMap<String, Fate> = BTreeMap::new();
        for client in self.there.keys() {
            let new = client.starts_with(&format!("h{hub}-"));
            let fate = if new { Fate::Stayed } else { Fate::Was };
            expected.insert(client.clone(), fate);
        }
        expected.extend(self.away.iter().map(|it| (it.clone(), Fate::Left)));
        for watcher in &watchers {
            self.compare(watcher, &expected, killed);
        }
        Ok(())
    }

    /// Everybody on the dead hub but those who stay away, one after another in a good half of the grace.
    async fn come_back(&mut self, hub: usize, killed: Instant) -> Result<()> {
        self.there.retain(|client, _| !self.away.contains(client));
        let all = self.there.iter().filter(|(_, at)| **at == hub);
        let back: Vec<String> = all.map(|(client, _)| client.clone()).collect();
        let grace = u64::try_from(self.times.grace.as_millis())?;
        let mut times: Vec<_> = back
            .iter()
            .map(|_| killed + self.random.between(0, grace * 6 / 10))
            .collect();
        times.sort_unstable();
        for (number, (client, at)) in back.into_iter().zip(times).enumerate() {
            sleep_until(at).await;
            // In turn at the hubs that live.
            let other = (hub + 1 + number % (self.hubs.len() - 1)) % self.hubs.len();
            self.attend(client, other).await?;
        }
        Ok(())
    }

    /// Makes somebody a member through a hub, or moves him there.
    async fn attend(&mut self, client: String, hub: usize) -> Result<()> {
        let mut wire = subscribe(self.hubs[hub], &json!({ "client": client })).await?;
        self.there.insert(client, hub);
        // Pings are answered until the hub dies.
        self.sessions
            .spawn(async move { while wire.next(AGREED).await.is_ok() {} });
        Ok(())
    }

    /// Judges what one watcher heard, and keeps the first two mistakes in words.
    fn compare(&mut self, watcher: &Watcher, expected: &BTreeMap<String, Fate>, killed: Instant) {
        let nothing = History::new();
        // Nobody was expected to be told of these.
        let strangers = watcher
            .heard
            .keys()
            .filter(|it| !expected.contains_key(*it));
        let mut wrong: Vec<String> = strangers.map(|it| format!("{it}: unknown")).collect();
        for (client, fate) in expected {
            let history = watcher.heard.get(client).unwrap_or(&nothing);
            self.compared += 1;
            match fate.judge(history, killed, &self.times.leave()) {
                Ok(after) => self.slowest = self.slowest.max(after.unwrap_or_default()),
                Err(why) => wrong.push(format!("{client} {why}")),
            }
        }
        if !wrong.is_empty() {
            let (count, some) = (wrong.len(), &wrong[..wrong.len().min(2)]);
            let told = format!(
                "presence: hub-{} told wrongly of {count}: {some:?}",
                watcher.hub
            );
            self.failures.push(told);
        }
    }

    /// Every hub answers with exactly those who are there; a failure if not in time.
    pub(super) async fn agree(&mut self) -> Result<()> {
        let wanted: Vec<&str> = self.there.keys().map(String::as_str).collect();
        let end = Instant::now() + AGREED;
        for (number, hub) in self.hubs.iter().enumerate() {
            loop {
                let (count, members) = list(*hub).await?;
                if count == wanted.len() && members == wanted {
                    break;
                }
                if Instant::now() > end {
                    let of = wanted.len();
                    let told =
                        format!("presence: hub-{number} counts {count}, not {of}: {members:?}");
                    self.failures.push(told);
                    break;
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        // What is in an answer may be told to subscribers a tick later.
        sleep(Duration::from_millis(300)).await;
        Ok(())
    }

    /// Puts figures and failures into the cell.
    pub(super) fn report(self, cell: &mut Cell) {
        cell.figure("presence_members", self.there.len());
        cell.figure("presence_compared", self.compared);
        cell.figure("presence_left_ms", self.slowest.as_millis() as u64);
        for failure in self.failures {
            cell.gate(false, failure);
        }
    }
}

/// Subscribes to the channel with these options of presence.
async fn subscribe(hub: SocketAddr, presence: &Value) -> Result<Wire> {
    let mut wire = Wire::connect(hub).await?;
    let command =
        json!({ "type": "subscribe", "ref": 1, "channel": CHANNEL, "presence": presence });
    wire.ask(&command, "subscribed").await?;
    Ok(wire)
}

/// The count, and who they are, in order.
async fn list(hub: SocketAddr) -> Result<(usize, Vec<String>)> {
    let path = format!("/v1/channels/{CHANNEL}/presence?limit=1000");
    let (status, body) = http::get(hub, &path).await?;
    if status != 200 {
        return Err(format!("{path}: {status} {body}").into());
    }
    let answer: Value = serde_json::from_str(&body)?;
    let members = answer["members"].as_array().ok_or("no members")?.iter();
    let names = members.filter_map(|member| member["client"].as_str());
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort_unstable();
    let count = answer["count"].as_u64().ok_or("no count")?;
    Ok((usize::try_from(count)?, names))
}
