//! Gathers answers: what was handed in together is answered together, although its messages may be
//! in the batches of several lanes. Pure.
//!
//! Every job that is opened must get one answer for each of its messages, or its owner waits for
//! ever.

use hubplane_backplane::{Position, Result};
use slab::Slab;

use super::ReplyTo;
use crate::{position::Fingerprint, sequencer::Sequencer};

/// A message's place in the log and its fingerprint; `None` if the broker tells no place.
pub(super) type Stored = Option<(Position, Fingerprint)>;
/// A job, and the place of one message in it.
pub(super) type Owner = (usize, usize);

/// What all batches share: the numbers, and the jobs whose answers are being gathered.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) sequencer: Sequencer,
    jobs: Slab<Asked>,
}

/// A job that is not complete.
#[derive(Debug)]
struct Asked {
    reply_to: ReplyTo,
    answers: Vec<Option<Result<Stored>>>,
    left: usize,
    bytes: usize,
}

/// A job with all its answers, in the order of its messages.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) reply_to: ReplyTo,
    pub(super) answers: Vec<Result<Stored>>,
    /// The room that its messages took in the queue.
    pub(super) bytes: usize,
}

impl Books {
    pub(super) fn new(sequencer: Sequencer) -> Self {
        Self {
            sequencer,
            jobs: Slab::new(),
        }
    }

    /// Opens a job of so many messages, at least one, and returns its number.
    pub(super) fn open(&mut self, reply_to: ReplyTo, messages: usize, bytes: usize) -> usize {
        self.jobs.insert(Asked {
            reply_to,
            answers: (0..messages).map(|_| None).collect(),
            left: messages,
            bytes,
        })
    }

    /// Notes one message's answer. Returns the job if it was the last one; the job's number is free
    /// then.
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
