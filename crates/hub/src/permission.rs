//! Which actions a command is, and what a client is told that may not do them. The decision itself
//! is [`Grant::allows`] alone; nothing here knows who somebody is.

use super::{
    command::{Command, ErrorCode},
    grant::{Action, Asking, Grant},
};

/// Why a command is not carried out: the code for programs and the text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) code: ErrorCode,
    pub(super) message: &'static str,
}

impl Grant {
    /// Returns an error if a command may not be carried out. A command may be several actions, and
    /// each must be allowed: a subscribe with `since` also reads the past, and one with `presence`
    /// also sees the members.
    ///
    /// `asked` is true if somebody else was asked about the main action, and has allowed it.
    pub(super) fn check(&self, command: &Command, asked: bool) -> Result<(), Denied> {
        match command {
            Command::Publish { .. } if asked => Ok(()),
            Command::Publish { channel, .. } => self.ask(
                Action::Publish,
                channel,
                "publishing needs the hub's key, sent as Authorization: Bearer … when connecting",
            ),
            Command::Subscribe {
                channel,
                since,
                presence,
                ..
            } => {
                if !asked {
                    let message = "this channel may not be subscribed to";
                    self.ask(Action::Subscribe, channel, message)?;
                }
                // Positions are for reading the past, which may be forbidden by itself.
                if since.is_some() {
                    let message = "this channel's past may not be read; subscribe without since";
                    self.ask(Action::History, channel, message)?;
                }
                match presence {
                    Some(_) => {
                        let message =
                            "this channel's members may not be seen; subscribe without presence";
                        self.ask(Action::Presence, channel, message)
                    }
                    None => Ok(()),
                }
            }
            Command::Members { channel, .. } => self.ask(
                Action::Presence,
                channel,
                "this channel's members may not be seen",
            ),
            // Whoever is connected may end a subscription, show who it is, or ping.
            _ => Ok(()),
        }
    }

    /// Returns what asks somebody else about a command, where the grant leaves it to them.
    pub(super) fn question_about(&self, command: &Command) -> Option<Asking> {
        match command {
            Command::Subscribe { channel, .. } => self.question(Action::Subscribe, channel, b""),
            Command::Publish { channel, data, .. } => self.question(Action::Publish, channel, data),
            _ => None,
        }
    }

    /// Asks for one action on a channel.
    fn ask(&self, action: Action, channel: &str, message: &'static str) -> Result<(), Denied> {
        match self.allows(action, channel) {
            true => Ok(()),
            false => Err(Denied {
                code: ErrorCode::Forbidden,
                message,
            }),
        }
    }
}
