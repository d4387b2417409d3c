//! Reads an address of streams once and completely, so that nothing can be wrong with it later.
//! Opens nothing.

use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Address, Result, Settings};

use super::{
    backend::STREAMS,
    keys::{Keys, Part, slot},
};
use crate::config::Config;

/// In a Cluster each stream costs three connections, and everywhere a few commands a second.
const MAX_STREAMS: u32 = 64;

/// Everything that an address of streams says, and the keys that follow from it.
pub(crate) struct Log {
    pub(crate) server: Arc<Config>,
    pub(crate) keys: Keys,
    pub(crate) parts: Vec<Part>,
    pub(crate) keep: Keep,
}

impl Log {
    /// Reads an address. An error is `Config` and names the key and what it should be.
    pub(crate) fn read(address: &Address) -> Result<Self> {
        let mut settings = address.settings(STREAMS);
        let server = Arc::new(Config::read(address, &mut settings)?);
        let (streams, keep) = bounds(&mut settings)?;
        let keys = Keys::new(&server.prefix, streams);
        let parts = keys.parts(server.is_cluster());
        // The number of streams must be in the slot of the first stream: both are read by one
        // connection. Braces in the prefix would decide the slot of all keys, or of one of the two.
        if parts[0].slot.is_some_and(|at| at != slot(keys.number())) {
            return Err(settings.wrong("in a Cluster \"prefix\" can't contain {}"));
        }
        settings.finish()?;
        Ok(Self {
            server,
            keys,
            parts,
            keep,
        })
    }

    /// Returns the index of the part that a channel's stream belongs to.
    pub(crate) fn part(&self, channel: &str) -> usize {
        self.part_of(self.keys.lane(channel))
    }

    /// Returns the index of a stream's part.
    pub(crate) fn part_of(&self, lane: u32) -> usize {
        let mut parts = self.parts.iter();
        let at = parts.position(|part| part.lanes.contains(&lane));
        at.expect("invariant: the parts are the whole")
    }
}

/// What bounds a stream; one of the two, since XADD takes one. Both are approximate: Redis cuts by
/// whole nodes of its tree, about 100 entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// At least so many entries are kept.
    Length(u64),
    /// Entries are kept for at least so long, by Redis's clock and the publishers'.
    Age(Duration),
}

/// Reads how many streams there are, and what bounds each.
fn bounds(settings: &mut Settings<'_>) -> Result<(u32, Keep)> {
    let streams = settings.parsed("streams")?.unwrap_or(4);
    if !(1..=MAX_STREAMS).contains(&streams) {
        return Err(settings.wrong(format!("\"streams\" is a number from 1 to {MAX_STREAMS}")));
    }
    let length: Option<u64> = settings.parsed("max-length")?;
    let keep = match (length, settings.duration("max-age")?) {
        (Some(_), Some(_)) => {
            return Err(settings.wrong(
                "\"max-length\" and \"max-age\" exclude each other: a stream is cut by one of them",
            ));
        }
        (Some(0), None) => return Err(settings.wrong("\"max-length\" is at least 1")),
        (None, Some(age)) if age < Duration::from_secs(1) => {
            return Err(settings.wrong("\"max-age\" is at least 1s"));
        }
        (None, Some(age)) => Keep::Age(age),
        (length, None) => Keep::Length(length.unwrap_or(100_000)),
    };
    Ok((streams, keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        for (address, word) in [
            ("redis+streams://a?envelope=auto", "envelope"),
            ("redis+streams://a?streams=0", "1 to 64"),
            ("redis+streams://a?max-length=0", "at least 1"),
            ("redis+streams://a?max-age=10ms", "at least 1s"),
            ("redis+streams://a?max-length=9&max-age=1h", "exclude"),
            ("redis+streams://a?cluster=true&prefix={}", "{}"),
            ("redis+streams://a?ca=/x", "rediss://"),
            ("rediss+streams://a?ca=/no/such", "/no/such"),
        ] {
            let error = Log::read(&address.parse().unwrap()).err().expect(address);
            assert!(error.to_string().contains(word), "{address}: {error}");
        }
    }
}
