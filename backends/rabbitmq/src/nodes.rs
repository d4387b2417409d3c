//! The nodes that the address names: which one this instance uses, and where it looks next.
//!
//! The side that receives chooses; everything else of the instance goes to the same node, so that an instance in a
//! cluster that is split never publishes on one side and reads on the other.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use hubplane_backplane::{Error, ErrorKind, Result};
use tokio::{
    select,
    sync::watch,
    time::{Instant, sleep_until},
};

/// An attempt has so long before the next one begins beside it: a node that is well answers within, also from afar.
const STAGGER: Duration = Duration::from_millis(250);

/// A node, by its place in the address.
pub(crate) type Node = usize;

/// See the module.
#[derive(Debug)]
pub(crate) struct Nodes {
    count: usize,
    /// Where the next search begins.
    first: AtomicUsize,
    used: watch::Sender<Node>,
}

impl Nodes {
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            first: AtomicUsize::new(0),
            used: watch::Sender::new(0),
        }
    }

    /// Whether there is another node to go to.
    pub(crate) fn several(&self) -> bool {
        self.count > 1
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// All nodes, in the order in which to try them.
    pub(crate) fn order(&self) -> impl Iterator<Item = Node> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.count);
        (first..first + count).map(move |node| node % count)
    }

    /// The node that this instance uses.
    pub(crate) fn used(&self) -> Node {
        *self.used.borrow()
    }

    /// Tells of each change of [`Self::used`].
    pub(crate) fn watch(&self) -> watch::Receiver<Node> {
        self.used.subscribe()
    }

    /// This instance receives from this node.
    pub(crate) fn choose(&self, node: Node) {
        self.first.store(node, Ordering::Relaxed);
        self.used
            .send_if_modified(|used| std::mem::replace(used, node) != node);
    }

    /// The next search begins behind this node, and comes to it last.
    pub(crate) fn avoid(&self, node: Node) {
        self.first.store((node + 1) % self.count, Ordering::Relaxed);
    }
}

/// Makes the attempts side by side, each 250 ms after the one before, or as soon as one fails. Returns the first success
/// and drops the other attempts; where all fail, the error that says most: a configuration that is wrong, or the last.
pub(crate) async fn race<T, F>(mut attempts: impl Iterator<Item = F>) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut running: FuturesUnordered<F> = attempts.next().into_iter().collect();
    let mut waiting = attempts.next();
    let mut failed: Option<Error> = None;
    let mut begin = Instant::now() + STAGGER;
    loop {
        let result = select! {
            Some(result) = running.next() => Some(result),
            () = sleep_until(begin), if waiting.is_some() => None,
            else => return Err(failed.expect("invariant: there is an attempt")),
        };
        match result {
            Some(Ok(success)) => return Ok(success),
            Some(Err(error)) => match failed.as_ref().map(Error::kind) {
                Some(ErrorKind::Config) => {}
                _ => failed = Some(error),
            },
            None => {}
        }
        if let Some(next) = waiting.take() {
            running.push(next);
            waiting = attempts.next();
            begin = Instant::now() + STAGGER;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    async fn attempt(node: Node, after: u64, error: Option<ErrorKind>) -> Result<Node> {
        sleep(Duration::from_millis(after)).await;
        match error {
            Some(kind) => Err(Error::new(kind, "x", node.to_string())),
            None => Ok(node),
        }
    }

    #[tokio::test]
    async fn the_first_that_answers_wins() {
        let start = Instant::now();
        let silent = [(0, 60_000), (1, 60_000), (2, 0)];
        let won = race(
            silent
                .map(|(node, after)| attempt(node, after, None))
                .into_iter(),
        )
        .await;
        assert_eq!(won.unwrap(), 2);
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "{:?}",
            start.elapsed()
        );
    }

    #[tokio::test]
    async fn the_error_that_says_most_is_kept() {
        let failing = [
            ErrorKind::Unavailable,
            ErrorKind::Config,
            ErrorKind::Unavailable,
        ];
        let attempts = failing.into_iter().enumerate();
        let lost = race(attempts.map(|(node, kind)| attempt(node, 0, Some(kind)))).await;
        assert_eq!(lost.unwrap_err().message(), "1");
    }

    #[test]
    fn a_node_that_failed_comes_last() {
        let nodes = Nodes::new(3);
        assert!(nodes.order().eq([0, 1, 2]));
        nodes.avoid(0);
        assert!(nodes.order().eq([1, 2, 0]));
        assert_eq!(nodes.used(), 0);
        nodes.choose(2);
        assert!(nodes.order().eq([2, 0, 1]));
        assert_eq!(nodes.used(), 2);
    }
}
