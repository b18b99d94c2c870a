//! Stored values: one byte of format version, then deterministic CBOR.
//!
//! A type whose form changes is written under the next version, and its reader goes on
//! understanding the old one; a version from the future is refused by name.

use serde::{Serialize, de::DeserializeOwned};

/// The format that is written today.
pub const VALUE_FORMAT: u8 = 1;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("a stored value is empty")]
    Empty,
    #[error(
        "a stored value has format {0}, this version reads format {VALUE_FORMAT}: it was written by a newer version"
    )]
    UnknownFormat(u8),
    #[error("a stored value cannot be read")]
    Content(#[source] wire::CborError),
}

/// # Panics
/// As [`wire::cbor::to_vec`]: if the type itself holds floats or the like.
pub fn encode_value<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = wire::cbor::to_vec(value);
    bytes.insert(0, VALUE_FORMAT);
    bytes
}

pub fn decode_value<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ValueError> {
    match bytes.split_first() {
        None => Err(ValueError::Empty),
        Some((&VALUE_FORMAT, content)) => {
            wire::cbor::from_slice(content).map_err(ValueError::Content)
        }
        Some((&format, _)) => Err(ValueError::UnknownFormat(format)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_comes_back() {
        let value = (wire::Hash([7; 32]), "芽吹く".to_owned(), Some(9u64));
        let bytes = encode_value(&value);
        assert_eq!(bytes[0], VALUE_FORMAT);
        assert_eq!(decode_value::<(wire::Hash, String, Option<u64>)>(&bytes), Ok(value));
    }

    #[test]
    fn a_format_from_the_future_is_refused_by_name() {
        let mut bytes = encode_value(&1u64);
        bytes[0] = 9;
        assert_eq!(decode_value::<u64>(&bytes), Err(ValueError::UnknownFormat(9)));
        assert_eq!(decode_value::<u64>(&[]), Err(ValueError::Empty));
    }

    #[test]
    fn content_of_another_type_is_an_error() {
        let bytes = encode_value("text");
        assert!(matches!(decode_value::<u64>(&bytes), Err(ValueError::Content(_))));
        assert!(matches!(
            decode_value::<u64>(&[VALUE_FORMAT, 1, 2]),
            Err(ValueError::Content(wire::CborError::TrailingBytes(1)))
        ));
    }
}
