//! What clients ask, carried out.

use std::time::Instant;

use bytes::Bytes;
use hubplane_backplane::Outgoing;

use super::{Shard, ShardState, found, subscription::Request};
use crate::{
    Hub, channel,
    command::{Command, Ending, ErrorCode, Ref, Reply},
    frame::{Encoding, Frame},
    grant::Grant,
    key::Key,
    permission::Denied,
    publisher::ReplyTo,
    session::Phase,
};

impl Shard {
    /// Carries out a client's command. The answer is queued; [`Shard::flush_dirty`] writes it.
    pub fn command(&self, key: Key, command: Command) {
        let mut state = self.state.borrow_mut();
        if !state.may(&self.hub, key, &command) {
            return;
        }
        match command {
            Command::Subscribe {
                reference,
                channel,
                tag,
                since,
                presence,
            } => {
                let request = Request {
                    reference,
                    since,
                    presence,
                };
                state.subscribe(&self.hub, key, (channel, tag), request);
            }
            Command::Unsubscribe { reference, which } => {
                state.unsubscribe(&self.hub, key, reference.as_deref(), &which);
            }
            Command::Publish {
                reference,
                channel,
                data,
                id,
                not_to_me,
            } => {
                let mut outgoing = Outgoing::new(channel, data);
                outgoing.id = id;
                if not_to_me {
                    outgoing.tags.push(state.name(&self.hub, key).tag());
                }
                state.publish(&self.hub, key, reference, outgoing);
            }
            Command::Authenticate { reference, proof } => {
                let grant = self.authority.grant(proof.reveal());
                state.authenticate(&self.hub, key, reference.as_deref(), grant);
            }
            Command::Members { reference, channel } => {
                state.ask(&self.hub, key, reference, channel);
            }
            Command::Ping => state.reply(&self.hub, key, &Reply::Pong),
        }
    }

    /// A client's command could not be understood; the session goes on.
    pub fn refuse(&self, key: Key, reference: Option<&str>, message: &str) {
        let mut state = self.state.borrow_mut();
        state.refuse(&self.hub, key, reference, (ErrorCode::Malformed, message));
    }

    /// What a session may do from now on, in place of what it might before.
    pub fn grant(&self, key: Key, grant: Grant) {
        if let Some(session) = self.state.borrow_mut().session(key) {
            session.setup.grant = grant.shared();
        }
    }

    /// The client has answered a ping, or shown in another way that it is there.
    pub fn pong(&self, key: Key) {
        let interval = self.hub.limits().ping_interval;
        if let Some(session) = self.state.borrow_mut().session(key)
            && session.phase == Phase::AwaitingPong
        {
            session.phase = Phase::Quiet;
            session.clock = Instant::now() + interval;
        }
    }

    /// Returns true if no further command of the session is to be carried out before an answer has come.
    pub fn is_paused(&self, key: Key) -> bool {
        let mut state = self.state.borrow_mut();
        let session = state.session(key);
        session.is_some_and(|session| session.is_paused(self.hub.limits()))
    }

    /// Notes that the session's socket is not read for now, or is read again. A pong that lies in it unread counts as
    /// missing only some time after the socket is read again.
    pub fn set_unread(&self, key: Key, unread: bool) {
        let timeout = self.hub.limits().pong_timeout;
        if let Some(session) = self.state.borrow_mut().session(key)
            && std::mem::replace(&mut session.unread, unread)
            && !unread
            && session.phase == Phase::AwaitingPong
        {
            session.clock = Instant::now() + timeout;
        }
    }

    /// Queues a frame that only the socket loop can make: a pong.
    pub fn send(&self, key: Key, frame: Bytes) {
        self.state.borrow_mut().queue(&self.hub, key, |_| frame);
    }

    /// Ends a session with a last frame of the caller's making.
    pub fn end_with(&self, key: Key, frame: Bytes) {
        let mut state = self.state.borrow_mut();
        let ShardState {
            sessions,
            unwritten,
            ..
        } = &mut *state;
        if let Some(session) = found(sessions, key) {
            session.end_with(
                frame,
                Instant::now() + self.hub.limits().handshake_timeout / 2,
            );
            unwritten.mark(key.index, session);
        }
    }
}

impl ShardState {
    /// Whether a session may have this command carried out; if not, it is told why.
    fn may(&mut self, hub: &Hub, key: Key, command: &Command) -> bool {
        let Some(session) = self.session(key).filter(|it| !it.is_ending()) else {
            return false;
        };
        let grant = &session.setup.grant;
        if grant.is_over(Instant::now()) {
            self.end(hub, key.index, Ending::Expired);
            return false;
        }
        let Err(Denied { code, message }) = grant.check(command) else {
            return true;
        };
        self.refuse(hub, key, command.reference(), (code, message));
        false
    }

    fn authenticate(&mut self, hub: &Hub, key: Key, reference: Option<&str>, grant: Option<Grant>) {
        let Some(grant) = grant else {
            let message = "this proves nothing here";
            return self.refuse(hub, key, reference, (ErrorCode::Forbidden, message));
        };
        if let Some(session) = self.session(key) {
            session.setup.grant = grant.shared();
        }
        let grant = &grant;
        self.reply(hub, key, &Reply::Authenticated { reference, grant });
    }

    pub(super) fn reply(&mut self, hub: &Hub, key: Key, reply: &Reply<'_>) {
        self.queue(hub, key, |encoding| encoding.reply(reply));
    }

    pub(super) fn refuse(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        (code, message): (ErrorCode, &str),
    ) {
        self.reply(
            hub,
            key,
            &Reply::Error {
                reference,
                code,
                message,
            },
        );
    }

    pub(super) fn queue(
        &mut self,
        hub: &Hub,
        key: Key,
        frame: impl FnOnce(&'static Encoding) -> Frame,
    ) {
        if let Some(session) = found(&mut self.sessions, key) {
            let frame = frame(session.setup.encoding);
            self.unwritten.queue(hub, key.index, session, frame);
        }
    }

    /// A channel that a client names; the answer to a bad name is queued.
    pub(super) fn is_good(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        channel: &str,
    ) -> bool {
        let checked = channel::check(channel);
        if let Err(bad) = checked {
            self.refuse(
                hub,
                key,
                reference,
                (ErrorCode::BadChannel, &bad.to_string()),
            );
        }
        checked.is_ok()
    }

    /// Something that a client waited for is answered.
    pub(super) fn answered(&mut self, key: Key) {
        if let Some(session) = self.session(key) {
            session.unanswered -= 1;
            // Its task may have stopped reading because of it.
            session.wake();
        }
    }

    fn publish(&mut self, hub: &Hub, key: Key, reference: Option<Ref>, outgoing: Outgoing) {
        let shard = self.index;
        if !self.is_good(hub, key, reference.as_deref(), &outgoing.channel) {
            return;
        }
        let Some(session) = self.session(key) else {
            return;
        };
        session.unanswered += 1;
        let known = reference.clone();
        let reply_to = ReplyTo::Session {
            shard,
            key,
            reference,
        };
        if hub.publisher().offer(vec![outgoing], reply_to).is_err()
            && let Some(session) = self.session(key)
        {
            session.unanswered -= 1;
            let message = "too many publications wait for the broker; try again";
            self.refuse(
                hub,
                key,
                known.as_deref(),
                (ErrorCode::Unavailable, message),
            );
        }
    }
}
