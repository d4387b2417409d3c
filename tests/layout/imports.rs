//! Which file of a crate takes names from which, read from its paths: `crate::…`, `super::…`, `self::…`.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, sources, words};

/// A module of a crate by its names from the root, such as `["pump", "fill"]`.
type Module = Vec<String>;

/// Circles among the files below `folder/src`, each as the files' names. A file and the folder of files below it belong
/// together, so a path from one to the other counts for none.
pub(super) fn circles(folder: &str) -> Vec<String> {
    let root = format!("{folder}/src/");
    let files: BTreeMap<Module, Source> = sources(&root)
        .into_iter()
        .filter_map(|file| Some((module(file.name.strip_prefix(&root)?), file)))
        .collect();
    let mut arrows: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
    for (from, file) in &files {
        for path in paths(file.code()) {
            let to = resolve(from, &path).and_then(|path| owner(&files, path));
            // A file may name those below it and above it: they are one module.
            if let Some(to) = to.filter(|to| !to.starts_with(from) && !from.starts_with(to)) {
                arrows.entry(from).or_default().insert(to);
            }
        }
    }
    let mut found = BTreeSet::new();
    for &start in arrows.keys() {
        // Who is reached from here and reaches back is on a circle with it.
        let circle: BTreeSet<_> = reached(&arrows, start)
            .into_iter()
            .filter(|module| reached(&arrows, module).contains(start))
            .collect();
        if circle.contains(start) {
            let names = circle.iter().map(|module| &*files[*module].name);
            found.insert(names.collect::<Vec<_>>().join(" ↔ "));
        }
    }
    found.into_iter().collect()
}

/// `pump/mod.rs` → pump, `pump/fill.rs` → pump, fill; `lib.rs` and `main.rs` → the root.
fn module(file: &str) -> Module {
    let mut names: Module = file
        .trim_end_matches(".rs")
        .split('/')
        .map(str::to_owned)
        .collect();
    if names
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&&**last))
    {
        names.pop();
    }
    names
}

/// A path as names from the root.
fn resolve(from: &Module, path: &[String]) -> Option<Module> {
    // A path that begins with `self` or `super` begins at the file itself.
    let mut at = match path.first()?.as_str() {
        "crate" => Vec::new(),
        _ => from.clone(),
    };
    for name in path {
        match name.as_str() {
            "crate" | "self" => {}
            "super" => _ = at.pop()?,
            name => at.push(name.to_owned()),
        }
    }
    Some(at)
}

/// The file that a path leads into: the longest beginning of it that is one.
fn owner(files: &BTreeMap<Module, Source>, mut path: Module) -> Option<&Module> {
    loop {
        if let Some((module, _)) = files.get_key_value(&path) {
            return Some(module);
        }
        path.pop()?;
    }
}

/// All modules that are reached from one by any number of arrows.
fn reached<'a>(
    arrows: &BTreeMap<&'a Module, BTreeSet<&'a Module>>,
    start: &'a Module,
) -> BTreeSet<&'a Module> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(next) = open.pop() {
        let further = arrows.get(next).into_iter().flatten();
        open.extend(further.copied().filter(|&to| reached.insert(to)));
    }
    reached
}

/// Every path of the code that begins in this crate, groups spelled out.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let begins = ["crate", "super", "self"].contains(&word);
        // Not in the middle of a longer path.
        if begins && !code[..at].ends_with("::") && code[at + word.len()..].starts_with("::") {
            spell(&code[at..], &mut Vec::new(), &mut found);
        }
    }
    found
}

/// Spells out `a::{b, c::d}` as a b, a c d; returns what of the text was read.
fn spell(text: &str, before: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> usize {
    // What this call has added to the path is taken off again at its end.
    let depth = before.len();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        at += rest.len() - rest.trim_start().len();
        let rest = &text[at..];
        if rest.starts_with('{') {
            at += 1;
            // Every item of a group begins with the same path.
            loop {
                at += spell(&text[at..], before, found);
                let rest = &text[at..];
                let comma = rest.trim_start();
                at += rest.len() - comma.len() + 1;
                if !comma.starts_with(',') {
                    break;
                }
            }
            break;
        }
        let name = words(rest).next().filter(|(start, _)| *start == 0);
        let Some((_, name)) = name else { break };
        before.push(name.to_owned());
        at += name.len();
        if !text[at..].starts_with("::") {
            found.push(before.clone());
            break;
        }
        at += 2;
    }
    before.truncate(depth);
    at.min(text.len())
}
