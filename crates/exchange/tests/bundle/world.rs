//! Maebashi as home, a lunch service as source, a hospital as recipient, one citizen and a
//! neighbour, both ends of the channel in memory: a world in which a release happens.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use consent::{
    AdmittedKeyBegin, AdmittedKeyEnd, AdmittedMove, ChannelStore, CheckedExtract, PairState,
    admission::ReadDecision, home::HomeChannel, memory::MemoryStore, moving::Arrival,
    source::SourceChannel,
};
use evidence::{log::Log, map, note::NoteSigner, proof::LogProof, record};
use trust::{
    LeafKind, Validity,
    testing::{NOW, TestNetwork, TestOrganisation, TestSigner, descriptor, issue_leaf},
};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Nonce, Now, ServiceId, ServiceName, SignError, Signed,
    Signer, Timestamp,
    channel::{ChannelHead, ChannelId, Grant, HeadStatement, PairExtract},
    consent::{
        Attested, Decision, ExpressedBy, Items, KeyBegin, KeyEnd, Link, Move, Notice, Onward,
        Permit, PurposeScope, Recipient, Scope, Uses, Verdict,
    },
    ids::Pair,
    membership::Role,
};

/// The home's process, which never ends here.
pub const RUN: consent::Run = consent::Run { id: Nonce([0x11; 16]), started_ms: 900_000 };
pub const DAY: u64 = 86_400_000;
/// The citizen at the lunch service and at the hospital, and the neighbour at the lunch service.
pub const HERE: ServiceId = ServiceId([0xaa; 32]);
pub const THERE: ServiceId = ServiceId([0xbb; 32]);
const NEXT_DOOR: ServiceId = ServiceId([0xa9; 32]);

pub fn service(base: &str, name: &str) -> ServiceName {
    format!("{}/{name}", wire::OrganisationId::from_base(base).unwrap()).parse().unwrap()
}

pub fn lunch() -> ServiceName {
    service("990000000001", "lunch")
}

pub fn hospital() -> ServiceName {
    service("990000000002", "hospital")
}

pub fn insurer() -> ServiceName {
    service("990000000003", "insurer")
}

pub fn item(text: &str) -> ItemType {
    text.parse().unwrap()
}

/// The key of a node's evidence log.
pub struct LogKey(Ed25519KeyPair);

impl LogKey {
    pub fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl NoteSigner for LogKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

/// One phone of one citizen.
#[derive(Clone)]
pub struct Phone {
    pub subject: ServiceId,
    pub signer: TestSigner,
    pub chain: Vec<Bytes>,
}

pub struct World {
    pub network: TestNetwork,
    pub home: TestOrganisation,
    pub lunch: TestOrganisation,
    pub hospital: TestOrganisation,
    /// Signs the lunch service's credentials, with its chain.
    pub credential: TestSigner,
    pub credential_chain: Vec<Bytes>,
    pub phone: Phone,
    neighbour: Phone,
    home_end: HomeChannel,
    home_store: MemoryStore,
    pub source_end: SourceChannel,
    pub source_store: MemoryStore,
    /// What the source had applied from the homes before, the first one first.
    pub former: Vec<PairExtract>,
    pub log: Log,
    pub log_nodes: BTreeMap<(u8, u64), Hash>,
    pub clock: Timestamp,
    counter: u8,
}

impl World {
    /// Two keys have begun; nothing is decided yet.
    pub fn new() -> Self {
        Self::on(TestNetwork::new())
    }

    pub fn on(network: TestNetwork) -> Self {
        let credential = TestSigner::new(100);
        let credential_chain =
            network.credential_certificate(0, "School lunch", &lunch(), &credential.public_key());
        let home = network.city(0);
        let id = ChannelId { home: home.organisation.clone(), source: lunch() };
        let mut world = Self {
            lunch: member(&network, &lunch(), "School lunch", Role::Source, &LogKey::new(7)),
            hospital: member(&network, &hospital(), "Hospital", Role::Recipient, &LogKey::new(8)),
            home,
            credential,
            credential_chain,
            phone: phone(&network, HERE, "phone"),
            neighbour: phone(&network, NEXT_DOOR, "neighbour's phone"),
            home_end: HomeChannel::new(&network.id, id.clone()),
            home_store: MemoryStore::default(),
            source_end: SourceChannel::new(&network.id, id),
            source_store: MemoryStore::default(),
            former: Vec::new(),
            log: Log::default(),
            log_nodes: BTreeMap::new(),
            clock: NOW,
            counter: 0,
            network,
        };
        // The neighbour's entries lie between the citizen's: their numbers have gaps.
        world.begin(&world.neighbour.clone(), NOW.plus_ms(300 * DAY));
        world.begin(&world.phone.clone(), NOW.plus_ms(300 * DAY));
        world
    }

    pub fn now(&self) -> Now {
        Now { mono_ms: 1_000_000 + self.clock.ms_since(NOW), wall: self.clock }
    }

    pub fn channel(&self) -> ChannelId {
        self.home_end.id().clone()
    }

    /// Never the same twice.
    pub fn nonce(&mut self) -> Nonce {
        self.counter += 1;
        Nonce([self.counter; 16])
    }

    pub fn sign<M: wire::Message>(&self, message: M, signer: &dyn Signer) -> Bytes {
        Signed::new(message, &self.network.id, signer).unwrap().bytes().to_vec().into()
    }

    /// The home proofed the citizen anew and begins a key.
    pub fn begin(&mut self, phone: &Phone, until: Timestamp) {
        let pair = Pair { source: lunch(), subject: phone.subject };
        let begin = KeyBegin {
            nonce: self.nonce(),
            pair,
            basis: ExpressedBy::Oneself,
            authority: None,
            chain: phone.chain.clone(),
            until,
            time: self.clock,
        };
        let begin = self.by_home(begin);
        let state = self.home_store.pair(&phone.subject).unwrap();
        let (channel, trust) = (self.channel(), &self.network.trust);
        let begin = AdmittedKeyBegin::admit(&begin, &channel, &state, trust, self.clock).unwrap();
        let now = self.now();
        self.home_end.accept_key_begin(&mut self.home_store, &begin, &RUN, now).unwrap();
    }

    /// The home ends the citizen's key: the phone is lost.
    pub fn end_key(&mut self) {
        let end = KeyEnd {
            nonce: self.nonce(),
            pair: Pair { source: lunch(), subject: HERE },
            key: self.phone.signer.public_key().key_hash(),
            keeps: vec![],
            time: self.clock,
        };
        let end = self.by_home(end);
        let state = self.home_store.pair(&HERE).unwrap();
        let (channel, trust) = (self.channel(), &self.network.trust);
        let end = AdmittedKeyEnd::admit(&end, &channel, &state, trust, self.clock).unwrap();
        let now = self.now();
        self.home_end.accept_key_end(&mut self.home_store, &end, &RUN, now).unwrap();
    }

    /// What the source has applied of the citizen from the home's channel, by the home's word.
    pub fn extract(&self) -> PairExtract {
        let entries = self.source_store.source_entries.iter();
        PairExtract {
            statement: self.by_home(self.statement(*self.source_end.applied())),
            entries: entries.filter(|entry| entry.subject == HERE).cloned().collect(),
            map_proof: map::prove(&self.source_store.map, &Hash(HERE.0)).unwrap(),
        }
    }

    /// The citizen moves to another city: the home lets go, the new one takes what it held, and the
    /// source hears of both.
    pub fn move_to(&mut self, city: usize) {
        let to = self.network.city(city);
        let moving = Move {
            nonce: self.nonce(),
            pair: Pair { source: lunch(), subject: HERE },
            from: self.home.organisation.clone(),
            to: to.organisation.clone(),
            epoch: self.former.len() as u32 + 1,
            time: self.clock,
        };
        let object = self.sign(moving, &self.phone.signer);
        let moving = Attested { object, chain: self.phone.chain.clone() };
        let state = self.home_store.pair(&HERE).unwrap();
        let (channel, trust, now) = (self.channel(), &self.network.trust, self.now());
        let end = AdmittedMove::admit_end(&moving, &channel, &state, trust, self.clock).unwrap();
        self.home_end.accept_move_end(&mut self.home_store, &end, &RUN, now).unwrap();
        self.sync();
        self.former.push(self.extract());

        let id = ChannelId { home: to.organisation.clone(), source: lunch() };
        let pair = Pair { source: lunch(), subject: HERE };
        let trust = &self.network.trust;
        let check = |extract| CheckedExtract::check(extract, &pair, trust, self.clock).unwrap();
        let history: Vec<_> = self.former.iter().map(check).collect();
        let held = (&PairState::default(), &[][..]);
        let arrival = Arrival::new(&id, &moving, &history, held, trust, self.clock).unwrap();
        let (mut home, mut store) =
            (HomeChannel::new(&self.network.id, id.clone()), MemoryStore::default());
        arrival.accept(&mut home, &mut store, &HERE, &RUN, now).unwrap().unwrap();
        (self.home, self.home_end, self.home_store) = (to, home, store);
        self.source_end = SourceChannel::new(&self.network.id, id);
        let (pairs, uses) = (self.source_store.pairs.clone(), self.source_store.uses.clone());
        self.source_store = MemoryStore { pairs, uses, ..MemoryStore::default() };
        self.sync();
        assert_eq!(self.source_store.pairs[&HERE], self.home_store.pairs[&HERE]);
    }

    pub fn by_home<M: wire::Message>(&self, message: M) -> Attested {
        Attested { object: self.sign(message, &self.home.signer), chain: self.home.chain.clone() }
    }

    fn decision(&mut self, phone: &Phone, recipient: &ServiceName, verdict: Verdict) -> Attested {
        let decision = Decision {
            nonce: self.nonce(),
            pair: Pair { source: lunch(), subject: phone.subject },
            scope: scope(recipient),
            time: self.clock,
            expressed_by: ExpressedBy::Oneself,
            verdict,
        };
        Attested { object: self.sign(decision, &phone.signer), chain: phone.chain.clone() }
    }

    /// A permit of the allergy for treatment, signed and not handed in.
    pub fn signed_permit(
        &mut self,
        recipient: &ServiceName,
        change: impl FnOnce(&mut Permit),
    ) -> Attested {
        let there = Pair { source: recipient.clone(), subject: THERE };
        let here = Pair { source: lunch(), subject: HERE };
        let link = self.by_home(Link { source: here, recipient: there, time: self.clock });
        let mut permit = Permit {
            recipient_subject: THERE,
            reopens: vec![],
            valid_from: NOW,
            valid_until: NOW.plus_ms(30 * DAY),
            uses: Uses::Unlimited,
            window: None,
            retention_days: Some(30),
            onward: Onward::Forbidden,
            notice: Notice { hash: Hash([1; 32]), language: "ja".to_owned(), version: 1 },
            vocabulary: 1,
            link,
            request: None,
        };
        change(&mut permit);
        let citizen = self.phone.clone();
        self.decision(&citizen, recipient, Verdict::Permit(Box::new(permit)))
    }

    pub fn permit(
        &mut self,
        recipient: &ServiceName,
        change: impl FnOnce(&mut Permit),
    ) -> DecisionId {
        let permit = self.signed_permit(recipient, change);
        self.hand_in(&permit)
    }

    pub fn deny(&mut self, recipient: &ServiceName) -> DecisionId {
        let deny = self.signed_deny(recipient);
        self.hand_in(&deny)
    }

    /// Signed, and not handed in.
    pub fn signed_deny(&mut self, recipient: &ServiceName) -> Attested {
        let citizen = self.phone.clone();
        self.decision(&citizen, recipient, Verdict::Deny)
    }

    pub fn neighbours_deny(&mut self) {
        let neighbour = self.neighbour.clone();
        let deny = self.decision(&neighbour, &hospital(), Verdict::Deny);
        self.hand_in(&deny);
    }

    pub fn hand_in(&mut self, submission: &Attested) -> DecisionId {
        let read = ReadDecision::read(submission, &self.network.id).unwrap();
        let state = self.home_store.pair(&read.claimed_pair().subject).unwrap();
        let admitted = read.admit(&state, &self.network.trust, self.clock).unwrap();
        let now = self.now();
        let accepted =
            self.home_end.accept_decision(&mut self.home_store, &admitted, &RUN, now).unwrap();
        accepted.entry.decision.unwrap()
    }

    /// The source pulls until it has all.
    pub fn sync(&mut self) {
        let position = self.source_end.applied().position;
        let batch = self.home_end.batch_after(&self.home_store, &position).unwrap();
        let (statement, now) = (self.statement(batch.head), self.now());
        let store = &mut self.source_store;
        let applied = self
            .source_end
            .apply(store, &batch.entries, &statement, &self.network.trust, now)
            .unwrap();
        assert!(applied.iter().all(|entry| entry.fault.is_none()), "{applied:?}");
    }

    pub fn statement(&self, head: ChannelHead) -> HeadStatement {
        HeadStatement { channel: self.channel(), head, time: self.clock }
    }

    /// What the home grants now, for what the source has applied.
    pub fn grant(&mut self) -> Grant {
        Grant {
            channel: self.channel(),
            nonce: self.nonce(),
            head: *self.source_end.applied(),
            granted_ms: 60_000,
            time: self.clock,
        }
    }

    /// Appends a record between two others, and proves it under a checkpoint.
    pub fn logged(&mut self, record: &record::Record) -> LogProof {
        self.logged_by(record, &LogKey::new(7), &self.lunch.organisation.clone())
    }

    pub fn logged_by(
        &mut self,
        record: &record::Record,
        key: &LogKey,
        organisation: &wire::OrganisationId,
    ) -> LogProof {
        let size = self.log.size();
        let started =
            record::NodeStarted { version: "1".to_owned(), descriptor: None, log_size: size };
        let beside = record::Record::new(&started, self.clock);
        let mut index = 0;
        let mut salt = [0; 32];
        for (n, next) in [&beside, record, &beside].into_iter().enumerate() {
            let appended = self.log.append(next, [self.log.size() as u8 + 1; 32]);
            self.log_nodes
                .extend(appended.nodes.iter().map(|node| ((node.level, node.index), node.hash)));
            if n == 1 {
                (index, salt) = (appended.index, appended.salt);
            }
        }
        let origin = evidence::note::log_origin(&self.network.id, organisation);
        let note = self.log.checkpoint(&origin).sign(key).unwrap().to_string();
        let (bytes, size) = (record.to_bytes(), self.log.size());
        LogProof::new(&self.log_nodes, index, &bytes, &salt, size, &note).unwrap()
    }
}

fn member(
    network: &TestNetwork,
    service: &ServiceName,
    name: &str,
    role: Role,
    log_key: &LogKey,
) -> TestOrganisation {
    let organisation = service.organisation();
    let signer = TestSigner::from_label(organisation.as_str());
    let services = [service.clone()];
    let key = signer.public_key();
    let chain = network.organisation_certificate(0, &organisation, name, &services, &key);
    let mut descriptor = descriptor(&organisation, name, &services, &[role]);
    descriptor.log_key = log_key.public_key().to_vec().into();
    network.organisation_from(signer, chain, descriptor)
}

pub fn phone(network: &TestNetwork, subject: ServiceId, label: &str) -> Phone {
    let signer = TestSigner::from_label(label);
    let chain = network.service_certificate(0, subject, &lunch(), &signer.public_key());
    Phone { subject, signer, chain }
}

/// Another phone of the citizen, certified until a day.
pub fn phone_until(network: &TestNetwork, label: &str, not_after: Timestamp) -> Phone {
    let signer = TestSigner::from_label(label);
    let ca = &network.cities[0].citizen;
    let leaf = LeafKind::Service { subject: HERE, service: lunch() };
    let validity = Validity { not_before: Timestamp(NOW.0 - 3_600_000), not_after };
    let certificate = issue_leaf(ca, &leaf, &signer.public_key(), validity);
    Phone { subject: HERE, signer, chain: vec![certificate.into(), ca.certificate.clone().into()] }
}

pub fn scope(recipient: &ServiceName) -> Scope {
    Scope {
        recipient: Recipient::Service(recipient.clone()),
        items: Items::Types(vec![item("health.allergy")]),
        purpose: PurposeScope::Code("treatment".parse().unwrap()),
    }
}
