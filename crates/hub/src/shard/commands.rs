//! Carries out what clients ask for, and queues the answers.
//!
//! The session's grant is asked first, in one place ([`ShardState::may`]), before anything else
//! about a command is looked at. Nothing here knows a client format: an answer is a [`Reply`],
//! which the session's encoding turns into bytes.

use std::time::Instant;

use bytes::Bytes;
use hubplane_backplane::Outgoing;

use super::{Shard, ShardState, found, subscription::Request};
use crate::{
    Hub, channel,
    command::{Command, Ending, ErrorCode, Ref, Reply},
    frame::{Encoding, Frame},
    grant::{Asking, Grant, Unproven},
    key::Key,
    permission::Denied,
    publisher::ReplyTo,
    session::Phase,
};

impl Shard {
    /// Carries out a client's command, if its grant allows it. The answer is queued, at once or
    /// when the broker has answered; [`Shard::flush_dirty`] writes what is queued. Does nothing for
    /// a session that is gone or ending.
    pub fn command(&self, key: Key, command: Command) {
        self.carry_out(key, command, false);
    }

    /// Returns what asks somebody else about a command, if the session's grant leaves it to them.
    /// Nothing more of the session is to be carried out until [`Shard::asked`] is called.
    pub fn question(&self, key: Key, command: &Command) -> Option<Asking> {
        let mut state = self.state.borrow_mut();
        let session = state.session(key).filter(|it| !it.is_ending())?;
        let question = session.setup.grant.question_about(command)?;
        session.set_asking(true);
        Some(question)
    }

    /// Carries out a command that somebody else was asked about, or refuses it.
    pub fn asked(&self, key: Key, command: Command, answer: Result<(), Unproven>) {
        {
            let mut state = self.state.borrow_mut();
            let Some(session) = state.session(key) else {
                return;
            };
            session.set_asking(false);
            session.wake();
            if let Err(Unproven(why)) = answer {
                let error = (ErrorCode::Forbidden, &*why);
                return state.refuse(&self.hub, key, command.reference(), error);
            }
        }
        self.carry_out(key, command, true);
    }

    fn carry_out(&self, key: Key, command: Command, asked: bool) {
        let mut state = self.state.borrow_mut();
        let Some(now) = state.may(&self.hub, key, &command, asked) else {
            return;
        };
        match command {
            Command::Subscribe {
                reference,
                channel,
                tag,
                since,
                mut presence,
                max_rate,
            } => {
                let member = presence.as_mut().and_then(|it| it.member.as_mut());
                if let (Some(member), Some(session)) = (member, state.session(key)) {
                    member.verify(&session.setup.grant);
                }
                let request = Request {
                    reference,
                    since,
                    presence,
                    max_rate,
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
                // The client's own id goes along, so a publication that is tried again is recognised.
                let mut outgoing = Outgoing::new(channel, data);
                outgoing.id = id;
                if let Some(session) = state.session(key) {
                    session.setup.grant.mark(&mut outgoing);
                }
                // Excluding the publisher is a tag of the message, so that every instance keeps to
                // it.
                if not_to_me {
                    outgoing.tags.push(state.name(&self.hub, key).tag());
                }
                state.publish(&self.hub, key, reference, (outgoing, now));
            }
            Command::Authenticate { reference, proof } => {
                let grant = self.authority.grant(proof.reveal());
                let grant = match grant {
                    Ok(grant) if !self.hub.admits(&grant) => {
                        Err(Unproven("the token was revoked".into()))
                    }
                    grant => grant,
                };
                state.authenticate(&self.hub, key, reference.as_deref(), grant);
            }
            Command::Members { reference, channel } => {
                state.ask(&self.hub, key, reference, channel);
            }
            Command::Ping => state.reply(&self.hub, key, &Reply::Pong),
        }
    }

    /// Answers a command that could not be understood with the error `malformed`. The session goes
    /// on.
    pub fn refuse(&self, key: Key, reference: Option<&str>, message: &str) {
        let mut state = self.state.borrow_mut();
        state.refuse(&self.hub, key, reference, (ErrorCode::Malformed, message));
    }

    /// Replaces what a session may do from now on. Subscriptions that it no longer may have end.
    pub fn grant(&self, key: Key, grant: Grant) {
        let mut state = self.state.borrow_mut();
        state.regrant(&self.hub, key, &grant.shared());
    }

    /// Notes that the client has answered a ping, or has shown in another way that it is there. Its
    /// next ping is due after a whole `ping_interval`.
    pub fn pong(&self, key: Key) {
        let interval = self.hub.limits().ping_interval;
        if let Some(session) = self.state.borrow_mut().session(key)
            && session.phase == Phase::AwaitingPong
        {
            // Answered: the clock waits for the next ping again.
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

    /// Notes that the session's socket is not read for now, or is read again. A pong that lies in
    /// it unread must not count as missing, so its time begins anew when the socket is read again.
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

    /// Queues a frame that only the socket's task can make, such as a WebSocket pong.
    pub fn send(&self, key: Key, frame: Bytes) {
        self.state.borrow_mut().queue(&self.hub, key, |_| frame);
    }

    /// Ends a session with a last frame of the caller's making, such as the answer to a close
    /// frame.
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
    /// Returns the time if a session may have this command carried out now. If not, the client is
    /// told why, or the session ends because its time is over.
    pub(super) fn may(
        &mut self,
        hub: &Hub,
        key: Key,
        command: &Command,
        asked: bool,
    ) -> Option<Instant> {
        let session = self.session(key).filter(|it| !it.is_ending())?;
        let now = Instant::now();
        let grant = &session.setup.grant;
        // The clock finds this too, but up to a tick later; no command may slip in between.
        if grant.is_over(now) {
            self.end(hub, key.index, Ending::Expired);
            return None;
        }
        // Nothing else about the command is looked at before this.
        if let Err(Denied { code, message }) = grant.check(command, asked) {
            self.refuse(hub, key, command.reference(), (code, message));
            return None;
        }
        self.is_in_time(hub, key, command, now).then_some(now)
    }

    /// Queues an answer in the session's own encoding. Does nothing if the session is gone.
    pub(super) fn reply(&mut self, hub: &Hub, key: Key, reply: &Reply<'_>) {
        self.queue(hub, key, |encoding| encoding.reply(reply));
    }

    /// Queues an error as the answer to the command with this reference. The session goes on.
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

    /// Queues the frame that `frame` makes for the session's encoding. The frame is not made at all
    /// if the session is gone.
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

    /// Returns true if a channel's name is allowed. The error for a bad one is queued here.
    pub(super) fn is_good(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        channel: &str,
    ) -> bool {
        let checked = channel::check(channel);
        // The client learns which rule the name breaks.
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

    /// Notes that something which a client waited for is answered: it counts no longer as
    /// unanswered.
    pub(super) fn answered(&mut self, key: Key) {
        if let Some(session) = self.session(key) {
            session.unanswered -= 1;
            // The session's task may have stopped reading because of it.
            session.wake();
        }
    }

    /// Hands a client's message to the publisher, which answers by mail. A full publisher refuses
    /// at once, and the client is told that nothing was published.
    fn publish(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<Ref>,
        (outgoing, now): (Outgoing, Instant),
    ) {
        let shard = self.index;
        if !self.is_good(hub, key, reference.as_deref(), &outgoing.channel)
            || !self.keeps_to_rule(hub, key, reference.as_deref(), (&outgoing, now))
        {
            return;
        }
        let Some(session) = self.session(key) else {
            return;
        };
        // Counted before the offer: with too many unanswered, the session's socket is not read
        // further.
        session.unanswered += 1;
        // The publisher takes the reference; a refusal needs it, too.
        let known = reference.clone();
        let reply_to = ReplyTo::Session {
            shard,
            key,
            reference,
        };
        // It never waits: a shard must not stand still for a broker.
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
