//! Memory of sockets that wait.

use std::time::Duration;

use tokio::time::sleep;

use crate::{Failure, crowd::open_all, table::Figure, target::Target};

const SOCKETS: usize = 10_000;
const AT_ONCE: usize = 128;
/// For what a start takes and gives back.
const STARTED: Duration = Duration::from_secs(3);
/// For what opening them takes and gives back: allocators keep pages for ten seconds.
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
    let after = target.memory()?;
    drop(sockets);
    let each = after.saturating_sub(before) as f64 / SOCKETS as f64;
    Ok(vec![
        Figure::new("bytes a connection", each, 0),
        Figure::new("PSS of both before, MB", before as f64 / 1e6, 1),
        Figure::new("PSS of both after, MB", after as f64 / 1e6, 1),
    ])
}
