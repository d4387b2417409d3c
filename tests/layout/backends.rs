//! What every backend brings along.

use crate::{
    EMBEDDED, backends, none,
    source::{code, read, root, text},
};

/// The questions that an operator has of every backend, in the order in which they are answered.
const HEADINGS: [&str; 6] = [
    "Address",
    "Delivery",
    "Order",
    "History",
    "Reconnection",
    "What it creates",
];

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
