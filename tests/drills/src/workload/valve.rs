//! What stands between hubs and their broker and can be shut: each direction alone, slowly, byte by byte, or at once.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::JoinHandle,
    time::sleep,
};

use super::random::Random;
use crate::Result;

/// How it is set.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Nothing passes from hub to broker.
    pub(crate) out_shut: AtomicBool,
    /// Nothing passes from broker to hub.
    pub(crate) in_shut: AtomicBool,
    /// New connections are ended at once.
    pub(crate) refuses: AtomicBool,
    /// Each piece waits so many ms, and up to as many more by chance; the order stays.
    pub(crate) delay: AtomicU64,
    pub(crate) jitter: AtomicU64,
    /// The largest piece, in bytes; 0 is any.
    pub(crate) slice: AtomicU64,
    /// A connection ends after so many bytes to the broker; 0 is never.
    pub(crate) limit: AtomicU64,
    /// Connections so far.
    pub(crate) accepted: AtomicU64,
    /// Pieces that met a shut direction.
    pub(crate) held: AtomicU64,
}

impl Settings {
    pub(crate) fn set(switch: &AtomicBool, to: bool) {
        switch.store(to, Ordering::SeqCst);
    }
}

/// A listener whose connections go to one address.
#[derive(Debug)]
pub(crate) struct Valve {
    pub(crate) address: SocketAddr,
    pub(crate) settings: Arc<Settings>,
    cut: watch::Sender<u64>,
    task: JoinHandle<()>,
}

impl Valve {
    pub(crate) async fn open(listen: SocketAddr, target: SocketAddr, seed: u64) -> Result<Self> {
        let listener = bind(listen).await?;
        let address = listener.local_addr()?;
        let settings = Arc::new(Settings::default());
        let (cut, cuts) = watch::channel(0);
        let shared = Arc::clone(&settings);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let number = shared.accepted.fetch_add(1, Ordering::SeqCst);
                if !shared.refuses.load(Ordering::SeqCst) {
                    let random = Random::new(seed, number);
                    tokio::spawn(carry(
                        near,
                        target,
                        Arc::clone(&shared),
                        cuts.clone(),
                        random,
                    ));
                }
            }
        });
        Ok(Self {
            address,
            settings,
            cut,
            task,
        })
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

/// The port may be a moment in the hands of the drill before.
async fn bind(listen: SocketAddr) -> Result<TcpListener> {
    for _ in 0..50 {
        match TcpListener::bind(listen).await {
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                sleep(Duration::from_millis(100)).await;
            }
            bound => return Ok(bound?),
        }
    }
    Err(format!("{listen} is still in use").into())
}

impl Drop for Valve {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn carry(
    near: TcpStream,
    target: SocketAddr,
    settings: Arc<Settings>,
    mut cuts: watch::Receiver<u64>,
    random: Random,
) {
    let Ok(far) = TcpStream::connect(target).await else {
        return;
    };
    _ = (near.set_nodelay(true), far.set_nodelay(true));
    cuts.mark_unchanged();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    let other = random.clone();
    tokio::select! {
        () = pass(near_in, far_out, &settings, true, random) => {}
        () = pass(far_in, near_out, &settings, false, other) => {}
        _ = cuts.changed() => {}
    }
}

async fn pass(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    settings: &Settings,
    out: bool,
    mut random: Random,
) {
    let shut = if out {
        &settings.out_shut
    } else {
        &settings.in_shut
    };
    let mut buffer = vec![0; 16 * 1024];
    let mut passed = 0;
    loop {
        let slice = settings.slice.load(Ordering::SeqCst) as usize;
        let most = if slice == 0 {
            buffer.len()
        } else {
            slice.min(buffer.len())
        };
        let Ok(count @ 1..) = from.read(&mut buffer[..most]).await else {
            return;
        };
        let delay = settings.delay.load(Ordering::SeqCst);
        if delay > 0 {
            sleep(Duration::from_millis(
                delay + random.below(settings.jitter.load(Ordering::SeqCst)),
            ))
            .await;
        }
        if shut.load(Ordering::SeqCst) {
            settings.held.fetch_add(1, Ordering::SeqCst);
            while shut.load(Ordering::SeqCst) {
                sleep(Duration::from_millis(5)).await;
            }
        }
        passed += count as u64;
        let limit = settings.limit.load(Ordering::SeqCst);
        if to.write_all(&buffer[..count]).await.is_err() || (out && limit > 0 && passed > limit) {
            return;
        }
    }
}
