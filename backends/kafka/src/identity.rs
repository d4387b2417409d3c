//! Which log this is: the topic's id, and the epochs made of it.
//!
//! Kafka gives every topic a random id when it is created: the one thing that all instances can ask for and that is
//! another one after the topic was deleted and created again. librdkafka reads it with the metadata, but hands it out
//! by raw bindings only, which would need unsafe code. It also writes it into its debug log whenever a topic's id has
//! changed, and that line is read here. Should a later librdkafka word it differently, the id is unknown, a test
//! fails, and epochs are made of names as for brokers before 2.8, which have no ids.

use std::sync::{Mutex, PoisonError};

/// What librdkafka's setting `debug` must contain for the line to be written.
pub(crate) const DEBUG: &str = "topic";
/// How the line writes “no id”: 16 bytes of zero in Base64.
const NONE: &str = "AAAAAAAAAAAAAAAAAAAAAA";
/// Letters of an id: 128 bits in Base64 without padding.
const LENGTH: usize = 22;

/// The id of one topic, as a client has seen it last.
#[derive(Debug)]
pub(crate) struct Identity {
    start: String,
    id: Mutex<Option<String>>,
}

impl Identity {
    /// Returns an identity for a topic whose id is not known yet.
    pub(crate) fn new(topic: &str) -> Self {
        Self {
            start: format!("Topic {topic} changed id from "),
            id: Mutex::new(None),
        }
    }

    /// Returns the topic's id, or `None` if it is not known or the broker has no ids.
    pub(crate) fn id(&self) -> Option<String> {
        self.locked().clone()
    }

    /// Takes a line of librdkafka's debug log. Lines about anything else, and ids that are none,
    /// change nothing.
    pub(crate) fn read(&self, line: &str) {
        let Some((_, change)) = line.split_once(&self.start) else {
            return;
        };
        let id = change.split_once(" to ").map(|(_, id)| id.trim());
        if let Some(id) = id.filter(|id| id.len() == LENGTH && *id != NONE) {
            *self.locked() = Some(id.to_owned());
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the epoch of the log that `id` names. It is the same on every instance of every build.
/// The number of partitions is part of it: with more of them, channels are in other lanes, and old
/// positions are void.
pub(crate) fn epoch(id: &str, partitions: u32) -> u64 {
    fnv(&[id.as_bytes(), &partitions.to_be_bytes()])
}

/// Returns the epoch after the log was found to be shorter than what was read. Such a log keeps its
/// topic's id, so the epoch is made of the one before and the place that was lost. Instances that
/// had read the log to its end, as they usually have, come to the same one.
pub(crate) fn rolled_back(before: u64, partition: i32, place: i64) -> u64 {
    fnv(&[
        &before.to_be_bytes(),
        &partition.to_be_bytes(),
        &place.to_be_bytes(),
    ])
}

/// Returns the FNV-1a hash of the parts. The standard library's hasher may change from one Rust to
/// the next, and epochs must stay.
fn fnv(parts: &[&[u8]]) -> u64 {
    let bytes = parts.iter().copied().flatten();
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_is_read() {
        let identity = Identity::new("news");
        let line = "[thrd:main]: Topic news changed id from AAAAAAAAAAAAAAAAAAAAAA to 0oDTnFZhS2uw2NVC5IHxsQ";
        identity.read(line);
        assert_eq!(identity.id().as_deref(), Some("0oDTnFZhS2uw2NVC5IHxsQ"));
        for other in [
            "[thrd:main]: Topic newsroom changed id from AAAAAAAAAAAAAAAAAAAAAA to 1oDTnFZhS2uw2NVC5IHxsQ",
            "[thrd:main]: Topic news changed id from 0oDTnFZhS2uw2NVC5IHxsQ to AAAAAAAAAAAAAAAAAAAAAA",
            "[thrd:main]: Topic news changed id from x to y",
            "Topic news partition 0 Leader 1",
        ] {
            identity.read(other);
            assert_eq!(identity.id().as_deref(), Some("0oDTnFZhS2uw2NVC5IHxsQ"));
        }
    }

    #[test]
    fn epochs_are_the_same_everywhere_and_differ_by_what_matters() {
        assert_eq!(fnv(&[b"foobar"]), 0x8594_4171_f739_67e8);
        let epoch_of_four = epoch("0oDTnFZhS2uw2NVC5IHxsQ", 4);
        assert_ne!(epoch_of_four, epoch("0oDTnFZhS2uw2NVC5IHxsQ", 5));
        assert_ne!(epoch_of_four, epoch("1oDTnFZhS2uw2NVC5IHxsQ", 4));
        assert_ne!(epoch_of_four, rolled_back(epoch_of_four, 0, 7));
    }
}
