//! The hash maps of the hub's fast path.
//!
//! The standard library's maps hash with SipHash, at some 180 instructions a lookup, and a message is looked up about ten
//! times between the broker and the sockets. These hash with foldhash, at about 20. Its seed is random in each process,
//! so a client that chooses channel names can't know in advance which of them collide. It is no cryptographic hash: the
//! dedup cache, whose keys must not collide at all, hashes with SipHash.

use foldhash::quality::RandomState;

/// A map. It is made by `default`, as the standard library has `new` for its own hasher only.
pub(crate) type HashMap<K, V> = std::collections::HashMap<K, V, RandomState>;
/// A set, made in the same way.
pub(crate) type HashSet<K> = std::collections::HashSet<K, RandomState>;
