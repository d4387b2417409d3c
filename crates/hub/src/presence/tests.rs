//! Some instances wired to each other, on a clock and a wire of the test's own.

use super::*;

const GRACE: Duration = Duration::from_secs(5);

fn presence(id: u128, most: usize) -> Presence {
    let limits = Limits {
        presence_members: most,
        presence_grace: GRACE,
        ..Limits::default()
    };
    Presence::new(id, &limits)
}

struct Net {
    now: Instant,
    nodes: Vec<Option<Presence>>,
    /// What each has told its subscribers: `+client`, `-client`.
    seen: Vec<Vec<String>>,
    /// Instances that nothing reaches.
    deaf: HashSet<usize>,
    /// Everything that was published.
    log: Vec<Bytes>,
}

impl Net {
    fn new(count: u128) -> Self {
        let node = |id| Some(presence(id + 1, 1_000));
        let mut net = Self {
            now: Instant::now(),
            nodes: (0..count).map(node).collect(),
            seen: vec![Vec::new(); count as usize],
            deaf: HashSet::new(),
            log: Vec::new(),
        };
        net.pass(200);
        net
    }

    fn at(&mut self, node: usize) -> &mut Presence {
        self.nodes[node].as_mut().unwrap()
    }

    fn join(&mut self, node: usize, client: &str) {
        self.at(node).join(&"c".into(), member(client)).unwrap();
    }

    fn leave(&mut self, node: usize, client: &str) {
        let now = self.now;
        self.at(node).leave(&"c".into(), client, now);
    }

    /// Lets milliseconds go by, a tenth of a second at a time.
    fn pass(&mut self, millis: u64) {
        for _ in 0..millis.div_ceil(100) {
            self.now += Duration::from_millis(100);
            let mut wire = Vec::new();
            for (at, node) in self.nodes.iter_mut().enumerate() {
                let Some(node) = node else { continue };
                for change in node.tick(self.now, true) {
                    let sign = if change.joined { '+' } else { '-' };
                    self.seen[at].push(format!("{sign}{}", change.member.client));
                }
                wire.extend(node.speak(self.now));
            }
            for data in wire {
                for (at, node) in self.nodes.iter_mut().enumerate() {
                    if let Some(node) = node
                        && !self.deaf.contains(&at)
                    {
                        node.receive(&data, self.now);
                    }
                }
                self.log.push(data);
            }
        }
    }

    fn seen(&self, at: usize) -> String {
        self.seen[at].join(" ")
    }
}

fn member(client: &str) -> Member {
    Member {
        client: client.into(),
        user: Some("ann".into()),
        info: Some("{\"a\":1}".into()),
        verified: false,
    }
}

#[test]
fn all_see_who_comes_and_goes_and_what_it_tells() {
    let mut net = Net::new(3);
    net.join(0, "a");
    net.pass(200);
    for node in 0..3 {
        assert_eq!(net.at(node).members("c", 10), [member("a")]);
    }
    net.leave(0, "a");
    net.pass(4_800);
    assert_eq!(net.seen(2), "+a", "within the grace it is still there");
    net.pass(500);
    for node in 0..3 {
        assert_eq!(
            (net.seen(node), net.at(node).count("c")),
            ("+a -a".into(), 0)
        );
    }
}

#[test]
fn without_members_an_instance_says_one_word_at_its_start() {
    let mut net = Net::new(3);
    net.pass(60_000);
    assert_eq!(net.log.len(), 3);
}

#[test]
fn who_comes_back_anywhere_within_the_grace_was_never_away() {
    let mut net = Net::new(3);
    net.join(0, "a");
    net.pass(200);
    for (from, to) in [(0, 1), (1, 2), (2, 2), (2, 0)] {
        net.leave(from, "a");
        net.pass(4_000);
        net.join(to, "a");
        net.pass(9_000);
    }
    for node in 0..3 {
        assert_eq!(net.seen(node), "+a");
    }
}

#[test]
fn two_sessions_of_one_client_are_one_member() {
    let mut net = Net::new(2);
    net.join(0, "a");
    net.join(0, "a");
    net.join(1, "a");
    net.pass(200);
    net.leave(0, "a");
    net.pass(6_000);
    net.leave(1, "a");
    net.pass(6_000);
    assert_eq!((net.seen(0), net.seen(1)), ("+a".into(), "+a".into()));
    net.leave(0, "a");
    net.pass(6_000);
    assert_eq!((net.seen(0), net.seen(1)), ("+a -a".into(), "+a -a".into()));
}

#[test]
fn a_dead_instances_members_leave_once_unless_they_came_elsewhere() {
    let mut net = Net::new(3);
    net.join(0, "a");
    net.join(0, "b");
    net.pass(200);
    net.nodes[0] = None;
    net.join(1, "b");
    net.pass(9_000);
    assert!(!net.seen(2).contains('-'));
    net.pass(11_000);
    for node in 1..3 {
        assert_eq!(net.seen[node].iter().filter(|it| *it == "-a").count(), 1);
        assert!(!net.seen(node).contains("-b"));
        assert_eq!(net.at(node).count("c"), 1);
    }
    // Back with the same name and a new origin.
    net.nodes[0] = Some(presence(77, 1_000));
    net.join(0, "a");
    net.pass(2_000);
    assert_eq!(net.seen[2].iter().filter(|it| *it == "+a").count(), 2);
    assert_eq!(net.at(0).count("c"), 2, "the new one has asked the others");
}

#[test]
fn what_was_lost_is_asked_for() {
    let mut net = Net::new(2);
    net.join(0, "a");
    net.pass(200);
    net.deaf.insert(1);
    net.leave(0, "a");
    for n in 0..500 {
        net.join(0, &format!("m{n}"));
    }
    net.pass(300);
    net.deaf.clear();
    assert_eq!(net.at(1).count("c"), 1);
    net.pass(12_000);
    assert_eq!(net.at(1).count("c"), 500);
    assert_eq!(
        net.seen[1].iter().filter(|it| it.starts_with('-')).count(),
        1
    );
    assert!(net.log.iter().all(|data| data.len() <= wire::MOST_BYTES));
    assert!(
        net.log
            .iter()
            .any(|data| data.starts_with(b"{\"v\":1,\"from\":\"1\",\"type\":\"snapshot\""))
    );
}

#[test]
fn messages_are_bounded_whatever_members_say() {
    let mut one = presence(1, 1_000);
    for (n, text) in ["\u{1}", "\"", "é", "x"]
        .iter()
        .cycle()
        .take(400)
        .enumerate()
    {
        let user = text.repeat(255 / text.len());
        let info = serde_json::to_string(&text.repeat(160 / text.len())).unwrap();
        let channel = Channel::from(["\"", "é"][n % 2].repeat(100));
        let (user, info) = (Some(user.into()), Some(info.into()));
        let client = format!("\"{n}").into();
        one.join(
            &channel,
            Member {
                client,
                user,
                info,
                verified: false,
            },
        )
        .unwrap();
    }
    let sizes: Vec<_> = one.speak(Instant::now()).map(|word| word.len()).collect();
    assert!(
        sizes.iter().all(|size| *size <= wire::MOST_BYTES),
        "{sizes:?}"
    );
}

#[test]
fn what_comes_again_or_late_changes_nothing() {
    let mut net = Net::new(2);
    net.join(0, "a");
    net.pass(200);
    net.leave(0, "a");
    net.pass(6_000);
    let now = net.now;
    for data in net.log.clone() {
        net.at(1).receive(&data, now);
    }
    net.pass(20_000);
    assert_eq!(net.seen(1), "+a -a");
}

#[test]
fn who_says_goodbye_leaves_its_members_the_grace() {
    let mut net = Net::new(2);
    net.join(0, "a");
    net.join(0, "b");
    net.pass(200);
    let word = net.at(0).bye();
    net.nodes[0] = None;
    let now = net.now;
    for data in word.into_iter().chain(net.log.clone()) {
        net.at(1).receive(&data, now);
    }
    net.join(1, "b");
    net.pass(5_200);
    assert!(net.seen(1).ends_with("-a") && !net.seen(1).contains("-b"));
}

#[test]
fn who_does_not_hear_thinks_nobody_dead() {
    let mut net = Net::new(2);
    net.join(0, "a");
    net.pass(200);
    let mut now = net.now;
    for _ in 0..60 {
        now += Duration::from_secs(1);
        net.at(1).tick(now, false);
    }
    net.at(1).tick(now, true);
    assert_eq!(net.at(1).count("c"), 1);
}

#[test]
fn limits_hold_for_clients_and_for_the_broker() {
    let now = Instant::now();
    let mut small = presence(1, 2);
    let c: Channel = "c".into();
    for (client, user, info, why) in [
        ("", "", "1", Refusal::Client),
        ("a b", "", "1", Refusal::Client),
        (&*"x".repeat(65), "", "1", Refusal::Client),
        ("a", &*"x".repeat(256), "1", Refusal::User),
        ("a", "", "{", Refusal::Info),
        (
            "a",
            "",
            &*format!("\"{}\"", "x".repeat(1_024)),
            Refusal::Info,
        ),
    ] {
        let (user, info) = (Some(user.into()), Some(info.into()));
        let client = client.into();
        assert_eq!(
            small.join(
                &c,
                Member {
                    client,
                    user,
                    info,
                    verified: false
                }
            ),
            Err(why)
        );
    }
    small.join(&c, member("a")).unwrap();
    small.join(&c, member("b")).unwrap();
    assert_eq!(small.join(&c, member("z")), Err(Refusal::Full));
    small.join(&c, member("a")).unwrap();
    let mut other = presence(2, 10);
    other.join(&c, member("z")).unwrap();
    for data in other.speak(now) {
        small.receive(&data, now);
    }
    for bad in [
        "",
        "{}",
        "[]",
        "{\"v\":2,\"from\":\"3\",\"type\":\"bye\"}",
        "{\"v\":1,\"from\":\"x\",\"type\":\"bye\"}",
        "{\"v\":1,\"from\":\"3\",\"type\":\"snapshot\",\"n\":1,\"part\":1,\"of\":1,\"ops\":[]}",
    ] {
        small.receive(bad.as_bytes(), now);
    }
    small.receive(&[0xff; 9], now);
    assert_eq!((small.count("c"), small.skipped()), (2, (7, 1)));
}

#[test]
fn a_snapshot_of_known_members_needs_no_room_and_the_last_number_breaks_nothing() {
    let now = Instant::now();
    let mut one = presence(1, 3);
    let send = |one: &mut Presence, text: &str| one.receive(text.as_bytes(), now);
    let op = |id: &str| format!("{{\"c\":\"c\",\"id\":\"{id}\"}}");
    let all = |dedup_cache: &[&str]| {
        dedup_cache
            .iter()
            .map(|id| op(id))
            .collect::<Vec<_>>()
            .join(",")
    };
    let head = "{\"v\":1,\"from\":\"2\",\"type\":";
    let ops = all(&["x", "y"]);
    send(
        &mut one,
        &format!("{head}\"diff\",\"n\":1,\"whole\":true,\"ops\":[{ops}]}}"),
    );
    let ops = all(&["x", "y", "z"]);
    send(
        &mut one,
        &format!("{head}\"snapshot\",\"n\":9,\"part\":0,\"of\":1,\"ops\":[{ops}]}}"),
    );
    assert_eq!((one.count("c"), one.skipped()), (3, (0, 0)));
    let last = u64::MAX;
    send(
        &mut one,
        &format!(
            "{head}\"diff\",\"n\":{last},\"whole\":true,\"ops\":[{}]}}",
            op("x")
        ),
    );
    send(
        &mut one,
        &format!("{head}\"diff\",\"n\":{last},\"ops\":[{}]}}", op("y")),
    );
    one.tick(now + GRACE, true);
    assert_eq!(one.members("c", 9).len(), 1);
}
