//! Errors in this backend's name.

use hubplane_backplane::Error;

/// The name in errors.
pub(crate) const STREAMS: &str = "amqp+streams";

/// The same error in this backend's name.
pub(crate) fn renamed(error: Error) -> Error {
    if error.backend() == STREAMS {
        return error;
    }
    let mut message = error.message().to_owned();
    if let Some(source) = std::error::Error::source(&error) {
        message = format!("{message} ({source})");
    }
    Error::new(error.kind(), STREAMS, message)
}
