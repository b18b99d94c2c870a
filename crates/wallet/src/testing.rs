//! A home for the tests of this crate and of those that depend on it: the crates' own proofing,
//! number function and issuing over the test network, and a channel that keeps what it is handed.
//! Everything but the cards' RSA keys is made from constants.

use std::collections::BTreeMap;

use consent::PairThread;
use evidence::map::MemoryMap;
use identity::{
    CardAttributes, CardStatus, JpkiRoots, Registrar, Y,
    issuing::{
        attest_link, check_service_key, issue_checked_service_certificate, issue_id_certificate,
    },
    jpki::{BirthDate, Era, Gender},
    number::{BlindedQuery, SingleKeyFunction},
    synthetic::{CardValidity, SyntheticCard, SyntheticJlis},
};
use trust::{
    CertificateKind, Pointers, Trust,
    testing::{NOW, TestNetwork, TestOrganisation, TestSigner, a_year},
    verify_signed,
};
use wire::{
    Hash, Nonce, ServiceId, ServiceName, Signed, Signer, Timestamp, cbor,
    cbor::Bytes,
    channel::{ChannelHead, ChannelId, Entry, EntryKind, HeadStatement, Position},
    citizen::{
        Challenge, EnrolmentReply, InForce, LinkRequest, PairRegister, RegisterEntry,
        ServiceKeyReply, ServiceKeyRequest,
    },
    consent::{Attested, Decision, ExpressedBy, KeyBegin, Scope, Verdict},
    hash_parts,
    ids::Pair,
};

use crate::{Home, Wallet};

pub const LUNCH: &str = "9000020102016/school-lunch";
pub const HOSPITAL: &str = "9000020102016/hospital";

pub fn service(name: &str) -> ServiceName {
    name.parse().unwrap()
}

pub fn nonce(n: u8) -> Nonce {
    Nonce([n; 16])
}

pub fn later(seconds: u64) -> Timestamp {
    NOW.plus_ms(seconds * 1000)
}

/// A city of the test network as a home, the first one mostly.
pub struct TestHome {
    pub network: TestNetwork,
    pub node: TestOrganisation,
    registrar: Registrar,
    jlis: SyntheticJlis,
    function: SingleKeyFunction,
    entries: Vec<RegisterEntry>,
}

impl Default for TestHome {
    fn default() -> Self {
        Self::new()
    }
}

impl TestHome {
    pub fn new() -> Self {
        Self::of_city(0)
    }

    /// Another city of the same network.
    pub fn of_city(city: usize) -> Self {
        let network = TestNetwork::new();
        let node = network.city(city);
        let jlis = SyntheticJlis::generate(&[0x64], years(10)).unwrap();
        Self {
            registrar: Registrar::new(node.organisation.clone(), network.id),
            function: SingleKeyFunction::from_seed(&[9; 32], b"test", true).unwrap(),
            jlis,
            node,
            network,
            entries: Vec::new(),
        }
    }

    pub fn trust(&self) -> &Trust {
        &self.network.trust
    }

    /// A wallet that has this home, not enrolled.
    pub fn wallet(&self) -> Wallet {
        let organisation = self.node.organisation.clone();
        Wallet::new(self.network.id, Home { organisation, url: "http://localhost:8080".into() })
    }

    pub fn card(&self, name: &str) -> SyntheticCard {
        let address = "群馬県前橋市大手町２－１２－１";
        let attributes = CardAttributes {
            name: name.to_owned(),
            birth_date: BirthDate::new(Era::Heisei, 2001, 2, 3).unwrap(),
            gender: Gender::Female,
            address: address.to_owned(),
            name_substituted: vec![false; name.chars().count()],
            address_substituted: vec![false; address.chars().count()],
        };
        self.jlis.issue_card(&attributes, &[1, 2, 3], years(5)).unwrap()
    }

    pub fn challenge(&mut self, n: u8) -> Challenge {
        self.registrar.open_challenge(nonce(n), NOW).unwrap()
    }

    /// Proofing, number, ID certificate: as a home does it.
    pub fn enrol(&mut self, enrolment: &[u8]) -> EnrolmentReply {
        let roots = JpkiRoots::new(vec![self.jlis.root().to_vec()], true).unwrap();
        let crl = self.jlis.crl(&[], NOW, later(3600)).unwrap();
        let status = CardStatus::List { der: &crl, max_age_ms: 3_600_000 };
        let citizen = self.registrar.check_enrolment(enrolment, &roots, status, NOW).unwrap();
        let (query, element) = BlindedQuery::new(citizen.identity().clone(), [4; 32]).unwrap();
        let evaluation = self.function.evaluate(&element.0, [5; 32]).unwrap();
        let y = query.finalize(&evaluation, &self.function.public_key()).unwrap();
        self.enrolment_reply(&y, citizen.id_key())
    }

    pub fn enrolment_reply(&self, y: &Y, key: &wire::PublicKey) -> EnrolmentReply {
        let ca = &self.network.cities[0].citizen;
        let serial = [7; 16];
        let pointers = Pointers::default();
        let certificate =
            issue_id_certificate(&ca.ca(), &y.number(), key, serial, a_year(), &pointers).unwrap();
        let chain = vec![certificate.into(), ca.certificate.clone().into()];
        EnrolmentReply { chain, y: Bytes(y.as_bytes().to_vec()) }
    }

    pub fn certify(&self, request: &Attested) -> ServiceKeyReply {
        let (request, id) =
            verify_signed::<ServiceKeyRequest>(request, CertificateKind::Id, self.trust(), NOW)
                .unwrap();
        let checked = check_service_key(&request, &id, &self.network.id, NOW).unwrap();
        let ca = &self.network.cities[0].citizen;
        let pointers = Pointers::default();
        let issued =
            issue_checked_service_certificate(&ca.ca(), &checked, [8; 16], a_year(), &pointers)
                .unwrap();
        let chain = vec![issued.certificate.into(), ca.certificate.clone().into()];
        ServiceKeyReply { subject: issued.subject, chain, begun: true }
    }

    pub fn attest(&self, request: &Attested) -> Attested {
        let (request, id) =
            verify_signed::<LinkRequest>(request, CertificateKind::Id, self.trust(), NOW).unwrap();
        let link = attest_link(&request, &id, NOW).unwrap();
        let signed = Signed::new(link, &self.network.id, &self.node.signer).unwrap();
        Attested { object: Bytes(signed.bytes().to_vec()), chain: self.node.chain.clone() }
    }

    /// Signs as the organisation of this home, which is that of the services here, too.
    pub fn sign<M: wire::Message>(&self, message: M) -> Attested {
        let signed = Signed::new(message, &self.network.id, &self.node.signer).unwrap();
        Attested { object: Bytes(signed.bytes().to_vec()), chain: self.node.chain.clone() }
    }

    /// Begins a key of a pair in the channel, as after fresh proofing.
    pub fn begin_key(&mut self, pair: Pair, chain: Vec<Bytes>) {
        let verified =
            trust::verify_chain(&chain, CertificateKind::Service, self.trust(), NOW).unwrap();
        let subject = pair.subject;
        let begin = KeyBegin {
            nonce: nonce(200),
            pair,
            basis: ExpressedBy::Oneself,
            authority: None,
            chain,
            until: verified.not_after(),
            time: NOW,
        };
        let signed = Signed::new(begin, &self.network.id, &self.node.signer).unwrap();
        let body =
            Attested { object: Bytes(signed.bytes().to_vec()), chain: self.node.chain.clone() };
        self.append(EntryKind::KEY_BEGIN, subject, Scope::EVERYTHING, &body);
    }

    /// Takes a decision into the channel.
    pub fn take(&mut self, decision: &Signed<Decision>, submission: &Attested) {
        let Decision { pair, scope, verdict, .. } = decision.unverified();
        let kind = match verdict {
            Verdict::Deny => EntryKind::DENY,
            Verdict::Permit(_) => EntryKind::PERMIT,
        };
        self.append(kind, pair.subject, scope.clone(), submission);
        self.entries.last_mut().unwrap().decision = Some(decision.id().into());
    }

    pub fn append(
        &mut self,
        kind: EntryKind,
        subject: wire::ServiceId,
        scope: Scope,
        body: &Attested,
    ) {
        let seq = self.entries.len() as u64;
        let entry = Entry { seq, kind, subject, scope, time: NOW, body: Bytes(cbor::to_vec(body)) };
        self.entries.push(RegisterEntry { entry, decision: None, status: InForce::Accepted });
    }

    /// All that the channel holds, as if it were of the first entry's citizen.
    pub fn register(&self) -> PairRegister {
        let subject = self.entries.first().map_or(ServiceId([0; 32]), |one| one.entry.subject);
        self.shown(&subject, self.entries.clone())
    }

    /// What a home shows, signed and proven, be it right or wrong.
    fn shown(&self, subject: &ServiceId, entries: Vec<RegisterEntry>) -> PairRegister {
        let home = self.node.organisation.clone();
        let channel = ChannelId { home, source: service(LUNCH) };
        let mut position = Position::start(&self.network.id, &channel);
        let mut threads = BTreeMap::<ServiceId, PairThread>::new();
        for RegisterEntry { entry, .. } in &self.entries {
            position = position.after(&entry.hash());
            threads.entry(entry.subject).or_default().extend(entry.seq, &entry.hash());
        }
        let mut map = MemoryMap::default();
        for (subject, thread) in &threads {
            map.insert(&Hash(subject.0), &thread.digest);
        }
        let head = ChannelHead { position, map: map.root() };
        let statement = self.sign(HeadStatement { channel, head, time: NOW });
        let map_proof = map.prove(&Hash(subject.0));
        PairRegister { brought: Vec::new(), entries, statement, map_proof }
    }

    /// What the channel holds of one pair.
    pub fn register_of(&self, subject: &wire::ServiceId) -> PairRegister {
        let of = |listed: &&RegisterEntry| listed.entry.subject == *subject;
        self.shown(subject, self.entries.iter().filter(of).cloned().collect())
    }
}

fn years(years: u64) -> CardValidity {
    let year_ms = 365 * 24 * 3_600_000;
    CardValidity { not_before: Timestamp(NOW.0 - year_ms), not_after: NOW.plus_ms(years * year_ms) }
}

/// An enrolled citizen with keys at both services and the link between them, the key at the school
/// lunch service begun.
pub struct Citizen {
    pub wallet: Wallet,
    pub id: TestSigner,
    pub lunch: TestSigner,
}

impl Citizen {
    /// Short of the card: the secret is made from a label.
    pub fn new(home: &mut TestHome, label: &str) -> Self {
        let y = hash_parts("test-y", &[label.as_bytes()]);
        let y = Y::from_bytes(&y.0).unwrap();
        let id = TestSigner::from_label(&format!("{label} id"));
        let mut wallet = home.wallet();
        let reply = home.enrolment_reply(&y, &id.public_key());
        wallet.accept_enrolment(&id.public_key(), reply, home.trust(), NOW).unwrap();
        let lunch = TestSigner::from_label(&format!("{label} lunch"));
        let mut citizen = Self { wallet, id, lunch };
        let reply = citizen.service_key(home, LUNCH, &citizen.lunch.clone());
        let key = citizen.lunch.public_key();
        citizen
            .wallet
            .accept_service_key(&service(LUNCH), &key, reply.clone(), home.trust(), NOW)
            .unwrap();
        let link = citizen.link(home, LUNCH, HOSPITAL);
        citizen
            .wallet
            .accept_link(&service(LUNCH), &service(HOSPITAL), link, home.trust(), NOW)
            .unwrap();
        home.begin_key(citizen.wallet.pair(&service(LUNCH)).unwrap(), reply.chain);
        citizen
    }

    /// Asks for a certificate without taking it.
    pub fn service_key(&self, home: &TestHome, name: &str, key: &TestSigner) -> ServiceKeyReply {
        let wallet = &self.wallet;
        let proof = wallet.service_key_proof(&service(name), &key.public_key()).unwrap();
        let proof = proof.sign(key).unwrap();
        let request = wallet.service_key_request(&key.public_key(), &proof, nonce(2), NOW).unwrap();
        let request = request.sign(&self.id).unwrap();
        home.certify(&wallet.attest_with_id(&request).unwrap())
    }

    /// Asks for a link without taking it.
    pub fn link(&self, home: &TestHome, source: &str, recipient: &str) -> Attested {
        let request =
            self.wallet.link_request(&service(source), &service(recipient), nonce(3), NOW).unwrap();
        let request = request.sign(&self.id).unwrap();
        home.attest(&self.wallet.attest_with_id(&request).unwrap())
    }

    /// Signs a decision and hands it to the home.
    pub fn decide(
        &self,
        home: &mut TestHome,
        unsigned: wire::Unsigned<Decision>,
    ) -> wire::DecisionId {
        let signed = unsigned.sign(&self.lunch).unwrap();
        let submission = self.wallet.attest_with_service_key(&service(LUNCH), &signed).unwrap();
        home.take(&signed, &submission);
        signed.id().into()
    }
}
