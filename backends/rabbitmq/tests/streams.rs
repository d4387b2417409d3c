//! The suite on a real RabbitMQ, with streams.

mod broker;

use async_trait::async_trait;
use broker::{CONTROL, on_exchange, plain};
use hubplane_backplane::Driver;
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_rabbitmq::STREAMS_DRIVER;
use lapin::{BasicProperties, options::BasicPublishOptions};

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

    fn address(&self, space: &str) -> String {
        let address = on_exchange(&streams(&plain()), &exchange(space));
        address + "&segment-bytes=1000000&max-bytes=20000000"
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
            refused("a key of queues", self.address("x") + "&expires=60s"),
        ]
    }

    fn absent(&self) -> Option<String> {
        // Port 1 is below the range that anything here listens on.
        Some("amqp+streams://127.0.0.1:1".to_owned())
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        broker::publish_outside(&exchange(space), channel, data).await;
    }

    /// Twice what the log keeps: the oldest files go as new ones are begun.
    async fn trim(&self, space: &str) {
        let name = exchange(space);
        let (connection, outside) = broker::outside().await;
        for _ in 0..400 {
            let (options, properties) =
                (BasicPublishOptions::default(), BasicProperties::default());
            let body = vec![0; 100_000];
            let to = name.as_str().into();
            let published = outside.basic_publish(to, "filler".into(), options, &body, properties);
            assert!(
                published
                    .await
                    .expect("published")
                    .await
                    .expect("answered")
                    .is_ack()
            );
        }
        connection.close(200, "done".into()).await.expect("closed");
    }
}

hubplane_conformance::suite!(Streams);
