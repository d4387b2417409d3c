//! What the promises depend on besides the streams themselves: how Redis is set, and that all
//! instances mean the same streams.
//!
//! Looked at when connecting, and again while connected, since somebody may change it under a
//! running instance. A weak setting is only logged, because it is the operator's choice; another
//! number of streams stops publishing, because messages would be lost without a trace.

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use hubplane_backplane::{Error, Result};
use redis::{aio::MultiplexedConnection, cmd};

use super::{ask, backend::STREAMS, config::Log, keys::Part};
use crate::{config::Node, failure};

/// How often Redis's settings are looked at.
pub(super) const EXAMINE: Duration = Duration::from_secs(60);

/// A setting that makes the promises weaker than they sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Weakness {
    NoFile,
    Eviction,
}

impl Weakness {
    const ALL: [Self; 2] = [Self::NoFile, Self::Eviction];

    /// Returns true if the answer to `INFO` shows this weakness
    /// (<https://redis.io/docs/latest/commands/info/>).
    fn shows(self, info: &str) -> bool {
        info.contains(match self {
            Self::NoFile => "aof_enabled:0",
            Self::Eviction => "maxmemory_policy:allkeys",
        })
    }

    /// Returns what it means and what to set instead.
    const fn advice(self) -> &'static str {
        match self {
            Self::NoFile => {
                "Redis has no append-only file: what is published does not survive its end; set appendonly yes"
            }
            Self::Eviction => {
                "Redis may evict the streams when its memory is full; set maxmemory-policy noeviction"
            }
        }
    }
}

/// What was found so far, by all readers of an instance.
#[derive(Debug, Default)]
pub(crate) struct Promises(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// The weaknesses that were warned of, each with its node.
    weak: HashSet<(String, Weakness)>,
    /// Why nothing may be published; `None` if all is well.
    broken: Option<String>,
}

impl Promises {
    fn found(&self) -> MutexGuard<'_, Found> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks a server for its settings, where the user may, and warns of what has become weaker since the last look.
    pub(super) async fn examine(&self, connection: &mut MultiplexedConnection, node: &Node) {
        let mut info = cmd("INFO");
        info.arg("persistence").arg("memory");
        // Without the right to ask there are no warnings; a broken connection is seen by others.
        if let Ok(info) = info.query_async::<String>(connection).await {
            self.note(&node.to_string(), &info);
        }
    }

    /// Warns of each weakness once, and again only after it was mended.
    fn note(&self, node: &str, info: &str) {
        let mut found = self.found();
        for weakness in Weakness::ALL {
            let advice = weakness.advice();
            let key = (node.to_owned(), weakness);
            if weakness.shows(info) {
                if found.weak.insert(key) {
                    tracing::warn!(backend = STREAMS, node, "{advice}");
                }
            } else if found.weak.remove(&key) {
                tracing::info!(
                    backend = STREAMS,
                    node,
                    "mended since the last look: {advice}"
                );
            }
        }
    }

    /// Asks whether all instances mean the same streams. Only the part with the first stream can
    /// tell, since the number is written down there; for the others this returns at once. Returns
    /// an error if they don't, or if there is no answer.
    pub(super) async fn check(
        &self,
        log: &Log,
        part: &Part,
        connection: &mut MultiplexedConnection,
        node: &Node,
    ) -> Result<()> {
        if !part.lanes.contains(&0) {
            return Ok(());
        }
        let number = ask::count(connection, &log.keys).await;
        let number = number.map_err(|error| failure::of_log(node, &log.server, error))?;
        self.agree(log, &number)
    }

    /// Compares this instance's number of streams with the one that is written down. If they
    /// differ, some would publish where others don't read, so nothing may be published until they
    /// agree. Returns the error that says so.
    fn agree(&self, log: &Log, number: &str) -> Result<()> {
        let (prefix, own) = (&log.server.prefix, log.keys.count());
        let agreed = number == own.to_string();
        let error = format!(
            "under the prefix {prefix:?} there are {number} streams, and the address asks for {own}; write \
             streams={number}, or choose another prefix=…"
        );
        self.found().broken = (!agreed).then(|| error.clone());
        match agreed {
            true => Ok(()),
            false => Err(failure::config(error)),
        }
    }

    /// Returns why nothing may be published; `None` if all is well. `Unavailable`, because it ends
    /// when the instances agree.
    pub(super) fn broken(&self) -> Option<Error> {
        self.found().broken.clone().map(failure::unavailable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_noted_while_it_lasts() {
        let promises = Promises::default();
        let weak = || promises.found().weak.len();
        promises.note("h:1", "aof_enabled:1\r\nmaxmemory_policy:noeviction\r\n");
        assert_eq!(weak(), 0);
        for _ in 0..2 {
            promises.note("h:1", "aof_enabled:0\r\nmaxmemory_policy:allkeys-lru\r\n");
            assert_eq!(weak(), 2);
        }
        promises.note("h:1", "aof_enabled:1\r\nmaxmemory_policy:allkeys-lru\r\n");
        assert_eq!(weak(), 1);
    }

    #[test]
    fn another_number_of_streams_stops_publishing_until_it_is_right_again() {
        let log = Log::read(&"redis+streams://h?streams=4".parse().unwrap()).unwrap();
        let promises = Promises::default();
        assert!(promises.agree(&log, "4").is_ok() && promises.broken().is_none());
        let error = promises.agree(&log, "8").unwrap_err().to_string();
        assert!(error.contains("streams=8"), "{error}");
        assert!(promises.broken().is_some());
        assert!(promises.agree(&log, "4").is_ok() && promises.broken().is_none());
    }
}
