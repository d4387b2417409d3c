//! What the tests of this crate need of the broker: its addresses, `rabbitmqctl`, an outside producer, and a relay in
//! front of it that can be cut.

// Each test binary uses a part.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used
)]

mod logs;
mod relay;
mod told;

use std::{process::Stdio, sync::Arc, time::Duration};

use hubplane_backplane::{Address, Backplane, Driver, Opened, Outgoing, Receipt};
use hubplane_conformance::required;
use hubplane_rabbitmq::DRIVER;
use lapin::{
    BasicProperties, Connection, ConnectionProperties,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use tokio::{
    process::Command,
    time::{Instant, sleep},
};

pub use logs::Logs;
pub use relay::Relay;
pub use told::{PATIENCE, Told, next};

pub const CONTROL: &str = "HUBPLANE_TEST_RABBITMQ_CONTROL";

/// The plain address, without keys.
pub fn plain() -> String {
    required("HUBPLANE_TEST_RABBITMQ")
}

/// The address of the broker, or of a relay, with an exchange of its own.
pub fn on_exchange(address: &str, exchange: &str) -> String {
    let separator = if address.contains('?') { '&' } else { '?' };
    format!("{address}{separator}exchange={exchange}")
}

/// Runs `rabbitmqctl` on the broker under test.
pub async fn ctl(arguments: &str) -> String {
    verb(&format!("ctl {arguments}")).await
}

/// Runs the broker's script, with its directory as the verb's first argument.
pub async fn verb(verb: &str) -> String {
    let (verb, arguments) = verb.split_once(' ').unwrap_or((verb, ""));
    let command = required(CONTROL).replace("{}", verb) + " " + arguments;
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(&command).stdin(Stdio::null());
    let output = shell.output().await.expect("sh starts");
    assert!(
        output.status.success(),
        "`{command}` failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The broker's own client library, as a team's own program would use it.
pub async fn outside() -> (Connection, lapin::Channel) {
    let address = plain() + "/%2f";
    let connection = Connection::connect(&address, ConnectionProperties::default())
        .await
        .unwrap();
    let channel = connection.create_channel().await.unwrap();
    let select = ConfirmSelectOptions::default();
    channel.confirm_select(select).await.unwrap();
    (connection, channel)
}

/// Publishes without any of hubplane's code.
pub async fn publish_outside(exchange: &str, channel: &str, data: &[u8]) {
    let (connection, outside) = outside().await;
    let options = BasicPublishOptions::default();
    let properties = BasicProperties::default();
    let published = outside
        .basic_publish(exchange.into(), channel.into(), options, data, properties)
        .await;
    assert!(published.unwrap().await.unwrap().is_ack());
    connection.close(200, "done".into()).await.unwrap();
}

pub fn exchange(name: &str) -> String {
    let id = std::process::id();
    format!("hp-{name}-{id}")
}

pub async fn open(address: &str) -> Opened {
    let address: Address = address.parse().unwrap();
    DRIVER.open(&address).await.unwrap()
}

pub async fn behind_a_relay(exchange: &str, keys: &str) -> (Relay, Opened) {
    let target = plain();
    let target = target.rsplit('@').next().unwrap().to_owned();
    let relay = Relay::before(&target, None).await;
    let opened = open(&format!(
        "{}{keys}",
        on_exchange(&relay.address(), exchange)
    ))
    .await;
    (relay, opened)
}

pub fn message(number: usize) -> Outgoing {
    let mut message = Outgoing::new("news", number.to_string());
    message.id = Some(number.to_string().into());
    message
}

/// One that `Told` doesn't count.
pub fn aside() -> Outgoing {
    Outgoing::new("aside", "x")
}

pub async fn publish(backplane: &Arc<dyn Backplane>, numbers: std::ops::Range<usize>) {
    for result in backplane.publish(numbers.map(message).collect()).await {
        assert_eq!(result.unwrap(), Receipt::Accepted);
    }
}

/// Publishes one message until the broker takes it.
pub async fn publish_at_last(backplane: &Arc<dyn Backplane>, number: usize) {
    let deadline = Instant::now() + PATIENCE;
    while backplane
        .publish(vec![message(number)])
        .await
        .remove(0)
        .is_err()
    {
        assert!(Instant::now() < deadline, "the broker takes messages again");
        sleep(Duration::from_millis(100)).await;
    }
}
