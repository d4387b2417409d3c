//! Many questions at once: they wait in order, in a limited number, and in limited memory.

use std::sync::Mutex;

use tokio::task::JoinSet;

use super::*;

/// Asks whether client `number` may connect.
fn ask_for(
    endpoint: &Arc<Endpoint>,
    number: usize,
) -> impl Future<Output = Result<Answer, EndpointError>> + Send + use<> {
    let endpoint = Arc::clone(endpoint);
    async move {
        let client = number.to_string();
        let client = Some(&*client);
        endpoint
            .ask(Question {
                client,
                ..question(Wish::Connect)
            })
            .await
    }
}

/// The numbers of the clients in the order in which the server was asked about them.
fn order(server: &Server) -> Vec<usize> {
    let number = |request: Received| -> usize {
        let json: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        json["client"].as_str().unwrap().parse().unwrap()
    };
    server.received().into_iter().map(number).collect()
}

/// The resident memory of this process in bytes.
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    let kilobytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kilobytes * 1024
}

/// Waits until something is so; a test that waits in vain fails.
async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
    waited.expect("it never became so");
}

#[tokio::test]
async fn ten_thousand_questions_wait_in_order_and_in_little_memory() {
    const MANY: usize = 10_000;
    const AT_ONCE: usize = 64;
    let answer = r#"{"allow":true}"#;
    let server =
        Server::start(move |_, _| Reply::After(Duration::from_millis(50), 200, answer.to_owned()))
            .await;
    let endpoint = endpoint(&config(&server));
    let before = memory();
    let answered = Arc::new(Mutex::new(Vec::new()));
    let mut asking = JoinSet::new();
    for number in 0..MANY {
        let (asked, answered) = (ask_for(&endpoint, number), Arc::clone(&answered));
        asking.spawn(async move {
            asked.await.unwrap();
            answered.lock().unwrap().push(number);
        });
    }
    until(|| server.count() > AT_ONCE).await;
    let grown = memory().saturating_sub(before);
    assert!(
        grown < 64 * 1024 * 1024,
        "{grown} bytes for {MANY} questions"
    );
    assert!(
        answered.lock().unwrap().len() < MANY / 2,
        "it was measured too late"
    );
    while let Some(ended) = asking.join_next().await {
        ended.unwrap();
    }
    assert!(server.most_at_once() <= AT_ONCE && server.connections() <= AT_ONCE);
    // Those that are asked at once may overtake each other, and no others.
    for (order, most) in [
        (order(&server), AT_ONCE),
        (answered.lock().unwrap().clone(), 2 * AT_ONCE),
    ] {
        assert_eq!(order.len(), MANY);
        let far = order
            .iter()
            .enumerate()
            .find(|(place, number)| place.abs_diff(**number) >= most);
        assert_eq!(far, None);
    }
}

#[tokio::test]
async fn one_at_a_time_keeps_the_order_exactly() {
    let server = Server::start(|_, _| allow()).await;
    let endpoint = endpoint(&EndpointConfig {
        concurrency: 1,
        ..config(&server)
    });
    let mut asking = JoinSet::new();
    for number in 0..200 {
        asking.spawn(ask_for(&endpoint, number));
    }
    while let Some(answer) = asking.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(order(&server), (0..200).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_queue_refuses_at_once_until_somebody_leaves() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let endpoint = endpoint(&EndpointConfig {
        concurrency: 1,
        queue: 2,
        ..config(&server)
    });
    let mut asking: Vec<_> = (0..3)
        .map(|number| tokio::spawn(ask_for(&endpoint, number)))
        .collect();
    until(|| server.count() == 1).await;
    let error = connect(&endpoint).await.unwrap_err();
    assert_eq!(
        (&error.failure, error.retry_after),
        (&Failure::Busy, Duration::from_secs(1)),
        "{error}"
    );
    // The first one leaves while it is asked; the next one gets its turn.
    let first = asking.remove(0);
    first.abort();
    until(|| server.count() == 2).await;
    asking.push(tokio::spawn(ask_for(&endpoint, 3)));
    tokio::task::yield_now().await;
    assert_eq!(connect(&endpoint).await.unwrap_err().failure, Failure::Busy);
    assert_eq!(order(&server), [0, 1]);
    asking.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn large_questions_fill_the_queue_by_their_bytes() {
    let server = Server::start(|_, _| Reply::Silence).await;
    let config = EndpointConfig {
        publish: Some(Secret::new(server.url("/publish"))),
        queue_bytes: 64 * 1024,
        ..config(&server)
    };
    let endpoint = endpoint(&config);
    let large = question(Wish::Publish {
        channel: "c",
        data: &[b' '; 40_000],
    });
    let waiting = endpoint.ask(large);
    assert_eq!(
        endpoint.ask(large).await.unwrap_err().failure,
        Failure::Busy
    );
    drop(waiting);
    drop(endpoint.ask(large));
    assert_eq!(server.count(), 0);
}

/// Clients that go away say nothing about the backend.
#[tokio::test]
async fn questions_that_nobody_waits_for_are_no_failures() {
    let server =
        Server::start(|number, _| if number < 10 { Reply::Silence } else { allow() }).await;
    let endpoint = endpoint(&config(&server));
    for number in 0..10 {
        let asking = tokio::spawn(ask_for(&endpoint, number));
        until(|| server.count() > number).await;
        asking.abort();
        assert!(asking.await.unwrap_err().is_cancelled());
    }
    assert!(matches!(connect(&endpoint).await, Ok(Answer::Allowed(_))));
}

/// Who waits behind failures is told at once, instead of asking a backend that is away one by one.
#[tokio::test]
async fn those_who_wait_do_not_ask_what_has_failed_meanwhile() {
    let server = Server::start(|_, _| Reply::Answer(404, String::new())).await;
    let endpoint = endpoint(&EndpointConfig {
        concurrency: 1,
        ..config(&server)
    });
    let mut asking = JoinSet::new();
    for number in 0..50 {
        asking.spawn(ask_for(&endpoint, number));
    }
    let mut paused = 0;
    while let Some(answer) = asking.join_next().await {
        paused += usize::from(answer.unwrap().unwrap_err().failure == Failure::Paused);
    }
    assert_eq!((paused, server.count()), (45, 5));
}
