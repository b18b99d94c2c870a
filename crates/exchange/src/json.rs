//! JSON from outside, read strictly: one meaning per text (no member name twice in an object),
//! bounded nesting, and, where it is to be revealed, none of the names that SD-JWT gives a meaning.

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Deepest nesting of arrays and objects, a number at the bottom counted as one more. `serde_json`
/// itself stops at 128.
pub(crate) const DEPTH: u32 = 64;
/// The same for a record, which is nested one deeper in its disclosure.
pub(crate) const RECORD_DEPTH: u32 = DEPTH - 1;

/// Names that make a member a digest instead of data (RFC 9901 sections 4.2.4.1 and 4.2.4.2).
const RESERVED: [&str; 2] = ["_sd", "..."];

/// Whether SD-JWT's own names may stand in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Names {
    Any,
    Unreserved,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not JSON with distinct member names, at most {DEPTH} levels deep, free of SD-JWT's own names"
)]
pub struct BadJson;

/// Checks the text and reads it.
pub(crate) fn parse(text: &[u8], names: Names, depth: u32) -> Result<Value, BadJson> {
    check(text, names, depth)?;
    serde_json::from_slice(text).map_err(|_| BadJson)
}

pub(crate) fn check(text: &[u8], names: Names, depth: u32) -> Result<(), BadJson> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    Walk { names, depth }.deserialize(&mut reader).map_err(|_| BadJson)?;
    reader.end().map_err(|_| BadJson)
}

/// Visits every value without keeping it.
#[derive(Clone, Copy)]
struct Walk {
    names: Names,
    depth: u32,
}

impl Walk {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| E::custom("too deep"))?;
        Ok(Self { depth, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        while items.next_element_seed(deeper)?.is_some() {}
        Ok(())
    }

    // Numbers come this way, too, as an object with one member of serde_json's own.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let deeper = self.deeper()?;
        let mut seen = std::collections::BTreeSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if self.names == Names::Unreserved && RESERVED.contains(&name.as_str()) {
                return Err(A::Error::custom("reserved"));
            }
            if !seen.insert(name) {
                members.next_value::<IgnoredAny>()?;
                return Err(A::Error::custom("twice"));
            }
            members.next_value_seed(deeper)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_texts() {
        let deep = |levels: usize| ["[".repeat(levels), "]".repeat(levels)].concat();
        let table = [
            (r#"{"a": [1, -2.50, 1e400, "x", null, true]}"#, true, true),
            (r#""text""#, true, true),
            (r#"{"a": 1, "a": 1}"#, false, false),
            (r#"{"a": 1, "\u0061": 2}"#, false, false),
            (r#"[{"b": {"a": 1, "a": 2}}]"#, false, false),
            (r#"{"_sd": []}"#, true, false),
            (r#"[{"x": {"...": "d"}}]"#, true, false),
            (r#"["_sd", "..."]"#, true, true),
            (r#"{"a": 1} x"#, false, false),
            (r#"{"a": 1"#, false, false),
            ("{'a': 1}", false, false),
            ("", false, false),
            (&deep(63), true, true),
            (&deep(64), true, true),
            (&deep(65), false, false),
            (&deep(100_000), false, false),
        ];
        for (text, any, unreserved) in table {
            let shown = &text[..text.len().min(40)];
            assert_eq!(parse(text.as_bytes(), Names::Any, DEPTH).is_ok(), any, "{shown}");
            assert_eq!(
                parse(text.as_bytes(), Names::Unreserved, DEPTH).is_ok(),
                unreserved,
                "{shown}"
            );
        }
        assert!(check(b"\"\xff\"", Names::Any, DEPTH).is_err());
    }

    #[test]
    fn numbers_keep_their_digits() {
        let text = r#"[1.50,1e+400,12345678901234567890123,-0.0]"#;
        assert_eq!(parse(text.as_bytes(), Names::Any, DEPTH).unwrap().to_string(), text);
    }
}
