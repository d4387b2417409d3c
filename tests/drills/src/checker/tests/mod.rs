//! Logs made by hand: each count, where it must be and where it must not.

mod losses;
mod others;

use super::{Checker, Log, Phase, Record, Verdict, What};

const MS: u64 = 1000;
const S: u64 = 1_000_000;

fn log(who: &str, lines: Vec<(u64, What)>) -> Log {
    let records = lines
        .into_iter()
        .map(|(t, what)| Record { t, what })
        .collect();
    Log {
        who: who.to_owned(),
        records,
    }
}

fn publish(seq: u64) -> What {
    What::Publish {
        channel: "a".to_owned(),
        publisher: "p".to_owned(),
        seq,
        hash: seq * 7,
        native: false,
    }
}

fn ack(seq: u64) -> What {
    What::Ack {
        publisher: "p".to_owned(),
        seq,
        tries: 1,
    }
}

fn message(seq: u64) -> What {
    message_as(seq, seq * 7, &format!("p-{seq}"))
}

fn message_as(seq: u64, hash: u64, id: &str) -> What {
    What::Message {
        channel: "a".to_owned(),
        publisher: "p".to_owned(),
        seq,
        hash,
        id: id.to_owned(),
    }
}

fn connected() -> What {
    What::Connected {
        hub: "h".to_owned(),
    }
}

fn subscribed(recovered: bool, since: bool) -> What {
    What::Subscribed {
        channel: "a".to_owned(),
        recovered,
        since,
    }
}

fn gap() -> What {
    What::Gap {
        channel: "a".to_owned(),
        cause: "connection_lost".to_owned(),
    }
}

fn closed() -> What {
    What::Closed { code: 1006 }
}

fn fault(phase: Phase) -> What {
    What::Fault {
        what: "broker".to_owned(),
        phase,
    }
}

/// Three messages a second apart, each accepted after 10 ms; the client is subscribed at 0.1 s.
fn three() -> Log {
    let lines = (1..=3).flat_map(|seq| [(seq * S, publish(seq)), (seq * S + 10 * MS, ack(seq))]);
    log("publisher-p", lines.collect())
}

fn judge(client: Vec<(u64, What)>) -> Verdict {
    judge_with(&three(), client, Vec::new())
}

fn judge_with(publisher: &Log, client: Vec<(u64, What)>, faults: Vec<(u64, What)>) -> Verdict {
    let mut lines = vec![(50 * MS, connected()), (100 * MS, subscribed(false, false))];
    lines.extend(client);
    let mut checker = Checker::new(std::slice::from_ref(publisher), &log("faults", faults));
    checker.client(&log("client-1", lines));
    checker.end()
}

fn at(seq: u64) -> u64 {
    seq * S + 20 * MS
}

fn all() -> Vec<(u64, What)> {
    (1..=3).map(|seq| (at(seq), message(seq))).collect()
}
