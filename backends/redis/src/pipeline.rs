//! One pipeline of publications: the commands, the questions that go behind them, and what the
//! answers mean.
//!
//! Pure: no connection, no time and no task here; [`crate::publish`] sends the commands and brings
//! the answers. Redis answers the commands of a connection in their order
//! (<https://redis.io/docs/latest/develop/using-commands/pipelining/>), which is what lets a
//! question behind the publications say something about all of them.

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

/// The stream that a publication is added to, so that its receipt can be a position.
pub(crate) struct Stream {
    pub(crate) lane: u32,
    /// The key of its epoch.
    pub(crate) token: Arc<str>,
}

/// Commands for Redis, and what is needed to read the answers.
pub(crate) struct Batch {
    pub(crate) commands: Pipeline,
    /// For each publication its stream, in the order of the commands.
    lanes: Vec<Option<u32>>,
    /// The streams whose epochs are asked for.
    asked: BTreeMap<u32, Arc<str>>,
    /// Whether the last command asks what the server is.
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

/// Returns the answer for a publication that may or may not have been carried out.
pub(crate) fn unknown() -> Error {
    Error::new(
        ErrorKind::Unknown,
        NAME,
        "Redis was asked to publish and gave no answer",
    )
}

impl Batch {
    /// Takes the items' commands. Behind them goes a question for the streams' epochs: an epoch
    /// never comes back, so what is read there was true of all that was written before. And one for
    /// the server's role: a replica carries `PUBLISH` out, too, where it reaches nobody who is
    /// connected to the master. In a Cluster no such question is needed: any node will do for
    /// `PUBLISH`, and a replica refuses `XADD`.
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
            // All keys of a pipeline are in one slot: in a Cluster each stream has a writer of its
            // own.
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

    /// Says what the answers mean. There must be one for each command, in order; a refusal is an
    /// answer, too.
    pub(crate) fn read(self, mut answers: Vec<Value>) -> Answered {
        // The questions were added last, so their answers are taken from the end, the last one
        // first.
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

/// Returns the answer for what a server took that has become a replica: it may have reached some,
/// and surely not all.
fn demoted() -> Error {
    let message = "the server has become a replica; what it took may not have reached everybody";
    Error::new(ErrorKind::Unknown, NAME, message)
}

/// Returns a refusal in Redis's own words; `None` for any other answer.
fn words(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else {
        return None;
    };
    let details = error.details().unwrap_or_default();
    Some(format!("{} {details}", error.code()))
}

/// Returns why this node can no longer be used, if the answer is one of a node that others have taken
/// the place of: `MOVED` from a Cluster node that lost the slot, `READONLY` from a master that was
/// demoted.
fn elsewhere(answer: &Value) -> Option<String> {
    let Value::ServerError(error) = answer else {
        return None;
    };
    let gone = matches!(error.code(), "MOVED" | "READONLY");
    gone.then(|| format!("this node takes no messages any more: {}", error.code()))
}

/// Returns each stream's epoch. A stream whose token is gone has none: its publications are then
/// acknowledged without a position.
fn epochs(lanes: impl Iterator<Item = u32>, answer: Option<Value>) -> HashMap<u32, u64> {
    let Some(Value::Array(tokens)) = answer else {
        return HashMap::new();
    };
    let pairs = lanes.zip(tokens);
    pairs
        .filter_map(|(lane, token)| Some((lane, log::epoch(&log::text(&token)?))))
        .collect()
}

/// Returns what one answer says of its publication. Redis answers a `PUBLISH` with the number of
/// receivers on that node, which says nothing of other nodes; an `XADD` with the entry's id, which
/// is a position if the stream's epoch is known.
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
        // `maxmemory` is reached and nothing may be evicted. It passes when the log is cut, so it
        // is tried again.
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
