//! The load: real sockets that subscribe, an open-loop schedule that publishes, and a count of what came of it.
//!
//! A message is due at a moment that the schedule says, whatever the hubs do; its latency counts from then. So a hub
//! that stands still is charged for all that was due meanwhile (no coordinated omission). All times are of one clock,
//! since one process publishes and subscribes.

mod churn;
mod clock;
mod frame;
mod heard;
mod http;
mod layout;
mod pacer;
mod publisher;
mod sockets;
mod subscriber;
mod tally;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

pub(super) use self::{
    clock::Clock,
    layout::{Layout, Mark},
    tally::{Stage, histogram, latency},
};
use self::{pacer::Pacer, publisher::Publishers, sockets::Sockets, tally::Tally};
use super::{
    results::Round,
    scenario::{Publish, Scenario},
    target::Target,
};

/// How long to wait for deliveries after the last message was due. What is missing then counts as lost.
const SETTLE: Duration = Duration::from_secs(2);
/// How long to wait for acknowledgements: longer than a hub's own deadline, so that the hub's answer decides. A
/// measurement shorter than [`SETTLE`], such as a step of a ladder, waits only as long as that.
const ANSWERS: Duration = Duration::from_secs(6);
/// How often to check whether all have come.
const LOOK: Duration = Duration::from_millis(20);

/// A scenario's clients, connected to one backend's hubs.
#[derive(Debug)]
pub(super) struct Load {
    /// Shared with each socket's task; never changes.
    layout: Arc<Layout>,
    clock: Clock,
    /// Says which messages count; the threads put their counts here.
    stage: Arc<Stage>,
    sockets: Sockets,
    /// Absent where clients publish by their own sockets.
    publishers: Option<Publishers>,
    /// Clients that come and go, for as long as this lives.
    _churn: Option<churn::Churn>,
    /// Keeps each voice's number from one measurement to the next.
    pacer: Pacer,
}

impl Load {
    /// Connects all sockets, and returns when every subscription is confirmed. The error is the first of any socket: a load
    /// with fewer clients than the scenario asks for would be another load.
    pub(super) fn connect(scenario: &Scenario, target: &Target, run: &str) -> io::Result<Self> {
        // The clock starts before the sockets, so that no time can be before its zero.
        let clock = Clock::start();
        let layout = Arc::new(Layout::new(scenario, run, target.hubs.len()));
        let stage = Arc::new(Stage::new(clock));
        // Subscribers first: whoever publishes before all of them listen loses messages by design.
        let sockets = Sockets::connect(&layout, target, &stage)?;
        let publishers = match scenario.publish {
            Publish::Http => Some(Publishers::connect(&layout, target, &stage)?),
            Publish::WebSocket => None,
        };
        let churn = match scenario.churn {
            0 => None,
            rate => Some(churn::Churn::start(&layout, target, rate)?),
        };
        Ok(Self {
            pacer: Pacer::new(&layout, clock),
            layout,
            clock,
            stage,
            sockets,
            publishers,
            _churn: churn,
        })
    }

    /// Publishes at a rate, first for a warm-up that does not count, then for `length`, and returns what came of it, without
    /// its cost. Calls `between(false)` when counting begins and `between(true)` when it ends: the caller reads CPU times
    /// then. What an earlier measurement left is discarded, and broken sockets are connected again.
    ///
    /// # Errors
    ///
    /// The first socket that can't be connected again, or a thread of the load that panicked.
    pub(super) fn measure(
        &mut self,
        rate: f64,
        (warm_up, length): (Duration, Duration),
        mut between: impl FnMut(bool),
    ) -> io::Result<Round> {
        if let Some(publishers) = &self.publishers {
            // What waited when the last measurement ended was due then, and must not delay this
            // one.
            publishers.clear();
        }
        // A step that fails may cost sockets; the next one begins with all of them.
        self.sockets.repair()?;
        let begin = self.clock.now() + warm_up.as_micros() as u64;
        let end = begin + length.as_micros() as u64;
        // Set before the schedule starts: a message that is due in the warm-up is then known not to
        // count.
        self.stage.set(begin, end);
        let out = match &self.publishers {
            Some(publishers) => pacer::Out::Http(publishers),
            None => pacer::Out::Sockets(&self.sockets),
        };
        let paced = thread::scope(|scope| {
            let pacer = &mut self.pacer;
            let stage = Arc::clone(&self.stage);
            // The schedule has a thread of its own, as this one waits for the moments to read
            // costs.
            let pacing = scope.spawn(move || pacer.run(rate, &stage, &out));
            self.clock.sleep_until(begin);
            between(false);
            self.clock.sleep_until(end);
            // `between(true)` waits for the schedule, whose last messages belong to the costs.
            let paced = pacing.join();
            between(true);
            paced
        });
        let paced =
            paced.map_err(|_panic| io::Error::other("the schedule's thread panicked"))??;
        let patience = if length < SETTLE { SETTLE } else { ANSWERS };
        let tally = self.settle(paced.due, patience);
        // Never more than were due, so that the refused can't fall below zero: by a socket, an
        // acknowledgement may be for an earlier message of the same microsecond.
        let acknowledged = tally.acknowledged.min(paced.due);
        // A subscriber is owed each acknowledged message, and nothing that was refused.
        let expected = acknowledged * u64::from(self.layout.subscribers());
        Ok(Round {
            run: 0,
            rate,
            seconds: length.as_secs_f64(),
            due: paced.due,
            acknowledged,
            refused: paced.due - acknowledged,
            delivered: tally.delivered,
            // A message that was refused may be delivered all the same; that is no negative loss.
            lost: expected.saturating_sub(tally.delivered),
            repeated: tally.repeated,
            reordered: tally.reordered,
            acknowledgement: latency(&tally.acknowledgement),
            delivery: latency(&tally.delivery),
            late: paced.late.value_at_quantile(0.99),
            // The caller knows the costs, and what the broker alone takes.
            cost: Default::default(),
            alone: None,
        })
    }

    /// Waits until all answers and deliveries have come, or until it takes too long, and returns the counts.
    ///
    /// Too long is `patience` for answers, and [`SETTLE`] for deliveries once all answers are
    /// there.
    fn settle(&self, due: u64, patience: Duration) -> Tally {
        let begin = self.clock.now();
        let each = u64::from(self.layout.subscribers());
        loop {
            let tally = self.stage.look();
            let waited = Duration::from_micros(self.clock.now() - begin);
            let answered = tally.acknowledged + tally.refused >= due;
            let delivered = tally.delivered >= tally.acknowledged * each;
            if (answered && (delivered || waited >= SETTLE)) || waited >= patience {
                return tally;
            }
            thread::sleep(LOOK);
        }
    }

    /// Returns how many sockets are not connected.
    pub(super) fn broken(&self) -> usize {
        self.sockets.broken()
    }
}

/// Publishers alone, for measurements that have subscribers of their own (`fault`).
#[derive(Debug)]
pub(super) struct Feed {
    pacer: Pacer,
    publishers: Publishers,
    stage: Arc<Stage>,
}

impl Feed {
    /// Starts the publishers. They connect in the background.
    pub(super) fn connect(
        layout: &Arc<Layout>,
        target: &Target,
        stage: &Arc<Stage>,
    ) -> io::Result<Self> {
        Ok(Self {
            pacer: Pacer::new(layout, stage.clock),
            publishers: Publishers::connect(layout, target, stage)?,
            stage: Arc::clone(stage),
        })
    }

    /// Publishes at a rate until the stage ends, and waits for the answers. Returns how many messages were due.
    pub(super) fn run(&mut self, rate: f64) -> io::Result<u64> {
        let out = pacer::Out::Http(&self.publishers);
        let due = self.pacer.run(rate, &self.stage, &out)?.due;
        let begin = self.stage.clock.now();
        // Refused ones are answers too; whoever waited for acknowledgements alone would always wait
        // the whole time.
        let answered = || {
            let tally = self.stage.look();
            tally.acknowledged + tally.refused >= due
        };
        // After `ANSWERS`, what has no answer is left uncounted, and the caller sees it as refused.
        while !answered() && self.stage.clock.now() - begin < ANSWERS.as_micros() as u64 {
            thread::sleep(LOOK);
        }
        Ok(due)
    }
}

/// Locks a mutex. If a thread panicked with it, its counts are used all the same: the panic is reported elsewhere.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
