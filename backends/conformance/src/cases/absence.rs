//! What calls answer while the broker is away, and what they leave behind.

use std::time::Duration;

use hubplane_backplane::{Channel, ErrorKind};
use tokio::time::{sleep, timeout};

use super::faults::{BACK, control, is_back};
use crate::{
    Harness,
    space::{Instance, SETTLE, SOON, Space},
};

/// A publish without a broker is answered in time, and what is called surely not stored (`Unavailable`) is never heard
/// later. A publisher that is told so publishes again; were the first one stored, clients would see it twice.
///
/// A backend without a broker has nothing to lose here, and passes.
pub(crate) async fn publishing_without_a_broker_is_answered(harness: &dyn Harness) {
    let Some(control) = control(harness) else {
        return;
    };
    // Both are subscribed, so that what is stored by mistake is heard by somebody.
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    a.publish("c", "before").await.expect("published");
    b.hears("c", 1).await;
    // An orderly end, so that nothing is in doubt that was published before it.
    control.stop().await;
    let mut surely_not = Vec::new();
    // Four attempts: the first may meet a connection that does not know yet that it is dead.
    for n in 0..4 {
        let answer = a.publish("c", format!("meanwhile {n}")).await;
        let error = answer.expect_err("there is no broker");
        match error.kind() {
            ErrorKind::Unavailable => surely_not.push(format!("meanwhile {n}")),
            // May be stored: a library may have it in a buffer that it sends once the broker is back.
            kind => assert_eq!(kind, ErrorKind::Unknown, "{error}"),
        }
    }
    control.start().await;
    // Both, as the publisher must publish again and the other must hear it.
    for instance in [&a, &b] {
        instance.until("it comes back", BACK, is_back).await;
    }
    // What was kept by mistake would come before this one, or soon after it.
    a.publish("c", "after").await.expect("published");
    b.until("the message after", SOON, |it| {
        it.texts("c").contains(&"after".to_owned())
    })
    .await;
    // Time for what should not come.
    sleep(SETTLE).await;
    for instance in [&a, &b] {
        let heard = instance.texts("c");
        assert!(
            !heard.iter().any(|text| surely_not.contains(text)),
            "called surely not stored, and yet heard: {heard:?}"
        );
    }
    a.close().await;
    b.close().await;
}

/// A channel that is subscribed to while the broker is away is heard once the broker is back. An instance that is closed
/// meanwhile ends in time.
pub(crate) async fn interest_without_a_broker_is_kept(harness: &dyn Harness) {
    let Some(control) = control(harness) else {
        return;
    };
    let space = Space::new(harness);
    // One interest from before the stop, to see that it is not lost over the new ones.
    let (a, b) = space.pair(&["before"]).await;
    // A third instance, which is closed while the broker is away.
    let ending = space.open().await;
    ending.subscribe(&["before"]).await;
    control.stop().await;
    // A publish that fails shows that the loss of the broker was noticed.
    let answer = a.publish("before", "meanwhile").await;
    answer.expect_err("there is no broker");
    let wanted = [Channel::from("meanwhile.1"), Channel::from("meanwhile.2")];
    // Twice for the first one, as a hub does that tries again.
    for channels in [&wanted[..], &wanted[..1]] {
        // 5 s of the contract, and 2 s for a busy machine.
        let answer = timeout(Duration::from_secs(7), b.backplane.subscribe(channels));
        let answer = answer.await.expect("subscribe answers within its limit");
        // A backend that receives everything does not have to ask the broker.
        if let Err(error) = answer {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        }
    }
    // While the broker is away there is nobody to say goodbye to.
    ending.close().await;
    control.start().await;
    for instance in [&a, &b] {
        instance.until("it comes back", BACK, is_back).await;
    }
    // The interest of before the stop is kept as well.
    for channel in ["before", "meanwhile.1", "meanwhile.2"] {
        a.publish(channel, "after").await.expect("published");
        let hears = |it: &Instance| it.texts(channel).contains(&"after".to_owned());
        b.until("a message of each channel after the return", SOON, hears)
            .await;
    }
    a.close().await;
    b.close().await;
}
