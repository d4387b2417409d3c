//! What `open` answers if it can't succeed: the right kind, in time, and without a secret.

use std::time::Duration;

use hubplane_backplane::{Address, ErrorKind, OnRestart, Result};
use tokio::time::timeout;

use crate::{Harness, space::Space};

/// Opens an address that must not work. Returns the kind of the error and its whole text, also the one for programmers.
///
/// An address that can't even be read counts as refused: its error must keep secrets just as well.
async fn refusal(
    harness: &dyn Harness,
    what: &str,
    address: Result<Address>,
) -> (ErrorKind, String) {
    let address = match address {
        Ok(address) => address,
        Err(error) => return (error.kind(), error.to_string()),
    };
    // 15 s is the contract's limit for `open`.
    let opened = timeout(Duration::from_secs(15), harness.driver().open(&address)).await;
    let error = opened
        .unwrap_or_else(|_| panic!("{what}: open takes at most 15 s"))
        .err();
    let error = error.unwrap_or_else(|| panic!("{what}: open must fail"));
    // With `Debug`, which a careless log line may use.
    (error.kind(), format!("{error} {error:?}"))
}

/// Nobody listens at the address: `Unavailable` within 15 s, so that a hub that starts before its broker can try
/// again.
pub(crate) async fn an_absent_broker_is_said_in_time(harness: &dyn Harness) {
    // No address to try: allowed only where there is no broker.
    let Some(address) = harness.absent() else {
        let on_restart = harness.driver().capabilities().on_restart;
        return assert_eq!(
            on_restart,
            OnRestart::NoBroker,
            "only a backend without a broker has none to miss"
        );
    };
    let (kind, error) = refusal(harness, "no broker", Ok(address)).await;
    assert_eq!(kind, ErrorKind::Unavailable, "{error}");
}

/// Wrong addresses are `Config`, since trying again is no use, and no error shows a password. The passwords in the
/// harness's addresses contain `hunter2`.
pub(crate) async fn wrong_addresses_are_refused(harness: &dyn Harness) {
    let all = harness.refused();
    assert!(
        !all.is_empty(),
        "every backend has a wrong address: an unknown key at least"
    );
    for refused in all {
        let (kind, error) = refusal(harness, refused.what, refused.address.parse()).await;
        assert_eq!(kind, ErrorKind::Config, "{}: {error}", refused.what);
        assert!(
            !error.contains("hunter2"),
            "{}: the password is shown: {error}",
            refused.what
        );
    }
    let space = Space::new(harness);
    // An unknown key is refused also if all else is right. Behind a password it is not named: it may be a part of it.
    let unknown = harness.address(&space.name).with("no-such-key", "1");
    // The password is an option here, so that it stands behind the unknown key.
    let unheard = unknown.clone().with("password", "hunter2");
    for (what, address, named) in [
        ("an unknown key", unknown, true),
        ("an unknown key, and a password", unheard, false),
    ] {
        let (kind, error) = refusal(harness, what, Ok(address)).await;
        assert_eq!(kind, ErrorKind::Config, "{what}: {error}");
        assert!(
            error.contains("no-such-key") || !named,
            "the unknown key is named: {error}"
        );
        assert!(!error.contains("hunter2"), "the password is shown: {error}");
    }
    // The right address still opens: whatever was refused must leave nothing behind.
    let (a, b) = space.pair(&["c"]).await;
    a.close().await;
    b.close().await;
}
