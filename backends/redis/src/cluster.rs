//! What a node tells of its Cluster: whether it sees the others (`CLUSTER NODES`), and where a slot
//! is (`CLUSTER SLOTS`; <https://redis.io/docs/latest/commands/cluster-slots/>).
//!
//! The client library's own Cluster connection is not used: it spreads commands over nodes by their
//! keys, and so would send publications of one channel over several connections without an order.
//! This file only asks; which node is used is decided in [`crate::dial`].

use hubplane_backplane::Result;
use redis::{RedisResult, Value, aio::MultiplexedConnection, cmd};

use crate::{config::Node, failure};

/// Returns an error if the node doesn't see most of the Cluster's masters. A node that has lost the
/// others hears only what is published to itself, so nobody may use it. `CLUSTER INFO` would not
/// do: it calls a Cluster failed also for slots without a master, which messages of publish and
/// subscribe don't need.
pub(crate) async fn in_good_state(
    connection: &mut MultiplexedConnection,
    node: &Node,
) -> Result<()> {
    // Text, not the newer CLUSTER SHARDS: Redis 6 has only this.
    let nodes: RedisResult<String> = match cmd("CLUSTER").arg("NODES").query_async(connection).await
    {
        Ok(value) => redis::from_redis_value::<String>(value).map_err(Into::into),
        Err(error) => Err(error),
    };
    match nodes {
        Ok(nodes) if sees_most_masters(&nodes) => Ok(()),
        Ok(_) => Err(failure::unavailable(format!(
            "{node} does not see most of its Cluster's masters"
        ))),
        // A user may lack the right to ask; then the connection has to do.
        Err(error) if error.code() == Some("NOPERM") => Ok(()),
        Err(error) => {
            let detail = error.detail().unwrap_or_default();
            Err(match detail.contains("cluster support disabled") {
                true => failure::config(format!(
                    "{node} is no node of a Cluster; leave cluster=true out"
                ))
                .with_source(error),
                false => failure::of_login(node, error),
            })
        }
    }
}

/// Returns true if this node sees more than half of the masters, itself included. Reads the lines
/// of `CLUSTER NODES`: id, address, flags, master, ping, pong, epoch, link, slots.
fn sees_most_masters(nodes: &str) -> bool {
    let (mut all, mut seen) = (0, 0);
    for line in nodes.lines() {
        let fields: Vec<_> = line.split(' ').collect();
        // A line without a ninth field has no slots: that node has no vote.
        let [_, _, flags, _, _, _, _, link, _, ..] = fields[..] else {
            continue;
        };
        let has = |flag| flags.split(',').any(|word| word == flag);
        if has("master") {
            // `fail?` is this node's own suspicion and `fail` what most agree on: either way no
            // message gets there.
            all += 1;
            seen +=
                usize::from(has("myself") || link == "connected" && !has("fail") && !has("fail?"));
        }
    }
    // Half is not enough: both halves of a split Cluster would be used.
    seen * 2 > all
}

/// Returns the node that serves a slot, as `asked` knows it; `Unavailable` while nobody serves it,
/// as in a failover.
pub(crate) async fn serving(
    slot: u16,
    connection: &mut MultiplexedConnection,
    asked: &Node,
) -> Result<Node> {
    // The whole table, since Redis has no question for one slot.
    let slots: RedisResult<Vec<Value>> = cmd("CLUSTER").arg("SLOTS").query_async(connection).await;
    let slots = slots.map_err(|error| failure::of_slots(asked, error))?;
    slots
        .iter()
        // A slot that is in no range is served by nobody.
        .find_map(|range| owner(range, slot, asked))
        .ok_or_else(|| {
            failure::unavailable(format!("{asked} knows no node that serves slot {slot}"))
        })
}

/// Returns the master of a range of slots if `slot` is within it. Reads one part of the answer to
/// `CLUSTER SLOTS`: first, last, master (name, port, …), replicas.
fn owner(range: &Value, slot: u16, asked: &Node) -> Option<Node> {
    let Value::Array(range) = range else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = &range[..]
    else {
        return None;
    };
    let [name, Value::Int(port), ..] = &master[..] else {
        return None;
    };
    if !(*first..=*last).contains(&slot.into()) {
        return None;
    }
    let name = match name {
        // The node doesn't know its own name: it is the one that was used.
        Value::Nil => asked.name.clone(),
        Value::BulkString(name) => match std::str::from_utf8(name).ok()? {
            "" => asked.name.clone(),
            // It wants to be called by a name that nobody has given it.
            "?" => return None,
            name => name.to_owned(),
        },
        _ => return None,
    };
    let port = u16::try_from(*port).ok()?;
    Some(Node { name, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minority_is_seen() {
        let me = "1 h:1@2 myself,master - 0 0 1 connected 0-5000\n";
        let there = "2 h:3@4 master - 0 0 2 connected 5001-9000\n";
        let gone = "3 h:5@6 master,fail? - 0 0 3 connected 9001-16383\n";
        let far = "4 h:7@8 master - 0 0 3 disconnected 9001-16383\n";
        let replica = "5 h:9@1 slave 1 0 0 3 connected\n";
        assert!(sees_most_masters(&[me, there, gone, replica].concat()));
        assert!(!sees_most_masters(&[me, far, gone, replica].concat()));
        assert!(!sees_most_masters(
            "1 h:1@2 myself,master - 0 0 1 connected\n"
        ));
    }

    #[test]
    fn the_node_of_a_slot_is_found() {
        let text = |text: &str| Value::BulkString(text.into());
        let range = |first, last, name| {
            let master = vec![name, Value::Int(7000), text("id")];
            Value::Array(vec![first, last, Value::Array(master)])
        };
        let asked = Node {
            name: "asked".to_owned(),
            port: 1,
        };
        let found = |name, slot| {
            let range = range(Value::Int(10), Value::Int(20), name);
            owner(&range, slot, &asked).map(|node| node.to_string())
        };
        assert_eq!(found(text("h"), 10).as_deref(), Some("h:7000"));
        assert_eq!(found(text("h"), 20).as_deref(), Some("h:7000"));
        assert_eq!(found(text("h"), 21), None);
        assert_eq!(found(text(""), 15).as_deref(), Some("asked:7000"));
        assert_eq!(found(Value::Nil, 15).as_deref(), Some("asked:7000"));
        assert_eq!(found(text("?"), 15), None);
    }
}
