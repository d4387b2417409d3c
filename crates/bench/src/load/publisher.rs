//! Publishers that use HTTP, as a team's backend does: each channel has one of them, over a connection that stays open. What
//! becomes due while an answer is on its way goes out together as the next request, so that a channel's order is kept.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{io::Interest, net::TcpStream, time::sleep};

use super::{
    http,
    layout::Layout,
    lock,
    sockets::Worker,
    subscriber::Writer,
    tally::{Stage, Tally},
};
use crate::target::{HubAddress, Target};

/// Connections to each hub. A channel always uses the same one.
///
/// Eight are enough to keep a hub busy, and few enough that requests hold several messages under
/// load, as a backend's do.
const EACH: usize = 8;
/// The most that one request may hold. The hub's limits are `batch_messages` and `body_bytes`; of the latter, a part is left
/// for what surrounds the data.
const MOST_MESSAGES: usize = 1_000;
/// Bytes of the messages in one request.
const MOST_BYTES: usize = 900_000;
/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

/// All publishers, and the thread that reads their answers.
#[derive(Debug)]
pub(super) struct Publishers {
    layout: Arc<Layout>,
    /// A channel's number modulo the length says which of them it uses.
    all: Vec<Arc<Publisher>>,
    /// Held for its drop only, which ends the thread that reads.
    _worker: Worker,
}

/// One connection, and what waits for it.
#[derive(Debug)]
struct Publisher {
    hub: HubAddress,
    /// Locked for the time of a write that never waits, by the schedule's thread and by the reading
    /// one.
    state: Mutex<State>,
}

/// Names a message until its answer comes.
/// When the answer is there, this says whose latency it ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) channel: u32,
    pub(super) number: u64,
    /// When the message was due, in microseconds of the clock: the latency counts from then and not
    /// from when it was sent.
    pub(super) due: u64,
}

/// What the schedule's thread and the reading thread share.
#[derive(Debug, Default)]
struct State {
    /// Absent while there is no connection.
    writer: Option<Writer>,
    /// What is due and not sent. Not limited: a measurement ends after seconds, and what waits must count as late.
    waiting: VecDeque<(Ticket, Vec<u8>)>,
    /// The messages of the request that is not answered yet.
    /// In the order of the request, which is the order of the results.
    on_its_way: Vec<Ticket>,
    /// A buffer that is used again; it holds the last request.
    request: Vec<u8>,
}

impl Publishers {
    /// Returns at once; each publisher connects in the background, and messages wait until it has.
    pub(super) fn connect(
        layout: &Arc<Layout>,
        target: &Target,
        stage: &Arc<Stage>,
    ) -> io::Result<Self> {
        let worker = Worker::start("bench-publish")?;
        // No more publishers than channels: one without a channel would be an idle connection.
        let many = (EACH * target.hubs.len()).min(layout.channels as usize);
        let mut all = Vec::new();
        for n in 0..many {
            let hub = target.hubs[n % target.hubs.len()].clone();
            let publisher = Arc::new(Publisher {
                hub,
                state: Mutex::default(),
            });
            // One tally for each publisher, so that counting never waits for another's.
            let (stage, tally) = (Arc::clone(stage), stage.tally());
            worker
                .runtime
                .spawn(run(Arc::clone(&publisher), stage, tally));
            all.push(publisher);
        }
        Ok(Self {
            layout: Arc::clone(layout),
            all,
            _worker: worker,
        })
    }

    /// Publishes a message: at once if its publisher waits for no answer, and otherwise with the next request.
    pub(super) fn publish(&self, ticket: Ticket, data: &[u8]) {
        let publisher = &self.all[ticket.channel as usize % self.all.len()];
        let name = self.layout.name(ticket.channel);
        // 24 bytes are the JSON around name and data.
        let mut message = Vec::with_capacity(data.len() + name.len() + 24);
        // Written by hand and not by serde: neither names nor data hold anything to escape.
        message.extend_from_slice(b"{\"channel\":\"");
        message.extend_from_slice(name.as_bytes());
        message.extend_from_slice(b"\",\"data\":");
        message.extend_from_slice(data);
        message.push(b'}');
        let mut state = lock(&publisher.state);
        state.waiting.push_back((ticket, message));
        state.go_on(&publisher.hub);
    }

    /// Discards what an earlier measurement has left unsent.
    ///
    /// What is on its way stays: its answer may still come, and is then for a message that does not
    /// count.
    pub(super) fn clear(&self) {
        for publisher in &self.all {
            lock(&publisher.state).waiting.clear();
        }
    }

    /// Sends what waits, wherever no answer is on its way.
    pub(super) fn flush(&self) {
        for publisher in &self.all {
            lock(&publisher.state).go_on(&publisher.hub);
        }
    }
}

impl State {
    /// Sends what waits, as one request, unless one is on its way or there is no connection.
    fn go_on(&mut self, hub: &HubAddress) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        // One request at a time for each connection: two at once could change the order within a
        // channel.
        if !self.on_its_way.is_empty() || self.waiting.is_empty() {
            return;
        }
        let mut body = b"{\"messages\":[".to_vec();
        while let Some((ticket, message)) = self.waiting.front() {
            let more = !self.on_its_way.is_empty();
            let full =
                self.on_its_way.len() >= MOST_MESSAGES || body.len() + message.len() > MOST_BYTES;
            // The first message always goes, however large: it would wait for ever otherwise, and
            // the hub's answer says what is wrong with it.
            if more && full {
                break;
            }
            if more {
                body.push(b',');
            }
            body.extend_from_slice(message);
            self.on_its_way.push(*ticket);
            self.waiting.pop_front();
        }
        body.extend_from_slice(b"]}");
        // HTTP/1.1 without `connection: close`: the connection stays open (RFC 9112, section 9.3).
        let head = format!(
            "POST /v1/publish HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n{}content-length: {}\r\n\r\n",
            hub.authority,
            hub.authorization(),
            body.len()
        );
        self.request.clear();
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(&body);
        // The reader sees a broken connection, and counts the messages as refused.
        _ = writer.send(&self.request);
    }
}

/// Keeps one connection open, and takes its answers. What was on its way when a connection ended counts as refused and is
/// not sent again: a second attempt would hide what the fault has cost.
///
/// Never ends by itself: the worker's end drops it.
async fn run(publisher: Arc<Publisher>, stage: Arc<Stage>, tally: Arc<Mutex<Tally>>) {
    loop {
        // A hub that is down is tried again without a limit; what is due meanwhile waits, and
        // counts as late.
        let Ok(stream) = TcpStream::connect(&publisher.hub.authority).await else {
            sleep(PAUSE).await;
            continue;
        };
        // Without Nagle's delay, which would be measured as the hub's. An error shows at the first
        // read.
        _ = stream.set_nodelay(true);
        let stream = Arc::new(stream);
        // Its own block, so that the lock is not held while this task waits.
        {
            let mut state = lock(&publisher.state);
            state.writer = Some(Writer::new(Arc::clone(&stream)));
            // What waited while there was no connection goes out at once.
            state.go_on(&publisher.hub);
        }
        // However it ends, what was on its way has no answer.
        _ = read(&publisher, &stream, &stage, &tally).await;
        let mut state = lock(&publisher.state);
        // Before the unanswered are counted, so that nothing new is sent to a dead socket.
        state.writer = None;
        let unanswered = std::mem::take(&mut state.on_its_way);
        let counted = unanswered.iter().filter(|it| stage.counts(it.due)).count();
        lock(&tally).refused += counted as u64;
    }
}

/// Takes answers until the connection ends, and sends the next request after each.
///
/// # Errors
///
/// The socket's, or an answer that is no HTTP. Both end the connection, and the caller connects
/// anew.
async fn read(
    publisher: &Publisher,
    stream: &TcpStream,
    stage: &Stage,
    tally: &Mutex<Tally>,
) -> io::Result<()> {
    let mut got = Vec::new();
    let mut part = vec![0; 64 * 1024];
    loop {
        // What the socket did not take at the first attempt is written as soon as it takes more.
        let blocked = {
            let mut state = lock(&publisher.state);
            match &mut state.writer {
                Some(writer) => {
                    writer.flush()?;
                    writer.is_blocked()
                }
                None => false,
            }
        };
        let interest = match blocked {
            true => Interest::READABLE | Interest::WRITABLE,
            false => Interest::READABLE,
        };
        stream.ready(interest).await?;
        match stream.try_read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(n) => got.extend_from_slice(&part[..n]),
            // Readiness may be a false alarm, which tokio allows.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        while let Some(answer) = http::answer(&got)? {
            let mut state = lock(&publisher.state);
            // Next request first, counting after: the hub must not wait for this process.
            let tickets = std::mem::take(&mut state.on_its_way);
            state.go_on(&publisher.hub);
            drop(state);
            let body = &got[answer.begin..answer.end];
            take(answer.status, body, &tickets, (stage, tally));
            got.drain(..answer.end);
        }
    }
}

/// Counts the answers to the messages of one request, and the time that they took.
///
/// `tickets` must be those of the request, in its order.
fn take(status: u16, body: &[u8], tickets: &[Ticket], (stage, tally): (&Stage, &Mutex<Tally>)) {
    let now = stage.clock.now();
    // A batch's results stand in its order; the word can't stand in a position.
    let failed: Vec<bool> = match status {
        // The common case costs one search: parsing each answer would slow the load down.
        200 if memchr::memmem::find(body, b"\"error\"").is_none() => vec![false; tickets.len()],
        200 => {
            let results: Vec<serde_json::Value> = serde_json::from_slice(body).unwrap_or_default();
            // A result that is missing, or a body that is no list, counts as failed.
            let failed = |n: usize| results.get(n).is_none_or(|it| it.get("error").is_some());
            (0..tickets.len()).map(failed).collect()
        }
        // Any other status refuses the whole batch.
        _ => vec![true; tickets.len()],
    };
    let mut tally = lock(tally);
    for (ticket, failed) in tickets.iter().zip(failed) {
        if !stage.counts(ticket.due) {
            continue;
        }
        if failed {
            tally.refused += 1;
            continue;
        }
        tally.acknowledged += 1;
        let took = now.saturating_sub(ticket.due).max(1);
        // From when it was due: what it waited here for an earlier answer is charged too.
        tally.acknowledgement.saturating_record(took);
        // Only a fault needs to know which ones they were; a round would collect millions.
        if stage.names() {
            tally.accepted.push((ticket.channel, ticket.number));
        }
    }
}
