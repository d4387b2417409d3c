//! Who takes part in a channel's presence, and what such sessions are told.

use std::sync::atomic::AtomicUsize;

use super::*;
use crate::{
    frame::Frames,
    presence::{Answer, Member, Question, SharedRoster},
};

/// Takes part under this name, if that is one, and watches.
fn present(client: &str, watch: bool) -> Option<Box<PresenceOptions>> {
    let member = (!client.is_empty()).then(|| Member {
        client: client.into(),
        user: None,
        info: None,
        verified: false,
    });
    Some(Box::new(PresenceOptions { member, watch }))
}

fn ask(shard: &Shard, key: Key) {
    let (reference, channel) = (None, "c".into());
    shard.command(key, Command::Members { reference, channel });
}

/// Long enough for what happened to be told.
async fn a_turn() {
    sleep(Duration::from_millis(250)).await;
}

fn soon_gone() -> Limits {
    Limits {
        presence_grace: Duration::ZERO,
        ..Limits::default()
    }
}

#[tokio::test]
async fn who_watches_is_told_who_comes_and_goes_and_nobody_else_is() {
    let test = async {
        let (hub, shard) = shard(soon_gone()).await;
        let (_, deaf) = listener(&shard, &SOUND);
        let (watcher, watched) = open(&shard, &SOUND);
        subscribe(&shard, watcher, present("w", true));
        let (key, wire) = open(&shard, &SOUND);
        subscribe(&shard, key, present("a", false));
        a_turn().await;
        let told = watched.text();
        assert!(["ok.+w.+a.", "ok.+a.+w."].contains(&&*told), "{told}");
        shard.command(
            key,
            Command::Unsubscribe {
                reference: None,
                which: Which::Channel("c".into()),
            },
        );
        a_turn().await;
        subscribe(&shard, key, present("b", false));
        a_turn().await;
        // As another, then as nobody.
        subscribe(&shard, key, present("d", false));
        a_turn().await;
        subscribe(&shard, key, present("", true));
        a_turn().await;
        shard.remove(watcher);
        a_turn().await;
        let told = &watched.text()[told.len()..];
        assert!(
            ["-a.+b.-b.+d.-d.", "-a.+b.+d.-b.-d."].contains(&told),
            "{told}"
        );
        assert_eq!(wire.text(), "ok.ok.ok.ok.ok.-d.-w.", "from when it watched");
        assert_eq!(deaf.text(), "ok.");
        shard.remove(key);
        assert!(shard.state.borrow().attending.is_empty());
        assert_eq!(hub.members("c", 10).count, 0);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn an_answer_has_its_place_among_the_changes() {
    let test = async {
        let (_, shard) = shard(soon_gone()).await;
        let (watcher, watched) = open(&shard, &SOUND);
        subscribe(&shard, watcher, present("", true));
        let mut expected = "ok.".to_owned();
        for n in 1..=3 {
            let (key, _) = open(&shard, &SOUND);
            ask(&shard, watcher);
            subscribe(&shard, key, present(&format!("m{n}"), false));
            a_turn().await;
            expected.push_str(&format!("+m{n}.of {n}."));
        }
        assert_eq!(watched.text(), expected);
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn who_asks_much_is_not_read_until_he_is_answered() {
    let test = async {
        let (_, shard) = shard(Limits {
            session_publishes: 2,
            presence_questions: 2,
            ..Limits::default()
        })
        .await;
        let (key, wire) = listener(&shard, &SOUND);
        let paused = || shard.status(key, Waker::noop()).unwrap().paused;
        ask(&shard, key);
        assert!(!paused());
        ask(&shard, key);
        assert!(paused());
        ask(&shard, key);
        a_turn().await;
        assert!(!paused());
        assert_eq!(wire.text(), "ok.error unavailable.of 0.of 0.");
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn a_refused_member_is_not_subscribed_and_those_who_wait_with_it_are() {
    let test = async {
        let (hub, shard) = shard(Limits {
            presence_members: 1,
            ..Limits::default()
        })
        .await;
        // As with a broker that routes by interest and has not confirmed yet.
        let channel = Channel::from("c");
        shard
            .state
            .borrow_mut()
            .topics
            .add(Channel::clone(&channel));
        let wires = ["a b", "a", "b", ""].map(|client| {
            let (key, wire) = open(&shard, &SOUND);
            subscribe(&shard, key, present(client, true));
            wire
        });
        let confirmed = Mail::Interest(vec![channel], Ok(()));
        shard.state.borrow_mut().take(&hub, confirmed);
        shard.flush_dirty();
        publish(&hub, &["x"]).await;
        a_turn().await;
        let told = wires.map(|wire| wire.text().replace("x.+a.", "+a.x."));
        let both = "ok.+a.x.";
        assert_eq!(
            told,
            ["error bad_presence.", both, "error limit_reached.", both]
        );
    };
    LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn one_session_cannot_fill_the_table_of_members() {
    let test = async {
        let (hub, shard) = shard(Limits {
            presence_session_members: 2,
            ..soon_gone()
        })
        .await;
        let (key, wire) = open(&shard, &SOUND);
        let join = |channel: &str| {
            let command = Command::Subscribe {
                reference: None,
                channel: channel.into(),
                tag: None,
                since: None,
                presence: present("a", false),
                max_rate: None,
            };
            shard.command(key, command);
            shard.flush_dirty();
        };
        for channel in ["1", "2", "3", "2"] {
            join(channel);
        }
        assert_eq!(wire.text(), "ok.ok.error limit_reached.ok.");
        assert_eq!(hub.presence_counts().0, 2);
        shard.command(
            key,
            Command::Unsubscribe {
                reference: None,
                which: Which::Channel("1".into()),
            },
        );
        join("3");
        assert_eq!(wire.text(), "ok.ok.error limit_reached.ok.ok.ok.");
        shard.remove(key);
        assert!(shard.state.borrow().memberships.is_empty());
    };
    LocalSet::new().run_until(test).await;
}

/// Writes many bytes for a list of members, and counts how often.
#[derive(Debug)]
struct Long;

static LISTS: AtomicUsize = AtomicUsize::new(0);
static LONG: Encoding = Encoding {
    format: &Long,
    framing: &Bare,
};

impl Format for Long {
    fn subprotocol(&self) -> &'static str {
        "long"
    }

    fn decoder(&self) -> Box<dyn Decoder> {
        SOUND.format.decoder()
    }

    fn reply(&self, reply: &Reply<'_>, out: &mut Vec<u8>) {
        SOUND.format.reply(reply, out);
    }

    fn push(&self, push: &Push<'_>, out: &mut Vec<u8>) {
        SOUND.format.push(push, out);
    }

    fn members(&self, _channel: &str, _roster: &Roster, out: &mut Vec<u8>) {
        LISTS.fetch_add(1, Relaxed);
        out.resize(out.len() + 300_000, b'm');
    }

    fn ending(&self, ending: Ending, out: &mut Vec<u8>) -> Close {
        SOUND.format.ending(ending, out)
    }
}

/// Long answers are written once for all who ask, a slice at a time, and not for those who are gone.
#[tokio::test]
async fn a_long_answer_is_encoded_once_and_leaves_others_their_turn() {
    let test = async {
        let (hub, shard) = shard(Limits::default()).await;
        let clients: Vec<_> = (0..4).map(|_| open(&shard, &LONG)).collect();
        let roster = Arc::new(SharedRoster {
            roster: hub.members("c", 1),
            frames: Frames::default(),
        });
        let answer = |key| Answer {
            question: Question {
                shard: 0,
                key,
                reference: None,
                channel: "c".into(),
            },
            roster: Arc::clone(&roster),
        };
        let answers = clients.iter().map(|(key, _)| answer(*key)).collect();
        shard.remove(clients[0].0);
        let mut state = shard.state.borrow_mut();
        for (key, _) in &clients[1..] {
            state.session(*key).unwrap().unanswered += 1;
        }
        state.take(&hub, Mail::Members(answers));
        for (told, more) in [(1, true), (2, true), (3, false)] {
            assert_eq!(state.tell_presence(&hub), more);
            state.flush_dirty(&hub);
            let has = |it: &&(Key, Wire)| it.1.text().len() == 300_003;
            assert_eq!(clients.iter().filter(has).count(), told);
        }
        assert_eq!(LISTS.load(Relaxed), 1);
    };
    LocalSet::new().run_until(test).await;
}
