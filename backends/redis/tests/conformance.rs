//! The suite on a real Redis.

use async_trait::async_trait;
use hubplane_backplane::{Address, Driver};
use hubplane_conformance::{Control, Harness, Refused, required};
use hubplane_redis::DRIVER;

#[derive(Debug)]
struct Redis;

fn prefix(space: &str) -> String {
    format!("hp:{space}:")
}

#[async_trait]
impl Harness for Redis {
    fn driver(&self) -> &'static dyn Driver {
        &DRIVER
    }

    fn address(&self, space: &str) -> Address {
        let server = required("HUBPLANE_TEST_REDIS");
        let address = format!("{server}?prefix={}", prefix(space));
        address.parse().expect("an address")
    }

    fn control(&self) -> Option<Control> {
        Some(Control::from_env("HUBPLANE_TEST_REDIS_CONTROL"))
    }

    fn refused(&self) -> Vec<Refused> {
        let server = required("HUBPLANE_TEST_REDIS");
        let user = required("HUBPLANE_TEST_REDIS_ACL");
        let tls = required("HUBPLANE_TEST_REDIS_TLS");
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
            refused("an unknown key", server + "?topic=news"),
        ]
    }

    fn absent(&self) -> Option<Address> {
        // Port 1 is below the range that anything here listens on.
        Some("redis://127.0.0.1:1".parse().expect("an address"))
    }

    async fn publish_outside(&self, space: &str, channel: &str, data: &[u8]) {
        let client = redis::Client::open(required("HUBPLANE_TEST_REDIS")).expect("an address");
        let mut connection = client
            .get_multiplexed_async_connection()
            .await
            .expect("Redis answers");
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(prefix(space) + channel).arg(data);
        let _: i64 = publish
            .query_async(&mut connection)
            .await
            .expect("Redis takes it");
    }

    async fn trim(&self, _space: &str) {
        unreachable!("there is no log")
    }
}

hubplane_conformance::suite!(Redis);
