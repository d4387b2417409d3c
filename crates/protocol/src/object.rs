//! Reads JSON objects, and nothing else, into structs.
//!
//! For a struct, serde also takes an array of the fields' values in their order. The protocol has
//! no such arrays, so they are refused here.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A value that must be written as an object, with the names of its fields. Reading anything else
/// is an error.
#[derive(Clone, Copy, Debug)]
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// Visits an object's fields; its other methods keep serde's answer, which is an error that says
/// “expected an object”.
struct Fields<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Pair<'a> {
        first: u8,
        #[serde(borrow)]
        second: &'a RawValue,
    }

    #[test]
    fn an_array_of_the_fields_is_refused() {
        let text = r#"{"first":1,"second":[2, 3]}"#;
        let Object(pair) = serde_json::from_str::<Object<Pair<'_>>>(text).unwrap();
        assert_eq!((pair.first, pair.second.get()), (1, "[2, 3]"));
        for refused in [
            "[1,2]",
            "[]",
            "1",
            "null",
            r#"{"first":1,"second":2,"x":3}"#,
        ] {
            let read = serde_json::from_str::<Object<Pair<'_>>>(refused);
            assert!(read.is_err(), "{refused}");
        }
    }
}
