//! How much one address, key or user may ask of this server, whatever it is allowed to do: the
//! tables, and the one place that looks at them.
//!
//! Loopback is not limited by address as long as these limits are at their defaults: there stand
//! the operator's own programs, or a proxy that hides who its clients are. Whoever sets a limit
//! gets it for loopback, too.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use http::HeaderMap;
use hubplane_backplane::{Channel, Outgoing};
use hubplane_hub::{Allowance, Buckets, Grant, Hub, Limit, Limited, Limits, Who};

use super::{
    addresses::{Address, Addresses, Place},
    proxies::TrustedProxies,
};

/// Names and addresses that each table counts at the same time, about 50 bytes each.
const NAMES: usize = 100_000;
/// A burst of new connections, in seconds of their rate.
const HANDSHAKES_SECONDS: usize = 5;
/// After how long to try again when all connections of an address or user are taken.
const LATER: Duration = Duration::from_secs(1);
const SECOND: Duration = Duration::from_secs(1);

/// Who asks for something over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Asker {
    User(Arc<str>),
    Key(Arc<str>),
    Address(Address),
    /// All whose address is not known: those of a server that embeds the hub.
    Unknown,
}

/// The tables of one hub's server.
#[derive(Debug)]
pub(crate) struct Limiter {
    addresses: Arc<Addresses>,
    handshakes: Mutex<Buckets<Address>>,
    requests: Mutex<Buckets<Asker>>,
    publishes: Mutex<Buckets<(Asker, Channel)>>,
    proxies: OnceLock<TrustedProxies>,
}

impl Default for Limiter {
    fn default() -> Self {
        Self {
            addresses: Arc::default(),
            handshakes: Mutex::new(Buckets::new(NAMES)),
            requests: Mutex::new(Buckets::new(NAMES)),
            publishes: Mutex::new(Buckets::new(NAMES)),
            proxies: OnceLock::new(),
        }
    }
}

/// Where a connection or a request comes from. Its address counts one connection more until the
/// last clone is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Peer(Arc<Origin>);

#[derive(Debug)]
struct Origin {
    address: IpAddr,
    /// `None` where the address is not limited.
    _place: Option<Place>,
    /// The address is a proxy's, and each request says for whom it is.
    is_proxy: bool,
}

impl Peer {
    /// Returns the client's address, which a trusted proxy has told where there is one.
    pub(crate) fn address(&self) -> IpAddr {
        self.0.address
    }
}

impl Limiter {
    /// Names the proxies whose word counts. To be called once, before the first connection.
    pub(crate) fn trust(&self, proxies: TrustedProxies) {
        _ = self.proxies.set(proxies);
    }

    /// Counts a new connection, before anything of it is read.
    ///
    /// # Errors
    /// Its address has too many, or too many new ones.
    pub(crate) fn arrive(&self, hub: &Hub, address: IpAddr) -> Result<Peer, Limited> {
        if self.proxies.get().is_some_and(|it| it.contain(address)) {
            return Ok(Peer(Arc::new(Origin {
                address,
                _place: None,
                is_proxy: true,
            })));
        }
        self.enter(hub, address)
    }

    /// Returns where a request on a connection comes from: from the connection's own address,
    /// unless that is a trusted proxy's. Through a proxy each request counts as a connection.
    ///
    /// # Errors
    /// As [`Self::arrive`].
    pub(crate) fn of_request(
        &self,
        hub: &Hub,
        connection: &Peer,
        headers: &HeaderMap,
    ) -> Result<Peer, Limited> {
        match self.proxies.get() {
            Some(proxies) if connection.0.is_proxy => {
                self.enter(hub, proxies.client(connection.0.address, headers))
            }
            _ => Ok(connection.clone()),
        }
    }

    /// Counts one connection of an address.
    fn enter(&self, hub: &Hub, address: IpAddr) -> Result<Peer, Limited> {
        let limits = hub.limits();
        let default = Limits::default();
        let counts = |limit, default| !address.to_canonical().is_loopback() || limit != default;
        let rate = limits.address_handshakes_per_second;
        if counts(rate, default.address_handshakes_per_second) {
            let rate = Allowance::new(rate, SECOND, rate * HANDSHAKES_SECONDS);
            let taken = locked(&self.handshakes).take(address.into(), 1, rate, Instant::now());
            told(hub, Limit::AddressHandshakes, taken)?;
        }
        let most = limits.address_connections;
        let mut place = None;
        if counts(most, default.address_connections) {
            place = self.addresses.enter(address.into(), most);
            let entered = place.as_ref().map(drop).ok_or(LATER);
            told(hub, Limit::AddressConnections, entered)?;
        }
        Ok(Peer(Arc::new(Origin {
            address,
            _place: place,
            is_proxy: false,
        })))
    }

    /// Counts one request that publishes or reads a channel, by the key's or user's name, or by the
    /// address of somebody who shows nothing. A key without a name allows everything and is the
    /// operator's own; it is not counted.
    ///
    /// # Errors
    /// `key_requests_per_second` is reached.
    pub(crate) fn request(
        &self,
        hub: &Hub,
        (grant, peer): (&Grant, Option<&Peer>),
    ) -> Result<(), Limited> {
        let limits = hub.limits();
        let asker = asker(grant, peer);
        let counts = match (&asker, peer) {
            (Asker::User(_) | Asker::Key(_), _) => true,
            (Asker::Address(_), Some(Peer(origin))) if grant.who != Who::Key => {
                let default = Limits::default().key_requests_per_second;
                let is_set = limits.key_requests_per_second != default;
                is_set || !origin.address.to_canonical().is_loopback()
            }
            _ => false,
        };
        if !counts {
            return Ok(());
        }
        let (rate, burst) = (limits.key_requests_per_second, limits.key_requests_burst);
        let rate = Allowance::new(rate, SECOND, burst);
        let taken = locked(&self.requests).take(asker, 1, rate, Instant::now());
        told(hub, Limit::KeyRequests, taken)
    }

    /// Counts messages that are to be published, where their channels' rules have a rate: all of
    /// them or none. Keys are not held to it: each speaks for many.
    ///
    /// # Errors
    /// Which message it is, and the rule's `publish_rate`.
    pub(crate) fn publish(
        &self,
        hub: &Hub,
        (grant, peer): (&Grant, Option<&Peer>),
        messages: &[Outgoing],
    ) -> Result<(), (usize, Limited)> {
        if grant.who == Who::Key {
            return Ok(());
        }
        // By channel: how many, the index of the last, and the rate.
        let mut counts: Vec<(&Channel, u32, usize, Allowance)> = Vec::new();
        for (index, message) in messages.iter().enumerate() {
            let channel = &message.channel;
            let Some(rate) = grant.limits(channel).publish_rate else {
                continue;
            };
            match counts.iter_mut().find(|it| it.0 == channel) {
                Some(known) => (known.1, known.2) = (known.1 + 1, index),
                None => counts.push((channel, 1, index, rate.into())),
            }
        }
        if counts.is_empty() {
            return Ok(());
        }
        let (asker, now) = (asker(grant, peer), Instant::now());
        let mut buckets = locked(&self.publishes);
        for (channel, count, index, rate) in &counts {
            let key = (asker.clone(), Channel::clone(channel));
            let waits = buckets.wait(&key, *count, *rate, now);
            let taken = waits.map_or(Ok(()), Err);
            told(hub, Limit::PublishRate, taken).map_err(|limited| (*index, limited))?;
        }
        for (channel, count, _, rate) in counts {
            let key = (asker.clone(), Channel::clone(channel));
            // There is room: it was asked for just now, under the same lock.
            _ = buckets.take(key, count, rate, now);
        }
        Ok(())
    }
}

fn asker(grant: &Grant, peer: Option<&Peer>) -> Asker {
    match (&grant.name, peer) {
        (Some(name), _) if grant.who == Who::User => Asker::User(Arc::clone(name)),
        (Some(name), _) => Asker::Key(Arc::clone(name)),
        (None, Some(Peer(origin))) => Asker::Address(origin.address.into()),
        (None, None) => Asker::Unknown,
    }
}

/// Counts a refusal, if it is one.
fn told(hub: &Hub, limit: Limit, taken: Result<(), Duration>) -> Result<(), Limited> {
    taken.map_err(|after| {
        hub.counts().count_limited(limit);
        Limited { limit, after }
    })
}

fn locked<T>(table: &Mutex<T>) -> MutexGuard<'_, T> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}
