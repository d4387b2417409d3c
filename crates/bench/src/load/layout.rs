//! Who is subscribed to what, on which hub, who publishes, and what a message says.
//!
//! Pure arithmetic on numbers: each part of the load computes the same answer, so that none has to hold a table. A *voice*
//! is one publisher of one channel, and its *rank* its number among the publishers of that channel.

use std::io::Write;

use crate::scenario::{Publish, Scenario};

/// A scenario's clients, by number.
#[derive(Debug)]
pub(crate) struct Layout {
    /// What all names of channels begin with.
    prefix: String,
    pub(crate) connections: u32,
    pub(crate) channels: u32,
    /// Channels of one connection.
    pub(crate) each: u32,
    /// Bytes of a message's data, quotation marks included.
    payload: usize,
    pub(crate) publish: Publish,
    /// How many hubs there are; at least 1.
    hubs: usize,
}

/// What a message says: who published it, its number there, and when it was due. From these a subscriber tells what is
/// repeated, out of order or lost, and how long it took, without asking the publisher.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The publisher's rank among those of the channel.
    pub(crate) rank: u32,
    /// Counts from 1 for each channel and publisher.
    pub(crate) number: u64,
    /// When the message was due, in microseconds of the load's clock.
    pub(crate) due: u64,
}

impl Layout {
    /// Returns a scenario's layout on so many hubs. The names of the channels contain `run`, so that runs on one broker do
    /// not receive each other's messages.
    pub(crate) fn new(scenario: &Scenario, run: &str, hubs: usize) -> Self {
        Self {
            prefix: format!("bench.{run}."),
            connections: scenario.connections,
            channels: scenario.channels,
            each: scenario.channels_per_connection,
            payload: scenario.payload as usize,
            publish: scenario.publish,
            hubs,
        }
    }

    /// Subscribers of one channel. A whole number: `Scenario::parse` refuses others.
    pub(crate) const fn subscribers(&self) -> u32 {
        self.connections * self.each / self.channels
    }

    /// Publishers of one channel: one if they publish by HTTP, and otherwise all its subscribers.
    /// A message that a client publishes also comes back to it, which is why subscribers are
    /// publishers.
    pub(crate) const fn ranks(&self) -> u32 {
        match self.publish {
            Publish::Http => 1,
            Publish::WebSocket => self.subscribers(),
        }
    }

    /// How many voices there are: all publishers of all channels.
    pub(crate) const fn voices(&self) -> u32 {
        self.channels * self.ranks()
    }

    /// Returns the channel and rank of a voice.
    /// Neighbouring voices are of different channels; ranks come only after all channels had one.
    pub(crate) const fn voice(&self, voice: u32) -> (u32, u32) {
        (voice % self.channels, voice / self.channels)
    }

    /// Returns the channel to which a connection is subscribed in this slot, from 0 to `each` - 1.
    pub(crate) const fn channel_of(&self, connection: u32, slot: u32) -> u32 {
        (connection * self.each + slot) % self.channels
    }

    /// Returns the connection of a voice that publishes by its own socket.
    /// Used only where clients publish by WebSocket: each connection then has `each` voices.
    pub(crate) const fn connection_of(&self, voice: u32) -> u32 {
        voice / self.each
    }

    /// Returns the hub to which a connection goes. Each channel's subscribers are spread over all hubs: so every message
    /// passes between hubs through the broker, which is what is measured.
    pub(crate) const fn hub_of(&self, connection: u32) -> usize {
        // The first term alone would put all subscribers of a channel on one hub where the number of
        // hubs divides that of the channels; the second shifts each turn through them by one hub.
        let first = connection * self.each;
        ((first % self.channels + first / self.channels) as usize) % self.hubs
    }

    /// Returns the name of a channel.
    pub(crate) fn name(&self, channel: u32) -> String {
        format!("{}{channel}", self.prefix)
    }

    /// Returns the channel of a name, or `None` if it is not of this run.
    /// The broker may still hold messages of earlier runs, which have another prefix.
    pub(crate) fn number(&self, name: &[u8]) -> Option<u32> {
        let digits = name.strip_prefix(self.prefix.as_bytes())?;
        str::from_utf8(digits).ok()?.parse().ok()
    }

    /// Appends a message's data: a JSON string that holds the mark, filled up to the scenario's payload.
    pub(crate) fn write(&self, out: &mut Vec<u8>, mark: Mark) {
        // Quotation marks and all: the data is a JSON string as it stands.
        let begin = out.len();
        // A Vec takes everything.
        _ = write!(out, "\"{}.{}.{}.", mark.rank, mark.number, mark.due);
        // One byte is kept for the closing mark. A payload too short for its mark grows, rather
        // than lose it.
        out.resize((begin + self.payload - 1).max(out.len()), b'x');
        out.push(b'"');
    }
}

impl Mark {
    /// Reads the mark from a message as hubs push it, or returns `None` if it has none. Searches for `"data"` instead of
    /// parsing JSON: this is done for every delivery, and must cost little. A channel's name can't contain it.
    pub(crate) fn read(message: &[u8]) -> Option<Self> {
        let at = memchr::memmem::find(message, b"\"data\":\"")? + 8;
        Self::parse(&message[at..])
    }

    /// Reads the mark from what follows the opening quotation mark of the data, or returns `None` if it is not one.
    pub(crate) fn parse(mut rest: &[u8]) -> Option<Self> {
        // Reads one number up to its dot. Overflow and empty numbers are `None`: nothing that a
        // channel carries may make the load panic.
        let mut next = || -> Option<u64> {
            let mut value = 0_u64;
            for (length, byte) in rest.iter().enumerate() {
                match byte {
                    b'0'..=b'9' => value = value.checked_mul(10)? + u64::from(byte - b'0'),
                    b'.' if length > 0 => {
                        rest = &rest[length + 1..];
                        return Some(value);
                    }
                    _ => return None,
                }
            }
            None
        };
        Some(Self {
            rank: u32::try_from(next()?).ok()?,
            number: next()?,
            due: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(name: &str) -> Layout {
        Layout::new(&Scenario::find(name).unwrap(), "r", 2)
    }

    #[test]
    fn each_channel_has_its_subscribers_on_all_hubs() {
        for name in ["progress", "fanout", "chat", "large"] {
            let layout = layout(name);
            let mut found = vec![[0; 2]; layout.channels as usize];
            for connection in 0..layout.connections {
                for slot in 0..layout.each {
                    // How many subscriptions each channel has on either of the two hubs.
                    let channel = layout.channel_of(connection, slot) as usize;
                    found[channel][layout.hub_of(connection)] += 1;
                }
            }
            let each = layout.subscribers();
            assert!(found.iter().all(|on| *on == [each / 2; 2]), "{name}");
        }
    }

    #[test]
    fn who_publishes_by_his_socket_is_subscribed_there() {
        let layout = layout("chat");
        for voice in 0..layout.voices() {
            // The rank is not needed: whichever it is, the connection must have the channel.
            let (channel, _) = layout.voice(voice);
            let slot = voice % layout.each;
            assert_eq!(
                layout.channel_of(layout.connection_of(voice), slot),
                channel
            );
        }
    }

    #[test]
    fn a_mark_comes_back_as_it_was_written() {
        let (layout, mut out) = (layout("progress"), b"{\"data\":".to_vec());
        let mark = Mark {
            rank: 3,
            number: 70,
            due: 123_456_789,
        };
        layout.write(&mut out, mark);
        // Eight bytes of `{"data":`, then the scenario's 128 bytes with both quotation marks.
        assert_eq!(out.len(), 8 + 128);
        assert_eq!(Mark::read(&out), Some(mark));
        assert_eq!(layout.number(layout.name(17).as_bytes()), Some(17));
        // A letter where digits belong is no mark.
        assert_eq!(Mark::read(b"{\"data\":\"1.x.3.\"}"), None);
    }
}
