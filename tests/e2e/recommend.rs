//! `hubplane recommend`: what it answers, and by which exit code.

use std::fs;

use serde_json::Value;

use crate::hub::{directory, output};
use hubplane_bench::sample;

#[test]
fn figures_and_promises_answer_needs() {
    let place = directory("recommend");
    let file = place.join("run.json");
    fs::write(&file, serde_json::to_string(&sample::run()).unwrap()).unwrap();
    let figures = ["recommend", "--figures", file.to_str().unwrap()];
    let run = |needs: &[&str]| output(&[&figures[..], needs].concat());
    let done = run(&["--rate", "5k", "--max-p99", "50ms"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    for part in [
        "measured on 25 November 2026 on AMD EPYC 7B13",
        "Meet all requirements, by CPU time per delivery of hubs and broker, the least first:\n  redis,",
        "5,000 messages a second with p99 of at most 50.0 ms: p99 733 µs at 8,000 messages a second (measured)",
        "no   several hub processes share the messages: its messages stay inside one process",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let done = run(&["--rate", "5k", "--must-replay", "--json"]);
    let answer: Value = serde_json::from_slice(&done.stdout).unwrap();
    let of = |name: &str| {
        let all = answer["backends"].as_array().unwrap().iter();
        let found = all.clone().find(|it| it["name"] == name);
        found.unwrap()["answer"].clone()
    };
    assert_eq!((of("kafka"), of("redis")), ("yes".into(), "no".into()));
    assert_eq!(
        run(&["--max-p99", "1ms", "--must-replay"]).status.code(),
        Some(1)
    );
    for wrong in [
        &["--rate", "fast"][..],
        &["--have", "pigeons"],
        &["--scenario", "large"],
    ] {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn without_figures_it_says_so() {
    let promises = [
        "recommend",
        "--promises-only",
        "--one-process",
        "--one-order",
    ];
    let done = output(&promises);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    assert!(
        said.starts_with("Judged only by what each backend declares"),
        "{said}"
    );
    assert!(said.contains("Meet all requirements:\n  memory"), "{said}");
}

#[test]
fn the_figures_that_come_along_are_said_to_be_another_machines() {
    let done = output(&["recommend", "--have", "redis", "--rate", "100"]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{done:?}");
    assert!(
        said.contains("yours will differ") && said.contains("measured on"),
        "{said}"
    );
}
