use std::time::Duration;

use async_trait::async_trait;
use hubplane_backplane::{History, Outgoing, Receipt};

use super::*;
use crate::limits::Limits;

/// A broker that is away, and what it was asked.
#[derive(Debug, Default)]
struct Away(Mutex<Vec<String>>);

impl Away {
    fn note(&self, what: &str, channels: &[Channel]) {
        self.0
            .lock()
            .unwrap()
            .push(format!("{what} {}", channels.join(" ")));
    }
}

#[async_trait]
impl Backplane for Away {
    async fn publish(&self, _: Vec<Outgoing>) -> Vec<Result<Receipt, Error>> {
        Vec::new()
    }

    async fn subscribe(&self, channels: &[Channel]) -> Result<(), Error> {
        self.note("subscribe", channels);
        Err(Error::new(ErrorKind::Unavailable, "away", "as tested"))
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), Error> {
        self.note("unsubscribe", channels);
        Ok(())
    }

    fn lane(&self, _: &str) -> Option<u32> {
        None
    }

    fn renew(&self) {}

    fn history(&self) -> Option<&dyn History> {
        None
    }

    async fn close(&self) {}
}

#[tokio::test]
async fn what_could_not_be_subscribed_is_given_back() {
    let interest = Interest::new(true, Duration::ZERO);
    let away = Away::default();
    let (shard, mut mails) = mpsc::channel(8);
    assert!(!interest.add(0, &"a".into()), "not there yet");
    let shards = [shard];
    let log = Log::new(&Limits::default());
    let beacon_now = Notify::new();
    tokio::select! {
        () = interest.run(&away, &shards, &log, &beacon_now) => {}
        mail = mails.recv() => assert!(matches!(mail, Some(Mail::Interest(_, Err(_)))), "the shard is told"),
    }
    assert_eq!(*away.0.lock().unwrap(), ["subscribe a", "unsubscribe a"]);
    assert!(
        !interest.is_active(&"a".into()),
        "its messages don't arrive"
    );
    let everything = Interest::new(false, Duration::ZERO);
    assert!(everything.is_active(&"a".into()));
}
