//! The published vocabulary: which item types are leaves, and which purposes exist
//! (`specs/04-consent.md`, section Vocabulary). A version, once published, never changes; types are
//! never re-parented. A permit means the leaves of the version it pins; a deny means everything at
//! and below its types there will ever be.
//!
//! Organisations may use types below `x.<corporate number>`, which are leaves by definition.

use wire::{ItemType, Purpose};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vocabulary {
    pub version: u32,
    /// Sorted.
    leaves: &'static [&'static str],
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
    purposes: &["account-opening", "administration", "emergency", "meal-service", "treatment"],
};

/// What new decisions pin and requests are read by.
pub const CURRENT: Vocabulary = VERSION_1;

impl Vocabulary {
    /// A published version, if this node knows it.
    pub fn version(version: u32) -> Option<Self> {
        [VERSION_1].into_iter().find(|known| known.version == version)
    }

    pub fn is_leaf(&self, item: &ItemType) -> bool {
        self.leaves.binary_search(&item.as_str()).is_ok() || is_own_type(item)
    }

    pub fn knows_purpose(&self, purpose: &Purpose) -> bool {
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
fn is_own_type(item: &ItemType) -> bool {
    let mut labels = item.as_str().split('.');
    labels.next() == Some("x")
        && labels.next().is_some_and(|label| label.parse::<wire::OrganisationId>().is_ok())
        && labels.next().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> ItemType {
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
        for purpose in CURRENT.purposes {
            assert!(CURRENT.knows_purpose(&purpose.parse().unwrap()));
        }
    }

    #[test]
    fn a_category_means_every_leaf_below_it() {
        let health = CURRENT.leaves_of(&item("health"));
        assert_eq!(health.len(), 4);
        assert!(CURRENT.leaves_of(&item("healt")).is_empty());
        assert!(CURRENT.leaves_of(&item("weather")).is_empty());
    }

    #[test]
    fn own_types_are_leaves() {
        let own = item("x.9000020102016.lunch-menu");
        assert!(CURRENT.is_leaf(&own));
        assert!(!CURRENT.is_leaf(&item("x.9000020102016")));
        assert!(!CURRENT.is_leaf(&item("x.123.lunch-menu")));
    }

    #[test]
    fn an_unknown_version_is_not_guessed() {
        assert!(Vocabulary::version(1).is_some());
        assert!(Vocabulary::version(2).is_none());
    }
}
