//! What was handed in together is answered together, although its messages may be in several lanes' rounds.

use hubplane_backplane::{Position, Result};
use slab::Slab;

use super::ReplyTo;
use crate::{position::Fingerprint, sequencer::Sequencer};

/// Where a message is in the log, and its fingerprint; `None` if the broker tells no place.
pub(super) type Stored = Option<(Position, Fingerprint)>;
/// A job and the place of one message in it.
pub(super) type Owner = (usize, usize);

/// What all rounds share: the numbers, and the jobs whose answers are being gathered.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) sequencer: Sequencer,
    jobs: Slab<Asked>,
}

#[derive(Debug)]
struct Asked {
    reply_to: ReplyTo,
    answers: Vec<Option<Result<Stored>>>,
    left: usize,
    bytes: usize,
}

/// A job with all its answers.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) reply_to: ReplyTo,
    pub(super) answers: Vec<Result<Stored>>,
    pub(super) bytes: usize,
}

impl Books {
    pub(super) fn new(sequencer: Sequencer) -> Self {
        Self {
            sequencer,
            jobs: Slab::new(),
        }
    }

    /// A job of so many messages, one at least.
    pub(super) fn open(&mut self, reply_to: ReplyTo, messages: usize, bytes: usize) -> usize {
        self.jobs.insert(Asked {
            reply_to,
            answers: (0..messages).map(|_| None).collect(),
            left: messages,
            bytes,
        })
    }

    /// One message's answer. Returns the job if it was the last one.
    pub(super) fn settle(
        &mut self,
        (job, place): Owner,
        answer: Result<Stored>,
    ) -> Option<Answered> {
        let asked = self.jobs.get_mut(job)?;
        asked.answers[place] = Some(answer);
        asked.left -= 1;
        if asked.left > 0 {
            return None;
        }
        let Asked {
            reply_to,
            answers,
            bytes,
            ..
        } = self.jobs.remove(job);
        Some(Answered {
            reply_to,
            answers: answers.into_iter().flatten().collect(),
            bytes,
        })
    }
}
