//! The errors of this backend, in words. Each has the kind that the contract asks for, since the
//! hub acts on the kind; the words are for people.

use hubplane_backplane::{Error, ErrorKind};
use hubplane_kit::log_errors::LostPosition;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::NAME;

/// Returns an error with librdkafka's own words as its source.
pub(crate) fn failed(kind: ErrorKind, message: impl Into<String>, source: KafkaError) -> Error {
    Error::new(kind, NAME, message).with_source(source)
}

/// Returns the answer to calls after `close`.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, NAME, "this instance was closed")
}

/// Returns the error of a position from which nothing can be read, for a reason that any broker's
/// log may have.
pub(crate) fn lost(why: LostPosition) -> Error {
    why.error(NAME)
}

/// Returns the error of a position behind which the log is there but has holes, or records that
/// can't be read. This is `PositionLost` as well: the client must fetch the state again.
pub(crate) fn unreadable(message: &str) -> Error {
    Error::new(ErrorKind::PositionLost, NAME, message)
}

/// Returns the error of something that may be tried again.
pub(crate) fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

/// Returns true if an error of a consumer says that there are records which it can't read.
/// librdkafka passes over them.
pub(crate) const fn is_unreadable(code: Option<RDKafkaErrorCode>) -> bool {
    matches!(
        code,
        Some(
            RDKafkaErrorCode::BadMessage
                | RDKafkaErrorCode::BadCompression
                | RDKafkaErrorCode::InvalidMessage
        )
    )
}
