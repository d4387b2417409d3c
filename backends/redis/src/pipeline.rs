//! One pipeline of publications: the commands, the questions that go behind them, and what the answers mean.

use std::{
    collections::{BTreeMap, HashMap},
    mem,
    sync::Arc,
};

use hubplane_backplane::{Error, ErrorKind, Position, Receipt, Result};
use redis::{Cmd, Pipeline, RedisError, Value};

use crate::{backend::NAME, config::Config, failure, hello, streams::log};

/// One publication as it goes to Redis.
pub(crate) struct Item {
    pub(crate) command: Cmd,
    /// Bytes of data, the envelope included.
    pub(crate) size: usize,
    /// Where there is a log: its place there.
    pub(crate) stream: Option<Stream>,
}

/// The stream that a publication is added to.
pub(crate) struct Stream {
    pub(crate) lane: u32,
    /// The key of its epoch.
    pub(crate) token: Arc<str>,
}

/// Commands for Redis, and what is needed to read the answers.
pub(crate) struct Batch {
    pub(crate) commands: Pipeline,
    /// Of each publication: its stream.
    lanes: Vec<Option<u32>>,
    /// The streams whose epochs are asked for.
    asked: BTreeMap<u32, Arc<str>>,
    asks_role: bool,
}

/// What Redis's answers mean.
pub(crate) struct Answered {
    /// One for each publication, in order.
    pub(crate) results: Vec<Result<Receipt>>,
    /// Why this node takes no publications any more.
    pub(crate) lost: Option<String>,
    /// The first refusal, in Redis's own words.
    pub(crate) refusal: Option<String>,
}

pub(crate) fn unknown() -> Error {
    Error::new(
        ErrorKind::Unknown,
        NAME,
        "Redis was asked to publish and gave no answer",
    )
}

impl Batch {
    /// Takes the items' commands. Behind them goes a question for the streams' epochs: an epoch never comes back, so
    /// what is read there was true of all that was written before. And one for the server's role: `PUBLISH` is carried
    /// out by a replica, too, where it reaches nobody who is connected to the master. In a Cluster any node will do
    /// for `PUBLISH`, and a replica refuses `XADD`.
    pub(crate) fn new<'a>(items: impl Iterator<Item = &'a mut Item>, config: &Config) -> Self {
        let mut this = Self {
            commands: Pipeline::new(),
            lanes: Vec::new(),
            asked: BTreeMap::new(),
            asks_role: !config.is_cluster(),
        };
        for item in items {
            this.commands.add_command(mem::take(&mut item.command));
            let stream = item.stream.take();
            this.lanes.push(stream.as_ref().map(|stream| stream.lane));
            this.asked
                .extend(stream.map(|stream| (stream.lane, stream.token)));
        }
        if !this.asked.is_empty() {
            let mut epochs = Cmd::new();
            epochs.arg("MGET");
            for token in this.asked.values() {
                epochs.arg(&**token);
            }
            this.commands.add_command(epochs);
        }
        if this.asks_role {
            this.commands.add_command(hello::question());
        }
        this
    }

    /// Reads the answers, one for each command.
    pub(crate) fn read(self, mut answers: Vec<Value>) -> Answered {
        let role = self.asks_role.then(|| answers.pop()).flatten();
        let epochs = match self.asked.is_empty() {
            true => HashMap::new(),
            false => epochs(self.asked.into_keys(), answers.pop()),
        };
        let replica = role.as_ref().is_some_and(hello::is_replica);
        let lost = match replica {
            true => Some("this server has become a replica".to_owned()),
            false => answers.iter().find_map(elsewhere),
        };
        let refusal = answers.iter().find_map(words);
        let receipts = answers
            .into_iter()
            .zip(self.lanes)
            .map(|(answer, lane)| receipt(answer, lane, &epochs));
        let results = receipts.map(|result| match result {
            Ok(_) if replica => Err(demoted()),
            result => result,
        });
        Answered {
            results: results.collect(),
            lost,
            refusal,
        }
    }
}

/// It may have reached some, and surely not all.
fn demoted() -> Error {
    let message = "the server has become a replica; what it took may not have reached everybody";
    Error::new(ErrorKind::Unknown, NAME, message)
}

/// A refusal in Redis's own words.
fn words(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else {
        return None;
    };
    let details = error.details().unwrap_or_default();
    Some(format!("{} {details}", error.code()))
}

/// What a node answers that others have taken the place of.
fn elsewhere(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else {
        return None;
    };
    let gone = matches!(error.code(), "MOVED" | "READONLY");
    gone.then(|| format!("this node takes no messages any more: {}", error.code()))
}

fn epochs(lanes: impl Iterator<Item = u32>, answer: Option<Value>) -> HashMap<u32, u64> {
    let Some(Value::Array(tokens)) = answer else {
        return HashMap::new();
    };
    let pairs = lanes.zip(tokens);
    pairs
        .filter_map(|(lane, token)| Some((lane, log::epoch(&log::text(&token)?))))
        .collect()
}

/// Redis answers a PUBLISH with the number of receivers on that node, which says nothing of other nodes; an XADD
/// with the entry's id, which is a position where the stream's epoch is known.
fn receipt(answer: Value, lane: Option<u32>, epochs: &HashMap<u32, u64>) -> Result<Receipt> {
    let stored = |answer: &Value| {
        let lane = lane?;
        Some(Position {
            epoch: *epochs.get(&lane)?,
            lane,
            offset: log::id(answer)?,
        })
    };
    let words = words(&answer);
    let error: RedisError = match answer {
        Value::ServerError(error) => error.into(),
        answer => return Ok(stored(&answer).map_or(Receipt::Accepted, Receipt::Stored)),
    };
    Err(match error.code() {
        Some("NOPERM") => Error::new(
            ErrorKind::Rejected,
            NAME,
            "Redis forbids this user to publish to the channel",
        ),
        Some("OOM") => {
            failure::unavailable("Redis has no memory left; give it more, or keep less of the log")
        }
        _ => failure::unavailable(format!(
            "Redis refuses to publish: {}",
            words.unwrap_or_default()
        )),
    }
    .with_source(error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PubSub;

    fn batch(config: &str) -> Batch {
        let pubsub = PubSub::read(&config.parse().unwrap()).unwrap();
        let mut command = Cmd::new();
        command.arg("PUBLISH").arg("c").arg("d");
        let mut item = Item {
            command,
            size: 1,
            stream: None,
        };
        Batch::new(std::iter::once(&mut item), &pubsub.server)
    }

    #[test]
    fn what_a_replica_took_is_not_acknowledged() {
        let text = |text: &str| Value::BulkString(text.into());
        let role = |role| Value::Map(vec![(text("role"), text(role))]);
        let answered = batch("redis://h").read(vec![Value::Int(1), role("master")]);
        assert!(answered.results[0].is_ok() && answered.lost.is_none());
        let answered = batch("redis://h").read(vec![Value::Int(1), role("replica")]);
        let error = answered.results[0].as_ref().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unknown);
        assert!(answered.lost.is_some());
    }

    #[test]
    fn in_a_cluster_the_role_is_not_asked_for() {
        let answered = batch("redis://h?cluster=true").read(vec![Value::Int(1)]);
        assert!(answered.results[0].is_ok() && answered.results.len() == 1);
    }
}
