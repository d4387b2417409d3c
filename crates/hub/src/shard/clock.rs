//! What a shard does by the clock: it pings quiet sessions, ends those that don't answer, whose
//! socket takes nothing or whose grant is over, and spreads the ends of a drain over its time.
//!
//! One timer serves all sessions of the shard. Times are compared at each [`TICK`], so a limit is
//! noticed up to that much later.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::ShardState;
use crate::{
    Hub,
    command::{Ending, Reply},
    connections::{Connection, MOST_CONNECTIONS},
    disconnect::{Order, Whose},
    format::SessionName,
    grant::Who,
    key::Key,
    limits::Limits,
    session::{Phase, Session, SessionSetup},
};

/// How often the sessions are looked over, and so how late a time limit may be noticed.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How many sessions one look ends because their time is over, so that the others need not wait for
/// as many last frames.
const ENDS_AT_ONCE: usize = 1_000;

/// How far an instance that stops has come in ending its sessions. They end evenly over a time, so
/// that their clients don't all arrive at the other instances at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: Instant,
    over: Duration,
    /// How many sessions there were at the beginning.
    all: usize,
    /// How many sessions were told to end so far.
    ended: usize,
}

impl Drain {
    /// Begins now, for `all` sessions, to be done after the time `over`.
    pub(super) fn new(over: Duration, all: usize) -> Self {
        Self {
            since: Instant::now(),
            over,
            all,
            ended: 0,
        }
    }

    /// Returns how many more sessions are to be told to end now: all that are left once the time is
    /// over.
    fn due(&mut self, now: Instant) -> usize {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= self.over {
            return usize::MAX;
        }
        let share = elapsed.as_secs_f64() / self.over.as_secs_f64();
        let due = (self.all as f64 * share).ceil() as usize;
        let some = due.saturating_sub(self.ended);
        self.ended = due;
        some
    }
}

impl ShardState {
    /// Tells those sessions to end whose turn it is. Does nothing unless the instance stops.
    pub(super) fn drain_some(&mut self, hub: &Hub) {
        let Some(drain) = &mut self.drain else {
            return;
        };
        let due = drain.due(Instant::now());
        let open = self.sessions.iter().filter(|(_, it)| !it.is_ending());
        let some: Vec<_> = open.take(due).map(|(index, _)| index as u32).collect();
        for index in some {
            self.end(hub, index, Ending::Restart);
        }
    }

    /// Adds a session and queues its format's greeting, if it has one. Returns the session's key,
    /// which stays valid until the session is removed and is never reused while this shard runs
    /// through fewer than 2^32 sessions.
    pub(super) fn open(&mut self, hub: &Hub, setup: SessionSetup) -> Key {
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let first_ping = Instant::now() + spread(hub.limits(), serial);
        let encoding = setup.encoding;
        let session = Box::new(Session::new(serial, setup, first_ping));
        let index = self.sessions.insert(session);
        hub.count_session(self.index, 1);
        let grant = &self.sessions[index].setup.grant;
        hub.users().enter(grant);
        let too_many = hub.has_too_many(grant);
        let index = u32::try_from(index).expect("invariant: the connection limit is below 2^32");
        let key = Key { index, serial };
        if !hub.admits(&self.sessions[index as usize].setup.grant) {
            // Revoked between the check of the token and now.
            self.end(
                hub,
                index,
                Ending::Disconnected("the token was revoked".into()),
            );
        }
        if too_many {
            // Several handshakes of one user were let through at once.
            let reason = "the limit user_connections is reached";
            self.end(hub, index, Ending::Disconnected(reason.into()));
        }
        if let Some(greeting) = encoding.greeting(&self.name(hub, key)) {
            self.queue(hub, key, |_| greeting);
        }
        key
    }

    /// Returns a session's name, which is unique among the sessions of all instances.
    pub(super) fn name(&self, hub: &Hub, key: Key) -> SessionName {
        SessionName {
            origin: hub.origin(),
            shard: u32::try_from(self.index).expect("invariant: there are few shards"),
            key,
        }
    }

    /// Queues a session's last frame. The session is removed when its client has closed, or after
    /// half of `handshake_timeout`, whichever comes first.
    pub(super) fn end(&mut self, hub: &Hub, index: u32, ending: Ending) {
        let session = &mut self.sessions[index as usize];
        session.end(ending, Instant::now() + hub.limits().handshake_timeout / 2);
        session.wake();
        self.unwritten.mark(index, session);
    }

    /// Returns the sessions of a user, as many as an answer may have.
    pub(super) fn connections_of(&self, hub: &Hub, user: &Arc<str>) -> Vec<Connection> {
        let own = self.sessions.iter().filter(|(_, session)| {
            let grant = &session.setup.grant;
            grant.who == Who::User && grant.name.as_ref() == Some(user)
        });
        let named = own.map(|(index, session)| {
            let (index, serial) = (index as u32, session.serial);
            Connection {
                client: self.name(hub, Key { index, serial }).to_string(),
                node: hub.node().to_owned(),
                subscriptions: session.subscriptions.len(),
            }
        });
        named.take(MOST_CONNECTIONS).collect()
    }

    /// Ends the sessions that an order names.
    pub(super) fn disconnect(&mut self, hub: &Hub, order: &Order) {
        let client = match &order.whose {
            // Another text is the name of no session.
            Whose::Client(name) => name.parse::<SessionName>().ok(),
            _ => None,
        };
        let mut meant = Vec::new();
        for (index, session) in &self.sessions {
            let (index, grant) = (index as u32, &session.setup.grant);
            let is_meant = match &order.whose {
                Whose::User(user) => grant.who == Who::User && grant.name.as_ref() == Some(user),
                Whose::TokenId(id) => grant.token_id.as_ref() == Some(id),
                Whose::Client(_) => {
                    let serial = session.serial;
                    client == Some(self.name(hub, Key { index, serial }))
                }
            };
            if is_meant {
                meant.push(index);
            }
        }
        for index in meant {
            self.end(hub, index, Ending::Disconnected(Arc::clone(&order.reason)));
        }
    }

    /// Looks over all sessions, goes on with a drain, and asks the broker again for channels that
    /// are still unconfirmed. To be called every [`TICK`].
    pub(super) fn tick(&mut self, hub: &Hub) {
        let (now, limits) = (Instant::now(), hub.limits());
        // Collected first and carried out below: ending and removing need the whole state.
        let mut gone = Vec::new();
        let mut ending = Vec::new();
        for (index, session) in &mut self.sessions {
            let index = index as u32;
            if let Some(seconds) = session.expiring(now) {
                let frame = session.setup.encoding.reply(&Reply::Expiring(seconds));
                self.unwritten.queue(hub, index, session, frame);
            }
            let stuck = session
                .blocked_since
                .is_some_and(|since| now - since >= limits.write_timeout);
            match session.phase {
                // A socket that has taken nothing for so long will not take a last frame either.
                _ if stuck => gone.push(index),
                Phase::Quiet | Phase::AwaitingPong if session.setup.grant.is_over(now) => {
                    // Thousands may be over at once. The next ticks end the others; no command of
                    // theirs is carried out meanwhile.
                    if ending.len() < ENDS_AT_ONCE {
                        ending.push((index, Ending::Expired));
                    }
                }
                // Everything below waits for the session's own time.
                _ if now < session.clock => {}
                Phase::Ending => gone.push(index),
                // The hub itself does not read the socket now, so the answer may lie there.
                Phase::AwaitingPong if session.unread => session.clock = now + limits.pong_timeout,
                Phase::AwaitingPong => ending.push((index, Ending::NoPong)),
                Phase::Quiet => {
                    session.phase = Phase::AwaitingPong;
                    session.clock = now + limits.pong_timeout;
                    let ping = session.setup.encoding.ping();
                    self.unwritten.queue(hub, index, session, ping);
                }
            }
        }
        for (index, why) in ending {
            self.end(hub, index, why);
        }
        for index in gone {
            self.remove_index(hub, index);
        }
        self.drain_some(hub);
        self.ask_again(hub);
    }
}

/// Returns when a session's first ping is due: after half to the whole of the interval, by its
/// serial number, so that clients that came together are not all pinged at once.
fn spread(limits: &Limits, serial: u32) -> Duration {
    limits
        .ping_interval
        .mul_f64(0.5 + f64::from(serial % 64) / 128.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_end_evenly_and_all_in_the_end() {
        let mut drain = Drain::new(Duration::from_secs(10), 100);
        let start = drain.since;
        let shares: Vec<_> = (1..=9)
            .map(|second| drain.due(start + Duration::from_secs(second)))
            .collect();
        assert_eq!(shares, [10; 9]);
        assert_eq!(drain.due(start + Duration::from_secs(10)), usize::MAX);
        assert_eq!(Drain::new(Duration::ZERO, 5).due(start), usize::MAX);
    }
}
