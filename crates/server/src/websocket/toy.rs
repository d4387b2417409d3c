//! A format that needs everything a format can have, over real sockets.

mod client;
mod format;
mod mounted;

use std::time::Duration;

use hubplane_hub::Limits;
use tokio::{task::LocalSet, time::sleep};

use self::client::{Client, Got, hub};

#[tokio::test]
async fn one_message_holds_several_commands_and_the_session_has_a_state() {
    let test = async {
        let shard = hub("toy-state", Limits::default()).await;
        let mut client = Client::connect(&shard).await;
        assert_eq!(client.hears_of("YOU ARE ").await.split('.').count(), 4);
        client
            .say("HELLO ann\nSUB 1 c\nDANCE\nUNSUB 1\nUNSUB 1")
            .await;
        for said in [
            "HI",
            "SUBSCRIBED 1 false [] 1",
            "malformed DANCE",
            "LEFT 1",
            "not_subscribed UNSUB",
        ] {
            client.hears(said).await;
        }
        let mut rude = Client::connect(&shard).await;
        rude.hears_of("YOU ARE ").await;
        rude.say("SUB 1 c\nHELLO bob").await;
        assert_eq!(rude.hear().await, Got::Closed(4002), "a code of its own");
        let mut wordy = Client::connect(&shard).await;
        wordy.hears_of("YOU ARE ").await;
        wordy.send(0x81, "HELLO eve").await;
        assert_eq!(wordy.hear().await, Got::Closed(4001));
    };
    LocalSet::new().run_until(test).await;
}

/// Small tails and such that are written apart from their heads.
#[tokio::test]
async fn each_subscription_has_a_head_in_front_of_what_all_share() {
    let test = async {
        let shard = hub("toy-heads", Limits::default()).await;
        let mut client = Client::named(&shard, "ann").await;
        client.say("SUB 1 c\nSUB 2 c\nSUB 3 d").await;
        for said in ["1 false [] 1", "2 false [] 1", "3 false [] 1"] {
            client.hears(&format!("SUBSCRIBED {said}")).await;
        }
        let mut publisher = Client::named(&shard, "bob").await;
        publisher.say("AUTH open-sesame\nPUB c x").await;
        for tag in ["1", "2"] {
            client.hears(&format!("{tag}: x")).await;
        }
        let long = "y".repeat(60_000);
        for _ in 0..3 {
            let message = hubplane_backplane::Outgoing::new("c", long.clone());
            shard.hub().publish(vec![message]).await.unwrap();
        }
        for _ in 0..3 {
            for tag in ["1", "2"] {
                client.hears(&format!("{tag}: {long}")).await;
            }
        }
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_publisher_is_left_out_on_every_instance() {
    let test = async {
        let here = hub("toy-out", Limits::default()).await;
        let there = hub("toy-out", Limits::default()).await;
        let mut publisher = Client::named(&here, "ann").await;
        let mut beside = Client::named(&here, "bob").await;
        // The first session of the other hub, as the publisher is of this one.
        let mut elsewhere = Client::named(&there, "cid").await;
        for client in [&mut publisher, &mut beside, &mut elsewhere] {
            client.say("SUB 1 c").await;
            client.hears_of("SUBSCRIBED 1 false []").await;
        }
        publisher.say("AUTH open-sesame\nPUB c x").await;
        publisher.hears("WELCOME true").await;
        publisher.hears_of("PUBLISHED ").await;
        beside.hears("1: x").await;
        elsewhere.hears("1: x").await;
        elsewhere.say("AUTH open-sesame\nPUB c y").await;
        publisher.hears("1: y").await;
        beside.hears("1: y").await;
        elsewhere.hears("WELCOME true").await;
        elsewhere.hears_of("PUBLISHED ").await;
        beside.say("AUTH open-sesame\nPUB c z").await;
        elsewhere.hears("1: z").await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_client_may_show_later_who_it_is_and_is_gone_when_that_is_over() {
    let test = async {
        let shard = hub("toy-grant", Limits::default()).await;
        let mut client = Client::named(&shard, "ann").await;
        client.say("PUB c x\nAUTH abracadabra\nPUB c x").await;
        for said in ["forbidden PUB", "unauthorized AUTH", "forbidden PUB"] {
            client.hears(said).await;
        }
        client.say("AUTH a-moment\nPUB c x").await;
        client.hears("WELCOME true").await;
        client.hears_of("PUBLISHED ").await;
        let mut renewed = Client::named(&shard, "bob").await;
        renewed.say("AUTH a-moment\nAUTH open-sesame").await;
        renewed.hears("WELCOME true").await;
        renewed.hears("WELCOME true").await;
        client.hears("BYE Expired").await;
        assert_eq!(client.hear().await, Got::Closed(4010));
        renewed.say("PUB c x").await;
        renewed.hears_of("PUBLISHED ").await;
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn it_asks_in_its_own_way_whether_a_client_is_there() {
    let test = async {
        let limits = Limits {
            ping_interval: Duration::from_millis(400),
            pong_timeout: Duration::from_millis(400),
            ..Limits::default()
        };
        let shard = hub("toy-alive", limits).await;
        let mut client = Client::named(&shard, "ann").await;
        for _ in 0..3 {
            client.hears("?").await;
            client.say(".").await;
        }
        client.hears("?").await;
        client.hears("BYE NoPong").await;
        assert_eq!(client.hear().await, Got::Closed(4011));
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_answer_to_a_subscribe_carries_what_was_missed_and_who_is_there() {
    let test = async {
        let shard = hub("toy-inside", Limits::default()).await;
        let mut client = Client::named(&shard, "ann").await;
        client
            .say("AUTH open-sesame\nPUB c 1\nPUB c 2\nPUB c 3")
            .await;
        client.hears("WELCOME true").await;
        let first = client.hears_of("PUBLISHED ").await;
        for _ in 0..2 {
            client.hears_of("PUBLISHED ").await;
        }
        sleep(Duration::from_millis(100)).await;
        let mut other = Client::named(&shard, "bob").await;
        other.say(&format!("SUB 1 c {first}")).await;
        other.hears(r#"SUBSCRIBED 1 true ["2", "3"] 1"#).await;
        client.say(&format!("SUB 1 c {first}\nPUB c 4")).await;
        client.hears("SUBSCRIBED 1 true [] 2").await;
        other.hears("1: 4").await;
    };
    LocalSet::new().run_until(test).await;
}
