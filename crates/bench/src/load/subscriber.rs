//! One client: its socket, what it has heard, and what it makes of what comes.

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
    http,
    layout::{Layout, Mark},
    lock,
    tally::{Stage, Tally},
};
use crate::target::HubAddress;

/// Read at once.
const READ: usize = 64 * 1024;

/// A client, also while it is not connected.
#[derive(Debug)]
pub(super) struct Subscriber {
    index: u32,
    alive: AtomicBool,
    writer: Mutex<Option<Writer>>,
    heard: Mutex<Vec<Heard>>,
}

/// What is written to one socket, from whichever thread.
#[derive(Debug)]
pub(super) struct Writer {
    stream: Arc<TcpStream>,
    pending: Vec<u8>,
}

/// One publisher's numbers in one channel: the last, and which of the 64 up to it have come.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    last: u64,
    seen: u64,
}

#[derive(Debug, PartialEq, Eq)]
enum News {
    New,
    Late,
    Repeated,
}

impl Heard {
    fn take(&mut self, number: u64) -> News {
        if let Some(ahead) = number.checked_sub(self.last).filter(|ahead| *ahead > 0) {
            self.seen = self
                .seen
                .checked_shl(ahead as u32)
                .filter(|_| ahead < 64)
                .unwrap_or(0)
                | 1;
            self.last = number;
            return News::New;
        }
        let back = self.last - number;
        let bit = if back < 64 { 1_u64 << back } else { 0 };
        if self.seen & bit != 0 || bit == 0 {
            return News::Repeated;
        }
        self.seen |= bit;
        News::Late
    }
}

impl Writer {
    pub(super) const fn new(stream: Arc<TcpStream>) -> Self {
        Self {
            stream,
            pending: Vec::new(),
        }
    }

    /// Writes what the socket takes at once; the rest goes with the next write.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.pending.extend_from_slice(bytes);
            return self.flush();
        }
        let written = self.try_write(bytes)?;
        self.pending.extend_from_slice(&bytes[written..]);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            match self.try_write(&self.pending)? {
                0 => break,
                written => drop(self.pending.drain(..written)),
            }
        }
        Ok(())
    }

    pub(super) const fn is_blocked(&self) -> bool {
        !self.pending.is_empty()
    }

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

    /// Publishes; `false` if there is no connection.
    pub(super) fn publish(&self, frame: &[u8]) -> bool {
        let mut writer = lock(&self.writer);
        writer
            .as_mut()
            .is_some_and(|writer| writer.send(frame).is_ok())
    }

    /// Connects, and subscribes to its channels; returns when all are confirmed.
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
        self.alive.store(true, Ordering::Relaxed);
        Ok((stream, got))
    }

    /// Reads until the connection ends.
    pub(super) async fn listen(
        &self,
        (stream, mut got): (Arc<TcpStream>, Vec<u8>),
        layout: &Layout,
        stage: &Stage,
        tally: &Mutex<Tally>,
    ) {
        let mut part = vec![0; READ];
        loop {
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
            let Some(used) = used else { break };
            got.drain(..used);
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

/// What a client does with what has come.
struct Listener<'a> {
    subscriber: &'a Subscriber,
    layout: &'a Layout,
    stage: &'a Stage,
    heard: &'a mut [Heard],
    tally: &'a mut Tally,
}

impl Listener<'_> {
    /// Takes in all whole frames; how many bytes they were. `None` if the server has ended it.
    fn take(&mut self, bytes: &[u8]) -> Option<usize> {
        let now = self.stage.clock.now();
        let mut used = 0;
        while let Some(Head { opcode, begin, end }) = frame::head(&bytes[used..]) {
            let payload = &bytes[used + begin..used + end];
            match opcode {
                frame::TEXT => self.message(payload, now),
                frame::PING => {
                    let mut pong = Vec::new();
                    frame::push(&mut pong, frame::PONG, payload);
                    self.subscriber.publish(&pong);
                }
                frame::CLOSE => return None,
                _ => {}
            }
            used += end;
        }
        Some(used)
    }

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

    fn delivered(&mut self, message: &[u8], now: u64) {
        let Some(mark) = Mark::read(message) else {
            return;
        };
        let Some(slot) = self.slot(message) else {
            return;
        };
        let place = (slot * self.layout.ranks() + mark.rank) as usize;
        let Some(heard) = self.heard.get_mut(place) else {
            return;
        };
        let news = heard.take(mark.number);
        if !self.stage.counts(mark.due) {
            return;
        }
        match news {
            News::Repeated => self.tally.repeated += 1,
            News::New | News::Late => {
                self.tally.reordered += u64::from(news == News::Late);
                self.tally.delivered += 1;
                let took = now.saturating_sub(mark.due).max(1);
                self.tally.delivery.saturating_record(took);
            }
        }
    }

    /// Which of the connection's channels a message is of.
    fn slot(&self, message: &[u8]) -> Option<u32> {
        if self.layout.each == 1 {
            return Some(0);
        }
        let name = &message[memchr::memmem::find(message, b"\"channel\":\"")? + 11..];
        let channel = self.layout.number(&name[..memchr::memchr(b'"', name)?])?;
        let first = self.layout.channel_of(self.subscriber.index, 0);
        let slot = (channel + self.layout.channels - first) % self.layout.channels;
        (slot < self.layout.each).then_some(slot)
    }

    /// The reference of a publication is when it was due.
    fn answered(&mut self, message: &[u8], now: u64, well: bool) {
        let Some(at) = memchr::memmem::find(message, b"\"ref\":") else {
            return;
        };
        let digits = message[at + 6..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit());
        let due = digits.fold(0_u64, |sum, digit| {
            sum.saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        });
        if !self.stage.counts(due) {
            return;
        }
        if !well {
            self.tally.refused += 1;
            return;
        }
        self.tally.acknowledged += 1;
        let took = now.saturating_sub(due).max(1);
        self.tally.acknowledgement.saturating_record(took);
    }
}

/// Connects to a hub and subscribes by the handshake; what came behind the confirmations comes along.
pub(super) async fn subscribe(
    hub: &HubAddress,
    channels: &[String],
) -> io::Result<(TcpStream, Vec<u8>)> {
    let mut stream = TcpStream::connect(&hub.authority).await?;
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
    if head.status != 101 {
        let why = format!(
            "{}: answers a WebSocket handshake with status {}",
            hub.authority, head.status
        );
        return Err(io::Error::other(why));
    }
    got.drain(..head.end);
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

async fn more(stream: &mut TcpStream, got: &mut Vec<u8>) -> io::Result<()> {
    match stream.read_buf(got).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_new_late_or_repeated() {
        use News::{Late, New, Repeated};
        let mut heard = Heard::default();
        let news: Vec<_> = [1, 2, 2, 5, 4, 4, 300, 3, 299, 300]
            .map(|number| heard.take(number))
            .into();
        let expected = [
            New, New, Repeated, New, Late, Repeated, New, Repeated, Late, Repeated,
        ];
        assert_eq!(news, expected);
    }
}
