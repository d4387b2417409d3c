//! The conformance suite on the embedded backend.

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver, Spaces};
use hubplane_conformance::{Control, Harness, Refused};
use hubplane_memory::DRIVER;

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Harness for Memory {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> Address {
        // Small enough to be filled quickly, for the cases about a log that is trimmed.
        let address = format!("memory://{space}?max-messages=20000");
        address.parse().expect("an address")
    }

    /// There is no broker that could be stopped.
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

    /// There is no broker that could be absent.
    fn absent(&self) -> Option<Address> {
        None
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let address = self.address(space);
        let published = DRIVER.publish_outside(&address, channel, data).await;
        published.expect("published");
    }

    async fn trim(&self, space: &str) {
        DRIVER.trim(&self.address(space)).await.expect("trimmed");
    }
}

hubplane_conformance::suite!(Memory);
