//! `hubplane conformance`: on each broker, and that it can fail.

use std::{
    process::{Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use hubplane_conformance::{Guarantee, cases, required};
use serde_json::Value;

use crate::{
    cluster::{kafka_tool, redis_cli},
    hub::{Running, directory, hubplane, output, unique},
};

fn conformance(arguments: &[&str]) -> (Output, String) {
    let output = output(&[&["conformance"], arguments].concat());
    let said = String::from_utf8([&*output.stdout, b"\n", &*output.stderr].concat()).unwrap();
    (output, said)
}

/// Everything that needs no restart is held, and the table has each row.
fn holds(address: &str) {
    let (output, said) = conformance(&["--backplane", address]);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let table = String::from_utf8(output.stdout).unwrap();
    for guarantee in Guarantee::ALL {
        let row = |line: &&str| line.starts_with(&format!("{:11}", guarantee.as_str()));
        let row = table
            .lines()
            .find(row)
            .unwrap_or_else(|| panic!("{guarantee:?}"));
        let found = match guarantee {
            Guarantee::OnRestart => "not tried: ",
            Guarantee::Durability => " held in 1 of 3 cases",
            _ => " held",
        };
        assert!(row.contains(found), "{said}");
    }
    let disturbing = cases().iter().filter(|case| case.disturbs).count();
    let held = cases().len() - disturbing;
    let sum = format!("{held} held, 0 not held, {disturbing} not tried");
    assert!(table.contains(&sum), "{said}");
    assert!(!table.contains("left on the broker"), "{said}");
    // One line for each case, on standard error.
    let progress = String::from_utf8(output.stderr).unwrap();
    assert_eq!(progress.lines().count(), cases().len(), "{said}");
}

fn json(arguments: &[&str]) -> (Option<i32>, Value) {
    let (output, said) = conformance(&[arguments, &["--json"]].concat());
    let report = serde_json::from_slice(&output.stdout).expect(&said);
    (output.status.code(), report)
}

/// The finding of a row.
fn finding<'a>(report: &'a Value, guarantee: &str) -> &'a Value {
    let all = report["guarantees"].as_array().unwrap();
    let row = all.iter().find(|row| row["guarantee"] == guarantee);
    row.expect(guarantee)
}

/// What a program prints, as lines.
fn lines(command: &mut Command) -> Vec<String> {
    let output = command.stdin(Stdio::null()).output().unwrap();
    // Kafka's programs say the same thousands of times.
    let said = String::from_utf8_lossy(&output.stderr);
    let end: Vec<_> = said.lines().rev().take(5).collect();
    assert!(output.status.success(), "{command:?}: {end:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// The Redis keys that begin so; what the command removes ends a moment later.
fn keys(prefix: &str) -> Vec<String> {
    sleep(Duration::from_millis(200));
    lines(redis_cli().args(["--scan", "--pattern", &format!("{prefix}*")]))
}

fn redis_streams(prefix: &str) -> String {
    let broker = required("HUBPLANE_TEST_REDIS").replace("redis://", "redis+streams://");
    format!("{broker}?prefix={prefix}")
}

#[test]
fn memory_holds() {
    holds("memory:");
}

/// By a user who may nothing but publish and subscribe under a prefix.
#[test]
fn redis_holds_within_a_prefix() {
    let broker = required("HUBPLANE_TEST_REDIS_ACL");
    holds(&format!("{broker}?prefix=hp-e2e-{}:", unique()));
}

#[test]
fn redis_streams_hold_and_nothing_is_left() {
    let prefix = format!("e2e-{}:", unique());
    holds(&redis_streams(&prefix));
    assert_eq!(keys(&prefix), [""; 0]);
}

#[test]
fn kafka_holds_and_no_topic_is_left() {
    let topic = format!("e2e-{}", unique());
    let broker = required("HUBPLANE_TEST_KAFKA");
    holds(&format!("{broker}?topic={topic}&partitions=3"));
    let mut list = topics();
    let mut left = lines(list.arg("--list"));
    left.retain(|name| name.starts_with(&topic));
    assert_eq!(left, [""; 0]);
}

#[test]
fn rabbitmq_holds_and_no_exchange_is_left() {
    let exchange = format!("e2e-{}", unique());
    let broker = required("HUBPLANE_TEST_RABBITMQ");
    holds(&format!("{broker}?exchange={exchange}"));
    holds(&format!(
        "{}?exchange={exchange}",
        broker.replace("amqp://", "amqp+streams://")
    ));
    for list in ["list_exchanges", "list_queues"] {
        let control = required("HUBPLANE_TEST_RABBITMQ_CONTROL").replace("{}", "ctl");
        let mut ctl = Command::new("sh");
        let mut left = lines(ctl.args(["-c", &format!("{control} -q {list} name")]));
        left.retain(|name| name.contains(&exchange));
        assert_eq!(left, [""; 0]);
    }
}

fn topics() -> Command {
    let mut command = kafka_tool("org.apache.kafka.tools.TopicCommand");
    let broker = required("HUBPLANE_TEST_KAFKA").replace("kafka://", "");
    command.args(["--bootstrap-server", &broker]);
    command
}

/// A topic of which Kafka takes less than is promised, where no other may be created.
#[test]
fn a_broken_promise_is_found() {
    let topic = format!("e2e-{}", unique());
    lines(topics().args([
        "--create",
        "--topic",
        &topic,
        "--partitions",
        "2",
        "--config",
        "max.message.bytes=20000",
    ]));
    let address = format!(
        "{}?topic={topic}&create=false",
        required("HUBPLANE_TEST_KAFKA")
    );
    let (output, said) = conformance(&["--backplane", &address]);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("create=false") && said.contains("--in-place"),
        "{said}"
    );

    let chosen = [
        "payloads_are_limited_as_declared",
        "names_are_limited_as_declared",
        "history_is_as_declared",
        "trimmed_history_is_said",
        "spaces_never_hear_each_other",
    ];
    let mut arguments = vec!["--backplane", &address, "--in-place"];
    arguments.extend(chosen.iter().flat_map(|name| ["--case", name]));
    let (code, report) = json(&arguments);
    assert_eq!(
        (code, &report["held"]),
        (Some(1), &false.into()),
        "{report:#}"
    );
    let payload = finding(&report, "payload");
    assert_eq!(
        (&payload["finding"], &payload["promise"]),
        (&"not_held".into(), &"1000000 B".into())
    );
    let text = payload["text"].as_str().unwrap();
    assert!(
        text.contains("a payload of 1000000 bytes is not taken"),
        "{text}"
    );
    for (guarantee, found) in [
        ("channel", "held"),
        ("replay", "held_in_part"),
        ("contract", "not_tried"),
        ("order", "not_tried"),
    ] {
        assert_eq!(finding(&report, guarantee)["finding"], found, "{report:#}");
    }
    let (output, said) = conformance(&arguments);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said.contains("NOT HELD: payloads_are_limited_as_declared"),
        "{said}"
    );
    assert!(
        !said.contains("panicked") && !said.contains("backtrace"),
        "{said}"
    );
}

/// A command that ends what a test started, run when dropped: also when the test fails.
struct Ended(String);

impl Drop for Ended {
    fn drop(&mut self) {
        _ = Command::new("sh").args(["-c", &self.0]).status();
    }
}

/// A Redis of this test's own is killed and started again by the command.
#[test]
fn a_restart_is_tried_where_it_is_allowed() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/brokers/redis.sh");
    let place = directory("conformance");
    let broker = place.join("redis");
    let control = format!("{script} {{}} {}", broker.display());
    let _ended = Ended(control.replace("{}", "kill"));
    lines(Command::new("sh").args(["-c", &control.replace("{}", "start")]));
    let ports = std::fs::read_to_string(broker.join("ports")).unwrap();
    let port = ports.split_whitespace().next().unwrap();
    let address = format!("redis+streams://127.0.0.1:{port}");
    let mut arguments = vec!["--backplane", &address, "--disturb", &control];
    let disturbing = cases().into_iter().filter(|case| case.disturbs);
    arguments.extend(disturbing.flat_map(|case| ["--case", case.name]));
    let (code, report) = json(&arguments);
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!(finding(&report, "on restart")["finding"], "held");
    let durability = finding(&report, "durability")["text"].as_str().unwrap();
    assert_eq!(durability, "held, as far as a program can try it");
}

#[test]
fn an_interrupted_run_cleans_up_and_says_so() {
    let prefix = format!("e2e-{}:", unique());
    let mut running = Running::new(
        hubplane()
            .args([
                "conformance",
                "--json",
                "--backplane",
                &redis_streams(&prefix),
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    // In the midst of a case: something is there.
    let deadline = Instant::now() + Duration::from_secs(20);
    while keys(&prefix).is_empty() {
        assert!(Instant::now() < deadline, "a case begins");
    }
    let kill = ["-INT", &running.child().id().to_string()];
    lines(Command::new("kill").args(kill));
    let output = running.output();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.ends_with("hubplane: interrupted\n"), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let last = report["cases"].as_array().unwrap().last().unwrap().clone();
    assert_eq!(last["reason"], "interrupted");
    assert_eq!(keys(&prefix), [""; 0]);
}

#[test]
fn what_is_wrong_ends_with_2() {
    for (arguments, word) in [
        (&["--backplane", "pigeon:"][..], "there are memory:"),
        (&["--backplane", "memory:?x=1"], "\"x\""),
        (&["--backplane", "memory:", "--case", "dance"], "--list"),
        (&["--backplane", "memory:", "--in-place"], "for brokers"),
        (&["--backplane", "redis://h", "--disturb", "reboot"], "{}"),
        (&[], "--backplane"),
    ] {
        let (output, said) = conformance(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(word), "{arguments:?}: {said}");
    }
    let (output, said) = conformance(&["--list"]);
    assert!(output.status.success());
    assert!(
        cases().iter().all(|case| said.contains(case.name)),
        "{said}"
    );
    let (output, _) = conformance(&["--backplane", "redis://u:canary@127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8(output.stderr).unwrap().contains("canary"));
}
