//! Where the reading of one connection stands.

use std::time::Duration;

use tokio::time::Instant;

use crate::shared::SILENCE;

/// How many messages the broker sends ahead of acknowledgements. lapin queues deliveries without a bound, so this is
/// the bound.
pub(crate) const PREFETCH: u16 = 1_000;
/// Besides every second the broker is asked twice a prefetch.
const ASK_AFTER: u64 = PREFETCH as u64 / 2;
/// Nothing is handed over that arrives over a connection of which nothing is known for so long.
const STALE: Duration = Duration::from_secs(5);

/// Where a reading stands, in delivery tags, which count from 1 on each channel.
pub(crate) struct Progress {
    /// Handed to the hub.
    pub(crate) taken: u64,
    /// What an acknowledgement was begun for.
    pub(crate) acknowledging: u64,
    /// Acknowledged to the broker.
    pub(crate) acked: u64,
    pub(crate) ack_due: Option<Instant>,
    /// `acked` when the last question was asked.
    pub(crate) asked_at: u64,
    /// Up to here messages may be handed over. The ones behind may have waited in a full queue, from which others
    /// were dropped; the next answer tells. With a consumer that keeps up this is always far ahead.
    pub(crate) cleared: u64,
    pub(crate) ask_due: Instant,
    /// When the last question was asked that has been answered: then the connection was alive.
    pub(crate) alive_at: Instant,
    /// When the open question was asked.
    pub(crate) asked: Instant,
    /// The batch waits for the answer to a question that is asked after it was taken: see [`Receiver::is_cut_short`].
    pub(crate) unproved: bool,
    /// The open question is such a one.
    pub(crate) proving: bool,
    /// When to take the broker for dead, while a question is open.
    pub(crate) silent_at: Instant,
}

impl Progress {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            taken: 0,
            acknowledging: 0,
            acked: 0,
            ack_due: None,
            asked_at: 0,
            cleared: 0,
            ask_due: now,
            alive_at: now,
            asked: now,
            unproved: false,
            proving: false,
            silent_at: now,
        }
    }

    /// Whether a queue under load must be asked about, so that `cleared` stays ahead.
    pub(crate) fn ask_early(&self) -> bool {
        self.acked + u64::from(PREFETCH) >= self.cleared + ASK_AFTER
    }

    /// Whether the connection was alive a moment ago. If this process stood still, the broker may have given up the
    /// connection, and will deliver again what still waits in its buffers.
    pub(crate) fn is_fresh(&self) -> bool {
        self.alive_at.elapsed() < STALE
    }

    pub(crate) fn heard(&mut self) {
        self.silent_at = self.silent_at.max(Instant::now() + SILENCE);
    }
}
