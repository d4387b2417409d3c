//! The errors of backends. Their kinds say what a caller can do; the sentence is for people.

use std::{error, fmt};

/// The result of a call on a backend.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, as far as the caller can act on it. A backend must choose with care between `Unavailable` and
/// `Unknown`: publishers are told by it whether their message may arrive all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The broker can't be reached; what was to be published is surely **not** stored. Retry later.
    Unavailable,
    /// The broker was asked and gave no answer; the publication **may** be stored. Retry with the same id.
    Unknown,
    /// The broker, or the backend for it, will never take this: too large, or a name that it can't carry.
    Rejected,
    /// The position is no longer (or not yet) in the log: trimmed, rolled back or of another epoch.
    PositionLost,
    /// The address, a credential, a certificate or the broker's own settings are wrong. Retrying is no use.
    Config,
    /// The backend was closed.
    Closed,
}

impl ErrorKind {
    /// The kind's name as it appears in logs and problem documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Rejected => "rejected",
            Self::PositionLost => "position lost",
            Self::Config => "configuration",
            Self::Closed => "closed",
        }
    }

    /// Returns true if the same call may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Unknown)
    }
}

/// An error of a backend: its kind, the backend that says it, a sentence for people, and the library's own error.
///
/// The sentence tells what happened, where, and what to do. It never holds a password.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    backend: &'static str,
    message: String,
    source: Option<Box<dyn error::Error + Send + Sync>>,
}

impl Error {
    /// An error without an underlying one.
    pub fn new(kind: ErrorKind, backend: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            backend,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps the client library's error as the source.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can act on.
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The backend that reports it, by its first scheme.
    pub const fn backend(&self) -> &'static str {
        self.backend
    }

    /// The sentence alone, without backend, kind and source.
    pub fn message(&self) -> &str {
        &self.message
    }
}

/// One line: backend, kind, sentence and source, in this order.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {}",
            self.backend,
            self.kind.as_str(),
            self.message
        )?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}
