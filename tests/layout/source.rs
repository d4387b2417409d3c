//! Reads the repository's Rust as text: files, words, and the code without comments and strings.

use std::{fs, path::PathBuf};

/// One source file, without comments and the inside of strings.
pub(super) struct Source {
    /// The path from the top of the repository.
    pub(super) name: String,
    /// Its lines have the numbers of the file's.
    code: String,
}

// Rules look at `code` alone: a comment may name what the code must not.
impl Source {
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// Adds each line that is wrong, with its place.
    pub(super) fn find(&self, found: &mut Vec<String>, wrong: impl Fn(&str) -> bool) {
        for (number, line) in self.code.lines().enumerate() {
            if wrong(line) {
                found.push(format!("{}:{}: {}", self.name, number + 1, line.trim()));
            }
        }
    }
}

/// The words of a line and where each begins; an underscore belongs to its word.
pub(super) fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let part = |sign: char| sign == '_' || sign.is_alphanumeric();
    line.char_indices()
        .filter(move |(at, sign)| part(*sign) && !line[..*at].ends_with(part))
        .map(move |(at, _)| {
            let rest = &line[at..];
            (
                at,
                &rest[..rest.find(|sign| !part(sign)).unwrap_or(rest.len())],
            )
        })
}

/// Whole words only: `hub` is not in `hubplane`.
pub(super) fn has_word(line: &str, wanted: &str) -> bool {
    words(line).any(|(_, word)| word == wanted)
}

/// The text with comments and what stands in quotes replaced by spaces; lines keep their numbers.
pub(super) fn code(text: &str) -> String {
    let mut left = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(sign) = rest.chars().next() {
        // An `r` or a `b` at the end of a name begins no string.
        let glued = left.ends_with(|sign: char| sign == '_' || sign.is_alphanumeric());
        let skip = if glued {
            quoted(rest)
        } else {
            raw_quoted(rest).or_else(|| quoted(rest))
        };
        let length = skip.or_else(|| comment(rest)).unwrap_or(0);
        if length == 0 {
            left.push(sign);
            rest = &rest[sign.len_utf8()..];
        } else {
            left.extend(
                rest[..length]
                    .chars()
                    .map(|sign| if sign == '\n' { '\n' } else { ' ' }),
            );
            rest = &rest[length..];
        }
    }
    left
}

/// The length of the comment that begins here.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    if !text.starts_with("/*") {
        return None;
    }
    // Rust's comments nest.
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let step = match text.as_bytes().get(at..at + 2) {
            Some(b"/*") => 2,
            Some(b"*/") => -2,
            _ => 0,
        };
        depth += step;
        at += if step == 0 { 1 } else { 2 };
        if depth == 0 {
            break;
        }
    }
    Some(at)
}

/// The length of the string or character that begins here.
fn quoted(text: &str) -> Option<usize> {
    let quote = text
        .chars()
        .next()
        .filter(|sign| matches!(sign, '"' | '\''))?;
    let mut signs = text.char_indices().skip(1);
    while let Some((at, sign)) = signs.next() {
        if sign == '\\' {
            signs.next();
        } else if sign == quote {
            return Some(at + 1);
        }
        // A character ends after one sign; `'a` without a second quotation mark is a lifetime.
        if quote == '\'' && !text[at + sign.len_utf8()..].starts_with('\'') && sign != '\\' {
            return None; // a lifetime
        }
    }
    None
}

/// The length of the raw string that begins here.
fn raw_quoted(text: &str) -> Option<usize> {
    let body = text
        .strip_prefix('b')
        .or_else(|| text.strip_prefix('c'))
        .unwrap_or(text);
    let body = body.strip_prefix('r')?;
    let hashes = body.len() - body.trim_start_matches('#').len();
    let inner = body[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(text.len() - inner.len() + inner.find(&end)? + end.len())
}

/// All Rust files below a folder, read for the rules.
pub(super) fn sources(folder: &str) -> Vec<Source> {
    let source = |name: String| Source {
        code: code(&read(&name)),
        name,
    };
    files(folder, ".rs").into_iter().map(source).collect()
}

/// The files of the repository below `folder` whose name ends so, by their path from its top.
pub(super) fn files(folder: &str, end: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            // What is hidden or built is not ours.
            if path.is_dir()
                && !name.starts_with('.')
                && !matches!(&*name, "target" | "node_modules")
            {
                folders.push(path);
            } else if path.is_file() && name.ends_with(end) {
                found.push(
                    path.strip_prefix(root())
                        .unwrap()
                        .to_string_lossy()
                        .into_owned(),
                );
            }
        }
    }
    // Sorted, so that failures look the same on each machine.
    found.sort();
    found
}

/// The top of the repository.
pub(super) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file that must be there.
pub(super) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The file's text, empty where there is no such file.
pub(super) fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_default()
}

#[test]
fn the_reader_of_these_rules_leaves_out_comments_and_strings() {
    let read =
        code("a // warp\n/* warp /* b */ warp */ b r#\"warp \" \"# c '\"' d \"warp\\\"\" 'e f");
    let left: Vec<&str> = words(&read).map(|(_, word)| word).collect();
    assert_eq!(left, ["a", "b", "c", "d", "e", "f"]);
    assert!(read.contains('\n'), "lines keep their numbers");
}
