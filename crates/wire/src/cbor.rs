//! Deterministic CBOR: the core deterministic encoding of RFC 8949 section 4.2.1, narrowed to what
//! signed data needs. No floats, no tags, no indefinite lengths, no simple values but `false`,
//! `true` and `null`; map keys sorted bytewise by their encoding and never twice.
//!
//! Reading is *decode, re-encode, compare*: bytes that the encoder would not have written are
//! refused, so an object has exactly one encoding and a hash of it means one thing.

use ciborium::Value;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::limits::CBOR_DEPTH;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    #[error("{what} is {size} bytes long, at most {limit} are allowed")]
    TooLarge { what: &'static str, size: usize, limit: usize },
    #[error("not CBOR, cut short, or nested deeper than {CBOR_DEPTH}")]
    Malformed,
    #[error("{0} bytes follow the CBOR item")]
    TrailingBytes(usize),
    #[error("CBOR is not in deterministic encoding (RFC 8949 section 4.2.1)")]
    NotDeterministic,
    #[error("CBOR {0} are not allowed here")]
    Forbidden(&'static str),
    #[error("a map key stands twice")]
    DuplicateKey,
    #[error("unexpected content: {0}")]
    Shape(String),
}

/// Encodes a value in deterministic CBOR.
///
/// # Panics
/// If the type itself serialises to something deterministic CBOR forbids (a float, two equal map
/// keys): a fault of the program, never of its input.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut value = Value::serialized(value).expect("message types serialise to CBOR values");
    canonicalise(&mut value, CBOR_DEPTH).expect("message types hold no floats, tags or twin keys");
    write(&value)
}

/// Decodes one deterministic CBOR item that fills `bytes` exactly.
pub fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    let value = value_from_slice(bytes)?;
    value.deserialized().map_err(|error| CborError::Shape(shape_message(&error)))
}

/// As [`from_slice`], refusing more than `limit` bytes before looking at them.
pub fn from_slice_limited<T: DeserializeOwned>(
    bytes: &[u8],
    what: &'static str,
    limit: usize,
) -> Result<T, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { what, size: bytes.len(), limit });
    }
    from_slice(bytes)
}

/// The strict reader, giving the generic data model.
pub fn value_from_slice(bytes: &[u8]) -> Result<Value, CborError> {
    let mut rest = bytes;
    let mut value: Value = ciborium::de::from_reader_with_recursion_limit(&mut rest, CBOR_DEPTH)
        .map_err(|_| CborError::Malformed)?;
    if !rest.is_empty() {
        return Err(CborError::TrailingBytes(rest.len()));
    }
    canonicalise(&mut value, CBOR_DEPTH)?;
    if write(&value) != bytes {
        return Err(CborError::NotDeterministic);
    }
    Ok(value)
}

fn write(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    ciborium::into_writer(value, &mut out).expect("writing to memory cannot fail");
    out
}

/// Sorts map keys bytewise by their encoding and refuses what deterministic CBOR does not have.
fn canonicalise(value: &mut Value, depth: usize) -> Result<(), CborError> {
    let deeper = depth.checked_sub(1).ok_or(CborError::Malformed)?;
    match value {
        Value::Float(_) => Err(CborError::Forbidden("floats")),
        Value::Tag(..) => Err(CborError::Forbidden("tags")),
        Value::Array(items) => items.iter_mut().try_for_each(|item| canonicalise(item, deeper)),
        Value::Map(entries) => {
            for (key, item) in entries.iter_mut() {
                canonicalise(key, deeper)?;
                canonicalise(item, deeper)?;
            }
            entries.sort_by_cached_key(|(key, _)| write(key));
            if entries.windows(2).any(|pair| pair[0].0 == pair[1].0) {
                return Err(CborError::DuplicateKey);
            }
            Ok(())
        }
        Value::Integer(_) | Value::Bytes(_) | Value::Text(_) | Value::Bool(_) | Value::Null => {
            Ok(())
        }
        _ => Err(CborError::Forbidden("simple values")),
    }
}

/// Serde's message without the values it may quote: error texts must not carry personal data.
fn shape_message(error: &ciborium::value::Error) -> String {
    let ciborium::value::Error::Custom(text) = error;
    // The name of a missing field is ours; anything else in quotes may be the sender's.
    if text.starts_with("missing field `") {
        return text.clone();
    }
    match text.split_once('`') {
        Some((before, _)) => before.trim_end().to_owned(),
        None if text.len() <= 120 && !text.contains('"') => text.clone(),
        None => "a value of the wrong type".to_owned(),
    }
}

/// A byte string (CBOR major type 2; hexadecimal in human-readable formats).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bytes({})", self.0.len())
    }
}

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&hex::encode(&self.0))
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Bytes, E> {
                hex::decode(text).map(Bytes).map_err(|_| E::custom("not hexadecimal"))
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Visitor)
        } else {
            deserializer.deserialize_byte_buf(Visitor)
        }
    }
}

#[cfg(test)]
mod tests;
