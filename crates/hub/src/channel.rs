//! Which channel names clients may use. Every name that a client gives passes [`check`] before
//! it is used; what a broker makes of a name is its backend's business.

use std::fmt;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// The longest channel name that a client may use, in bytes.
pub const MAX_BYTES: usize = 255;

/// What is wrong with a channel name. Its text is for clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadName(&'static str);

impl fmt::Display for BadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Checks a channel's name: 1 to 255 bytes of UTF-8 in normalisation form C, without spaces and
/// control characters, and not beginning with `$`, which is reserved. Everything else is allowed: a
/// name reaches the broker only where it can't act as a pattern.
///
/// # Errors
/// The rule that the name breaks.
pub fn check(name: &str) -> Result<(), BadName> {
    if name.is_empty() || name.len() > MAX_BYTES {
        return Err(BadName("a channel name has 1 to 255 bytes"));
    }
    if name.starts_with('$') {
        return Err(BadName("channel names that begin with $ are reserved"));
    }
    // The usual name is plain ASCII; one pass over its bytes settles it.
    if name.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    if name.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(BadName(
            "a channel name holds no spaces and no control characters",
        ));
    }
    // Two names that look alike must not be two channels, so only one form is allowed.
    let normal = match is_nfc_quick(name.chars()) {
        IsNormalized::Yes => true,
        IsNormalized::No => false,
        IsNormalized::Maybe => name.chars().eq(name.nfc()),
    };
    if normal {
        Ok(())
    } else {
        Err(BadName("a channel name is in Unicode normalisation form C"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_are_allowed() {
        let long = "x".repeat(MAX_BYTES);
        for name in [
            "a", "jobs.42", "*", "?", "[a-z]", "\\", "#", ">", "a_b", "{tag}", "%00", "é", "🦀",
            "שלום", &long,
        ] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_that_could_harm_are_refused() {
        let long = "x".repeat(MAX_BYTES + 1);
        for name in [
            "",
            &long,
            "$x",
            "$hubplane/x",
            "a b",
            "a\n",
            "a\0",
            "\u{85}",
            "\u{a0}x",
            "e\u{301}",
        ] {
            assert!(check(name).is_err(), "{name:?}");
        }
    }
}
