use wire::{
    OrganisationId, PublicKey, Signer,
    membership::{Authority, CaPurpose, Denied, Municipality, Role},
};

use super::*;
use crate::testing::{NOW, TestNetwork, TestSigner, role_keys};

const DAY_MS: u64 = 86_400_000;
const FRESH: (u64, u64) = (DAY_MS, 14 * DAY_MS);

/// A fifth city's governing keys, one for each role.
fn fifth() -> [TestSigner; 3] {
    ["root", "list", "timestamp"].map(|role| TestSigner::from_label(&format!("fifth {role}")))
}

fn table(before: &Trust, proposals: Vec<Proposal>) -> Ceremony {
    let mut ceremony = Ceremony::new(Some(before.clone()));
    for proposal in proposals {
        ceremony.add(proposal).unwrap();
    }
    ceremony
}

/// Proposes a change, lets these sign, adds the timestamp, and publishes.
fn change(
    before: &Trust,
    renew: Renew,
    change: impl FnOnce(&mut Wanted),
    signers: &[&[TestSigner]],
) -> Result<Trust, CeremonyError> {
    let mut wanted = Wanted::of(before);
    change(&mut wanted);
    let mut ceremony = table(before, propose(Some(before), &wanted, renew, NOW)?);
    ceremony.add(ceremony.draft_timestamp(NOW, FRESH)?)?;
    for signer in signers.iter().flat_map(|role| role.iter()) {
        match ceremony.sign(signer) {
            // Of a role in which nothing changes.
            Err(CeremonyError::NoSay(_)) => {}
            signed => drop(signed?),
        }
    }
    ceremony.publish(NOW).map(|(_, trust)| trust)
}

fn says(ceremony: &Ceremony) -> Vec<String> {
    ceremony.differences().iter().map(ToString::to_string).collect()
}

fn firm() -> OrganisationId {
    OrganisationId::from_base("000000000009").unwrap()
}

#[test]
fn four_cities_found_a_network() {
    let example = TestNetwork::new();
    let wanted = Wanted { ..Wanted::of(&example.trust) };
    let proposals = propose(None, &wanted, Renew::Changed, NOW).unwrap();
    assert_eq!(proposals.len(), 2);
    let mut ceremony = Ceremony::new(None);
    for proposal in &proposals {
        // They travel as files.
        ceremony.add(Proposal::from_bytes(&proposal.bytes()).unwrap()).unwrap();
    }
    assert_eq!(ceremony.network().unwrap(), example.id, "the same root, so the same network");
    let said = says(&ceremony);
    assert_eq!(said[0], "a new network begins: a TESTNET");
    assert!(said.iter().any(|line| line.contains("前橋市") && line.contains("becomes a member")));
    assert!(said.contains(&"the root takes 3 of 4 signatures".to_owned()), "{said:?}");
    ceremony.add(ceremony.draft_timestamp(NOW, FRESH).unwrap()).unwrap();

    // Each signs a copy of their own, wherever they are; together they are enough.
    let copies = |signers: &[TestSigner]| -> Vec<Ceremony> {
        signers.iter().map(|signer| signed_copy(&ceremony, signer)).collect()
    };
    let signers =
        [&example.root_signers[..3], &example.list_signers[1..], &example.timestamp_signers[..3]];
    let mut together = ceremony.clone();
    for (role, signers) in signers.into_iter().enumerate() {
        assert!(matches!(together.publish(NOW), Err(CeremonyError::NotEnough { .. })), "{role}");
        for copy in copies(signers) {
            for proposal in on_the_table(&copy) {
                together.add(proposal).unwrap();
            }
        }
    }
    assert!(together.standings().unwrap().iter().all(Standing::is_enough));
    let (file, trust) = together.publish(NOW).unwrap();
    assert_eq!(Trust::open(&file, &example.id, NOW).unwrap(), trust);
    assert_eq!(trust.municipalities().count(), 4);
}

fn on_the_table(ceremony: &Ceremony) -> Vec<Proposal> {
    let root = ceremony.root.clone().map(Proposal::Root);
    let list = ceremony.list.clone().map(Proposal::List);
    let timestamp = ceremony.timestamp.clone().map(Proposal::Timestamp);
    [root, list, timestamp].into_iter().flatten().collect()
}

fn signed_copy(ceremony: &Ceremony, signer: &TestSigner) -> Ceremony {
    let mut copy = ceremony.clone();
    let signed = copy.sign(signer).unwrap();
    assert_eq!(signed.len(), 1, "a key of one role signs one thing");
    copy
}

#[test]
fn a_fifth_city_is_added_and_another_removed() {
    let network = TestNetwork::new();
    let [_, list_key, timestamp_key] = fifth();
    let organisation = firm();
    let joins = |wanted: &mut Wanted| {
        let (organisation, name) = (organisation.clone(), "渋川市".to_owned());
        wanted.list.municipalities.push(Municipality { organisation, name });
        let keys = [&network.list_signers[..], std::slice::from_ref(&list_key)].concat();
        wanted.trust_list = role_keys(&keys, 4);
        let keys = [&network.timestamp_signers[..], std::slice::from_ref(&timestamp_key)].concat();
        wanted.timestamp = role_keys(&keys, 3);
    };
    // Root, list and timestamp change together: list and timestamp by the new keys.
    let list_signers = [&network.list_signers[..3], std::slice::from_ref(&list_key)].concat();
    let roots = &network.root_signers[..3];
    let trust = change(
        &network.trust,
        Renew::Changed,
        joins,
        &[roots, &list_signers, &network.timestamp_signers[..3]],
    )
    .unwrap();
    assert!(trust.is_municipality(&organisation));
    assert_eq!((trust.versions().root, trust.versions().list), (2, 2));

    let leaves = |wanted: &mut Wanted| {
        wanted.list.municipalities.retain(|city| city.organisation != organisation);
        wanted.list.witnesses.retain(|witness| *witness != network.cities[3].organisation);
    };
    let after =
        change(&trust, Renew::Changed, leaves, &[&list_signers, &network.timestamp_signers[..3]])
            .unwrap();
    assert!(!after.is_municipality(&organisation));
    assert!(!after.allows_role(&network.cities[3].organisation, Role::Witness));
    assert_eq!((after.versions().root, after.versions().list), (2, 3), "the root stays");
}

#[test]
fn a_firm_is_admitted_as_an_issuer_and_signers_read_that_it_is_one() {
    let network = TestNetwork::new();
    let key = TestSigner::from_label("firm");
    let until = NOW.plus_ms(3650 * DAY_MS);
    let anchor = crate::root_ca(
        &firm(),
        "電子証明株式会社",
        &key,
        [7; 16],
        crate::Validity { not_before: NOW, not_after: until },
    );
    let mut wanted = Wanted::of(&network.trust);
    wanted.list.authorities.push(Authority {
        organisation: firm(),
        anchor: anchor.unwrap().into(),
        purposes: vec![CaPurpose::Organisation],
    });
    let proposals = propose(Some(&network.trust), &wanted, Renew::Changed, NOW).unwrap();
    let said = says(&table(&network.trust, proposals));
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("no municipality") && said[0].contains("organisation"), "{said:?}");
    let signers = [&network.list_signers[..3], &network.timestamp_signers[..3]];
    let put = |now: &mut Wanted| *now = wanted;
    let trust = change(&network.trust, Renew::Changed, put, &signers).unwrap();
    assert!(trust.authority(&firm(), CaPurpose::Organisation).is_some());
    assert!(trust.authority(&firm(), CaPurpose::Citizen).is_none());
    assert!(!trust.is_municipality(&firm()));
}

#[test]
fn a_ca_is_replaced_by_its_next_generation() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let key = TestSigner::from_label("next generation");
    let validity = crate::Validity { not_before: NOW, not_after: NOW.plus_ms(3650 * DAY_MS) };
    let anchor = crate::root_ca(&city.organisation, &city.name, &key, [8; 16], validity).unwrap();
    let mut wanted = Wanted::of(&network.trust);
    let old = wanted.list.authorities.remove(0);
    wanted.list.authorities.push(Authority { anchor: anchor.into(), ..old });
    let proposals = propose(Some(&network.trust), &wanted, Renew::Changed, NOW).unwrap();
    let said = says(&table(&network.trust, proposals));
    assert!(said[0].contains("REMOVED") && said[1].contains("may issue"), "{said:?}");
}

/// Three of seven, where it takes four, and everything that they could try instead.
#[test]
fn three_of_seven_achieve_nothing() {
    let seven = |role: &str| -> Vec<TestSigner> {
        (0..7).map(|n| TestSigner::from_label(&format!("{role} {n}"))).collect()
    };
    let (roots, lists, timestamps) = (seven("root"), seven("list"), seven("timestamp"));
    let mut wanted = Wanted::of(&TestNetwork::new().trust);
    wanted.root = role_keys(&roots, 4);
    wanted.trust_list = role_keys(&lists, 4);
    wanted.timestamp = role_keys(&timestamps, 4);
    let mut founding = Ceremony::new(None);
    for proposal in propose(None, &wanted, Renew::Changed, NOW).unwrap() {
        founding.add(proposal).unwrap();
    }
    founding.add(founding.draft_timestamp(NOW, FRESH).unwrap()).unwrap();
    for signer in roots[..4].iter().chain(&lists[..4]).chain(&timestamps[..4]) {
        founding.sign(signer).unwrap();
    }
    let (_, trust) = founding.publish(NOW).unwrap();

    let three = [&roots[..3], &lists[..3], &timestamps[..3]];
    let firm = || Municipality { organisation: firm(), name: "株式会社".to_owned() };
    let admit = |wanted: &mut Wanted| wanted.list.municipalities.push(firm());
    let fails = |renew, wanted: &dyn Fn(&mut Wanted), reason: &str| {
        let error = change(&trust, renew, |now| wanted(now), &three).unwrap_err().to_string();
        println!("{reason}: {error}");
        assert!(error.contains(reason), "{error}");
    };
    fails(Renew::Changed, &admit, "trust list: 3 of 4 signatures by the list keys");
    // A root that lowers the threshold, or in which only they are left.
    let lower = |wanted: &mut Wanted| wanted.root.threshold = 3;
    fails(Renew::Changed, &lower, "root: 3 of 4 signatures by the root keys of before");
    let ours = |wanted: &mut Wanted| wanted.root = role_keys(&roots[..3], 3);
    fails(Renew::Changed, &ours, "root: 3 of 4 signatures by the root keys of before");
    let lists_lower = |wanted: &mut Wanted| {
        wanted.trust_list.threshold = 3;
        wanted.list.municipalities.push(firm());
    };
    fails(Renew::Changed, &lists_lower, "root: 3 of 4 signatures by the root keys of before");
    fails(Renew::List, &|_| {}, "trust list: 3 of 4 signatures");
    // Nor do they strike anybody off, or keep the network on what was.
    let denied = Denied::Organisation(trust.list().municipalities[0].organisation.clone());
    let mut striking = Ceremony::new(Some(trust.clone()));
    let Ok(Proposal::Timestamp(drafted)) = striking.draft_timestamp(NOW, FRESH) else {
        panic!("a timestamp");
    };
    let struck = TrustTimestamp { denylist: vec![denied], ..drafted.unverified().clone() };
    striking.add(Proposal::Timestamp(MultiSigned::new(struck))).unwrap();
    for signer in &timestamps[..3] {
        striking.sign(signer).unwrap();
    }
    let error = striking.publish(NOW).unwrap_err().to_string();
    assert!(error.contains("timestamp: 3 of 4"), "{error}");
    // With a key of another role, or the same key again, three stay three.
    let mut again =
        table(&trust, propose(Some(&trust), &lowered(&trust), Renew::Changed, NOW).unwrap());
    for signer in roots[..3].iter().chain(&roots[..3]) {
        again.sign(signer).unwrap();
    }
    assert!(
        matches!(again.sign(&lists[5]), Ok(signed) if signed.iter().all(|p| p.what() == "trust list"))
    );
    assert!(matches!(again.sign(&timestamps[5]), Err(CeremonyError::NoSay(_))));
    assert!(again.publish(NOW).unwrap_err().to_string().contains("3 of 4"));
}

fn lowered(trust: &Trust) -> Wanted {
    let mut wanted = Wanted::of(trust);
    wanted.trust_list.threshold = 3;
    wanted
}

#[test]
fn the_root_rotates_by_the_old_keys_and_the_new() {
    let network = TestNetwork::new();
    let new: Vec<_> = (0..4).map(|n| TestSigner::from_label(&format!("new root {n}"))).collect();
    let rotate = |wanted: &mut Wanted| wanted.root = role_keys(&new, 3);
    let (old, timestamps) = (&network.root_signers[..], &network.timestamp_signers[..3]);
    let by = |signers: &[&[TestSigner]]| change(&network.trust, Renew::Changed, rotate, signers);
    let trust = by(&[&old[1..], &new[..3], timestamps]).unwrap();
    assert_eq!(trust.versions().root, 2);
    for (signers, keys) in [
        ([&old[2..], &new[..3], timestamps], "of before"),
        ([&old[1..], &new[..2], timestamps], "it names"),
    ] {
        let error = by(&signers).unwrap_err().to_string();
        assert!(error.contains(keys), "{error}");
    }
}

#[test]
fn what_would_not_hold_is_not_proposed() {
    let network = TestNetwork::new();
    let refused = |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = Wanted::of(&network.trust);
        change(&mut wanted);
        propose(Some(&network.trust), &wanted, Renew::Changed, NOW).unwrap_err().to_string()
    };
    assert!(refused(&|wanted| wanted.root.threshold = 5).contains("threshold"));
    let twice = |wanted: &mut Wanted| {
        let city = wanted.list.municipalities[0].clone();
        wanted.list.municipalities.push(city);
    };
    assert!(refused(&twice).contains("stands twice"));
    let other = |wanted: &mut Wanted| wanted.list.authorities[0].organisation = firm();
    assert!(refused(&other).contains("another organisation's"));
    assert!(
        propose(Some(&network.trust), &Wanted::of(&network.trust), Renew::Changed, NOW)
            .unwrap()
            .is_empty()
    );
    let renewed = propose(Some(&network.trust), &Wanted::of(&network.trust), Renew::Root, NOW);
    assert_eq!(renewed.unwrap().iter().map(Proposal::what).collect::<Vec<_>>(), [ROOT, LIST]);
}

#[test]
fn a_table_takes_one_proposal_of_a_kind_and_the_next_version() {
    let network = TestNetwork::new();
    let with = |threshold| {
        let mut wanted = Wanted::of(&network.trust);
        wanted.list.committee.threshold = threshold;
        propose(Some(&network.trust), &wanted, Renew::Changed, NOW).unwrap().remove(0)
    };
    let mut ceremony = table(&network.trust, vec![with(2)]);
    assert!(matches!(ceremony.add(with(4)), Err(CeremonyError::TwoOfAKind(LIST))));
    let genesis = Proposal::Root(network.roots[0].clone());
    let error = ceremony.add(genesis).unwrap_err();
    assert!(matches!(error, CeremonyError::OutOfTurn { what: ROOT, expected: 2, got: 1 }));
    assert!(matches!(Ceremony::new(None).network(), Err(CeremonyError::NoRoot)));
    assert!(matches!(
        Proposal::from_bytes(&network.file.roots[0][1..]),
        Err(CeremonyError::NoProposal(_))
    ));
    // A signature that does not hold is found before anything is made of it.
    let mut forged = ceremony.clone();
    forged.sign(&network.list_signers[0]).unwrap();
    let Proposal::List(list) = on_the_table(&forged).remove(0) else { panic!("a list") };
    let mut bytes = list.bytes();
    *bytes.last_mut().unwrap() ^= 1;
    let mut table = Ceremony::new(Some(network.trust.clone()));
    table.add(Proposal::from_bytes(&bytes).unwrap()).unwrap();
    assert!(matches!(table.standings(), Err(CeremonyError::Trust(_))));
    let _: PublicKey = network.list_signers[0].public_key();
}
