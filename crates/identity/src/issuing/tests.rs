use trust::{
    CertificateKind,
    testing::{NOW, TestNetwork, TestSigner},
    verify_chain,
};
use wire::{Bytes, Nonce, ServiceName, Signer};

use super::*;

const DAY: u64 = 24 * 60 * 60 * 1000;
const YEAR: u64 = 365 * DAY;
const SERIAL: [u8; 16] = [7; 16];

fn service(short: &str) -> ServiceName {
    format!("9000020102016/{short}").parse().unwrap()
}

fn y() -> Y {
    Y::from_bytes(&[7; 32]).unwrap()
}

fn until(ms: u64) -> Validity {
    Validity { not_before: NOW, not_after: NOW.plus_ms(ms) }
}

fn pointers() -> Pointers {
    Pointers {
        crl: Some("https://ca.example/citizen.crl".into()),
        ocsp: Some("https://ca.example/ocsp".into()),
    }
}

/// A city's CA and one citizen's phone with its ID certificate, issued by [`issue_id_certificate`].
struct Desk {
    network: TestNetwork,
    phone: TestSigner,
    service_key: TestSigner,
    id: VerifiedChain,
}

impl Desk {
    fn new() -> Self {
        let network = TestNetwork::new();
        let phone = TestSigner::new(100);
        let ca = &network.cities[0].citizen;
        let (key, number) = (phone.public_key(), y().number());
        let leaf =
            issue_id_certificate(&ca.ca(), &number, &key, SERIAL, until(4 * YEAR), &pointers());
        let chain = vec![leaf.unwrap().into(), ca.certificate.clone().into()];
        let id = verify_chain(&chain, CertificateKind::Id, &network.trust, NOW).unwrap();
        Self { network, phone, service_key: TestSigner::new(101), id }
    }

    fn proof(&self, service_name: &ServiceName, signer: &TestSigner) -> Bytes {
        let proof = ServiceKeyProof { service: service_name.clone(), id_key: self.id.key() };
        Signed::new(proof, &self.network.id, signer).unwrap().bytes().to_vec().into()
    }

    /// What an honest wallet asks.
    fn request(&self) -> ServiceKeyRequest {
        ServiceKeyRequest {
            service: service("lunch"),
            proof: self.proof(&service("lunch"), &self.service_key),
            key: self.service_key.public_key(),
            y: y().as_bytes().to_vec().into(),
            nonce: Nonce([1; 16]),
            time: NOW,
        }
    }

    fn signed<M: wire::Message>(&self, message: M, signer: &TestSigner) -> Verified<M> {
        Signed::new(message, &self.network.id, signer)
            .unwrap()
            .verify(&signer.public_key())
            .unwrap()
    }

    fn check(&self, request: ServiceKeyRequest) -> Result<CheckedServiceKey, IssuingError> {
        let request = self.signed(request, &self.phone);
        check_service_key(&request, &self.id, &self.network.id, NOW)
    }

    fn issue(&self, validity: Validity) -> Result<ServiceCertificate, IssuingError> {
        let request = self.signed(self.request(), &self.phone);
        issue_service_certificate(
            &self.network.cities[0].citizen.ca(),
            &request,
            &self.id,
            &self.network.id,
            NOW,
            SERIAL,
            validity,
            &pointers(),
        )
    }

    fn link(&self) -> LinkRequest {
        LinkRequest {
            source: service("lunch"),
            recipient: service("reception"),
            y: y().as_bytes().to_vec().into(),
            nonce: Nonce([2; 16]),
            time: NOW,
        }
    }

    fn attest(&self, request: LinkRequest) -> Result<Link, IssuingError> {
        attest_link(&self.signed(request, &self.phone), &self.id, NOW)
    }
}

#[test]
fn an_id_certificate_holds_the_number_and_no_attribute() {
    let desk = Desk::new();
    assert_eq!(*desk.id.subject(), LeafKind::Id { number: y().number().to_string() });
    assert_eq!(*desk.id.public_key(), desk.phone.public_key());
    assert_eq!(desk.id.not_after(), NOW.plus_ms(4 * YEAR));
    let leaf = desk.id.leaf_der();
    let holds = |text: &[u8]| leaf.windows(text.len()).any(|window| window == text);
    assert!(holds(y().number().to_string().as_bytes()));
    assert!(holds(b"https://ca.example/citizen.crl") && holds(b"https://ca.example/ocsp"));
}

#[test]
fn no_citizens_certificate_outlives_five_years() {
    let desk = Desk::new();
    let ca = desk.network.cities[0].citizen.ca();
    let (key, number) = (desk.phone.public_key(), y().number());
    let issue = |validity| {
        issue_id_certificate(&ca, &number, &key, SERIAL, validity, &pointers()).map(|_| ())
    };
    assert_eq!(issue(until(VALIDITY_MS)), Ok(()));
    assert_eq!(issue(until(VALIDITY_MS + 1)), Err(IssuingError::TooLong));
    assert_eq!(issue(until(50 * YEAR)), Err(IssuingError::TooLong));
    let backwards = Validity { not_before: NOW, not_after: Timestamp(NOW.0 - DAY) };
    assert_eq!(issue(backwards), Err(IssuingError::Issue(IssueError::Validity)));
    // A CA for organisations issues nothing to citizens.
    let other = desk.network.cities[0].organisation_ca.ca();
    let refused = issue_id_certificate(&other, &number, &key, SERIAL, until(YEAR), &pointers());
    assert!(matches!(refused, Err(IssuingError::Issue(IssueError::WrongPurpose(_)))));
}

#[test]
fn a_service_certificate_ties_the_key_to_the_service_id() {
    let desk = Desk::new();
    let issued = desk.issue(until(YEAR)).unwrap();
    assert_eq!(issued.subject, service_id(&y(), &service("lunch")));
    let ca = &desk.network.cities[0].citizen;
    let chain = vec![issued.certificate.clone().into(), ca.certificate.clone().into()];
    let checked = verify_chain(&chain, CertificateKind::Service, &desk.network.trust, NOW).unwrap();
    let subject = LeafKind::Service { subject: issued.subject, service: service("lunch") };
    assert_eq!(*checked.subject(), subject);
    assert_eq!(*checked.public_key(), desk.service_key.public_key());
    assert_eq!(checked.not_after(), NOW.plus_ms(YEAR));
    // Nothing in it leads to the number.
    let number = y().number().to_string();
    let leaf = checked.leaf_der();
    assert!(!leaf.windows(number.len()).any(|window| window == number.as_bytes()));
    // It ends with the ID certificate.
    let long = desk.issue(until(5 * YEAR)).unwrap();
    let chain = vec![long.certificate.into(), ca.certificate.clone().into()];
    let checked = verify_chain(&chain, CertificateKind::Service, &desk.network.trust, NOW).unwrap();
    assert_eq!(checked.not_after(), desk.id.not_after());
}

#[test]
fn the_key_must_have_signed_for_this_service_and_this_id_key() {
    let desk = Desk::new();
    assert!(desk.check(desk.request()).is_ok());
    let with_proof = |proof| desk.check(ServiceKeyRequest { proof, ..desk.request() }).unwrap_err();
    let stranger = TestSigner::new(102);
    let by_stranger = with_proof(desk.proof(&service("lunch"), &stranger));
    assert!(matches!(by_stranger, IssuingError::NoProofOfPossession(_)), "{by_stranger:?}");
    let by_id_key = with_proof(desk.proof(&service("lunch"), &desk.phone));
    assert!(matches!(by_id_key, IssuingError::NoProofOfPossession(_)));
    assert!(matches!(with_proof(Bytes::default()), IssuingError::NoProofOfPossession(_)));
    let mut altered = desk.request().proof;
    *altered.0.last_mut().unwrap() ^= 1;
    assert!(matches!(with_proof(altered), IssuingError::NoProofOfPossession(_)));
    let other_service = desk.proof(&service("reception"), &desk.service_key);
    assert_eq!(with_proof(other_service), IssuingError::OtherProof);
    // Replayed by another citizen who saw the proof go by.
    let proof =
        ServiceKeyProof { service: service("lunch"), id_key: stranger.public_key().key_hash() };
    let proof = Signed::new(proof, &desk.network.id, &desk.service_key).unwrap();
    assert_eq!(with_proof(proof.bytes().to_vec().into()), IssuingError::OtherProof);
    // Made for another network.
    let proof = ServiceKeyProof { service: service("lunch"), id_key: desk.id.key() };
    let proof = Signed::new(proof, &NetworkId([1; 32]), &desk.service_key).unwrap();
    let foreign = with_proof(proof.bytes().to_vec().into());
    assert!(matches!(foreign, IssuingError::NoProofOfPossession(_)));
}

#[test]
fn the_id_key_itself_gets_no_service_certificate() {
    let desk = Desk::new();
    let request = ServiceKeyRequest {
        key: desk.phone.public_key(),
        proof: desk.proof(&service("lunch"), &desk.phone),
        ..desk.request()
    };
    assert_eq!(desk.check(request), Err(IssuingError::IdKeyReused));
}

#[test]
fn another_persons_y_is_refused() {
    let desk = Desk::new();
    for y in [vec![8; 32], vec![7; 31], vec![7; 33], vec![]] {
        let request = ServiceKeyRequest { y: y.clone().into(), ..desk.request() };
        assert_eq!(desk.check(request), Err(IssuingError::OtherPerson));
        let link = LinkRequest { y: y.into(), ..desk.link() };
        assert_eq!(desk.attest(link), Err(IssuingError::OtherPerson));
    }
    // Every bit of y counts towards the number.
    for at in 0..32 {
        let mut other = [7; 32];
        other[at] ^= 1;
        let request = ServiceKeyRequest { y: other.to_vec().into(), ..desk.request() };
        assert_eq!(desk.check(request), Err(IssuingError::OtherPerson));
    }
}

#[test]
fn only_the_holder_of_an_id_certificate_may_ask() {
    let desk = Desk::new();
    let network = &desk.network;
    let stranger = TestSigner::new(102);
    let request = desk.signed(desk.request(), &stranger);
    let refused = check_service_key(&request, &desk.id, &network.id, NOW);
    assert_eq!(refused, Err(IssuingError::OtherIdKey));
    let link = desk.signed(desk.link(), &stranger);
    assert_eq!(attest_link(&link, &desk.id, NOW), Err(IssuingError::OtherIdKey));
    // A service certificate does not issue further ones.
    let subject = service_id(&y(), &service("lunch"));
    let chain =
        network.service_certificate(0, subject, &service("lunch"), &desk.phone.public_key());
    let chain = verify_chain(&chain, CertificateKind::Service, &network.trust, NOW).unwrap();
    let request = desk.signed(desk.request(), &desk.phone);
    let refused = check_service_key(&request, &chain, &network.id, NOW);
    assert_eq!(refused, Err(IssuingError::NotAnIdCertificate));
    let link = desk.signed(desk.link(), &desk.phone);
    assert_eq!(attest_link(&link, &chain, NOW), Err(IssuingError::NotAnIdCertificate));
    // An ID certificate whose number nobody could have is nobody's.
    let chain = network.id_certificate(0, "1234", &desk.phone.public_key());
    let chain = verify_chain(&chain, CertificateKind::Id, &network.trust, NOW).unwrap();
    let refused = check_service_key(&request, &chain, &network.id, NOW);
    assert_eq!(refused, Err(IssuingError::OtherPerson));
}

#[test]
fn requests_are_fresh_and_the_id_certificate_holds_now() {
    let desk = Desk::new();
    let near = REQUEST_WINDOW_MS;
    for (time, expected) in [
        (NOW.plus_ms(near), Ok(())),
        (Timestamp(NOW.0 - near), Ok(())),
        (NOW.plus_ms(near + 1), Err(IssuingError::RequestTime)),
        (Timestamp(NOW.0 - near - 1), Err(IssuingError::RequestTime)),
        (Timestamp(0), Err(IssuingError::RequestTime)),
        (Timestamp(u64::MAX), Err(IssuingError::RequestTime)),
    ] {
        let request = ServiceKeyRequest { time, ..desk.request() };
        assert_eq!(desk.check(request).map(|_| ()), expected);
        let link = LinkRequest { time, ..desk.link() };
        assert_eq!(desk.attest(link).map(|_| ()), expected);
    }
    // The chain was good when it was checked; by now it has run out.
    let late = desk.id.not_after().plus_ms(1000);
    let request = desk.signed(ServiceKeyRequest { time: late, ..desk.request() }, &desk.phone);
    let refused = check_service_key(&request, &desk.id, &desk.network.id, late);
    assert_eq!(refused, Err(IssuingError::IdCertificateExpired));
    let last = desk.id.not_after().plus_ms(999);
    let request = desk.signed(ServiceKeyRequest { time: last, ..desk.request() }, &desk.phone);
    assert!(check_service_key(&request, &desk.id, &desk.network.id, last).is_ok());
}

#[test]
fn a_link_joins_both_ids_of_one_person() {
    let desk = Desk::new();
    let link = desk.attest(desk.link()).unwrap();
    let pair =
        |name: &str| Pair { source: service(name), subject: service_id(&y(), &service(name)) };
    assert_eq!(link, Link { source: pair("lunch"), recipient: pair("reception"), time: NOW });
    assert_ne!(link.source.subject, link.recipient.subject);
    let one = LinkRequest { recipient: service("lunch"), ..desk.link() };
    assert_eq!(desk.attest(one), Err(IssuingError::OneService));
}

#[test]
fn errors_tell_no_secrets() {
    let desk = Desk::new();
    let request = ServiceKeyRequest { y: vec![0xab; 32].into(), ..desk.request() };
    let error = desk.check(request).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("abab"));
}
