use wire::OrganisationId;

use super::*;
use crate::testing::TestSigner;

fn firm() -> OrganisationId {
    OrganisationId::from_base("990000000001").unwrap()
}

fn service(short: &str) -> ServiceName {
    format!("{}/{short}", firm()).parse().unwrap()
}

fn organisation(services: &[&str]) -> LeafKind {
    let services = services.iter().map(|short| service(short)).collect();
    LeafKind::Organisation { organisation: firm(), name: "学校給食".to_owned(), services }
}

fn credential() -> LeafKind {
    let (organisation, name, service) = (firm(), "学校給食".to_owned(), service("lunch"));
    LeafKind::Credential { organisation, name, service }
}

#[test]
fn what_is_asked_for_is_what_is_read() {
    let signer = TestSigner::new(7);
    for kind in
        [organisation(&[]), organisation(&["lunch"]), organisation(&["a", "b"]), credential()]
    {
        let der = request(&kind, &signer).unwrap();
        assert_eq!(Request::read(&der), Ok(Request { kind, key: signer.public_key() }));
    }
}

#[test]
fn citizens_ask_otherwise() {
    let number = LeafKind::Id { number: "A".repeat(43) };
    assert!(matches!(request(&number, &TestSigner::new(7)), Err(IssueError::Content(_))));
    let foreign = LeafKind::Credential {
        organisation: OrganisationId::from_base("990000000002").unwrap(),
        name: "別".to_owned(),
        service: service("lunch"),
    };
    assert!(request(&foreign, &TestSigner::new(7)).is_err(), "another organisation's service");
}

#[test]
fn every_byte_counts() {
    let der = request(&organisation(&["lunch", "menu"]), &TestSigner::new(7)).unwrap();
    for index in 0..der.len() {
        for bit in [1, 0x80] {
            let mut altered = der.clone();
            altered[index] ^= bit;
            assert!(Request::read(&altered).is_err(), "byte {index}");
        }
        assert!(Request::read(&der[..index]).is_err(), "cut at {index}");
    }
    assert!(Request::read(&[&der[..], &[0]].concat()).is_err(), "more at the end");
    assert!(Request::read(&vec![0x30; REQUEST + 1]).is_err());
}

#[test]
fn whoever_asks_holds_the_key() {
    struct Claims(TestSigner, TestSigner);
    impl Signer for Claims {
        fn public_key(&self) -> PublicKey {
            self.0.public_key()
        }
        fn sign(&self, message: &[u8]) -> Result<wire::SignatureBytes, wire::SignError> {
            self.1.sign(message)
        }
    }
    let der = request(&credential(), &Claims(TestSigner::new(7), TestSigner::new(8))).unwrap();
    let error = Request::read(&der).unwrap_err();
    assert!(error.to_string().contains("does not match"), "{error}");
}
