//! An instance whose process stands still until the broker has given up its connection. The test is a program of its own:
//! it runs itself a second time as that instance, which prints what it hears, and stops it with SIGSTOP.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test says by failing what it did not get, and its other process by printing"
)]

mod broker;

use std::{env, process::Stdio, time::Duration};

use broker::{exchange, on_exchange, open, outside, plain};
use hubplane_backplane::Event;
use lapin::{BasicProperties, options::BasicPublishOptions};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};

/// The argument of the second process.
const LISTEN: &str = "listen";
/// RabbitMQ gives up a connection whose heartbeat is 10 s after 20 s.
const FROZEN: Duration = Duration::from_secs(25);

#[tokio::main]
async fn main() {
    let mut arguments = env::args().skip(1);
    match arguments.next() {
        Some(listen) if listen == LISTEN => instance(&arguments.next().unwrap()).await,
        _ => {
            each_message_in_order().await;
            println!(
                "test a_frozen_instance_hears_each_message_in_order_and_each_with_an_id_once ... ok"
            );
        }
    }
}

/// Prints the numbers that arrive, and the gaps.
async fn instance(address: &str) {
    let mut opened = open(address).await;
    println!("up");
    while let Some(event) = opened.events.recv().await {
        match event {
            Event::Published(messages) => {
                for message in messages {
                    println!("{}", str::from_utf8(&message.data).unwrap());
                }
            }
            Event::Gap { cause, .. } => println!("gap {cause}"),
            Event::Waiting(_)
            | Event::Refused { .. }
            | Event::Down(_)
            | Event::Up
            | Event::Progress(_) => {}
        }
    }
}

async fn signal(child: &Child, signal: &str) {
    let id = child.id().unwrap().to_string();
    let sent = Command::new("kill").args([signal, &id]).status().await;
    assert!(sent.unwrap().success());
}

async fn each_message_in_order() {
    let address = on_exchange(&plain(), &exchange("frozen-process"));
    let mut child = Command::new(env::current_exe().unwrap())
        .args([LISTEN, &address])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next_line().await.unwrap().unwrap(), "up");
    let mut number = 0;
    publish(&mut number, Duration::from_secs(2)).await;
    signal(&child, "-STOP").await;
    publish(&mut number, FROZEN).await;
    signal(&child, "-CONT").await;
    publish(&mut number, Duration::from_secs(5)).await;
    let mut heard = Vec::new();
    while heard.last() != Some(&(number - 1).to_string()) {
        let line = timeout(broker::PATIENCE, lines.next_line()).await;
        heard.push(line.expect("a message in time").unwrap().unwrap());
    }
    let mut next = 0;
    for (index, line) in heard.iter().enumerate() {
        let around = &heard[index.saturating_sub(5)..heard.len().min(index + 10)];
        let heard: usize = line.parse().unwrap();
        if heard != next {
            // The acknowledgement of the last few was on its way when the connection ended. Those without an id come again
            // if none with an id stands among them: two equal messages may be two.
            let unnamed =
                heard < next && !heard.is_multiple_of(10) && heard / 10 == (next - 1) / 10;
            assert!(unnamed, "{heard} and not {next}, of {number}: {around:?}");
        }
        next = heard + 1;
    }
    child.kill().await.unwrap();
}

/// As another program does: every tenth message has an id.
async fn publish(number: &mut usize, duration: Duration) {
    let (_connection, channel) = outside().await;
    let exchange = exchange("frozen-process");
    let end = Instant::now() + duration;
    while Instant::now() < end {
        let properties = match *number % 10 {
            0 => BasicProperties::default().with_message_id(number.to_string().into()),
            _ => BasicProperties::default(),
        };
        let (options, body) = (BasicPublishOptions::default(), number.to_string());
        let (to, key) = (exchange.as_str().into(), "news".into());
        let published = channel.basic_publish(to, key, options, body.as_bytes(), properties);
        published.await.unwrap().await.unwrap();
        *number += 1;
        sleep(Duration::from_millis(5)).await;
    }
}
