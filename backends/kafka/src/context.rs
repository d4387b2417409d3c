//! What librdkafka says by callbacks: its log, and errors that belong to no single call.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::ConsumerContext,
    error::{KafkaError, RDKafkaErrorCode},
};

use crate::identity::Identity;

/// What has gone wrong with the connections of this instance.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Credentials or certificates are refused: the broker's words.
    refused: Mutex<Option<String>>,
    /// The reading was refused by the broker: its words. Nothing was read since.
    denied: Mutex<Option<String>>,
    /// No broker can be reached.
    pub(crate) all_down: AtomicBool,
}

impl Trouble {
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The broker answers again.
    pub(crate) fn over(&self) {
        self.all_down.store(false, Ordering::Relaxed);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn refuse(&self, reason: &str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    pub(crate) fn denied(&self) -> Option<String> {
        let denied = self.denied.lock();
        denied.unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn deny(&self, reason: &str) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Something was read.
    pub(crate) fn allow(&self) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One client's callbacks.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) trouble: Arc<Trouble>,
    /// For the client whose debug log tells the topic's id.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl ConsumerContext for Context {}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match (level, &self.identity) {
            (RDKafkaLogLevel::Debug, Some(identity)) => {
                identity.read(message);
                tracing::trace!(facility, "librdkafka: {message}");
            }
            (
                RDKafkaLogLevel::Emerg
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Error,
                _,
            ) => tracing::warn!(facility, "librdkafka: {message}"),
            _ => tracing::debug!(facility, "librdkafka: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::AllBrokersDown) => {
                self.trouble.all_down.store(true, Ordering::Relaxed);
            }
            Some(
                RDKafkaErrorCode::Authentication
                | RDKafkaErrorCode::SSL
                | RDKafkaErrorCode::SaslAuthenticationFailed
                | RDKafkaErrorCode::UnsupportedSASLMechanism,
            ) => self.trouble.refuse(reason),
            _ => {}
        }
        tracing::debug!(%error, reason, "kafka");
    }
}
