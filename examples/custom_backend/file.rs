//! The backend: a file to which each hub appends and which each follows. A line is the channel, a space, and the bytes in
//! Base64. `backends/README.md` says how a backend becomes part of hubplane; hubplane-conformance has the tests that each
//! must pass.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    os::unix::fs::FileExt,
    time::Duration,
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use hubplane_backplane::{
    Address, Backplane, Capabilities, Channel, Delivery, Driver, Durability, Error, ErrorKind,
    Event, EventSender, GapCause, History, Interest, OnRestart, Opened, Order, Outgoing,
    Publication, Receipt, Replay, Result, Scope, events, wire,
};
use tokio::{task::JoinHandle, time::sleep};

const NAME: &str = "file";
const MAX_PAYLOAD: usize = 256 * 1024;
const MAX_CHANNEL: usize = 255;
/// Longer lines are nobody's message.
const MAX_LINE: usize = 512 * 1024;
/// How often the file is looked at.
const PAUSE: Duration = Duration::from_millis(10);

pub(super) static DRIVER: FileDriver = FileDriver;

#[derive(Debug)]
pub(super) struct FileDriver;

#[async_trait]
impl Driver for FileDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[NAME]
    }

    /// Say no more than what holds: the conformance suite looks at both what is promised and what is not.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            order: Order::PerChannel,
            delivery: Delivery::AtMostOnce,
            replay: Replay::None,
            durability: Durability::Queued,
            max_payload: MAX_PAYLOAD,
            max_channel: MAX_CHANNEL,
            interest: Interest::Everything,
            on_restart: OnRestart::NoBroker,
        }
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let settings = address.settings(NAME);
        if address.path().is_empty() || !address.hosts().is_empty() {
            return Err(settings.wrong("write file:///path/to/the/file"));
        }
        let path = format!("/{}", address.path());
        let wrong = settings.wrong(format!("{path} can't be used"));
        settings.finish()?; // an unknown key is an error
        let opened = || {
            let file = OpenOptions::new().create(true).append(true).open(&path)?;
            io::Result::Ok((file, Reader::at_the_end(File::open(&path)?)?))
        };
        let (file, reader) = match opened() {
            Ok(opened) => opened,
            Err(error) => return Err(wrong.with_source(error)),
        };
        // From the end that was read before `open` returns, so that nothing published afterwards is missed.
        let (sender, events) = events(64);
        let following = tokio::spawn(follow(reader, sender));
        Ok(Opened {
            backplane: std::sync::Arc::new(FileBackplane { file, following }),
            events,
        })
    }
}

#[derive(Debug)]
struct FileBackplane {
    file: File,
    following: JoinHandle<()>,
}

#[async_trait]
impl Backplane for FileBackplane {
    async fn publish(&self, batch: Vec<Outgoing>) -> Vec<Result<Receipt>> {
        batch.iter().map(|outgoing| self.append(outgoing)).collect()
    }

    // Everybody reads everything, so there is no interest to state.
    async fn subscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    async fn unsubscribe(&self, _channels: &[Channel]) -> Result<()> {
        Ok(())
    }

    // The offset in the file could be a position; `backends/memory` shows how that goes on.
    fn lane(&self, _channel: &str) -> Option<u32> {
        None
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        None
    }

    async fn close(&self) {
        self.following.abort(); // drops the sender, which ends the events
    }
}

impl FileBackplane {
    fn append(&self, outgoing: &Outgoing) -> Result<Receipt> {
        let (channel, data) = (&outgoing.channel, &outgoing.data);
        let error = |kind, message| Error::new(kind, NAME, message);
        if self.following.is_finished() {
            return Err(error(ErrorKind::Closed, "the file is no longer followed"));
        }
        let is_name =
            (1..=MAX_CHANNEL).contains(&channel.len()) && !channel.contains(char::is_whitespace);
        if !is_name || data.len() > MAX_PAYLOAD {
            let message = "too large, or the channel's name is too long or holds white space";
            return Err(error(ErrorKind::Rejected, message));
        }
        // There are no headers in a file: id and origin travel in the common envelope. And one `write` a line: in
        // append mode the system puts it at the end in one piece, whoever else writes.
        let line = format!("{channel} {}\n", STANDARD.encode(wire::seal(outgoing)));
        match (&self.file).write_all(line.as_bytes()) {
            Ok(()) => Ok(Receipt::Accepted),
            Err(cause) => Err(error(ErrorKind::Unknown, "the line may be cut").with_source(cause)),
        }
    }
}

/// Hands on what is new, until the hub takes no more.
async fn follow(mut reader: Reader, sender: EventSender) {
    loop {
        let news = reader.look();
        if news.is_empty() {
            sleep(PAUSE).await;
        }
        for event in news {
            // A full queue makes this wait, and the file keeps what comes meanwhile.
            if sender.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// How far one hub has read.
struct Reader {
    file: File,
    offset: u64,
    line: Vec<u8>,
}

impl Reader {
    fn at_the_end(file: File) -> io::Result<Self> {
        let (offset, line) = (file.metadata()?.len(), Vec::new());
        Ok(Self { file, offset, line })
    }

    fn look(&mut self) -> Vec<Event> {
        let (mut events, mut published) = (Vec::new(), Vec::new());
        let gap = |cause| Event::Gap {
            scope: Scope::All,
            cause,
        };
        if self
            .file
            .metadata()
            .is_ok_and(|now| now.len() < self.offset)
        {
            // Somebody cut it off. What came since the last look is gone; that is said before anything else.
            (self.offset, self.line) = (0, Vec::new());
            events.push(gap(GapCause::LogReplaced));
        }
        let mut buffer = [0; 16 * 1024];
        let read = self.file.read_at(&mut buffer, self.offset).unwrap_or(0);
        self.offset += read as u64;
        for piece in buffer[..read].split_inclusive(|&byte| byte == b'\n') {
            self.line.extend_from_slice(piece);
            if !self.line.ends_with(b"\n") && self.line.len() < MAX_LINE {
                continue; // the rest is not there yet
            }
            match publication(&self.line) {
                Some(publication) => published.push(publication),
                None => {
                    // A gap stands between what was before and what came after the hole.
                    events.push(Event::Published(mem::take(&mut published)));
                    events.push(gap(GapCause::Undecodable));
                }
            }
            self.line.clear();
        }
        events.push(Event::Published(published));
        events.retain(|event| !matches!(event, Event::Published(none) if none.is_empty()));
        events
    }
}

fn publication(line: &[u8]) -> Option<Publication> {
    let (channel, data) = std::str::from_utf8(line).ok()?.trim_end().split_once(' ')?;
    let (metadata, data) = wire::open(STANDARD.decode(data).ok()?.into()).ok()?;
    Some(Publication {
        channel: channel.into(),
        data,
        position: None,
        id: metadata.id,
        origin: metadata.origin,
        tags: metadata.tags,
    })
}
