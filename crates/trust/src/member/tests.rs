use wire::{Bytes, OrganisationId, Signer};

use super::*;
use crate::testing::{NOW, TestNetwork, TestOrganisation, TestSigner};

const NAME: &str = "県立総合病院";

fn hospital() -> OrganisationId {
    OrganisationId::from_base("012345678901").unwrap()
}

fn service(short: &str) -> ServiceName {
    format!("{}/{short}", hospital()).parse().unwrap()
}

fn member(network: &TestNetwork) -> TestOrganisation {
    let services = [service("reception"), service("pharmacy")];
    network.organisation(1, &hospital(), NAME, &services, &[Role::Source, Role::Recipient])
}

fn check(network: &TestNetwork, node: &TestOrganisation) -> Result<Member, MemberError> {
    verify_identity(&node.identity, &network.trust, NOW)
}

/// The node again, its descriptor changed and signed by its own key.
fn changed(
    network: &TestNetwork,
    node: &TestOrganisation,
    change: impl FnOnce(&mut Descriptor),
) -> TestOrganisation {
    let mut descriptor = node.descriptor.clone();
    change(&mut descriptor);
    network.organisation_from(node.signer.clone(), node.chain.clone(), descriptor)
}

#[test]
fn a_provider_is_a_member_by_its_certificate() {
    let network = TestNetwork::new();
    let node = member(&network);
    let member = check(&network, &node).unwrap();
    assert_eq!(member.organisation, hospital());
    assert_eq!(member.name, NAME);
    assert_eq!(member.descriptor, node.descriptor);
    assert_eq!(member.identity, node.identity);
    assert_eq!(*member.organisation_key(), node.signer.public_key());
    assert!(member.has_role(Role::Source) && member.has_role(Role::Recipient));
    assert!(!member.has_role(Role::Home));
    assert!(member.owns(&service("reception")) && member.owns(&service("pharmacy")));
    assert!(!member.owns(&service("other")));
    assert_eq!(*member.chain().issuing_organisation(), network.cities[1].organisation);
}

#[test]
fn a_city_may_be_home_issuer_witness_and_committee_member() {
    let network = TestNetwork::new();
    for index in 0..4 {
        let member = check(&network, &network.city(index)).unwrap();
        for role in [Role::Home, Role::Issuer, Role::Witness, Role::Committee] {
            assert!(member.has_role(role));
        }
    }
}

#[test]
fn roles_need_the_list() {
    let network = TestNetwork::new();
    for role in [Role::Home, Role::Issuer, Role::Witness, Role::Committee] {
        let node = network.organisation(0, &hospital(), NAME, &[], &[role]);
        assert_eq!(check(&network, &node), Err(MemberError::Role(role)));
    }
    let city = network.cities[0].organisation.clone();
    type Change = fn(&mut wire::membership::TrustList, &OrganisationId);
    let removals: [(Role, Change); 4] = [
        (Role::Home, |list, city| list.municipalities.retain(|m| m.organisation != *city)),
        (Role::Issuer, |list, _| {
            list.authorities[0].purposes.retain(|p| *p != wire::membership::CaPurpose::Citizen)
        }),
        (Role::Witness, |list, city| list.witnesses.retain(|w| w != city)),
        (Role::Committee, |list, city| list.committee.members.retain(|m| m != city)),
    ];
    for (role, remove) in removals {
        let trust = network.trust_with(|list, _| remove(list, &city));
        let result = verify_identity(&network.city(0).identity, &trust, NOW);
        assert_eq!(result, Err(MemberError::Role(role)));
    }
}

#[test]
fn a_foreign_or_uncertified_service_is_refused() {
    let network = TestNetwork::new();
    let node = member(&network);
    let foreign: ServiceName =
        format!("{}/office", network.cities[0].organisation).parse().unwrap();
    for other in [foreign, service("uncertified")] {
        let node = changed(&network, &node, |descriptor| {
            descriptor.services.push(other);
            descriptor.services.sort();
        });
        assert_eq!(check(&network, &node), Err(MemberError::ForeignService));
    }
    // Fewer than certified is fine.
    let fewer = changed(&network, &node, |descriptor| {
        descriptor.services.pop();
    });
    check(&network, &fewer).unwrap();
}

#[test]
fn the_descriptor_must_be_the_certified_organisations() {
    let network = TestNetwork::new();
    let node = member(&network);
    let other = changed(&network, &node, |descriptor| {
        descriptor.organisation = network.cities[0].organisation.clone();
    });
    assert_eq!(check(&network, &other), Err(MemberError::OtherOrganisation));
    let renamed = changed(&network, &node, |descriptor| descriptor.name = "前橋市".into());
    assert_eq!(check(&network, &renamed), Err(MemberError::OtherName));
}

#[test]
fn a_descriptor_signed_by_another_key_is_refused() {
    let network = TestNetwork::new();
    let node = member(&network);
    let stranger = network.organisation_from(
        TestSigner::new(100),
        node.chain.clone(),
        node.descriptor.clone(),
    );
    assert!(matches!(
        check(&network, &stranger),
        Err(MemberError::Envelope(EnvelopeError::OtherKey(_)))
    ));
    // The right kid over a broken signature.
    let mut altered = node;
    *altered.identity.descriptor.0.last_mut().unwrap() ^= 1;
    assert!(matches!(
        check(&network, &altered),
        Err(MemberError::Envelope(EnvelopeError::BadSignature(_)))
    ));
}

#[test]
fn another_kind_of_certificate_makes_no_member() {
    let network = TestNetwork::new();
    let mut node = member(&network);
    let key = node.signer.public_key();
    let credential = network.credential_certificate(1, NAME, &service("reception"), &key);
    node.identity.chain = credential;
    assert!(matches!(check(&network, &node), Err(MemberError::Chain(ChainError::Invalid(_)))));
    node.identity.chain = Vec::<Bytes>::new();
    assert!(matches!(check(&network, &node), Err(MemberError::Chain(ChainError::Invalid(_)))));
}

#[test]
fn lists_in_a_descriptor_are_sorted_unique_and_bounded() {
    let network = TestNetwork::new();
    let node = member(&network);
    type Change = fn(&mut Descriptor);
    let changes: [(&str, Change); 18] = [
        ("no peers", |d| d.peers.clear()),
        ("a peer twice", |d| d.peers.push(d.peers[0].clone())),
        ("a peer id that is none", |d| d.peers[0] = "0OIl".into()),
        ("an empty peer id", |d| d.peers[0].clear()),
        ("too many peers", |d| d.peers = (0..65).map(|i| "1".repeat(i + 1)).collect()),
        ("an address twice", |d| d.addresses.push(d.addresses[0].clone())),
        ("an address that is none", |d| d.addresses[0] = "127.0.0.1:4001".into()),
        ("a long address", |d| d.addresses[0] = format!("/{}", "a".repeat(256))),
        ("too many addresses", |d| d.addresses = (0..65).map(|i| format!("/a/{i}")).collect()),
        ("unsorted roles", |d| d.roles.reverse()),
        ("a role twice", |d| d.roles = vec![Role::Source, Role::Source]),
        ("unsorted services", |d| d.services.reverse()),
        ("a service twice", |d| d.services[1] = d.services[0].clone()),
        ("a short log key", |d| d.log_key.0.truncate(31)),
        ("a long witness key", |d| d.witness_key = Some(Bytes(vec![0; 33]))),
        ("no URL", |d| d.public_url = Some("node.example".into())),
        ("a URL without host", |d| d.public_url = Some("https://".into())),
        ("a URL with spaces", |d| d.public_url = Some("https://a b".into())),
    ];
    for (what, change) in changes {
        let node = changed(&network, &node, change);
        let result = check(&network, &node);
        assert!(matches!(result, Err(MemberError::Content(_))), "{what}: {result:?}");
    }
    let silent = changed(&network, &network.city(0), |d| d.witness_key = None);
    assert!(matches!(check(&network, &silent), Err(MemberError::Content(_))));
}

#[test]
fn plain_http_is_for_testnets() {
    assert!(is_url("http://127.0.0.1:8080", true));
    assert!(!is_url("http://127.0.0.1:8080", false));
    assert!(is_url("https://node.example", false));
}

#[test]
fn a_hello_binds_the_connection() {
    let network = TestNetwork::new();
    let (node, other) = (member(&network), network.city(0));
    let hello = node.hello(&network.trust);
    let check = |peer: &str| verify_hello(&hello, peer, &network.trust, NOW);
    assert_eq!(check(node.peer_id()).unwrap().organisation, hospital());
    assert_eq!(check(other.peer_id()), Err(MemberError::ForeignPeer));
    assert_eq!(check(""), Err(MemberError::ForeignPeer));
}

#[test]
fn a_stale_trust_list_gives_no_verdict() {
    let network = TestNetwork::new();
    let node = member(&network);
    let late = network.timestamp.hard_expiry;
    let error = verify_identity(&node.identity, &network.trust, late).unwrap_err();
    assert!(error.could_not_check());
    let refusal = check(&network, &changed(&network, &node, |d| d.name.push('x'))).unwrap_err();
    assert!(!refusal.could_not_check());
}
