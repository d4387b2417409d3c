//! One instance's hub: what arrives from the backplane reaches the sessions that wait for it.
//!
//! Data flows one way: backplane → `pump` → `shard` → outbox → socket. What clients publish goes
//! through `publisher` to the backplane, from where it comes back like everybody else's. Nothing
//! here knows a client format, an HTTP library or a broker.

mod announce;
mod beacon;
mod bucket;
pub mod channel;
mod channel_limits;
pub mod command;
pub mod connections;
mod counts;
mod dedup_cache;
pub mod disconnect;
pub mod format;
pub mod frame;
mod gap_detector;
mod generations;
mod grant;
mod hub;
mod inbound;
#[doc(hidden)]
pub mod inside;
mod interest;
mod key;
mod lanes;
mod limited;
pub mod limits;
mod log;
mod map;
mod max_rate;
mod message;
#[cfg(test)]
mod model;
mod origin;
mod outbox;
mod permission;
mod position;
pub mod presence;
mod publisher;
mod publisher_scope;
mod pump;
mod recovery;
mod sabotage;
#[cfg(test)]
mod scripted;
mod sequencer;
mod session;
mod session_rates;
mod shard;
mod slow;
mod users;
mod window;

pub use self::{
    bucket::{Allowance, Bucket, Buckets},
    channel_limits::{BadRate, ChannelLimits, Rate},
    counts::{Counts, Histogram, LOOP_BUCKETS},
    grant::{Action, Asking, Authority, Grant, Permissions, Unproven, Who},
    hub::{Hub, Setup},
    inbound::InboundBytes,
    key::Key,
    limited::{Limit, Limited},
    limits::Limits,
    max_rate::{BadMaxRate, MaxRate},
    message::{MAX_ID, Message, is_id},
    position::ClientPosition,
    publisher::Overloaded,
    pump::Health,
    recovery::HistoryPage,
    session::SessionSetup,
    shard::{Mailbox, SessionStatus, Shard},
    slow::{BadSlow, Slow},
};

/// What the names of the hub's own channels begin with.
const RESERVED: &str = "$hubplane/";
/// The most shards of one hub: which of them want a channel is one word of as many bits.
pub const MOST_SHARDS: usize = 64;
