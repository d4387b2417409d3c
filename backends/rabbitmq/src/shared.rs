//! What the two tasks of one instance know of each other. They have no other way to talk, and
//! neither waits for the other without a limit.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use hubplane_backplane::{Error, ErrorKind};
use tokio::{
    select,
    sync::{Notify, watch},
    time::timeout,
};

use crate::{config::Config, nodes::Nodes};

/// How long `Up` waits for the side that publishes.
const PUBLISHING: Duration = Duration::from_secs(2);
/// How long one attempt to connect, and to find or make what is needed, may take.
pub(crate) const ATTEMPT: Duration = Duration::from_secs(12);
/// How often the broker is asked something on each connection in use.
pub(crate) const ASK_EVERY: Duration = Duration::from_secs(1);
/// A broker that neither delivers nor answers for so long is taken for dead.
pub(crate) const SILENCE: Duration = Duration::from_millis(2_500);

/// What both tasks know.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) nodes: Nodes,
    /// The publishing side has found the exchange gone, and with it the receiving side's binding.
    pub(crate) exchange_lost: Notify,
    /// The receiving side has reached the broker again, so the publishing side need not wait out
    /// its delay.
    pub(crate) reached: Notify,
    /// The hub wants another connection that receives.
    pub(crate) renew: Notify,
    /// The publishing side can't work with the node in use.
    pub(crate) leave: Notify,
    /// Whether there is a connection that publishes.
    pub(crate) publishing: watch::Sender<bool>,
    /// Why there was no such connection last, in the broker's words.
    refusal: Mutex<String>,
    stop: watch::Receiver<bool>,
}

impl Shared {
    /// Returns the shared part, and the sender that ends the instance: by `true`, or when it is
    /// dropped.
    pub(crate) fn new(config: Config) -> (Self, watch::Sender<bool>) {
        let (stop, stopped) = watch::channel(false);
        let this = Self {
            nodes: Nodes::new(config.hosts.len()),
            config,
            exchange_lost: Notify::new(),
            reached: Notify::new(),
            renew: Notify::new(),
            leave: Notify::new(),
            publishing: watch::Sender::new(true),
            refusal: Mutex::default(),
            stop: stopped,
        };
        (this, stop)
    }

    /// Returns once the backend is closed, or dropped.
    pub(crate) async fn stopped(&self) {
        let _ = self.stop.clone().wait_for(|stopped| *stopped).await;
    }

    /// Keeps why nothing can be published, for those who want to publish. Returns false if it was
    /// the same before.
    pub(crate) fn refused(&self, why: String) -> bool {
        let mut refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *refusal, why) != *refusal
    }

    /// Returns why nothing could be published last.
    pub(crate) fn refusal(&self) -> String {
        let refusal = self.refusal.lock().unwrap_or_else(PoisonError::into_inner);
        refusal.clone()
    }

    /// Returns what the hub should know of an attempt that failed, and logs it: only that the
    /// broker refuses us, so that waiting is no use (`Config`), and each reason once in a row.
    /// `last` keeps the reason.
    pub(crate) fn news(&self, error: &Error, last: &mut Option<String>) -> Option<String> {
        let why = error.to_string();
        if error.kind() != ErrorKind::Config || last.as_ref() == Some(&why) {
            return None;
        }
        tracing::warn!(why, "RabbitMQ refuses this instance, which keeps trying");
        *last = Some(why.clone());
        Some(why)
    }

    /// Asks the receiving side to go to another node, if there is one.
    pub(crate) fn leave_node(&self) {
        if self.nodes.several() {
            self.leave.notify_one();
        }
    }

    /// Takes back requests for another connection that were made while one was being made anyway.
    pub(crate) fn reconnected(&self) {
        for asked in [&self.renew, &self.leave] {
            let _ = asked.notified().now_or_never();
        }
    }

    /// Waits until there is a connection that publishes, for at most 2 s. After a restart the hub
    /// is told `Up` when it can also publish, but that must not hold up messages for long.
    pub(crate) async fn publishing_too(&self) {
        self.reached.notify_one();
        let mut publishing = self.publishing.subscribe();
        let back = timeout(PUBLISHING, publishing.wait_for(|publishing| *publishing));
        select! {
            _ = back => {}
            () = self.stopped() => {}
        }
    }

    /// Returns true once the backend is closed, or dropped.
    pub(crate) fn is_stopped(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }
}
