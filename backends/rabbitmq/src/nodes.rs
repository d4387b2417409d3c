//! The nodes that the address names: which one this instance uses, and where it looks next.
//!
//! The side that receives chooses; everything else of the instance goes to the same node, so that
//! an instance in a cluster that is split never publishes on one side and reads on the other. Pure
//! but for the counters: nothing here connects.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::watch;

/// A node, by its place in the address.
pub(crate) type Node = usize;

/// The nodes of one instance, and which of them it uses.
#[derive(Debug)]
pub(crate) struct Nodes {
    count: usize,
    /// Where the next search begins.
    first: AtomicUsize,
    /// The node in use; the other task follows it.
    used: watch::Sender<Node>,
}

impl Nodes {
    /// Returns `count` nodes, of which the first is tried first.
    pub(crate) fn new(count: usize) -> Self {
        Self {
            count,
            first: AtomicUsize::new(0),
            used: watch::Sender::new(0),
        }
    }

    /// Returns true if there is another node to go to.
    pub(crate) fn several(&self) -> bool {
        self.count > 1
    }

    /// Returns how many nodes the address names.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Returns all nodes, in the order in which to try them.
    pub(crate) fn order(&self) -> impl Iterator<Item = Node> + use<> {
        let (first, count) = (self.first.load(Ordering::Relaxed), self.count);
        (first..first + count).map(move |node| node % count)
    }

    /// Returns the node that this instance uses.
    pub(crate) fn used(&self) -> Node {
        *self.used.borrow()
    }

    /// Returns a receiver that tells of each change of [`Self::used`].
    pub(crate) fn watch(&self) -> watch::Receiver<Node> {
        self.used.subscribe()
    }

    /// Notes that this instance now receives from this node; the next search begins here.
    pub(crate) fn choose(&self, node: Node) {
        self.first.store(node, Ordering::Relaxed);
        self.used
            .send_if_modified(|used| std::mem::replace(used, node) != node);
    }

    /// Makes the next search begin behind this node, and come to it last.
    pub(crate) fn avoid(&self, node: Node) {
        self.first.store((node + 1) % self.count, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
