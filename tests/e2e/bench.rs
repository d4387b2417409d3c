//! `hubplane bench`: that it measures, finds what is lost, and says what is wrong with what it is asked for.

use std::fs;

use hubplane_conformance::required;
use serde_json::Value;

use crate::hub::{directory, output};

/// A scenario small enough for any machine.
const SMALL: &str = "name = \"small\"\nwhat = \"ten channels, two subscribers each\"\nconnections = 20\nchannels = 10\n\
                     payload = 128\npublish = \"http\"\nchurn = 20\nrate = 50\n\n[ladder]\nfrom = 50\nto = 100\np99_ms = 5000\n";

fn bench(name: &str, arguments: &[&str]) -> Value {
    let directory = directory(&format!("bench-{name}"));
    let (scenario, json) = (directory.join("small.toml"), directory.join("run.json"));
    fs::write(&scenario, SMALL).unwrap();
    let scenario = scenario.to_str().unwrap();
    let mut all = vec![
        "bench",
        "--scenario",
        scenario,
        "--time",
        "10s",
        "--rounds",
        "1",
    ];
    all.extend(["--json", json.to_str().unwrap()]);
    all.extend(arguments);
    let output = output(&all);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{error}");
    serde_json::from_slice(&fs::read(json).unwrap()).unwrap()
}

fn whole(round: &Value, name: &str) {
    let count = |key: &str| round[key].as_u64().unwrap();
    assert!(count("due") >= 40, "{name}: {round}");
    assert_eq!(count("acknowledged"), count("due"), "{name}");
    assert_eq!(count("delivered"), 2 * count("due"), "{name}");
    for key in ["lost", "repeated", "reordered", "refused"] {
        assert_eq!(count(key), 0, "{name}: {key}");
    }
    let delivery = &round["delivery"];
    assert_eq!(delivery["count"], round["delivered"]);
    assert!(delivery["p50"].as_u64() <= delivery["p99"].as_u64());
    assert!(round["cost"]["hub_cpu"].as_f64().unwrap() > 0.0, "{name}");
    assert!(round["cost"]["hub_memory"].as_u64().unwrap() > 0, "{name}");
}

#[test]
fn every_backend_is_measured_side_by_side() {
    let redis = required("HUBPLANE_TEST_REDIS");
    let run = bench(
        "redis",
        &[
            "--backplane",
            "memory:",
            "--backplane",
            &redis,
            "--kill-hub",
        ],
    );
    let backends = run["backends"].as_array().unwrap();
    assert_eq!(backends.len(), 2);
    for backend in backends {
        let name = backend["name"].as_str().unwrap();
        assert!(backend["failure"].is_null(), "{backend}");
        let figures = &backend["scenarios"]["small"];
        whole(&figures["rounds"][0], name);
        assert_eq!(figures["knee"], 100.0, "{name}: {}", figures["ladder"]);
    }
    let figures = &backends[1]["scenarios"]["small"];
    let alone = &figures["rounds"][0]["alone"];
    assert!(alone["count"].as_u64().unwrap() > 20, "{alone}");
    assert!(
        figures["rounds"][0]["cost"]["broker_cpu"]
            .as_f64()
            .is_some()
    );
    assert!(figures["rounds"][0]["cost"]["wire"].as_f64().unwrap() > 128.0);
    let fault = &figures["faults"][0];
    assert_eq!(fault["what"], "hub");
    assert!(fault["recovered"].as_u64().unwrap() < 10_000, "{fault}");
    assert_eq!(fault["lost"], fault["announced"], "{fault}");
}

#[test]
fn builds_are_measured_in_turn_and_told_apart() {
    let build = |name: &str| format!("{name}={}", env!("CARGO_BIN_EXE_hubplane"));
    let (old, new) = (build("old"), build("new"));
    let run = bench("builds", &["--no-ladder", "--build", &old, "--build", &new]);
    let backends = run["backends"].as_array().unwrap();
    let names: Vec<_> = backends.iter().map(|it| &it["name"]).collect();
    assert_eq!(names, ["memory old", "memory new"]);
    for backend in backends {
        whole(&backend["scenarios"]["small"]["rounds"][0], "memory");
        assert_eq!(backend["program"], backends[0]["program"]);
        assert_eq!(backend["program"].as_str().unwrap().len(), 16);
    }
}

#[test]
fn what_can_not_be_measured_is_refused_with_a_sentence() {
    for (arguments, said) in [
        (&["--scenario", "nothing"][..], "there are progress"),
        (&["--backplane", "pigeon:"], "there are memory:"),
        (&["--hub", "https://a"], "http://HOST:PORT"),
        (&["--pin", "3"], "a colon"),
        (&["--build", "nameless"], "NAME=PROGRAM"),
        (&["--build", "old=./nothing"], "./nothing: No such file"),
        (
            &["--kill-broker", "redis=true"],
            "no --backplane has this scheme",
        ),
        (&["--processes", "0"], "from 1 to 64"),
    ] {
        let mut all = vec!["bench"];
        all.extend(arguments);
        let output = output(&all);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(said), "{arguments:?}: {error}");
    }
    let file = output(&["bench", "--print-scenario", "chat"]);
    assert!(
        String::from_utf8(file.stdout)
            .unwrap()
            .contains("publish = \"websocket\"")
    );
}

/// A broker that can't be reached ends the run at its start, with exit code 1 and no empty tables.
#[test]
fn a_broker_that_cannot_be_reached_fails_at_once() {
    let begun = std::time::Instant::now();
    let done = crate::hub::output(&["bench", "--quick", "--backplane", "redis://127.0.0.1:1"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("redis://127.0.0.1:1 can't be reached"),
        "{said}"
    );
    assert!(done.stdout.is_empty(), "{done:?}");
    assert!(begun.elapsed().as_secs() < 20);
}
