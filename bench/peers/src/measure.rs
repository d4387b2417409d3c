//! Measures one scenario on one target at one rate: connects, subscribes, publishes by the clock, and counts what arrives.
//!
//! The same load measures every server; what differs between them is in `protocol` and `target`.

use std::{
    cell::RefCell,
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use hubplane_bench::scenario::{Publish, Scenario};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet, time::sleep};

use crate::{
    Failure,
    crowd::open_all,
    heard::{Heard, data, histogram},
    http::{CONNECTIONS, Queue, publish},
    protocol::Protocol,
    sockets::listen,
    target::{Target, cpu},
    websocket::{Opening, TEXT, frame, send},
};

/// How many sockets are opened at the same time.
const OPENING: usize = 64;
/// How long to wait for messages that are still on their way after the last one was published.
const STRAGGLERS: Duration = Duration::from_secs(2);
/// The buffer into which all sockets read, one after the other.
const READ_BYTES: usize = 64 * 1_024;

/// The figures of one measurement.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    /// Deliveries in a second, counted from when the first message was due until the last delivery.
    pub(crate) deliveries: f64,
    /// Microseconds from when a message was due until a subscriber received it; the median, then the 99th percentile.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    /// Deliveries that never came, and deliveries that came again.
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    /// Commands that the server refused.
    pub(crate) refused: u64,
    /// Sockets that the server closed.
    pub(crate) closed: u64,
    /// CPU time of the instances, then of the broker, in microseconds per delivery.
    pub(crate) servers: f64,
    pub(crate) broker: f64,
    /// Memory of the instances in bytes, with all sockets open.
    pub(crate) memory: u64,
    /// How late the load published, the 99th percentile in microseconds. A large value means that the load was slow itself.
    pub(crate) late: u64,
    /// The load's own CPU time, as a share of one core.
    pub(crate) load: f64,
}

/// What is measured, at which rate (messages in a second), and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) rate: f64,
    pub(crate) warm_up: Duration,
    pub(crate) length: Duration,
}

/// How many messages are due in a time, rounded up.
impl Plan<'_> {
    fn messages(&self, length: Duration) -> u64 {
        (self.rate * length.as_secs_f64()).ceil() as u64
    }
}

/// Measures one plan.
///
/// # Errors
///
/// A socket that can't be opened, or a process that is gone.
pub(crate) async fn measure(target: &Target, plan: Plan<'_>) -> Result<Measured, Failure> {
    let protocol = target.protocol.protocol();
    let (first, messages) = (plan.messages(plan.warm_up), plan.messages(plan.length));
    let load = Load {
        target,
        plan,
        protocol,
        heard: Rc::new(Heard::new(protocol, first, messages)),
        sockets: Vec::new(),
        tasks: JoinSet::new(),
        queues: Vec::new(),
    };
    load.run(first, messages).await
}

/// A measurement under way. Dropping it ends all tasks, and with them the sockets.
struct Load<'a> {
    target: &'a Target,
    plan: Plan<'a>,
    protocol: &'static dyn Protocol,
    /// Shared by all sockets.
    heard: Rc<Heard>,
    /// The sockets, in the order of the scenario.
    sockets: Vec<Rc<TcpStream>>,
    /// Sockets that listen, and connections that publish.
    tasks: JoinSet<()>,
    /// One for each instance.
    queues: Vec<Rc<Queue>>,
}

impl Load<'_> {
    /// Publishes by the clock, waits for the stragglers, and puts the figures together.
    async fn run(mut self, first: u64, messages: u64) -> Result<Measured, Failure> {
        // Subscribed before anything is published.
        self.connect().await?;
        for &address in &self.target.addresses {
            let queue = Rc::new(Queue::default());
            for _ in 0..CONNECTIONS {
                self.tasks.spawn_local(publish(address, Rc::clone(&queue)));
            }
            self.queues.push(queue);
        }
        // With all sockets open, and before messages fill any buffers.
        let memory = self.target.memory()?;
        let mut late = histogram();
        let mut before = None;
        // 10 ms from now, so that the first message is not late.
        let begin = self.heard.now() + 10_000;
        let each = 1_000_000.0 / self.plan.rate;
        let due = move |number: u64| begin + (number as f64 * each) as u64;
        let mut clock = clock(self.heard.start, (0..first + messages).map(due));
        for number in 0..first + messages {
            // The costs of the warm-up are left out.
            if number == first {
                before = Some((self.target.spent()?, own_cpu()?, Instant::now()));
            }
            clock.recv().await.ok_or("the clock has stopped")?;
            // How late the load was, not the server.
            late.saturating_record(self.heard.now().saturating_sub(due(number)));
            self.publish(number, due(number)).await;
        }
        let (before, own, since) = before.ok_or("nothing is due")?;
        let http = self.plan.scenario.publish == Publish::Http;
        let mut each = u64::from(self.plan.scenario.subscribers());
        // The publisher's own socket gets nothing in such a protocol.
        if !http && !self.protocol.echoes() {
            each -= 1;
        }
        self.wait_for(messages * each).await;
        let elapsed = since.elapsed();
        // Read after the last delivery, as delivering is the work that is measured.
        let after = self.target.spent()?;
        let own = own_cpu()?.saturating_sub(own);
        let refused: Vec<_> = self
            .queues
            .iter()
            .flat_map(|queue| queue.refused.borrow().clone())
            .collect();
        let heard = &self.heard;
        // A refused message is owed to nobody.
        let (lost, repeated) = heard.balance(each, &refused);
        let ages = heard.ages.borrow();
        let deliveries = heard.deliveries.get();
        // A run without any delivery must not divide by 0.
        let every = |time: Duration| time.as_secs_f64() * 1e6 / deliveries.max(1) as f64;
        // From when the first was due until the last came: an idle end does not lower the rate.
        let span = heard.last.get().saturating_sub(due(first)).max(1);
        Ok(Measured {
            deliveries: deliveries as f64 * 1e6 / span as f64,
            p50: ages.value_at_quantile(0.5),
            p99: ages.value_at_quantile(0.99),
            lost,
            repeated,
            refused: refused.len() as u64 + heard.refused.get(),
            closed: heard.closed.get(),
            servers: every(after.0.saturating_sub(before.0)),
            broker: every(after.1.saturating_sub(before.1)),
            memory,
            late: late.value_at_quantile(0.99),
            load: own.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }

    /// Opens all sockets and makes their subscriptions.
    async fn connect(&mut self) -> Result<(), Failure> {
        let count = self.plan.scenario.connections as usize;
        // One buffer, since only one socket reads at a time on this thread.
        let buffer = Rc::new(RefCell::new(vec![0; READ_BYTES]));
        let addresses = &self.target.addresses;
        let crowd = (count, OPENING);
        let opened = open_all(addresses, self.protocol, crowd, |index| {
            self.channels(index)
        })
        .await?;
        for Opening { stream, rest } in opened {
            let stream = Rc::new(stream);
            self.sockets.push(Rc::clone(&stream));
            let listen = listen(stream, rest, Rc::clone(&buffer), Rc::clone(&self.heard));
            self.tasks.spawn_local(listen);
        }
        Ok(())
    }

    /// Returns a socket's channels. If each socket has one channel, two neighbours share it, since they are on different
    /// instances and the message must then cross between these.
    fn channels(&self, socket: usize) -> Vec<String> {
        let scenario = self.plan.scenario;
        let each = scenario.channels_per_connection as usize;
        let channels = scenario.channels as usize;
        let index = |nth: usize| match each {
            1 => socket / scenario.subscribers() as usize,
            _ => (socket * each + nth) % channels,
        };
        (0..each)
            .map(|nth| self.protocol.channel(&scenario.name, index(nth)))
            .collect()
    }

    /// Publishes one message, in the way that the scenario says. Never waits for an answer.
    async fn publish(&self, number: u64, due: u64) {
        let scenario = self.plan.scenario;
        let bytes = scenario.payload as usize;
        let nth = number as usize;
        match scenario.publish {
            Publish::Http => {
                let channels = scenario.channels as usize;
                // Each channel's messages come from all instances.
                // The second term shifts the turn, as an even number of channels would bind each to
                // one instance.
                let instance = (nth + nth / channels.max(2)) % self.queues.len();
                let channel = self.protocol.channel(&scenario.name, nth % channels);
                let data = data(instance, number, due, bytes);
                self.queues[instance].put(number, self.protocol.request(&channel, &data));
            }
            Publish::WebSocket => {
                // Far apart, so that neighbours in time are in different rooms.
                // 619 is a prime number.
                let index = nth * 619 % self.sockets.len();
                let channel = &self.channels(index)[0];
                let data = data(index, number, due, bytes);
                let text = self.protocol.publish(channel, &data, number);
                // A socket that is closed counts as such, and its message as lost.
                _ = send(&self.sockets[index], &frame(TEXT, text.as_bytes())).await;
            }
        }
    }

    /// Waits until this many deliveries have come, or no more come.
    async fn wait_for(&self, deliveries: u64) {
        // Patience begins anew with each delivery.
        let (mut seen, mut since) = (0, Instant::now());
        while self.heard.deliveries.get() < deliveries && since.elapsed() < STRAGGLERS {
            sleep(Duration::from_millis(5)).await;
            let now = self.heard.deliveries.get();
            if std::mem::replace(&mut seen, now) != now {
                since = Instant::now();
            }
        }
    }
}

/// Starts a thread that says when the next message is due; tokio's own timer is only exact to a millisecond.
pub(crate) fn clock(
    start: Instant,
    due: impl Iterator<Item = u64> + Send + 'static,
) -> mpsc::Receiver<()> {
    // Room for 1,024 ticks; a load that is slower gets them late, and says so.
    let (sender, receiver) = mpsc::channel(1_024);
    // A thread and not a task, which would share the core with everything else.
    thread::spawn(move || {
        for due in due {
            let at = start + Duration::from_micros(due);
            thread::sleep(at.saturating_duration_since(Instant::now()));
            if sender.blocking_send(()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// CPU time of the load so far.
pub(crate) fn own_cpu() -> Result<Duration, Failure> {
    cpu(std::process::id())
}
