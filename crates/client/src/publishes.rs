//! Publishes that wait for their acknowledgement, in order.
//!
//! Decides which is sent next and which is sent again. Knows no socket and no clock: frames and answers go out and come in
//! as values, and `connection` carries them.

use std::collections::BTreeMap;

use tokio::sync::oneshot;

use super::{Error, Published};

/// How many may be sent and unanswered at once. So many of the largest messages are still fewer bytes than the hub takes
/// in a burst.
const WINDOW: usize = 15;

/// One publish.
#[derive(Debug)]
pub(super) struct Publish {
    pub(super) channel: Box<str>,
    /// The message as JSON, sent byte for byte.
    pub(super) data: Box<serde_json::value::RawValue>,
    pub(super) id: Box<str>,
    /// Takes the answer. If the caller no longer waits, this is closed: the publish may then be withdrawn if it was not
    /// sent, and otherwise its answer is ignored.
    pub(super) done: oneshot::Sender<Result<Published, Error>>,
}

/// A publish without an acknowledgement.
#[derive(Debug)]
struct Waiting {
    publish: Publish,
    /// Whether it was sent on this connection.
    sent: bool,
    /// What it counts against the limit of bytes.
    bytes: usize,
}

/// The publish frame, as the hub reads it.
#[derive(serde::Serialize)]
struct Frame<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(rename = "ref")]
    reference: u64,
    channel: &'a str,
    data: &'a serde_json::value::RawValue,
    id: &'a str,
}

/// The publishes of one client.
#[derive(Debug)]
pub(super) struct Publishes {
    /// By `ref`. References only grow, so the order of the map is the order of publishing.
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

impl Publishes {
    /// Returns an empty list with these limits: how many may wait, and how many bytes they may have together.
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            waiting: BTreeMap::new(),
            bytes: 0,
            most,
            most_bytes,
        }
    }

    /// Adds a publish. If there is no room, answers it with [`Error::Full`].
    pub(super) fn insert(&mut self, reference: u64, publish: Publish) {
        let bytes = publish.channel.len() + publish.data.get().len() + publish.id.len();
        // Only when room is needed: looking at all of them for each publish would cost too much.
        if self.is_full(bytes) {
            self.forget_the_abandoned();
        }
        if self.is_full(bytes) {
            _ = publish.done.send(Err(Error::Full));
            return;
        }
        self.bytes += bytes;
        let waiting = Waiting {
            publish,
            sent: false,
            bytes,
        };
        self.waiting.insert(reference, waiting);
    }

    fn is_full(&self, bytes: usize) -> bool {
        self.waiting.len() >= self.most || self.bytes + bytes > self.most_bytes
    }

    /// Removes what was not sent and has nobody waiting. One that was sent stays until it is answered: it counts
    /// against what the hub takes at once.
    fn forget_the_abandoned(&mut self) {
        self.waiting
            .retain(|_, waiting| waiting.sent || !waiting.publish.done.is_closed());
        self.bytes = self.waiting.values().map(|waiting| waiting.bytes).sum();
    }

    /// Notes that the connection has ended: everything that still waits is sent again on the next one.
    pub(super) fn down(&mut self) {
        for waiting in self.waiting.values_mut() {
            waiting.sent = false;
        }
        self.forget_the_abandoned();
    }

    /// Returns the next frame to send, or `None` if all was sent or enough is unanswered: only the [`WINDOW`] oldest are
    /// looked at.
    pub(super) fn next(&mut self) -> Option<String> {
        let (&reference, waiting) = self
            .waiting
            .iter_mut()
            .take(WINDOW)
            .find(|(_, waiting)| !waiting.sent)?;
        waiting.sent = true;
        let Publish {
            channel, data, id, ..
        } = &waiting.publish;
        let frame = Frame {
            kind: "publish",
            reference,
            channel,
            data,
            id,
        };
        // Texts, a number and JSON that was parsed before: writing them can't fail.
        serde_json::to_string(&frame).ok()
    }

    /// Takes an acknowledgement. One that is not known was answered before, and is ignored.
    pub(super) fn published(&mut self, reference: u64, position: Option<Box<str>>) {
        if let Some(publish) = self.remove(reference) {
            let id = publish.id;
            _ = publish.done.send(Ok(Published { id, position }));
        }
    }

    /// Takes a refusal for good. Returns false if the reference is not one of these.
    pub(super) fn refused(&mut self, reference: u64, code: Box<str>, message: Box<str>) -> bool {
        let Some(publish) = self.remove(reference) else {
            return false;
        };
        _ = publish.done.send(Err(Error::Refused { code, message }));
        true
    }

    /// Notes that the hub could not publish this for now, so that it is sent again. Returns false if the reference is not
    /// one of these.
    pub(super) fn again(&mut self, reference: u64) -> bool {
        match self.waiting.get_mut(&reference) {
            Some(waiting) => {
                waiting.sent = false;
                true
            }
            None => false,
        }
    }

    fn remove(&mut self, reference: u64) -> Option<Publish> {
        let waiting = self.waiting.remove(&reference)?;
        self.bytes -= waiting.bytes;
        Some(waiting.publish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(id: &str) -> (Publish, oneshot::Receiver<Result<Published, Error>>) {
        let (done, answer) = oneshot::channel();
        let data = serde_json::value::to_raw_value(&1).unwrap();
        let (channel, id) = ("c".into(), id.into());
        let publish = Publish {
            channel,
            data,
            id,
            done,
        };
        (publish, answer)
    }

    #[test]
    fn in_order_again_after_a_new_connection_and_answered_once() {
        let mut all = Publishes::new(20, 1_000);
        let mut answers = Vec::new();
        for n in 0..20 {
            let (publish, answer) = publish(&n.to_string());
            all.insert(n, publish);
            answers.push(answer);
        }
        let (more, mut refused) = publish("more");
        all.insert(20, more);
        assert!(matches!(refused.try_recv(), Ok(Err(Error::Full))));
        let sent: Vec<_> = std::iter::from_fn(|| all.next()).collect();
        assert_eq!(sent.len(), WINDOW);
        all.published(0, Some("e-0-1".into()));
        assert_eq!(&*answers[0].try_recv().unwrap().unwrap().id, "0");
        assert!(all.next().unwrap().contains(r#""id":"15""#));
        assert!(all.again(3) && all.next().unwrap().contains(r#""id":"3""#));
        assert!(all.refused(1, "forbidden".into(), "no".into()) && !all.again(1));
        drop(answers.remove(2));
        all.down();
        assert!(
            all.next().unwrap().contains(r#""id":"3""#),
            "2 was withdrawn"
        );
    }
}
