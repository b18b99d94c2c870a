//! What a scope covers. A deny covers by name alone: every descendant there will ever be. A permit
//! covers the leaves of the vocabulary version it pins.

use wire::{
    ItemType, Purpose, ServiceName,
    consent::{Items, PurposeScope, Recipient, Scope},
    limits,
};

use crate::vocabulary::{self, PUBLIC, Vocabulary};

/// Whether a deny of `scope` covers `leaf` for `recipient` and `purpose`.
pub fn covers(scope: &Scope, leaf: &ItemType, recipient: &ServiceName, purpose: &Purpose) -> bool {
    covers_recipient(scope, recipient)
        && covers_purpose(scope, purpose)
        && match &scope.items {
            Items::All => true,
            Items::Types(types) => types.iter().any(|item| leaf.is_within(item)),
        }
}

/// Whether a permit of `scope` that pins `vocabulary` covers `leaf` for `purpose`. All, any and
/// categories are every leaf below of the pinned version, and no more. An organisation's own types and
/// purposes have no versions: a permit covers one by its exact name only.
pub fn permits(
    scope: &Scope,
    vocabulary: &Vocabulary,
    leaf: &ItemType,
    recipient: &ServiceName,
    purpose: &Purpose,
) -> bool {
    let item = match &scope.items {
        Items::All => vocabulary.has_leaf(leaf),
        Items::Types(types) => types.iter().any(|named| {
            (vocabulary.has_leaf(leaf) && leaf.is_within(named))
                || (vocabulary::is_own_type(leaf) && named == leaf)
        }),
    };
    let purpose = match &scope.purpose {
        PurposeScope::Any => vocabulary.has_purpose(purpose),
        PurposeScope::Code(named) => {
            (vocabulary.has_purpose(purpose) && purpose.is_within(named))
                || (vocabulary::is_own_purpose(purpose) && named == purpose)
        }
    };
    item && purpose && covers_recipient(scope, recipient)
}

/// Whether some request could be covered by both: what a new permit has to reopen to matter.
pub fn overlaps(a: &Scope, b: &Scope) -> bool {
    let recipients = match (&a.recipient, &b.recipient) {
        (Recipient::Service(a), Recipient::Service(b)) => a == b,
        _ => true,
    };
    let purposes = match (&a.purpose, &b.purpose) {
        (PurposeScope::Code(a), PurposeScope::Code(b)) => a.is_within(b) || b.is_within(a),
        _ => true,
    };
    let items = match (&a.items, &b.items) {
        (Items::Types(a), Items::Types(b)) => {
            a.iter().any(|a| b.iter().any(|b| a.is_within(b) || b.is_within(a)))
        }
        _ => true,
    };
    recipients && purposes && items
}

/// Whether the scope is written in its one form: at least one and at most [`limits::ITEMS`] types,
/// sorted, each once, none of them public.
pub fn is_well_formed(scope: &Scope) -> bool {
    match &scope.items {
        Items::All => true,
        Items::Types(types) => {
            (1..=limits::ITEMS).contains(&types.len())
                && types.windows(2).all(|pair| pair[0] < pair[1])
                && !types.iter().any(is_public)
        }
    }
}

/// Whether an item is non-personal data, outside of consent.
pub fn is_public(item: &ItemType) -> bool {
    item.as_str().split('.').next() == Some(PUBLIC)
}

fn covers_recipient(scope: &Scope, recipient: &ServiceName) -> bool {
    match &scope.recipient {
        Recipient::Any => true,
        Recipient::Service(service) => service == recipient,
    }
}

fn covers_purpose(scope: &Scope, purpose: &Purpose) -> bool {
    match &scope.purpose {
        PurposeScope::Any => true,
        PurposeScope::Code(code) => purpose.is_within(code),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSPITAL: &str = "9000020102016/hospital";
    const CLINIC: &str = "9000020102016/clinic";

    fn scope(recipient: Option<&str>, items: &[&str], purpose: Option<&str>) -> Scope {
        Scope {
            recipient: recipient.map_or(Recipient::Any, |r| Recipient::Service(r.parse().unwrap())),
            items: if items.is_empty() {
                Items::All
            } else {
                Items::Types(items.iter().map(|item| item.parse().unwrap()).collect())
            },
            purpose: purpose.map_or(PurposeScope::Any, |p| PurposeScope::Code(p.parse().unwrap())),
        }
    }

    fn covered(scope: &Scope, leaf: &str, recipient: &str, purpose: &str) -> bool {
        let [leaf, purpose] = [leaf, purpose].map(str::to_owned);
        covers(
            scope,
            &leaf.parse().unwrap(),
            &recipient.parse().unwrap(),
            &purpose.parse().unwrap(),
        )
    }

    #[test]
    fn a_table_of_scopes() {
        let allergy = scope(Some(HOSPITAL), &["health.allergy"], Some("treatment"));
        assert!(covered(&allergy, "health.allergy", HOSPITAL, "treatment"));
        assert!(covered(&allergy, "health.allergy.food", HOSPITAL, "treatment"));
        assert!(!covered(&allergy, "health.allergy-food", HOSPITAL, "treatment"));
        assert!(!covered(&allergy, "health", HOSPITAL, "treatment"));
        assert!(!covered(&allergy, "health.allergy", CLINIC, "treatment"));
        assert!(!covered(&allergy, "health.allergy", HOSPITAL, "administration"));
        assert!(covered(&Scope::EVERYTHING, "x.any.thing", CLINIC, "anything"));
        assert!(covered(&scope(None, &["health"], None), "health.new-leaf", CLINIC, "emergency"));
    }

    #[test]
    fn overlap_is_symmetric_and_wide_enough() {
        let narrow = scope(Some(HOSPITAL), &["health.allergy"], Some("treatment"));
        let wide = scope(None, &["health"], None);
        let other = scope(Some(CLINIC), &["health"], None);
        assert!(overlaps(&narrow, &wide) && overlaps(&wide, &narrow));
        assert!(overlaps(&narrow, &Scope::EVERYTHING));
        assert!(!overlaps(&narrow, &other) && !overlaps(&other, &narrow));
        assert!(!overlaps(&narrow, &scope(Some(HOSPITAL), &["identity"], None)));
        let [welfare, care] = ["welfare", "welfare.child-care"].map(|p| scope(None, &[], Some(p)));
        assert!(overlaps(&welfare, &care) && overlaps(&care, &welfare));
        assert!(!overlaps(&narrow, &welfare));
    }

    #[test]
    fn one_form_only() {
        assert!(is_well_formed(&scope(None, &["health", "identity"], None)));
        assert!(!is_well_formed(&scope(None, &["identity", "health"], None)));
        assert!(!is_well_formed(&scope(None, &["health", "health"], None)));
        assert!(!is_well_formed(&scope(None, &["public.weather"], None)));
        let none = Scope { items: Items::Types(vec![]), ..Scope::EVERYTHING };
        assert!(!is_well_formed(&none));
    }

    #[test]
    fn a_permit_for_all_means_the_leaves_it_pins() {
        let all = scope(Some(HOSPITAL), &[], None);
        let permitted = |leaf: &str| {
            permits(
                &all,
                &crate::vocabulary::CURRENT,
                &leaf.parse().unwrap(),
                &HOSPITAL.parse().unwrap(),
                &"treatment".parse().unwrap(),
            )
        };
        assert!(permitted("health.allergy"));
        assert!(!permitted("health.invented-later"));
    }
}
