//! Hubs for a run, and what the machine has left for it.

use std::fs;

use super::{READY, Settings};
use crate::{
    Result,
    drill::Bench,
    hub::{Hub, Plan},
};

/// A name that no run has had.
pub(crate) fn new_space() -> Result<String> {
    Ok(format!("drill{:08x}", getrandom::u32()?))
}

/// Starts hubs that share a space on the broker.
pub(crate) async fn start_hubs(
    bench: &Bench,
    settings: &Settings,
    space: &str,
) -> Result<Vec<Hub>> {
    let mut hubs: Vec<Hub> = Vec::new();
    for number in 0..settings.hubs {
        let address = settings.addresses.get(number).cloned();
        let plan = Plan {
            program: bench.hubplane.clone(),
            wrapper: settings.wrappers.get(number).cloned().unwrap_or_default(),
            address: address.unwrap_or_else(|| bench.backend.address(space)),
            node: format!("hub-{number}"),
            options: settings.options.clone(),
            environment: bench.environment.clone(),
            log: bench.directory.join(format!("hub-{number}.log")),
        };
        hubs.push(Hub::start(plan).await?);
    }
    for hub in &hubs {
        hub.until_ready(true, READY).await?;
    }
    Ok(hubs)
}

/// Idle and all ticks of the machine.
pub(super) fn cpu_times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .filter_map(|word| word.parse().ok())
        .collect();
    (
        ticks.get(3).copied().unwrap_or(0),
        ticks.iter().take(8).sum(),
    )
}
