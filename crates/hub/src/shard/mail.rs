//! What other threads have for a shard.

use std::{fmt, sync::Arc, time::Duration};

use hubplane_backplane::{Channel, Error, GapCause, Result, Scope};
use tokio::sync::mpsc;

use super::{ShardState, clock::Drain, presence::PresenceMail};
use crate::key::SubscriptionKey;
use crate::{
    Hub,
    command::{Ref, Reply},
    frame::Encoded,
    key::Key,
    position::ClientPosition,
    presence::{Answer, Change},
    publisher,
    window::WindowEntry,
};

/// Mails that may wait for a shard; a sender that finds it full waits.
const CAPACITY: usize = 1_024;

/// One thing for a shard.
#[derive(Debug)]
pub(crate) enum Mail {
    /// News from the backplane, in its order.
    Published(Arc<Vec<Encoded>>),
    /// A lane has come this far.
    Progress(ClientPosition),
    /// Messages may have been missed.
    Gap(Arc<Scope>, GapCause),
    /// The broker has confirmed the interest in these channels, or refused it.
    Interest(Vec<Channel>, std::result::Result<(), Arc<Error>>),
    /// A subscription's past, read from the broker.
    RecoveryAnswer(RecoveryAnswer),
    /// The broker's answers to sessions' publications.
    Answered(Vec<PublishedMail>),
    /// Members have come and gone.
    Presence(Arc<Vec<Change>>),
    /// Who is on channels that sessions asked for.
    Members(Vec<Answer>),
    /// Every session is to end, spread over this time.
    Drain(Duration),
    /// The shard is to stop.
    Stop,
}

/// What was read of a channel's past for one subscription.
#[derive(Debug)]
pub(crate) struct RecoveryAnswer {
    pub(crate) subscription: SubscriptionKey,
    pub(crate) channel: Channel,
    /// The messages, and up to where they were read; `None` if they can't be had.
    pub(crate) found: Option<(Vec<WindowEntry>, ClientPosition)>,
}

/// The broker's answer to one session's publication.
#[derive(Debug)]
pub(crate) struct PublishedMail {
    pub(crate) key: Key,
    pub(crate) reference: Option<Ref>,
    pub(crate) result: Result<Option<ClientPosition>>,
}

/// A shard's end of its mail.
pub struct Mailbox {
    index: usize,
    receiver: mpsc::Receiver<Mail>,
}

impl Mailbox {
    pub(crate) fn new(index: usize) -> (mpsc::Sender<Mail>, Self) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (sender, Self { index, receiver })
    }

    /// Which of the hub's shards it is for.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Takes the mails that are there already. Returns true if there were any.
    pub(super) fn take(&mut self, mails: &mut Vec<Mail>, most: usize) -> bool {
        let there = std::iter::from_fn(|| self.receiver.try_recv().ok());
        mails.extend(there.take(most));
        !mails.is_empty()
    }

    pub(crate) async fn receive(&mut self, mails: &mut Vec<Mail>, most: usize) -> usize {
        self.receiver.recv_many(mails, most).await
    }
}

impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

impl ShardState {
    pub(super) fn take(&mut self, hub: &Hub, mail: Mail) {
        match mail {
            Mail::Published(batch) => self.deliver(hub, &batch),
            Mail::Progress(position) => {
                self.heads.insert(position.lane, position);
            }
            Mail::Gap(scope, cause) => self.announce(hub, &scope, cause),
            Mail::Interest(channels, result) => {
                for channel in &channels {
                    self.confirm(hub, channel, &result);
                }
            }
            Mail::RecoveryAnswer(answer) => self.recovered(hub, answer),
            Mail::Answered(answers) => answers
                .into_iter()
                .for_each(|answer| self.answer(hub, answer)),
            Mail::Presence(changes) => {
                self.presence_mail.push_back(PresenceMail::Changes(changes));
            }
            Mail::Members(answers) => {
                let answers = answers.into_iter().map(PresenceMail::Answer);
                self.presence_mail.extend(answers);
            }
            Mail::Drain(over) => {
                self.drain = Some(Drain::new(over, self.sessions.len()));
                self.drain_some(hub);
            }
            Mail::Stop => self.stopped = true,
        }
    }

    fn answer(&mut self, hub: &Hub, answer: PublishedMail) {
        self.answered(answer.key);
        let reference = answer.reference.as_deref();
        match answer.result {
            Ok(position) => self.reply(
                hub,
                answer.key,
                &Reply::Published {
                    reference,
                    position,
                },
            ),
            Err(error) => {
                let (code, message) = publisher::told(&error);
                self.refuse(hub, answer.key, reference, (code, &message));
            }
        }
    }
}
