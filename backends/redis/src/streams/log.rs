//! What the streams hold, and how Redis puts it: tokens and epochs, ids and offsets, entries,
//! states.
//!
//! Pure: turns Redis's answers into values, and says which answer is not what the command's page
//! promises (<https://redis.io/docs/latest/commands/xinfo-stream/>, `xrange`, `xread`). What the
//! values mean is judged in [`super::lane`].

use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::keys::Key;

/// Returns a token as the epoch of positions. Ours are 16 hexadecimal digits; for anything else
/// that somebody has put there a hash (FNV-1a) will do.
pub(crate) fn epoch(token: &str) -> u64 {
    u64::from_str_radix(token, 16).unwrap_or_else(|_| {
        token
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            })
    })
}

/// Returns a token that no log has had before: 64 random bits in hexadecimal digits.
pub(super) fn new_token() -> String {
    // Without randomness, something that differs between processes has to do.
    let clock = || std::process::id().into();
    format!("{:016x}", getrandom::u64().unwrap_or_else(|_| clock()))
}

/// Returns a string answer as text; `None` for anything else.
pub(crate) fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes.clone()).ok(),
        Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}

/// Returns an entry's id, `milliseconds-number`, as an offset: both are 64 bits wide, so offsets
/// have the order of ids.
pub(crate) fn id(value: &Value) -> Option<u128> {
    let text = text(value)?;
    let (ms, seq) = text.split_once('-')?;
    let (ms, seq): (u64, u64) = (ms.parse().ok()?, seq.parse().ok()?);
    Some(u128::from(ms) << 64 | u128::from(seq))
}

/// Returns an offset as Redis writes it.
pub(crate) fn id_text(offset: u128) -> String {
    format!("{}-{}", offset >> 64, offset & u128::from(u64::MAX))
}

/// A stream's state, from `XINFO STREAM`. All zero if there is no stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Info {
    /// The id that was given last. It outlives its entry.
    pub(crate) last: u128,
    /// How many entries were ever added, those included that were cut off.
    pub(crate) added: u64,
    /// How many entries there are now.
    pub(crate) length: u64,
    /// The id of the oldest entry that is there.
    pub(crate) first: u128,
}

impl Info {
    /// Returns true if all entries that came after `offset` are still there, as far as can be told:
    /// nothing was ever cut off, or the offset is the end, or not older than the oldest entry.
    pub(crate) const fn reaches(&self, offset: u128) -> bool {
        self.added == self.length
            || offset >= self.last
            || (self.length > 0 && offset >= self.first)
    }
}

/// One entry as it came: its id, and names and values in turn.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: u128,
    pub(crate) fields: Vec<Value>,
}

impl Entry {
    /// Returns about how many bytes the entry takes in memory.
    pub(crate) fn size(&self) -> usize {
        let size = |value: &Value| match value {
            Value::BulkString(bytes) => bytes.len(),
            _ => 0,
        };
        // What the values' own bookkeeping takes, about.
        64 + self.fields.iter().map(size).sum::<usize>()
    }
}

/// One stream as it was at one moment.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) token: Option<String>,
    pub(crate) info: Info,
    /// For a reader's look: whether the entry that it was given last is still there.
    pub(crate) last_is_there: bool,
    pub(crate) entries: Vec<Entry>,
}

/// Returns the error for an answer that the command's page does not allow.
pub(super) fn odd(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// Reads the answer to `XINFO STREAM`. A key that isn't there is an empty stream, since the first
/// message creates it.
pub(super) fn info(value: Value) -> RedisResult<Info> {
    let pairs = match value {
        Value::Map(pairs) => pairs,
        // There is no such stream yet, or it was deleted; which of the two, the token tells.
        Value::ServerError(error) => {
            let error: RedisError = error.into();
            return match error.detail() {
                Some(detail) if detail.contains("no such key") => Ok(Info::default()),
                _ => Err(error),
            };
        }
        _ => return Err(odd("XINFO gave no map")),
    };
    let find = |name: &str| {
        let found = pairs
            .iter()
            .find(|(key, _)| text(key).as_deref() == Some(name));
        found.map(|(_, value)| value)
    };
    let number = |name| match find(name) {
        Some(Value::Int(number)) => u64::try_from(*number).ok(),
        _ => None,
    };
    // Looked up by name: newer versions of Redis add fields.
    let read = || {
        Some(Info {
            last: id(find("last-generated-id")?)?,
            added: number("entries-added")?,
            length: number("length")?,
            first: id(find("recorded-first-entry-id")?)?,
        })
    };
    read().ok_or_else(|| odd("XINFO lacks what Redis 7 tells"))
}

/// Reads the entries of one stream, from XRANGE or XREAD.
pub(super) fn entries(value: Value) -> RedisResult<Vec<Entry>> {
    let entry = |value| {
        let Value::Array(parts) = value else {
            return Err(odd("an entry is no array"));
        };
        let mut parts = parts.into_iter();
        match (parts.next(), parts.next()) {
            (Some(name), Some(Value::Array(fields))) => Ok(Entry {
                id: id(&name).ok_or_else(|| odd("an entry has no id"))?,
                fields,
            }),
            // Deleted between the index and its entry: Redis gives the id without fields.
            (Some(name), _) => Ok(Entry {
                id: id(&name).ok_or_else(|| odd("an entry has no id"))?,
                fields: Vec::new(),
            }),
            _ => Err(odd("an entry is empty")),
        }
    };
    match value {
        Value::Array(all) => all.into_iter().map(entry).collect(),
        Value::Nil => Ok(Vec::new()),
        Value::ServerError(error) => Err(error.into()),
        _ => Err(odd("entries are no array")),
    }
}

/// Reads the answer to XREAD: the entries of each stream, in the order of `keys`. Redis names only
/// those that have any.
pub(super) fn by_stream(keys: &[Key], value: Value) -> RedisResult<Vec<Vec<Entry>>> {
    let mut all: Vec<Vec<Entry>> = keys.iter().map(|_| Vec::new()).collect();
    match value {
        Value::Nil => {}
        Value::Map(pairs) => {
            for (name, value) in pairs {
                let name = text(&name);
                let mut known = keys.iter();
                let at = known.position(|key| Some(&key.stream) == name.as_ref());
                let at = at.ok_or_else(|| odd("XREAD names a stream that was not asked for"))?;
                all[at] = entries(value)?;
            }
        }
        Value::ServerError(error) => return Err(error.into()),
        _ => return Err(odd("XREAD gave no map")),
    }
    Ok(all)
}

/// Reads the answer to XLEN.
pub(super) fn length(value: &Value) -> RedisResult<u64> {
    match value {
        Value::Int(length) => Ok(u64::try_from(*length).unwrap_or_default()),
        Value::ServerError(error) => Err(error.clone().into()),
        _ => Err(odd("XLEN gave no number")),
    }
}

/// Reads the answer to MGET: the tokens in the order in which they were asked for.
pub(super) fn tokens(value: Value) -> RedisResult<Vec<Option<String>>> {
    match value {
        Value::Array(all) => Ok(all.iter().map(text).collect()),
        Value::ServerError(error) => Err(error.into()),
        _ => Err(odd("MGET gave no array")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_offsets() {
        let value = Value::BulkString(b"5-18446744073709551615".to_vec());
        let offset = id(&value).unwrap();
        assert_eq!(offset, (6_u128 << 64) - 1);
        assert_eq!(id_text(offset), "5-18446744073709551615");
        assert_eq!(id(&Value::BulkString(b"5".to_vec())), None);
    }

    #[test]
    fn a_log_reaches_back_to_its_first_entry() {
        let info = Info {
            last: 9,
            added: 5,
            length: 2,
            first: 7,
        };
        assert!(info.reaches(7) && info.reaches(9) && !info.reaches(6));
        assert!(Info { added: 2, ..info }.reaches(0));
        let emptied = Info {
            length: 0,
            first: 0,
            ..info
        };
        assert!(emptied.reaches(9) && !emptied.reaches(8));
    }
}
