//! The conformance suite on the embedded backend.

use async_trait::async_trait;
use hubplane_backplane::{Driver, Outgoing};
use hubplane_conformance::{Control, Harness, Refused};
use hubplane_memory::DRIVER;

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Harness for Memory {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> String {
        format!("memory://{space}?max-messages=20000")
    }

    fn control(&self) -> Option<Control> {
        None
    }

    fn refused(&self) -> Vec<Refused> {
        let refused = |what, address: &str| Refused {
            what,
            address: address.to_owned(),
        };
        vec![
            refused("an unknown key", "memory:?size=1"),
            refused("no number", "memory:?max-messages=many"),
        ]
    }

    fn absent(&self) -> Option<String> {
        None
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let address = self.address(space).parse().expect("an address");
        let outside = DRIVER.open(&address).await.expect("open").backplane;
        let outgoing = Outgoing::new(channel, data.to_vec());
        outside
            .publish(vec![outgoing])
            .await
            .remove(0)
            .expect("published");
        outside.close().await;
    }

    async fn trim(&self, space: &str) {
        let address = self.address(space).parse().expect("an address");
        let filler = DRIVER.open(&address).await.expect("open").backplane;
        for _ in 0..25 {
            let batch = (0..1_000).map(|_| Outgoing::new("filler", "x")).collect();
            filler.publish(batch).await;
        }
        filler.close().await;
    }
}

hubplane_conformance::suite!(Memory);
