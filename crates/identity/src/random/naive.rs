//! A second implementation of patterns, for tests: it follows their description sign by sign, takes back what does not
//! fit, and splits nothing. It must not use the first one's code.

use super::Said;

/// Returns true if the pattern, which is well formed, covers the name. With `said`, what stands at a placeholder has to
/// be what it says.
pub(crate) fn holds(pattern: &str, name: &str, said: Option<&Said>) -> bool {
    let [pattern, name] = [pattern, name].map(|text| text.chars().collect::<Vec<_>>());
    signs_hold(&pattern, &name, said)
}

fn signs_hold(pattern: &[char], name: &[char], said: Option<&Said>) -> bool {
    match pattern {
        [] => name.is_empty(),
        ['*'] => true,
        ['*', rest @ ..] => {
            signs_hold(rest, name, said)
                || matches!(name, [sign, tail @ ..] if *sign != '.' && signs_hold(pattern, tail, said))
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
                    fits && signs_hold(rest, &name[length..], said)
                })
        }
        [sign, rest @ ..] => {
            matches!(name, [first, tail @ ..] if first == sign && signs_hold(rest, tail, said))
        }
    }
}
