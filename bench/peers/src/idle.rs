//! Memory of sockets that wait.

use std::time::Duration;

use tokio::time::sleep;

use crate::{Failure, crowd::open_all, table::Figure, target::Target};

/// Enough that what a server needs without sockets hardly counts.
const SOCKETS: usize = 10_000;
/// How many handshakes are on their way at a time.
const AT_ONCE: usize = 128;
/// How long to wait after the start, for what it takes and gives back.
const STARTED: Duration = Duration::from_secs(3);
/// How long to wait after opening them, for what that takes and gives back: allocators keep pages for ten seconds.
const SETTLED: Duration = Duration::from_secs(11);

/// What a waiting socket takes of servers that have just been started: what others leave behind would be taken for nothing.
pub(crate) async fn idle(target: &Target, own_channel: bool) -> Result<Vec<Figure>, Failure> {
    let protocol = target.protocol.protocol();
    sleep(STARTED).await;
    let before = target.memory()?;
    let crowd = (SOCKETS, AT_ONCE);
    let sockets = open_all(&target.addresses, protocol, crowd, |index| {
        vec![protocol.channel("idle", if own_channel { index } else { 0 })]
    })
    .await?;
    sleep(SETTLED).await;
    // Read while all sockets are open.
    let after = target.memory()?;
    drop(sockets);
    // Both instances together, divided by all sockets.
    let each = after.saturating_sub(before) as f64 / SOCKETS as f64;
    Ok(vec![
        Figure::new("bytes a connection", each, 0),
        Figure::new("PSS of both before, MB", before as f64 / 1e6, 1),
        Figure::new("PSS of both after, MB", after as f64 / 1e6, 1),
    ])
}
