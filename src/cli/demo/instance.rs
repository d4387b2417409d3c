//! One instance of the demo's service: a hub, and a listener of its own for sockets and jobs.
//!
//! It starts and stops as a process of its own would. The front port finds it by its address; it does not know the front port.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use hubplane_backplane::Address;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, sleep},
};

use super::{
    jobs::{Book, Worker},
    web,
};
use crate::{backends, cli::Failure};
use hubplane_hub::Limits;
use hubplane_hub::{Hub, Setup};
use hubplane_identity::Access;
use hubplane_server::{Mounts, Shards};

/// How long to wait for the end of jobs and sockets.
const DRAIN: Duration = Duration::from_secs(3);

/// An instance that can be stopped and started again.
#[derive(Debug)]
pub(super) struct Instance {
    name: String,
    /// The same for all instances of a demo.
    backplane: Address,
    /// Shared by all instances, as the database of a service is.
    book: Arc<Book>,
    /// Locked only for a look or a change, never while something is awaited.
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not running. With the reason, if it was asked to start and could not.
    Stopped(Option<String>),
    /// Starting or stopping; the word for it.
    /// Keeps a second click on the page from starting or stopping twice.
    Changing(&'static str),
    Running(Running),
}

#[derive(Debug)]
struct Running {
    hub: Arc<Hub>,
    worker: Arc<Worker>,
    address: SocketAddr,
    /// Ends the listener when aborted; connections that were taken go on.
    accepting: JoinHandle<()>,
}

impl Instance {
    pub(super) fn new(name: String, backplane: &Address, book: &Arc<Book>) -> Self {
        Self {
            name,
            backplane: backplane.clone(),
            book: Arc::clone(book),
            state: Mutex::new(State::Stopped(None)),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Returns where it takes connections, or `None` if it is not running.
    /// The front port asks for each connection, as an address changes with every start.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Running(running) => Some(running.address),
            _ => None,
        }
    }

    /// Returns what the page shows of it, as JSON.
    /// Sockets and jobs are 0 unless it runs.
    pub(super) fn status(&self) -> Value {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (word, reason, sockets, jobs) = match &*state {
            State::Stopped(reason) => ("stopped", reason.as_deref(), 0, 0),
            State::Changing(word) => (*word, None, 0, 0),
            State::Running(running) => (
                "running",
                None,
                running.hub.session_count(),
                running.worker.jobs(),
            ),
        };
        json!({ "name": self.name, "state": word, "reason": reason, "sockets": sockets, "jobs": jobs })
    }

    /// Starts it. Does nothing if it is running, starting or stopping.
    ///
    /// # Errors
    ///
    /// Why it could not start. It is then stopped, and the page shows the reason.
    pub(super) async fn start(&self) -> Result<(), Failure> {
        // The state is changed before anything is awaited, so that nobody else starts it, too.
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if !matches!(*state, State::Stopped(_)) {
                return Ok(());
            }
            *state = State::Changing("starting");
        }
        let started = self.run().await;
        let (state, result) = match started {
            Ok(running) => (State::Running(running), Ok(())),
            Err(failure) => (State::Stopped(Some(failure.message.clone())), Err(failure)),
        };
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        result
    }

    /// Starts hub, worker and listener. What was started ends with its last handle if a later step
    /// fails.
    async fn run(&self) -> Result<Running, Failure> {
        // Each instance has its own connection to the broker, as a process of its own would.
        let driver = backends::find(self.backplane.scheme())?;
        let opened = driver.open(&self.backplane).await?;
        let setup = Setup {
            node: self.name.clone(),
            driver,
            limits: Limits::default(),
            // One shard: the demo is to be watched, and not to be fast.
            shards: 1,
        };
        let (hub, mailboxes) = Hub::start(opened, setup)?;
        let access = Arc::new(Access::default());
        let shards =
            Shards::start(&hub, mailboxes, &access, &Mounts::default()).map_err(Failure::failed)?;
        // Any free port: nobody but the front port needs to know it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(Failure::failed)?;
        let address = listener.local_addr().map_err(Failure::failed)?;
        let worker = Arc::new(Worker::new(Arc::clone(&hub), Arc::clone(&self.book)));
        let routes = web::instance_routes(&shards, &access, &worker);
        let accepting = tokio::spawn(warp::serve(routes).incoming(listener).run());
        Ok(Running {
            hub,
            worker,
            address,
            accepting,
        })
    }

    /// Stops it in good order: no new connections, its jobs end and say so, its sockets are told to go elsewhere.
    ///
    /// Does nothing if it is not running. Takes [`DRAIN`] at most, plus the closing of the hub.
    pub(super) async fn stop(&self) {
        let Running {
            hub,
            worker,
            accepting,
            ..
        } = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // Taken out under the lock, so that only one caller stops it.
            match std::mem::replace(&mut *state, State::Changing("stopping")) {
                State::Running(running) => running,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        // The order is that of a real shutdown: no new work, then the work, then the sockets, then
        // the broker.
        accepting.abort();
        worker.stop();
        let deadline = Instant::now() + DRAIN;
        // Polled: the end of a job has no event of its own here.
        while worker.jobs() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        // Sockets are closed with 1012 (service restart), so the page connects again at once.
        hub.end_sessions(Duration::ZERO).await;
        while hub.session_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        hub.close().await;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Stopped(None);
    }
}
