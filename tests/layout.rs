//! The rooms of the code, held by reading it as text: what may name what, and what every backend brings along. The
//! compiler enforces the rest, by the crates' dependencies. Each failure says where, and what to do.
#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

#[path = "layout/backends.rs"]
mod backends;
#[path = "layout/crates.rs"]
mod crates;
#[path = "layout/imports.rs"]
mod imports;
#[path = "layout/source.rs"]
mod source;

use std::fs;

use source::{files, has_word, read, root, sources, words};

/// Crates under `backends/` that are no backend.
const NO_BACKEND: [&str; 3] = ["backplane", "conformance", "kit"];
/// The backend that is always compiled in and has no broker.
const EMBEDDED: &str = "memory";
/// Client libraries, and the backend that may name them.
const LIBRARIES: [(&str, &str); 3] = [
    ("rdkafka", "kafka"),
    ("redis", "redis"),
    ("lapin", "rabbitmq"),
];
/// A file that is longer is no longer read in one sitting.
const MOST_LINES: usize = 400;

#[test]
fn features_are_chosen_in_one_file() {
    let mut wrong = Vec::new();
    for file in sources("") {
        // The program, its allocator, TLS and faults on purpose are no choice of a backend.
        let others = [
            "src/backends.rs",
            "src/lib.rs",
            "src/main.rs",
            "crates/hub/src/sabotage.rs",
            "crates/server/src/tls/mod.rs",
            // Nor is what the hub asks others about its clients.
            "crates/identity/src/lib.rs",
            // Nor are tokens and the fetching of their keys.
            "crates/identity/src/access.rs",
            "crates/identity/src/token/mod.rs",
        ];
        if !others.contains(&&*file.name) {
            file.find(&mut wrong, |line| {
                line.contains("cfg") && line.contains("feature =")
            });
        }
    }
    none(
        &wrong,
        "only src/backends.rs asks which backends are on: add a registry entry there",
    );
}

#[test]
fn a_broker_library_is_named_by_its_backend_only() {
    let mut wrong = Vec::new();
    // Tests and examples may: they play the outside producer, who has never heard of hubplane.
    for file in ["src", "crates", "backends"].into_iter().flat_map(sources) {
        for (library, owner) in LIBRARIES {
            if !file.name.starts_with(&format!("backends/{owner}/")) {
                // The bare name may be a feature's or a variable's; a path or an import is the crate.
                file.find(&mut wrong, |line| {
                    words(line).any(|(at, word)| {
                        word == library
                            && (line[at + word.len()..].starts_with("::")
                                || line[..at].trim_end().ends_with("use"))
                    })
                });
            }
        }
    }
    for name in backends() {
        let manifest = read(&format!("backends/{name}/Cargo.toml"));
        for (library, owner) in LIBRARIES {
            let named = manifest.lines().any(|line| {
                line.starts_with(&format!("{library}.")) || line.starts_with(&format!("{library} "))
            });
            if named && owner != name {
                wrong.push(format!("backends/{name}/Cargo.toml: depends on {library}"));
            }
        }
    }
    none(
        &wrong,
        "rdkafka, redis and lapin are named in their own backend's folder only: ask through the Backplane trait",
    );
}

#[test]
fn backends_know_no_hub_no_session_and_no_client_format() {
    let foreign = [
        "hub",
        "Hub",
        "hubplane",
        "session",
        "Session",
        "warp",
        "hyper",
        "tungstenite",
        "websocket",
        "WebSocket",
        "stomp",
        "pusher",
        "centrifugo",
    ];
    let mut wrong = Vec::new();
    for file in sources("backends") {
        if file.name.contains("/src/") {
            file.find(&mut wrong, |line| {
                foreign.iter().any(|word| has_word(line, word))
            });
        }
    }
    none(
        &wrong,
        "a backend knows channels, publications and positions; who listens is the hub's affair (crates/hub)",
    );
}

#[test]
fn the_suite_knows_the_contract_alone_and_the_command_line_alone_knows_it() {
    let mut wrong = Vec::new();
    for file in ["src", "crates", "backends"].into_iter().flat_map(sources) {
        let in_crate = file.name.starts_with("src/") || file.name.contains("/src/");
        let may = file.name.starts_with("src/cli/conformance/")
            || file.name.starts_with("backends/conformance/");
        if in_crate && !may {
            file.find(&mut wrong, |line| has_word(line, "hubplane_conformance"));
        }
    }
    for name in backends() {
        let manifest = read(&format!("backends/{name}/Cargo.toml"));
        let normal = manifest.split("[dev-dependencies]").next();
        if normal.unwrap_or_default().contains("hubplane-conformance") {
            wrong.push(format!("backends/{name}/Cargo.toml: for its tests only"));
        }
        if read("backends/conformance/Cargo.toml").contains(&format!("hubplane-{name}"))
            && name != EMBEDDED
        {
            wrong.push(format!("backends/conformance/Cargo.toml: hubplane-{name}"));
        }
    }
    none(
        &wrong,
        "backends/conformance tries any backend by the contract (Driver, Spaces): a backend runs it in its tests, \
         src/cli/conformance on the user's broker",
    );
}

#[test]
fn every_crate_takes_the_workspace_lints() {
    let mut wrong = Vec::new();
    for manifest in files("", "Cargo.toml") {
        let text = read(&manifest);
        let mut lines = text.lines().skip_while(|line| *line != "[lints]").skip(1);
        if text.contains("[package]") && lines.next() != Some("workspace = true") {
            wrong.push(manifest);
        }
    }
    none(&wrong, "add the two lines: [lints] and workspace = true");
}

#[test]
fn no_file_is_too_long_to_read() {
    let mut wrong = Vec::new();
    for name in files("", ".rs") {
        let lines = read(&name).lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{name}: {lines} lines"));
        }
    }
    none(
        &wrong,
        &format!("more than {MOST_LINES} lines: which room of it deserves a file of its own?"),
    );
}

#[test]
fn no_test_is_ignored() {
    let mut wrong = Vec::new();
    for file in sources("") {
        file.find(&mut wrong, |line| line.contains("#[ignore"));
    }
    none(
        &wrong,
        "a test runs or does not exist; what needs a broker fails without one (tests/run starts them)",
    );
}

/// All backends by the names of their folders. At least four, so that a wrong path can't make every
/// test pass.
fn backends() -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(root().join("backends"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("Cargo.toml").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .filter(|name| !NO_BACKEND.contains(&name.as_str()))
        .collect();
    names.sort();
    assert!(names.len() >= 4, "backends/ has only {names:?}");
    names
}

/// Fails with what to do, and with the places where it is to be done.
fn none(wrong: &[String], advice: &str) {
    assert!(wrong.is_empty(), "{advice}\n  {}\n", wrong.join("\n  "));
}
