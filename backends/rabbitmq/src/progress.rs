//! Where the reading of one connection stands: what was taken, acknowledged, asked and answered.
//!
//! Pure: [`crate::serve`] reads and changes it. It decides when a message may be handed to the hub,
//! which is only when it is certain that nothing before it was dropped.

use std::time::Duration;

use tokio::time::Instant;

use crate::shared::SILENCE;

/// How many messages the broker sends ahead of acknowledgements. lapin queues deliveries without a
/// bound, so this is the bound.
pub(crate) const PREFETCH: u16 = 1_000;
/// Under load the broker is asked twice a prefetch, besides every second.
const ASK_AFTER: u64 = PREFETCH as u64 / 2;
/// If nothing is known of a connection for so long, nothing is handed over that arrives on it.
const STALE: Duration = Duration::from_secs(5);

/// Where a reading stands. Messages are counted by delivery tags, which begin at 1 on each channel.
pub(crate) struct Progress {
    /// The last message that was handed to the hub.
    pub(crate) taken: u64,
    /// The last message that an acknowledgement was begun for; the broker may have got it.
    pub(crate) acknowledging: u64,
    /// The last message that was acknowledged to the broker.
    pub(crate) acked: u64,
    /// When to acknowledge what was taken since; `None` if nothing was.
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
    /// Whether the batch waits for the answer to a question that is asked after it was taken: see
    /// `Receiver::is_cut_short`.
    pub(crate) unproved: bool,
    /// Whether the open question is such a one.
    pub(crate) proving: bool,
    /// When to take the broker for dead, while a question is open.
    pub(crate) silent_at: Instant,
}

impl Progress {
    /// Returns the state of a new connection: nothing is cleared, and the first question is due at
    /// once.
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

    /// Returns true if the broker must be asked before the second is over, so that `cleared` stays
    /// ahead under load.
    pub(crate) fn ask_early(&self) -> bool {
        self.acked + u64::from(PREFETCH) >= self.cleared + ASK_AFTER
    }

    /// Returns true if the connection was alive a moment ago. If this process stood still, the
    /// broker may have given up the connection, and will deliver again what still waits in its
    /// buffers.
    pub(crate) fn is_fresh(&self) -> bool {
        self.alive_at.elapsed() < STALE
    }

    /// Notes that something has arrived: the broker is not dead, even if its answer is late.
    pub(crate) fn heard(&mut self) {
        self.silent_at = self.silent_at.max(Instant::now() + SILENCE);
    }
}
