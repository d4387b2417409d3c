//! Where one measurement is made, and what it cost there.

use std::{io, thread, time::Duration};

use super::{
    load::Load,
    results::{Cost, Round},
    system,
    target::{Hubs, Target},
};

/// Where one measurement is made, for as long as it is.
pub(super) struct Site {
    pub(super) hubs: Option<Hubs>,
    pub(super) target: Target,
    pub(super) broker: Option<u32>,
    pub(super) ports: Vec<u16>,
}

impl Site {
    /// Measures, and what it cost.
    pub(super) fn measure(
        &self,
        load: &mut Load,
        rate: f64,
        lengths: (Duration, Duration),
    ) -> io::Result<Round> {
        let ids = self.hubs.as_ref().map(Hubs::ids).unwrap_or_default();
        let hubs_cpu = || {
            let each: Option<Vec<_>> = ids.iter().map(|id| system::cpu(*id)).collect();
            each.filter(|all| !all.is_empty())
                .map(|all| all.iter().sum::<Duration>())
        };
        let look = || Usage {
            hubs: hubs_cpu(),
            broker: self.broker.and_then(system::cpu),
            load: system::cpu(std::process::id()),
            wire: system::exchanged(&ids, &self.ports).filter(|bytes| *bytes > 0),
        };
        let mut looks = Vec::new();
        let mut round = load.measure(rate, lengths, |_after| looks.push(look()))?;
        let [before, after] = &looks[..] else {
            return Ok(round);
        };
        let of = |from: Option<Duration>, to: Option<Duration>| Some(to?.saturating_sub(from?));
        let each = |spent: Option<Duration>| {
            (round.delivered > 0)
                .then(|| Some(spent?.as_secs_f64() * 1e6 / round.delivered as f64))?
        };
        let memories: Option<Vec<_>> = ids.iter().map(|id| system::memory(*id)).collect();
        round.cost = Cost {
            hub_cpu: each(of(before.hubs, after.hubs)),
            broker_cpu: each(of(before.broker, after.broker)),
            hub_memory: memories
                .filter(|all| !all.is_empty())
                .map(|all| all.iter().sum()),
            broker_memory: self.broker.and_then(system::memory),
            wire: (round.due > 0)
                .then(|| Some(after.wire?.saturating_sub(before.wire?) as f64 / round.due as f64))
                .flatten(),
            load_cpu: of(before.load, after.load).map(|spent| spent.as_secs_f64() / round.seconds),
        };
        Ok(round)
    }

    /// Lets hubs that have just been loaded come to rest.
    pub(super) fn rest(&self) {
        thread::sleep(Duration::from_millis(200));
    }
}

struct Usage {
    hubs: Option<Duration>,
    broker: Option<Duration>,
    load: Option<Duration>,
    wire: Option<u64>,
}
