use std::fmt::Debug;

use der::{
    Any, Decode, Encode, Tag, TagNumber,
    asn1::{BitString, Ia5String, ObjectIdentifier, OctetString},
};
use wire::{
    Pair, ServiceId, ServiceName, Signer, consent::Attested, consent::Link, membership::Denied,
};
use x509_cert::ext::{Extension, pkix::name::GeneralName};

use super::*;
use crate::{
    issue::{Ca, IssueError, Pointers, Validity, leaf, root_ca, sub_ca},
    testing::{NOW, TestCa, TestNetwork, TestSigner, a_year, issue_leaf},
};

mod form;
mod hostile;

const SERIAL: [u8; 16] = [0xff; 16];

fn service() -> ServiceName {
    let owner = OrganisationId::from_base("012345678901").unwrap();
    format!("{owner}/lunch").parse().unwrap()
}

fn leaf_of(kind: CertificateKind) -> LeafKind {
    let (organisation, name) = (service().organisation(), "給食サービス株式会社".to_owned());
    match kind {
        CertificateKind::Id => LeafKind::Id { number: "ABCD-2345".into() },
        CertificateKind::Service => {
            LeafKind::Service { subject: ServiceId([7; 32]), service: service() }
        }
        CertificateKind::Organisation => {
            LeafKind::Organisation { organisation, name, services: vec![service()] }
        }
        CertificateKind::Credential => {
            LeafKind::Credential { organisation, name, service: service() }
        }
    }
}

fn refused<T: Debug>(result: Result<T, ChainError>) -> InvalidChain {
    match result.unwrap_err() {
        ChainError::Invalid(refusal) => refusal,
        ChainError::TrustExpired => panic!("a verdict was wanted"),
    }
}

fn chain_of(network: &TestNetwork, kind: CertificateKind) -> Vec<Bytes> {
    network.chain(0, &leaf_of(kind), &TestSigner::new(100).public_key())
}

/// The network's list, good for ever.
fn lasting(network: &TestNetwork) -> Trust {
    network.trust_with(|list, timestamp| {
        list.expires = Timestamp(u64::MAX);
        timestamp.soft_expiry = Timestamp(u64::MAX);
        timestamp.hard_expiry = Timestamp(u64::MAX);
    })
}

#[test]
fn what_is_remembered_of_a_chain_is_neither_its_time_nor_its_kind_nor_another_list() {
    let network = TestNetwork::new();
    let trust = lasting(&network);
    let kind = CertificateKind::Organisation;
    let chain = chain_of(&network, kind);
    let first = verify_chain(&chain, kind, &trust, NOW).unwrap();
    for _ in 0..2 {
        assert_eq!(verify_chain(&chain, kind, &trust, NOW), Ok(first.clone()));
        let early = Timestamp(first.not_before().0 - 1);
        let refusal = refused(verify_chain(&chain, kind, &trust, early));
        assert!(matches!(refusal, InvalidChain::NotYetValid { .. }), "{refusal}");
        let late = first.not_after().plus_ms(1000);
        let refusal = refused(verify_chain(&chain, kind, &trust, late));
        assert!(matches!(refusal, InvalidChain::Expired { .. }), "{refusal}");
        let other = verify_chain(&chain, CertificateKind::Credential, &trust, NOW);
        assert!(matches!(refused(other), InvalidChain::Profile { .. }));
        let mut altered = chain.clone();
        altered[0].0.push(0);
        assert!(verify_chain(&altered, kind, &trust, NOW).is_err());
    }
    let leaf = Denied::Certificate(first.certificate_hash());
    let stricter = network.trust_with(|_, timestamp| timestamp.denylist = vec![leaf]);
    for _ in 0..2 {
        let refusal = refused(verify_chain(&chain, kind, &stricter, NOW));
        assert_eq!(refusal, InvalidChain::DeniedCertificate { position: 0 });
        // Whoever says no passes, and that opens nothing to anybody else.
        verify_chain_though_revoked(&chain, kind, &stricter, NOW).unwrap();
    }
}

#[test]
fn a_good_chain_of_each_kind_passes_and_says_what_was_certified() {
    let network = TestNetwork::new();
    let key = TestSigner::new(100).public_key();
    for kind in CertificateKind::ALL {
        let chain = chain_of(&network, kind);
        let verified = verify_chain(&chain, kind, &network.trust, NOW).unwrap();
        assert_eq!(verified.kind(), kind);
        assert_eq!(*verified.subject(), leaf_of(kind));
        assert_eq!(*verified.public_key(), key);
        assert_eq!(verified.key(), key.key_hash());
        assert_eq!(*verified.issuing_organisation(), network.cities[0].organisation);
        assert_eq!(verified.leaf_der(), &chain[0].0[..]);
        assert_eq!(verified.certificate_hash(), wire::sha256(&chain[0]));
        assert_eq!(verified.not_before(), a_year().not_before);
        assert_eq!(verified.not_after(), a_year().not_after);
    }
}

#[test]
fn an_organisation_may_have_no_services_and_a_city_certifies_itself() {
    let network = TestNetwork::new();
    let city = network.city(0);
    let verified =
        verify_chain(&city.chain, CertificateKind::Organisation, &network.trust, NOW).unwrap();
    assert_eq!(verified.subject().services(), []);
    assert_eq!(verified.subject().organisation(), Some(&city.organisation));
}

#[test]
fn each_kind_is_refused_for_every_other() {
    let network = TestNetwork::new();
    for issued in CertificateKind::ALL {
        for asked in CertificateKind::ALL.into_iter().filter(|asked| *asked != issued) {
            let chain = chain_of(&network, issued);
            let refusal = refused(verify_chain(&chain, asked, &network.trust, NOW));
            assert!(matches!(refusal, InvalidChain::Profile { position: 0, .. }), "{refusal}");
        }
    }
}

/// The library alone, without our reading of the leaf, must tell the kinds apart as well.
#[test]
fn path_validation_itself_refuses_every_other_kind() {
    let network = TestNetwork::new();
    for issued in CertificateKind::ALL {
        let certificates: Vec<_> =
            chain_of(&network, issued).iter().map(|der| Certificate::read(der).unwrap()).collect();
        let anchor = network.trust.anchors_of(certificates.last().unwrap()).next().unwrap();
        validate_path(anchor, &certificates, issued, NOW).unwrap();
        for asked in CertificateKind::ALL.into_iter().filter(|asked| *asked != issued) {
            let refusal = validate_path(anchor, &certificates, asked, NOW).unwrap_err();
            assert_eq!(refusal, InvalidChain::Path(PathValidationStatus::NullPolicySet));
        }
    }
}

#[test]
fn validity_is_inclusive_to_the_second_and_no_more() {
    let network = TestNetwork::new();
    let trust = lasting(&network);
    let kind = CertificateKind::Organisation;
    let chain = chain_of(&network, kind);
    let Validity { not_before, not_after } = a_year();
    for (at, expected) in [
        (Timestamp(not_before.0 - 1), Some(InvalidChain::NotYetValid { position: 0 })),
        (not_before, None),
        (not_after, None),
        (not_after.plus_ms(999), None),
        (not_after.plus_ms(1000), Some(InvalidChain::Expired { position: 0 })),
    ] {
        let result = verify_chain(&chain, kind, &trust, at);
        assert_eq!(result.err(), expected.map(ChainError::Invalid), "at {at:?}");
    }
    // Long before everything, the clock's zero included: never taken for "do not check".
    for at in [Timestamp(0), Timestamp(999), Timestamp(1000)] {
        let refusal = refused(verify_chain(&chain, kind, &trust, at));
        assert!(matches!(refusal, InvalidChain::NotYetValid { .. }), "{refusal}");
    }
}

const YEAR_MS: u64 = 365 * 86_400_000;

/// A chain whose certificates start the given years before now and end the given years after, with
/// a trust list that has its root.
fn dated(
    network: &TestNetwork,
    root: (u64, u64),
    ca: (u64, u64),
    leaf: (u64, u64),
) -> (Trust, Vec<Bytes>) {
    let validity = |(before, after): (u64, u64)| Validity {
        not_before: Timestamp(NOW.0 - before * YEAR_MS),
        not_after: NOW.plus_ms(after * YEAR_MS),
    };
    let city = &network.cities[0];
    let signer = &city.root.signer;
    let root = root_ca(&city.organisation, &city.name, signer, SERIAL, validity(root)).unwrap();
    // Issuing refuses what outlives its CA: the times are written in afterwards.
    let date = |der: &[u8], signer: &TestSigner, dates| {
        let time = |at: Timestamp| {
            let since = std::time::Duration::from_secs(at.as_secs());
            x509_cert::time::Time::from(der::DateTime::from_unix_duration(since).unwrap())
        };
        let Validity { not_before, not_after } = validity(dates);
        let validity: x509_cert::time::Validity =
            x509_cert::time::Validity::new(time(not_before), time(not_after));
        reissue(der, signer, |fields| fields[4] = Any::encode_from(&validity).unwrap())
    };
    let chain = chain_of(network, CertificateKind::Id);
    let chain =
        vec![date(&chain[0], &city.citizen.signer, leaf), date(&chain[1], &city.root.signer, ca)];
    let trust = network.trust_with(|list, _| list.authorities[0].anchor = root.into());
    (trust, chain)
}

#[test]
fn a_ca_or_anchor_out_of_its_time_breaks_the_chain() {
    let network = TestNetwork::new();
    let check = |root, ca, leaf, at| {
        let (trust, chain) = dated(&network, root, ca, leaf);
        verify_chain(&chain, CertificateKind::Id, &trust, at)
    };
    // What counts is the time in which all of them hold.
    for (root, ca, leaf) in [((3, 9), (2, 8), (1, 7)), ((1, 8), (2, 7), (3, 9))] {
        let verified = check(root, ca, leaf, NOW).unwrap();
        assert_eq!(verified.not_before(), Timestamp(NOW.0 - YEAR_MS));
        assert_eq!(verified.not_after(), NOW.plus_ms(7 * YEAR_MS));
    }
    let early = Timestamp(NOW.0 - 3 * YEAR_MS / 2);
    let refusal = |root, ca| refused(check(root, ca, (3, 9), early));
    assert_eq!(refusal((3, 9), (1, 9)), InvalidChain::NotYetValid { position: 1 });
    assert_eq!(refusal((1, 9), (3, 9)), InvalidChain::NotYetValid { position: 2 });
    let late = NOW.plus_ms(1000);
    let refusal = |root, ca| refused(check(root, ca, (3, 9), late));
    assert_eq!(refusal((3, 9), (3, 0)), InvalidChain::Expired { position: 1 });
    assert_eq!(refusal((3, 0), (3, 9)), InvalidChain::Expired { position: 2 });
}

#[test]
fn a_chain_from_an_anchor_off_the_list_is_refused() {
    let network = TestNetwork::new();
    let trust = network.trust_with(|list, _| {
        list.authorities.remove(0);
    });
    for kind in CertificateKind::ALL {
        let chain = chain_of(&network, kind);
        assert_eq!(refused(verify_chain(&chain, kind, &trust, NOW)), InvalidChain::UnknownAnchor);
    }
}

#[test]
fn an_anchor_of_the_same_name_with_another_key_is_no_anchor() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let impostor = TestSigner::new(101);
    let anchor = root_ca(&city.organisation, &city.name, &impostor, SERIAL, decades()).unwrap();
    let trust = network.trust_with(|list, _| list.authorities[0].anchor = anchor.into());
    let chain = chain_of(&network, CertificateKind::Id);
    let refusal = refused(verify_chain(&chain, CertificateKind::Id, &trust, NOW));
    assert_eq!(refusal, InvalidChain::UnknownAnchor);
}

fn decades() -> Validity {
    Validity { not_before: Timestamp(NOW.0 - YEAR_MS), not_after: NOW.plus_ms(20 * YEAR_MS) }
}

#[test]
fn two_generations_of_one_ca_are_told_apart_by_key() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let signer = TestSigner::new(101);
    let certificate = root_ca(&city.organisation, &city.name, &signer, SERIAL, decades()).unwrap();
    let root = TestCa { certificate: certificate.clone(), signer };
    let trust = network.trust_with(|list, _| {
        let mut next = list.authorities[0].clone();
        next.anchor = certificate.into();
        list.authorities.push(next);
    });
    let old = chain_of(&network, CertificateKind::Organisation);
    verify_chain(&old, CertificateKind::Organisation, &trust, NOW).unwrap();
    let ca = sub(&root, CaPurpose::Organisation, &city.organisation);
    let new = under(&ca, CertificateKind::Organisation);
    verify_chain(&new, CertificateKind::Organisation, &trust, NOW).unwrap();
    let refusal = refused(verify_chain(&new, CertificateKind::Organisation, &network.trust, NOW));
    assert_eq!(refusal, InvalidChain::UnknownAnchor);
}

fn sub(root: &TestCa, purpose: CaPurpose, organisation: &OrganisationId) -> TestCa {
    let signer = TestSigner::new(102);
    let key = signer.public_key();
    let certificate =
        sub_ca(&root.ca(), purpose, organisation, "前橋市", &key, SERIAL, decades()).unwrap();
    TestCa { certificate, signer }
}

fn under(ca: &TestCa, kind: CertificateKind) -> Vec<Bytes> {
    let key = TestSigner::new(100).public_key();
    vec![issue_leaf(ca, &leaf_of(kind), &key, a_year()).into(), ca.certificate.clone().into()]
}

#[test]
fn an_anchor_is_good_only_for_its_purposes() {
    let network = TestNetwork::new();
    for purpose in [CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential] {
        let trust = network.trust_with(|list, _| list.authorities[0].purposes = vec![purpose]);
        for kind in CertificateKind::ALL {
            let result = verify_chain(&chain_of(&network, kind), kind, &trust, NOW);
            if kind.purpose() == purpose {
                result.unwrap();
            } else {
                assert_eq!(refused(result), InvalidChain::Purpose(kind));
            }
        }
    }
}

fn parts(der: &[u8]) -> (Any, Any, BitString) {
    let outer: Vec<Any> = Vec::from_der(der).unwrap();
    let signature = outer[2].decode_as().unwrap();
    (outer[0].clone(), outer[1].clone(), signature)
}

fn join(tbs: Any, signature: Vec<u8>) -> Vec<u8> {
    let algorithm =
        AlgorithmIdentifierOwned { oid: profile::signature::ECDSA_WITH_SHA_256, parameters: None };
    vec![
        tbs,
        Any::encode_from(&algorithm).unwrap(),
        Any::encode_from(&BitString::from_bytes(&signature).unwrap()).unwrap(),
    ]
    .to_der()
    .unwrap()
}

/// Issues the same leaf with `change` made to the fields of its TBSCertificate.
fn reissue(der: &[u8], signer: &TestSigner, change: impl FnOnce(&mut Vec<Any>)) -> Bytes {
    let (tbs, ..) = parts(der);
    let mut fields: Vec<Any> = Vec::from_der(&tbs.to_der().unwrap()).unwrap();
    change(&mut fields);
    let tbs = Any::from_der(&fields.to_der().unwrap()).unwrap();
    let signature = signer.sign(&tbs.to_der().unwrap()).unwrap();
    join(tbs, profile::signature::encode_signature(&signature).unwrap()).into()
}

fn edit_extensions(fields: &mut [Any], change: impl FnOnce(&mut Vec<Extension>)) {
    let last = fields.last_mut().unwrap();
    let mut extensions: Vec<Extension> = Vec::from_der(last.value()).unwrap();
    change(&mut extensions);
    let tag = Tag::ContextSpecific { constructed: true, number: TagNumber(3) };
    *last = Any::new(tag, extensions.to_der().unwrap()).unwrap();
}

fn extension(oid: &str, critical: bool, value: Vec<u8>) -> Extension {
    Extension {
        extn_id: ObjectIdentifier::new(oid).unwrap(),
        critical,
        extn_value: OctetString::new(value).unwrap(),
    }
}

#[test]
fn a_leaf_cannot_act_as_a_ca() {
    let network = TestNetwork::new();
    for kind in CertificateKind::ALL {
        let holder = TestSigner::new(100);
        let chain = chain_of(&network, kind);
        let as_ca = Ca { certificate: &chain[0], signer: &holder };
        let key = TestSigner::new(101).public_key();
        let refusal = leaf(&as_ca, &leaf_of(kind), &key, SERIAL, a_year(), &Pointers::default());
        assert!(matches!(refusal, Err(IssueError::Ca(_))));

        // Without our issuing code in the way: a real leaf, issued again by the first leaf's key.
        let below = rename_issuer(&chain, &holder, &key);
        let longer = [&[below], &chain[..]].concat();
        let refusal = refused(verify_chain(&longer, kind, &network.trust, NOW));
        assert!(matches!(refusal, InvalidChain::Profile { position: 1, .. }), "{refusal}");
        // And the library on its own: the sub-CA's path length is 0.
        let certificates: Vec<_> =
            longer.iter().map(|der| Certificate::read(der).unwrap()).collect();
        let anchor = network.trust.anchors_of(certificates.last().unwrap()).next().unwrap();
        let refusal = validate_path(anchor, &certificates, kind, NOW).unwrap_err();
        let expected = PathValidationStatus::InvalidPathLength;
        assert_eq!(refusal, InvalidChain::Path(expected));
    }
}

/// The first certificate of `chain`, issued again by its own holder for `key`.
fn rename_issuer(chain: &[Bytes], holder: &TestSigner, key: &PublicKey) -> Bytes {
    let identifier =
        |key: &PublicKey| OctetString::new(profile::signature::key_identifier(key)).unwrap();
    let authority = x509_cert::ext::pkix::AuthorityKeyIdentifier {
        key_identifier: Some(identifier(&holder.public_key())),
        ..Default::default()
    };
    reissue(&chain[0], holder, |fields| {
        fields[3] = fields[5].clone();
        fields[6] = Any::from_der(&key.to_spki()).unwrap();
        edit_extensions(fields, |list| {
            for (oid, value) in [
                ("2.5.29.35", authority.to_der().unwrap()),
                ("2.5.29.14", identifier(key).to_der().unwrap()),
            ] {
                let found = list.iter_mut().find(|e| e.extn_id.to_string() == oid).unwrap();
                found.extn_value = OctetString::new(value).unwrap();
            }
        });
    })
}

#[test]
fn a_sub_ca_cannot_make_another_ca() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let below = TestSigner::new(101);
    let result = sub_ca(
        &city.citizen.ca(),
        CaPurpose::Citizen,
        &city.organisation,
        &city.name,
        &below.public_key(),
        SERIAL,
        a_year(),
    );
    assert_eq!(result, Err(IssueError::WrongLevel));
    // Made by hand: the sub-CA's certificate again, issued by the sub-CA for another key.
    let chain = [Bytes(city.citizen.certificate.clone())];
    let below_it = |certificate: Bytes| {
        let second = TestCa { certificate: certificate.0, signer: below.clone() };
        let mut longer = under(&second, CertificateKind::Id);
        longer.push(city.citizen.certificate.clone().into());
        refused(verify_chain(&longer, CertificateKind::Id, &network.trust, NOW))
    };
    let same_name = rename_issuer(&chain, &city.citizen.signer, &below.public_key());
    let expected = InvalidChain::Profile { position: 1, what: "a self-issued CA" };
    assert_eq!(below_it(same_name.clone()), expected);
    let other_name = reissue(&same_name, &city.citizen.signer, |fields| {
        let name =
            profile::organisation_name(&city.organisation, &city.name, Some("CA 2")).unwrap();
        fields[5] = Any::encode_from(&name).unwrap();
    });
    let expected = InvalidChain::Path(PathValidationStatus::InvalidPathLength);
    assert_eq!(below_it(other_name), expected);
}

#[test]
fn chains_too_long_or_too_short_are_refused_unread() {
    let network = TestNetwork::new();
    let chain = chain_of(&network, CertificateKind::Id);
    for length in [0, 1, limits::CHAIN + 1, 1000] {
        let junk = vec![chain[0].clone(); length];
        let refusal = refused(verify_chain(&junk, CertificateKind::Id, &network.trust, NOW));
        assert_eq!(refusal, InvalidChain::Length(length));
    }
    let mut large = chain;
    large[0] = vec![0x30; limits::CERTIFICATE + 1].into();
    let refusal = refused(verify_chain(&large, CertificateKind::Id, &network.trust, NOW));
    assert!(matches!(refusal, InvalidChain::Profile { position: 0, .. }));
}

#[test]
fn a_chain_with_the_anchor_in_it_is_refused() {
    let network = TestNetwork::new();
    let mut chain = chain_of(&network, CertificateKind::Id);
    chain.push(network.cities[0].root.certificate.clone().into());
    assert!(verify_chain(&chain, CertificateKind::Id, &network.trust, NOW).is_err());
}

#[test]
fn mixed_chains_are_refused() {
    let network = TestNetwork::new();
    let chain = chain_of(&network, CertificateKind::Id);
    let refusal = |above: &TestCa| {
        let mixed = [chain[0].clone(), above.certificate.clone().into()];
        refused(verify_chain(&mixed, CertificateKind::Id, &network.trust, NOW))
    };
    assert_eq!(refusal(&network.cities[1].citizen), InvalidChain::Broken { position: 0 });
    assert_eq!(refusal(&network.cities[0].credential), InvalidChain::Broken { position: 0 });
}

#[test]
fn denylisted_certificates_and_organisations_are_refused() {
    let network = TestNetwork::new();
    let kind = CertificateKind::Organisation;
    let chain = chain_of(&network, kind);
    let city = &network.cities[0];
    let denied = |denied: Denied| {
        let trust = network.trust_with(|_, timestamp| timestamp.denylist = vec![denied]);
        verify_chain(&chain, kind, &trust, NOW)
    };
    for (position, der) in chain.iter().enumerate() {
        let refusal = refused(denied(Denied::Certificate(wire::sha256(der))));
        assert_eq!(refusal, InvalidChain::DeniedCertificate { position });
    }
    let anchor = wire::sha256(&city.root.certificate);
    let refusal = refused(denied(Denied::Certificate(anchor)));
    assert_eq!(refusal, InvalidChain::DeniedCertificate { position: 2 });
    for organisation in [city.organisation.clone(), service().organisation()] {
        let refusal = refused(denied(Denied::Organisation(organisation)));
        assert_eq!(refusal, InvalidChain::DeniedOrganisation);
    }
    denied(Denied::Organisation(network.cities[1].organisation.clone())).unwrap();
}

#[test]
fn name_constraints_of_a_sub_ca_bind() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let organisation = service().organisation();
    let constrained = |permitted: &OrganisationId, name: &str| {
        let subject = profile::organisation_name(permitted, name, None).unwrap();
        let subtree = x509_cert::ext::pkix::constraints::name::GeneralSubtree {
            base: GeneralName::DirectoryName(subject),
            minimum: 0,
            maximum: None,
        };
        let constraints = x509_cert::ext::pkix::NameConstraints {
            permitted_subtrees: Some(vec![subtree]),
            excluded_subtrees: None,
        };
        let ca = &city.organisation_ca;
        let certificate = reissue(&ca.certificate, &city.root.signer, |fields| {
            let value = constraints.to_der().unwrap();
            edit_extensions(fields, |list| list.push(extension("2.5.29.30", true, value)));
        });
        let ca = TestCa { certificate: certificate.0, signer: ca.signer.clone() };
        let chain = under(&ca, CertificateKind::Organisation);
        verify_chain(&chain, CertificateKind::Organisation, &network.trust, NOW)
    };
    constrained(&organisation, "給食サービス株式会社").unwrap();
    let other = OrganisationId::from_base("012345678902").unwrap();
    let refusal = refused(constrained(&other, "給食サービス株式会社"));
    assert_eq!(refusal, InvalidChain::Path(PathValidationStatus::NameConstraintsViolation));
}

#[test]
fn nothing_is_checked_after_the_hard_expiry() {
    let network = TestNetwork::new();
    let chain = chain_of(&network, CertificateKind::Id);
    let check = |at| verify_chain(&chain, CertificateKind::Id, &network.trust, at);
    check(network.timestamp.soft_expiry).unwrap();
    check(Timestamp(network.timestamp.hard_expiry.0 - 1)).unwrap();
    assert_eq!(check(network.timestamp.hard_expiry), Err(ChainError::TrustExpired));
}

#[test]
fn a_signed_object_needs_chain_and_signature() {
    let network = TestNetwork::new();
    let city = network.city(0);
    let pair = Pair { source: service(), subject: ServiceId([1; 32]) };
    let link = Link { source: pair.clone(), recipient: pair, time: NOW };
    let attest = |network_id, signer: &TestSigner| Attested {
        object: Signed::new(link.clone(), network_id, signer).unwrap().bytes().to_vec().into(),
        chain: city.chain.clone(),
    };
    let check = |attested: &Attested| {
        verify_signed::<Link>(attested, CertificateKind::Organisation, &network.trust, NOW)
    };
    let (verified, chain) = check(&attest(&network.id, &city.signer)).unwrap();
    assert_eq!(verified.message(), &link);
    assert_eq!(verified.public_key(), chain.public_key());

    let stranger = TestSigner::new(101);
    assert!(matches!(check(&attest(&network.id, &stranger)), Err(SignedError::Envelope(_))));
    let elsewhere = wire::NetworkId([9; 32]);
    assert!(matches!(check(&attest(&elsewhere, &city.signer)), Err(SignedError::Envelope(_))));
    let mut unchained = attest(&network.id, &city.signer);
    unchained.chain.pop();
    assert!(matches!(check(&unchained), Err(SignedError::Chain(_))));
}
