//! One spelling, one form: altered bytes, other extensions, other names.

use super::*;

#[test]
fn a_byte_altered_anywhere_in_the_chain_is_refused() {
    let network = TestNetwork::new();
    for kind in [CertificateKind::Service, CertificateKind::Credential] {
        let chain = chain_of(&network, kind);
        for position in 0..chain.len() {
            for index in 0..chain[position].len() {
                for mask in [0x01, 0x20, 0x80] {
                    let mut altered = chain.clone();
                    altered[position].0[index] ^= mask;
                    let result = verify_chain(&altered, kind, &network.trust, NOW);
                    assert!(result.is_err(), "certificate {position}, byte {index} ^ {mask:#x}");
                }
            }
        }
    }
}

#[test]
fn a_certificate_cut_short_or_with_a_tail_is_refused() {
    let network = TestNetwork::new();
    let chain = chain_of(&network, CertificateKind::Id);
    for length in 0..chain[0].len() {
        let mut short = chain.clone();
        short[0].0.truncate(length);
        assert!(verify_chain(&short, CertificateKind::Id, &network.trust, NOW).is_err());
    }
    let mut long = chain;
    long[0].0.push(0);
    assert!(verify_chain(&long, CertificateKind::Id, &network.trust, NOW).is_err());
}

/// (r, n − s) matches too: it would be a second certificate with another hash, unknown to a
/// denylist.
#[test]
fn the_other_spelling_of_a_signature_is_refused() {
    let network = TestNetwork::new();
    let mut chain = chain_of(&network, CertificateKind::Id);
    let (tbs, _, signature) = parts(&chain[0]);
    let twisted = profile::signature::twin_signature(signature.as_bytes().unwrap());
    chain[0] = join(tbs, twisted).into();
    let refusal = refused(verify_chain(&chain, CertificateKind::Id, &network.trust, NOW));
    assert_eq!(refusal, InvalidChain::BadSignature { position: 0 });
}

/// Verifies a chain of `kind` whose leaf was issued again with other extensions.
pub(super) fn with_extensions(
    kind: CertificateKind,
    change: impl FnOnce(&mut Vec<Extension>),
) -> Result<VerifiedChain, ChainError> {
    let network = TestNetwork::new();
    let mut chain = chain_of(&network, kind);
    let ca = network.cities[0].sub_ca(kind.purpose());
    chain[0] = reissue(&chain[0], &ca.signer, |fields| edit_extensions(fields, change));
    verify_chain(&chain, kind, &network.trust, NOW)
}

fn with_subject(
    kind: CertificateKind,
    attributes: &[Attribute<'_>],
) -> Result<VerifiedChain, ChainError> {
    let network = TestNetwork::new();
    let mut chain = chain_of(&network, kind);
    let ca = network.cities[0].sub_ca(kind.purpose());
    let subject: Vec<Any> = attributes
        .iter()
        .map(|(oid, tag, text)| {
            let attribute = x509_cert::attr::AttributeTypeAndValue {
                oid: ObjectIdentifier::new(oid).unwrap(),
                value: Any::new(*tag, text.as_bytes()).unwrap(),
            };
            Any::new(Tag::Set, attribute.to_der().unwrap()).unwrap()
        })
        .collect();
    chain[0] = reissue(&chain[0], &ca.signer, |fields| {
        fields[5] = Any::from_der(&subject.to_der().unwrap()).unwrap();
    });
    verify_chain(&chain, kind, &network.trust, NOW)
}

/// Type, string type and text of an attribute of a name.
type Attribute<'a> = (&'a str, Tag, &'a str);

fn id(text: &str) -> Attribute<'_> {
    ("2.5.4.97", Tag::Utf8String, text)
}

fn serial(text: &str) -> Attribute<'_> {
    ("2.5.4.5", Tag::PrintableString, text)
}

const COUNTRY: Attribute<'static> = ("2.5.4.6", Tag::PrintableString, "JP");
const NAME: Attribute<'static> = ("2.5.4.10", Tag::Utf8String, "給食サービス株式会社");

#[test]
fn reissuing_without_a_change_passes() {
    for kind in CertificateKind::ALL {
        with_extensions(kind, |_| {}).unwrap();
    }
    let identifier = format!("NTRJP-{}", service().organisation());
    let own = ("2.5.4.97", Tag::Utf8String, &identifier[..]);
    with_subject(CertificateKind::Organisation, &[COUNTRY, NAME, own]).unwrap();
}

#[test]
fn an_unknown_critical_extension_is_refused_and_an_uncritical_one_ignored() {
    let null = || vec![5, 0];
    let oid = "1.3.6.1.4.1.32473.9.9";
    let result =
        with_extensions(CertificateKind::Id, |list| list.push(extension(oid, true, null())));
    let refusal = refused(result);
    let expected = PathValidationStatus::UnprocessedCriticalExtension;
    assert_eq!(refusal, InvalidChain::Path(expected));
    with_extensions(CertificateKind::Id, |list| list.push(extension(oid, false, null()))).unwrap();
}

#[test]
fn leaves_of_another_form_are_refused() {
    let service_kind = CertificateKind::Service;
    let san = |names: Vec<GeneralName>| extension("2.5.29.17", false, names.to_der().unwrap());
    let uri = |text: &str| GeneralName::UniformResourceIdentifier(Ia5String::new(text).unwrap());
    let own = service().uri();
    let foreign = format!("mebuku:{}/lunch", OrganisationId::from_base("000020102016").unwrap());
    type Change<'a> = Box<dyn FnOnce(&mut Vec<Extension>) + 'a>;
    let replace_san = |names: Vec<GeneralName>| -> Change {
        let san = san(names);
        Box::new(move |list| {
            list.retain(|e| e.extn_id.to_string() != "2.5.29.17");
            list.push(san);
        })
    };
    let drop = |oid: &'static str| -> Change {
        Box::new(move |list| list.retain(|e| e.extn_id.to_string() != oid))
    };
    let add = |extension: Extension| -> Change { Box::new(move |list| list.push(extension)) };
    let cases: Vec<(&str, CertificateKind, Change)> = vec![
        ("no SAN", service_kind, drop("2.5.29.17")),
        (
            "DNS SAN",
            service_kind,
            replace_san(vec![GeneralName::DnsName(Ia5String::new("a.jp").unwrap())]),
        ),
        ("two services", service_kind, replace_san(vec![uri(&own), uri(&(own.clone() + "2"))])),
        (
            "URI and DNS",
            service_kind,
            replace_san(vec![uri(&own), GeneralName::DnsName(Ia5String::new("a.jp").unwrap())]),
        ),
        ("another scheme", service_kind, replace_san(vec![uri("https://a.jp")])),
        (
            "upper-case scheme",
            service_kind,
            replace_san(vec![uri(&own.replace("mebuku", "Mebuku"))]),
        ),
        ("SAN on an ID", CertificateKind::Id, add(san(vec![uri(&own)]))),
        ("foreign service", CertificateKind::Organisation, replace_san(vec![uri(&foreign)])),
        ("the same twice", CertificateKind::Organisation, replace_san(vec![uri(&own), uri(&own)])),
        (
            "unsorted",
            CertificateKind::Organisation,
            replace_san(vec![uri(&(own.clone() + "2")), uri(&own)]),
        ),
        ("foreign service", CertificateKind::Credential, replace_san(vec![uri(&foreign)])),
        ("no SAN", CertificateKind::Credential, drop("2.5.29.17")),
        ("no key usage", CertificateKind::Id, drop("2.5.29.15")),
        ("no policies", CertificateKind::Id, drop("2.5.29.32")),
        ("no EKU", CertificateKind::Id, drop("2.5.29.37")),
        ("no SKI", CertificateKind::Id, drop("2.5.29.14")),
        ("no AKI", CertificateKind::Id, drop("2.5.29.35")),
        ("CA", CertificateKind::Id, add(extension("2.5.29.19", true, vec![0x30, 3, 1, 1, 0xff]))),
        ("one extension twice", CertificateKind::Id, Box::new(|list| list.push(list[0].clone()))),
    ];
    for (what, kind, change) in cases {
        assert!(with_extensions(kind, change).is_err(), "{what} on a {kind} leaf");
    }
}

#[test]
fn leaves_with_two_purposes_are_refused() {
    // anyPolicy and anyExtendedKeyUsage beside the right ones, or another kind's.
    for (oid, other) in [("2.5.29.32", "2.5.29.32.0"), ("2.5.29.37", "2.5.29.37.0")] {
        let result = with_extensions(CertificateKind::Id, |list| {
            let found = list.iter_mut().find(|e| e.extn_id.to_string() == oid).unwrap();
            let mut values: Vec<Any> = Vec::from_der(found.extn_value.as_bytes()).unwrap();
            let other = Any::encode_from(&ObjectIdentifier::new(other).unwrap()).unwrap();
            values.push(match oid {
                "2.5.29.32" => Any::encode_from(&vec![other]).unwrap(),
                _ => other,
            });
            found.extn_value = OctetString::new(values.to_der().unwrap()).unwrap();
        });
        assert!(matches!(refused(result), InvalidChain::Profile { position: 0, .. }));
    }
}

#[test]
fn subjects_of_another_form_are_refused() {
    let own = format!("NTRJP-{}", service().organisation());
    let other = format!("NTRJP-{}", OrganisationId::from_base("000020102016").unwrap());
    let hex = "07".repeat(32);
    let organisation = CertificateKind::Organisation;
    let cases: Vec<(&str, CertificateKind, Vec<Attribute<'_>>)> = vec![
        ("two organizationIdentifiers", organisation, vec![COUNTRY, NAME, id(&own), id(&own)]),
        ("two, other first", organisation, vec![COUNTRY, NAME, id(&other), id(&own)]),
        ("no organizationIdentifier", organisation, vec![COUNTRY, NAME]),
        ("another's", organisation, vec![COUNTRY, NAME, id(&other)]),
        ("another scheme", organisation, vec![COUNTRY, NAME, id("VATJP-2012345678901")]),
        ("no name", organisation, vec![COUNTRY, id(&own)]),
        ("two names", organisation, vec![COUNTRY, NAME, NAME, id(&own)]),
        ("no country", organisation, vec![NAME, id(&own)]),
        (
            "another country",
            organisation,
            vec![("2.5.4.6", Tag::PrintableString, "US"), NAME, id(&own)],
        ),
        ("other order", organisation, vec![COUNTRY, id(&own), NAME]),
        (
            "an extra attribute",
            organisation,
            vec![COUNTRY, NAME, id(&own), ("2.5.4.3", Tag::Utf8String, "x")],
        ),
        (
            "another string type",
            organisation,
            vec![COUNTRY, NAME, ("2.5.4.97", Tag::PrintableString, &own)],
        ),
        ("a short service id", CertificateKind::Service, vec![COUNTRY, serial(&hex[2..])]),
        (
            "an upper-case service id",
            CertificateKind::Service,
            vec![
                COUNTRY,
                serial("AB07070707070707070707070707070707070707070707070707070707070707"),
            ],
        ),
        ("no service id", CertificateKind::Service, vec![COUNTRY]),
        ("two service ids", CertificateKind::Service, vec![COUNTRY, serial(&hex), serial(&hex)]),
        (
            "an ID with a name",
            CertificateKind::Id,
            vec![COUNTRY, serial("ABCD"), ("2.5.4.3", Tag::Utf8String, "x")],
        ),
        ("an ID without number", CertificateKind::Id, vec![COUNTRY]),
        ("an ID with spaces", CertificateKind::Id, vec![COUNTRY, serial("AB CD")]),
    ];
    with_subject(CertificateKind::Service, &[COUNTRY, serial(&hex)]).unwrap();
    for (what, kind, attributes) in cases {
        let refusal = refused(with_subject(kind, &attributes));
        assert!(matches!(refusal, InvalidChain::Profile { position: 0, .. }), "{what}: {refusal}");
    }
}

#[test]
fn lists_too_long_to_work_through_are_refused() {
    let uri = |i: usize| {
        let uri = format!("{}{i}", service().uri());
        GeneralName::UniformResourceIdentifier(Ia5String::new(&uri).unwrap())
    };
    let names: Vec<_> = (0..=64).map(uri).collect();
    let policies: Vec<_> = (0..=64u8)
        .map(|i| vec![ObjectIdentifier::new(&format!("1.3.6.1.4.1.32473.7.{i}")).unwrap()])
        .collect();
    let usages: Vec<_> = policies.iter().map(|policy| policy[0]).collect();
    let subtrees: Vec<_> = (0..=64)
        .map(|i| x509_cert::ext::pkix::constraints::name::GeneralSubtree {
            base: uri(i),
            minimum: 0,
            maximum: None,
        })
        .collect();
    let constraints = x509_cert::ext::pkix::NameConstraints {
        permitted_subtrees: None,
        excluded_subtrees: Some(subtrees),
    };
    for (oid, value) in [
        ("2.5.29.17", names.to_der().unwrap()),
        ("2.5.29.32", policies.to_der().unwrap()),
        ("2.5.29.37", usages.to_der().unwrap()),
        ("2.5.29.30", constraints.to_der().unwrap()),
    ] {
        let result = with_extensions(CertificateKind::Organisation, |list| {
            list.retain(|e| e.extn_id.to_string() != oid);
            list.push(extension(oid, false, value));
        });
        let what = "a list in the certificate is too long";
        assert_eq!(refused(result), InvalidChain::Profile { position: 0, what }, "{oid}");
    }
}
