//! What Redis is asked about the streams.

use redis::{Cmd, Pipeline, RedisResult, Value, aio::MultiplexedConnection, cmd};

use super::{
    keys::{Key, Keys},
    lane::Lane,
    log::{self, Entry, Seen, by_stream, id_text, info, length, new_token, odd, text, tokens},
};

/// All commands at one moment, after the one that waits.
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
    let count = pipeline.len();
    let answers = connection.send_packed_commands(&pipeline, 0, count).await?;
    let mut last = Value::Nil;
    for answer in answers {
        // The first refusal says more than that of EXEC.
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

fn ask_tokens(keys: &[Key]) -> Cmd {
    let mut ask = cmd("MGET");
    for key in keys {
        ask.arg(&*key.token);
    }
    ask
}

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

/// Tokens, states, what comes next, and whether what came last is still there: all at one moment, without waiting.
pub(crate) async fn look(
    connection: &mut MultiplexedConnection,
    keys: &[Key],
    lanes: &[Lane],
    count: usize,
) -> RedisResult<Vec<Seen>> {
    let mut commands = vec![ask_tokens(keys), xread(keys, lanes, count, false)];
    for (key, lane) in keys.iter().zip(lanes) {
        let (mut ask, mut find) = (cmd("XINFO"), cmd("XRANGE"));
        ask.arg("STREAM").arg(&key.stream);
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

/// What waiting brought: all of it at one moment.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub(crate) tokens: Vec<Option<String>>,
    /// How many entries each stream has.
    pub(crate) lengths: Vec<u64>,
    pub(crate) entries: Vec<Vec<Entry>>,
}

/// Waits for entries, a second at most, and reads then: what waits can't be in one step with anything else.
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

/// One stretch of one stream, with its token and state at that moment.
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

/// Gives a stream a token where it has none. With the first stream's, the number may be gone.
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

/// Gives a stream another token in the place of `old`, unless somebody else has done so.
pub(crate) async fn sign_anew(
    connection: &mut MultiplexedConnection,
    key: &str,
    old: &str,
) -> RedisResult<()> {
    cmd("WATCH").arg(key).exec_async(connection).await?;
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

/// The number of streams of this prefix: the one of the instance that came first.
pub(crate) async fn count(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> RedisResult<String> {
    let mut get = cmd("GET");
    get.arg(keys.number());
    if let Some(number) = get.query_async(connection).await? {
        return Ok(number);
    }
    let mut set = cmd("SET");
    set.arg(keys.number()).arg(keys.count()).arg("NX");
    set.exec_async(connection).await?;
    get.query_async(connection).await
}
