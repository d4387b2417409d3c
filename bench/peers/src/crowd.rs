//! Many sockets, opened and subscribed.

use std::{net::SocketAddr, time::Duration};

use tokio::{task::JoinSet, time::timeout};

use crate::{Failure, protocol::Protocol, sockets::open, websocket::Opening};

/// For one socket to be opened and subscribed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens so many sockets with these subscriptions, spread over all instances, some at a time; in their order.
pub(crate) async fn open_all(
    addresses: &[SocketAddr],
    protocol: &'static dyn Protocol,
    (count, at_once): (usize, usize),
    channels: impl Fn(usize) -> Vec<String>,
) -> Result<Vec<Opening>, Failure> {
    let mut opened = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for index in 0..count {
        if opening.len() == at_once
            && let Some(done) = opening.join_next().await
        {
            opened.push(done??);
        }
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
    opened.sort_by_key(|(index, _)| *index);
    Ok(opened.into_iter().map(|(_, socket)| socket).collect())
}
