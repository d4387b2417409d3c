//! A client that comes while the broker is away.

use tokio::time::{Duration, Instant, sleep};

use crate::{
    client::{Client, http, publish},
    hub::Hub,
    redis::Redis,
};

#[tokio::test]
async fn who_subscribes_while_the_broker_is_away_is_subscribed_when_it_is_back() {
    let redis = Redis::new();
    let hub = Hub::start(&["--backplane", &redis.address(), "--wait", "20s"]);
    let port = redis.port;
    drop(redis);
    let start = Instant::now();
    while http(hub.address, "GET /ready", "").await.0 == 200 {
        assert!(start.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(50)).await;
    }
    let mut client = Client::connect(hub.address, "?channel=c", &[]).await;
    client.send(r#"{"type":"ping"}"#).await;
    assert_eq!(client.json().await["type"], "pong", "and no error");
    sleep(Duration::from_secs(2)).await;
    let _redis = Redis::start(port);
    assert_eq!(client.json().await["type"], "subscribed");
    while publish(hub.address, "", r#"{"channel":"c","data":1}"#)
        .await
        .0
        != 200
    {
        assert!(start.elapsed() < Duration::from_secs(30));
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(client.json().await["type"], "message");
}
