//! The backends that are compiled in: the only file that knows the cargo features.

use hubplane_backplane::{Address, Driver, Error, ErrorKind, Opened, Result, Spaces};

/// Every backend of this binary, the embedded default first.
///
/// No other order matters; `hubplane backends` prints them as they stand here.
pub static DRIVERS: &[&dyn Driver] = &[
    &hubplane_memory::DRIVER,
    #[cfg(feature = "redis")]
    &hubplane_redis::DRIVER,
    #[cfg(feature = "redis")]
    &hubplane_redis::STREAMS_DRIVER,
    #[cfg(feature = "kafka")]
    &hubplane_kafka::DRIVER,
    #[cfg(feature = "rabbitmq")]
    &hubplane_rabbitmq::DRIVER,
    #[cfg(feature = "rabbitmq")]
    &hubplane_rabbitmq::STREAMS_DRIVER,
];

/// The backends of this binary that `hubplane conformance` can try on a user's broker.
/// A list of its own, since a driver can't be asked whether it is [`Spaces`] too. A test keeps the
/// two lists alike.
pub static SPACES: &[&dyn Spaces] = &[
    &hubplane_memory::DRIVER,
    #[cfg(feature = "redis")]
    &hubplane_redis::DRIVER,
    #[cfg(feature = "redis")]
    &hubplane_redis::STREAMS_DRIVER,
    #[cfg(feature = "kafka")]
    &hubplane_kafka::DRIVER,
    #[cfg(feature = "rabbitmq")]
    &hubplane_rabbitmq::DRIVER,
    #[cfg(feature = "rabbitmq")]
    &hubplane_rabbitmq::STREAMS_DRIVER,
];

/// Directives for the program's log filter: client libraries whose lines the backends say themselves, in fewer words.
///
/// Without them a broken connection would be logged twice, once by the library at every attempt.
pub const LOG_FILTERS: &[&str] = &[
    #[cfg(feature = "rabbitmq")]
    hubplane_rabbitmq::LOG_FILTER,
];

/// Every backend that there is: its feature and its schemes. Those that are not compiled in are named by it.
///
/// Kept by hand, so that a lean build can still say which feature to add. The order is that of
/// README.md's table.
pub const KNOWN: &[(&str, &[&str])] = &[
    ("memory", &["memory"]),
    ("redis", &["redis", "rediss"]),
    ("redis", &["redis+streams", "rediss+streams"]),
    ("kafka", &["kafka"]),
    ("rabbitmq", &["amqp", "amqps"]),
    ("rabbitmq", &["amqp+streams", "amqps+streams"]),
];

/// The driver for a scheme.
///
/// # Errors
/// `Config`, with what to do: a scheme that nobody knows, or one that is not compiled in.
pub fn find(scheme: &str) -> Result<&'static dyn Driver> {
    if let Some(driver) = DRIVERS
        .iter()
        .find(|driver| driver.schemes().contains(&scheme))
    {
        return Ok(*driver);
    }
    // A scheme that is known gets the exact command; only a scheme that nobody knows gets the list.
    let message = match KNOWN.iter().find(|(_, schemes)| schemes.contains(&scheme)) {
        Some((feature, _)) => format!(
            "{scheme}: is not in this build; build it with `cargo build --release --features {feature}`"
        ),
        None => {
            let all: Vec<_> = KNOWN
                .iter()
                .flat_map(|(_, schemes)| *schemes)
                .map(|s| format!("{s}:"))
                .collect();
            format!(
                "there is no backend {scheme}:; there are {}",
                all.join(", ")
            )
        }
    };
    Err(Error::new(ErrorKind::Config, "backplane", message))
}

/// The backend for a scheme, to be tried on a user's broker.
///
/// # Errors
/// Those of [`find`], and `Config` if the backend does not offer [`Spaces`].
pub fn find_spaces(scheme: &str) -> Result<&'static dyn Spaces> {
    let driver = find(scheme)?;
    // The same object under another trait: schemes tell which one it is.
    let same = |it: &&&dyn Spaces| it.schemes() == driver.schemes();
    SPACES.iter().find(same).copied().ok_or_else(|| {
        let message = "this backend can't be tried from outside its own tests";
        Error::new(ErrorKind::Config, driver.schemes()[0], message)
    })
}

/// Opens an address by its scheme's driver.
///
/// # Errors
/// Those of [`find`] and of [`Driver::open`].
pub async fn open(address: &str) -> Result<(&'static dyn Driver, Opened)> {
    let address: Address = address.parse()?;
    let driver = find(address.scheme())?;
    let opened = driver.open(&address).await?;
    // Only for tests of the conformance suite and the drills: breaks promises on purpose.
    #[cfg(feature = "sabotage")]
    let opened = crate::sabotage::wrap(opened);
    Ok((driver, opened))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_is_known_by_its_schemes() {
        for driver in DRIVERS {
            assert!(
                KNOWN
                    .iter()
                    .any(|(_, schemes)| *schemes == driver.schemes()),
                "{driver:?}"
            );
        }
    }

    /// docs/conformance.md promises this for every backend of this repository.
    #[test]
    fn every_backend_of_this_build_can_be_tried() {
        for driver in DRIVERS {
            let found = find_spaces(driver.schemes()[0]).unwrap();
            assert_eq!(found.schemes(), driver.schemes());
        }
        // The error of `find` comes through.
        let error = find_spaces("carrier-pigeon").map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }

    #[test]
    fn an_unknown_scheme_is_told_what_there_is() {
        let error = find("carrier-pigeon").unwrap_err().to_string();
        assert!(
            error.contains("memory:") && error.contains("amqps:"),
            "{error}"
        );
    }
}
