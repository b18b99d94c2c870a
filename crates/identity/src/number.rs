//! The citizen's number (利用者識別番号) and service ids (サービス別ID): both fall out of one secret,
//! `y`, that a keyed function gives for the citizen's canonical identity
//! (`specs/07-identity.md`, sections 3 to 5).
//!
//! Day one: nothing here may change for a version of the canonical identity that was ever in use,
//! because every issuing CA must reach the same number for the same person for ever.

mod canonical;
mod check;
mod function;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use wire::{ServiceId, ServiceName, hash_parts};
use zeroize::{Zeroize, ZeroizeOnDrop};

pub use canonical::{CanonicalIdentity, NoCanonicalIdentity};
pub use function::{BlindedElement, BlindedQuery, Evaluation, NumberError, SingleKeyFunction};

/// The output of the number function for one person, 32 bytes: who knows it knows all the person's
/// service ids. The issuer forgets it after issuing; the wallet keeps it. `Debug` shows nothing.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Y([u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("y is not 32 bytes long")]
pub struct NotY;

impl Y {
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NotY> {
        bytes.try_into().map(Self).map_err(|_| NotY)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The number that belongs to this `y`.
    pub fn number(&self) -> Number {
        let hash = hash_parts("mebuku/number/1", &[&self.0]);
        Number(hash.0[..10].try_into().expect("a hash has at least ten bytes"))
    }

    /// The person's id at a service.
    pub fn service_id(&self, service: &ServiceName) -> ServiceId {
        service_id(self, service)
    }
}

impl fmt::Debug for Y {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Y(..)")
    }
}

/// サービス別ID: pairwise, not to be computed without `y`.
pub fn service_id(y: &Y, service: &ServiceName) -> ServiceId {
    hash_parts("mebuku/service-id/1", &[&y.0, service.as_str().as_bytes()]).into()
}

/// 利用者識別番号: 80 bits. Written as sixteen characters of Crockford's base 32 and two check
/// characters (ISO/IEC 7064, MOD 1271-36): `XXXX-XXXX-XXXX-XXXX-CC`. `Debug` shows nothing, since
/// the number stands for a person.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Number([u8; 10]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadNumber {
    #[error("not a number (XXXX-XXXX-XXXX-XXXX-CC of digits and upper-case letters)")]
    Form,
    #[error("the check characters do not match: a character was mistyped or two were swapped")]
    Check,
}

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

impl Number {
    pub fn from_bytes(bytes: [u8; 10]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 10] {
        &self.0
    }

    /// Reads what a person typed: either case, with or without hyphens and spaces; in the first
    /// sixteen characters O for 0 and I or L for 1. The two check characters, where those letters
    /// have a meaning of their own, are taken as they are: folding them too would let some single
    /// wrong characters pass.
    pub fn read(text: &str) -> Result<Self, BadNumber> {
        let typed: Vec<u8> = (text.bytes())
            .filter(|c| !matches!(c, b'-' | b' '))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        let [body @ .., first, second] = &typed[..] else { return Err(BadNumber::Form) };
        let body: Vec<u8> = body.iter().copied().map(alike).collect();
        Self::checked(&body, &[*first, *second])
    }

    fn checked(body: &[u8], check: &[u8]) -> Result<Self, BadNumber> {
        if !check.iter().all(u8::is_ascii_alphanumeric) {
            return Err(BadNumber::Form);
        }
        let number = Self(decode(body).ok_or(BadNumber::Form)?);
        if number.check_characters() == check { Ok(number) } else { Err(BadNumber::Check) }
    }

    fn body(&self) -> [u8; 16] {
        let mut bits = [0; 16];
        bits[6..].copy_from_slice(&self.0);
        let bits = u128::from_be_bytes(bits);
        std::array::from_fn(|i| ALPHABET[(bits >> (75 - 5 * i)) as usize & 31])
    }

    fn check_characters(&self) -> [u8; 2] {
        check::characters(&self.body()).expect("base 32 characters are digits and capitals")
    }
}

/// Folds what people confuse.
fn alike(c: u8) -> u8 {
    match c {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        _ => c,
    }
}

fn decode(body: &[u8]) -> Option<[u8; 10]> {
    if body.len() != 16 {
        return None;
    }
    let mut bits: u128 = 0;
    for c in body {
        let value = ALPHABET.iter().position(|known| known == c)?;
        bits = bits << 5 | value as u128;
    }
    bits.to_be_bytes()[6..].try_into().ok()
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let characters = [&self.body()[..], &self.check_characters()].concat();
        for (i, group) in characters.chunks(4).enumerate() {
            let separator = if i == 0 { "" } else { "-" };
            let group = std::str::from_utf8(group).expect("the alphabet is ASCII");
            write!(f, "{separator}{group}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Number(..)")
    }
}

impl FromStr for Number {
    type Err = BadNumber;

    /// The one written form, exactly. [`Number::read`] is for what people type.
    fn from_str(text: &str) -> Result<Self, BadNumber> {
        let bytes = text.as_bytes();
        let hyphens = [4, 9, 14, 19];
        let formed = bytes.len() == 22
            && (bytes.iter().enumerate()).all(|(i, c)| {
                if hyphens.contains(&i) {
                    *c == b'-'
                } else {
                    c.is_ascii_digit() || c.is_ascii_uppercase()
                }
            });
        if !formed {
            return Err(BadNumber::Form);
        }
        let characters: Vec<u8> = bytes.iter().copied().filter(|c| *c != b'-').collect();
        let (body, check) = characters.split_at(16);
        Self::checked(body, check)
    }
}

impl Serialize for Number {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests;
