//! The errors of this backend, in words.

use hubplane_backplane::{Error, ErrorKind};
use hubplane_kit::log_errors::LostPosition;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::NAME;

/// An error with librdkafka's words.
pub(crate) fn failed(kind: ErrorKind, message: impl Into<String>, source: KafkaError) -> Error {
    Error::new(kind, NAME, message).with_source(source)
}

/// The answer to calls after `close`.
pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, NAME, "this instance was closed")
}

/// Nothing can be read from a position, for a reason that any broker's log may have.
pub(crate) fn lost(why: LostPosition) -> Error {
    why.error(NAME)
}

/// The log is there, but Kafka can't give what is behind a position: what follows may have holes.
pub(crate) fn unreadable(message: &str) -> Error {
    Error::new(ErrorKind::PositionLost, NAME, message)
}

/// What may be tried again.
pub(crate) fn unavailable(message: &str) -> Error {
    Error::new(ErrorKind::Unavailable, NAME, message)
}

/// Whether an error of a consumer says that there are records which it can't read, and passes over.
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
