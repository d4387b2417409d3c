//! As fast as it goes: so many messages are on their way at a time, and one that all subscribers have got makes room for
//! the next.

use std::{cell::RefCell, rc::Rc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout},
};

use crate::{
    Failure,
    crowd::open_all,
    heard::{Heard, data},
    http::{CONNECTIONS, Queue, publish},
    measure::own_cpu,
    sockets::listen,
    table::Figure,
    target::Target,
};

/// All of one channel.
const SUBSCRIBERS: usize = 1_000;
/// Messages on their way at once: enough to keep both instances busy, few enough that none waits
/// long.
const IN_FLIGHT: usize = 16;
/// The size of a message's data.
const BYTES: usize = 128;
/// More messages than any server delivers in the time; each has a counter.
const MOST: u64 = 1_000_000;
/// How long one message may take to reach all.
const PATIENCE: Duration = Duration::from_secs(10);
/// Deliveries of this first time do not count.
const WARM_UP: Duration = Duration::from_secs(1);

/// Deliveries a second, published by HTTP at both instances in turn.
///
/// # Errors
///
/// A message that does not reach all subscribers within [`PATIENCE`]: the next one would never be
/// sent.
pub(crate) async fn closed(target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    let channel = protocol.channel("closed", 0);
    let (heard, mut whole) = Heard::watched(protocol, MOST, (SUBSCRIBERS as u16, IN_FLIGHT));
    let heard = Rc::new(heard);
    let mut tasks = JoinSet::new();
    let buffer = Rc::new(RefCell::new(vec![0; 64 * 1_024]));
    let crowd = (SUBSCRIBERS, 64);
    // 64 handshakes at a time.
    let sockets = open_all(&target.addresses, protocol, crowd, |_| {
        vec![channel.clone()]
    })
    .await?;
    for socket in sockets {
        let stream = Rc::new(socket.stream);
        tasks.spawn_local(listen(
            stream,
            socket.rest,
            Rc::clone(&buffer),
            Rc::clone(&heard),
        ));
    }
    let queues: Vec<_> = target
        .addresses
        .iter()
        .map(|_| Rc::new(Queue::default()))
        .collect();
    // Requests must not wait for a free connection, or their number would be the limit.
    for (&address, queue) in target.addresses.iter().zip(&queues) {
        for _ in 0..CONNECTIONS.max(IN_FLIGHT / queues.len()) {
            tasks.spawn_local(publish(address, Rc::clone(queue)));
        }
    }
    // The instances take turns.
    let next = |number: u64| {
        let data = data(0, number, heard.now(), BYTES);
        let queue = &queues[number as usize % queues.len()];
        queue.put(number, protocol.request(&channel, &data));
    };
    // The first ones at once; each of the others takes the place of one that has arrived
    // everywhere.
    (0..IN_FLIGHT as u64).for_each(next);
    let (start, mut number, mut begun) = (Instant::now(), IN_FLIGHT as u64, None);
    while start.elapsed() < WARM_UP + length {
        timeout(PATIENCE, whole.recv())
            .await
            .ok()
            .flatten()
            .ok_or("a message has not reached all")?;
        next(number);
        number += 1;
        // Counting begins after the warm-up, with whatever is on its way then.
        if begun.is_none() && start.elapsed() >= WARM_UP {
            let counts = (target.spent_by_all()?, own_cpu()?, heard.deliveries.get());
            begun = Some((counts, Instant::now()));
        }
    }
    let ((before, own, first), since) = begun.ok_or("nothing was delivered")?;
    let elapsed = since.elapsed().as_secs_f64();
    let own = own_cpu()?.saturating_sub(own);
    let spent = target.spent_by_all()?.saturating_sub(before);
    let deliveries = (heard.deliveries.get() - first) as f64;
    Ok(vec![
        Figure::new("deliveries/s", deliveries / elapsed, 0),
        Figure::new(
            "CPU-µs a delivery",
            spent.as_secs_f64() * 1e6 / deliveries,
            2,
        ),
        Figure::new("load, of its core", own.as_secs_f64() / elapsed, 2),
    ])
}
