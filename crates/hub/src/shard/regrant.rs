//! What changes for a session whose client shows who it is, or whose rights change while it is
//! connected.

use std::sync::Arc;

use hubplane_backplane::Channel;

use super::{ShardState, subscription::Request};
use crate::{
    Hub,
    command::{Command, ErrorCode, Reply},
    grant::{Action, Grant, Unproven},
    key::Key,
};

impl ShardState {
    /// Answers a client that has shown who it is. With a proof that is not accepted, the session
    /// keeps what it might do before.
    pub(super) fn authenticate(
        &mut self,
        hub: &Hub,
        key: Key,
        reference: Option<&str>,
        grant: Result<Grant, Unproven>,
    ) {
        let grant = match grant {
            Ok(grant) => grant.shared(),
            Err(Unproven(why)) => {
                return self.refuse(hub, key, reference, (ErrorCode::Unauthorized, &why));
            }
        };
        let Some(session) = self.session(key) else {
            return;
        };
        // A new token of the same user makes no further session.
        let known = &session.setup.grant;
        let is_same = (known.who, &known.name) == (grant.who, &grant.name);
        if !is_same && let Err(limited) = hub.has_room_for(&grant) {
            let message = limited.to_string();
            return self.refuse(hub, key, reference, (ErrorCode::LimitReached, &message));
        }
        let reply = Reply::Authenticated {
            reference,
            grant: &grant,
        };
        self.reply(hub, key, &reply);
        self.regrant(hub, key, &grant);
        for channel in &*grant.join {
            self.join(hub, key, channel);
        }
    }

    /// Subscribes a session to a channel that its grant names, if the same grant allows it.
    fn join(&mut self, hub: &Hub, key: Key, channel: &Channel) {
        let command = Command::Subscribe {
            reference: None,
            channel: Channel::clone(channel),
            tag: None,
            since: None,
            presence: None,
            max_rate: None,
        };
        if self.may(hub, key, &command, false).is_some() {
            self.subscribe(
                hub,
                key,
                (Channel::clone(channel), None),
                Request::default(),
            );
        }
    }

    /// Replaces what a session may do. Subscriptions that it no longer may have end, and the client
    /// is told of each.
    pub(super) fn regrant(&mut self, hub: &Hub, key: Key, grant: &Arc<Grant>) {
        let Some(session) = self.session(key).filter(|it| !it.is_ending()) else {
            return;
        };
        hub.users().enter(grant);
        let before = std::mem::replace(&mut session.setup.grant, Arc::clone(grant));
        hub.users().leave(&before);
        session.warned = false;
        // From the end: what is removed moves only those behind it, which are looked at already.
        for at in (0..session.subscriptions.len()).rev() {
            let topic = self.sessions[key.index as usize].subscriptions[at].topic;
            let channel = Channel::clone(&self.topics[topic].channel);
            if !grant.allows(Action::Subscribe, &channel) {
                let message = format!("{channel}: the new token does not allow this channel");
                self.end_subscription(hub, key, at, (ErrorCode::Forbidden, &message));
            }
        }
    }
}
