//! The signals that end a command in good order. What the command does then is its own affair.

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// SIGINT and SIGTERM, caught from here on.
pub(super) struct Signals(Signal, Signal);

impl Signals {
    /// Catches both signals from now on, so that they no longer end the process by themselves.
    ///
    /// # Errors
    ///
    /// The operating system refuses a handler.
    pub(super) fn catch() -> Result<Self, Failure> {
        let caught = |kind| signal(kind).map_err(Failure::failed);
        let interrupt = caught(SignalKind::interrupt())?;
        Ok(Self(interrupt, caught(SignalKind::terminate())?))
    }

    /// Waits for the next one.
    /// Signals that came since the last wait count as one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Catches SIGHUP from now on, for as long as the process lives: closing a terminal must not end a hub without telling its
/// clients. Whoever asks for it by hand wants the files read again.
pub(super) fn hangup() -> Result<Signal, Failure> {
    signal(SignalKind::hangup()).map_err(Failure::failed)
}
