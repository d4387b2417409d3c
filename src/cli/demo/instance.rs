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
    backplane: Address,
    book: Arc<Book>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// Not running. With the reason, if it was asked to start and could not.
    Stopped(Option<String>),
    /// Starting or stopping; the word for it.
    Changing(&'static str),
    Running(Running),
}

#[derive(Debug)]
struct Running {
    hub: Arc<Hub>,
    worker: Arc<Worker>,
    address: SocketAddr,
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
    pub(super) fn address(&self) -> Option<SocketAddr> {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Running(running) => Some(running.address),
            _ => None,
        }
    }

    /// Returns what the page shows of it, as JSON.
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
    pub(super) async fn start(&self) -> Result<(), Failure> {
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

    async fn run(&self) -> Result<Running, Failure> {
        // Each instance has its own connection to the broker, as a process of its own would.
        let driver = backends::find(self.backplane.scheme())?;
        let opened = driver.open(&self.backplane).await?;
        let setup = Setup {
            node: self.name.clone(),
            driver,
            limits: Limits::default(),
            shards: 1,
        };
        let (hub, mailboxes) = Hub::start(opened, setup)?;
        let access = Arc::new(Access::default());
        let shards =
            Shards::start(&hub, mailboxes, &access, &Mounts::default()).map_err(Failure::failed)?;
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
    pub(super) async fn stop(&self) {
        let Running {
            hub,
            worker,
            accepting,
            ..
        } = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match std::mem::replace(&mut *state, State::Changing("stopping")) {
                State::Running(running) => running,
                other => {
                    *state = other;
                    return;
                }
            }
        };
        accepting.abort();
        worker.stop();
        let deadline = Instant::now() + DRAIN;
        while worker.jobs() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        hub.end_sessions(Duration::ZERO).await;
        while hub.session_count() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(10)).await;
        }
        hub.close().await;
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = State::Stopped(None);
    }
}
