//! Clients that come and go: they subscribe and unsubscribe all the time, beside those that are counted.
//!
//! They are a burden for the hub, as browsers are that move from page to page. Nothing that they receive is measured.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{
    frame::{self, Head},
    layout::Layout,
    sockets::Worker,
    subscriber::subscribe,
};
use crate::target::Target;

/// Subscriptions per second that one of these clients makes at most; a higher rate takes more clients.
const EACH: u32 = 10;

/// The clients; they end when this is dropped.
#[derive(Debug)]
/// Held for its drop only, which ends the thread and with it all of these clients.
pub(super) struct Churn {
    _worker: Worker,
}

impl Churn {
    /// Starts clients that make `rate` subscriptions per second together. Returns an error if there is no thread for them;
    /// a hub that can't be reached is tried again.
    pub(super) fn start(layout: &Arc<Layout>, target: &Target, rate: u32) -> io::Result<Self> {
        let worker = Worker::start("bench-churn")?;
        let many = rate.div_ceil(EACH);
        // Seconds between two subscriptions of one client, so that all together make `rate`.
        let turn = Duration::from_secs_f64(f64::from(many) / f64::from(rate));
        for n in 0..many {
            let hub = target.hubs[n as usize % target.hubs.len()].clone();
            let layout = Arc::clone(layout);
            worker.runtime.spawn(async move {
                // Each starts at another moment of the turn, so that the rate is even.
                sleep(turn.mul_f64(f64::from(n) / f64::from(many))).await;
                loop {
                    // Nothing in the query: these clients subscribe by messages, which is the path
                    // to burden.
                    if let Ok((stream, _)) = subscribe(&hub, &[]).await {
                        // However it ends, another connection goes on.
                        _ = come_and_go(stream, &layout, n, turn).await;
                    }
                    sleep(turn).await;
                }
            });
        }
        Ok(Self { _worker: worker })
    }
}

/// Subscribes to one channel after the other, each turn to another one, until the connection ends.
///
/// # Errors
///
/// The socket's, when the hub closes it or cannot take more. The caller connects anew.
async fn come_and_go(
    mut stream: TcpStream,
    layout: &Layout,
    mut at: u32,
    turn: Duration,
) -> io::Result<()> {
    let mut clock = interval(turn);
    // After a pause no burst: it would be a load that the scenario does not ask for.
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut got = Vec::new();
    let mut out = Vec::new();
    let mut last = None;
    loop {
        tokio::select! {
            _ = clock.tick() => {
                out.clear();
                // Unsubscribe and subscribe go out in one write, as a client's library does on a
                // page change.
                if let Some(name) = last.take() {
                    let text = format!("{{\"type\":\"unsubscribe\",\"channel\":\"{name}\"}}");
                    frame::push(&mut out, frame::TEXT, text.as_bytes());
                }
                let name = layout.name(at % layout.channels);
                let text = format!("{{\"type\":\"subscribe\",\"channel\":\"{name}\"}}");
                frame::push(&mut out, frame::TEXT, text.as_bytes());
                last = Some(name);
                // 7 has no factor in common with the usual numbers of channels, so that all have their turn.
                at = at.wrapping_add(7);
                stream.write_all(&out).await?;
            }
            read = stream.read_buf(&mut got) => {
                if read? == 0 {
                    return Ok(());
                }
                // What comes is read and thrown away, or the hub would cut this client off as too
                // slow. Only a ping needs an answer (RFC 6455, section 5.5.2).
                while let Some(Head { opcode, begin, end }) = frame::head(&got) {
                    if opcode == frame::PING {
                        out.clear();
                        frame::push(&mut out, frame::PONG, &got[begin..end]);
                        stream.write_all(&out).await?;
                    }
                    got.drain(..end);
                }
            }
        }
    }
}
