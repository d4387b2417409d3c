//! What librdkafka says by callbacks: its log, and errors that belong to no single call.
//!
//! rdkafka runs the callbacks of a consumer inside of its polls, so a client that nobody polls
//! tells nothing. The file only notes what was said; the watching thread decides what follows from
//! it.

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

/// What has gone wrong with the connections of this instance. All of its clients write here.
#[derive(Debug, Default)]
pub(crate) struct Trouble {
    /// Credentials or certificates were refused, with the broker's words. None while they are
    /// taken.
    refused: Mutex<Option<String>>,
    /// The broker refused to let this user read the topic, with its words. Nothing was read since
    /// then.
    denied: Mutex<Option<String>>,
    /// librdkafka has said that it reaches no broker.
    pub(crate) all_down: AtomicBool,
}

impl Trouble {
    /// Why credentials or certificates are refused, in the broker's words; `None` if they are not.
    pub(crate) fn refused(&self) -> Option<String> {
        self.refused
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Notes that the broker answers again.
    pub(crate) fn over(&self) {
        self.all_down.store(false, Ordering::Relaxed);
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn refuse(&self, reason: &str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Why the user may not read the topic, in the broker's words; `None` if he may.
    pub(crate) fn denied(&self) -> Option<String> {
        let denied = self.denied.lock();
        denied.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that the user may not read the topic.
    pub(crate) fn deny(&self, reason: &str) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
    }

    /// Notes that something was read, so that the user may read.
    pub(crate) fn allow(&self) {
        *self.denied.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// The callbacks of one client.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    pub(crate) trouble: Arc<Trouble>,
    /// Where to note the topic's id. Only the probe has it: it is the client whose debug log tells
    /// the id.
    pub(crate) identity: Option<Arc<Identity>>,
}

impl ConsumerContext for Context {}

impl ClientContext for Context {
    /// Passes librdkafka's log on. The probe's debug lines are many and only read for the topic's
    /// id, so they are traces.
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

    /// Notes errors that are about connections. The others come as results of calls, too, and are
    /// handled there.
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
