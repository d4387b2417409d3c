//! Lets a limited number of questions be asked at once, and the others wait in the order in which
//! they came.
//!
//! What must hold: what waits is limited in number and in bytes, and a question that nobody waits for
//! any more gives its place back at once. This file must not know what a question is.

use tokio::sync::{Semaphore, SemaphorePermit};

/// The places for questions. A semaphore of tokio serves those who wait in their order.
#[derive(Debug)]
pub(super) struct Queue {
    places: Semaphore,
    bytes: Semaphore,
    turns: Semaphore,
}

/// A place in the queue, until it is dropped.
#[derive(Debug)]
pub(super) struct Place<'a> {
    queue: &'a Queue,
    _place: SemaphorePermit<'a>,
    _bytes: SemaphorePermit<'a>,
}

impl Queue {
    /// Returns a queue of `waiting` places in front of `at_once` ones, for so many bytes in all of
    /// them.
    pub(super) fn new(at_once: usize, waiting: usize, bytes: usize) -> Self {
        Self {
            places: Semaphore::new(at_once + waiting),
            bytes: Semaphore::new(bytes),
            turns: Semaphore::new(at_once),
        }
    }

    /// Takes a place for a question of this size. `None`: it is full.
    pub(super) fn enter(&self, bytes: usize) -> Option<Place<'_>> {
        let place = self.places.try_acquire().ok()?;
        let bytes = self
            .bytes
            .try_acquire_many(u32::try_from(bytes).ok()?)
            .ok()?;
        Some(Place {
            queue: self,
            _place: place,
            _bytes: bytes,
        })
    }
}

impl<'a> Place<'a> {
    /// Waits for its turn, which lasts until it is dropped.
    pub(super) async fn turn(&self) -> SemaphorePermit<'a> {
        let turn = self.queue.turns.acquire().await;
        turn.expect("invariant: nobody closes the queue")
    }
}

#[cfg(test)]
mod tests {
    use std::{
        future::Future,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn it_is_full_by_number_and_by_bytes_until_somebody_leaves() {
        let queue = Queue::new(1, 1, 10);
        let first = queue.enter(4).unwrap();
        assert!(queue.enter(7).is_none(), "too many bytes");
        let second = queue.enter(6).unwrap();
        assert!(queue.enter(0).is_none(), "too many");
        drop(first);
        let third = queue.enter(4).unwrap();
        drop((second, third));
        assert!(queue.enter(10).is_some());
    }

    #[test]
    fn turns_come_in_order_and_who_leaves_holds_up_nobody() {
        let queue = Queue::new(1, 9, 10);
        let places: Vec<_> = (0..4).map(|_| queue.enter(1).unwrap()).collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut turns: Vec<_> = places.iter().map(|place| Box::pin(place.turn())).collect();
        let Poll::Ready(first) = turns[0].as_mut().poll(&mut context) else {
            panic!("the queue is empty")
        };
        for turn in &mut turns[1..] {
            assert!(turn.as_mut().poll(&mut context).is_pending());
        }
        drop(turns.remove(1));
        drop(first);
        assert!(
            pin!(queue.enter(1).unwrap().turn())
                .poll(&mut context)
                .is_pending(),
            "it came last"
        );
        assert!(
            turns[2].as_mut().poll(&mut context).is_pending(),
            "another one came before"
        );
        assert!(turns[1].as_mut().poll(&mut context).is_ready());
    }
}
