//! The conformance suite on a real Kafka.

use std::time::Duration;

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Spaces};
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig,
    producer::{FutureProducer, FutureRecord},
};

const ADDRESS: &str = "HUBPLANE_TEST_KAFKA";

#[derive(Debug)]
struct Kafka;

#[async_trait]
impl Harness for Kafka {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> Address {
        let broker = required(ADDRESS);
        let address = format!("{broker}?topic=hp-{space}&partitions=4");
        address.parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        Some(Control::from_env("HUBPLANE_TEST_KAFKA_CONTROL"))
    }

    fn refused(&self) -> Vec<Refused> {
        let plain = required(ADDRESS);
        let sasl = required("HUBPLANE_TEST_KAFKA_SASL").replace("app:secret", "app:hunter2");
        let tls = required("HUBPLANE_TEST_KAFKA_TLS");
        let refused = |what, address| Refused { what, address };
        vec![
            refused("an unknown key", format!("{plain}?tpoic=x")),
            refused("a wrong password", sasl),
            refused("a wrong TLS name", tls.replace("localhost", "127.0.0.1")),
            refused("a wrong topic name", format!("{plain}?topic=a%2Fb")),
            refused(
                "a topic that is not there",
                format!("{plain}?topic=absent&create=false"),
            ),
            refused(
                "a setting that librdkafka does not know",
                format!("{plain}?kafka.no.such.setting=1"),
            ),
        ]
    }

    fn absent(&self) -> Option<Address> {
        Some("kafka://127.0.0.1:1".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let mut config = ClientConfig::new();
        config.set(
            "bootstrap.servers",
            required(ADDRESS).trim_start_matches("kafka://"),
        );
        let producer: FutureProducer = config
            .set("partitioner", "murmur2_random")
            .create()
            .expect("a producer");
        let topic = format!("hp-{space}");
        let record = FutureRecord::to(&topic).key(channel).payload(data);
        producer
            .send(record, Duration::from_secs(5))
            .await
            .expect("published");
    }

    async fn trim(&self, space: &str) {
        DRIVER.trim(&self.address(space)).await.expect("trimmed");
    }
}

hubplane_conformance::suite!(Kafka);
