//! Which crate may depend on which.

use crate::{
    imports, none,
    source::{files, has_word, read, sources},
};

/// Which crates of ours each crate under `crates/` may depend on.
/// A crate that is in no row fails the test, so that each new one is decided on.
const ARROWS: [(&str, &[&str]); 6] = [
    ("hub", &["backplane"]),
    ("protocol", &["hub"]),
    ("identity", &["backplane", "hub"]),
    ("server", &["backplane", "hub", "protocol", "identity"]),
    ("client", &[]),
    ("bench", &["backplane", "client"]),
];

#[test]
fn crates_depend_in_one_direction() {
    let mut wrong = Vec::new();
    for (name, may) in ARROWS {
        let path = format!("crates/{name}/Cargo.toml");
        // Only normal dependencies: tests may use whatever helps them.
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
fn no_files_import_each_other_in_a_circle() {
    let mut wrong = Vec::new();
    for manifest in files("", "Cargo.toml") {
        let folder = manifest.trim_end_matches("Cargo.toml");
        wrong.extend(imports::circles(folder.trim_end_matches('/')));
    }
    none(
        &wrong,
        "what both files need belongs into a third one below them, or one of the names into the other file",
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
            if foreign.contains(&&*dependency) && !is_for_requests(name, &dependency) {
                wrong.push(format!("{path}: {dependency}"));
            }
        }
    }
    for file in sources("crates/identity/src") {
        let may = file.name.contains("/outbound")
            || file.name.contains("/token/jwks/")
            || file.name.ends_with("/test_server.rs");
        if !may {
            file.find(&mut wrong, |line| {
                [
                    "hyper",
                    "hyper_util",
                    "hyper_rustls",
                    "TcpStream",
                    "TcpListener",
                ]
                .iter()
                .any(|word| has_word(line, word))
            });
        }
    }
    none(
        &wrong,
        "HTTP and sockets belong to crates/server; client formats are pure and synchronous; identity asks others by its \
         outbound.rs and token/jwks alone",
    );
}

/// True for what `identity/src/outbound.rs` needs to ask others. It is optional, so the hub without that feature has
/// no such client.
fn is_for_requests(name: &str, dependency: &str) -> bool {
    let manifest = read("crates/identity/Cargo.toml");
    let optional = |line: &str| {
        line.split([' ', '.']).next() == Some(dependency) && line.contains("optional = true")
    };
    name == "identity" && manifest.lines().any(optional)
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
    // A manifest that is written otherwise must not pass unread.
    assert!(!names.is_empty(), "{manifest} has no [dependencies]");
    names
}
