//! Faults on purpose, to prove that the drills' checker sees them: only with the cargo feature `sabotage`, and then the
//! one that the environment names: `HUBPLANE_SABOTAGE=drop`. Without the feature all of this is compiled away.

use std::{
    collections::BTreeMap,
    env,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::message::Message;

/// One message in so many is spoilt. A prime number: every thousandth could always be the same publisher's.
const ONE_IN: u64 = 997;

static NAMED: LazyLock<String> =
    LazyLock::new(|| env::var("HUBPLANE_SABOTAGE").unwrap_or_default());
/// The epoch that clients see.
const ONE: u64 = 1;
/// The backend's epoch of each lane.
static PRESENT: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());
static COUNT: AtomicU64 = AtomicU64::new(0);
/// The message that its successor in the channel is to overtake.
static HELD: Mutex<Option<Message>> = Mutex::new(None);

fn is(fault: &str) -> bool {
    cfg!(feature = "sabotage") && *NAMED == fault
}

fn due() -> bool {
    COUNT.fetch_add(1, Ordering::Relaxed) % ONE_IN == ONE_IN - 1
}

/// `drop`, `repeat`, `swap`: on what is about to reach the sessions.
pub(super) fn spoil(fresh: Vec<Message>) -> Vec<Message> {
    if !cfg!(feature = "sabotage") || !matches!(&**NAMED, "drop" | "repeat" | "swap") {
        return fresh;
    }
    let mut spoilt = Vec::with_capacity(fresh.len());
    for message in fresh {
        let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        let overtaken = held.take_if(|held| held.channel == message.channel);
        match &**NAMED {
            _ if overtaken.is_some() => {
                spoilt.push(message);
                spoilt.extend(overtaken);
            }
            "swap" if held.is_none() && due() => *held = Some(message),
            "drop" if due() => {}
            "repeat" if due() => {
                // With an id of its own, or a client would know it.
                let mut again = message.clone();
                again.id = Some("again".into());
                spoilt.extend([message, again]);
            }
            _ => spoilt.push(message),
        }
    }
    spoilt
}

/// `swallow_gap`: gaps are told to nobody.
pub(super) fn swallows_gaps() -> bool {
    is("swallow_gap")
}

/// `reuse_epoch`: clients see one epoch for ever.
pub(super) fn reuse_epoch(lane: u32, epoch: u64) -> Option<u64> {
    if !is("reuse_epoch") {
        return None;
    }
    let mut present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
    present.insert(lane, epoch);
    Some(ONE)
}

/// `reuse_epoch`: what clients give back is taken for a place in the present log.
pub(super) fn present_epoch(lane: u32, epoch: u64) -> Option<u64> {
    if !is("reuse_epoch") || epoch != ONE {
        return None;
    }
    let present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
    present.get(&lane).copied()
}

/// `reuse_epoch`: whatever message is at a client's place is taken for the one that it has seen.
pub(super) fn trusts_positions() -> bool {
    is("reuse_epoch")
}

/// `early_ack`: publishers are answered before the broker has.
pub(super) fn acknowledges_early() -> bool {
    is("early_ack")
}

/// `restart_numbers`: the numbers begin at 1 again, now and then.
pub(super) fn restarts_numbers() -> bool {
    is("restart_numbers") && due()
}
