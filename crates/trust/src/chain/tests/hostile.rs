//! Chains made to cost work: refused on the length of their lists before path validation begins, or
//! worked through within a bound. What is bounded is counted, not timed.

use x509_cert::ext::pkix::{
    BasicConstraints, NameConstraints, constraints::name::GeneralSubtree, name::GeneralNames,
};

use super::{form::with_extensions, *};
use crate::profile::signature::VERIFICATIONS;

/// As many entries as a list may have.
const FULL: usize = limits::DESCRIPTOR_LIST;
/// Beyond so many constraints times names certval refuses a certificate; ours come nowhere near.
const CERTVAL_BUDGET: usize = 1 << 20;
const _: () = assert!((limits::CHAIN - 1) * FULL * FULL < CERTVAL_BUDGET);

fn verifications<T>(run: impl FnOnce() -> T) -> (T, usize) {
    VERIFICATIONS.set(0);
    let result = run();
    (result, VERIFICATIONS.get())
}

fn dns(name: &str) -> GeneralName {
    GeneralName::DnsName(Ia5String::new(name).unwrap())
}

fn subtrees(names: impl Iterator<Item = String>) -> Option<Vec<GeneralSubtree>> {
    let subtree = |name: String| GeneralSubtree { base: dns(&name), minimum: 0, maximum: None };
    Some(names.map(subtree).collect())
}

fn policy(number: usize) -> ObjectIdentifier {
    ObjectIdentifier::new(&format!("1.3.6.1.4.1.32473.7.{number}")).unwrap()
}

fn mappings(count: usize) -> Vec<u8> {
    let pairs: Vec<_> = (0..count).map(|i| vec![policy(i), policy(i + 1)]).collect();
    pairs.to_der().unwrap()
}

/// What is excluded differs from one `ca` to the next, so that it adds up along a path.
fn constraints(permitted: usize, excluded: usize, ca: usize) -> Vec<u8> {
    let constraints = NameConstraints {
        permitted_subtrees: subtrees((0..permitted).map(permitted_name)),
        excluded_subtrees: subtrees(
            (0..excluded).map(|i| format!("e{i}.ca{ca}.{}.example", "e".repeat(56))),
        ),
    };
    constraints.to_der().unwrap()
}

fn permitted_name(number: usize) -> String {
    format!("p{number}.{}.example", "p".repeat(60))
}

/// Each below the last of the permitted subtrees, so that all are compared.
fn names_under(permitted: usize, count: usize) -> Vec<u8> {
    let parent = permitted_name(permitted - 1);
    let names: GeneralNames = (0..count).map(|i| dns(&format!("n{i}.{parent}"))).collect();
    names.to_der().unwrap()
}

const PADDING: &str = "1.3.6.1.4.1.32473.8";

/// An uncritical extension nobody knows, for size.
fn padding(length: usize) -> Extension {
    extension(PADDING, false, vec![0; length])
}

#[test]
fn the_lists_that_are_multiplied_with_each_other_are_limited_each() {
    let refusals = [
        ("mappings", vec![extension("2.5.29.33", false, mappings(FULL + 1))]),
        ("constraints, in sum", vec![extension("2.5.29.30", true, constraints(33, 32, 1))]),
        ("extensions", (0..=FULL).map(unknown).collect()),
    ];
    for (list, extensions) in refusals {
        let result = with_extensions(CertificateKind::Organisation, |own| own.extend(extensions));
        let what = "a list in the certificate is too long";
        assert_eq!(refused(result), InvalidChain::Profile { position: 0, what }, "{list}");
    }
}

fn unknown(number: usize) -> Extension {
    extension(&format!("1.3.6.1.4.1.32473.9.{number}"), false, vec![5, 0])
}

/// A chain of four certificates of almost 16 KiB with full lists, and the list whose anchor, unlike
/// those that we issue, allows one so long.
fn full_chain() -> (Trust, Vec<Bytes>) {
    let network = TestNetwork::new();
    let city = &network.cities[0];
    let anchor = reissue(&city.root.certificate, &city.root.signer, |fields| {
        edit_extensions(fields, |list| *find(list, "2.5.29.19") = any_path_length());
    });
    let trust = network.trust_with(|list, _| list.authorities[0].anchor = anchor);

    let first = &city.organisation_ca;
    let certificate = reissue(&first.certificate, &city.root.signer, |fields| {
        edit_extensions(fields, |list| {
            *find(list, "2.5.29.19") = any_path_length();
            list.push(extension("2.5.29.17", false, names_under(FULL / 2, FULL)));
            list.push(extension("2.5.29.30", true, constraints(FULL / 2, FULL / 2, 1)));
            list.push(extension("2.5.29.33", false, mappings(FULL)));
            list.push(padding(3_900));
        });
    });
    let mut cas = vec![TestCa { certificate: certificate.0, signer: first.signer.clone() }];
    for number in 2..limits::CHAIN {
        let above = cas.last().unwrap();
        let signer = TestSigner::new(110 + number as u8);
        let same = [Bytes(above.certificate.clone())];
        let same = rename_issuer(&same, &above.signer, &signer.public_key());
        let certificate = reissue(&same, &above.signer, |fields| {
            let name = format!("CA {number}");
            let name = profile::organisation_name(&city.organisation, &city.name, Some(&name));
            fields[5] = Any::encode_from(&name.unwrap()).unwrap();
            let own = extension("2.5.29.30", true, constraints(FULL / 2, FULL / 2, number));
            edit_extensions(fields, |list| *find(list, "2.5.29.30") = own);
        });
        cas.push(TestCa { certificate: certificate.0, signer });
    }
    let lowest = cas.last().unwrap();
    let services = (0..FULL).map(|i| format!("{}{i:02}", service()).parse().unwrap());
    let subject = LeafKind::Organisation {
        organisation: service().organisation(),
        name: "給食サービス株式会社".into(),
        services: services.collect(),
    };
    let leaf = issue_leaf(lowest, &subject, &TestSigner::new(100).public_key(), a_year());
    let leaf = reissue(&leaf, &lowest.signer, |fields| {
        edit_extensions(fields, |list| list.push(padding(13_600)));
    });
    let cas = cas.iter().rev().map(|ca| Bytes(ca.certificate.clone()));
    (trust, [leaf].into_iter().chain(cas).collect())
}

fn find<'a>(list: &'a mut [Extension], oid: &str) -> &'a mut Extension {
    list.iter_mut().find(|extension| extension.extn_id.to_string() == oid).unwrap()
}

fn any_path_length() -> Extension {
    let constraints = BasicConstraints { ca: true, path_len_constraint: None };
    extension("2.5.29.19", true, constraints.to_der().unwrap())
}

#[test]
fn a_chain_at_every_limit_costs_one_signature_for_each_certificate() {
    let (trust, chain) = full_chain();
    assert_eq!(chain.len(), limits::CHAIN);
    for der in &chain {
        let nearly = limits::CERTIFICATE - 500;
        assert!((nearly..=limits::CERTIFICATE).contains(&der.len()), "{} bytes", der.len());
    }
    let kind = CertificateKind::Organisation;
    let (result, count) = verifications(|| verify_chain(&chain, kind, &trust, NOW));
    result.unwrap();
    assert_eq!(count, limits::CHAIN);

    // Whoever holds no key of ours cannot make more than the first signature looked at: from the
    // anchor down, the first wrong one is the last.
    let forge = |position: usize| {
        let (tbs, ..) = parts(&chain[position]);
        let (_, _, of_another) = parts(&chain[(position + 1) % chain.len()]);
        let mut forged = chain.clone();
        forged[position] = join(tbs, of_another.as_bytes().unwrap().to_vec()).into();
        verifications(|| refused(verify_chain(&forged, kind, &trust, NOW)))
    };
    for position in 0..limits::CHAIN {
        let (refusal, count) = forge(position);
        assert_eq!(refusal, InvalidChain::BadSignature { position });
        assert_eq!(count, limits::CHAIN - position);
    }
}

/// Under an anchor as we issue them, the path length is found exceeded before names are compared.
#[test]
fn a_chain_too_long_for_its_anchor_costs_no_signature() {
    let (_, chain) = full_chain();
    let network = TestNetwork::new();
    let kind = CertificateKind::Organisation;
    let (result, count) = verifications(|| verify_chain(&chain, kind, &network.trust, NOW));
    assert_eq!(refused(result), InvalidChain::Path(PathValidationStatus::InvalidPathLength));
    assert_eq!(count, 0);
}

#[test]
fn one_list_too_long_in_any_certificate_costs_no_signature() {
    let (trust, chain) = full_chain();
    let signer = TestSigner::new(120);
    for position in 0..chain.len() {
        let mut longer = chain.clone();
        longer[position] = reissue(&chain[position], &signer, |fields| {
            edit_extensions(fields, |list| {
                // Room for one more: the certificate must not be too large.
                let replaced = ["2.5.29.33", PADDING];
                list.retain(|own| !replaced.contains(&own.extn_id.to_string().as_str()));
                list.push(extension("2.5.29.33", false, mappings(FULL + 1)));
            });
        });
        let kind = CertificateKind::Organisation;
        let (result, count) = verifications(|| verify_chain(&longer, kind, &trust, NOW));
        let what = "a list in the certificate is too long";
        assert_eq!(refused(result), InvalidChain::Profile { position, what });
        assert_eq!(count, 0);
    }
}
