//! Where the shards run: each shard's thread serves the HTTP of its connections and owns the
//! sessions that come of them.
//!
//! Everything of a session stays on its shard's thread, so nothing of it needs a lock. Connections
//! come to a shard by [`Handoff`]. This file must not know what the routes do.

use std::{cell::RefCell, convert::Infallible, io, net, rc::Rc, sync::Arc, thread};

use http::{HeaderMap, Request};
use hyper::{
    body::Incoming,
    rt::{Read, Write},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::TcpStream,
    runtime,
    sync::{Semaphore, mpsc},
    task::{self, LocalSet},
};
use warp::reply::Response;

use super::{
    body,
    context::Context,
    guard,
    handoff::{Connection, Handoff, Shards},
    handshakes::Handshakes,
    limiter::Limiter,
    mounts::Mounts,
    routes::routes,
    stream::Foreign,
    tls::Tls,
    websocket::{self},
};
use hubplane_hub::{Hub, Limits, Mailbox, Shard};
use hubplane_identity::Access;

/// Connections that may wait until a shard's thread takes them. More are refused.
const CAPACITY: usize = 1_024;
/// How many bytes one read of a WebSocket takes at most. The buffer is the thread's; all of its
/// sessions share it.
const READ_BYTES: usize = 64 * 1024;
/// How many bytes a request's head may have. Larger ones are answered 431.
const HEAD_BYTES: usize = 16 * 1024;

impl Shards {
    /// Starts the shards, each on a thread of its own. The threads end when the hub is closed.
    ///
    /// # Errors
    /// The operating system gives no more threads or file descriptors.
    pub fn start(
        hub: &Arc<Hub>,
        mailboxes: Vec<Mailbox>,
        access: &Arc<Access>,
        mounts: &Mounts,
    ) -> io::Result<Self> {
        let (shards, all) = Self::prepare(hub, mailboxes, access, mounts);
        for serving in all {
            let runtime = runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            let name = format!("shard-{}", serving.mailbox.index());
            thread::Builder::new()
                .name(name)
                .spawn(move || LocalSet::new().block_on(&runtime, serving.run()))?;
        }
        Ok(shards)
    }

    /// Starts the shards on this thread, beside the hub's own tasks. This is for one core: there,
    /// threads do nothing but wake each other. Must be called within a [`LocalSet`].
    pub fn start_here(
        hub: &Arc<Hub>,
        mailboxes: Vec<Mailbox>,
        access: &Arc<Access>,
        mounts: &Mounts,
    ) -> Self {
        let (shards, all) = Self::prepare(hub, mailboxes, access, mounts);
        for serving in all {
            task::spawn_local(serving.run());
        }
        shards
    }

    /// Makes the handle and, for each mailbox, what its shard serves. Nothing runs yet.
    fn prepare(
        hub: &Arc<Hub>,
        mailboxes: Vec<Mailbox>,
        access: &Arc<Access>,
        mounts: &Mounts,
    ) -> (Self, Vec<Serving>) {
        let history = Arc::new(Semaphore::new(hub.limits().history_requests));
        let (handshakes, limiter) = (Arc::default(), Arc::<Limiter>::default());
        let add = |mailbox| {
            let (sender, handoffs) = mpsc::channel(CAPACITY);
            let serving = Serving {
                context: Context::pinned(
                    Arc::clone(hub),
                    Arc::clone(access),
                    Arc::clone(&history),
                    (Arc::clone(&handshakes), Arc::clone(&limiter)),
                    sender.clone(),
                ),
                mounts: mounts.clone(),
                mailbox,
                handoffs,
            };
            (sender, serving)
        };
        let (senders, all): (Vec<_>, _) = mailboxes.into_iter().map(add).unzip();
        let shards = Self {
            hub: Arc::clone(hub),
            handoffs: senders.into(),
            http: Arc::default(),
            handshakes,
            limiter,
            history,
        };
        (shards, all)
    }
}

/// A shard before it runs: its mailbox, and the connections that come to it.
struct Serving {
    context: Context,
    mounts: Mounts,
    mailbox: Mailbox,
    handoffs: mpsc::Receiver<Handoff>,
}

impl Serving {
    /// Serves the shard until the hub is closed.
    async fn run(mut self) {
        let hub = Arc::clone(&self.context.hub);
        let authority = Arc::clone(&self.context.access);
        // The shard is made here, on its own thread, since it can't be moved to another one.
        let shard = Shard::with_authority(Arc::clone(&hub), &self.mailbox, authority);
        let buffer = Rc::new(RefCell::new(vec![0; READ_BYTES]));
        let handshakes = Arc::clone(&self.context.handshakes);
        let access = Arc::clone(&self.context.access);
        let limiter = Arc::clone(&self.context.limiter);
        let mounts = self.mounts.clone();
        let service = TowerToHyperService::new(warp::service(routes(self.context, &self.mounts)));
        // The shard's mail has a task of its own, beside those of the connections.
        let mut mail = task::spawn_local(Rc::clone(&shard).run(self.mailbox));
        loop {
            let handoff = tokio::select! {
                handoff = self.handoffs.recv() => handoff,
                // The shard's own loop ends when the hub is closed.
                _ = &mut mail => return,
            };
            match handoff {
                None => return,
                Some(Handoff::Connection(stream, counted, peer, tls)) => {
                    let (access, service) = (Arc::clone(&access), service.clone());
                    let (mounts, hub) = (mounts.clone(), Arc::clone(&hub));
                    let handshakes = Arc::clone(&handshakes);
                    let limiter = Arc::clone(&limiter);
                    task::spawn_local(async move {
                        // The guard needs hyper's request, not warp's, so it stands in front of
                        // warp's service.
                        let guarded = service_fn(|request| {
                            let from =
                                |headers: &HeaderMap| limiter.of_request(&hub, &peer, headers);
                            guard::answer(&access, &mounts, (&service, from), request)
                        });
                        connection(stream, tls, guarded, (hub.limits(), &handshakes)).await;
                        // A connection that was upgraded is a session by now, and counted as such.
                        drop(counted);
                    });
                }
                Some(Handoff::Body { pipe, negotiated }) => {
                    // A pipe tells only a waiting task when it is ready, as another server's
                    // connection does.
                    let stream = Foreign::new(TokioIo::new(pipe));
                    task::spawn_local(body::serve(Rc::clone(&shard), stream, negotiated));
                }
                Some(Handoff::Upgraded {
                    stream,
                    early,
                    negotiated,
                }) => {
                    let (shard, buffer) = (Rc::clone(&shard), Rc::clone(&buffer));
                    let stream = match stream {
                        Connection::Here(stream) => Ok(stream),
                        Connection::Elsewhere(stream) => TcpStream::from_std(stream),
                        Connection::Secured(stream) => {
                            task::spawn_local(websocket::serve(
                                shard, buffer, stream, early, negotiated,
                            ));
                            continue;
                        }
                        Connection::Foreign(upgraded) => {
                            let stream = Foreign::new(upgraded);
                            task::spawn_local(websocket::serve(
                                shard, buffer, stream, early, negotiated,
                            ));
                            continue;
                        }
                    };
                    // A socket that can't be registered with this runtime is dropped, which closes
                    // it.
                    if let Ok(stream) = stream {
                        task::spawn_local(websocket::serve(
                            shard, buffer, stream, early, negotiated,
                        ));
                    }
                }
            }
        }
    }
}

/// Serves one new connection until it ends or is upgraded: after the handshake, if there is a
/// certificate.
async fn connection<S>(
    stream: net::TcpStream,
    tls: Option<Tls>,
    service: S,
    (limits, handshakes): (&Limits, &Handshakes),
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    let Some(tls) = tls else {
        return http(TokioIo::new(stream), service, limits).await;
    };
    let secured = handshakes.secured(&tls, stream, limits.handshake_timeout);
    if let Some(stream) = secured.await {
        http(stream, service, limits).await;
    }
}

/// Serves HTTP/1.1 on one connection until it ends or is upgraded. Heads are limited in time and
/// size. There is no HTTP/2.
async fn http<I, S>(stream: I, service: S, limits: &Limits)
where
    I: Read + Write + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    // An error here is a client that has gone away or has sent no HTTP. It concerns nobody else.
    _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(stream, service)
        .with_upgrades()
        .await;
}
