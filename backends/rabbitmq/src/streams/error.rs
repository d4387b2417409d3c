//! The second backend's name, and errors in that name. What both backends share reports in the name
//! of the first.

use hubplane_backplane::Error;
use hubplane_kit::log_errors;

/// The backend's name in errors, and its first scheme.
pub(crate) const STREAMS: &str = "amqp+streams";

/// Returns the same error in this backend's name.
pub(crate) fn renamed(error: Error) -> Error {
    log_errors::renamed(error, STREAMS)
}
