//! The conformance suite on a real Kafka.

use std::time::Duration;

use async_trait::async_trait;
use hubplane_backplane::Driver;
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_kafka::DRIVER;
use rdkafka::{
    ClientConfig, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    producer::{FutureProducer, FutureRecord},
};

const ADDRESS: &str = "HUBPLANE_TEST_KAFKA";
const PARTITIONS: i32 = 4;

#[derive(Debug)]
struct Kafka;

#[async_trait]
impl Harness for Kafka {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> String {
        format!(
            "{}?topic=hp-{space}&partitions={PARTITIONS}",
            required(ADDRESS)
        )
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

    fn absent(&self) -> Option<String> {
        Some("kafka://127.0.0.1:1".to_owned())
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
        let brokers = required(ADDRESS);
        let admin: AdminClient<_> = ClientConfig::new()
            .set("bootstrap.servers", brokers.trim_start_matches("kafka://"))
            .create()
            .expect("an admin client");
        let mut upto = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            upto.add_partition_offset(&format!("hp-{space}"), partition, Offset::End)
                .expect("an offset");
        }
        let done = admin.delete_records(&upto, &AdminOptions::new()).await;
        for part in done.expect("deleted").elements() {
            part.error().expect("deleted");
        }
    }
}

hubplane_conformance::suite!(Kafka);
