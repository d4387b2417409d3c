//! What a backend tells its hub: events in one bounded queue, in the order in which they count.

use std::fmt;

use tokio::sync::mpsc;

use crate::{Channel, Position, Publication};

/// What a backend tells its hub, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Messages in the order of the broker, as many as had come. Never empty.
    Published(Vec<Publication>),
    /// The backend has given out everything up to this position of its lane, also if none of it was for this instance.
    /// Backends with a log send one for each lane right after `open`, and then each second for a lane that moved.
    Progress(Position),
    /// Messages may have been missed. Comes **before** the first message after the hole.
    Gap {
        /// Which channels it concerns.
        scope: Scope,
        /// Why.
        cause: GapCause,
    },
    /// The broker holds back what these lanes have got, such as behind an open transaction; it arrives later, and nothing
    /// is lost. Says all lanes that wait now, none included, and replaces what was said before. The connection is well.
    Waiting(Vec<u32>),
    /// The broker refuses these channels of interest, which it had confirmed before: a right was taken away. They are not
    /// part of the interest any more, nothing of them arrives, and all other channels are unaffected.
    Refused {
        /// Which.
        channels: Vec<Channel>,
        /// Why; for people, without secrets and without names of hosts, since clients are told.
        reason: String,
    },
    /// Nothing arrives any more until [`Event::Up`] or, from a broker of several nodes of which some are away, not
    /// everything; the reason, for people, without secrets. The backend is reconnecting. May come again with another
    /// reason that has to be known: one that does not pass by itself, such as a wrong password.
    Down(String),
    /// Messages arrive again. Sent only after a [`Event::Down`].
    Up,
}

/// Which channels a gap concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every channel.
    All,
    /// Every channel of one lane.
    Lane(u32),
    /// These channels.
    Channels(Vec<Channel>),
}

/// For log lines: names few channels, however many there are.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all channels"),
            Self::Lane(lane) => write!(f, "lane {lane}"),
            Self::Channels(channels) => Listed(channels).fmt(f),
        }
    }
}

/// Channels in a log line: how many there are, and the names of five at most.
#[derive(Clone, Copy, Debug)]
pub struct Listed<'a>(pub &'a [Channel]);

impl Listed<'_> {
    /// Names that a line shows. A hub may have a hundred thousand channels.
    const MOST: usize = 5;
}

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = &self.0[..self.0.len().min(Self::MOST)];
        let more = if self.0.len() > named.len() {
            ", …"
        } else {
            ""
        };
        let names: Vec<_> = named.iter().map(|name| format!("{name:?}")).collect();
        write!(f, "{} ({}{more})", self.0.len(), names.join(", "))
    }
}

/// Why messages may have been missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GapCause {
    /// The connection was lost, and the broker keeps nothing for those that are away.
    ConnectionLost,
    /// The broker or this instance dropped messages because it could not take them fast enough.
    Overflow,
    /// The log no longer reaches back to where this instance stopped reading.
    Trimmed,
    /// The log is another one: recreated, rolled back or repartitioned. Positions start a new epoch.
    LogReplaced,
    /// This instance's queue at the broker is gone or was cut.
    QueueLost,
    /// The broker delivered bytes that can't be read as a message.
    Undecodable,
    /// A publisher's numbers show that messages are missing, and the log has not got them either. The hub's own finding.
    Missing,
    /// What this instance publishes doesn't come back, so nothing else may have come either. The hub's own finding.
    Deaf,
    /// This client takes too little, and its subscription's rule is to drop what has waited longest. The hub's own doing.
    Slow,
}

impl GapCause {
    /// All causes.
    pub const ALL: [Self; 9] = [
        Self::ConnectionLost,
        Self::Overflow,
        Self::Trimmed,
        Self::LogReplaced,
        Self::QueueLost,
        Self::Undecodable,
        Self::Missing,
        Self::Deaf,
        Self::Slow,
    ];

    /// The cause as clients read it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConnectionLost => "connection_lost",
            Self::Overflow => "overflow",
            Self::Trimmed => "trimmed",
            Self::LogReplaced => "log_replaced",
            Self::QueueLost => "queue_lost",
            Self::Undecodable => "undecodable",
            Self::Missing => "missing",
            Self::Deaf => "deaf",
            Self::Slow => "slow",
        }
    }
}

impl fmt::Display for GapCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The backend's end of an event queue.
pub type EventSender = mpsc::Sender<Event>;

/// The hub's end of an event queue; it ends (`None`) once the backend is closed and all events are taken.
pub type Events = mpsc::Receiver<Event>;

/// A bounded event queue. `capacity` counts events, so batches: a backend that waits here stops reading from its
/// broker, which is how a slow hub is felt by the broker instead of by this process's memory.
pub fn events(capacity: usize) -> (EventSender, Events) {
    mpsc::channel(capacity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_names_few_channels() {
        let channels: Vec<Channel> = (0..100_000).map(|n| format!("c{n}").into()).collect();
        let scope = Scope::Channels(channels);
        let text = r#"100000 ("c0", "c1", "c2", "c3", "c4", …)"#;
        assert_eq!(scope.to_string(), text);
        assert_eq!(Listed(&["a".into()]).to_string(), r#"1 ("a")"#);
        assert_eq!(Scope::Lane(3).to_string(), "lane 3");
    }
}
