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

const SUBSCRIBERS: usize = 1_000;
const IN_FLIGHT: usize = 16;
const BYTES: usize = 128;
/// What no server reaches.
const MOST: u64 = 1_000_000;
/// For one message to reach all.
const PATIENCE: Duration = Duration::from_secs(10);
const WARM_UP: Duration = Duration::from_secs(1);

/// Deliveries a second, published by HTTP at both instances in turn.
pub(crate) async fn closed(target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    let channel = protocol.channel("closed", 0);
    let (heard, mut whole) = Heard::watched(protocol, MOST, (SUBSCRIBERS as u16, IN_FLIGHT));
    let heard = Rc::new(heard);
    let mut tasks = JoinSet::new();
    let buffer = Rc::new(RefCell::new(vec![0; 64 * 1_024]));
    let crowd = (SUBSCRIBERS, 64);
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
    for (&address, queue) in target.addresses.iter().zip(&queues) {
        for _ in 0..CONNECTIONS.max(IN_FLIGHT / queues.len()) {
            tasks.spawn_local(publish(address, Rc::clone(queue)));
        }
    }
    let next = |number: u64| {
        let data = data(0, number, heard.now(), BYTES);
        let queue = &queues[number as usize % queues.len()];
        queue.put(number, protocol.request(&channel, &data));
    };
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
