//! For this crate's tests: a school-lunch service of Takasaki that holds allergies, a hospital that
//! asks for them, and one citizen known to both.

use std::collections::BTreeMap;

use trust::{
    Member, Trust,
    testing::{NOW, TestNetwork, TestOrganisation, TestSigner},
    verify_identity,
};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Nonce, OrganisationId, Purpose, ServiceId, ServiceName,
    Signed, Signer, Timestamp, consent::Onward, exchange::Request, membership::Role,
};

use crate::{
    credential::{Claims, Expected, Presentation, Record, Terms, UnsignedPresentation},
    request::{Ask, Authentic, Received},
};

pub(crate) const SEED: [u8; 32] = [7; 32];
/// The citizen at the hospital and at the lunch service.
pub(crate) const THERE: ServiceId = ServiceId([0xbb; 32]);
pub(crate) const HERE: ServiceId = ServiceId([0xaa; 32]);
pub(crate) const PERMIT: DecisionId = DecisionId([0x11; 32]);

pub(crate) const TERMS: Terms = Terms {
    window: None,
    retention_days: Some(365),
    onward: Onward::Forbidden,
    valid_until: NOW.plus_ms(86_400_000),
};

pub(crate) const ALLERGY: &str = r#"{"resourceType":"AllergyIntolerance","code":{"text":"そば"},"criticality":"high","reaction":[{"severity":"severe","onsetHours":1.50}]}"#;
pub(crate) const CONDITION: &str = r#"{"resourceType":"Condition","code":{"text":"気管支喘息"}}"#;

pub(crate) struct Fixture {
    pub(crate) network: TestNetwork,
    pub(crate) lunch: TestOrganisation,
    pub(crate) hospital: TestOrganisation,
    /// Signs the lunch service's credentials, with its chain.
    pub(crate) credential: TestSigner,
    pub(crate) chain: Vec<Bytes>,
}

pub(crate) fn item(text: &str) -> ItemType {
    text.parse().unwrap()
}

pub(crate) fn treatment() -> Purpose {
    "treatment".parse().unwrap()
}

fn service(base: &str, name: &str) -> ServiceName {
    format!("{}/{name}", OrganisationId::from_base(base).unwrap()).parse().unwrap()
}

/// The school-lunch app of a firm.
pub(crate) fn lunch() -> ServiceName {
    service("010401000001", "school-lunch")
}

/// The reception of a hospital.
pub(crate) fn hospital() -> ServiceName {
    service("070001000002", "reception")
}

/// Another service of the hospital.
pub(crate) fn pharmacy() -> ServiceName {
    service("070001000002", "pharmacy")
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let network = TestNetwork::new();
        let organisation = |services: &[ServiceName], name: &str, roles: &[Role]| {
            network.organisation(1, &services[0].organisation(), name, services, roles)
        };
        let lunch_node = organisation(&[lunch()], "給食サービス", &[Role::Source]);
        let hospital_node = organisation(&[hospital(), pharmacy()], "前橋病院", &[Role::Recipient]);
        let credential = TestSigner::new(100);
        let chain =
            network.credential_certificate(1, "給食サービス", &lunch(), &credential.public_key());
        Self { network, lunch: lunch_node, hospital: hospital_node, credential, chain }
    }

    pub(crate) fn trust(&self) -> &Trust {
        &self.network.trust
    }

    pub(crate) fn member(&self, node: &TestOrganisation) -> Member {
        verify_identity(&node.identity, self.trust(), NOW).unwrap()
    }

    pub(crate) fn request(&self, items: &[&str], whole: bool) -> Request {
        self.ask(items, whole).request(Nonce([1; 16]), Nonce([2; 16]), NOW, 60_000).unwrap()
    }

    pub(crate) fn ask(&self, items: &[&str], whole: bool) -> Ask {
        Ask {
            source: lunch(),
            recipient: hospital(),
            subject: THERE,
            items: items.iter().map(|text| item(text)).collect(),
            whole,
            purpose: treatment(),
        }
    }

    pub(crate) fn signed(&self, request: Request) -> Signed<Request> {
        Signed::new(request, &self.network.id, &self.hospital.signer).unwrap()
    }

    pub(crate) fn authentic(&self, request: Request) -> Authentic {
        let signed = self.signed(request);
        Received::decode(signed.bytes(), &self.network.id)
            .unwrap()
            .authenticate(&self.member(&self.hospital), &[lunch()], NOW)
            .unwrap()
    }

    pub(crate) fn present(&self, claims: &Claims) -> Presentation {
        UnsignedPresentation::new(claims, &self.chain, SEED)
            .unwrap()
            .sign(&self.credential)
            .unwrap()
    }
}

pub(crate) fn records(items: &[&str]) -> BTreeMap<ItemType, Record> {
    let record = |text: &str| match text {
        "health.allergy" => Record::from_json(ALLERGY.as_bytes()).unwrap(),
        _ => Record::from_json(CONDITION.as_bytes()).unwrap(),
    };
    items.iter().map(|text| (item(text), record(text))).collect()
}

/// The answer to `request`, signed under `id`.
pub(crate) fn claims(request: &Request, id: Hash, items: &[&str]) -> Claims {
    Claims {
        source: request.source.clone(),
        recipient: request.recipient.clone(),
        subject: request.subject,
        request: id,
        nonce: request.nonce,
        purpose: request.purpose.clone(),
        decisions: BTreeMap::from([(PERMIT, TERMS)]),
        issued: NOW,
        expires: NOW.plus_ms(120_000),
        items: records(items),
    }
}

pub(crate) fn expected(request: &Request, id: Hash, now: Timestamp) -> Expected<'_> {
    Expected::answer_to(request, id, now)
}
