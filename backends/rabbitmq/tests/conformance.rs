//! The suite on a real RabbitMQ.

mod broker;

use async_trait::async_trait;
use broker::{CONTROL, on_exchange, plain};
use hubplane_backplane::{Address, Driver};
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_rabbitmq::DRIVER;

#[derive(Debug)]
struct RabbitMq;

fn exchange(space: &str) -> String {
    format!("hp.{space}")
}

#[async_trait]
impl Harness for RabbitMq {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> Address {
        let address = on_exchange(&plain(), &exchange(space));
        address.parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        Some(Control::from_env(CONTROL))
    }

    fn refused(&self) -> Vec<Refused> {
        let tls = required("HUBPLANE_TEST_RABBITMQ_TLS");
        let refused = |what, address| Refused { what, address };
        vec![
            refused("a wrong password", plain().replace(":guest@", ":wrong@")),
            refused("no such virtual host", plain() + "/nowhere"),
            refused(
                "a wrong name in the certificate",
                tls.replace("localhost", "127.0.0.1"),
            ),
            refused(
                "an authority that nobody trusts",
                tls.split("?ca=").next().unwrap_or_default().to_owned(),
            ),
            refused(
                "an exchange that is the broker's",
                on_exchange(&plain(), "amq.topic"),
            ),
            refused("an unknown key", plain() + "?topic=news"),
        ]
    }

    fn absent(&self) -> Option<Address> {
        // Port 1 is below the range that anything here listens on.
        Some("amqp://127.0.0.1:1".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        broker::publish_outside(&exchange(space), channel, data).await;
    }

    async fn trim(&self, _space: &str) {
        unreachable!("there is no log")
    }
}

hubplane_conformance::suite!(RabbitMq);
