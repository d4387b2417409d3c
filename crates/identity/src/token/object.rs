//! JSON objects in which no member stands twice.
//!
//! Two readers of one object with a repeated member may take different values (RFC 7519, section 4,
//! and RFC 7515, section 4, so ask for unique names). What a token allows must not depend on the
//! reader, so such a token is refused. This file must not know what the members mean.

use std::{collections::BTreeMap, fmt};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// How deep lists and objects may be nested. Each level of a text is read once more.
const MAX_DEPTH: usize = 16;

/// An object's members, each with its value as the JSON text that was sent.
#[derive(Debug, Default)]
pub(super) struct Object<'a>(BTreeMap<String, &'a RawValue>);

/// Why a text is no such object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It is not JSON, or not an object.
    NotAnObject,
    /// A member stands twice, at any depth.
    Repeated,
    /// It is nested too deeply.
    TooDeep,
}

impl<'a> Object<'a> {
    /// Reads an object and looks through everything below it.
    pub(super) fn read(text: &'a str) -> Result<Self, Unusable> {
        if !text.trim_start().starts_with('{') {
            return Err(Unusable::NotAnObject);
        }
        let members: Members<'a> = serde_json::from_str(text).map_err(reason)?;
        members.0.values().try_for_each(|value| look(value, 1))?;
        Ok(Self(members.0))
    }

    /// Returns a member's value as JSON text; `None` if it is missing.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.0.get(name).map(|value| value.get())
    }

    /// Returns the names and values in the names' order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.get()))
    }
}

/// Reads a JSON text. `None` if the value is something else.
pub(super) fn text(value: &str) -> Option<String> {
    serde_json::from_str(value).ok()
}

/// Looks for repeated members in a value's lists and objects.
fn look(value: &RawValue, depth: usize) -> Result<(), Unusable> {
    let text = value.get();
    let inner: Vec<&RawValue> = match text.as_bytes().first() {
        Some(b'{') => {
            let members: Members<'_> = serde_json::from_str(text).map_err(reason)?;
            members.0.into_values().collect()
        }
        Some(b'[') => serde_json::from_str::<Items<'_>>(text).map_err(reason)?.0,
        _ => return Ok(()),
    };
    if depth == MAX_DEPTH {
        return Err(Unusable::TooDeep);
    }
    inner
        .into_iter()
        .try_for_each(|value| look(value, depth + 1))
}

/// Marks the error of a repeated member, since serde's errors are texts.
const REPEATED: &str = "a member stands twice";

#[allow(clippy::needless_pass_by_value, reason = "the form that map_err takes")]
fn reason(error: serde_json::Error) -> Unusable {
    // Nothing of the sent text is in such a message, except the name of an unexpected type.
    if error.is_data() && error.to_string().starts_with(REPEATED) {
        Unusable::Repeated
    } else {
        Unusable::NotAnObject
    }
}

struct Members<'a>(BTreeMap<String, &'a RawValue>);
struct Items<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = BTreeMap<String, &'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if members.insert(name, value).is_some() {
                        return Err(A::Error::custom(REPEATED));
                    }
                }
                Ok(members)
            }
        }
        from.deserialize_map(Read).map(Self)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Items<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(items)
            }
        }
        from.deserialize_seq(Read).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_may_stand_once_at_every_depth() {
        for repeated in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"x":[1,[{"a":1,"a":1}]]}"#,
        ] {
            assert_eq!(
                Object::read(repeated).unwrap_err(),
                Unusable::Repeated,
                "{repeated}"
            );
        }
        for no_object in [
            "",
            "1",
            "[]",
            "null",
            r#"["a",1]"#,
            r#"{"a":1}x"#,
            r#"{"a":}"#,
            "{'a':1}",
        ] {
            assert_eq!(
                Object::read(no_object).unwrap_err(),
                Unusable::NotAnObject,
                "{no_object}"
            );
        }
        let object = Object::read(r#" {"a": {"b":1e999} , "c":"\n"} "#).unwrap();
        assert_eq!(object.get("a"), Some(r#"{"b":1e999}"#));
        assert_eq!(object.get("c").and_then(text).as_deref(), Some("\n"));
        assert_eq!(object.get("a").and_then(text), None);
        assert_eq!(object.get("b"), None);
    }

    #[test]
    fn deep_nesting_is_refused_before_the_stack_ends() {
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            let nested = |n| format!(r#"{{"x":{}1{}}}"#, open.repeat(n), close.repeat(n));
            assert!(Object::read(&nested(MAX_DEPTH - 1)).is_ok());
            assert_eq!(
                Object::read(&nested(MAX_DEPTH)).unwrap_err(),
                Unusable::TooDeep
            );
            assert_eq!(Object::read(&nested(3_000)).unwrap_err(), Unusable::TooDeep);
        }
    }
}
