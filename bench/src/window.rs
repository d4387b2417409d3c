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
    for _ in 0..20 {
        window.push(&log.batch(), now);
    }
    Box::new(move || window.push(black_box(&log.batch()), now))
}

/// The last 100 messages of a channel that has 200, among a thousand channels.
pub(crate) fn read() -> Run {
    let (mut log, now) = (Log::new(), Instant::now());
    let mut window = Kept::new(usize::MAX, position(1, 0));
    for _ in 0..200 {
        window.push(&log.batch(), now);
    }
    let after = position(1, log.last / 2);
    Box::new(move || {
        let found = window.read(black_box("jobs.500"), after);
        assert_eq!(found, Some(100), "half of the channel");
    })
}
