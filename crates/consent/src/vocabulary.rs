//! The published vocabulary: which item types and purposes are leaves (`specs/vocabulary`, with their
//! labels; `specs/04-consent.md`, section Vocabulary). A version, once published, never changes; nothing
//! is ever re-parented. A permit means the leaves of the version it pins; a deny means everything at and
//! below what it names there will ever be.
//!
//! Organisations may use types and purposes below `x.<corporate number>`, which are leaves by definition.

use wire::{ItemType, Purpose};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    pub version: u32,
    /// Sorted.
    leaves: &'static [&'static str],
    /// Leaves; sorted.
    purposes: &'static [&'static str],
}

/// Non-personal data: needs no consent, and no decision ever covers it.
pub const PUBLIC: &str = "public";

const VERSION_1: Vocabulary = Vocabulary {
    version: 1,
    leaves: &[
        "education.enrolment",
        "finance.account-holder",
        "health.allergy",
        "health.condition",
        "health.immunization",
        "health.medication",
        "identity.address",
        "identity.birth-date",
        "identity.gender",
        "identity.name",
        "welfare.child-support",
    ],
    purposes: &[
        "account-opening",
        "administration",
        "education.admission",
        "education.school-health",
        "emergency",
        "meal-service",
        "research.medicine",
        "research.public-health",
        "treatment",
        "welfare.benefit-assessment",
        "welfare.child-care",
        "welfare.long-term-care",
    ],
};

/// What new decisions pin and requests are read by.
pub const CURRENT: Vocabulary = VERSION_1;

impl Vocabulary {
    /// A published version, if this node knows it.
    pub fn version(version: u32) -> Option<Self> {
        [VERSION_1].into_iter().find(|known| known.version == version)
    }

    pub fn is_leaf(&self, item: &ItemType) -> bool {
        self.has_leaf(item) || is_own_type(item)
    }

    /// Whether it is a published leaf.
    pub fn has_leaf(&self, item: &ItemType) -> bool {
        self.leaves.binary_search(&item.as_str()).is_ok()
    }

    /// Whether it can be asked for: a purpose, not a category of them.
    pub fn knows_purpose(&self, purpose: &Purpose) -> bool {
        self.has_purpose(purpose) || is_own_purpose(purpose)
    }

    /// Whether it is a published purpose.
    pub fn has_purpose(&self, purpose: &Purpose) -> bool {
        self.purposes.binary_search(&purpose.as_str()).is_ok()
    }

    /// The leaves that `item` means: itself, or every leaf below it. Empty if it means nothing.
    pub fn leaves_of(&self, item: &ItemType) -> Vec<ItemType> {
        if is_own_type(item) {
            return vec![item.clone()];
        }
        (self.leaves.iter())
            .map(|leaf| leaf.parse::<ItemType>().expect("published leaves are item types"))
            .filter(|leaf| leaf.is_within(item))
            .collect()
    }
}

/// `x.<corporate number>.<name>…`: a type of an organisation's own.
pub(crate) fn is_own_type(item: &ItemType) -> bool {
    is_own(item.as_str())
}

/// `x.<corporate number>.<name>…`: a purpose of an organisation's own.
pub(crate) fn is_own_purpose(purpose: &Purpose) -> bool {
    is_own(purpose.as_str())
}

fn is_own(code: &str) -> bool {
    let mut labels = code.split('.');
    labels.next() == Some("x")
        && labels.next().is_some_and(|label| label.parse::<wire::OrganisationId>().is_ok())
        && labels.next().is_some()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn item(text: &str) -> ItemType {
        text.parse().unwrap()
    }

    fn purpose(text: &str) -> Purpose {
        text.parse().unwrap()
    }

    #[test]
    fn tables_are_sorted_and_parse() {
        assert!(CURRENT.leaves.is_sorted() && CURRENT.purposes.is_sorted());
        for leaf in CURRENT.leaves {
            assert!(CURRENT.is_leaf(&item(leaf)));
            // No leaf is a category of another.
            assert_eq!(CURRENT.leaves_of(&item(leaf)), [item(leaf)]);
        }
        for leaf in CURRENT.purposes {
            assert!(CURRENT.knows_purpose(&purpose(leaf)));
            let below = CURRENT.purposes.iter().filter(|p| purpose(p).is_within(&purpose(leaf)));
            assert_eq!(below.count(), 1, "{leaf}");
        }
    }

    #[test]
    fn the_published_file_says_the_same() {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            version: u32,
            items: Vec<Row>,
            purposes: Vec<Row>,
        }
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Row {
            code: String,
            leaf: bool,
            ja: String,
            en: String,
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/vocabulary/1.json");
        let file: File = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert_eq!(file.version, CURRENT.version);
        for (rows, leaves) in [(&file.items, CURRENT.leaves), (&file.purposes, CURRENT.purposes)] {
            assert!(rows.windows(2).all(|two| two[0].code < two[1].code), "sorted, each once");
            let listed: Vec<_> = rows.iter().filter(|row| row.leaf).map(|row| &*row.code).collect();
            assert_eq!(listed, leaves);
            let categories: BTreeSet<_> =
                leaves.iter().filter_map(|leaf| Some(leaf.rsplit_once('.')?.0)).collect();
            let named: BTreeSet<_> =
                rows.iter().filter(|row| !row.leaf).map(|row| &*row.code).collect();
            assert_eq!(named, categories, "every category has its words, and no other is named");
            for row in rows {
                assert!(!row.ja.is_empty() && !row.ja.is_ascii() && row.en.is_ascii());
                assert!(!row.en.is_empty(), "{}", row.code);
            }
        }
    }

    #[test]
    fn a_category_means_every_leaf_below_it() {
        let health = CURRENT.leaves_of(&item("health"));
        assert_eq!(health.len(), 4);
        assert!(CURRENT.leaves_of(&item("healt")).is_empty());
        assert!(CURRENT.leaves_of(&item("weather")).is_empty());
        assert!(!CURRENT.knows_purpose(&purpose("welfare")), "a category is no purpose");
    }

    #[test]
    fn own_types_are_leaves() {
        for (text, own) in [
            ("x.9000020102016.lunch-menu", true),
            ("x.9000020102016.lunch-menu.today", true),
            ("x.9000020102016", false),
            ("x.123.lunch-menu", false),
            ("y.9000020102016.lunch-menu", false),
        ] {
            assert_eq!(CURRENT.is_leaf(&item(text)), own, "{text}");
            if text.split('.').count() <= 4 {
                assert_eq!(CURRENT.knows_purpose(&purpose(text)), own, "{text}");
            }
        }
    }

    #[test]
    fn an_unknown_version_is_not_guessed() {
        assert!(Vocabulary::version(1).is_some());
        assert!(Vocabulary::version(2).is_none());
    }
}
