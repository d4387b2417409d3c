//! Many sockets, opened and subscribed.

use std::{net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use crate::{Failure, protocol::Protocol, sockets::open, websocket::Opening};

/// How long one socket may take to be opened and subscribed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens so many sockets with these subscriptions, spread over all instances, some at a time; returns them in their order.
pub(crate) async fn open_all(
    addresses: &[SocketAddr],
    protocol: &'static dyn Protocol,
    (count, at_once): (usize, usize),
    channels: impl Fn(usize) -> Vec<String>,
) -> Result<Vec<Opening>, Failure> {
    let mut opened = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    // The socket that is ready first makes room, whichever it is.
    for index in 0..count {
        if opening.len() == at_once
            && let Some(done) = opening.join_next().await
        {
            opened.push(done??);
        }
        // Neighbours are on different instances.
        let address = addresses[index % addresses.len()];
        let channels = channels(index);
        opening.spawn_local(async move {
            let socket = timeout(PATIENCE, open(protocol, address, channels)).await??;
            Ok::<_, Failure>((index, socket))
        });
    }
    while let Some(done) = opening.join_next().await {
        opened.push(done??);
    }
    // They became ready in another order than they were begun.
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, socket)| socket).collect())
}
