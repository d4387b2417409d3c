//! Ending what was allowed, on all instances: whose sessions end, and which tokens are refused from
//! then on.
//!
//! The instance that is asked publishes the order on a channel of its own, and each instance carries it out
//! when it comes, its own sender too. An order is not stored anywhere, so the instance that was
//! asked repeats it for tokens that are still to be refused: one that starts later learns of them
//! within ten seconds. What must hold: a token is noted as refused before its sessions are ended, so
//! none can come in between. Who may give an order is not known here.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use hubplane_backplane::{Error, ErrorKind, Outgoing, Result};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::{Grant, Hub, shard::Mail};

/// Where orders are published.
pub(super) const CHANNEL: &str = "$hubplane/control";
/// The version that is written and read. Orders of others are not understood.
const VERSION: u32 = 1;
/// How often the tokens that are still to be refused are told again.
const REPEAT: Duration = Duration::from_secs(10);
/// The most tokens that are refused at once; with more, the one whose end is nearest is forgotten.
const MOST_TOKENS: usize = 100_000;
/// The most orders that wait for the shards; more are lost. Nobody ends so much by hand.
const MOST_ORDERS: usize = 10_000;
/// The longest time for which a token is refused, in seconds: a year.
const MOST_SECONDS: u64 = 366 * 24 * 3_600;
/// The longest name, token id or reason of an order, in bytes.
pub const MOST_TEXT: usize = 255;
/// How long a token id is refused if nobody says when the token ends.
pub const REFUSED_FOR: Duration = Duration::from_secs(24 * 3_600);

/// Whose sessions are to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Whose {
    /// Those of a user, by name.
    User(Arc<str>),
    /// One session, by its name among all instances.
    Client(Arc<str>),
    /// Those that came with a token, by its `jti`. It is refused from then on.
    TokenId(Arc<str>),
}

impl Whose {
    /// Returns the name or id.
    pub fn text(&self) -> &str {
        let (Self::User(text) | Self::Client(text) | Self::TokenId(text)) = self;
        text
    }
}

/// An order to end sessions, as it travels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Order {
    v: u32,
    pub(crate) whose: Whose,
    /// What the clients are told.
    pub(crate) reason: Arc<str>,
    /// For how many more seconds a token is refused.
    refused_for: u64,
}

/// The tokens that are refused, by their ids, and which of them this instance tells the others of.
#[derive(Debug, Default)]
pub(crate) struct Refused {
    tokens: Mutex<Tokens>,
    /// Wakes [`run`] for orders that have come.
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Tokens {
    /// Orders that the shards have not been told yet.
    orders: Vec<Arc<Order>>,
    until: HashMap<Arc<str>, Instant>,
    told_by_us: Vec<(Arc<str>, Instant)>,
}

impl Refused {
    fn lock(&self) -> MutexGuard<'_, Tokens> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns true if a token with this id is refused now.
    fn has(&self, id: &str, now: Instant) -> bool {
        self.lock().until.get(id).is_some_and(|until| *until > now)
    }
}

impl Tokens {
    /// Notes that a token is refused. An order that is told again does not make the time longer
    /// than the first one said.
    fn refuse(&mut self, id: &Arc<str>, until: Instant, now: Instant) {
        if self.until.len() >= MOST_TOKENS && !self.until.contains_key(id) {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= MOST_TOKENS {
                let nearest = self.until.iter().min_by_key(|(_, until)| **until);
                let nearest = nearest.map(|(id, _)| Arc::clone(id));
                nearest.map(|id| self.until.remove(&id));
            }
        }
        self.until.entry(Arc::clone(id)).or_insert(until);
    }

    /// Returns the orders that this instance tells again.
    fn again(&mut self, now: Instant) -> Vec<Order> {
        self.told_by_us.retain(|(_, until)| *until > now);
        let orders = self.told_by_us.iter().map(|(id, until)| Order {
            v: VERSION,
            whose: Whose::TokenId(Arc::clone(id)),
            reason: Arc::from("the token was revoked"),
            refused_for: until.saturating_duration_since(now).as_secs().max(1),
        });
        orders.collect()
    }
}

impl Order {
    fn outgoing(&self) -> Outgoing {
        let text = serde_json::to_vec(self).expect("invariant: texts and numbers are JSON");
        Outgoing::new(CHANNEL, Bytes::from(text))
    }

    /// Reads an order. Whatever comes from the broker is untrusted. `None` if it is not understood.
    fn read(data: &[u8]) -> Option<Self> {
        let order: Self = serde_json::from_slice(data).ok()?;
        let fits = order.whose.text().len() <= MOST_TEXT && order.reason.len() <= MOST_TEXT;
        let fits = fits && order.refused_for <= MOST_SECONDS;
        (order.v == VERSION && fits).then_some(order)
    }
}

impl Hub {
    /// Ends sessions on all instances, and tells their clients the reason. A token id is refused
    /// for `refused_for` from now on. Returns when the broker has taken the order.
    ///
    /// # Errors
    /// `Rejected`: a text is longer than [`MOST_TEXT`] bytes. Others as the broker answers; nothing
    /// has ended then, or it is unknown.
    pub async fn disconnect(
        &self,
        whose: Whose,
        reason: &str,
        refused_for: Duration,
    ) -> Result<()> {
        let order = Order {
            v: VERSION,
            whose,
            reason: reason.into(),
            refused_for: refused_for.as_secs().clamp(1, MOST_SECONDS),
        };
        let data = order.outgoing();
        if Order::read(&data.data).is_none() {
            let message = format!("a name, an id or a reason has at most {MOST_TEXT} bytes");
            return Err(Error::new(ErrorKind::Rejected, "hub", message));
        }
        if let Whose::TokenId(id) = &order.whose {
            // Noted here at once: this instance must refuse it also while its broker is slow.
            let now = Instant::now();
            let until = now + Duration::from_secs(order.refused_for);
            let mut tokens = self.refused().lock();
            tokens.refuse(id, until, now);
            tokens.told_by_us.push((Arc::clone(id), until));
        }
        let busy = |_| {
            Error::new(
                ErrorKind::Unavailable,
                "hub",
                "too much waits for the broker",
            )
        };
        let mut answers = self.publish(vec![data]).await.map_err(busy)?;
        answers.pop().map_or(Ok(()), |answer| answer.map(drop))
    }

    /// Returns true unless the grant's token was revoked.
    pub fn admits(&self, grant: &Grant) -> bool {
        let id = grant.token_id.as_ref();
        !id.is_some_and(|id| self.refused().has(id, Instant::now()))
    }

    /// Takes an order that has come from the broker. [`run`] passes it on.
    pub(crate) fn ordered(&self, data: &[u8]) {
        let Some(order) = Order::read(data) else {
            tracing::debug!("an order that is not understood was passed over");
            return;
        };
        let mut tokens = self.refused().lock();
        if let Whose::TokenId(id) = &order.whose {
            let now = Instant::now();
            tokens.refuse(id, now + Duration::from_secs(order.refused_for), now);
        }
        if tokens.orders.len() < MOST_ORDERS {
            tokens.orders.push(Arc::new(order));
            self.refused().arrived.notify_one();
        }
    }
}

/// Passes orders on to the shards, and tells the tokens again that this instance was asked to
/// refuse, as long as the hub lives.
pub(crate) async fn run(hub: Arc<Hub>) {
    let mut ticks = tokio::time::interval(REPEAT);
    loop {
        tokio::select! {
            () = hub.refused().arrived.notified() => {
                let orders = std::mem::take(&mut hub.refused().lock().orders);
                for order in orders {
                    hub.post(|| Mail::Disconnect(Arc::clone(&order))).await;
                }
            }
            _ = ticks.tick() => {
                let orders = hub.refused().lock().again(Instant::now());
                for order in orders {
                    // One that does not get through is told again the next time.
                    _ = hub.publish(vec![order.outgoing()]).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_refused_until_its_end() {
        let (refused, now) = (Refused::default(), Instant::now());
        let second = Duration::from_secs(1);
        refused.lock().refuse(&"t1".into(), now + second, now);
        // Told again later, with a rounded time.
        refused.lock().refuse(&"t1".into(), now + 9 * second, now);
        assert!(refused.has("t1", now) && !refused.has("t2", now));
        assert!(!refused.has("t1", now + second));
    }

    #[test]
    fn the_table_of_tokens_is_bounded() {
        let (refused, now) = (Refused::default(), Instant::now());
        let mut tokens = refused.lock();
        for number in 0..=MOST_TOKENS {
            let until = now + Duration::from_secs(1 + number as u64);
            tokens.refuse(&number.to_string().into(), until, now);
        }
        assert_eq!(tokens.until.len(), MOST_TOKENS);
        assert!(!tokens.until.contains_key("0"), "the one that ends first");
    }

    #[test]
    fn orders_from_the_broker_are_checked() {
        let order = |whose| Order {
            v: VERSION,
            whose,
            reason: "left the company".into(),
            refused_for: 60,
        };
        let one = order(Whose::TokenId("t1".into()));
        assert_eq!(Order::read(&one.outgoing().data), Some(one.clone()));
        let long = order(Whose::User("u".repeat(MOST_TEXT + 1).into()));
        assert_eq!(Order::read(&long.outgoing().data), None);
        let newer = Order { v: 2, ..one };
        assert_eq!(Order::read(&newer.outgoing().data), None);
        assert_eq!(Order::read(b"{"), None);
    }
}
