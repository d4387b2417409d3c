//! The suite on a real RabbitMQ, with streams.

mod broker;

use async_trait::async_trait;
use broker::{CONTROL, on_exchange, plain};
use hubplane_backplane::{Address, Driver, Spaces};
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_rabbitmq::STREAMS_DRIVER;

#[derive(Debug)]
struct Streams;

fn exchange(space: &str) -> String {
    format!("hp.{space}")
}

fn streams(address: &str) -> String {
    address.replacen("://", "+streams://", 1)
}

#[async_trait]
impl Harness for Streams {
    fn driver(&self) -> &'static dyn Driver {
        &STREAMS_DRIVER
    }

    fn address(&self, space: &str) -> Address {
        let address = on_exchange(&streams(&plain()), &exchange(space));
        let address = address + "&segment-bytes=1000000&max-bytes=20000000";
        address.parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        Some(Control::from_env(CONTROL))
    }

    fn refused(&self) -> Vec<Refused> {
        let tls = streams(&required("HUBPLANE_TEST_RABBITMQ_TLS"));
        let refused = |what, address| Refused { what, address };
        vec![
            refused(
                "a wrong password",
                streams(&plain().replace(":guest@", ":wrong@")),
            ),
            refused(
                "a wrong name in the certificate",
                tls.replace("localhost", "127.0.0.1"),
            ),
            refused(
                "an exchange that is the broker's",
                on_exchange(&streams(&plain()), "amq.topic"),
            ),
            refused("a key of queues", streams(&plain()) + "?expires=60s"),
        ]
    }

    fn absent(&self) -> Option<Address> {
        // Port 1 is below the range that anything here listens on.
        Some("amqp+streams://127.0.0.1:1".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        broker::publish_outside(&exchange(space), channel, data).await;
    }

    async fn trim(&self, space: &str) {
        let trimmed = STREAMS_DRIVER.trim(&self.address(space)).await;
        trimmed.expect("trimmed");
    }
}

hubplane_conformance::suite!(Streams);
