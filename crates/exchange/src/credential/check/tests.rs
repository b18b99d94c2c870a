use serde_json::{Map, json};
use trust::{
    LeafKind, Validity,
    testing::{NOW, TestSigner, issue_leaf},
};
use wire::Signer;

use super::*;
use crate::{
    credential::Claims,
    fixture::{Fixture, PERMIT, TERMS, claims, expected, hospital, item, lunch, pharmacy},
};

const ID: Hash = Hash([3; 32]);

/// A presentation taken apart, to be changed and signed again by the right key.
#[derive(Clone)]
struct Parts {
    header: Map<String, Value>,
    payload: Map<String, Value>,
    disclosures: Vec<String>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).unwrap();
        let mut segments = text.split('~');
        let jwt: Vec<&str> = segments.next().unwrap().split('.').collect();
        let json =
            |text| serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
        let disclosures: Vec<String> = segments.map(str::to_owned).collect();
        Self {
            header: json(jwt[0]),
            payload: json(jwt[1]),
            disclosures: disclosures[..disclosures.len() - 1].to_vec(),
        }
    }

    fn signed(&self, signer: &dyn Signer) -> Vec<u8> {
        let text = |map: &Map<String, Value>| serde_json::to_string(map).unwrap();
        sign(&text(&self.header), &text(&self.payload), &self.disclosures, signer)
    }

    fn disclose(name: &str, value: &str) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(format!(r#"["c2FsdHNhbHRzYWx0c2FsdA", "{name}", {value}]"#))
    }

    fn digests(&mut self) -> &mut Vec<Value> {
        self.payload["items"]["_sd"].as_array_mut().unwrap()
    }
}

fn digest(disclosure: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(wire::sha256(disclosure.as_bytes()).0)
}

fn sign(header: &str, payload: &str, disclosures: &[String], signer: &dyn Signer) -> Vec<u8> {
    let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
    let input = format!("{}.{}", encode(header), encode(payload));
    let signature = signer.sign(input.as_bytes()).unwrap();
    let mut text = format!("{input}.{}~", BASE64_URL_SAFE_NO_PAD.encode(signature.0));
    for disclosure in disclosures {
        text.push_str(disclosure);
        text.push('~');
    }
    text.into_bytes()
}

struct Case {
    fixture: Fixture,
    request: Request,
}

impl Case {
    fn new(items: &[&str], whole: bool) -> Self {
        let fixture = Fixture::new();
        let request = fixture.request(items, whole);
        Self { fixture, request }
    }

    fn claims(&self, items: &[&str]) -> Claims {
        claims(&self.request, ID, items)
    }

    fn presented(&self, items: &[&str]) -> Vec<u8> {
        self.fixture.present(&self.claims(items)).into_bytes()
    }

    fn check(&self, bytes: &[u8]) -> Result<CheckedPresentation, PresentationError> {
        self.check_at(bytes, NOW)
    }

    fn check_at(
        &self,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<CheckedPresentation, PresentationError> {
        check_presentation(bytes, &expected(&self.request, ID, now), self.fixture.trust())
    }

    fn why(&self, bytes: &[u8]) -> InvalidPresentation {
        invalid(self.check(bytes))
    }
}

fn invalid(result: Result<CheckedPresentation, PresentationError>) -> InvalidPresentation {
    match result {
        Err(PresentationError::Invalid(why)) => why,
        other => panic!("expected a verdict, got {other:?}"),
    }
}

const TWO: [&str; 2] = ["health.allergy", "health.condition"];

#[test]
fn a_good_one_passes() {
    let case = Case::new(&["health"], false);
    let presentation = case.fixture.present(&case.claims(&TWO));
    let checked = case.check(presentation.bytes()).unwrap();
    assert_eq!(checked.hash(), presentation.hash());
    assert_eq!(checked.bytes(), presentation.bytes());
    assert_eq!(checked.request(), ID);
    assert_eq!(checked.decisions(), [PERMIT]);
    assert_eq!(checked.terms()[&PERMIT], TERMS);
    assert_eq!((checked.issued(), checked.expires()), (NOW, NOW.plus_ms(120_000)));
    assert_eq!(checked.chain().public_key(), &case.fixture.credential.public_key());
    let shown: Vec<String> = checked.items().keys().map(ToString::to_string).collect();
    assert_eq!(shown, TWO);
    for (item, record) in case.claims(&TWO).items {
        assert_eq!(&checked.items()[&item], record.value());
        assert_eq!(checked.items()[&item].to_string(), record.value().to_string());
    }
    assert!(!format!("{checked:?}").contains("AllergyIntolerance"));
}

#[test]
fn taken_apart_and_put_together_it_still_passes() {
    // So that the tests below fail for what they change, not for how they build it.
    let case = Case::new(&["health"], false);
    let parts = Parts::of(&case.presented(&TWO));
    case.check(&parts.signed(&case.fixture.credential)).unwrap();
}

#[test]
fn every_expectation_has_an_error_of_its_own() {
    use InvalidPresentation as Invalid;
    let case = Case::new(&["health"], false);
    let bytes = case.presented(&TWO);
    let (other_purpose, other_items) = ("emergency".parse().unwrap(), [item("health.allergy")]);
    let (hospital, pharmacy, other_subject) = (hospital(), pharmacy(), ServiceId([1; 32]));
    let good = expected(&case.request, ID, NOW);
    let table = [
        (Expected { request: Hash([4; 32]), ..good }, Invalid::Request),
        (Expected { nonce: Nonce([9; 16]), ..good }, Invalid::Nonce),
        (Expected { source: &hospital, ..good }, Invalid::Issuer),
        (Expected { recipient: &pharmacy, ..good }, Invalid::Audience),
        (Expected { subject: &other_subject, ..good }, Invalid::Subject),
        (Expected { items: &other_items, ..good }, Invalid::UnaskedItem),
        (Expected { items: &[], ..good }, Invalid::UnaskedItem),
        (Expected { whole: true, ..good }, Invalid::NotWhole),
        (Expected { purpose: &other_purpose, ..good }, Invalid::Purpose),
        (Expected { now: Timestamp(NOW.0 - 60_001), ..good }, Invalid::NotYetValid),
        (Expected { now: NOW.plus_ms(180_000), ..good }, Invalid::Expired),
    ];
    for (expected, why) in table {
        let result = check_presentation(&bytes, &expected, case.fixture.trust());
        assert_eq!(invalid(result), why);
    }
    // The edges of the window, clock skew included.
    for now in [Timestamp(NOW.0 - 60_000), NOW.plus_ms(179_999)] {
        case.check_at(&bytes, now).unwrap();
    }
}

#[test]
fn all_or_nothing_means_every_leaf() {
    let leaves = ["health.allergy", "health.condition", "health.immunization", "health.medication"];
    let case = Case::new(&["health"], true);
    case.check(&case.presented(&leaves)).unwrap();
    for missing in 0..leaves.len() {
        let mut some = leaves.to_vec();
        some.remove(missing);
        assert_eq!(case.why(&case.presented(&some)), InvalidPresentation::NotWhole);
    }
    // A type that no published vocabulary knows means itself.
    let own = "x.9000020102016.lunch-menu";
    let case = Case::new(&[own, "health.allergy"], true);
    case.check(&case.presented(&[own, "health.allergy"])).unwrap();
    assert_eq!(case.why(&case.presented(&["health.allergy"])), InvalidPresentation::NotWhole);
    assert_eq!(case.why(&case.presented(&[own])), InvalidPresentation::NotWhole);
}

#[test]
fn every_flipped_byte_fails() {
    let case = Case::new(&["health"], false);
    let good = case.presented(&TWO);
    let mut tried = 0;
    for position in 0..good.len() {
        // A neighbour in the alphabet, another case, a separator.
        for change in [good[position] ^ 1, good[position] ^ 0x20, b'A', b'~', b'.', b'='] {
            if change == good[position] {
                continue;
            }
            let mut bytes = good.clone();
            bytes[position] = change;
            assert!(case.check(&bytes).is_err(), "byte {position} as {change:#x} passed");
            tried += 1;
        }
    }
    println!("{tried} alterations of {} bytes, all refused", good.len());
    assert!(tried > 5 * good.len());
}

#[test]
fn every_cut_and_every_inserted_byte_fails() {
    let case = Case::new(&["health"], false);
    let good = case.presented(&TWO);
    for position in 0..good.len() {
        assert!(case.check(&good[..position]).is_err(), "cut at {position}");
        for inserted in [b'A', b'~'] {
            let mut bytes = good.clone();
            bytes.insert(position, inserted);
            assert!(case.check(&bytes).is_err(), "{inserted:#x} before {position}");
        }
    }
    for tail in ["~", "A", "\n", "a.b.c", "~~"] {
        assert!(case.check(&[&good, tail.as_bytes()].concat()).is_err(), "{tail:?} at the end");
    }
}

#[test]
fn disclosures_are_neither_added_nor_taken_nor_moved() {
    use InvalidPresentation as Invalid;
    let case = Case::new(&["health"], false);
    let good = Parts::of(&case.presented(&TWO));
    let credential = &case.fixture.credential;
    let with = |change: &dyn Fn(&mut Parts)| {
        let mut parts = good.clone();
        change(&mut parts);
        case.why(&parts.signed(credential))
    };
    let foreign = Parts::disclose("health.medication", "1");
    assert_eq!(with(&|p| drop(p.disclosures.remove(0))), Invalid::MissingDisclosure);
    assert_eq!(with(&|p| drop(p.disclosures.pop())), Invalid::MissingDisclosure);
    assert_eq!(with(&|p| p.disclosures.clear()), Invalid::MissingDisclosure);
    assert_eq!(with(&|p| p.disclosures.push(foreign.clone())), Invalid::UnusedDisclosure);
    assert_eq!(
        with(&|p| p.disclosures.push(p.disclosures[1].clone())),
        Invalid::DuplicateDisclosure
    );
    assert_eq!(with(&|p| p.disclosures.reverse()), Invalid::DisclosureOrder);
    assert_eq!(with(&|p| p.disclosures.push(String::new())), Invalid::Json("disclosure"));
    // The same by the issuer's own hand.
    assert_eq!(
        with(&|p| {
            let twin = p.digests()[0].clone();
            p.digests().push(twin);
        }),
        Invalid::DuplicateDigest
    );
    assert_eq!(
        with(&|p| p.digests().push(digest("decoy").into())),
        Invalid::MissingDisclosure,
        "no decoys: what is named is shown"
    );
    for (position, name, value, why) in [
        (2, "health.allergy", "1", Invalid::DisclosureOrder),
        (2, "health.medication", r#"{"_sd": []}"#, Invalid::Json("disclosure")),
        (2, "health.medication", r#"[{"...": "x"}]"#, Invalid::Json("disclosure")),
        (2, "health.medication", r#"{"a": 1, "a": 2}"#, Invalid::Json("disclosure")),
        (2, "iss", "1", Invalid::UnaskedItem),
        (0, "_sd", "1", Invalid::Json("disclosure")),
        (0, "...", "1", Invalid::Json("disclosure")),
        (2, "x.WRONG", "1", Invalid::Json("disclosure")),
    ] {
        let disclosure = Parts::disclose(name, value);
        let refused = with(&|p| {
            p.digests().push(digest(&disclosure).into());
            p.disclosures.insert(position, disclosure.clone());
        });
        assert_eq!(refused, why, "{name}");
    }
    // An array element's disclosure where an item's is due.
    let element = BASE64_URL_SAFE_NO_PAD.encode(r#"["c2FsdHNhbHRzYWx0c2FsdA", 1]"#);
    let refused = with(&|p| {
        p.digests().push(digest(&element).into());
        p.disclosures.insert(0, element.clone());
    });
    assert_eq!(refused, Invalid::Json("disclosure"));
    // A disclosure from another presentation of the same record to the same recipient.
    let other = crate::credential::UnsignedPresentation::new(
        &case.claims(&TWO),
        &case.fixture.chain,
        [9; 32],
    );
    let other = Parts::of(other.unwrap().sign(credential).unwrap().bytes());
    let refused = with(&|p| p.disclosures[0] = other.disclosures[0].clone());
    assert_eq!(refused, Invalid::UnusedDisclosure);
}

#[test]
fn the_header_says_this_and_nothing_else() {
    use InvalidPresentation as Invalid;
    let case = Case::new(&["health"], false);
    let good = Parts::of(&case.presented(&TWO));
    let x5c = good.header["x5c"].clone();
    let url_safe: Vec<String> =
        case.fixture.chain.iter().map(|der| BASE64_URL_SAFE_NO_PAD.encode(&der[..])).collect();
    let anchor = BASE64_STANDARD.encode(&case.fixture.network.cities[1].root.certificate);
    let with_anchor = json!([x5c[0], x5c[1], anchor]);
    let table: Vec<(&str, Value, Invalid)> = vec![
        ("alg", json!("none"), Invalid::Algorithm),
        ("alg", json!("HS256"), Invalid::Algorithm),
        ("alg", json!("ES384"), Invalid::Algorithm),
        ("alg", json!("RS256"), Invalid::Algorithm),
        ("alg", json!("es256"), Invalid::Json("header")),
        ("alg", json!(null), Invalid::Json("header")),
        ("typ", json!("JWT"), Invalid::Type),
        ("typ", json!("vc+sd-jwt"), Invalid::Type),
        ("typ", json!(null), Invalid::Type),
        ("crit", json!(["exp"]), Invalid::Header),
        ("crit", json!([]), Invalid::Header),
        ("b64", json!(true), Invalid::Header),
        ("jku", json!("https://keys.example"), Invalid::Header),
        ("jku", json!(null), Invalid::Header),
        ("jwk", json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}), Invalid::Header),
        ("kid", json!("1"), Invalid::Header),
        ("x5u", json!("https://keys.example"), Invalid::Header),
        ("cty", json!("x"), Invalid::Header),
        ("iss", json!("x"), Invalid::Header),
        ("x5c", json!(null), Invalid::X5c),
        ("x5c", json!([]), Invalid::X5c),
        ("x5c", json!(url_safe), Invalid::X5c),
        ("x5c", json!([x5c[0], x5c[1], x5c[1], x5c[1], x5c[1]]), Invalid::X5c),
        ("x5c", json!("MII"), Invalid::Json("header")),
        ("x5c", json!([x5c[0]]), Invalid::Chain(InvalidChain::Length(1))),
        ("x5c", json!([x5c[1], x5c[0]]), Invalid::Chain(InvalidChain::Broken { position: 0 })),
    ];
    for (name, value, why) in table {
        let mut parts = good.clone();
        parts.header.insert(name.to_owned(), value.clone());
        assert_eq!(case.why(&parts.signed(&case.fixture.credential)), why, "{name}: {value}");
    }
    let mut parts = good.clone();
    parts.header.insert("x5c".to_owned(), with_anchor);
    let refused = case.why(&parts.signed(&case.fixture.credential));
    assert!(matches!(refused, Invalid::Chain(_)), "the anchor is left out: {refused}");
    for name in ["alg", "typ", "x5c"] {
        let mut parts = good.clone();
        parts.header.remove(name);
        assert!(case.check(&parts.signed(&case.fixture.credential)).is_err(), "{name} left out");
    }
    // b64 false makes the payload unencoded (RFC 7797): refused before anything reads it so.
    let mut parts = good.clone();
    parts.header.insert("b64".to_owned(), json!(false));
    parts.header.insert("crit".to_owned(), json!(["b64"]));
    assert_eq!(case.why(&parts.signed(&case.fixture.credential)), Invalid::Header);
    // A name twice.
    let twice = serde_json::to_string(&good.header).unwrap().replacen('{', r#"{"alg":"none","#, 1);
    let payload = serde_json::to_string(&good.payload).unwrap();
    let bytes = sign(&twice, &payload, &good.disclosures, &case.fixture.credential);
    assert_eq!(case.why(&bytes), Invalid::Json("header"));
}

#[test]
fn the_payload_holds_these_claims_and_no_others() {
    use InvalidPresentation as Invalid;
    let case = Case::new(&["health"], false);
    let good = Parts::of(&case.presented(&TWO));
    let now = NOW.as_secs();
    let (one, two) = ("11".repeat(32), "22".repeat(32));
    let json_payload = Invalid::Json("payload");
    let table: Vec<(&str, Value, Invalid)> = vec![
        ("iss", json!(hospital().uri()), Invalid::IssuerCertificate),
        ("aud", json!([hospital().uri()]), json_payload.clone()),
        ("aud", json!(lunch().uri()), Invalid::Audience),
        ("sub", json!("BB".repeat(32)), json_payload.clone()),
        ("sub", json!("aa".repeat(32)), Invalid::Subject),
        ("iat", json!(now + 61), Invalid::NotYetValid),
        ("iat", json!(now as f64 + 0.5), json_payload.clone()),
        ("iat", json!(now.to_string()), json_payload.clone()),
        ("iat", json!(now + 120), Invalid::Lifetime),
        ("exp", json!(now + 301), Invalid::Lifetime),
        ("exp", json!(now), Invalid::Lifetime),
        ("exp", json!(u64::MAX), Invalid::Lifetime),
        ("exp", json!(-1), json_payload.clone()),
        ("vct", json!("mebuku:vct/presentation/2"), Invalid::CredentialType),
        ("jti", json!("x"), json_payload.clone()),
        ("request", json!("04".repeat(32)), Invalid::Request),
        ("nonce", json!("04".repeat(16)), Invalid::Nonce),
        ("purpose", json!("emergency"), Invalid::Purpose),
        ("purpose", json!("Treatment"), json_payload.clone()),
        ("decisions", json!([]), Invalid::Decisions),
        ("decisions", json!([two, one]), Invalid::Decisions),
        ("decisions", json!([one, one]), Invalid::Decisions),
        ("terms", json!({}), Invalid::Terms),
        ("terms", json!({two.clone(): TERMS}), Invalid::Terms),
        ("terms", json!({PERMIT.to_string(): {"onward": "maybe"}}), json_payload.clone()),
        ("_sd_alg", json!("sha-512"), Invalid::DigestAlgorithm),
        ("_sd_alg", json!("SHA-256"), Invalid::DigestAlgorithm),
        ("_sd", json!([]), json_payload.clone()),
        ("nbf", json!(now), json_payload.clone()),
        ("cnf", json!({"jwk": {}}), json_payload.clone()),
        ("status", json!(null), json_payload.clone()),
        ("items", json!({"_sd": [], "health.medication": {}}), json_payload.clone()),
        ("items", json!({"_sd": "x"}), json_payload.clone()),
        ("items", json!({"_sd": [1]}), json_payload.clone()),
        ("items", json!({"_sd": ["AA"]}), Invalid::Json("digest")),
        ("items", json!({"_sd": ["A="]}), Invalid::Base64("digest")),
        ("items", json!({"_sd": []}), Invalid::UnusedDisclosure),
        ("items", json!([{"...": "x"}]), json_payload.clone()),
    ];
    for (name, value, why) in table {
        let mut parts = good.clone();
        parts.payload.insert(name.to_owned(), value.clone());
        assert_eq!(case.why(&parts.signed(&case.fixture.credential)), why, "{name}: {value}");
    }
    for name in good.payload.keys() {
        let mut parts = good.clone();
        parts.payload.remove(name);
        let refused = case.why(&parts.signed(&case.fixture.credential));
        assert_eq!(refused, json_payload, "{name} left out");
    }
    let header = serde_json::to_string(&good.header).unwrap();
    let twice = serde_json::to_string(&good.payload).unwrap().replacen('{', r#"{"iat":1,"#, 1);
    let bytes = sign(&header, &twice, &good.disclosures, &case.fixture.credential);
    assert_eq!(case.why(&bytes), json_payload);
    // No items at all, rightly signed.
    let mut parts = good.clone();
    parts.payload.insert("items".to_owned(), json!({"_sd": []}));
    parts.disclosures.clear();
    assert_eq!(case.why(&parts.signed(&case.fixture.credential)), Invalid::UnaskedItem);
}

#[test]
fn base64url_has_one_spelling() {
    let case = Case::new(&["health.allergy"], false);
    let good = String::from_utf8(case.presented(&["health.allergy"])).unwrap();
    let (jwt, disclosures) = good.split_once('~').unwrap();
    let (input, signature) = jwt.rsplit_once('.').unwrap();
    // 64 bytes leave two stray bits in the last character.
    let last = signature.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let index = alphabet.find(last).unwrap();
    for stray in 1..16 {
        let next = alphabet.as_bytes()[(index & !15) | ((index + stray) & 15)] as char;
        let altered = format!("{input}.{}{next}~{disclosures}", &signature[..signature.len() - 1]);
        assert!(case.check(altered.as_bytes()).is_err());
    }
    for altered in [
        format!("{input}.{signature}==~{disclosures}"),
        format!("{input}.{}~{disclosures}", signature.replace(['-', '_'], "+")),
        format!("{input}.{signature}~{}=~", disclosures.trim_end_matches('~')),
        format!("{input}.{signature}\n~{disclosures}"),
        format!(" {good}"),
    ] {
        assert!(case.check(altered.as_bytes()).is_err());
    }
}

#[test]
fn bytes_that_are_no_sd_jwt() {
    let case = Case::new(&["health"], false);
    let texts = ["", "~", "a.b.c", "..~", "a.b~", "a.b.c~", "~~~~", ".~.~.~", "a.b.c.d~", "a..c~"];
    for bytes in texts {
        assert!(case.check(bytes.as_bytes()).is_err(), "{bytes:?}");
    }
    for bytes in [&b"a.\xff\xfe.c~"[..], b"\x00", &[0xff; 4096]] {
        assert_eq!(case.why(bytes), InvalidPresentation::Form);
    }
    assert_eq!(case.why(&vec![b'A'; PRESENTATION + 1]), InvalidPresentation::TooLarge);
    // A key binding has no place here.
    let mut bytes = case.presented(&TWO);
    bytes.extend_from_slice(b"eyJhbGciOiJFUzI1NiJ9.e30.AA");
    assert_eq!(case.why(&bytes), InvalidPresentation::Form);
}

#[test]
fn only_the_services_own_credential_key_speaks_for_it() {
    use InvalidPresentation as Invalid;
    let case = Case::new(&["health"], false);
    let network = &case.fixture.network;
    let key = TestSigner::new(101);
    let present = |chain: &[Bytes], signer: &TestSigner| {
        let claims = case.claims(&TWO);
        let unsigned =
            crate::credential::UnsignedPresentation::new(&claims, chain, [1; 32]).unwrap();
        case.check(unsigned.sign(signer).unwrap().bytes())
    };
    // The same key with a certificate of another purpose.
    let organisation = network.organisation_certificate(
        1,
        &lunch().organisation(),
        "給食サービス",
        &[lunch()],
        &key.public_key(),
    );
    let citizen = network.service_certificate(1, ServiceId([5; 32]), &lunch(), &key.public_key());
    for chain in [&organisation, &citizen, &case.fixture.lunch.chain] {
        assert!(matches!(invalid(present(chain, &key)), Invalid::Chain(_)));
    }
    // Another service's credential key, rightly certified.
    let other = network.credential_certificate(1, "前橋病院", &hospital(), &key.public_key());
    assert_eq!(invalid(present(&other, &key)), Invalid::IssuerCertificate);
    // The right certificate with another key's signature.
    assert_eq!(invalid(present(&case.fixture.chain, &key)), Invalid::Signature);
    // A second city may certify the same service.
    let second = network.credential_certificate(2, "給食サービス", &lunch(), &key.public_key());
    present(&second, &key).unwrap();
    // A leaf whose time is over.
    let leaf = LeafKind::Credential {
        organisation: lunch().organisation(),
        name: "給食サービス".to_owned(),
        service: lunch(),
    };
    let validity =
        Validity { not_before: Timestamp(NOW.0 - 10_000), not_after: Timestamp(NOW.0 - 1_000) };
    let ca = &network.cities[1].credential;
    let expired = issue_leaf(ca, &leaf, &key.public_key(), validity);
    let chain = [Bytes(expired), Bytes(ca.certificate.clone())];
    assert_eq!(
        invalid(present(&chain, &key)),
        Invalid::Chain(InvalidChain::Expired { position: 0 })
    );
}

#[test]
fn an_old_trust_list_gives_no_verdict() {
    let case = Case::new(&["health"], false);
    let bytes = case.presented(&TWO);
    let late = NOW.plus_ms(15 * 86_400_000);
    assert_eq!(case.check_at(&bytes, late), Err(PresentationError::TrustExpired));
}
