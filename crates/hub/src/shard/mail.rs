//! What other threads have for a shard.

use std::{fmt, sync::Arc, time::Duration};

use hubplane_backplane::{Channel, Error, GapCause, Result, Scope};
use tokio::sync::mpsc;

use super::{ShardState, clock::Drain};
use crate::{
    Hub,
    command::{Push, Ref, Reply},
    frame::Encoded,
    position::ClientPosition,
    presence::{Answer, Change},
    publisher,
    session::Key,
    window::WindowEntry,
};

/// Mails that may wait for a shard; who has more waits.
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
    pub(crate) channel: Channel,
    pub(crate) key: Key,
    /// The messages, and up to where; `None` where that is not possible.
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

    /// What is there already; whether there was any.
    pub(super) fn take(&mut self, mails: &mut Vec<Mail>, most: usize) -> bool {
        let there = std::iter::from_fn(|| self.receiver.try_recv().ok());
        mails.extend(there.take(most));
        !mails.is_empty()
    }

    pub(super) async fn receive(&mut self, mails: &mut Vec<Mail>, most: usize) -> usize {
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
            Mail::RecoveryAnswer(past) => self.past(hub, past),
            Mail::Answered(answers) => answers
                .into_iter()
                .for_each(|answer| self.answer(hub, answer)),
            Mail::Presence(changes) => self.change(hub, &changes),
            Mail::Members(answers) => self.answer_members(hub, answers),
            Mail::Drain(over) => {
                self.drain = Some(Drain::new(over, self.sessions.len()));
                self.drain_some(hub);
            }
            Mail::Stop => self.stopped = true,
        }
    }

    /// The fast path: nothing is encoded, allocated, awaited or locked for a recipient.
    fn deliver(&mut self, hub: &Hub, batch: &[Encoded]) {
        let mut deliveries = 0;
        for encoded in batch {
            let message = encoded.message();
            if let Some(position) = message.position {
                self.heads.insert(position.lane, position);
            }
            let Some(topic) = self.topics.get(&message.channel) else {
                continue;
            };
            deliveries += topic.subscribers.len();
            for &index in &topic.subscribers {
                let session = &mut self.sessions[index as usize];
                let frame = encoded.frame(session.admission.encoding, || hub.count_panic());
                self.unwritten.queue(hub, index, session, frame.clone());
            }
        }
        hub.count_deliveries(deliveries);
    }

    fn announce(&mut self, hub: &Hub, scope: &Scope, cause: GapCause) {
        let mut concerned = Vec::new();
        match scope {
            Scope::All => concerned.extend(self.topics.keys().cloned()),
            Scope::Lane(lane) => {
                let of_lane = |channel: &&Channel| hub.backplane().lane(channel) == Some(*lane);
                concerned.extend(self.topics.keys().filter(of_lane).cloned());
            }
            Scope::Channels(channels) => concerned.extend(channels.iter().cloned()),
        }
        for channel in concerned {
            let Some(topic) = self.topics.get(&channel) else {
                continue;
            };
            let subscribers = topic.subscribers.iter().copied();
            let push = Push::Gap {
                channel: &channel,
                cause,
            };
            self.unwritten
                .tell(hub, &mut self.sessions, subscribers, &push);
        }
    }

    /// The broker has answered for a channel: those who wait are subscribed, or told why not.
    fn confirm(
        &mut self,
        hub: &Hub,
        channel: &Channel,
        result: &std::result::Result<(), Arc<Error>>,
    ) {
        let Some(topic) = self.topics.get_mut(channel) else {
            return;
        };
        topic.ready = result.is_ok();
        topic.admitting = true;
        let waiting = std::mem::take(&mut topic.waiting);
        for waiting in waiting {
            match result {
                Ok(()) => self.admit(hub, channel, waiting),
                Err(error) => {
                    let (code, message) = publisher::told(error);
                    self.reject(hub, channel, &waiting, (code, &message));
                }
            }
        }
        if let Err(error) = result {
            self.end_subscriptions(hub, channel, error);
        }
        if let Some(topic) = self.topics.get_mut(channel) {
            topic.admitting = false;
        }
        self.drop_unused(hub, channel);
    }

    /// Where the broker refuses a channel that it had confirmed, its subscribers are told why, and that they are none any more.
    fn end_subscriptions(&mut self, hub: &Hub, channel: &Channel, error: &Error) {
        let Some(topic) = self.topics.get(channel) else {
            return;
        };
        let (code, message) = publisher::told(error);
        let message = format!("{channel}: {message}");
        for index in topic.subscribers.clone() {
            let session = &mut self.sessions[index as usize];
            session.channels.retain(|known| known != channel);
            let serial = session.serial;
            let key = Key { index, serial };
            self.leave(hub, index, channel);
            self.refuse(hub, key, None, (code, &message));
            let reference = None;
            self.reply(hub, key, &Reply::Unsubscribed { reference, channel });
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
