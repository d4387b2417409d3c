use std::{sync::Arc, time::Duration};

use hubplane_backplane::{Channel, ErrorKind, Outgoing};
use tokio::time::{Instant, timeout};

use crate::{Harness, space::Space};

const LIMIT: Duration = Duration::from_secs(5);

pub(crate) async fn close_ends_everything(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (a, b) = space.pair(&["c"]).await;
    let backplane = Arc::clone(&a.backplane);
    let flying = tokio::spawn(async move {
        loop {
            let batch = (0..50).map(|n| Outgoing::new("c", n.to_string())).collect();
            for answer in backplane.publish(batch).await {
                match answer {
                    Ok(_) => {}
                    Err(error) => return error.kind(),
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let backplane = Arc::clone(&a.backplane);
    a.close().await;
    let kind = timeout(LIMIT, flying)
        .await
        .expect("publishes end with close")
        .expect("no panic");
    assert!(
        matches!(
            kind,
            ErrorKind::Closed | ErrorKind::Unknown | ErrorKind::Unavailable
        ),
        "{kind:?}"
    );
    assert!(
        timeout(LIMIT, backplane.close()).await.is_ok(),
        "a second close returns"
    );
    let late = timeout(LIMIT, backplane.publish(vec![Outgoing::new("c", "late")]))
        .await
        .expect("an answer");
    assert_eq!(
        late[0].as_ref().expect_err("closed").kind(),
        ErrorKind::Closed,
        "publish after close"
    );
    let late = timeout(LIMIT, backplane.subscribe(&[Channel::from("d")]))
        .await
        .expect("an answer");
    assert_eq!(
        late.expect_err("closed").kind(),
        ErrorKind::Closed,
        "subscribe after close"
    );
    // The other instance goes on.
    b.publish("c", "still here").await.expect("published");
    b.until("its own message", LIMIT, |it| {
        it.texts("c").contains(&"still here".to_owned())
    })
    .await;
    b.close().await;
}

/// The hub has stopped reading: the backend must not wait for it when it is told to end.
pub(crate) async fn close_works_while_blocked(harness: &dyn Harness) {
    let space = Space::new(harness);
    let (blocked, events) = space.open_raw().await;
    blocked.subscribe(&["c".into()]).await.expect("subscribed");
    let other = space.open().await;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(1_500) {
        let batch = (0..100)
            .map(|_| Outgoing::new("c", vec![b'x'; 512]))
            .collect();
        other.publish_all(batch).await;
    }
    assert!(
        timeout(LIMIT, blocked.close()).await.is_ok(),
        "close takes at most 5 s, also while blocked"
    );
    drop(events);
    other.close().await;
}
