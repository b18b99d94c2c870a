//! Identifiers and small values. Each parses itself strictly, prints itself one way, is text or
//! hexadecimal in JSON and text or a byte string in CBOR.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::cbor::Bytes;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {0}")]
pub struct BadId(pub &'static str);

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            pub fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let mut bytes = [0; $len];
                // One spelling only: lower case.
                if text.bytes().any(|c| c.is_ascii_uppercase()) {
                    return Err(BadId($what));
                }
                hex::decode_to_slice(text, &mut bytes).map_err(|_| BadId($what))?;
                Ok(Self(bytes))
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = BadId;
            fn try_from(bytes: &[u8]) -> Result<Self, BadId> {
                bytes.try_into().map(Self).map_err(|_| BadId($what))
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
                } else {
                    let bytes = Bytes::deserialize(deserializer)?;
                    Self::try_from(&bytes[..]).map_err(serde::de::Error::custom)
                }
            }
        }
    };
}

byte_id!(
    /// A SHA-256 hash.
    Hash, 32, "a hash (64 lower-case hexadecimal digits)"
);
byte_id!(
    /// SHA-256 of the payload of the network's genesis root: which network an object belongs to.
    NetworkId, 32, "a network id (64 lower-case hexadecimal digits)"
);
byte_id!(
    /// SHA-256 of a DER SubjectPublicKeyInfo.
    KeyHash, 32, "a key hash (64 lower-case hexadecimal digits)"
);
byte_id!(
    /// SHA-256 of a decision's Sig_structure: what was signed, never the signature.
    DecisionId, 32, "a decision id (64 lower-case hexadecimal digits)"
);
byte_id!(
    /// サービス別ID: the citizen's pairwise identifier at one service.
    ServiceId, 32, "a service id (64 lower-case hexadecimal digits)"
);
byte_id!(
    /// Sixteen random bytes.
    Nonce, 16, "a nonce (32 lower-case hexadecimal digits)"
);

impl From<Hash> for DecisionId {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

impl From<Hash> for ServiceId {
    fn from(hash: Hash) -> Self {
        Self(hash.0)
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $valid:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;
            fn from_str(text: &str) -> Result<Self, BadId> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok(Self(text.to_owned())) } else { Err(BadId($what)) }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

text_id!(
    /// 法人番号: thirteen digits, the first a check digit over the other twelve (order of the
    /// Ministry of Finance on corporate numbers, article 2).
    OrganisationId, "a corporate number (13 digits with a matching check digit)", corporate_number
);
text_id!(
    /// `<organisation>/<short name>`: a service for ever, owned by that organisation alone.
    ServiceName,
    "a service name (<corporate number>/<1 to 32 of a-z 0-9 ->)",
    |text| text.split_once('/').is_some_and(|(organisation, short)| {
        corporate_number(organisation) && short_name(short)
    })
);
text_id!(
    /// A hierarchical item type such as `health.allergy`; `public` and what lies below it is
    /// reserved for non-personal data, which needs no consent.
    ItemType,
    "an item type (up to 8 labels of a-z 0-9 -, joined by dots, 64 characters at most)",
    |text| text.len() <= 64 && text.split('.').count() <= 8 && text.split('.').all(short_name)
);
text_id!(
    /// A hierarchical purpose code such as `treatment` or `welfare.long-term-care`.
    Purpose,
    "a purpose code (up to 4 labels of a-z 0-9 -, joined by dots, 64 characters at most)",
    |text| text.len() <= 64 && text.split('.').count() <= 4 && text.split('.').all(short_name)
);

text_id!(
    /// Why a source refused, such as `no-permit`: for the log and the citizen, never on the wire to
    /// the recipient.
    ReasonCode, "a reason code (1 to 32 of a-z 0-9 -)", short_name
);

impl ServiceName {
    pub fn organisation(&self) -> OrganisationId {
        OrganisationId(self.0[..13].to_owned())
    }

    pub fn short_name(&self) -> &str {
        &self.0[14..]
    }

    /// The name as a URI, as certificates (subjectAltName) and credentials (`iss`, `aud`) carry it.
    pub fn uri(&self) -> String {
        format!("mebuku:{}", self.0)
    }

    pub fn from_uri(uri: &str) -> Result<Self, BadId> {
        uri.strip_prefix("mebuku:").unwrap_or_default().parse()
    }
}

impl OrganisationId {
    /// Completes twelve base digits with their check digit.
    pub fn from_base(base: &str) -> Result<Self, BadId> {
        match check_digit(base) {
            Some(check) => Ok(Self(format!("{check}{base}"))),
            None => Err(BadId("twelve digits")),
        }
    }
}

impl ItemType {
    /// Whether `self` is `other` or lies below it: `health.allergy` is within `health`.
    pub fn is_within(&self, other: &Self) -> bool {
        is_within(&self.0, &other.0)
    }
}

impl Purpose {
    /// Whether `self` is `other` or lies below it.
    pub fn is_within(&self, other: &Self) -> bool {
        is_within(&self.0, &other.0)
    }
}

fn is_within(text: &str, category: &str) -> bool {
    text.strip_prefix(category).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

fn short_name(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
}

fn corporate_number(text: &str) -> bool {
    text.len() == 13
        && text.is_ascii()
        && check_digit(&text[1..]).is_some_and(|check| text.as_bytes()[0] == b'0' + check)
}

/// 9 − (Σ Pn·Qn mod 9), Pn the n-th of the twelve base digits from the right, Qn 1 for odd n and 2
/// for even n.
fn check_digit(base: &str) -> Option<u8> {
    if base.len() != 12 || !base.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let sum: u32 = (base.bytes().rev().zip(1u32..))
        .map(|(digit, n)| u32::from(digit - b'0') * if n % 2 == 1 { 1 } else { 2 })
        .sum();
    Some(9 - (sum % 9) as u8)
}

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds: the one type for wall-clock time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`; zero if `self` comes first.
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// The two clocks a machine is told: `mono_ms` never stands still or goes back while the host is
/// up, suspend included (CLOCK_BOOTTIME); `wall` is what people agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Now {
    pub mono_ms: u64,
    pub wall: Timestamp,
}

/// サービス別ID and service: one citizen at one source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    pub source: ServiceName,
    pub subject: ServiceId,
}

#[cfg(test)]
mod tests;
