//! Who is on a channel, and the limits of what clients may say of themselves. Nobody checks that it
//! is true, unless it is `verified`: nothing that depends on who somebody really is may use the
//! rest.

use std::{fmt, sync::Arc};

use crate::grant::{Grant, Who};

/// The longest client id, in bytes.
pub const MAX_CLIENT: usize = 64;
/// The longest user, in bytes.
pub const MAX_USER: usize = 255;
/// The longest info, in bytes of JSON.
pub const MAX_INFO: usize = 1_024;

/// One client on one channel, however many sessions it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The name that the client chose for itself.
    pub client: Arc<str>,
    /// The user that it claims to act for.
    pub user: Option<Arc<str>>,
    /// Anything else about itself, as JSON.
    pub info: Option<Arc<str>>,
    /// True if user and info are not the client's own words, but those of its token or of the
    /// operator's backend.
    pub verified: bool,
}

/// How a subscription takes part in its channel's presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresenceOptions {
    /// Become this member. `None`: be no member.
    pub member: Option<Member>,
    /// Be told who comes and goes.
    pub watch: bool,
}

/// Why somebody can't become a member. Its text is for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client id is empty, too long or not printable ASCII.
    Client,
    /// The user is too long.
    User,
    /// The info is too long or no JSON.
    Info,
    /// The session is a member of as many channels as it may be.
    Share(usize),
    /// There are too many members already.
    Full,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client => write!(
                f,
                "presence.client is 1 to {MAX_CLIENT} bytes of printable ASCII without spaces"
            ),
            Self::User => write!(f, "presence.user has at most {MAX_USER} bytes"),
            Self::Info => write!(f, "presence.info is JSON of at most {MAX_INFO} bytes"),
            Self::Share(most) => write!(f, "a session may be a member of {most} channels"),
            Self::Full => f.write_str("there are too many members; try again later"),
        }
    }
}

impl Member {
    /// Replaces what the client says of its user by what is known of it, if its grant is a user's.
    pub(crate) fn verify(&mut self, grant: &Grant) {
        if grant.who == Who::User {
            self.user = grant.name.clone();
            self.info = grant.info.clone();
            self.verified = true;
        }
    }

    /// Checks a member's own words against the limits.
    ///
    /// # Errors
    /// The limit that it breaks.
    pub fn check(&self) -> Result<(), Refusal> {
        let client = &self.client;
        let good = (1..=MAX_CLIENT).contains(&client.len())
            && client.bytes().all(|b| b.is_ascii_graphic());
        if !good {
            return Err(Refusal::Client);
        }
        if self.user.as_ref().is_some_and(|user| user.len() > MAX_USER) {
            return Err(Refusal::User);
        }
        let bad = |info: &Arc<str>| {
            info.len() > MAX_INFO
                || serde_json::from_str::<&serde_json::value::RawValue>(info).is_err()
        };
        if self.info.as_ref().is_some_and(bad) {
            return Err(Refusal::Info);
        }
        Ok(())
    }
}
