//! The canonical identity: the bytes that stand for a person when the number is computed.

use std::fmt;

use unicode_normalization::{UnicodeNormalization, char::is_public_assigned};
use wire::cbor;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::jpki::CardAttributes;

/// Version of the rules below, inside the bytes: rules never change, a new version joins them.
const VERSION: u8 = 1;

/// Deterministic CBOR of `[1, name, [year, month, day], gender, address]`: name and address in
/// [`plain`] form, the birth date by the Gregorian calendar without its era, the gender as the
/// card's code. Personal data: `Debug` shows none of it, and it is wiped on drop.
#[derive(Clone, PartialEq, Eq, Hash, Zeroize, ZeroizeOnDrop)]
pub struct CanonicalIdentity(Vec<u8>);

/// Two CAs with Unicode tables of different age could read the same text differently only where it
/// holds a character that the older table does not know; so such a text has no canonical form. Nor
/// has one of private use, which means nothing outside the system that wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoCanonicalIdentity {
    #[error("the {0} holds a control or private-use character, or one that is not assigned")]
    Character(&'static str),
    #[error("the {0} holds nothing but spaces")]
    Blank(&'static str),
}

impl CanonicalIdentity {
    pub fn new(attributes: &CardAttributes) -> Result<Self, NoCanonicalIdentity> {
        let name = plain(&attributes.name, "name")?;
        let address = plain(&attributes.address, "address")?;
        let birth_date = attributes.birth_date.gregorian();
        let gender = attributes.gender.code();
        Ok(Self(cbor::to_vec(&(VERSION, name, birth_date, gender, address))))
    }

    /// The input of the number function.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for CanonicalIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CanonicalIdentity(..)")
    }
}

/// NFKC (UAX #15); then the four characters of JIS X 0208 that conversion tables send to two code
/// points each are sent to one; then runs of spaces become one and those at the ends go.
fn plain(text: &str, what: &'static str) -> Result<String, NoCanonicalIdentity> {
    if text.chars().any(|c| c.is_control() || !is_public_assigned(c)) {
        return Err(NoCanonicalIdentity::Character(what));
    }
    let folded: String = text.nfkc().map(one_code_point).collect();
    let words: Vec<&str> = folded.split(' ').filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(NoCanonicalIdentity::Blank(what));
    }
    Ok(words.join(" "))
}

/// Minus sign, wave dash, double vertical line, em dash: JIS X 0208 1-61, 1-33, 1-34, 1-29. The
/// full-width forms among their twins have gone through NFKC before.
fn one_code_point(c: char) -> char {
    match c {
        '\u{2212}' => '-',
        '\u{301c}' => '~',
        '\u{2225}' => '\u{2016}',
        '\u{2015}' => '\u{2014}',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jpki::{BirthDate, Era, Gender};

    fn person(name: &str, address: &str) -> CardAttributes {
        CardAttributes {
            name: name.to_owned(),
            birth_date: BirthDate::new(Era::Showa, 1938, 2, 7).unwrap(),
            gender: Gender::Female,
            address: address.to_owned(),
            name_substituted: vec![false; name.chars().count()],
            address_substituted: vec![false; address.chars().count()],
        }
    }

    fn bytes(name: &str, address: &str) -> Vec<u8> {
        CanonicalIdentity::new(&person(name, address)).unwrap().as_bytes().to_vec()
    }

    #[test]
    fn the_bytes_are_fixed_for_ever() {
        let expected = concat!(
            "8501",                                 // an array of five, version 1
            "6de5b1b1e794b020e88ab1e5ad90",         // "山田 花子"
            "831907920207",                         // [1938, 2, 7]
            "02",                                   // female
            "7821e7bea4e9a6ace79c8ce5898de6a98be5", // "群馬県前橋市大手町2-12-1"
            "b882e5a4a7e6898be794ba322d31322d31",
        );
        let found = bytes("山田　花子", "群馬県前橋市大手町２－１２－１");
        assert_eq!(hex::encode(found), expected);
    }

    #[test]
    fn one_text_in_several_encodings_is_one_identity() {
        let plain = bytes("山田 花子", "群馬県前橋市大手町2-12-1");
        for (name, address) in [
            ("山田　花子", "群馬県前橋市大手町２－１２－１"),
            ("山田　　花子　", "群馬県前橋市大手町２\u{2212}１２－１"),
            ("\u{3000}山田 花子", "群馬県前橋市大手町２-１２\u{2212}１"),
        ] {
            assert_eq!(bytes(name, address), plain);
        }
        // Half-width kana, composed and decomposed marks, an old form that Unicode calls the same.
        assert_eq!(bytes("ﾀﾞﾝ", "〜"), bytes("ダン", "～"));
        assert_eq!(bytes("か\u{3099}", "x"), bytes("が", "x"));
        assert_eq!(bytes("神\u{3000}花子", "x"), bytes("\u{fa19} 花子", "x"));
        assert_eq!(bytes("x", "∥―"), bytes("x", "‖—"));
    }

    #[test]
    fn different_people_stay_different() {
        let one = person("山田　花子", "群馬県前橋市大手町２－１２－１");
        let identity = CanonicalIdentity::new(&one).unwrap();
        let others = [
            CardAttributes { gender: Gender::Male, ..one.clone() },
            CardAttributes { name: "山田花子".into(), ..one.clone() },
            CardAttributes { name: "山田　華子".into(), ..one.clone() },
            CardAttributes {
                address: "群馬県前橋市大手町２－１２－１１".into(), ..one.clone()
            },
            // The prolonged sound mark is a letter, no hyphen.
            CardAttributes {
                address: "群馬県前橋市大手町２ー１２－１".into(), ..one.clone()
            },
            CardAttributes {
                birth_date: BirthDate::new(Era::Showa, 1938, 2, 8).unwrap(),
                ..one.clone()
            },
        ];
        for other in others {
            assert_ne!(CanonicalIdentity::new(&other).unwrap(), identity);
        }
        // The era and the substitute flags are how the card shows it, not who it is.
        let unknown_era = CardAttributes {
            birth_date: BirthDate::new(Era::Unknown, 1938, 2, 7).unwrap(),
            name_substituted: vec![true; 5],
            ..one
        };
        assert_eq!(CanonicalIdentity::new(&unknown_era).unwrap(), identity);
    }

    #[test]
    fn what_normalises_differently_one_day_is_refused_today() {
        let refused = |name, address| CanonicalIdentity::new(&person(name, address)).unwrap_err();
        // Unassigned, and a control character.
        assert_eq!(refused("\u{2ffff}", "x"), NoCanonicalIdentity::Character("name"));
        assert_eq!(refused("\u{e000}", "x"), NoCanonicalIdentity::Character("name"));
        assert_eq!(refused("\u{378}", "x"), NoCanonicalIdentity::Character("name"));
        assert_eq!(refused("x", "a\u{0}b"), NoCanonicalIdentity::Character("address"));
        assert_eq!(refused("　 ", "x"), NoCanonicalIdentity::Blank("name"));
        assert!(format!("{}", refused("秘密\u{378}", "x")).is_ascii());
    }
}
