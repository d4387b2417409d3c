//! The suite on a real Redis, with streams: on one server, and on a Cluster.

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Spaces};
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_redis::STREAMS_DRIVER;
use redis::{Cmd, aio::MultiplexedConnection};

/// By the environment variable with the address; with `_CONTROL` behind it, that of the script.
#[derive(Debug)]
struct Streams(&'static str);

const SERVER: Streams = Streams("HUBPLANE_TEST_REDIS");
const CLUSTER: Streams = Streams("HUBPLANE_TEST_REDIS_CLUSTER");
const STREAMS: u16 = 3;

fn prefix(space: &str) -> String {
    format!("hp:{space}:")
}

fn streams(address: &str) -> String {
    address.replacen("://", "+streams://", 1)
}

fn key(space: &str, stream: u16) -> String {
    format!("{}stream:{{{stream}}}", prefix(space))
}

/// As the documentation tells an outside program.
fn stream_of(channel: &str) -> u16 {
    let mut crc = 0_u16;
    for byte in channel.bytes() {
        crc ^= u16::from(byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            };
        }
    }
    crc % STREAMS
}

async fn outside(node: &str) -> MultiplexedConnection {
    let client = redis::Client::open(format!("redis://{node}")).expect("an address");
    let connection = client.get_multiplexed_async_connection();
    connection.await.expect("Redis answers")
}

impl Streams {
    /// As an outside program does that follows a Cluster's hints.
    async fn ask(&self, command: &Cmd) {
        let address = required(self.0);
        let hosts = address.trim_start_matches("redis://");
        let first = hosts.split([',', '?']).next().expect("a node");
        let Err(error) = command.exec_async(&mut outside(first).await).await else {
            return;
        };
        let (node, _slot) = error.redirect_node().expect("a hint");
        let asked = command.exec_async(&mut outside(node).await).await;
        asked.expect("Redis takes it");
    }
}

#[async_trait]
impl Harness for Streams {
    fn driver(&self) -> &'static dyn Driver {
        &STREAMS_DRIVER
    }

    fn address(&self, space: &str) -> Address {
        let address = streams(&required(self.0));
        let joint = if address.contains('?') { '&' } else { '?' };
        let address = format!("{address}{joint}prefix={}&streams={STREAMS}", prefix(space));
        address.parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        Some(Control::from_env(&format!("{}_CONTROL", self.0)))
    }

    fn refused(&self) -> Vec<Refused> {
        let user = streams(&required("HUBPLANE_TEST_REDIS_ACL"));
        let tls = streams(&required("HUBPLANE_TEST_REDIS_TLS"));
        let server = streams(&required("HUBPLANE_TEST_REDIS"));
        let cluster = streams(&required("HUBPLANE_TEST_REDIS_CLUSTER"));
        let node = cluster.split([',', '?']).next().expect("a node").to_owned();
        let refused = |what, address| Refused { what, address };
        vec![
            refused(
                "a wrong password",
                user.replace(":secret@", ":hunter2@") + "?prefix=hp:",
            ),
            refused("a prefix that the user has no rights to", user),
            refused(
                "a wrong name in the certificate",
                tls.replace("localhost", "127.0.0.1"),
            ),
            refused("a node of a Cluster as a server", node),
            refused("a server as a Cluster", server.clone() + "?cluster=true"),
            refused("an unknown key", server + "?envelope=never"),
        ]
    }

    fn absent(&self) -> Option<Address> {
        // Port 1 is below the range that anything here listens on.
        Some("redis+streams://127.0.0.1:1".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let mut add = redis::cmd("XADD");
        add.arg(key(space, stream_of(channel))).arg("*");
        add.arg("c").arg(channel).arg("d").arg(data);
        self.ask(&add).await;
    }

    async fn trim(&self, space: &str) {
        let trimmed = STREAMS_DRIVER.trim(&self.address(space)).await;
        trimmed.expect("trimmed");
    }
}

mod server {
    hubplane_conformance::suite!(crate::SERVER);
}

mod cluster {
    hubplane_conformance::suite!(crate::CLUSTER);
}
