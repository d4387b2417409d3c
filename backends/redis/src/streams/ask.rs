//! The questions that are asked of Redis about the streams, each as one pipeline, and their answers
//! as values.
//!
//! What belongs together is asked in one transaction, because two questions at two moments could
//! see two different logs. What the answers mean is judged in [`super::lane`]; nothing here decides
//! or remembers. The commands: <https://redis.io/docs/latest/develop/data-types/streams/>.

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd};

use super::{
    keys::{Key, Keys},
    lane::Lane,
    log::{self, Entry, Seen, by_stream, id_text, info, length, new_token, odd, text, tokens},
};

/// Carries out the commands in one transaction, after `waiting` if there is one, and returns their
/// answers. Returns the first refusal as the error.
async fn at_once(
    connection: &mut MultiplexedConnection,
    waiting: Option<Cmd>,
    commands: Vec<Cmd>,
) -> RedisResult<Vec<Value>> {
    let mut pipeline = Pipeline::with_capacity(commands.len() + 3);
    if let Some(waiting) = waiting {
        pipeline.add_command(waiting);
    }
    pipeline.add_command(cmd("MULTI"));
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline.add_command(cmd("EXEC"));
    // Sent as one write: others ask their questions over the same connection, and none may come
    // between MULTI and EXEC.
    let count = pipeline.len();
    let answers = connection.send_packed_commands(&pipeline, 0, count).await?;
    let mut last = Value::Nil;
    for answer in answers {
        // The first refusal says more than that of EXEC, which only says that something before it
        // was refused.
        if let Value::ServerError(error) = answer {
            return Err(error.into());
        }
        last = answer;
    }
    match last {
        Value::Array(answers) => Ok(answers),
        _ => Err(odd("EXEC gave no array")),
    }
}

/// Asks for the tokens of streams.
fn ask_tokens(keys: &[Key]) -> Cmd {
    let mut ask = cmd("MGET");
    for key in keys {
        ask.arg(&*key.token);
    }
    ask
}

/// Reads up to `count` entries of each stream behind where its lane is. With `block` it waits up to
/// a second for the first of them, which is shorter than the limit for silence on a connection.
fn xread(keys: &[Key], lanes: &[Lane], count: usize, block: bool) -> Cmd {
    let mut read = cmd("XREAD");
    read.arg("COUNT").arg(count);
    if block {
        read.arg("BLOCK").arg(1_000);
    }
    read.arg("STREAMS");
    for key in keys {
        read.arg(&key.stream);
    }
    for lane in lanes {
        read.arg(id_text(lane.at));
    }
    read
}

/// Returns each stream as it is at one moment: its token, its state, up to `count` entries behind
/// the lane, and whether the entry that came last is still there. Doesn't wait for entries.
pub(crate) async fn look(
    connection: &mut MultiplexedConnection,
    keys: &[Key],
    lanes: &[Lane],
    count: usize,
) -> RedisResult<Vec<Seen>> {
    // The order of the answers below is the order of the commands here.
    let mut commands = vec![ask_tokens(keys), xread(keys, lanes, count, false)];
    for (key, lane) in keys.iter().zip(lanes) {
        let (mut ask, mut find) = (cmd("XINFO"), cmd("XRANGE"));
        ask.arg("STREAM").arg(&key.stream);
        // A lane that has given out nothing asks for the entry 0-0, which can't exist; the answer
        // is not looked at then.
        let last = id_text(lane.last.unwrap_or_default());
        find.arg(&key.stream).arg(&last).arg(&last);
        commands.extend([ask, find]);
    }
    let mut answers = at_once(connection, None, commands).await?.into_iter();
    let mut next = || answers.next().ok_or_else(|| odd("EXEC gave too little"));
    let tokens = tokens(next()?)?;
    let entries = by_stream(keys, next()?)?;
    let seen = |(token, entries)| {
        Ok(Seen {
            token,
            info: info(next()?)?,
            last_is_there: !log::entries(next()?)?.is_empty(),
            entries,
        })
    };
    tokens.into_iter().zip(entries).map(seen).collect()
}

/// What waiting has brought: all of it as of one moment.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) tokens: Vec<Option<String>>,
    /// How many entries each stream has.
    pub(crate) lengths: Vec<u64>,
    pub(crate) entries: Vec<Vec<Entry>>,
}

/// Waits for entries, for a second at most, and reads then. The waiting command only wakes: within
/// a transaction XREAD doesn't block, so what it brings can't be of the same moment as the tokens
/// and the lengths.
pub(crate) async fn wait(
    connection: &mut MultiplexedConnection,
    keys: &[Key],
    lanes: &[Lane],
    count: usize,
) -> RedisResult<Awaited> {
    let mut commands = vec![ask_tokens(keys)];
    for key in keys {
        let mut length = cmd("XLEN");
        length.arg(&key.stream);
        commands.push(length);
    }
    commands.push(xread(keys, lanes, count, false));
    // One entry is enough to wake; the transaction behind it reads all of them.
    let first = xread(keys, lanes, 1, true);
    let mut answers = at_once(connection, Some(first), commands)
        .await?
        .into_iter();
    let mut next = || answers.next().ok_or_else(|| odd("EXEC gave too little"));
    let tokens = tokens(next()?)?;
    let lengths = keys
        .iter()
        .map(|_| length(&next()?))
        .collect::<RedisResult<_>>()?;
    Ok(Awaited {
        tokens,
        lengths,
        entries: by_stream(keys, next()?)?,
    })
}

/// Returns one stretch of a stream, up to `count` entries from `start` on, with its token and state
/// as of that moment. `start` is an id as XRANGE takes it: `(` in front leaves that entry out.
pub(crate) async fn range(
    connection: &mut MultiplexedConnection,
    key: &Key,
    start: &str,
    count: usize,
) -> RedisResult<Seen> {
    let (mut token, mut ask, mut read) = (cmd("GET"), cmd("XINFO"), cmd("XRANGE"));
    token.arg(&*key.token);
    ask.arg("STREAM").arg(&key.stream);
    read.arg(&key.stream).arg(start).arg("+");
    read.arg("COUNT").arg(count);
    let answers = at_once(connection, None, vec![token, ask, read]).await?;
    let Ok([token, state, read]) = <[Value; 3]>::try_from(answers) else {
        return Err(odd("EXEC gave too little"));
    };
    Ok(Seen {
        token: text(&token),
        info: info(state)?,
        last_is_there: true,
        entries: log::entries(read)?,
    })
}

/// Gives a stream a token if it has none; if others do so at the same time, one of the tokens
/// stays. The number of streams is written down with that of the first stream, since both are lost
/// together.
pub(crate) async fn sign(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    lane: u32,
) -> RedisResult<()> {
    let mut set = cmd("SET");
    set.arg(&*keys.of(lane).token).arg(new_token()).arg("NX");
    set.exec_async(connection).await?;
    match lane {
        0 => count(connection, keys).await.map(drop),
        _ => Ok(()),
    }
}

/// Gives a stream another token in the place of `old`, unless somebody else has done so. All
/// instances see the rollback at about the same time, and the stream must get only one new epoch.
pub(crate) async fn sign_anew(
    connection: &mut MultiplexedConnection,
    key: &str,
    old: &str,
) -> RedisResult<()> {
    cmd("WATCH").arg(key).exec_async(connection).await?;
    // WATCH makes EXEC fail if the token changes after this look.
    let now: Option<String> = cmd("GET").arg(key).query_async(connection).await?;
    if now.as_deref() != Some(old) {
        return cmd("UNWATCH").exec_async(connection).await;
    }
    // In one write: another question on this connection would be taken into the transaction.
    let mut pipeline = Pipeline::with_capacity(3);
    let mut set = cmd("SET");
    set.arg(key).arg(new_token());
    for command in [cmd("MULTI"), set, cmd("EXEC")] {
        pipeline.add_command(command);
    }
    let answers = connection.send_packed_commands(&pipeline, 0, 3).await?;
    // No array from EXEC: somebody was faster, which is as good.
    let refused = answers.into_iter().find_map(|answer| match answer {
        Value::ServerError(error) => Some(error),
        _ => None,
    });
    refused.map_or(Ok(()), |error| Err(error.into()))
}

/// Returns the number of streams of this prefix, as the instance that came first has written it
/// down. Writes down this instance's own if there is none.
pub(crate) async fn count(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> RedisResult<String> {
    let mut get = cmd("GET");
    get.arg(keys.number());
    // Usually the number is written down already, and one command is enough.
    if let Some(number) = get.query_async(connection).await? {
        return Ok(number);
    }
    let mut set = cmd("SET");
    set.arg(keys.number()).arg(keys.count()).arg("NX");
    set.exec_async(connection).await?;
    // Asked again, because another instance may have been faster.
    get.query_async(connection).await
}
