//! A second implementation of patterns, for tests: it follows their description sign by sign, takes back what does not
//! fit, and splits nothing. It must not use the first one's code.

use std::collections::BTreeMap;

/// What a token says, by the claims' names.
pub(super) type Said = BTreeMap<String, String>;

/// Returns true if the pattern, which is well formed, covers the name. With `said`, what stands at a placeholder has to
/// be what it says.
pub(super) fn holds(pattern: &[char], name: &[char], said: Option<&Said>) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*'] => true,
        ['*', rest @ ..] => {
            holds(rest, name, said)
                || matches!(name, [sign, tail @ ..] if *sign != '.' && holds(pattern, tail, said))
        }
        ['{', rest @ ..] => {
            let end = rest.iter().position(|sign| *sign == '}').unwrap();
            let claim: String = rest[..end].iter().collect();
            let rest = &rest[end + 1..];
            let value = |length: usize| name[..length].iter().collect::<String>();
            (1..=name.len())
                .take_while(|length| name[length - 1] != '.')
                .any(|length| {
                    let fits = said.is_none_or(|said| said.get(&claim) == Some(&value(length)));
                    fits && holds(rest, &name[length..], said)
                })
        }
        [sign, rest @ ..] => {
            matches!(name, [first, tail @ ..] if first == sign && holds(rest, tail, said))
        }
    }
}
