//! How fast sockets are opened and subscribed.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{Failure, crowd::open_all, measure::own_cpu, table::Figure, target::Target};

/// Opened by each of the two parts.
const SOCKETS: usize = 3_000;
/// How many handshakes are on their way at a time.
const AT_ONCE: usize = 128;
/// The pause between the two parts: the sockets before must be cleared away.
const PAUSE: Duration = Duration::from_secs(1);

/// Sockets a second that get their subscription, and what each costs: all to one channel, then each to its own.
pub(crate) async fn connects(target: &Target) -> Result<Vec<Figure>, Failure> {
    let mut figures = come(target, "to one channel", |_| 0).await?;
    sleep(PAUSE).await;
    // From 1: channel 0 is the one that all had.
    figures.extend(come(target, "each to its own", |index| index + 1).await?);
    Ok(figures)
}

/// Opens all sockets once, closes them, and returns rate and cost. `channel` gives each socket's
/// channel.
async fn come(
    target: &Target,
    what: &str,
    channel: impl Fn(usize) -> usize,
) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    let (before, own, since) = (target.spent_by_all()?, own_cpu()?, Instant::now());
    let crowd = (SOCKETS, AT_ONCE);
    let sockets = open_all(&target.addresses, protocol, crowd, |index| {
        vec![protocol.channel("connects", channel(index))]
    })
    .await?;
    let elapsed = since.elapsed().as_secs_f64();
    let spent = target.spent_by_all()?.saturating_sub(before);
    let own = own_cpu()?.saturating_sub(own);
    // Closed only now, so that closing costs nothing in the figures above.
    drop(sockets);
    let each = spent.as_secs_f64() * 1e6 / SOCKETS as f64;
    Ok(vec![
        Figure::new(
            format!("{what}: connections/s"),
            SOCKETS as f64 / elapsed,
            0,
        ),
        Figure::new(format!("{what}: CPU-µs a connection"), each, 0),
        Figure::new(
            format!("{what}: load, of its core"),
            own.as_secs_f64() / elapsed,
            2,
        ),
    ])
}
