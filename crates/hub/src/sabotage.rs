//! Faults on purpose, to prove that the drills' checker sees them: only with the cargo feature `sabotage`, and then the
//! one that the environment names: `HUBPLANE_SABOTAGE=swallow_gap`. Without the feature all of this is compiled away.
//!
//! Most faults are a backplane around the sound one, `src/sabotage.rs` of the program. These two can't be, because they
//! switch off what the hub finds out by itself, whatever its backplane says:
//!
//! - `swallow_gap`: a wrapper could swallow the gaps that the backend tells. The hub would find what is missing by its
//!   numbers, and tell the clients all the same.
//! - `reuse_epoch`: a wrapper could show one epoch for ever. The hub would see by the fingerprints in clients' positions
//!   that other messages are at their places now.

use std::{
    collections::BTreeMap,
    env,
    sync::{LazyLock, Mutex, PoisonError},
};

static NAMED: LazyLock<String> =
    LazyLock::new(|| env::var("HUBPLANE_SABOTAGE").unwrap_or_default());
/// `reuse_epoch`: the epoch that clients see.
const ONE: u64 = 1;
/// `reuse_epoch`: the backend's epoch of each lane.
static PRESENT: Mutex<BTreeMap<u32, u64>> = Mutex::new(BTreeMap::new());

fn is(fault: &str) -> bool {
    cfg!(feature = "sabotage") && *NAMED == fault
}

/// `swallow_gap`: returns true if clients are not told of gaps.
pub(super) fn swallows_gaps() -> bool {
    is("swallow_gap")
}

/// `reuse_epoch`: returns the epoch that clients see in place of a lane's own, and notes that one.
pub(super) fn reuse_epoch(lane: u32, epoch: u64) -> Option<u64> {
    if !is("reuse_epoch") {
        return None;
    }
    let mut present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
    present.insert(lane, epoch);
    Some(ONE)
}

/// `reuse_epoch`: returns the lane's present epoch for the one that clients give back, whichever log they got it in.
pub(super) fn present_epoch(lane: u32, epoch: u64) -> Option<u64> {
    if !is("reuse_epoch") || epoch != ONE {
        return None;
    }
    let present = PRESENT.lock().unwrap_or_else(PoisonError::into_inner);
    present.get(&lane).copied()
}

/// `reuse_epoch`: returns true if any message at a client's place counts as the one that the client has seen.
pub(super) fn trusts_positions() -> bool {
    is("reuse_epoch")
}
