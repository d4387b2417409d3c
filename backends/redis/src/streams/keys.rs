//! What the streams are called, which channel is in which, and which of them go together.
//!
//! Outside programs publish into these keys, so their names are a promise of the documentation.
//! Pure: nothing here asks Redis.

use std::{ops::Range, sync::Arc};

/// The keys of one stream: its entries, and beside them the token of its epoch. Both have the same
/// braces, so a Cluster keeps them in one slot.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) stream: String,
    pub(crate) token: Arc<str>,
}

/// The keys of all streams under a prefix.
#[derive(Debug)]
pub(crate) struct Keys {
    all: Vec<Key>,
    number: String,
}

/// Streams that one connection can serve: all those of a single server. In a Cluster each by itself, since a command,
/// and so a read that waits, must stay within one slot.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// The streams' numbers.
    pub(crate) lanes: Range<u32>,
    /// In a Cluster, the slot that all keys of this part are in.
    pub(crate) slot: Option<u16>,
}

impl Keys {
    /// Returns the keys of `streams` streams, 1 to 64, under a prefix.
    pub(crate) fn new(prefix: &str, streams: u32) -> Self {
        let stream = |n| format!("{prefix}stream:{{{n}}}");
        let key = |n| Key {
            stream: stream(n),
            token: (stream(n) + ":epoch").into(),
        };
        Self {
            all: (0..streams).map(key).collect(),
            number: stream(0) + ":streams",
        }
    }

    /// Returns how many streams there are.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.all.len()).expect("invariant: the settings allow 64")
    }

    /// Returns the key that holds how many streams there are. It lies beside the first stream.
    pub(crate) fn number(&self) -> &str {
        &self.number
    }

    /// Returns the keys of a stream; panics if there is no such lane.
    pub(crate) fn of(&self, lane: u32) -> &Key {
        &self.all[lane as usize]
    }

    /// Returns the keys of a part's streams.
    pub(crate) fn within(&self, part: &Part) -> &[Key] {
        &self.all[part.lanes.start as usize..part.lanes.end as usize]
    }

    /// Returns the stream of a channel. All instances, and outside programs, must reckon it alike:
    /// CRC-16 of the whole name, modulo the number of streams.
    pub(crate) fn lane(&self, channel: &str) -> u32 {
        u32::from(crc16(channel.as_bytes())) % self.count()
    }

    /// Divides the streams into parts: one part on a server, one for each stream in a Cluster.
    pub(crate) fn parts(&self, cluster: bool) -> Vec<Part> {
        let alone = |lane: u32| Part {
            lanes: lane..lane + 1,
            slot: Some(slot(&self.of(lane).stream)),
        };
        match cluster {
            true => (0..self.count()).map(alone).collect(),
            false => vec![Part {
                lanes: 0..self.count(),
                slot: None,
            }],
        }
    }
}

/// Returns the slot of a key: by what stands between its first braces, or by all of it if that is
/// empty (<https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags>).
pub(crate) fn slot(key: &str) -> u16 {
    let tag = key
        .split_once('{')
        .and_then(|(_, rest)| rest.split_once('}'))
        .map(|(tag, _)| tag)
        .filter(|tag| !tag.is_empty());
    crc16(tag.unwrap_or(key).as_bytes()) % 16_384
}

/// Returns the CRC-16/XMODEM of some bytes, the checksum of Redis Cluster's key slots.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        let start = crc ^ (u16::from(*byte) << 8);
        (0..8).fold(start, |crc: u16, _| match crc & 0x8000 {
            0 => crc << 1,
            _ => (crc << 1) ^ 0x1021,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_are_spread_as_is_documented() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        let keys = Keys::new("p:", 4);
        assert_eq!(
            (keys.lane("123456789"), &*keys.of(3).stream),
            (3, "p:stream:{3}")
        );
        assert_eq!(&*keys.of(0).token, "p:stream:{0}:epoch");
    }

    #[test]
    fn in_a_cluster_each_stream_is_by_itself() {
        let keys = Keys::new("p:", 4);
        let parts = keys.parts(true);
        let slots: Vec<_> = parts.iter().filter_map(|part| part.slot).collect();
        // As `CLUSTER KEYSLOT` says.
        assert_eq!(slots, [13_907, 9_842, 5_649, 1_584]);
        assert!(parts.iter().all(|part| keys.within(part).len() == 1));
        for n in 0..4 {
            assert_eq!(slot(&keys.of(n).token), slots[n as usize]);
        }
        assert_eq!(slot(keys.number()), slots[0]);
        assert_eq!(keys.within(&keys.parts(false)[0]).len(), 4);
        assert_eq!(slot("a{}b{c}"), crc16(b"a{}b{c}") % 16_384);
    }
}
