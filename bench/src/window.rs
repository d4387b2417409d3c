//! The recent part of the log in memory: what each message costs on its way in, and each client that comes back.

use std::{hint::black_box, sync::Arc, time::Instant};

use hubplane_backplane::Channel;
use hubplane_hub::{
    Message,
    frame::Encoded,
    inside::{Kept, position},
};

use crate::{Run, text};

/// Channels that the messages are spread over.
const CHANNELS: usize = 1_000;
/// Messages that come together.
const BATCH: usize = 1_000;

/// Messages one after another, over all channels.
/// Positions grow by one, so that the window finds no hole.
struct Log {
    channels: Vec<Channel>,
    data: bytes::Bytes,
    last: u128,
}

impl Log {
    fn new() -> Self {
        let channels = (0..CHANNELS).map(|channel| format!("jobs.{channel}").into());
        Self {
            channels: channels.collect(),
            data: text(128).into(),
            last: 0,
        }
    }

    /// The next messages. Their data is shared, as that of one publish is.
    fn batch(&mut self) -> Arc<Vec<Encoded>> {
        let message = |index: usize| {
            self.last += 1;
            Encoded::new(Message {
                channel: Channel::clone(&self.channels[index % CHANNELS]),
                data: self.data.clone(),
                position: Some(position(1, self.last)),
                id: None,
                origin: None,
                tags: Vec::new(),
            })
        };
        Arc::new((0..BATCH).map(message).collect())
    }
}

/// Into a window that is full, so that as much is dropped.
pub(crate) fn push() -> Run {
    let (mut log, now) = (Log::new(), Instant::now());
    let mut window = Kept::new(4 * 1024 * 1024, position(1, 0));
    // 20,000 messages of some 128 bytes: more than the 4 MiB hold.
    for _ in 0..20 {
        window.push(&log.batch(), now);
    }
    // The batch is made in the time that counts, which is the same for all commits.
    Box::new(move || window.push(black_box(&log.batch()), now))
}

/// The last 100 messages of a channel that has 200, among a thousand channels.
pub(crate) fn read() -> Run {
    let (mut log, now) = (Log::new(), Instant::now());
    // Nothing is dropped, so that all 200 of each channel are there.
    let mut window = Kept::new(usize::MAX, position(1, 0));
    for _ in 0..200 {
        window.push(&log.batch(), now);
    }
    // The middle of the log: of each channel, the second half comes after it.
    let after = position(1, log.last / 2);
    Box::new(move || {
        let found = window.read(black_box("jobs.500"), after);
        assert_eq!(found, Some(100), "half of the channel");
    })
}
