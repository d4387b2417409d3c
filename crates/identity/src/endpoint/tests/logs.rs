//! What gets into the log, at every level and from the HTTP library too: no secret, header, path,
//! message or answer.

use std::{fmt, fmt::Write as _, sync::Mutex};

use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use super::*;

/// Collects all lines as text.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Visit for Lines {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Lines {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut self.clone());
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn nothing_that_is_sent_or_answered_is_logged() {
    let server = Server::start(|number, _| match number {
        0 => Reply::Answer(
            200,
            r#"{"allow":true,"user":"hidden","info":"hidden"}"#.to_owned(),
        ),
        1 => Reply::Answer(200, r#"{"allow":false,"reason":"hidden"}"#.to_owned()),
        2 => Reply::Answer(200, r#"{"allow":"hidden"}"#.to_owned()),
        3 => Reply::Raw(
            b"HTTP/1.1 200 X\r\nx-hidden: hidden\r\ncontent-length: 9\r\n\r\nhidden".to_vec(),
        ),
        _ => Reply::Answer(500, "hidden".to_owned()),
    })
    .await;
    let config = EndpointConfig {
        publish: Some(Secret::new(server.url("/hidden?hidden"))),
        headers: vec!["cookie".to_owned()],
        ..config(&server)
    };
    let endpoint = endpoint(&config);
    let mut headers = HeaderMap::new();
    headers.insert("cookie", "sid=hidden".parse().unwrap());
    let asked = Question {
        headers: &headers,
        ..question(Wish::Publish {
            channel: "c",
            data: b"hidden",
        })
    };
    let lines = Lines::default();
    let logging = tracing::subscriber::set_default(lines.clone());
    for _ in 0..8 {
        if let Err(error) = endpoint.ask(asked).await {
            assert!(!format!("{error} {error:?}").contains("hidden"), "{error}");
        }
    }
    drop(logging);
    let lines = lines.0.lock().unwrap();
    for (text, times) in [
        ("failed too often", 1),
        ("status 500", 4),
        ("at line 1 column", 1),
    ] {
        assert!(lines.matches(text).count() >= times, "{text}: {lines}");
    }
    assert!(
        !lines.contains("hidden") && !lines.contains(SECRET),
        "{lines}"
    );
}
