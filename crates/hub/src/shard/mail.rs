//! What other threads have for a shard: the kinds of mail, the mailbox with its limit, and which
//! part of the shard takes each.
//!
//! Mail is the only way into a shard from another thread. It is taken in the order in which it was
//! sent, so a gap stays in front of the messages behind it.

use std::{fmt, sync::Arc, time::Duration};

use hubplane_backplane::{Channel, Error, GapCause, Result, Scope};
use tokio::sync::mpsc;

use super::{ShardState, clock::Drain, presence::PresenceMail};
use crate::key::SubscriptionKey;
use crate::{
    Hub,
    command::{Ref, Reply},
    connections::Connection,
    disconnect::Order,
    frame::Encoded,
    key::Key,
    position::ClientPosition,
    presence::{Answer, Change},
    publisher,
    window::WindowEntry,
};

/// How many mails may wait for a shard. A sender that finds the mailbox full waits, which slows the
/// pump down instead of filling memory.
const CAPACITY: usize = 1_024;

/// One thing that another thread has for a shard.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Messages from the backplane, in their order; the same batch for all shards.
    Published(Arc<Vec<Encoded>>),
    /// A lane has come this far, without a message that the shard would have seen.
    Progress(ClientPosition),
    /// Messages in this scope may have been missed.
    Gap(Arc<Scope>, GapCause),
    /// The broker has confirmed the interest in these channels, or refused it.
    Interest(Vec<Channel>, std::result::Result<(), Arc<Error>>),
    /// A subscription's past, which `recovery` has read from the broker.
    RecoveryAnswer(RecoveryAnswer),
    /// The broker's answers to publications of this shard's sessions.
    Answered(Vec<PublishedMail>),
    /// Members have come and gone, on this instance or another; the same changes for all shards.
    Presence(Arc<Vec<Change>>),
    /// Who is on channels that sessions asked for.
    Members(Vec<Answer>),
    /// Somebody asks for the sessions of a user.
    Connections(Arc<str>, mpsc::Sender<Vec<Connection>>),
    /// Sessions of somebody are to end.
    Disconnect(Arc<Order>),
    /// The instance stops: every session is to end, spread evenly over this time.
    Drain(Duration),
    /// The shard is to write what it has and stop.
    Stop,
}

/// What was read of a channel's past for one subscription.
#[derive(Debug)]
/// Who asked. The answer is dropped if that subscription is gone by now.
pub(crate) struct RecoveryAnswer {
    pub(crate) subscription: SubscriptionKey,
    pub(crate) channel: Channel,
    /// The messages, oldest first, and the position up to which they were read. `None` if they
    /// can't be had.
    pub(crate) found: Option<(Vec<WindowEntry>, ClientPosition)>,
}

/// The broker's answer to one session's publication.
#[derive(Debug)]
/// The session that published; it may be gone by now.
pub(crate) struct PublishedMail {
    pub(crate) key: Key,
    /// The client's own reference for the command, given back in the answer.
    pub(crate) reference: Option<Ref>,
    /// The message's position, `None` on a broker without positions, or why it was not published.
    pub(crate) result: Result<Option<ClientPosition>>,
}

/// A shard's end of its mail. The hub keeps the other end.
pub struct Mailbox {
    index: usize,
    receiver: mpsc::Receiver<Mail>,
}

impl Mailbox {
    /// Returns both ends of a mailbox for the shard with this index.
    pub(crate) fn new(index: usize) -> (mpsc::Sender<Mail>, Self) {
        let (sender, receiver) = mpsc::channel(CAPACITY);
        (sender, Self { index, receiver })
    }

    /// Returns which of the hub's shards this mailbox is for, counted from 0.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Takes up to `most` mails that are there already, without waiting. Returns true if there were
    /// any.
    pub(super) fn take(&mut self, mails: &mut Vec<Mail>, most: usize) -> bool {
        let there = std::iter::from_fn(|| self.receiver.try_recv().ok());
        mails.extend(there.take(most));
        !mails.is_empty()
    }

    /// Waits for mail and takes up to `most` at once. Returns 0 only once the hub is gone.
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
    /// Carries out one mail.
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
            // Queued rather than carried out: large answers are told in slices, see `presence.rs`.
            Mail::Presence(changes) => {
                self.presence_mail.push_back(PresenceMail::Changes(changes));
            }
            Mail::Members(answers) => {
                let answers = answers.into_iter().map(PresenceMail::Answer);
                self.presence_mail.extend(answers);
            }
            Mail::Connections(user, answer) => {
                // It has room for one answer of each shard.
                _ = answer.try_send(self.connections_of(hub, &user));
            }
            Mail::Disconnect(order) => self.disconnect(hub, &order),
            Mail::Drain(over) => {
                // Those whose turn is now end at once; the clock goes on with the others.
                self.drain = Some(Drain::new(over, self.sessions.len()));
                self.drain_some(hub);
            }
            Mail::Stop => self.stopped = true,
        }
    }

    /// Tells a session what became of its publication.
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
