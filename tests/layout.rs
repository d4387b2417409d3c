//! The rooms of the code, held by reading it as text: what may name what, and what every backend brings along. The
//! compiler enforces the rest, by the crates' dependencies. Each failure says where, and what to do.
#![allow(
    clippy::unwrap_used,
    reason = "a test says by failing what it did not get"
)]

#[path = "layout/source.rs"]
mod source;

use std::fs;

use source::{code, files, has_word, read, root, sources, text, words};

/// Crates under `backends/` that are no backend.
const NO_BACKEND: [&str; 2] = ["backplane", "conformance"];
/// The backend that is always compiled in and has no broker.
const EMBEDDED: &str = "memory";
/// Client libraries, and the backend that may name them.
const LIBRARIES: [(&str, &str); 3] = [
    ("rdkafka", "kafka"),
    ("redis", "redis"),
    ("lapin", "rabbitmq"),
];
/// Which crates of ours each crate under `crates/` may depend on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("hub", &["backplane"]),
    ("protocol", &["backplane", "hub"]),
    ("identity", &["backplane", "hub"]),
    ("server", &["backplane", "hub", "protocol", "identity"]),
    ("client", &[]),
    ("bench", &["backplane", "client"]),
];
const HEADINGS: [&str; 6] = [
    "Address",
    "Delivery",
    "Order",
    "History",
    "Reconnection",
    "What it creates",
];
const MOST_LINES: usize = 400;

#[test]
fn features_are_chosen_in_one_file() {
    let mut wrong = Vec::new();
    for file in sources("") {
        // The program, its allocator and faults on purpose are no choice of a backend.
        let others = [
            "src/backends.rs",
            "src/lib.rs",
            "src/main.rs",
            "crates/hub/src/sabotage.rs",
        ];
        if !others.contains(&&*file.name) {
            file.find(&mut wrong, |line| {
                line.contains("cfg") && line.contains("feature =")
            });
        }
    }
    none(
        &wrong,
        "only src/backends.rs asks which features are on: add a registry entry there",
    );
}

#[test]
fn crates_depend_in_one_direction() {
    let mut wrong = Vec::new();
    for (name, may) in ARROWS {
        let path = format!("crates/{name}/Cargo.toml");
        for dependency in normal_dependencies(&path) {
            let own = dependency.strip_prefix("hubplane-");
            if own.is_some_and(|own| !may.contains(&own)) {
                wrong.push(format!("{path}: {dependency}"));
            }
        }
    }
    for manifest in files("crates", "Cargo.toml") {
        if !ARROWS
            .iter()
            .any(|(name, _)| manifest == format!("crates/{name}/Cargo.toml"))
        {
            wrong.push(format!(
                "{manifest}: is in no row of ARROWS in tests/layout.rs"
            ));
        }
    }
    none(
        &wrong,
        "docs/architecture.md draws which crate may depend on which; the compiler holds it as long as the manifests do",
    );
}

#[test]
fn pure_crates_have_no_sockets() {
    let mut wrong = Vec::new();
    for (name, foreign) in [
        ("hub", &["warp", "hyper", "http"][..]),
        (
            "protocol",
            &["warp", "hyper", "http", "tokio", "futures-util"],
        ),
        ("identity", &["warp", "hyper", "tokio"]),
    ] {
        let path = format!("crates/{name}/Cargo.toml");
        for dependency in normal_dependencies(&path) {
            if foreign.contains(&&*dependency) {
                wrong.push(format!("{path}: {dependency}"));
            }
        }
    }
    none(
        &wrong,
        "HTTP and sockets belong to crates/server; client formats are pure and synchronous",
    );
}

/// The names under `[dependencies]` of a manifest.
fn normal_dependencies(manifest: &str) -> Vec<String> {
    let text = read(manifest);
    let section = text.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section
        .lines()
        .filter_map(|line| line.split(['.', ' ', '=']).next());
    let names: Vec<String> = names
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect();
    assert!(!names.is_empty(), "{manifest} has no [dependencies]");
    names
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
fn every_backend_runs_the_conformance_suite() {
    let mut wrong = Vec::new();
    for name in backends() {
        let path = format!("backends/{name}/tests/conformance.rs");
        if !code(&text(&path)).contains("suite!(") {
            wrong.push(path);
        }
    }
    none(
        &wrong,
        "write a Harness and the line hubplane_conformance::suite!(…) there; without it nothing is promised",
    );
}

#[test]
fn every_backend_answers_the_same_questions() {
    let mut wrong = Vec::new();
    for name in backends() {
        let path = format!("backends/{name}/src/lib.rs");
        let lib = text(&path);
        let found: Vec<&str> = lib
            .lines()
            .filter_map(|line| line.strip_prefix("//! # "))
            .filter(|heading| HEADINGS.contains(heading))
            .collect();
        if found != HEADINGS {
            wrong.push(format!("{path}: has {found:?}"));
        }
    }
    none(
        &wrong,
        &format!("the crate doc needs these headings, once each and in this order: {HEADINGS:?}"),
    );
}

#[test]
fn every_backend_has_the_same_files() {
    let mut wrong = Vec::new();
    for name in backends() {
        let mut files = vec!["lib", "config", "connection", "consume"];
        if name != EMBEDDED {
            files.push("publish"); // the embedded backend appends to its log and needs no file for it
        }
        for file in files {
            let path = format!("backends/{name}/src/{file}.rs");
            if !root().join(&path).exists() {
                wrong.push(path);
            }
        }
    }
    none(
        &wrong,
        "a reader who knows one backend finds the way in all: lib, config, connection, publish, consume (and history)",
    );
}

#[test]
fn every_backend_is_registered() {
    let registry = code(&text("src/backends.rs"));
    let manifest = read("Cargo.toml");
    let line_of = |key: &str| {
        let start = format!("{key} = [");
        manifest
            .lines()
            .find(|line| line.starts_with(&start))
            .unwrap_or_default()
    };
    let mut wrong = Vec::new();
    for name in backends() {
        if !registry.contains(&format!("hubplane_{name}::DRIVER")) {
            wrong.push(format!("src/backends.rs: add &hubplane_{name}::DRIVER"));
        }
        if name != EMBEDDED && !line_of(&name).contains(&format!("\"dep:hubplane-{name}\"")) {
            wrong.push(format!(
                "Cargo.toml: add {name} = [\"dep:hubplane-{name}\"]"
            ));
        }
        if name != EMBEDDED && !line_of("full").contains(&format!("\"{name}\"")) {
            wrong.push(format!("Cargo.toml: add \"{name}\" to full"));
        }
    }
    none(&wrong, "backends/README.md has the steps");
}

#[test]
fn every_backend_is_in_the_readme_and_has_a_compose_file() {
    let readme = text("README.md");
    let mut wrong = Vec::new();
    for name in backends() {
        let row = readme
            .lines()
            .filter_map(|line| line.strip_prefix('|')?.split('|').next())
            .any(|cell| cell.to_lowercase().contains(&name));
        if !row {
            wrong.push(format!(
                "README.md: the capability table has no row for {name}"
            ));
        }
        if name != EMBEDDED && text(&format!("compose/{name}.yml")).is_empty() {
            wrong.push(format!("compose/{name}.yml: missing"));
        }
    }
    none(&wrong, "what is not shown is not found");
}

#[test]
fn every_key_of_an_address_is_in_the_docs() {
    let docs = text("docs/backends.md");
    let mut wrong = Vec::new();
    for name in backends() {
        let config = text(&format!("backends/{name}/src/config.rs"));
        let calls = config.split("settings.").skip(1);
        let keys = calls.filter_map(|call| {
            let (_method, arguments) = call.split_once('(')?;
            let (key, _rest) = arguments.trim_start().strip_prefix('"')?.split_once('"')?;
            Some(key.trim_end_matches('.').to_owned())
        });
        let known =
            |key: &str| docs.contains(&format!("`{key}`")) || docs.contains(&format!("`{key}.*`"));
        // Other texts are sentences of errors.
        let asked = |key: &String| !key.contains(|c: char| !c.is_ascii_lowercase() && c != '-');
        wrong.extend(keys.filter(asked).filter(|key| !known(key)));
    }
    none(&wrong, "docs/backends.md has a row for each key");
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

fn none(wrong: &[String], advice: &str) {
    assert!(wrong.is_empty(), "{advice}\n  {}\n", wrong.join("\n  "));
}
