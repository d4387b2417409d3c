//! Errors in this backend's name.

use hubplane_backplane::Error;
use hubplane_kit::log_errors;

/// The name in errors.
pub(crate) const STREAMS: &str = "amqp+streams";

/// The same error in this backend's name.
pub(crate) fn renamed(error: Error) -> Error {
    log_errors::renamed(error, STREAMS)
}
