//! References to secrets in settings: `env:NAME` and `file:PATH`.
//!
//! This is the one place that reads them. What must hold: a secret is never in an error, in a log or in
//! `Debug`, and a text that is no reference is never shown, since it may be the secret itself.

use std::{
    env, fmt, fs,
    io::Read,
    path::{Path, PathBuf},
};

use hubplane_backplane::Secret;

/// The most bytes of a secret in a file; the system limits variables. A set of keys in JSON fits; a log file given by
/// mistake does not.
pub const MAX_SECRET: usize = 256 * 1024;

/// Where a secret is. Showing it shows the variable's or the file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// The value of an environment variable of this process.
    Env(String),
    /// What is in a file.
    File(PathBuf),
}

/// Reads the secret that a setting's text refers to: never empty, without white space and a byte order mark around it.
///
/// # Errors
/// As [`Reference::parse`] and [`Reference::read`].
pub fn read(text: &str) -> Result<Secret, String> {
    Reference::parse(text)?.read()
}

impl Reference {
    /// Reads a reference; the secret is not looked for yet.
    ///
    /// # Errors
    /// A sentence that does not show the text: it is no reference, or names nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let reference = match text.split_once(':') {
            Some(("env", name)) => Self::Env(name.to_owned()),
            Some(("file", path)) => Self::File(path.into()),
            _ => {
                return Err(
                    "write env:NAME or file:PATH; a secret is never in the settings themselves"
                        .to_owned(),
                );
            }
        };
        match &reference {
            Self::Env(name) if name.is_empty() || name.contains(['=', '\0']) => {
                Err("env: needs the name of an environment variable".to_owned())
            }
            Self::File(path) if path.as_os_str().is_empty() => Err("file: needs a path".to_owned()),
            _ => Ok(reference),
        }
    }

    /// Reads the secret. It blocks on the file.
    ///
    /// # Errors
    /// A sentence that names the variable or the file: it is not there, empty, not UTF-8, or larger than [`MAX_SECRET`].
    pub fn read(&self) -> Result<Secret, String> {
        let text = match self {
            Self::Env(name) => match env::var(name) {
                Ok(text) => Ok(text),
                Err(env::VarError::NotPresent) => Err("it is not set".to_owned()),
                Err(env::VarError::NotUnicode(_)) => Err("it is not UTF-8".to_owned()),
            },
            Self::File(path) => read_file(path),
        };
        let text = text.and_then(|text| match text.trim_start_matches('\u{feff}').trim() {
            "" => Err("it is empty".to_owned()),
            secret => Ok(secret.to_owned()),
        });
        text.map(Secret::new)
            .map_err(|error| format!("{self}: {error}"))
    }

    /// Returns true if the secret may be another one later: it is in a regular file. A pipe can be read only once.
    pub fn can_change(&self) -> bool {
        // A file that is gone just now may be on its way back.
        matches!(self, Self::File(path) if fs::metadata(path).map_or(true, |it| it.is_file()))
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let mut bytes = Vec::new();
    let most = MAX_SECRET as u64 + 1;
    fs::File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| error.to_string())?;
    if bytes.len() > MAX_SECRET {
        return Err(format!("it has more than {MAX_SECRET} bytes"));
    }
    // The library's own error would hold the bytes.
    String::from_utf8(bytes).map_err(|_error| "it is not UTF-8".to_owned())
}

/// Shows where the secret is, for people.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    #[test]
    fn a_secret_is_read_from_where_it_is() {
        let folder = Folder::new();
        let path = folder.write("secret", "\u{feff} two\nlines \r\n");
        let secret = read(&format!("file:{path}")).unwrap();
        assert_eq!(secret.reveal(), "two\nlines");
        assert_eq!(format!("{secret:?}"), "***");
        // Every process has this one.
        let path = env::var("PATH").unwrap();
        assert_eq!(read(" env:PATH").unwrap().reveal(), path.trim());
    }

    #[test]
    fn what_is_no_reference_is_never_shown() {
        for text in [
            "hunter2",
            "",
            "Env:hunter2",
            "redis://u:hunter2@h",
            "env:",
            "file:",
            "env:=hunter2",
            "env:a\0hunter2",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
        assert!(
            read("hunter2")
                .unwrap_err()
                .contains("write env:NAME or file:PATH")
        );
    }

    #[test]
    fn an_error_names_the_place_and_shows_nothing_of_its_text() {
        let folder = Folder::new();
        let large = folder.write("large", &"hunter2".repeat(MAX_SECRET / 7 + 1));
        let wide = folder.write("wide", &format!("{}hunter2", " ".repeat(MAX_SECRET)));
        let exact = folder.write("exact", &"k".repeat(MAX_SECRET));
        let empty = folder.write("empty", " \n");
        let bytes = folder.write_bytes("bytes", b"hunter2\xff");
        for (text, reason) in [
            (
                format!("file:{large}"),
                "large: it has more than 262144 bytes",
            ),
            (
                format!("file:{wide}"),
                "wide: it has more than 262144 bytes",
            ),
            (format!("file:{empty}"), "empty: it is empty"),
            (format!("file:{bytes}"), "bytes: it is not UTF-8"),
            (
                format!("file:{}", folder.path("none")),
                "none: No such file",
            ),
            (
                "env:HUBPLANE_TEST_NOT_SET".to_owned(),
                "HUBPLANE_TEST_NOT_SET: it is not set",
            ),
        ] {
            let error = read(&text).unwrap_err();
            assert!(
                error.contains(reason) && !error.contains("hunter2"),
                "{error}"
            );
        }
        assert!(read(&format!("file:{exact}")).is_ok());
    }

    #[test]
    fn only_a_file_can_change() {
        let folder = Folder::new();
        let path = folder.write("secret", "a");
        for (text, can) in [
            (format!("file:{path}"), true),
            (format!("file:{}", folder.path("gone")), true),
            ("file:/dev/null".to_owned(), false),
            ("env:NAME".to_owned(), false),
        ] {
            assert_eq!(Reference::parse(&text).unwrap().can_change(), can, "{text}");
        }
    }
}
