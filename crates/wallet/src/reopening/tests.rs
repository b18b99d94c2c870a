use std::collections::BTreeSet;

use trust::testing::NOW;
use wire::{
    DecisionId,
    channel::{ChannelId, EntryKind},
    consent::{Collapse, Reopen, Scope, collapse_digest},
};

use crate::testing::{Citizen, LUNCH, TestHome, nonce, service};

fn collapse(home: &mut TestHome, citizen: &Citizen, ids: BTreeSet<DecisionId>) -> Reopen {
    let subject = citizen.wallet.pair(&service(LUNCH)).unwrap().subject;
    let channel = ChannelId { home: home.node.organisation.clone(), source: service(LUNCH) };
    let denies = ids.iter().copied().collect();
    let list = home.sign(Collapse { channel, subject, denies, time: NOW });
    home.append(EntryKind::COLLAPSE, subject, Scope::EVERYTHING, &list);
    Reopen::Collapsed(collapse_digest(&ids))
}

#[test]
fn a_list_names_all_of_its_denies_or_none() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "Sakura");
    let [first, second] = [1, 2].map(|n| {
        let stop = citizen.wallet.stop_everything(&service(LUNCH), nonce(n), NOW).unwrap();
        citizen.decide(&mut home, stop)
    });
    let known = collapse(&mut home, &citizen, [first].into());
    let strange = collapse(&mut home, &citizen, [second, DecisionId([9; 32])].into());
    let register = home.register();
    let view = citizen.wallet.read_register(&service(LUNCH), &register, home.trust(), NOW).unwrap();
    assert_eq!(view.denies_named_by(&known), Some(vec![first]));
    assert_eq!(view.denies_named_by(&strange), None, "one of them was never shown");
    let together: Vec<_> = view.together(&[first, second]).into_keys().collect();
    assert_eq!(together, [known]);
}
