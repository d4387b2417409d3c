//! Errors of backends whose broker keeps a log: the words are the same whatever the broker, since a reader of an
//! error must find one sentence for one cause.
//!
//! This file must not know how a broker numbers its messages: a backend decides that a position is lost, and takes the
//! error for it from here.

use hubplane_backplane::{Error, ErrorKind};

/// Why nothing can be read from a position any more, or never could.
///
/// The contract (`History`) asks for `PositionLost` in each of these cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostPosition {
    /// The position names a lane that this log doesn't have.
    NoSuchLane,
    /// The log was replaced after the position was given out: its epoch is another one.
    OtherLog,
    /// The position is newer than the newest message. A log that was rolled back looks like that.
    AheadOfEnd,
    /// Messages behind the position were cut off already.
    Trimmed,
    /// The log was deleted.
    Deleted,
}

impl LostPosition {
    /// Returns the error of kind `PositionLost` in the name of `backend`.
    pub fn error(self, backend: &'static str) -> Error {
        let message = match self {
            Self::NoSuchLane => "there is no such lane",
            Self::OtherLog => "the position is of another log",
            Self::AheadOfEnd => "the position is ahead of the log's end",
            Self::Trimmed => "the log no longer reaches back to the position",
            Self::Deleted => "the log was deleted",
        };
        Error::new(ErrorKind::PositionLost, backend, message)
    }
}

/// Returns the same error in the name of `backend`, for a crate with two backends on one broker: what they share
/// reports errors in the name of the first. The cause moves into the message, since an [`Error`] gives up its source only
/// by reference. An error that has the right name already is returned as it is.
pub fn renamed(error: Error, backend: &'static str) -> Error {
    if error.backend() == backend {
        return error;
    }
    let mut message = error.message().to_owned();
    if let Some(source) = std::error::Error::source(&error) {
        message = format!("{message} ({source})");
    }
    Error::new(error.kind(), backend, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_position_is_told_in_the_name_of_its_backend() {
        let error = LostPosition::Trimmed.error("x+streams");
        assert_eq!(error.kind(), ErrorKind::PositionLost);
        assert_eq!(error.backend(), "x+streams");
        assert!(error.message().contains("reaches back"));
    }

    #[test]
    fn a_renamed_error_keeps_its_kind_and_its_cause() {
        let cause = std::io::Error::other("the cause");
        let error = Error::new(ErrorKind::Unavailable, "x", "away").with_source(cause);
        let error = renamed(error, "x+streams");
        assert_eq!(error.backend(), "x+streams");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert_eq!(error.message(), "away (the cause)");
    }
}
