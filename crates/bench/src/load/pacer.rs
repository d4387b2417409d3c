//! The schedule: which message is due when, whatever comes of the ones before (an open loop).
//!
//! If it waited for answers, a slow hub would get fewer messages just when it is slow, and look better than it is.

use std::{io, sync::Arc, thread, time::Duration};

use hdrhistogram::Histogram;

use super::{
    clock::Clock,
    frame,
    layout::{Layout, Mark},
    publisher::{Publishers, Ticket},
    sockets::Sockets,
    tally::{Stage, histogram},
};

/// Microseconds by which this thread may wake up late without harm. Up to this, a message is due when the thread is awake:
/// the delay is the operating system's and not the hub's. Beyond it, the message is due when the schedule says.
const SLACK: u64 = 1_000;
/// The shortest sleep, so that this thread does not spin.
const NAP: Duration = Duration::from_micros(50);

/// Where messages go out.
/// HTTP where a backend publishes, sockets where clients do; the scenario says which.
#[derive(Clone, Copy, Debug)]
pub(super) enum Out<'a> {
    Http(&'a Publishers),
    Sockets(&'a Sockets),
}

/// What the schedule did in the time that counts.
#[derive(Debug)]
pub(super) struct Paced {
    /// Messages that were due.
    pub(super) due: u64,
    /// How late the schedule itself was, in microseconds. If this is high, the machine is too small
    /// for the load, and the latencies say little about the hub.
    pub(super) late: Histogram<u64>,
}

/// Walks through all voices, evenly and not in their order.
/// One voice's next turn comes after all others had theirs.
#[derive(Debug)]
pub(super) struct Pacer {
    layout: Arc<Layout>,
    clock: Clock,
    /// The voice that published last, and the step to the next one.
    voice: u32,
    stride: u32,
    /// Each voice's last number; goes on through all measurements, so that a late message is never taken for a new one.
    numbers: Vec<u64>,
    /// Buffers that are used again for each message.
    frame: Vec<u8>,
    message: Vec<u8>,
}

impl Pacer {
    pub(super) fn new(layout: &Arc<Layout>, clock: Clock) -> Self {
        let voices = layout.voices();
        Self {
            layout: Arc::clone(layout),
            clock,
            voice: 0,
            stride: stride(voices),
            numbers: vec![0; voices as usize],
            frame: Vec::new(),
            message: Vec::new(),
        }
    }

    /// Publishes `rate` messages per second until the stage ends. Blocks this thread meanwhile.
    /// A socket that breaks is no error here: the message then has no answer, and counts as refused.
    pub(super) fn run(&mut self, rate: f64, stage: &Stage, out: &Out<'_>) -> io::Result<Paced> {
        let begin = self.clock.now();
        let end = stage.end();
        let mut late = histogram();
        let mut paced = Paced {
            due: 0,
            late: histogram(),
        };
        // Microseconds from one message to the next.
        let step = 1e6 / rate;
        let mut sent = 0_u64;
        loop {
            // Computed from the start and not from the message before, so that errors do not add up.
            let at = begin + (sent as f64 * step) as u64;
            if at >= end {
                break;
            }
            let now = self.clock.now();
            if at > now {
                thread::sleep(Duration::from_micros(at - now).max(NAP));
                continue;
            }
            // How late this thread is. The slack forgives the scheduler of the system, and nothing
            // else.
            let behind = now - at;
            let due = if behind <= SLACK {
                // Never past the end: a message that is due within the measurement must count in
                // it.
                now.min(end - 1)
            } else {
                at
            };
            sent += 1;
            // Warm-up messages go out too, but neither they nor their delays count.
            if stage.counts(due) {
                paced.due += 1;
                late.saturating_record(behind.max(1));
            }
            self.publish(due, out);
        }
        // Messages that wait for the answer to an earlier request are not left behind.
        if let Out::Http(publishers) = out {
            publishers.flush();
        }
        paced.late = late;
        Ok(paced)
    }

    /// Publishes the next voice's message.
    fn publish(&mut self, due: u64, out: &Out<'_>) {
        // Both terms are below the number of voices, so the sum stays far within a `u32`.
        self.voice = (self.voice + self.stride) % self.numbers.len() as u32;
        let voice = self.voice;
        // From 1, as a `Heard` takes 0 for "nothing yet".
        let number = &mut self.numbers[voice as usize];
        *number += 1;
        let (channel, rank) = self.layout.voice(voice);
        let mark = Mark {
            rank,
            number: *number,
            due,
        };
        self.message.clear();
        match out {
            Out::Http(publishers) => {
                self.layout.write(&mut self.message, mark);
                let number = mark.number;
                let ticket = Ticket {
                    channel,
                    number,
                    due,
                };
                publishers.publish(ticket, &self.message);
            }
            Out::Sockets(sockets) => {
                // The `ref` is the time when the message was due: the answer then says what it took.
                let name = self.layout.name(channel);
                let head = format!(
                    "{{\"type\":\"publish\",\"ref\":{due},\"channel\":\"{name}\",\"data\":"
                );
                self.message.extend_from_slice(head.as_bytes());
                self.layout.write(&mut self.message, mark);
                self.message.push(b'}');
                self.frame.clear();
                frame::push(&mut self.frame, frame::TEXT, &self.message);
                sockets.publish(self.layout.connection_of(voice), &self.frame);
            }
        }
    }
}

/// Returns a step that visits all of `many` before it visits one again, with neighbours far apart in time: neighbours are
/// on one hub or one socket, and a burst on one of them would be no even load. Near the golden ratio, and coprime.
/// The golden ratio is the fraction that is worst approached by others, so the turns spread most
/// evenly.
fn stride(many: u32) -> u32 {
    let golden = (f64::from(many) * 0.618).round() as u32;
    // 1 is coprime to all, so this always finds one.
    (golden.max(1)..)
        .find(|step| coprime(*step, many))
        .unwrap_or(1)
}

/// Euclid's algorithm: coprime numbers have 1 as their greatest common divisor.
const fn coprime(mut a: u32, mut b: u32) -> bool {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_his_turn() {
        // One, primes, powers of ten, and a number whose golden step is not coprime at once.
        for many in [1, 2, 3, 50, 500, 1_000, 999] {
            let (step, mut at) = (stride(many), 0);
            let mut seen = vec![false; many as usize];
            for _ in 0..many {
                at = (at + step) % many;
                seen[at as usize] = true;
            }
            assert!(seen.iter().all(|it| *it), "{many}");
        }
    }
}
