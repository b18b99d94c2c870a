//! Properties of the rule over sets of things said, and the rule written down a second time: over the
//! bare list of what was said, in no form that [`PairState`] knows.

use proptest::prelude::*;

use super::*;

/// One thing that came in.
#[allow(clippy::large_enum_variant)] // a handful at a time
#[derive(Debug, Clone)]
enum Said {
    Permit(u8, StandingPermit),
    Deny(u8, StandingDeny),
    End(u8, BTreeSet<DecisionId>),
    Collapse(BTreeSet<DecisionId>),
}

fn state(said: &[Said]) -> PairState {
    let mut state = pair();
    for said in said {
        match said.clone() {
            Said::Permit(n, permit) => {
                state.permits.insert(id(n), permit);
            }
            Said::Deny(n, deny) => state.apply_deny(id(n), deny),
            Said::End(n, keeps) => state.end_key(key(n), keeps),
            Said::Collapse(ids) => state.collapse(ids),
        }
    }
    state
}

/// What one ask comes to.
#[derive(Debug, Clone, Copy)]
struct Asked {
    leaf: &'static str,
    purpose: &'static str,
    at: Timestamp,
}

impl Asked {
    fn of(&self, said: &[Said]) -> Result<Permitted, Refused> {
        let purpose = self.purpose.parse().unwrap();
        Ask { purpose, at: self.at, ..Ask::new(&[self.leaf]) }.of(&state(said))
    }

    fn allowed(&self, said: &[Said]) -> bool {
        self.of(said).is_ok()
    }

    /// The rule, naively: is there a permit such that no deny is left over?
    fn naive(&self, said: &[Said]) -> bool {
        let below = |code: &str, named: &str| format!("{code}.").starts_with(&format!("{named}."));
        let covers = |scope: &Scope| {
            let recipient = match &scope.recipient {
                Recipient::Any => true,
                Recipient::Service(service) => *service == hospital(),
            };
            let items = match &scope.items {
                Items::All => true,
                Items::Types(types) => types.iter().any(|item| below(self.leaf, item.as_str())),
            };
            let purpose = match &scope.purpose {
                PurposeScope::Any => true,
                PurposeScope::Code(code) => below(self.purpose, code.as_str()),
            };
            recipient && items && purpose
        };
        let ends = |signer: KeyHash| {
            said.iter().filter_map(move |said| match said {
                Said::End(n, keeps) if key(*n) == signer => Some(keeps),
                _ => None,
            })
        };
        let live = |n: u8, standing: &StandingPermit| {
            (1..=4).any(|begun| key(begun) == standing.key)
                && ends(standing.key).all(|keeps| keeps.contains(&id(n)))
                && (standing.permit.valid_from.0..standing.permit.valid_until.0)
                    .contains(&self.at.0)
                && covers(&standing.scope)
        };
        let reopens = |standing: &StandingPermit, n: u8, deny: &StandingDeny| {
            let signer = deny.key.unwrap();
            let mut ways = vec![Reopen::Deny(id(n))];
            if ends(signer).next().is_some() {
                ways.push(Reopen::Key(signer));
            }
            for said in said {
                if let Said::Collapse(ids) = said
                    && ids.contains(&id(n))
                {
                    ways.push(Reopen::Collapsed(wire::consent::collapse_digest(ids)));
                }
            }
            ways.iter().any(|way| standing.permit.reopens.contains(way))
        };
        said.iter().any(|permit| {
            let Said::Permit(n, standing) = permit else { return false };
            live(*n, standing)
                && !said.iter().any(|deny| {
                    let Said::Deny(n, deny) = deny else { return false };
                    covers(&deny.scope) && !reopens(standing, *n, deny)
                })
        })
    }
}

const DENIES: std::ops::Range<u8> = 100..106;

/// The lists that a collapse may have, so that a permit can name one that exists.
fn lists() -> [BTreeSet<DecisionId>; 3] {
    [&[100, 101, 102][..], &[102, 103, 150], &[104]].map(|ids| ids.iter().map(|n| id(*n)).collect())
}

fn any_scope(deny: bool) -> impl Strategy<Value = Scope> {
    let mut recipients = vec![Some(hospital()), Some(clinic())];
    if deny {
        recipients.push(None);
    }
    let items: Vec<&[&str]> =
        vec![&[], &["health"], &["health.allergy"], &["health.allergy", "identity"], &["identity"]];
    let purposes = vec![None, Some("treatment"), Some("welfare"), Some("welfare.child-care")];
    (prop::sample::select(recipients), prop::sample::select(items), prop::sample::select(purposes))
        .prop_map(|(recipient, items, purpose)| scope(recipient, items, purpose))
}

fn any_permit() -> impl Strategy<Value = Said> {
    let reopen = prop_oneof![
        3 => DENIES.prop_map(|n| Reopen::Deny(id(n))),
        1 => (1u8..5).prop_map(|n| Reopen::Key(key(n))),
        2 => prop::sample::select(lists().to_vec())
            .prop_map(|ids| Reopen::Collapsed(wire::consent::collapse_digest(&ids))),
    ];
    let reopens = prop::collection::vec(reopen, 0..5);
    (0u8..6, any_scope(false), reopens, 1u8..6, 0u64..3, 1u64..4).prop_map(
        |(n, scope, reopens, signer, from, days)| {
            let mut standing = permit(signer);
            standing.scope = scope;
            standing.permit.reopens = reopens;
            standing.permit.valid_from = T0.plus_ms(from * DAY);
            standing.permit.valid_until = T0.plus_ms((from + days) * DAY);
            Said::Permit(n, standing)
        },
    )
}

fn any_said() -> impl Strategy<Value = Said> {
    let keeps = prop::collection::btree_set((0u8..6).prop_map(id), 0..3);
    prop_oneof![
        4 => any_permit(),
        3 => (DENIES, any_scope(true), 1u8..6).prop_map(|(n, scope, signer)| {
            Said::Deny(n, StandingDeny { key: Some(key(signer)), scope, unreadable_from: None })
        }),
        1 => (1u8..5, keeps).prop_map(|(n, keeps)| Said::End(n, keeps)),
        1 => prop::sample::select(lists().to_vec()).prop_map(Said::Collapse),
    ]
}

/// Things said in some order; one id is one decision.
fn any_set() -> impl Strategy<Value = Vec<Said>> {
    prop::collection::vec(any_said(), 0..9).prop_map(|said| {
        let mut seen = BTreeSet::new();
        let once = said.into_iter().filter(|said| match said {
            Said::Permit(n, _) | Said::Deny(n, _) => seen.insert(*n),
            Said::End(..) | Said::Collapse(_) => true,
        });
        once.collect()
    })
}

fn any_ask() -> impl Strategy<Value = Asked> {
    let leaves = &["health.allergy", "health.medication", "identity.name"][..];
    let purposes = &["treatment", "welfare.child-care", "emergency"][..];
    (prop::sample::select(leaves), prop::sample::select(purposes), 0u64..6)
        .prop_map(|(leaf, purpose, day)| Asked { leaf, purpose, at: T0.plus_ms(day * DAY) })
}

fn everything(n: u8) -> Said {
    let deny = StandingDeny { key: Some(key(9)), scope: Scope::EVERYTHING, unreadable_from: None };
    Said::Deny(n, deny)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn it_agrees_with_the_naive_rule(said in any_set(), ask in any_ask()) {
        prop_assert_eq!(ask.allowed(&said), ask.naive(&said));
    }

    #[test]
    fn every_order_of_arrival_gives_the_same(
        (said, shuffled) in any_set().prop_flat_map(|said| {
            (Just(said.clone()), Just(said).prop_shuffle())
        }),
        ask in any_ask(),
    ) {
        prop_assert_eq!(state(&said), state(&shuffled));
        prop_assert_eq!(ask.of(&said), ask.of(&shuffled));
    }

    #[test]
    fn adding_a_deny_never_allows_anything(said in any_set(), scope in any_scope(true), ask in any_ask()) {
        let mut more = said.clone();
        more.push(Said::Deny(200, StandingDeny { key: Some(key(1)), scope, unreadable_from: None }));
        prop_assert!(!ask.allowed(&more) || ask.allowed(&said));
    }

    #[test]
    fn a_permit_never_reopens_a_deny_it_does_not_name(said in any_set(), ask in any_ask()) {
        // No permit of any set names deny 200, its key or a list that has it.
        let mut more = said;
        more.push(everything(200));
        prop_assert_eq!(ask.of(&more).ok(), None);
    }

    #[test]
    fn collapsing_changes_no_answer(said in any_set(), ask in any_ask()) {
        // All denies there are, under a digest that no permit names.
        let mut more = said.clone();
        more.push(Said::Collapse(DENIES.map(id).collect()));
        prop_assert_eq!(ask.of(&more), ask.of(&said));
        prop_assert!(state(&more).denies.is_empty());
    }

    #[test]
    fn what_comes_again_changes_nothing(said in any_set(), at in any::<prop::sample::Index>()) {
        if !said.is_empty() {
            let mut again = said.clone();
            again.push(said[at.index(said.len())].clone());
            prop_assert_eq!(state(&again), state(&said));
        }
    }
}
