//! Who may do what: keys, rules for channels, the pages whose scripts may connect, and the host
//! names that the hub answers to.
//!
//! What must hold: no key is kept or shown as text, comparing takes the same time for every key,
//! and a request that shows something wrong gets an error instead of the rights of anybody. This
//! crate must not know the hub's sockets or routes; what it asks others, it asks by a client of its
//! own (`outbound`). [`Access`] makes a grant of all that; commands and routes
//! ask that grant.

mod access;
mod actions;
#[cfg(feature = "endpoint")]
pub mod endpoint;
#[cfg(test)]
mod folder;
mod host;
mod keys;
mod origin;
#[cfg(feature = "endpoint")]
pub mod outbound;
mod pattern;
mod permission;
#[cfg(test)]
mod random;
pub mod reference;
pub mod rules;
#[cfg(all(test, feature = "endpoint"))]
mod test_server;
#[cfg(feature = "tokens")]
pub mod token;

pub use self::{
    access::{Access, AccessConfig, Endpoint, Issuers, NotAdmitted, bearer},
    actions::Actions,
    host::{Hosts, parse_host},
    keys::{KeyConfig, KeyGrant, Keys, MIN_KEY, Reloaded},
    origin::{ANY, parse_origin},
    pattern::{Claims, Pattern},
    permission::{MAX_TOKEN_PATTERNS, Permission, PermissionConfig},
};
