//! What a server says of itself: the answer to `HELLO`
//! (<https://redis.io/docs/latest/commands/hello/>), which every user may ask, whatever its ACL
//! says. `ROLE` and `INFO` would need rights.

use redis::{Cmd, Value, cmd};

/// Returns the question. Without a version it changes nothing, and it may be asked while
/// subscribed.
pub(crate) fn question() -> Cmd {
    cmd("HELLO")
}

/// Returns true if the server follows another one. What is published there doesn't reach those who
/// are connected to its master. Older servers say `slave`.
pub(crate) fn is_replica(answer: &Value) -> bool {
    matches!(field(answer, "role"), Some("replica" | "slave"))
}

/// Returns the first number of the server's version; `None` if it is not told.
pub(crate) fn major_version(answer: &Value) -> Option<u32> {
    field(answer, "version")?.split('.').next()?.parse().ok()
}

/// Returns, from a Sentinel's answer about a master, the number of the decision that made it the
/// master.
pub(crate) fn config_epoch(answer: &Value) -> Option<u64> {
    field(answer, "config-epoch")?.parse().ok()
}

/// Returns one field of an answer in RESP3's form, a map.
fn field<'a>(answer: &'a Value, name: &str) -> Option<&'a str> {
    let Value::Map(pairs) = answer else {
        return None;
    };
    let named = |(key, _): &&(Value, Value)| text(key) == Some(name);
    text(&pairs.iter().find(named)?.1)
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_says_so() {
        let text = |text: &str| Value::BulkString(text.into());
        let answer = |role| {
            let version = (text("version"), text("7.0.15"));
            Value::Map(vec![version, (text("role"), text(role))])
        };
        assert!(is_replica(&answer("replica")));
        assert!(!is_replica(&answer("master")) && !is_replica(&Value::Nil));
        assert_eq!(major_version(&answer("master")), Some(7));
    }
}
