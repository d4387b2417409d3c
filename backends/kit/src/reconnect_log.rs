//! What the log and the hub are told of tries to reconnect that fail. A broker that is away for an
//! hour fails hundreds of them.

use hubplane_backplane::{Error, ErrorKind};

use crate::log_limiter::LogLimiter;

/// The failed tries of one task that reconnects.
#[derive(Debug)]
pub struct ReconnectLog {
    /// Which connection of the backend: `subscriber`, `reader`.
    who: &'static str,
    backend: &'static str,
    lines: LogLimiter,
    /// What the hub was told last.
    told: Option<String>,
}

impl ReconnectLog {
    /// Returns the record of a task that has not failed yet. `backend` and `who` go into its log
    /// lines.
    pub const fn of(backend: &'static str, who: &'static str) -> Self {
        Self {
            who,
            backend,
            lines: LogLimiter::new(),
            told: None,
        }
    }

    /// Notes a try that has failed, and logs one in ten seconds. Returns the reason that the hub
    /// must be told from now on: an error of kind `Config`, which doesn't pass by itself, and each
    /// of them once.
    pub fn note(&mut self, error: &Error) -> Option<String> {
        if let Some(count) = self.lines.due() {
            let (backend, who) = (self.backend, self.who);
            tracing::warn!(backend, count, "{who}: not back yet: {error}");
        }
        // `Down` was said when the connection was lost. A second one is worth its place only if it
        // says what a person has to do.
        let lasting = error.kind() == ErrorKind::Config;
        let news = lasting && self.told.as_deref() != Some(error.message());
        news.then(|| {
            self.told = Some(error.message().to_owned());
            error.message().to_owned()
        })
    }

    /// Notes that the connection is back: the same reason is news again after the next loss.
    pub fn end(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_pass_by_itself_is_told_once() {
        let mut log = ReconnectLog::of("redis", "subscriber");
        let error = |kind, text: &str| Error::new(kind, "redis", text);
        let away = error(ErrorKind::Unavailable, "away");
        let wrong = error(ErrorKind::Config, "wrong");
        assert_eq!(log.note(&away), None);
        assert_eq!(log.note(&wrong).as_deref(), Some("wrong"));
        assert_eq!(log.note(&wrong), None);
        log.end();
        assert_eq!(log.note(&wrong).as_deref(), Some("wrong"));
    }
}
