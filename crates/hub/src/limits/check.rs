//! Checks whether the limits make sense, alone and together. Everything that could never work is
//! refused at the start, by a sentence that names the limit and what it may be.

use std::time::Duration;

use super::Limits;

/// The most of anything that is counted.
const COUNT: usize = 1_000_000_000;
/// The most bytes of one client's message or queue.
const ONE: usize = 1 << 30;
/// The most bytes of what all clients share.
const ALL: usize = 1 << 40;
/// The longest time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3_600);
/// What a frame has beside a message's data, at most: a channel, an id, a position, field names.
const FRAME: usize = 4 * 1024;

impl Limits {
    /// Checks that each limit is in its range and that none contradicts another.
    ///
    /// # Errors
    /// A sentence that names the limit and what it may be.
    pub fn check(&self) -> Result<(), String> {
        // Ranges first: the comparisons below may then add and double without an overflow.
        self.check_counts()?;
        self.check_sizes()?;
        self.check_times()?;
        self.check_message_fits()?;
        self.check_order()
    }

    /// Each count must be at least 1: with 0 nothing would ever be let through.
    fn check_counts(&self) -> Result<(), String> {
        for (name, value) in [
            ("connections", self.connections),
            ("fragments", self.fragments),
            ("subscriptions", self.subscriptions),
            ("session_publishes", self.session_publishes),
            ("address_connections", self.address_connections),
            (
                "address_handshakes_per_second",
                self.address_handshakes_per_second,
            ),
            ("user_connections", self.user_connections),
            ("key_requests_per_second", self.key_requests_per_second),
            ("key_requests_burst", self.key_requests_burst),
            (
                "session_subscribes_per_second",
                self.session_subscribes_per_second,
            ),
            ("session_subscribes_burst", self.session_subscribes_burst),
            (
                "session_publishes_per_second",
                self.session_publishes_per_second,
            ),
            ("session_publishes_burst", self.session_publishes_burst),
            ("outbox_frames", self.outbox_frames),
            ("batch_messages", self.batch_messages),
            ("publish_messages", self.publish_messages),
            ("recovery_messages", self.recovery_messages),
            ("history_requests", self.history_requests),
            ("presence_members", self.presence_members),
            ("presence_page", self.presence_page),
            ("presence_questions", self.presence_questions),
        ] {
            in_range(name, value, COUNT)?;
        }
        Ok(())
    }

    /// Each size must be at least 1 and within its own bound.
    fn check_sizes(&self) -> Result<(), String> {
        for (name, value, most) in [
            ("message_bytes", self.message_bytes, ONE),
            (
                "inbound_bytes_per_second",
                self.inbound_bytes_per_second,
                ONE,
            ),
            ("inbound_burst", self.inbound_burst, ONE),
            (
                "inbound_key_bytes_per_second",
                self.inbound_key_bytes_per_second,
                ONE,
            ),
            ("inbound_key_burst", self.inbound_key_burst, ONE),
            ("empty_frames", self.empty_frames, u16::MAX as usize),
            ("outbox_bytes", self.outbox_bytes, ONE),
            ("body_bytes", self.body_bytes, ONE),
            ("recovery_bytes", self.recovery_bytes, ONE),
            ("history_bytes", self.history_bytes, ONE),
            ("unfinished_bytes", self.unfinished_bytes, ALL),
            ("publish_bytes", self.publish_bytes, ALL),
            ("window_bytes", self.window_bytes, ALL),
            ("outboxes_bytes", self.outboxes_bytes, ALL),
        ] {
            in_range(name, value, most)?;
        }
        Ok(())
    }

    /// A time of zero is allowed only where it means “at once”.
    fn check_times(&self) -> Result<(), String> {
        let millisecond = Duration::from_millis(1);
        for (name, value, least) in [
            ("publish_timeout", self.publish_timeout, millisecond),
            ("header_timeout", self.header_timeout, millisecond),
            ("body_timeout", self.body_timeout, millisecond),
            ("handshake_timeout", self.handshake_timeout, millisecond),
            ("ping_interval", self.ping_interval, millisecond),
            ("pong_timeout", self.pong_timeout, millisecond),
            ("write_timeout", self.write_timeout, millisecond),
            ("user_timeout", self.user_timeout, millisecond),
            ("interest_linger", self.interest_linger, Duration::ZERO),
            ("window_age", self.window_age, millisecond),
            ("id_memory", self.id_memory, millisecond),
            ("presence_grace", self.presence_grace, Duration::ZERO),
            ("presence_beat", self.presence_beat, millisecond),
            ("presence_dead", self.presence_dead, millisecond),
            ("beacon_interval", self.beacon_interval, millisecond * 10),
            ("deaf_after", self.deaf_after, millisecond * 20),
        ] {
            // A bound keeps sums of times far from an overflow.
            if !(least..=YEAR).contains(&value) {
                return Err(format!(
                    "the limit {name} is {value:?}; it may be from {least:?} to 365d"
                ));
            }
        }
        Ok(())
    }

    /// Whatever holds messages must have room for the largest one, or that one could never pass.
    fn check_message_fits(&self) -> Result<(), String> {
        // A message waits with its frame around it.
        let least = self.message_bytes + FRAME;
        for (name, value) in [
            ("inbound_burst", self.inbound_burst),
            ("outbox_bytes", self.outbox_bytes),
            ("body_bytes", self.body_bytes),
            ("publish_bytes", self.publish_bytes),
            ("window_bytes", self.window_bytes),
            ("recovery_bytes", self.recovery_bytes),
        ] {
            if value < least {
                return Err(format!(
                    "the limit {name} is {value}, which has no room for a message of message_bytes ({}); it may be {least} \
                     (message_bytes and {FRAME} for its frame) or more",
                    self.message_bytes
                ));
            }
        }
        // Otherwise one client alone would reach the limit of all.
        if self.outboxes_bytes < self.outbox_bytes {
            return Err(format!(
                "the limit outboxes_bytes is {}, for all clients together; it may be outbox_bytes, the limit of one client \
                 ({}), or more",
                self.outboxes_bytes, self.outbox_bytes
            ));
        }
        Ok(())
    }

    /// Some times must be longer than others.
    fn check_order(&self) -> Result<(), String> {
        // A session waits for one answer at a time.
        if self.pong_timeout > self.ping_interval {
            return Err(format!(
                "the limit pong_timeout is {:?}; it may be ping_interval ({:?}) at most: a client answers one ping before the \
                 next is sent",
                self.pong_timeout, self.ping_interval
            ));
        }
        // One sign may be late; only the second that is missing means something.
        let twice = |name, value: Duration, of, interval: Duration, why| match value < interval * 2
        {
            true => Err(format!(
                "the limit {name} is {value:?}; it may be twice {of} ({interval:?}) or more: {why}"
            )),
            false => Ok(()),
        };
        twice(
            "deaf_after",
            self.deaf_after,
            "beacon_interval",
            self.beacon_interval,
            "one late beacon is no sign of deafness",
        )?;
        twice(
            "presence_dead",
            self.presence_dead,
            "presence_beat",
            self.presence_beat,
            "one late sign of life is no sign of death",
        )
    }
}

/// Checks one number against its range, from 1 to `most`.
fn in_range(name: &str, value: usize, most: usize) -> Result<(), String> {
    match (1..=most).contains(&value) {
        true => Ok(()),
        false => Err(format!(
            "the limit {name} is {value}; it may be from 1 to {most}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    fn checked(limits: &str) -> Result<(), String> {
        let limits: Limits = toml::from_str(limits).expect(limits);
        limits.check()
    }

    fn said(limits: &str) -> String {
        checked(limits).expect_err(limits)
    }

    #[test]
    fn what_makes_no_sense_is_refused_by_name() {
        for (limits, name) in [
            ("connections = 0", "connections"),
            ("connections = 99999999999", "connections"),
            ("fragments = 0", "fragments"),
            ("address_connections = 0", "address_connections"),
            ("user_connections = 0", "user_connections"),
            ("session_publishes_burst = 0", "session_publishes_burst"),
            ("subscriptions = 0", "subscriptions"),
            ("outbox_frames = 0", "outbox_frames"),
            ("publish_messages = 0", "publish_messages"),
            ("message_bytes = 0", "message_bytes"),
            ("beacon_interval = \"0s\"", "beacon_interval"),
            ("ping_interval = \"0s\"", "ping_interval"),
            ("ping_interval = \"1000d\"", "ping_interval"),
            ("id_memory = \"0s\"", "id_memory"),
            ("window_bytes = 1000", "window_bytes"),
            ("outbox_bytes = 65536", "outbox_bytes"),
            ("message_bytes = 2000000", "inbound_burst"),
            ("outboxes_bytes = 70000", "outboxes_bytes"),
            ("pong_timeout = \"26s\"", "pong_timeout"),
            ("deaf_after = \"1s\"", "deaf_after"),
            ("presence_dead = \"9s\"", "presence_dead"),
        ] {
            let said = said(limits);
            assert!(said.contains(&format!("the limit {name} is ")), "{said}");
            assert!(said.contains("it may be "), "{said}");
        }
    }

    #[test]
    fn what_makes_sense_passes() {
        for limits in [
            "",
            "presence_grace = \"0s\"\ninterest_linger = \"0s\"",
            "message_bytes = 1000\nwindow_bytes = 6000",
            "ping_interval = \"1h\"\npong_timeout = \"1h\"",
        ] {
            checked(limits).expect(limits);
        }
    }
}
