//! The second Redis backend: messages are kept in a few **streams** that all instances read, so that they have
//! positions and can be read back. Redis 7.0 or newer.
//!
//! # Address
//! `redis+streams://…` and `rediss+streams://…`, otherwise as in [the crate's documentation](crate#address), with
//! these keys instead of `envelope`:
//!
//! | key | default | what |
//! |---|---|---|
//! | `streams` | 4 | how many streams the channels are spread over; 1 to 64, the same for all instances |
//! | `max-length` | 100000 | how many messages each stream keeps, at least |
//! | `max-age` | | instead: how long they are kept, at least; 1s or more |
//!
//! With `cluster=true` the streams are spread over the Cluster by its own rule: the slot of stream N is that of the
//! key `N`. Name several nodes: they are asked, one after the other, where the streams are. The prefix can't
//! contain `{}` then.
//!
//! A channel's messages are in the stream `{prefix}stream:{N}`, braces included, where N is CRC-16/XMODEM of the
//! channel's name (the checksum of Redis Cluster's key slots, over the whole name) modulo `streams`. An entry has
//! the fields `c` (channel) and `d` (data), perhaps `i` (id) and `o` (origin), and any others as tags. An outside
//! program publishes by `XADD 'hubplane:stream:{2}' MAXLEN '~' 100000 '*' c news d hello`; into another stream than
//! the channel's own the message is delivered too, but not read back. An entry without `d` is a `Gap` of its
//! channel, one without `c` is skipped.
//!
//! An ACL user needs the keys under the prefix and `xadd`, `xread`, `xrange`, `xlen`, `xinfo`, `get`, `mget`,
//! `set`, `watch`, `unwatch`, `multi`, `exec` and `time`, in a Cluster `cluster|slots`, too; `info` is only for
//! warnings at the start. If a right is missing, opening fails and says which ones are needed. No command of
//! publish and subscribe is needed.
//!
//! # Delivery
//! At least once, and after a lost connection each message once: an instance goes on behind the last one that it
//! gave to its hub. A publish is acknowledged when Redis has stored it, with its position. A reader that the bound
//! of its stream has overtaken is told a `Gap` (`Trimmed`); a hub that is slow costs Redis nothing.
//!
//! Redis keeps the streams in memory: about the size of the messages plus 100 bytes each. **What survives its
//! restart depends on its settings**, and what does not is announced, by a `Gap` (`LogReplaced`). With `appendonly
//! yes` and `appendfsync always` every acknowledged message survives; each batch waits for the disk. With
//! `everysec`, Redis's default, a machine's failure may cost the last second, and the kill of the process what
//! Redis has put off writing while the disk was busy, up to 2 s; with `no` a kill costs nothing, a machine's
//! failure up to half a minute. Without `appendonly` all is lost. A warning is logged where there is no append-only
//! file, or where `maxmemory-policy` allows to evict the streams; the backend checks both at the start, at each
//! reconnection and each minute. With a full memory publishing is `Unavailable`.
//!
//! # Order
//! One order for all of a stream's messages, and so of a channel's. A lane is a stream.
//!
//! # History
//! What the stream holds: `max-length` or `max-age`, both approximately (Redis cuts by about 100 entries, and only
//! when something is added to that stream). For `max-age` the hubs' clocks must agree with Redis's. A read goes
//! through the channel's stream and looks at each message, whatever its channel: at most 200,000 messages, 16 MiB
//! or 2 s, then the page is short. A position whose successors may have been cut off is `PositionLost`.
//!
//! # Reconnection
//! Two connections with their own loops, as with the first backend, and one for reading back, made when it is
//! needed; in a Cluster there are three for each stream, since Redis waits for several streams only where they
//! share a slot. One that loses its node, or is told that the stream is elsewhere, asks anew where it is. `Down` is
//! said when the first stream is away, and `Up` when all are back; messages of the others arrive meanwhile. While a
//! slot is being moved to another node, its streams may be away until that is done.
//!
//! There is no `Gap` unless the bound has overtaken the reader (`Trimmed`) or the log is another one
//! (`LogReplaced`). The reader notices another log by a token beside each stream, which it reads together with the
//! messages; and at each connection, and once a second while messages come, by the counters that Redis keeps and by
//! the entry that it read last: a stream with fewer entries than were read of it, or without that one, was rolled
//! back (a failover, a restored backup; somebody's `XDEL` of just that entry looks the same). Then it gets a new
//! token, which is its epoch, and reading goes on at its end. `renew` makes the reading connections anew, and goes
//! on behind the last message.
//!
//! The backend checks the number of streams each second. While Redis holds another number, because somebody has
//! begun with that one after the server was emptied, the instance is `Down` and publishes nothing: others would not
//! read it.
//!
//! With `sentinel`, and in a Cluster, a failover may lose what the replica had not received: that is such a
//! `LogReplaced`.
//!
//! # What it creates
//! Under the prefix, all of it stays: `stream:{0}` to `stream:{N-1}`, created by the first message of each, a token
//! `stream:{N}:epoch` for each, and their number in `stream:{0}:streams`.

mod absence;
mod ask;
pub(crate) mod backend;
pub(crate) mod config;
mod connection;
mod history;
pub(crate) mod keys;
mod lane;
pub(crate) mod log;
mod message;
mod promises;
mod reader;

use std::sync::Arc;

use async_trait::async_trait;
use hubplane_backplane::{Address, Capabilities, Driver, Opened, Result};
use hubplane_kit::limits;
use tokio::time::timeout;

use self::{
    backend::{CAPABILITIES, STREAMS, renamed},
    config::Log,
};
use crate::failure;

/// The `redis+streams:` and `rediss+streams:` backend.
pub static STREAMS_DRIVER: StreamsDriver = StreamsDriver;

/// Opens `redis+streams://` and `rediss+streams://` addresses; use it by [`STREAMS_DRIVER`].
#[derive(Debug)]
pub struct StreamsDriver;

#[async_trait]
impl Driver for StreamsDriver {
    fn schemes(&self) -> &'static [&'static str] {
        &[STREAMS, "rediss+streams"]
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    async fn open(&self, address: &Address) -> Result<Opened> {
        let log = Arc::new(Log::read(address)?);
        match timeout(limits::OPEN, Box::pin(connection::open(log))).await {
            Ok(opened) => opened.map_err(renamed),
            Err(_elapsed) => Err(renamed(failure::unavailable(format!(
                "{address} did not answer within {:?}",
                limits::OPEN
            )))),
        }
    }
}
