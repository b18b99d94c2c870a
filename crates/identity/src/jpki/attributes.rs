//! What the card's certificate says about its person: six otherNames of the subjectAltName.

use std::fmt;

use der::{
    Decode,
    asn1::{ObjectIdentifier, Utf8StringRef},
};
use wire::Timestamp;
use x509_cert::ext::pkix::{SubjectAltName, name::GeneralName};

use super::oid;

/// Longest address on a card, in characters.
const ADDRESS_CHARACTERS: usize = 200;

/// Japan Standard Time is nine hours ahead of UTC, all year.
const JAPAN_AHEAD_S: u64 = 9 * 3600;

/// 基本4情報, with the flags that say which characters are substitutes. Personal data: `Debug`
/// shows none of it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CardAttributes {
    /// 氏名, with a full-width space between family and given name.
    pub name: String,
    pub birth_date: BirthDate,
    pub gender: Gender,
    /// 住所, prefecture first.
    pub address: String,
    /// One flag per character (Unicode scalar value) of `name`, the space included: whether the
    /// character stands for one that the card cannot carry.
    pub name_substituted: Vec<bool>,
    /// One flag per character of `address`.
    pub address_substituted: Vec<bool>,
}

impl fmt::Debug for CardAttributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CardAttributes(..)")
    }
}

/// Why the subjectAltName is not that of a card. Carries no value from the card.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadAttribute {
    #[error("the subjectAltName is malformed or holds something other than otherNames")]
    Malformed,
    #[error("the six otherNames are not there once each in their order; at fault is {0}")]
    Order(ObjectIdentifier),
    #[error("otherName {0} is not a UTF8String")]
    NotText(ObjectIdentifier),
    #[error("otherName {0} is empty")]
    Empty(ObjectIdentifier),
    #[error("the birth date is not EYYYYMMDD with a day of the calendar in the era it names")]
    BirthDate,
    #[error("the gender is not one of 1, 2, 3")]
    Gender,
    #[error("the address is longer than {ADDRESS_CHARACTERS} characters")]
    AddressTooLong,
    #[error("otherName {0} does not hold one 0 or 1 for each character of its text")]
    Flags(ObjectIdentifier),
}

impl CardAttributes {
    /// Reads the value of a subjectAltName extension. OtherNames with OIDs outside the six are
    /// passed over, wherever they stand.
    pub(super) fn from_subject_alt_name(value: &[u8]) -> Result<Self, BadAttribute> {
        let SubjectAltName(names) =
            SubjectAltName::from_der(value).map_err(|_| BadAttribute::Malformed)?;
        let mut texts: Vec<&str> = Vec::with_capacity(oid::OTHER_NAMES.len());
        for name in &names {
            let GeneralName::OtherName(other) = name else { return Err(BadAttribute::Malformed) };
            if !oid::OTHER_NAMES.contains(&other.type_id) {
                continue;
            }
            if oid::OTHER_NAMES.get(texts.len()) != Some(&other.type_id) {
                return Err(BadAttribute::Order(other.type_id));
            }
            let text = Utf8StringRef::try_from(&other.value)
                .map_err(|_| BadAttribute::NotText(other.type_id))?
                .as_str();
            if text.is_empty() {
                return Err(BadAttribute::Empty(other.type_id));
            }
            texts.push(text);
        }
        let texts: [&str; 6] = texts
            .try_into()
            .map_err(|found: Vec<_>| BadAttribute::Order(oid::OTHER_NAMES[found.len()]))?;
        let [name, birth_date, gender, address, name_flags, address_flags] = texts;
        if address.chars().count() > ADDRESS_CHARACTERS {
            return Err(BadAttribute::AddressTooLong);
        }
        Ok(Self {
            name: name.to_owned(),
            birth_date: birth_date.parse()?,
            gender: Gender::from_code(gender).ok_or(BadAttribute::Gender)?,
            address: address.to_owned(),
            name_substituted: flags(name_flags, name, oid::NAME_SUBSTITUTED)?,
            address_substituted: flags(address_flags, address, oid::ADDRESS_SUBSTITUTED)?,
        })
    }
}

fn flags(text: &str, of: &str, oid: ObjectIdentifier) -> Result<Vec<bool>, BadAttribute> {
    let flags: Option<Vec<bool>> = (text.chars())
        .map(|c| match c {
            '0' => Some(false),
            '1' => Some(true),
            _ => None,
        })
        .collect();
    flags.filter(|flags| flags.len() == of.chars().count()).ok_or(BadAttribute::Flags(oid))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gender {
    Male,
    Female,
    Unknown,
}

impl Gender {
    pub fn code(self) -> u8 {
        match self {
            Self::Male => 1,
            Self::Female => 2,
            Self::Unknown => 3,
        }
    }

    fn from_code(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::Male),
            "2" => Some(Self::Female),
            "3" => Some(Self::Unknown),
            _ => None,
        }
    }
}

/// 元号, as the first digit of a birth date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    Unknown,
    Meiji,
    Taisho,
    Showa,
    Heisei,
    Reiwa,
}

impl Era {
    const ALL: [Self; 6] =
        [Self::Unknown, Self::Meiji, Self::Taisho, Self::Showa, Self::Heisei, Self::Reiwa];

    /// First and last day (year, month, day). A day on which two eras meet belongs to both
    /// (30 July 1912, 25 December 1926). Meiji begins with the year to which it was dated back.
    fn days(self) -> [(u16, u8, u8); 2] {
        match self {
            Self::Unknown => [(1, 1, 1), (9999, 12, 31)],
            Self::Meiji => [(1868, 1, 1), (1912, 7, 30)],
            Self::Taisho => [(1912, 7, 30), (1926, 12, 25)],
            Self::Showa => [(1926, 12, 25), (1989, 1, 7)],
            Self::Heisei => [(1989, 1, 8), (2019, 4, 30)],
            Self::Reiwa => [(2019, 5, 1), (9999, 12, 31)],
        }
    }

    pub fn digit(self) -> u8 {
        self as u8
    }
}

/// 生年月日: a day of the Gregorian calendar and the era under which the card lists it. `Debug`
/// shows nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BirthDate {
    era: Era,
    year: u16,
    month: u8,
    day: u8,
}

impl BirthDate {
    /// A day of the Gregorian calendar that lies in `era`.
    pub fn new(era: Era, year: u16, month: u8, day: u8) -> Result<Self, BadAttribute> {
        let [first, last] = era.days();
        let date = (year, month, day);
        let exists = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
        if !exists || date < first || date > last {
            return Err(BadAttribute::BirthDate);
        }
        Ok(Self { era, year, month, day })
    }

    pub fn era(&self) -> Era {
        self.era
    }

    /// Year, month, day of the Gregorian calendar.
    pub fn gregorian(&self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }

    /// The first moment at which who was born on this day is so many years old: as the law counts
    /// (年齢計算ニ関スル法律), the day before the birthday ends then, in Japan. Without a 29 February that
    /// is the first of March.
    pub fn turns(&self, years: u16) -> Timestamp {
        midnight(self.year.saturating_add(years), self.month, self.day)
    }

    /// `EYYYYMMDD`, as the card has it.
    pub fn card_text(&self) -> String {
        format!("{}{:04}{:02}{:02}", self.era.digit(), self.year, self.month, self.day)
    }
}

impl std::str::FromStr for BirthDate {
    type Err = BadAttribute;

    fn from_str(text: &str) -> Result<Self, BadAttribute> {
        if text.len() != 9 || !text.bytes().all(|c| c.is_ascii_digit()) {
            return Err(BadAttribute::BirthDate);
        }
        let number =
            |part: &str| part.parse::<u16>().expect("four digits at most, checked to be digits");
        let era = *Era::ALL.get(usize::from(number(&text[..1]))).ok_or(BadAttribute::BirthDate)?;
        let (month, day) = (number(&text[5..7]) as u8, number(&text[7..]) as u8);
        Self::new(era, number(&text[1..5]), month, day)
    }
}

impl fmt::Debug for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BirthDate(..)")
    }
}

/// The first moment of a day of the Gregorian calendar in Japan; 1970 for every day before (H. Hinnant,
/// "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`; years are counted from March).
fn midnight(year: u16, month: u8, day: u8) -> Timestamp {
    let (month, day) = (u64::from(month), u64::from(day));
    let year = u64::from(year) - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).saturating_sub(719_468);
    Timestamp::from_secs((days * 86_400).saturating_sub(JAPAN_AHEAD_S))
}

fn days_of(year: u16, month: u8) -> u8 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => {
            29
        }
        2 => 28,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn birth_dates_are_days_of_the_calendar_in_their_era() {
        for (text, date) in [
            ("319380207", (1938, 2, 7)),
            ("119120730", (1912, 7, 30)),
            ("219120730", (1912, 7, 30)),
            ("319890107", (1989, 1, 7)),
            ("419890108", (1989, 1, 8)),
            ("420190430", (2019, 4, 30)),
            ("520190501", (2019, 5, 1)),
            ("420000229", (2000, 2, 29)),
            ("018500101", (1850, 1, 1)),
        ] {
            let parsed: BirthDate = text.parse().unwrap();
            assert_eq!(parsed.gregorian(), date);
            assert_eq!(parsed.card_text(), text);
        }
        for text in [
            "",
            "31938020",
            "3193802071",
            "6193802 7",
            "619380207",
            "319380229",
            "419000229",
            "319381301",
            "319380100",
            "419890107",
            "319890108",
            "520190430",
            "-19380207",
            "３19380207",
        ] {
            assert_eq!(text.parse::<BirthDate>(), Err(BadAttribute::BirthDate), "{text}");
        }
    }

    #[test]
    fn an_age_is_reached_when_the_day_before_the_birthday_ends_in_japan() {
        for (born, years, at) in [
            // 2026-03-31 15:00 UTC
            ("420080401", 18, 1_774_969_200),
            ("420080401", 0, 1_206_975_600),
            // 2018-02-28 15:00 UTC, since that year has no 29 February
            ("420000229", 18, 1_519_830_000),
            // 2020-02-28 15:00 UTC
            ("420000229", 20, 1_582_902_000),
            // 2000-12-31 15:00 UTC
            ("419910101", 10, 978_274_800),
            ("319380207", 18, 0),
        ] {
            let born: BirthDate = born.parse().unwrap();
            assert_eq!(born.turns(years), Timestamp::from_secs(at), "{}", born.card_text());
        }
    }

    #[test]
    fn flags_count_characters_not_bytes() {
        assert_eq!(flags("0010", "山田　子", oid::NAME).unwrap(), [false, false, true, false]);
        // Beyond the basic plane a character is still one.
        assert_eq!(flags("01", "𠮷田", oid::NAME).unwrap(), [false, true]);
        for bad in ["", "001", "00100", "0 10", "0020"] {
            let error = BadAttribute::Flags(oid::NAME);
            assert_eq!(flags(bad, "山田　子", oid::NAME), Err(error), "{bad}");
        }
    }

    #[test]
    fn debug_shows_nothing() {
        let attributes = CardAttributes {
            name: "山田　花子".into(),
            birth_date: "319380207".parse().unwrap(),
            gender: Gender::Female,
            address: "群馬県前橋市".into(),
            name_substituted: vec![false; 5],
            address_substituted: vec![false; 6],
        };
        assert_eq!(format!("{attributes:?}"), "CardAttributes(..)");
        assert_eq!(format!("{:?}", attributes.birth_date), "BirthDate(..)");
    }
}
