//! Says what is wrong in a TOML file without quoting any value of it, since a value may be a secret that would end up in a
//! log. The scenario files and the program's configuration file use it.

/// Returns line, key and reason of an error. The line number counts from 1; the key is left out if it needs quotes, since
/// such a key may itself hold anything.
///
/// `text` must be the text that was parsed.
pub fn toml_reason(text: &str, error: &toml::de::Error) -> String {
    // An error without a place is shown at line 1.
    let start = error.span().map_or(0, |span| span.start);
    // `get` and not an index: the place could be within a character.
    let before = text.get(..start).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split_once('=').map(|(key, _value)| key.trim());
    let named = key
        .filter(|key| is_bare(key))
        .map_or_else(String::new, |key| format!(", {key}"));
    format!("line {number}{named}: {}", without_values(error.message()))
}

/// Returns true if TOML takes a key without quotes.
fn is_bare(key: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !key.is_empty() && key.chars().all(allowed)
}

/// Removes what serde quotes from the file: a text, as in `invalid type: string "…"`, and an unknown key that needs quotes.
fn without_values(message: &str) -> String {
    // Some messages of the parser have several lines; a log line must be one.
    let message = message.replace('\n', ", ");
    let unknown = message.strip_prefix("unknown field `");
    if let Some((key, rest)) = unknown.and_then(|it| it.split_once("`, "))
        && !is_bare(key)
    // The key is left out, and the list of known keys stays.
    {
        return format!("unknown field, {rest}");
    }
    // From the first to the last quotation mark: the value may hold quotation marks itself.
    match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if message[..first].ends_with("string ") => {
            format!("{}{}", message[..first].trim_end(), &message[last + 1..])
        }
        _ => message,
    }
}
