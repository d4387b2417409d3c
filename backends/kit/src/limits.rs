//! Limits that follow from the contract (`hubplane-backplane`) and are the same for every broker.

use std::time::Duration;

/// How long a backend tries to open: a second below the 15 s of the contract, so that the backend's own error, which
/// names the address, comes before the general one of the caller.
pub const OPEN: Duration = Duration::from_secs(14);

/// How long a backend waits for the answer to one call: a little below the 5 s of the contract, so that the caller
/// gets the backend's own error.
pub const CALL: Duration = Duration::from_millis(4_800);

/// Bytes of messages after which a page of history ends: what one read may hold in memory.
pub const PAGE_BYTES: usize = 16 * 1024 * 1024;
