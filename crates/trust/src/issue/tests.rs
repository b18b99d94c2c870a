use der::Decode;
use wire::SignatureBytes;
use x509_cert::{ext::pkix::KeyUsage as Usage, time::Time as X509Time};

use super::*;
use crate::testing::{NOW, TestNetwork, TestSigner, a_year};

const SERIAL: [u8; 16] = [0x80; 16];

fn organisation() -> OrganisationId {
    OrganisationId::from_base("012345678901").unwrap()
}

fn service(short: &str) -> ServiceName {
    format!("{}/{short}", organisation()).parse().unwrap()
}

fn citizen() -> LeafKind {
    LeafKind::Service { subject: ServiceId([0xab; 32]), service: service("lunch") }
}

fn provider(services: Vec<ServiceName>) -> LeafKind {
    LeafKind::Organisation { organisation: organisation(), name: "病院".into(), services }
}

fn issue(ca: &Ca, kind: &LeafKind, validity: Validity) -> Result<Vec<u8>, IssueError> {
    let pointers = Pointers {
        crl: Some("http://crl.example/1".into()),
        ocsp: Some("http://ocsp.example".into()),
    };
    leaf(ca, kind, &TestSigner::new(100).public_key(), SERIAL, validity, &pointers)
}

fn decode(der: &[u8]) -> x509_cert::Certificate {
    x509_cert::Certificate::from_der(der).unwrap()
}

#[test]
fn a_service_leaf_holds_what_the_profile_says_and_no_more() {
    let network = TestNetwork::new();
    let der = issue(&network.cities[0].citizen.ca(), &citizen(), a_year()).unwrap();
    let certificate = decode(&der);
    let tbs = certificate.tbs_certificate();
    assert_eq!(tbs.version(), Version::V3);
    assert_eq!(tbs.subject().to_string(), format!("SERIALNUMBER={},C=JP", "ab".repeat(32)));
    // 128 bits with the top bit set: positive, hence a leading zero byte.
    let serial = tbs.serial_number().to_der().unwrap();
    assert_eq!(serial, [&[2, 17, 0][..], &SERIAL[..]].concat());
    let list: Vec<_> =
        tbs.extensions().unwrap().iter().map(|e| (e.extn_id.to_string(), e.critical)).collect();
    let expected = [
        ("2.5.29.35", false),
        ("2.5.29.14", false),
        ("2.5.29.15", true),
        ("2.5.29.32", false),
        ("2.5.29.37", false),
        ("2.5.29.17", false),
        ("2.5.29.31", false),
        ("1.3.6.1.5.5.7.1.1", false),
    ];
    assert_eq!(list, expected.map(|(oid, critical)| (oid.to_owned(), critical)));
    let (_, names): (bool, SubjectAltName) = tbs.get_extension().unwrap().unwrap();
    let uri = GeneralName::UniformResourceIdentifier(
        Ia5String::new(&format!("mebuku:{}/lunch", organisation())).unwrap(),
    );
    assert_eq!(names.0, [uri]);
    let (_, usage): (bool, Usage) = tbs.get_extension().unwrap().unwrap();
    assert!(usage.digital_signature() && usage.non_repudiation() && !usage.key_cert_sign());
}

#[test]
fn cas_differ_in_name_level_and_purpose() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let id = format!("NTRJP-{}", city.organisation);
    let root = decode(&city.root.certificate);
    assert_eq!(
        profile::organisation_name(&city.organisation, &city.name, Some("Root CA")).unwrap(),
        *root.tbs_certificate().subject()
    );
    let constraints = |certificate: &x509_cert::Certificate| -> BasicConstraints {
        certificate.tbs_certificate().get_extension().unwrap().unwrap().1
    };
    assert_eq!(constraints(&root).path_len_constraint, Some(1));
    assert!(root.tbs_certificate().get_extension::<ExtendedKeyUsage>().unwrap().is_none());
    assert!(root.tbs_certificate().get_extension::<CertificatePolicies>().unwrap().is_none());
    let mut names = vec![root.tbs_certificate().subject().clone()];
    let mut usages = Vec::new();
    for purpose in [CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential] {
        let certificate = decode(&city.sub_ca(purpose).certificate);
        assert_eq!(constraints(&certificate).path_len_constraint, Some(0));
        let subject = certificate.tbs_certificate().subject().clone();
        assert!(subject.iter().any(|attribute| attribute.value.value() == id.as_bytes()));
        assert!(!names.contains(&subject));
        names.push(subject);
        let (_, own): (bool, ExtendedKeyUsage) =
            certificate.tbs_certificate().get_extension().unwrap().unwrap();
        assert!(own.0.iter().all(|usage| !usages.contains(usage)));
        usages.extend(own.0);
    }
    assert_eq!(usages.len(), 4);
}

#[test]
fn times_are_utc_until_2049_and_generalised_from_2050() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let root = decode(&city.root.certificate);
    let sub = decode(&city.citizen.certificate);
    let (root, sub) = (root.tbs_certificate().validity(), sub.tbs_certificate().validity());
    assert!(matches!(root.not_before, X509Time::UtcTime(_)));
    assert!(matches!(root.not_after, X509Time::GeneralTime(_)));
    assert!(matches!(sub.not_after, X509Time::UtcTime(_)));
}

#[test]
fn fractions_of_a_second_are_cut_off() {
    let network = TestNetwork::new();
    let validity = Validity { not_before: NOW.plus_ms(1), not_after: NOW.plus_ms(5_999) };
    let der = issue(&network.cities[0].citizen.ca(), &citizen(), validity).unwrap();
    let certificate = Certificate::read(&der).unwrap();
    assert_eq!((certificate.not_before(), certificate.not_after()), (NOW, NOW.plus_ms(5_000)));
}

#[test]
fn a_ca_issues_for_its_purpose_only() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let id = LeafKind::Id { number: "A1".into() };
    let credential = LeafKind::Credential {
        organisation: organisation(),
        name: "病院".into(),
        service: service("lunch"),
    };
    for kind in [&id, &citizen(), &provider(vec![]), &credential] {
        for purpose in [CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential] {
            let result = issue(&city.sub_ca(purpose).ca(), kind, a_year());
            if kind.kind().purpose() == purpose {
                result.unwrap();
            } else {
                assert_eq!(result, Err(IssueError::WrongPurpose(purpose)));
            }
        }
        assert_eq!(issue(&city.root.ca(), kind, a_year()), Err(IssueError::WrongLevel));
    }
}

#[test]
fn what_could_not_be_read_back_is_not_issued() {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let foreign: ServiceName = format!("{}/x", city.organisation).parse().unwrap();
    let many = (0..=SERVICES).map(|i| service(&format!("s{i}"))).collect();
    let named = |name: &str| LeafKind::Organisation {
        organisation: organisation(),
        name: name.into(),
        services: vec![],
    };
    let bad = [
        provider(vec![foreign]),
        provider(vec![service("a"), service("a")]),
        provider(many),
        named(""),
        named(" 病院"),
        named("病\n院"),
        named(&"院".repeat(65)),
    ];
    for kind in bad {
        let result = issue(&city.organisation_ca.ca(), &kind, a_year());
        assert!(matches!(result, Err(IssueError::Content(_))), "{kind:?}");
    }
    for number in ["", "a b", "番号", &"1".repeat(65)] {
        let result = issue(&city.citizen.ca(), &LeafKind::Id { number: number.into() }, a_year());
        assert!(matches!(result, Err(IssueError::Content(_))), "{number}");
    }
    // Services may be given in any order.
    let der =
        issue(&city.organisation_ca.ca(), &provider(vec![service("b"), service("a")]), a_year());
    let read =
        Certificate::read(&der.unwrap()).unwrap().leaf(CertificateKind::Organisation).unwrap();
    assert_eq!(read.services(), [service("a"), service("b")]);
}

#[test]
fn a_leaf_does_not_outlive_its_ca() {
    let network = TestNetwork::new();
    let ca = network.cities[0].citizen.ca();
    let end = Certificate::read(ca.certificate).unwrap().not_after();
    let until = |not_after| issue(&ca, &citizen(), Validity { not_before: NOW, not_after });
    until(end).unwrap();
    assert_eq!(until(end.plus_ms(1000)), Err(IssueError::Validity));
    assert_eq!(until(NOW), Err(IssueError::Validity));
    assert_eq!(until(Timestamp(0)), Err(IssueError::Validity));
}

#[test]
fn a_ca_must_be_used_with_its_own_key_and_organisation() {
    let network = TestNetwork::new();
    let (city, other) = (&network.cities[0], &network.cities[1]);
    let wrong = Ca { certificate: &city.citizen.certificate, signer: &other.citizen.signer };
    assert_eq!(issue(&wrong, &citizen(), a_year()), Err(IssueError::OtherKey));
    let key = TestSigner::new(100).public_key();
    let result = sub_ca(
        &city.root.ca(),
        CaPurpose::Citizen,
        &other.organisation,
        &other.name,
        &key,
        SERIAL,
        a_year(),
    );
    assert_eq!(result, Err(IssueError::OtherOrganisation));
    let zero = leaf(&city.citizen.ca(), &citizen(), &key, [0; 16], a_year(), &Pointers::default());
    assert_eq!(zero, Err(IssueError::Serial));
    let pointers = Pointers { crl: Some("ldap://x".into()), ocsp: None };
    let result = leaf(&city.citizen.ca(), &citizen(), &key, SERIAL, a_year(), &pointers);
    assert!(matches!(result, Err(IssueError::Content(_))));
}

#[test]
fn a_key_store_that_fails_is_named() {
    struct Broken(TestSigner);
    impl Signer for Broken {
        fn public_key(&self) -> PublicKey {
            self.0.public_key()
        }
        fn sign(&self, _: &[u8]) -> Result<SignatureBytes, SignError> {
            Err(SignError("the HSM is away".into()))
        }
    }
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let broken = Broken(city.citizen.signer.clone());
    let ca = Ca { certificate: &city.citizen.certificate, signer: &broken };
    let error = issue(&ca, &citizen(), a_year()).unwrap_err();
    assert!(matches!(error, IssueError::Sign(_)));
    assert!(error.to_string().contains("the HSM is away"));
}
