//! Faults on purpose, to prove that the drills' checker sees them: only with the cargo feature `sabotage`, and then the
//! one that the environment names: `HUBPLANE_SABOTAGE=drop`. Without the feature all of this is compiled away.

mod spoil;

use std::{
    collections::BTreeMap,
    env,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub(super) use self::spoil::spoil;

/// One message in so many is spoilt. A prime number: every thousandth could always be the same publisher's.
const ONE_IN: u64 = 997;

static NAMED: LazyLock<String> =
    LazyLock::new(|| env::var("HUBPLANE_SABOTAGE").unwrap_or_default());
/// The epoch that clients see.
const ONE: u64 = 1;
/// The backend's epoch of each lane.
static PRESENT: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());
static COUNT: AtomicU64 = AtomicU64::new(0);

fn is(fault: &str) -> bool {
    cfg!(feature = "sabotage") && *NAMED == fault
}

fn due() -> bool {
    COUNT.fetch_add(1, Ordering::Relaxed) % ONE_IN == ONE_IN - 1
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
