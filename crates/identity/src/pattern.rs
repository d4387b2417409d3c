//! Patterns of channel names.
//!
//! A pattern is read once into segments, the parts between its dots, and a name is compared with
//! them from left to right. No comparison is ever taken back, so the time grows with the lengths
//! alone. What a token says is never put into a pattern: the part of the *name* that stands at
//! `{sub}` is compared with it, so no value can act as a pattern or reach over a dot.

mod claims;
#[cfg(test)]
mod tests;

use hubplane_hub::channel;

pub use self::claims::Claims;
use self::claims::is_claim_name;

/// A pattern of channel names, such as `orders.*` or `user.{sub}.*`.
///
/// - `*` stands for any characters except a dot, also for none. As the last character of a pattern it
///   stands for all that follows, dots included: `orders.*` covers `orders.7` and `orders.7.state`,
///   not `orders`; `*.state` covers `orders.state`, not `orders.7.state`; `*` covers every name.
/// - `{sub}` stands for one or more characters except a dot; a client's token has to say exactly them
///   in its claim `sub`. See [`Self::fits`].
/// - Everything else stands for itself, byte by byte: case counts, and `%2f`, `?` and `/` have no meaning.
///   A star or a brace in a name can be covered by a `*` only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: Box<str>,
    segments: Box<[Segment]>,
    /// True if the pattern ends with `*`, which covers further segments, too.
    open: bool,
}

/// What stands between two dots of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(Box<str>),
    /// The texts in front of, between and behind the stars; there are two or more.
    Stars(Box<[Box<str>]>),
    Claim {
        before: Box<str>,
        claim: Box<str>,
        after: Box<str>,
    },
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// A sentence that shows the pattern: no channel can have a name that it covers, or its meaning
    /// would not be clear (`**`; `{sub}` with a second placeholder or a `*` between the same two dots).
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |reason: String| format!("the pattern {text:?}: {reason}");
        // Stars and braces are allowed in names, so a pattern is well formed as a name is.
        channel::check(text).map_err(|reason| wrong(format!("it covers no channel: {reason}")))?;
        let segments: Result<Box<[_]>, _> = text.split('.').map(Segment::parse).collect();
        Ok(Self {
            text: text.into(),
            segments: segments.map_err(wrong)?,
            open: text.ends_with('*'),
        })
    }

    /// Reads a pattern where nothing can stand for a token's claims, such as one in a token.
    ///
    /// # Errors
    /// As [`Self::parse`], and if there is a placeholder.
    pub fn without_claims(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        if pattern.claims().next().is_some() {
            return Err(format!(
                "the pattern {text:?}: {{…}} is for the patterns of rules; write the value here"
            ));
        }
        Ok(pattern)
    }

    /// Returns the pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the claims whose values the pattern needs.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().filter_map(|segment| match segment {
            Segment::Claim { claim, .. } => Some(&**claim),
            Segment::Literal(_) | Segment::Stars(_) => None,
        })
    }

    /// Returns the pattern's text with a `*` at each placeholder.
    pub(super) fn with_stars(&self) -> String {
        let claims = self.claims();
        claims.fold(self.text.to_string(), |text, claim| {
            text.replace(&format!("{{{claim}}}"), "*")
        })
    }

    /// Returns true if the name has the pattern's shape: what stands at a placeholder may be anything
    /// without a dot, but not nothing.
    pub fn covers(&self, channel: &str) -> bool {
        self.holds(channel, |_, _| true)
    }

    /// Returns true if the pattern covers the name, and what stands at each placeholder is exactly what the claims say.
    ///
    /// A claim that is absent or empty fits nothing, and neither does a value with a dot, since it would be
    /// more than one segment. All other values are plain text: `*` fits a star alone.
    pub fn fits(&self, channel: &str, claims: &Claims) -> bool {
        self.holds(channel, |claim, part| claims.get(claim) == Some(part))
    }

    /// Compares each segment of the name; `says` is asked with the claim and the part of the name at a placeholder.
    fn holds(&self, channel: &str, says: impl Fn(&str, &str) -> bool) -> bool {
        let mut parts = channel.split('.');
        self.segments
            .iter()
            .all(|segment| parts.next().is_some_and(|part| segment.holds(part, &says)))
            && (self.open || parts.next().is_none())
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        if text.contains("**") {
            return Err("** has no meaning; * at the end covers further segments, too".to_owned());
        }
        if text.contains(['{', '}']) {
            return Self::parse_claim(text);
        }
        if !text.contains('*') {
            return Ok(Self::Literal(text.into()));
        }
        Ok(Self::Stars(text.split('*').map(Into::into).collect()))
    }

    /// Reads a segment with a placeholder. Beside a second one, or a star, the same name could be split in several
    /// ways: with `{sub}-*`, the channels of `ann-lee` would be those of `ann`, too.
    fn parse_claim(text: &str) -> Result<Self, String> {
        let unclosed = "write a placeholder as {sub}: one claim between two braces";
        let (before, rest) = text.split_once('{').ok_or(unclosed)?;
        let (claim, after) = rest.split_once('}').ok_or(unclosed)?;
        let around = [before, after];
        if around.iter().any(|text| text.contains('*')) || after.contains('{') {
            return Err(format!(
                "{{{claim}}} shares its segment with a second placeholder or a *; put a dot between them"
            ));
        }
        if around.iter().any(|text| text.contains('}')) {
            return Err(unclosed.to_owned());
        }
        if !is_claim_name(claim) {
            return Err(format!(
                "{{{claim}}} names no claim: a name has 1 to 64 letters, digits, _ and -"
            ));
        }
        Ok(Self::Claim {
            before: before.into(),
            claim: claim.into(),
            after: after.into(),
        })
    }

    /// Compares with one segment of a name.
    fn holds(&self, part: &str, says: &impl Fn(&str, &str) -> bool) -> bool {
        match self {
            Self::Literal(text) => **text == *part,
            Self::Stars(texts) => stars_hold(texts, part),
            Self::Claim {
                before,
                claim,
                after,
            } => part
                .strip_prefix(&**before)
                .and_then(|rest| rest.strip_suffix(&**after))
                .is_some_and(|value| !value.is_empty() && says(claim, value)),
        }
    }
}

/// Returns true if `part` begins with the first text, ends with the last one, and holds the others between them in this
/// order. Each is taken at the first place where it stands, which leaves the most for those behind it.
fn stars_hold(texts: &[Box<str>], part: &str) -> bool {
    let [first, between @ .., last] = texts else {
        return false;
    };
    let Some(mut rest) = part.strip_prefix(&**first) else {
        return false;
    };
    for text in between {
        let Some(at) = rest.find(&**text) else {
            return false;
        };
        rest = &rest[at + text.len()..];
    }
    rest.ends_with(&**last)
}
