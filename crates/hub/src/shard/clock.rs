//! Pings, unanswered pings, sockets that take nothing, and sessions that were told to end.

use std::time::{Duration, Instant};

use super::ShardState;
use crate::{
    Hub,
    command::Ending,
    format::SessionName,
    key::Key,
    limits::Limits,
    session::{Phase, Session, SessionSetup},
};

/// How often the sessions are looked over: how late a time limit may be noticed.
pub(super) const TICK: Duration = Duration::from_millis(250);

/// How the sessions of an instance that stops are ended: evenly over a time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    since: Instant,
    over: Duration,
    /// Sessions at the beginning, and how many of them were told to end.
    all: usize,
    ended: usize,
}

impl Drain {
    pub(super) fn new(over: Duration, all: usize) -> Self {
        Self {
            since: Instant::now(),
            over,
            all,
            ended: 0,
        }
    }

    /// How many are to be told to end now.
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
    /// Tells those to end whose turn it is.
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

    pub(super) fn open(&mut self, hub: &Hub, setup: SessionSetup) -> Key {
        let serial = self.next_serial;
        self.next_serial = serial.wrapping_add(1);
        let first_ping = Instant::now() + spread(hub.limits(), serial);
        let encoding = setup.encoding;
        let session = Box::new(Session::new(serial, setup, first_ping));
        let index = self.sessions.insert(session);
        hub.count_session(self.index, 1);
        let index = u32::try_from(index).expect("invariant: the connection limit is below 2^32");
        let key = Key { index, serial };
        if let Some(greeting) = encoding.greeting(&self.name(hub, key)) {
            self.queue(hub, key, |_| greeting);
        }
        key
    }

    /// A session's name among those of all instances.
    pub(super) fn name(&self, hub: &Hub, key: Key) -> SessionName {
        SessionName {
            origin: hub.origin,
            shard: u32::try_from(self.index).expect("invariant: there are few shards"),
            key,
        }
    }

    /// Tells a session that it ends; it is dropped when the client has closed, or after a while.
    pub(super) fn end(&mut self, hub: &Hub, index: u32, ending: Ending) {
        let session = &mut self.sessions[index as usize];
        session.end(ending, Instant::now() + hub.limits().handshake_timeout / 2);
        session.wake();
        self.unwritten.mark(index, session);
    }

    /// Looks over all sessions.
    pub(super) fn tick(&mut self, hub: &Hub) {
        let (now, limits) = (Instant::now(), hub.limits());
        let mut gone = Vec::new();
        let mut ending = Vec::new();
        for (index, session) in &mut self.sessions {
            let index = index as u32;
            let stuck = session
                .blocked_since
                .is_some_and(|since| now - since >= limits.write_timeout);
            match session.phase {
                _ if stuck => gone.push(index),
                Phase::Quiet | Phase::AwaitingPong if session.setup.grant.is_over(now) => {
                    ending.push((index, Ending::Expired));
                }
                _ if now < session.clock => {}
                Phase::Ending => gone.push(index),
                // The hub itself keeps the answer from being read.
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

/// When a session's first ping is due: between half and the whole interval, so that clients that came together
/// are not all asked at once.
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
