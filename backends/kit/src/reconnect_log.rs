//! Tries to come back that fail: what the log and the hub are told of them.

use hubplane_backplane::{Error, ErrorKind};

use crate::log_limiter::LogLimiter;

/// Of one task that reconnects.
#[derive(Debug)]
pub struct ReconnectLog {
    /// `subscriber`, `reader`.
    who: &'static str,
    backend: &'static str,
    lines: LogLimiter,
    /// What the hub was told last.
    told: Option<String>,
}

impl ReconnectLog {
    /// None so far.
    pub const fn of(backend: &'static str, who: &'static str) -> Self {
        Self {
            who,
            backend,
            lines: LogLimiter::new(),
            told: None,
        }
    }

    /// A try has failed: logs it now and then. Returns what the hub must be told as the reason from now on: what doesn't
    /// pass by itself, once.
    pub fn note(&mut self, error: &Error) -> Option<String> {
        if let Some(count) = self.lines.due() {
            let (backend, who) = (self.backend, self.who);
            tracing::warn!(backend, count, "{who}: not back yet: {error}");
        }
        let lasting = error.kind() == ErrorKind::Config;
        let news = lasting && self.told.as_deref() != Some(error.message());
        news.then(|| {
            self.told = Some(error.message().to_owned());
            error.message().to_owned()
        })
    }

    /// It is back.
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
