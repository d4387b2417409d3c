//! Fault drills, one file each.

mod d01;
mod d02;
mod d03;
mod d04;
mod d05;
mod d06;
mod d07;
mod d08;
mod d09;
mod d10;
mod d11;
mod d12;
mod d13;
mod d14;
mod d15;
mod d16;
mod d17;
mod d18;
mod d19;
mod d20;
mod d21;
mod d22;
pub(crate) mod sabotage;

use crate::{
    backend::Kind,
    cell::{Cell, LOST_ON_A_LOG},
    checker::Verdict,
    drill::Drill,
};

/// The fault drills, in the order in which they run.
pub(crate) const DRILLS: &[Drill] = &[
    d01::DRILL,
    d02::DRILL,
    d03::DRILL,
    d04::DRILL,
    d05::DRILL,
    d06::DRILL,
    d07::DRILL,
    d08::DRILL,
    d09::DRILL,
    d10::DRILL,
    d11::DRILL,
    d12::DRILL,
    d13::DRILL,
    d14::DRILL,
    d14::DISK,
    d15::DRILL,
    d16::DRILL,
    d17::DRILL,
    d18::DRILL,
    d19::DRILL,
    d20::DRILL,
    d21::DRILL,
    d22::DRILL,
];

/// What a drill demands beyond what all demand.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Demands {
    /// On a log, nothing is lost at all.
    pub(crate) lossless: bool,
    /// What carries no number may be lost in silence: the log was changed behind everybody's back.
    pub(crate) native_may_be_lost: bool,
    /// Faults that must have happened.
    pub(crate) faults: u64,
}

/// The gates that hold in every drill, and this drill's.
///
/// The verdict is kept in the cell, and examples are told only where something failed.
pub(crate) fn judge(cell: &mut Cell, kind: Kind, verdict: Verdict, demands: Demands) {
    let v = &verdict;
    // A run in which hardly anything happened must not pass.
    cell.gate(
        v.accepted > 100,
        format!("only {} accepted: nothing was tried", v.accepted),
    );
    cell.gate(
        v.delivered > 100,
        format!("only {} delivered: nothing was tried", v.delivered),
    );
    cell.gate(
        v.faults >= demands.faults,
        format!("{} faults of {}", v.faults, demands.faults),
    );
    cell.gate(
        v.lost_silent == 0,
        format!("{} lost in silence", v.lost_silent),
    );
    // Without a number, nobody can know that something is missing.
    let native = v.lost_silent_native == 0 || demands.native_may_be_lost;
    cell.gate(
        native,
        format!(
            "{} lost in silence, published straight to the broker",
            v.lost_silent_native
        ),
    );
    cell.gate(v.repeated == 0, format!("{} repeated", v.repeated));
    cell.gate(v.reordered == 0, format!("{} reordered", v.reordered));
    cell.gate(v.phantom == 0, format!("{} phantoms", v.phantom));
    cell.gate(
        v.dishonest == 0,
        format!("{} dishonest answers", v.dishonest),
    );
    // Announcing is honest, but on a whole log there is no reason to lose anything.
    if demands.lossless && kind.is_log() {
        cell.gate(v.announced == 0, format!("{} {LOST_ON_A_LOG}", v.announced));
    }
    // 10 s is the promise for healing after a fault has ended.
    cell.gate(
        v.heal_ms.max <= 10_000,
        format!("healed after {} ms", v.heal_ms.max),
    );
    cell.gate(
        v.unhealed == 0,
        format!("{} hubs not healed within 10 s", v.unhealed),
    );
    if !cell.failures.is_empty() {
        cell.notes.extend(verdict.examples.iter().cloned());
    }
    cell.verdict = Some(verdict);
}
