//! One client of the load: its socket, what it has received, and how it counts what comes.
//!
//! It reads frames by their first bytes and never parses JSON: tens of thousands of deliveries per second must cost the load
//! much less than they cost the hub. It never connects again by itself; `sockets` does that between measurements.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::TcpStream,
};

use super::{
    frame::{self, Head},
    heard::{Heard, News},
    http,
    layout::{Layout, Mark},
    lock,
    tally::{Stage, Tally},
};
use crate::target::HubAddress;

/// The most bytes that are read at once.
const READ: usize = 64 * 1024;

/// A client. It outlives its connections, so that what it has received is known after a new one.
#[derive(Debug)]
pub(super) struct Subscriber {
    /// Its number in the layout, which says its channels and its hub.
    index: u32,
    /// True from the confirmed subscriptions until the connection's end. `Relaxed`: it guards no
    /// other data.
    alive: AtomicBool,
    /// Absent while there is no connection.
    writer: Mutex<Option<Writer>>,
    /// One for each slot and rank, in that order; what a later connection repeats is known by it.
    heard: Mutex<Vec<Heard>>,
}

/// What is written to one socket, by the schedule's thread and by the one that reads.
#[derive(Debug)]
pub(super) struct Writer {
    /// Shared with the task that reads.
    stream: Arc<TcpStream>,
    /// What the socket has not taken. Unlimited, as a measurement ends after seconds.
    pending: Vec<u8>,
}

impl Writer {
    pub(super) const fn new(stream: Arc<TcpStream>) -> Self {
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Writes what the socket takes at once; the rest goes with the next write. Never waits: the schedule goes on whatever
    /// a socket does.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        // Behind what waits, or frames would be torn apart.
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return self.flush();
        }
        let written = self.try_write(bytes)?;
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    /// Writes what is left, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.try_write(&self.pending)? {
                0 => break,
                written => drop(self.pending.drain(..written)),
            }
        }
        Ok(())
    }

    /// Returns whether something is left to write. Only then is it worth waiting for the socket to
    /// take more: it takes more nearly always, and would keep the reading task awake.
    pub(super) const fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

    /// A full socket is no error: 0 bytes were taken.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self.stream.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }
}

impl Subscriber {
    pub(super) fn new(layout: &Layout, index: u32) -> Self {
        Self {
            index,
            alive: AtomicBool::new(false),
            writer: Mutex::default(),
            // Room for each publisher of each of its channels, so that counting allocates nothing.
            heard: Mutex::new(vec![
                Heard::default();
                (layout.each * layout.ranks()) as usize
            ]),
        }
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Relaxed)
    }

    /// Writes a frame. Returns false if there is no connection, or it breaks.
    pub(super) fn publish(&self, frame: &[u8]) -> bool {
        let mut writer = lock(&self.writer);
        writer
            .as_mut()
            .is_some_and(|writer| writer.send(frame).is_ok())
    }

    /// Connects, and subscribes to its channels. Returns when all are confirmed, with the bytes that came after that.
    ///
    /// # Errors
    ///
    /// The socket's, or a hub that refuses the handshake or a channel; the client is then not
    /// connected.
    pub(super) async fn connect(
        &self,
        layout: &Layout,
        hub: &HubAddress,
    ) -> io::Result<(Arc<TcpStream>, Vec<u8>)> {
        let names: Vec<_> = (0..layout.each)
            .map(|slot| layout.name(layout.channel_of(self.index, slot)))
            .collect();
        let (stream, got) = subscribe(hub, &names).await?;
        let stream = Arc::new(stream);
        *lock(&self.writer) = Some(Writer::new(Arc::clone(&stream)));
        // After the writer is set: whoever sees `alive` may publish.
        self.alive.store(true, Ordering::Relaxed);
        Ok((stream, got))
    }

    /// Reads and counts until the connection ends.
    ///
    /// `got` may hold frames that came with the confirmations; they are counted first. Returns when
    /// the hub closes or the socket fails, and never reports which: what is missing then shows as
    /// lost.
    pub(super) async fn listen(
        &self,
        (stream, mut got): (Arc<TcpStream>, Vec<u8>),
        layout: &Layout,
        stage: &Stage,
        tally: &Mutex<Tally>,
    ) {
        let mut part = vec![0; READ];
        loop {
            // Both locks for the time of one read's frames, and none while the task waits.
            let used = {
                let (mut heard, mut tally) = (lock(&self.heard), lock(tally));
                let mut on = Listener {
                    subscriber: self,
                    layout,
                    stage,
                    heard: &mut heard,
                    tally: &mut tally,
                };
                on.take(&got)
            };
            // A close frame: the hub ends the connection.
            let Some(used) = used else { break };
            got.drain(..used);
            // A failed flush also counts as blocked; the next read then says what is wrong.
            let blocked = {
                let mut writer = lock(&self.writer);
                writer
                    .as_mut()
                    .is_some_and(|writer| writer.flush().is_err() || writer.is_blocked())
            };
            let interest = match blocked {
                true => Interest::READABLE | Interest::WRITABLE,
                false => Interest::READABLE,
            };
            if stream.ready(interest).await.is_err() {
                break;
            }
            match stream.try_read(&mut part) {
                Ok(0) => break,
                Ok(n) => got.extend_from_slice(&part[..n]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => break,
            }
        }
        self.alive.store(false, Ordering::Relaxed);
        *lock(&self.writer) = None;
    }
}

/// What a client needs to count a batch of frames; both locks are taken once for all of them.
struct Listener<'a> {
    subscriber: &'a Subscriber,
    layout: &'a Layout,
    stage: &'a Stage,
    heard: &'a mut [Heard],
    tally: &'a mut Tally,
}

impl Listener<'_> {
    /// Takes all whole frames, and returns how many bytes they were, or `None` if the hub has closed the connection. All
    /// frames of one read have one time, which is when they were there to be read.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let now = self.stage.clock.now();
        let mut used = 0;
        while let Some(Head { opcode, begin, end }) = frame::head(&bytes[used..]) {
            let payload = &bytes[used + begin..used + end];
            match opcode {
                frame::TEXT => self.message(payload, now),
                frame::PING => {
                    let mut pong = Vec::new();
                    // A pong must carry the ping's payload (RFC 6455, section 5.5.3).
                    frame::push(&mut pong, frame::PONG, payload);
                    self.subscriber.publish(&pong);
                }
                // No close frame in answer: the hub that is measured does not wait for one.
                frame::CLOSE => return None,
                _ => {}
            }
            used += end;
        }
        Some(used)
    }

    /// Tells frames apart by the first letter of their type: `message`, `published`, `error`, `gap`.
    ///
    /// What is told apart must stay true of the hub's messages: if two types began with one letter,
    /// counts would be wrong without an error.
    fn message(&mut self, message: &[u8], now: u64) {
        let Some(kind) = message.strip_prefix(b"{\"type\":\"") else {
            return;
        };
        match kind.first() {
            Some(b'm') => self.delivered(message, now),
            Some(b'p') => self.answered(message, now, true),
            Some(b'e') => self.answered(message, now, false),
            Some(b'g') => self.tally.gaps += 1,
            _ => {}
        }
    }

    /// Counts a delivery, and the time that it took.
    fn delivered(&mut self, message: &[u8], now: u64) {
        let Some(mark) = Mark::read(message) else {
            return;
        };
        let Some(slot) = self.slot(message) else {
            return;
        };
        let place = (slot * self.layout.ranks() + mark.rank) as usize;
        // A rank that no publisher has is another run's; it must not panic.
        let Some(heard) = self.heard.get_mut(place) else {
            return;
        };
        // Noted also if it does not count: a later repetition must be known.
        let news = heard.take(mark.number);
        if !self.stage.counts(mark.due) {
            return;
        }
        match news {
            // A repetition is no second delivery, or it would hide the loss of another message.
            News::Repeated => self.tally.repeated += 1,
            News::New | News::Late => {
                self.tally.reordered += u64::from(news == News::Late);
                self.tally.delivered += 1;
                // At least 1, where the histogram begins.
                let took = now.saturating_sub(mark.due).max(1);
                self.tally.delivery.saturating_record(took);
            }
        }
    }

    /// Returns the connection's slot of a message's channel, or `None` if the connection has no such channel.
    ///
    /// The inverse of [`Layout::channel_of`].
    fn slot(&self, message: &[u8]) -> Option<u32> {
        // The usual case: nothing to search for.
        if self.layout.each == 1 {
            return Some(0);
        }
        // 11 are the bytes of the pattern, up to the first letter of the name.
        let name = &message[memchr::memmem::find(message, b"\"channel\":\"")? + 11..];
        let channel = self.layout.number(&name[..memchr::memchr(b'"', name)?])?;
        let first = self.layout.channel_of(self.subscriber.index, 0);
        // The number of channels is added, so that the difference can't fall below zero.
        let slot = (channel + self.layout.channels - first) % self.layout.channels;
        (slot < self.layout.each).then_some(slot)
    }

    /// Counts the answer to a publish. Its `ref` is the time when the message was due.
    fn answered(&mut self, message: &[u8], now: u64, well: bool) {
        // An error without `ref` answers no publish.
        let Some(at) = memchr::memmem::find(message, b"\"ref\":") else {
            return;
        };
        let digits = message[at + 6..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        // Saturating: a number that is none is out of every measurement, and not counted.
        let due = digits.fold(0_u64, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        });
        if !self.stage.counts(due) {
            return;
        }
        // Refused messages have no latency.
        if !well {
            self.tally.refused += 1;
            return;
        }
        self.tally.acknowledged += 1;
        let took = now.saturating_sub(due).max(1);
        self.tally.acknowledgement.saturating_record(took);
    }
}

/// Connects to a hub and subscribes by the query of the handshake. Returns the socket, and the bytes that came after the
/// confirmations. An error if the hub refuses the handshake or a channel.
///
/// `channels` may be empty. The key of the handshake is always the same (the one in RFC 6455,
/// section 1.3), and the hub's answer to it is not checked.
pub(super) async fn subscribe(
    hub: &HubAddress,
    channels: &[String],
) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(&hub.authority).await?;
    // Without Nagle's delay, or pongs and publications would wait for the next packet.
    stream.set_nodelay(true)?;
    let query: Vec<_> = channels
        .iter()
        .map(|name| format!("channel={name}"))
        .collect();
    let request = format!(
        "GET /ws?{} HTTP/1.1\r\nhost: {}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{}\r\n",
        query.join("&"),
        hub.authority,
        hub.authorization(),
    );
    stream.write_all(request.as_bytes()).await?;
    let mut got = Vec::new();
    let head = loop {
        if let Some(head) = http::head(&got)? {
            break head;
        }
        more(&mut stream, &mut got).await?;
    };
    // 101 alone means that the protocol was switched.
    if head.status != 101 {
        let why = format!(
            "{}: answers a WebSocket handshake with status {}",
            hub.authority, head.status
        );
        return Err(io::Error::other(why));
    }
    got.drain(..head.end);
    // One confirmation for each channel. Nothing is published yet, so any other frame is an error.
    let mut missing = channels.len();
    while missing > 0 {
        let Some(Head { begin, end, .. }) = frame::head(&got) else {
            more(&mut stream, &mut got).await?;
            continue;
        };
        let text = String::from_utf8_lossy(&got[begin..end]).into_owned();
        if !text.starts_with("{\"type\":\"subscribed\"") {
            let why = format!("{}: not subscribed: {text}", hub.authority);
            return Err(io::Error::other(why));
        }
        got.drain(..end);
        missing -= 1;
    }
    Ok((stream, got))
}

/// Reads some bytes; an error if the connection has ended.
async fn more(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(got).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}
