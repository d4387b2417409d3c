//! Where one measurement is made, and what it cost there.
//!
//! The load counts messages and times; this file adds what hubs, broker and load used meanwhile, as the operating system
//! counts it (`system`).

use std::{io, thread, time::Duration};

use super::{
    load::Load,
    results::{Cost, Round},
    system,
    target::{Hubs, Target},
};

/// Hubs and broker of one measurement. Hubs that were started for it end when this is dropped.
pub(super) struct Site {
    /// Hubs that were started here; absent for hubs that run already, whose cost is not known.
    pub(super) hubs: Option<Hubs>,
    /// Where the load goes.
    pub(super) target: Target,
    /// The broker's process, if it is on this machine.
    pub(super) broker: Option<u32>,
    /// The broker's ports, by which the bytes on the wire are found.
    pub(super) ports: Vec<u16>,
}

impl Site {
    /// Measures at a rate for a warm-up and a length, and returns the figures with their cost. Usage is read when counting
    /// begins and when it ends: the difference is the cost, without that of starting and connecting.
    ///
    /// # Errors
    ///
    /// The load's. A cost that can't be read is no error: it is absent.
    pub(super) fn measure(
        &self,
        load: &mut Load,
        rate: f64,
        lengths: (Duration, Duration),
    ) -> io::Result<Round> {
        let ids = self.hubs.as_ref().map(Hubs::ids).unwrap_or_default();
        // All hubs or nothing: the sum of some would look cheap.
        let hubs_cpu = || {
            let each: Option<Vec<_>> = ids.iter().map(|id| system::cpu(*id)).collect();
            each.filter(|all| !all.is_empty())
                .map(|all| all.iter().sum::<Duration>())
        };
        let look = || Usage {
            hubs: hubs_cpu(),
            broker: self.broker.and_then(system::cpu),
            load: system::cpu(std::process::id()),
            // Connections that `ss` does not show are 0 bytes, which is taken for "not known".
            wire: system::exchanged(&ids, &self.ports).filter(|bytes| *bytes > 0),
        };
        // Called twice: when counting begins, and when it ends.
        let mut looks = Vec::new();
        let mut round = load.measure(rate, lengths, |_after| looks.push(look()))?;
        let [before, after] = &looks[..] else {
            // The load has called back less than twice: the figures stand without a cost.
            return Ok(round);
        };
        // A process that was replaced meanwhile has used less than before: 0, and not a huge
        // number.
        let of = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?));
        // Microseconds for each delivery; without a delivery there is no cost of one.
        let each = |spent: Option<Duration>| {
            (round.delivered > 0)
                .then(|| Some(spent?.as_secs_f64() * 1e6 / round.delivered as f64))?
        };
        // Memory is what is used at the end, not a difference.
        let memories: Option<Vec<_>> = ids.iter().map(|id| system::memory(*id)).collect();
        round.cost = Cost {
            hub_cpu: each(of(before.hubs, after.hubs)),
            broker_cpu: each(of(before.broker, after.broker)),
            hub_memory: memories
                .filter(|all| !all.is_empty())
                .map(|all| all.iter().sum()),
            broker_memory: self.broker.and_then(system::memory),
            wire: (round.due > 0)
                // Per message that was due, also those that were refused: their bytes went over the
                // wire.
                .then(|| Some(after.wire?.saturating_sub(before.wire?) as f64 / round.due as f64))
                .flatten(),
            // As a share of one core: 1 means that a whole core was busy.
            load_cpu: of(before.load, after.load).map(|spent| spent.as_secs_f64() / round.seconds),
        };
        Ok(round)
    }

    /// Waits a moment, so that hubs that have just been overloaded work off what they still have.
    pub(super) fn rest(&self) {
        thread::sleep(Duration::from_millis(200));
    }
}

/// What was used so far: CPU times of the processes, and bytes on the wire. Absent where it can't be read.
struct Usage {
    hubs: Option<Duration>,
    broker: Option<Duration>,
    load: Option<Duration>,
    wire: Option<u64>,
}
