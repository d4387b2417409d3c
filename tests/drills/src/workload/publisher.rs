//! A publisher over HTTP: one request at a time, each message with an id, the same message again with the same id.

use std::{
    fmt::Write as _,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use serde_json::Value;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Journal, Payload, Shared, Stage, fnv, random::Random};
use crate::{
    Result,
    checker::What,
    http::{Failure, Http},
};

const TICK: Duration = Duration::from_millis(25);
/// How long a message is tried again.
const PATIENCE: Duration = Duration::from_secs(5);
const BATCH: usize = 100;

struct Waiting {
    seq: u64,
    channel: String,
    data: String,
    tries: u32,
    /// One of its tries may have reached the broker.
    maybe: bool,
}

enum Answer {
    Accepted,
    /// Try again; it may be there.
    Again {
        maybe: bool,
    },
    Never,
}

/// One publisher.
#[derive(Debug)]
pub(crate) struct Publisher {
    name: String,
    share: f64,
    hot: Option<(u32, usize)>,
    hub: usize,
    seq: u64,
    shared: Arc<Shared>,
    journal: Journal,
    random: Random,
}

impl Publisher {
    /// It begins at the hub of its number.
    pub(crate) fn new(
        number: usize,
        name: &str,
        share: f64,
        shared: Arc<Shared>,
        journal: Journal,
    ) -> Self {
        Self {
            name: name.to_owned(),
            share,
            hot: None,
            hub: number,
            seq: 0,
            random: Random::new(shared.seed, fnv(name.as_bytes())),
            shared,
            journal,
        }
    }

    /// So many messages of so many bytes a second on the channel `hot`.
    pub(crate) fn hot(mut self, rate: u32, bytes: usize) -> Self {
        self.hot = Some((rate, bytes));
        self
    }

    pub(crate) async fn run(mut self) -> Result<()> {
        let mut http = Http::new(self.shared.balancer.at(self.hub).1);
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut due = 0.0;
        while *self.shared.stage.borrow() == Stage::Running {
            tick.tick().await;
            let rate = match self.hot {
                Some((rate, _)) => f64::from(rate),
                None => f64::from(self.shared.rate.load(Ordering::Relaxed)) * self.share,
            };
            due += rate * TICK.as_secs_f64();
            let count = (due as usize).min(BATCH);
            due = (due - count as f64).min(BATCH as f64);
            if count > 0 {
                self.batch(&mut http, count).await?;
            }
        }
        self.journal.flush()
    }

    async fn batch(&mut self, http: &mut Http, count: usize) -> Result<()> {
        let mut waiting = self.messages(count)?;
        let start = Instant::now();
        while !waiting.is_empty() {
            let answers = self.attempt(http, &mut waiting).await;
            let failed = answers
                .iter()
                .any(|answer| matches!(answer, Answer::Again { .. }));
            let last = start.elapsed() > PATIENCE;
            let mut again = Vec::new();
            for (mut one, answer) in waiting.into_iter().zip(answers) {
                if let Answer::Again { maybe } = answer {
                    one.maybe |= maybe;
                    if !last {
                        again.push(one);
                        continue;
                    }
                }
                self.close(&one, &answer)?;
            }
            waiting = again;
            if failed {
                self.hub += 1;
                http.turn_to(self.shared.balancer.at(self.hub).1);
                sleep(self.random.between(20, 100)).await;
            }
        }
        Ok(())
    }

    fn messages(&mut self, count: usize) -> Result<Vec<Waiting>> {
        let t = self.journal.now();
        let mut waiting = Vec::with_capacity(count);
        for _ in 0..count {
            self.seq += 1;
            let (channel, bytes) = match self.hot {
                Some((_, bytes)) => ("hot".to_owned(), bytes),
                None => (self.shared.channel(self.random.next()), self.shared.bytes),
            };
            let data = Payload::write(&self.name, self.seq, bytes);
            let what = What::Publish {
                channel: channel.clone(),
                publisher: self.name.clone(),
                seq: self.seq,
                hash: fnv(data.as_bytes()),
                native: false,
            };
            self.journal.write_at(t, &what)?;
            waiting.push(Waiting {
                seq: self.seq,
                channel,
                data,
                tries: 0,
                maybe: false,
            });
        }
        Ok(waiting)
    }

    async fn attempt(&self, http: &mut Http, waiting: &mut [Waiting]) -> Vec<Answer> {
        let mut body = String::from("{\"messages\":[");
        for (at, one) in waiting.iter_mut().enumerate() {
            one.tries += 1;
            let comma = if at == 0 { "" } else { "," };
            let (channel, data, name, seq) = (&one.channel, &one.data, &self.name, one.seq);
            _ = write!(
                body,
                "{comma}{{\"channel\":\"{channel}\",\"data\":{data},\"id\":\"{name}-{seq}\"}}"
            );
        }
        body.push_str("]}");
        let all = |of: fn() -> Answer| waiting.iter().map(|_| of()).collect();
        match http.post("/v1/publish", &body).await {
            Err(Failure::Unsent) => all(|| Answer::Again { maybe: false }),
            Err(Failure::NoAnswer) => all(|| Answer::Again { maybe: true }),
            Ok((200, text)) => match serde_json::from_str::<Vec<Value>>(&text) {
                Ok(items) if items.len() == waiting.len() => items.iter().map(item).collect(),
                _ => all(|| Answer::Again { maybe: true }),
            },
            Ok((400..500, _)) => all(|| Answer::Never),
            Ok((_, text)) => {
                let maybe =
                    serde_json::from_str(&text).map_or(true, |problem: Value| maybe(&problem));
                waiting.iter().map(|_| Answer::Again { maybe }).collect()
            }
        }
    }

    fn close(&mut self, one: &Waiting, answer: &Answer) -> Result<()> {
        let (publisher, seq) = (self.name.clone(), one.seq);
        let what = match answer {
            Answer::Accepted => What::Ack {
                publisher,
                seq,
                tries: one.tries,
            },
            Answer::Again { .. } | Answer::Never if one.maybe => What::Unknown { publisher, seq },
            Answer::Again { .. } | Answer::Never => What::Refused { publisher, seq },
        };
        self.journal.write(&what)
    }
}

/// One message's answer in a list.
fn item(item: &Value) -> Answer {
    match item.get("error").and_then(Value::as_str) {
        None => Answer::Accepted,
        Some("rejected") => Answer::Never,
        Some(error) => Answer::Again {
            maybe: error == "unknown" || maybe(item),
        },
    }
}

/// Left open unless it is denied.
fn maybe(problem: &Value) -> bool {
    match problem.get("maybe_delivered") {
        Some(value) => value.as_bool().unwrap_or(true),
        None => problem.get("error").and_then(Value::as_str) != Some("unavailable"),
    }
}
