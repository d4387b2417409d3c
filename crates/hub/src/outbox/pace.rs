//! At most so many of a channel's messages a second, as the client wished: what comes faster is
//! replaced by the newest, which waits until its time. Pure: the time is handed in.
//!
//! What waits here is shared with all who wait for the same message, and no older than a second, so
//! it needs no limit of its own.

use std::time::Instant;

use crate::{frame::Frame, max_rate::MaxRate};

/// The messages of one subscription with a rate.
#[derive(Debug)]
pub(super) struct Pace {
    rate: MaxRate,
    /// Before this time nothing is sent.
    next: Instant,
    /// The newest message, which waits for that time.
    held: Option<Frame>,
}

/// What became of a message that was offered to a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offered {
    /// It is to be sent now.
    Now,
    /// It waits until this time, and nothing waited before.
    Waits(Instant),
    /// It waits in the place of an older one, which is gone.
    Replaced,
}

impl Pace {
    /// Returns the pace of a subscription to which the first message is sent at once.
    pub(super) const fn new(rate: MaxRate, now: Instant) -> Self {
        Self {
            rate,
            next: now,
            held: None,
        }
    }

    /// Changes the rate from the next message on. What waits keeps its time.
    pub(super) const fn set(&mut self, rate: MaxRate) {
        self.rate = rate;
    }

    /// Takes in a message that is published now. Counts as sent if the answer is [`Offered::Now`].
    pub(super) fn offer(&mut self, frame: &Frame, now: Instant) -> Offered {
        if self.held.is_none() && self.next <= now {
            self.next = now + self.rate.interval();
            return Offered::Now;
        }
        match self.held.replace(frame.clone()) {
            None => Offered::Waits(self.next),
            Some(_) => Offered::Replaced,
        }
    }

    /// Returns the message that waits if its time has come. It counts as sent now, however late that
    /// is, so two are never closer than the rate says.
    pub(super) fn take_due(&mut self, now: Instant) -> Option<Frame> {
        let frame = self.held.take_if(|_| self.next <= now)?;
        self.next = now + self.rate.interval();
        Some(frame)
    }

    /// Drops what waits.
    pub(super) fn drop_held(&mut self) {
        self.held = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A message every 10 ms for two seconds, at 5 a second.
    #[test]
    fn the_newest_wins_and_none_comes_too_early() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::new(MaxRate::new(5).unwrap(), start);
        let mut sent = Vec::new();
        let mut due = None;
        for millis in (0..2_000).step_by(10) {
            if due.is_some_and(|due| due <= at(millis)) {
                let held = pace.take_due(at(millis)).unwrap();
                sent.push((millis, String::from_utf8(held.to_vec()).unwrap()));
                due = None;
            }
            match pace.offer(&millis.to_string().into(), at(millis)) {
                Offered::Now => sent.push((millis, millis.to_string())),
                Offered::Waits(until) => due = Some(until),
                Offered::Replaced => assert!(due.is_some()),
            }
        }
        let times: Vec<_> = (0..10).map(|it| it * 200).collect();
        assert_eq!(sent.iter().map(|it| it.0).collect::<Vec<_>>(), times);
        for (millis, data) in &sent[1..] {
            assert_eq!(
                *data,
                (millis - 10).to_string(),
                "the newest before its time"
            );
        }
        assert!(pace.take_due(at(1_990)).is_none(), "not yet");
        assert_eq!(pace.take_due(at(9_000)).unwrap(), "1990");
        assert_eq!(
            pace.offer(&"late".into(), at(9_100)),
            Offered::Waits(at(9_200))
        );
        pace.drop_held();
        assert!(pace.take_due(at(9_999)).is_none());
        assert_eq!(pace.offer(&"last".into(), at(9_999)), Offered::Now);
    }
}
