use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    select,
    sync::watch,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Takes connections and bytes and passes nothing on, as a stopped process does.
    Frozen,
    /// Passes on what the server sends, and nothing of the client's.
    HeldUp,
    /// Ends connections, old and new.
    Cut,
}

/// Stands between a backend and the broker.
#[derive(Debug)]
pub struct Relay {
    port: u16,
    /// Connections that are open at this moment.
    open: Arc<AtomicUsize>,
    mode: Arc<watch::Sender<Mode>>,
}

impl Relay {
    /// In front of a `host:port`. `garble`: bytes of the client that are passed on as others of the same length.
    pub async fn before(target: &str, garble: Option<(&'static [u8], &'static [u8])>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let target: SocketAddr = target.parse().unwrap();
        let (mode, watched) = watch::channel(Mode::Pass);
        let open = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&open);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (watched, open) = (watched.clone(), Arc::clone(&counted));
                if *watched.borrow() == Mode::Cut {
                    continue;
                }
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(target).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    open.fetch_add(1, Ordering::SeqCst);
                    tokio::join!(
                        pass(
                            from_client,
                            to_server,
                            (watched.clone(), Mode::HeldUp),
                            garble
                        ),
                        pass(from_server, to_client, (watched, Mode::Frozen), None)
                    );
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self {
            port,
            open,
            mode: Arc::new(mode),
        }
    }

    pub fn address(&self) -> String {
        format!("amqp://guest:guest@{}", self.host())
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// How many connections pass through at this moment.
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }

    pub fn hold_up(&self) {
        self.mode.send_replace(Mode::HeldUp);
    }

    pub fn freeze(&self) {
        self.mode.send_replace(Mode::Frozen);
    }

    pub fn cut(&self) {
        self.mode.send_replace(Mode::Cut);
    }

    pub fn mend(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    (mut mode, stopped_by): (watch::Receiver<Mode>, Mode),
    garble: Option<(&'static [u8], &'static [u8])>,
) {
    let mut buffer = vec![0; 64 * 1024];
    let mut cut = mode.clone();
    loop {
        let count = select! {
            _ = cut.wait_for(|mode| *mode == Mode::Cut) => return,
            read = from.read(&mut buffer) => match read {
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            },
        };
        let stops = |mode: &Mode| *mode == Mode::Frozen || *mode == stopped_by;
        // What was held up is lost with its connection.
        match mode.wait_for(|mode| !stops(mode)).await.map(|mode| *mode) {
            Ok(Mode::Cut) | Err(_) => return,
            Ok(_) => {}
        }
        if let Some((find, replace)) = garble {
            let found = buffer[..count].windows(find.len()).position(|w| w == find);
            if let Some(at) = found {
                buffer[at..at + find.len()].copy_from_slice(replace);
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
