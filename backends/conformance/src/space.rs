//! What the cases share: a space of its own on the broker for each case, and instances that note all events. The methods
//! panic if the backend breaks its contract, which is how a case says so.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hubplane_backplane::{
    Backplane, Capabilities, Channel, Event, Events, Outgoing, Publication, Receipt, Result,
};
use tokio::{
    sync::Notify,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{Harness, case::note_opened};

/// How long a message may take, on a busy machine.
/// Far above what any broker needs; a case that waits as long has failed.
pub(crate) const SOON: Duration = Duration::from_secs(10);
/// How long a case waits after the last expected message, for one that should not come.
/// Long enough for a repetition, short enough for dozens of cases.
pub(crate) const SETTLE: Duration = Duration::from_millis(400);

/// A space that only this case uses.
pub(crate) struct Space<'a> {
    pub(crate) harness: &'a dyn Harness,
    pub(crate) name: String,
    pub(crate) capabilities: Capabilities,
}

impl<'a> Space<'a> {
    /// Chooses a new name. Nothing is made on the broker yet.
    pub(crate) fn new(harness: &'a dyn Harness) -> Self {
        // Random, since several runs may share a broker: 1 to 17 of `a-z` and `0-9`, as
        // [`Harness::address`] asks.
        let name = format!("c{:x}", getrandom::u64().expect("random bytes"));
        Self {
            harness,
            name,
            capabilities: harness.driver().capabilities(),
        }
    }

    /// Opens an instance whose events the case reads itself, or leaves unread.
    pub(crate) async fn open_raw(&self) -> (Arc<dyn Backplane>, Events) {
        let address = self.harness.address(&self.name);
        let opened = self.harness.driver().open(&address).await;
        let opened = opened.unwrap_or_else(|error| panic!("open failed: {error}"));
        // So that it is closed even if the case panics.
        note_opened(&opened.backplane);
        (opened.backplane, opened.events)
    }

    /// Opens an instance whose events are read all the time and noted.
    pub(crate) async fn open(&self) -> Instance {
        let (backplane, mut events) = self.open_raw().await;
        let log = Arc::new(Log::default());
        let noting = Arc::clone(&log);
        // Reads always: a case that wants a slow hub uses `open_raw`.
        let reader = tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                noting.locked().push(event);
                noting.changed.notify_waiters();
            }
        });
        Instance {
            backplane,
            log,
            reader,
        }
    }

    /// Opens two instances that are both subscribed to these channels.
    pub(crate) async fn pair(&self, channels: &[&str]) -> (Instance, Instance) {
        // Both, since a hub in production is never alone.
        let (a, b) = (self.open().await, self.open().await);
        a.subscribe(channels).await;
        b.subscribe(channels).await;
        (a, b)
    }
}

/// The events of one instance so far.
#[derive(Default)]
pub(crate) struct Log {
    events: Mutex<Vec<Event>>,
    /// Wakes [`Instance::until`] after each event.
    changed: Notify,
}

impl Log {
    fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Event>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One open instance, with all events so far.
pub(crate) struct Instance {
    pub(crate) backplane: Arc<dyn Backplane>,
    /// All that was read so far; shared with the reader.
    log: Arc<Log>,
    /// Ends when the backend's events end.
    pub(crate) reader: JoinHandle<()>,
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.log.locked())
    }
}

impl Instance {
    /// Subscribes to channels, which must succeed.
    pub(crate) async fn subscribe(&self, channels: &[&str]) {
        let channels: Vec<Channel> = channels.iter().map(|&name| name.into()).collect();
        self.backplane
            .subscribe(&channels)
            .await
            .unwrap_or_else(|error| panic!("subscribe: {error}"));
    }

    /// Publishes one message and returns its answer.
    pub(crate) async fn publish(&self, channel: &str, data: impl Into<Vec<u8>>) -> Result<Receipt> {
        self.publish_all(vec![Outgoing::new(channel, data.into())])
            .await
            .remove(0)
    }

    /// Publishes a batch. There must be one answer per item, within the 5 s of the contract and 2 s for a busy machine.
    pub(crate) async fn publish_all(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        let count = batch.len();
        // 5 s and 2 s.
        let answers = timeout(Duration::from_secs(7), self.backplane.publish(batch)).await;
        let answers = answers.expect("publish answers within its time limit");
        assert_eq!(answers.len(), count, "one answer per item");
        answers
    }

    /// All events so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.log.locked().clone()
    }

    /// All publications of one channel so far, in their order.
    pub(crate) fn heard(&self, channel: &str) -> Vec<Publication> {
        self.all_heard()
            .into_iter()
            .filter(|publication| &*publication.channel == channel)
            .collect()
    }

    /// All publications so far, in their order.
    pub(crate) fn all_heard(&self) -> Vec<Publication> {
        let batches = self.events().into_iter().filter_map(|event| match event {
            Event::Published(publications) => Some(publications),
            _ => None,
        });
        batches.flatten().collect()
    }

    /// The data of all publications of a channel so far, as text.
    pub(crate) fn texts(&self, channel: &str) -> Vec<String> {
        let heard = self.heard(channel).into_iter();
        heard
            .map(|publication| String::from_utf8_lossy(&publication.data).into_owned())
            .collect()
    }

    /// Waits until `holds` returns true. Panics with `what` if it does not within `limit`.
    /// `holds` is asked again after each event, so it must be cheap and without effect.
    pub(crate) async fn until(&self, what: &str, limit: Duration, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + limit;
        while !holds(self) {
            assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
            // An event that comes between the look and the wait wakes nobody, so the wait is short.
            _ = timeout(Duration::from_millis(20), self.log.changed.notified()).await;
        }
    }

    /// Waits until this many messages of a channel have come, and then makes sure that no more come.
    pub(crate) async fn hears(&self, channel: &str, count: usize) {
        let what = format!("{count} messages of {channel:?}");
        self.until(&what, SOON, |it| it.heard(channel).len() >= count)
            .await;
        // What comes too often comes late; nothing else would show it.
        sleep(SETTLE).await;
        let heard = self.heard(channel).len();
        assert_eq!(
            heard,
            count,
            "messages of {channel:?}: {:?}",
            self.texts(channel)
        );
    }

    /// Closes the instance. It must end within 5 s, and its events with it.
    pub(crate) async fn close(self) {
        let closed = timeout(Duration::from_secs(5), self.backplane.close()).await;
        assert!(closed.is_ok(), "close takes at most 5 s");
        let ended = timeout(Duration::from_secs(5), self.reader).await;
        assert!(ended.is_ok(), "the events end after close");
    }
}
