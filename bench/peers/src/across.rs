//! Measures the way from one instance to the other: a socket of the first publishes, a socket of the second receives. For
//! comparison it also measures two processes that only copy, and Redis alone from one connection to another.

use std::{cell::RefCell, net::SocketAddr, ops::Range, rc::Rc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, tcp::OwnedWriteHalf},
    task::JoinSet,
    time::sleep,
};

use crate::{
    Failure,
    heard::{Heard, data},
    measure::{clock, own_cpu},
    protocol::Name,
    pubsub::pushed,
    relay::Relay,
    sockets::{listen, open},
    table::Figure,
    target::Target,
    websocket::{TEXT, frame, send},
};

/// Messages in a second: far below what any server takes, so that no queue is measured.
const RATE: u64 = 500;
/// How many messages are warm-up and do not count.
const FIRST: u64 = RATE;
/// The size of a message's data; small, so that copying it costs nothing.
const BYTES: usize = 128;
/// How long to wait for the last messages.
const STRAGGLERS: Duration = Duration::from_millis(500);

/// Returns the time from when a message is sent until it is received.
pub(crate) async fn across(target: &Target, length: Duration) -> Result<Vec<Figure>, Failure> {
    let messages = RATE * length.as_secs();
    // Costs are the difference from before to after, as each process counts them since its start.
    let (before, own) = (target.spent_by_all()?, own_cpu()?);
    let through = through(target, messages).await?;
    let own = own_cpu()?.saturating_sub(own);
    let spent = target.spent_by_all()?.saturating_sub(before);
    // The two comparisons use the same Redis as the target, one after the other.
    let relayed = relayed(target.redis, messages).await?;
    let raw = raw(target.redis, messages).await?;
    // Microseconds to milliseconds.
    let quantile = |heard: &Heard, at| heard.ages.borrow().value_at_quantile(at) as f64 / 1e3;
    // The warm-up is in the costs, so it is in their divisor, too.
    let all = (FIRST + messages) as f64;
    let seconds = all / RATE as f64;
    Ok(vec![
        Figure::new("p50 ms", quantile(&through, 0.5), 3),
        Figure::new("p99 ms", quantile(&through, 0.99), 2),
        Figure::new("CPU-µs a message", spent.as_secs_f64() * 1e6 / all, 0),
        Figure::new("lost", through.balance(1, &[]).0 as f64, 0),
        Figure::new("load, of its core", own.as_secs_f64() / seconds, 2),
        Figure::new("two relays, p50 ms", quantile(&relayed, 0.5), 3),
        Figure::new("two relays, p99 ms", quantile(&relayed, 0.99), 2),
        Figure::new("Redis alone, p50 ms", quantile(&raw, 0.5), 3),
        Figure::new("Redis alone, p99 ms", quantile(&raw, 0.99), 2),
    ])
}

/// Measures the way through a server: in at its first instance, out at its second.
async fn through(target: &Target, messages: u64) -> Result<Rc<Heard>, Failure> {
    let protocol = target.protocol.protocol();
    let channel = protocol.channel("across", 0);
    let heard = Rc::new(Heard::new(protocol, FIRST, messages));
    // Some protocols let only a subscriber publish; what the publisher hears does not count.
    let other = Rc::new(Heard::new(protocol, u64::MAX, 0));
    let mut tasks = JoinSet::new();
    let mut sockets = Vec::new();
    // The first instance gets the socket that publishes, the second the one that counts.
    for (address, heard) in target.addresses.iter().zip([&other, &heard]) {
        let socket = open(protocol, *address, vec![channel.clone()]).await?;
        let stream = Rc::new(socket.stream);
        sockets.push(Rc::clone(&stream));
        let buffer = Rc::new(RefCell::new(vec![0; 64 * 1_024]));
        tasks.spawn_local(listen(stream, socket.rest, buffer, Rc::clone(heard)));
    }
    let mut ticks = ticks(&heard, messages);
    let mut number = 0;
    while ticks.recv().await.is_some() {
        // The time in the message is when it is sent: at 500 a second, the clock is seldom late.
        let data = data(0, number, heard.now(), BYTES);
        let text = protocol.publish(&channel, &data, number);
        send(&sockets[0], &frame(TEXT, text.as_bytes())).await?;
        number += 1;
    }
    sleep(STRAGGLERS).await;
    Ok(heard)
}

/// Measures Redis alone: `PUBLISH` on one connection, `SUBSCRIBE` on another.
async fn raw(redis: SocketAddr, messages: u64) -> Result<Rc<Heard>, Failure> {
    let mut hearing = TcpStream::connect(redis).await?;
    hearing.set_nodelay(true)?;
    hearing.write_all(b"SUBSCRIBE across\r\n").await?;
    let mut part = vec![0; 4_096];
    // The confirmation of the subscription.
    _ = hearing.read(&mut part).await?;
    let (mut answers, publishing) = TcpStream::connect(redis).await?.into_split();
    let mut tasks = JoinSet::new();
    // Answers must be read: Redis closes a connection whose answers pile up.
    tasks.spawn_local(async move {
        let mut part = vec![0; 4_096];
        while answers.read(&mut part).await.is_ok_and(|count| count > 0) {}
    });
    // RESP, the protocol of Redis: an array of three texts, each with its length.
    let command = |data: &str| {
        format!(
            "*3\r\n$7\r\nPUBLISH\r\n$6\r\nacross\r\n${}\r\n{data}\r\n",
            data.len()
        )
    };
    plainly(publishing, hearing, messages, command, pushed).await
}

/// Measures the same through two processes that only copy bytes.
async fn relayed(redis: SocketAddr, messages: u64) -> Result<Rc<Heard>, Failure> {
    let relays = [Relay::start("in", redis)?, Relay::start("out", redis)?];
    // Both relays are started before either is used, as two instances would be.
    let hearing = TcpStream::connect(relays[1].address).await?;
    let (_unused, publishing) = TcpStream::connect(relays[0].address).await?.into_split();
    // For the subscription.
    sleep(STRAGGLERS).await;
    // Without frames, a message is known by its length alone; two bytes are JSON's quotation marks,
    // which are not sent here.
    let whole = |got: &[u8]| (got.len() >= BYTES - 2).then_some((0..BYTES - 2, BYTES - 2));
    plainly(publishing, hearing, messages, str::to_owned, whole).await
}

/// Sends and receives without a server's protocol. `taken` finds the first message in the bytes that were read, and its end.
async fn plainly(
    mut publishing: OwnedWriteHalf,
    mut hearing: TcpStream,
    messages: u64,
    sent: impl Fn(&str) -> String,
    taken: impl Fn(&[u8]) -> Option<(Range<usize>, usize)> + 'static,
) -> Result<Rc<Heard>, Failure> {
    publishing.as_ref().set_nodelay(true)?;
    let heard = Rc::new(Heard::new(Name::Plain.protocol(), FIRST, messages));
    let mut tasks = JoinSet::new();
    let take = Rc::clone(&heard);
    tasks.spawn_local(async move {
        let (mut got, mut part): (Vec<u8>, _) = (Vec::new(), vec![0; 4_096]);
        while let Ok(count @ 1..) = hearing.read(&mut part).await {
            got.extend_from_slice(&part[..count]);
            while let Some((message, end)) = taken(&got) {
                take.text(&got[message]);
                got.drain(..end);
            }
        }
    });
    let mut ticks = ticks(&heard, messages);
    let mut number = 0;
    while ticks.recv().await.is_some() {
        let data = data(0, number, heard.now(), BYTES);
        publishing.write_all(sent(&data).as_bytes()).await?;
        number += 1;
    }
    sleep(STRAGGLERS).await;
    Ok(heard)
}

/// The moments at which messages are due, the first after 10 ms: the thread of the clock must have
/// started.
fn ticks(heard: &Heard, messages: u64) -> tokio::sync::mpsc::Receiver<()> {
    let begin = heard.now() + 10_000;
    let due = move |number: u64| begin + number * 1_000_000 / RATE;
    clock(heard.start, (0..FIRST + messages).map(due))
}
