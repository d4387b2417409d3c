//! Counts what the sockets of one measurement receive: deliveries, latencies, losses and repetitions.

use std::{
    cell::{Cell, RefCell},
    time::Instant,
};

use hdrhistogram::Histogram;
use memchr::memmem::Finder;
use tokio::sync::mpsc;

use crate::protocol::{Protocol, Said};

/// Returns an empty histogram of microseconds up to a minute, exact to two digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 2).expect("invariant: sound bounds")
}

/// Returns a message's data: its publisher, its number and when it was due (microseconds), padded to its size in bytes.
pub(crate) fn data(publisher: usize, number: u64, due: u64, bytes: usize) -> String {
    // With JSON's quotes it has the size that the scenario says.
    let mut data = format!("{publisher}.{number}.{due}.");
    data.extend(std::iter::repeat_n(
        'x',
        bytes.saturating_sub(2 + data.len()),
    ));
    data
}

/// Everything is in cells and not in locks: all sockets of the load share one thread.
pub(crate) struct Heard {
    protocol: &'static dyn Protocol,
    /// Finds where data begins in a text, without parsing JSON: that would make the load the limit.
    before_data: Finder<'static>,
    /// The instant from which all times count.
    /// Shared with the clock, whose moments count from here.
    pub(crate) start: Instant,
    /// The number of the first message that counts; earlier ones are warm-up.
    first: u64,
    /// How often each message was received.
    /// From the first that counts; a `u16`, as a channel has at most some thousand subscribers.
    times: RefCell<Vec<u16>>,
    /// From when a message was due until it came, in microseconds.
    pub(crate) ages: RefCell<Histogram<u64>>,
    pub(crate) deliveries: Cell<u64>,
    /// When the last delivery came, in microseconds since the start.
    pub(crate) last: Cell<u64>,
    /// Commands that the server refused.
    pub(crate) refused: Cell<u64>,
    /// Sockets that the server closed.
    pub(crate) closed: Cell<u64>,
    /// Receives a notice of each message that was received a given number of times.
    whole: Option<(u16, mpsc::Sender<()>)>,
}

impl Heard {
    pub(crate) fn new(protocol: &'static dyn Protocol, first: u64, messages: u64) -> Self {
        Self {
            protocol,
            before_data: Finder::new(protocol.before_data()),
            start: Instant::now(),
            first,
            times: RefCell::new(vec![0; messages as usize]),
            ages: RefCell::new(histogram()),
            deliveries: Cell::new(0),
            last: Cell::new(0),
            refused: Cell::new(0),
            closed: Cell::new(0),
            whole: None,
        }
    }

    /// As `new`, but every message counts, and a notice is sent of each one that was received a given number of times.
    pub(crate) fn watched(
        protocol: &'static dyn Protocol,
        messages: u64,
        (each, on_their_way): (u16, usize),
    ) -> (Self, mpsc::Receiver<()>) {
        let (sender, receiver) = mpsc::channel(on_their_way);
        let whole = Some((each, sender));
        (
            Self {
                whole,
                ..Self::new(protocol, 0, messages)
            },
            receiver,
        )
    }

    /// Returns the microseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.start.elapsed().as_micros() as u64
    }

    /// Takes a text from the server, which may hold several messages. Returns what must be answered, if anything.
    pub(crate) fn text(&self, text: &[u8]) -> Option<&'static str> {
        let mark = self.protocol.before_data().len();
        let mut any = false;
        // The whole text is data, and holds one message.
        if mark == 0 {
            any = self.message(text);
        } else {
            // Some servers put several messages into one text.
            for at in self.before_data.find_iter(text) {
                any |= self.message(&text[at + mark..]);
            }
        }
        // The usual case ends here, and no text is parsed.
        if any {
            return None;
        }
        // Only what is no message is looked at more closely; that is rare.
        match self.protocol.read(&String::from_utf8_lossy(text)) {
            Said::Ping(answer) => return Some(answer),
            Said::Refused => self.refused.set(self.refused.get() + 1),
            Said::Greeting | Said::Subscribed | Said::Published | Said::Nothing => {}
        }
        None
    }

    /// Counts a message by its data. Returns false if the data is not that of a message.
    fn message(&self, data: &[u8]) -> bool {
        // Publisher, number and time, each with a dot behind it.
        let mut numbers = [0_u64; 3];
        let mut at = 0;
        for number in &mut numbers {
            let begin = at;
            while let Some(digit @ b'0'..=b'9') = data.get(at) {
                *number = *number * 10 + u64::from(digit - b'0');
                at += 1;
            }
            if at == begin || data.get(at) != Some(&b'.') {
                return false;
            }
            at += 1;
        }
        // Who published does not matter: numbers are unique.
        let [_publisher, number, due] = numbers;
        let index = number.checked_sub(self.first);
        let mut times = self.times.borrow_mut();
        // The warm-up and other measurements' messages have no counter.
        if let Some(times) = index.and_then(|index| times.get_mut(index as usize)) {
            let now = self.now();
            *times = times.saturating_add(1);
            // Exactly at the wanted number, so that a repetition gives no second notice.
            if let Some((each, sender)) = &self.whole
                && times == each
            {
                _ = sender.try_send(());
            }
            self.deliveries.set(self.deliveries.get() + 1);
            self.last.set(now);
            let age = now.saturating_sub(due);
            self.ages.borrow_mut().saturating_record(age);
        }
        true
    }

    /// Returns how many deliveries are missing and how many came again. Each message is due `each` times, except those in `but`.
    ///
    /// What came too often at one socket may hide what is missing at another, since sockets are not
    /// told apart.
    pub(crate) fn balance(&self, each: u64, but: &[u64]) -> (u64, u64) {
        let (mut lost, mut repeated) = (0, 0);
        for (number, &times) in (self.first..).zip(&*self.times.borrow()) {
            let times = u64::from(times);
            if !but.contains(&number) {
                lost += each.saturating_sub(times);
            }
            repeated += times.saturating_sub(each);
        }
        (lost, repeated)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Name;

    #[test]
    fn messages_are_told_from_everything_else() {
        let heard = Heard::new(Name::Centrifugo.protocol(), 10, 2);
        let push = |number| {
            let data = data(0, number, 0, 64);
            // JSON's quotation marks make it 64.
            assert_eq!(data.len(), 62);
            format!(r#"{{"push":{{"channel":"c","pub":{{"data":"{data}"}}}}}}"#)
        };
        // Centrifugo joins messages by a line feed.
        let both = format!("{}\n{}", push(10), push(11));
        assert_eq!(heard.text(both.as_bytes()), None);
        // Before the first that counts.
        heard.text(push(9).as_bytes());
        assert_eq!(heard.text(b"{}"), Some("{}"));
        heard.text(br#"{"id":7,"error":{"code":1}}"#);
        assert_eq!((heard.deliveries.get(), heard.refused.get()), (2, 1));
        assert_eq!(heard.balance(1, &[]), (0, 0));
        // If each was due twice, number 10 lacks one; 11 is left out, as a refused one is.
        assert_eq!(heard.balance(2, &[11]), (1, 0));
    }
}
