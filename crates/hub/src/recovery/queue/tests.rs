use std::sync::Arc;

use futures_util::FutureExt as _;

use super::*;

/// A request of a session, and what keeps it wanted.
fn request(session: u32, serial: u64, after: &str) -> (RecoveryRequest, Arc<()>) {
    let wanted = Arc::new(());
    let session = Key {
        index: session,
        serial: 0,
    };
    let request = RecoveryRequest {
        shard: 0,
        subscription: SubscriptionKey { session, serial },
        channel: "c".into(),
        after: after.parse().unwrap(),
        wanted: Arc::downgrade(&wanted),
    };
    (request, wanted)
}

fn next(queue: &RecoveryQueue) -> Option<(u32, u64)> {
    let taken = queue.next().now_or_never()?;
    let SubscriptionKey { session, serial } = taken.subscription;
    Some((session.index, serial))
}

#[test]
fn sessions_take_turns_whatever_each_has_waiting() {
    let queue = RecoveryQueue::new(128);
    let flood = (0..100).map(|serial| request(1, serial, "1-0-5"));
    let (flood, _wanted): (Vec<_>, Vec<_>) = flood.unzip();
    assert!(flood.into_iter().all(|it| queue.offer(it)));
    let (honest, _honest) = request(2, 0, "1-0-9");
    assert!(queue.offer(honest));
    assert_eq!(next(&queue), Some((1, 0)));
    assert_eq!(next(&queue), Some((2, 0)));
    assert_eq!(next(&queue), None, "one reading a session");
    let key = |index| Key { index, serial: 0 };
    queue.served((0, key(2)));
    queue.served((0, key(1)));
    assert_eq!(next(&queue), Some((1, 1)));
}

#[test]
fn what_nobody_wants_any_more_is_dropped_and_leaves_room() {
    let queue = RecoveryQueue::new(2);
    let mut kept = Vec::new();
    for serial in 0..100 {
        let (asked, wanted) = request(1, serial, "1-0-5");
        assert!(queue.offer(asked), "those before it are gone");
        kept = vec![wanted];
    }
    let (more, _wanted) = request(1, 100, "1-0-5");
    assert!(queue.offer(more));
    let (too_many, _wanted) = request(1, 101, "1-0-5");
    assert!(!queue.offer(too_many));
    assert_eq!(next(&queue), Some((1, 99)));
    drop(kept);
    assert_eq!(queue.lock().requests.len(), 1);
}

#[test]
fn a_reading_takes_along_what_it_passes() {
    let queue = RecoveryQueue::new(128);
    let places = ["1-0-4", "1-0-5", "1-0-9", "1-0-a", "1-1-7", "2-0-7"];
    let asked = places.iter().enumerate();
    let asked = asked.map(|(serial, place)| request(serial as u32, 0, place));
    let (asked, mut wanted): (Vec<_>, Vec<_>) = asked.unzip();
    assert!(asked.into_iter().all(|it| queue.offer(it)));
    wanted.remove(1);
    let taken = queue.take_between("1-0-5".parse().unwrap(), "1-0-9".parse().unwrap());
    let taken: Vec<_> = taken.iter().map(|it| it.after.to_string()).collect();
    assert_eq!(taken, ["1-0-9"], "the other one is gone");
    let rest: Vec<_> = std::iter::from_fn(|| next(&queue)).collect();
    assert_eq!(rest, [(0, 0), (3, 0), (4, 0), (5, 0)]);
}
