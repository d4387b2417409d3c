//! Whether a grant allows a command: the one place that is asked.

use super::{
    command::{Command, ErrorCode},
    grant::Grant,
};

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) code: ErrorCode,
    pub(super) message: &'static str,
}

impl Grant {
    /// Whether a command may be carried out.
    pub(super) const fn check(&self, command: &Command) -> Result<(), Denied> {
        match command {
            Command::Publish { .. } if !self.may_publish => Err(Denied {
                code: ErrorCode::Forbidden,
                message: "publishing needs the hub's key, sent as Authorization: Bearer … when connecting",
            }),
            _ => Ok(()),
        }
    }
}
