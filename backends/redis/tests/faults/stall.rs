//! A connection to Redis that is held up in one direction, and then goes on.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hubplane_backplane::{Event, Outgoing, Publication};
use tokio::time::sleep;

use crate::{
    proxy::{Direction, Proxy},
    server::{KEPT, Server},
    told::Told,
};

/// Longer than it takes to give a connection up, and to try again a few times.
const STALL: Duration = Duration::from_secs(12);

fn published(told: &Told) -> Vec<Publication> {
    let published = |event| match event {
        Event::Published(all) => all,
        _ => Vec::new(),
    };
    told.events().into_iter().flat_map(published).collect()
}

/// What is in the log comes once, and in the log's order, whatever it is named by.
async fn comes_once(direction: Direction) {
    let server = Server::start(KEPT);
    let proxy = Proxy::to(server.port).await;
    let told = Told::open(&format!("redis+streams://{}?streams=1", proxy.address)).await;
    let told = Arc::new(told);
    told.hears("a", "before").await;
    let ending = Arc::new(AtomicBool::new(false));
    // Publishes through the connection that is held up, and tries again as a hub does.
    let publishing = tokio::spawn({
        let (told, ending) = (Arc::clone(&told), Arc::clone(&ending));
        async move {
            let mut number = 0;
            while !ending.load(Ordering::Relaxed) {
                let mut outgoing = Outgoing::new("a", format!("own {number}"));
                outgoing.id = Some(format!("id{number}").into());
                let results = told.backplane.publish(vec![outgoing]).await;
                number += u32::from(results[0].is_ok());
                sleep(Duration::from_millis(20)).await;
            }
            number
        }
    });
    for round in 0..2 {
        sleep(Duration::from_millis(500)).await;
        proxy.hold(direction, true);
        for n in 0..30 {
            let data = format!("other {round} {n}");
            let add = ["xadd", "hubplane:stream:{0}", "*", "c", "a", "d", &data];
            server.ask(&add);
            sleep(STALL / 30).await;
        }
        proxy.hold(direction, false);
        told.until("up", |it| it.downs_and_ups() == "-+".repeat(round + 1))
            .await;
    }
    ending.store(true, Ordering::Relaxed);
    let own = publishing.await.unwrap();
    assert!(own > 10, "{own}");
    told.hears("a", "after").await;
    let all = published(&told);
    let offsets: Vec<_> = all.iter().map(|p| p.position.unwrap().offset).collect();
    assert!(offsets.is_sorted_by(|a, b| a < b), "{offsets:?}");
    let stored = server.ask(&["xlen", "hubplane:stream:{0}"]);
    assert_eq!(stored.trim(), all.len().to_string(), "each stored message");
    let others = all.iter().filter(|p| p.data.starts_with(b"other"));
    assert_eq!(others.count(), 60);
    assert_eq!(told.gaps(), []);
}

#[tokio::test]
async fn what_comes_after_a_stall_of_reading_comes_once() {
    comes_once(Direction::FromServer).await;
}

#[tokio::test]
async fn what_comes_after_a_stall_of_writing_comes_once() {
    comes_once(Direction::ToServer).await;
}
