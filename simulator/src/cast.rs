//! Who takes part and what they sign: real keys, real certificates, real signatures. The world refers
//! to papers and requests by number; the cast holds their bytes and, beside them, in plain words what
//! they say, for the reference that judges the machines.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use consent::{
    AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd, PairState,
    admission::ReadDecision,
    source::{Absorb, Absorbed},
};
use exchange::{Ask, Authentic, Received};
use trust::{
    Member, Trust,
    testing::{NOW, TestNetwork, TestOrganisation, TestSigner},
};
use wire::{
    Bytes, DecisionId, Hash, ItemType, KeyHash, Nonce, OrganisationId, ServiceId, ServiceName,
    Signed, Signer, Timestamp,
    channel::{ChannelId, Entry, EntryKind},
    consent::{
        Attested, Decision, ExpressedBy, Items, KeyBegin, KeyEnd, Link, Notice, Onward, Permit,
        PurposeScope, Recipient, Reopen, Scope, Uses, Verdict,
    },
    ids::Pair,
    membership::Role,
};

use crate::shared::fingerprint;

/// Number of something a citizen signed.
pub type PaperId = usize;
/// Number of a request that a recipient made.
pub type RequestId = usize;

/// The leaves that the world deals in; a set of them is a bit mask over this table.
pub const LEAVES: [&str; 3] = ["education.enrolment", "health.allergy", "health.medication"];
pub const PURPOSE: &str = "treatment";
const DAY_MS: u64 = 86_400_000;

/// One citizen at one source, with the citizen's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId {
    pub citizen: usize,
    pub source: usize,
}

/// A paper in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Paper {
    pub pair: PairId,
    pub phone: usize,
    pub says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Says {
    KeyBegins {
        phone: usize,
    },
    KeyEnds {
        phone: usize,
        keeps: Vec<PaperId>,
    },
    Deny {
        scope: PlainScope,
    },
    Permit {
        scope: PlainScope,
        reopens: Vec<PlainReopen>,
        until_ms: u64,
        uses: PlainUses,
    },
    /// Of a kind that no reader of today knows, with a header of this scope.
    Unknown {
        scope: PlainScope,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlainScope {
    /// `None` is any.
    pub recipient: Option<usize>,
    /// Bits of [`LEAVES`]; all of them is written as "all".
    pub leaves: u8,
}

pub const ALL_LEAVES: u8 = (1 << LEAVES.len()) - 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlainReopen {
    Deny(PaperId),
    Phone(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlainUses {
    Once,
    Per { count: u32, period_ms: u64 },
    Unlimited,
}

/// A request in plain words.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PlainRequest {
    pub pair: PairId,
    pub recipient: usize,
    pub leaves: u8,
    pub whole: bool,
}

struct Phone {
    signer: TestSigner,
    chain: Vec<Bytes>,
}

struct Submission {
    attested: Attested,
    id: Hash,
}

/// What is remembered of earlier verifications: the same bytes lead to the same verdict, and a
/// signature costs more than everything else in a step.
#[derive(Default)]
struct Memory {
    absorbed: HashMap<(u64, Hash), (PairState, Absorbed)>,
    admitted: HashMap<(u64, PaperId), Option<AdmittedDecision>>,
    begun: HashMap<(u64, PaperId), Result<AdmittedKeyBegin, String>>,
    ended: HashMap<(u64, PaperId), Result<AdmittedKeyEnd, String>>,
    prepared: HashMap<u64, Option<exchange::Prepared>>,
}

pub struct Cast {
    pub network: TestNetwork,
    pub homes: Vec<OrganisationId>,
    pub sources: Vec<ServiceName>,
    pub recipients: Vec<ServiceName>,
    organisations: Vec<TestOrganisation>,
    members: Vec<Member>,
    credentials: Vec<(TestSigner, Vec<Bytes>)>,
    phones: BTreeMap<(PairId, usize), Phone>,
    links: BTreeMap<(PairId, usize), Attested>,
    papers: Vec<(Paper, Submission)>,
    requests: Vec<(PlainRequest, Authentic)>,
    by_hash: HashMap<Hash, PaperId>,
    /// Whether verdicts are remembered: a model checker meets the same ones all the time.
    remembers: bool,
    memory: Mutex<Memory>,
}

/// How many of each take part; 2 phones a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    pub homes: usize,
    pub sources: usize,
    pub recipients: usize,
    pub citizens: usize,
}

pub const PHONES: usize = 2;

impl Cast {
    pub fn new(size: Size) -> Self {
        let network = TestNetwork::new();
        let service = |kind: &str, n: usize| -> ServiceName {
            let base = format!("99{}{n:09}", if kind == "source" { 1 } else { 2 });
            let organisation = OrganisationId::from_base(&base).expect("twelve digits");
            format!("{organisation}/{kind}").parse().expect("a service name")
        };
        let homes: Vec<_> = (0..size.homes).map(|n| network.city(n).organisation).collect();
        let sources: Vec<_> = (0..size.sources).map(|n| service("source", n)).collect();
        let recipients: Vec<_> = (0..size.recipients).map(|n| service("recipient", n)).collect();
        let organisations: Vec<_> = recipients
            .iter()
            .map(|name| {
                let services = std::slice::from_ref(name);
                let number = name.organisation();
                network.organisation(0, &number, "Recipient", services, &[Role::Recipient])
            })
            .collect();
        let members = organisations
            .iter()
            .map(|organisation| {
                trust::verify_identity(&organisation.identity, &network.trust, NOW)
                    .expect("the test network's members hold")
            })
            .collect();
        let credentials = sources
            .iter()
            .map(|name| {
                let signer = TestSigner::from_label(&format!("credential {name}"));
                let key = signer.public_key();
                (signer, network.credential_certificate(0, "Source", name, &key))
            })
            .collect();
        let mut cast = Self {
            network,
            homes,
            sources,
            recipients,
            organisations,
            members,
            credentials,
            phones: BTreeMap::new(),
            links: BTreeMap::new(),
            papers: Vec::new(),
            requests: Vec::new(),
            by_hash: HashMap::new(),
            remembers: false,
            memory: Mutex::default(),
        };
        for citizen in 0..size.citizens {
            for source in 0..size.sources {
                cast.furnish(PairId { citizen, source });
            }
        }
        cast
    }

    /// From here on, what was verified once is not verified again.
    #[must_use]
    pub fn remembering(mut self) -> Self {
        self.remembers = true;
        self
    }

    /// Phones with certificates, and the links to every recipient.
    fn furnish(&mut self, pair: PairId) {
        let city = self.home_of(pair);
        for phone in 0..PHONES {
            let signer = TestSigner::from_label(&format!("{pair:?} {phone}"));
            let key = signer.public_key();
            let (subject, source) = (self.subject(pair), &self.sources[pair.source]);
            let chain = self.network.service_certificate(city, subject, source, &key);
            self.phones.insert((pair, phone), Phone { signer, chain });
        }
        for recipient in 0..self.recipients.len() {
            let link =
                Link { source: self.pair(pair), recipient: self.there(pair, recipient), time: NOW };
            let by = self.network.city(city);
            let link = Attested { object: self.sign(link, &by.signer), chain: by.chain };
            self.links.insert((pair, recipient), link);
        }
    }

    pub fn trust(&self) -> &Trust {
        &self.network.trust
    }

    /// Number of the home of a pair's citizen.
    pub fn home_of(&self, pair: PairId) -> usize {
        pair.citizen % self.homes.len()
    }

    pub fn channel(&self, pair: PairId) -> ChannelId {
        ChannelId {
            home: self.homes[self.home_of(pair)].clone(),
            source: self.sources[pair.source].clone(),
        }
    }

    pub fn subject(&self, pair: PairId) -> ServiceId {
        ServiceId(wire::hash_parts("simulator/here", &[&label(pair)]).0)
    }

    pub fn pair(&self, pair: PairId) -> Pair {
        Pair { source: self.sources[pair.source].clone(), subject: self.subject(pair) }
    }

    fn there(&self, pair: PairId, recipient: usize) -> Pair {
        let citizen = (pair.citizen as u64).to_be_bytes();
        let name = &self.recipients[recipient];
        let subject = wire::hash_parts("simulator/there", &[&citizen, name.to_string().as_bytes()]);
        Pair { source: name.clone(), subject: ServiceId(subject.0) }
    }

    fn key(&self, pair: PairId, phone: usize) -> KeyHash {
        self.phones[&(pair, phone)].signer.public_key().key_hash()
    }

    fn sign<M: wire::Message>(&self, message: M, signer: &dyn Signer) -> Bytes {
        let signed = Signed::new(message, &self.network.id, signer).expect("test keys sign");
        Bytes(signed.bytes().to_vec())
    }

    pub fn paper(&self, id: PaperId) -> &Paper {
        &self.papers[id].0
    }

    pub fn papers(&self) -> impl Iterator<Item = (PaperId, &Paper)> {
        self.papers.iter().enumerate().map(|(id, (paper, _))| (id, paper))
    }

    pub fn attested(&self, id: PaperId) -> &Attested {
        &self.papers[id].1.attested
    }

    pub fn decision_id(&self, id: PaperId) -> DecisionId {
        DecisionId(self.papers[id].1.id.0)
    }

    pub fn by_decision(&self, id: &DecisionId) -> Option<PaperId> {
        self.by_hash.get(&Hash(id.0)).copied()
    }

    /// The paper that an entry carries.
    pub fn by_entry(&self, entry: &Entry) -> Option<PaperId> {
        self.by_hash.get(&wire::sha256(&entry.body)).copied()
    }

    pub fn by_attested(&self, attested: &Attested) -> Option<PaperId> {
        self.by_hash.get(&wire::sha256(&wire::cbor::to_vec(attested))).copied()
    }

    pub fn is_deny(&self, id: PaperId) -> bool {
        matches!(self.paper(id).says, Says::Deny { .. })
    }

    pub fn request(&self, id: RequestId) -> &PlainRequest {
        &self.requests[id].0
    }

    pub fn requests(&self) -> usize {
        self.requests.len()
    }

    pub fn authentic(&self, id: RequestId) -> &Authentic {
        &self.requests[id].1
    }

    pub fn credential_chain(&self, source: usize) -> &[Bytes] {
        &self.credentials[source].1
    }

    /// The scope as it is signed.
    pub fn scope(&self, plain: &PlainScope) -> Scope {
        Scope {
            recipient: match plain.recipient {
                Some(recipient) => Recipient::Service(self.recipients[recipient].clone()),
                None => Recipient::Any,
            },
            items: match plain.leaves {
                ALL_LEAVES => Items::All,
                leaves => Items::Types(items(leaves)),
            },
            purpose: PurposeScope::Any,
        }
    }

    /// Signs a paper at `at`.
    pub fn write(&mut self, paper: Paper, at: Timestamp) -> PaperId {
        let nonce = Nonce(
            wire::hash_parts("simulator/nonce", &[&(self.papers.len() as u64).to_be_bytes()]).0
                [..16]
                .try_into()
                .expect("16 of 32 bytes"),
        );
        let signed_by = &self.phones[&(paper.pair, paper.phone)];
        let pair = self.pair(paper.pair);
        let (object, id) = match &paper.says {
            Says::KeyBegins { phone } => {
                let chain = self.phones[&(paper.pair, *phone)].chain.clone();
                let until = NOW.plus_ms(300 * DAY_MS);
                let begin = KeyBegin {
                    nonce,
                    pair,
                    basis: ExpressedBy::Oneself,
                    authority: None,
                    chain,
                    until,
                    time: at,
                };
                let city = self.network.city(self.home_of(paper.pair));
                let signed = Signed::new(begin, &self.network.id, &city.signer).expect("signs");
                let attested =
                    Attested { object: Bytes(signed.bytes().to_vec()), chain: city.chain };
                return self.file(paper, attested, signed.id());
            }
            Says::KeyEnds { phone, keeps } => {
                let mut keeps: Vec<_> = keeps.iter().map(|id| self.decision_id(*id)).collect();
                keeps.sort();
                let key = self.key(paper.pair, *phone);
                let end = KeyEnd { nonce, pair, key, keeps, time: at };
                self.signed(end, &signed_by.signer)
            }
            Says::Unknown { .. } => (Bytes(nonce.0.to_vec()), wire::sha256(&nonce.0)),
            Says::Deny { scope } => {
                let scope = self.scope(scope);
                let decision = Decision {
                    nonce,
                    pair,
                    scope,
                    time: at,
                    expressed_by: ExpressedBy::Oneself,
                    verdict: Verdict::Deny,
                };
                self.signed(decision, &signed_by.signer)
            }
            Says::Permit { scope, reopens, until_ms, uses } => {
                let recipient = scope.recipient.expect("a permit names its recipient");
                let mut reopens: Vec<_> = reopens
                    .iter()
                    .map(|reopen| match reopen {
                        PlainReopen::Deny(id) => Reopen::Deny(self.decision_id(*id)),
                        PlainReopen::Phone(phone) => Reopen::Key(self.key(paper.pair, *phone)),
                    })
                    .collect();
                reopens.sort();
                let permit = Permit {
                    recipient_subject: self.there(paper.pair, recipient).subject,
                    reopens,
                    valid_from: NOW,
                    valid_until: NOW.plus_ms(*until_ms),
                    uses: match uses {
                        PlainUses::Once => Uses::Once,
                        PlainUses::Per { count, period_ms } => {
                            Uses::Per { count: *count, period_ms: *period_ms }
                        }
                        PlainUses::Unlimited => Uses::Unlimited,
                    },
                    window: None,
                    retention_days: Some(30),
                    onward: Onward::Forbidden,
                    notice: Notice { hash: Hash([1; 32]), language: "ja".to_owned(), version: 1 },
                    vocabulary: 1,
                    link: self.links[&(paper.pair, recipient)].clone(),
                    request: None,
                };
                let scope = self.scope(scope);
                let decision = Decision {
                    nonce,
                    pair,
                    scope,
                    time: at,
                    expressed_by: ExpressedBy::Oneself,
                    verdict: Verdict::Permit(Box::new(permit)),
                };
                self.signed(decision, &signed_by.signer)
            }
        };
        let attested = Attested { object, chain: signed_by.chain.clone() };
        self.file(paper, attested, id)
    }

    fn signed<M: wire::Message>(&self, message: M, signer: &TestSigner) -> (Bytes, Hash) {
        let signed = Signed::new(message, &self.network.id, signer).expect("test keys sign");
        (Bytes(signed.bytes().to_vec()), signed.id())
    }

    fn file(&mut self, paper: Paper, attested: Attested, id: Hash) -> PaperId {
        let number = self.papers.len();
        self.by_hash.insert(wire::sha256(&wire::cbor::to_vec(&attested)), number);
        self.by_hash.insert(id, number);
        self.papers.push((paper, Submission { attested, id }));
        number
    }

    /// A recipient signs a request; the source knows it for authentic.
    pub fn ask(&mut self, plain: PlainRequest, at: Timestamp) -> RequestId {
        let number = self.requests.len();
        let nonce = |tag| {
            let hash = wire::hash_parts(tag, &[&(number as u64).to_be_bytes()]);
            Nonce(hash.0[..16].try_into().expect("16 of 32 bytes"))
        };
        let ask = Ask {
            source: self.sources[plain.pair.source].clone(),
            recipient: self.recipients[plain.recipient].clone(),
            subject: self.there(plain.pair, plain.recipient).subject,
            items: items(plain.leaves),
            whole: plain.whole,
            purpose: PURPOSE.parse().expect("a purpose"),
        };
        let request = ask
            .request(nonce("simulator/id"), nonce("simulator/request"), at, 120_000)
            .expect("a well-formed request");
        let signer = &self.organisations[plain.recipient].signer;
        let signed = self.sign(request, signer);
        let authentic = Received::decode(&signed, &self.network.id)
            .and_then(|received| {
                received.authenticate(&self.members[plain.recipient], &self.sources, at)
            })
            .expect("the recipient's own request is authentic");
        self.requests.push((plain, authentic));
        number
    }

    /// Admits a decision, once for each state of the pair's keys.
    pub fn admit(&self, id: PaperId, pair: &PairState, at: Timestamp) -> Option<AdmittedDecision> {
        let key = (fingerprint(&pair.keys), id);
        self.remembered(
            key,
            |memory| &mut memory.admitted,
            || {
                let read = ReadDecision::read(self.attested(id), &self.network.id);
                read.ok()?.admit(pair, self.trust(), at).ok()
            },
        )
    }

    /// Admits a key-begin, once for each state of the pair.
    pub fn admit_begin(
        &self,
        id: PaperId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyBegin, String> {
        self.remembered(
            (fingerprint(pair), id),
            |memory| &mut memory.begun,
            || {
                let channel = self.channel(self.paper(id).pair);
                AdmittedKeyBegin::admit(self.attested(id), &channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// The same for a key-end.
    pub fn admit_end(
        &self,
        id: PaperId,
        pair: &PairState,
        at: Timestamp,
    ) -> Result<AdmittedKeyEnd, String> {
        self.remembered(
            (fingerprint(pair), id),
            |memory| &mut memory.ended,
            || {
                let channel = self.channel(self.paper(id).pair);
                AdmittedKeyEnd::admit(self.attested(id), &channel, pair, self.trust(), at)
                    .map_err(|error| error.to_string())
            },
        )
    }

    /// Builds and signs a presentation, once for each set of permitted items.
    pub fn prepare(
        &self,
        request: RequestId,
        allowed: exchange::Allowed,
        source: usize,
        at: Timestamp,
    ) -> Option<exchange::Prepared> {
        let key = fingerprint(&(request, allowed.leaves(), at));
        self.remembered(
            key,
            |memory| &mut memory.prepared,
            || {
                let record = exchange::Record::from_json(b"{}").expect("an empty record");
                let leaves = allowed.leaves().iter();
                let records = leaves.map(|(item, _)| (item.clone(), record.clone())).collect();
                let seed = wire::sha256(&key.to_be_bytes()).0;
                let (signer, chain) = &self.credentials[source];
                allowed.prepare(records, chain, seed, at).ok()?.sign(signer).ok()
            },
        )
    }

    /// What was worked out before for `key`, or what `work` finds now.
    fn remembered<K: Eq + std::hash::Hash, V: Clone>(
        &self,
        key: K,
        place: impl Fn(&mut Memory) -> &mut HashMap<K, V>,
        work: impl FnOnce() -> V,
    ) -> V {
        if !self.remembers {
            return work();
        }
        if let Some(known) = place(&mut self.memory()).get(&key) {
            return known.clone();
        }
        let found = work();
        place(&mut self.memory()).insert(key, found.clone());
        found
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Absorb for Cast {
    fn absorb(
        &self,
        channel: &ChannelId,
        pair: &mut PairState,
        entry: &Entry,
        hash: &Hash,
        at: Timestamp,
    ) -> Absorbed {
        // When it was accepted makes no difference within a scenario's few seconds.
        let what = if entry.kind == UNKNOWN_KIND { *hash } else { wire::sha256(&entry.body) };
        let key = (fingerprint(&(&*pair, entry.kind)), what);
        let before = &*pair;
        let (after, absorbed) = self.remembered(
            key,
            |memory| &mut memory.absorbed,
            || {
                let mut after = before.clone();
                let absorbed = self.trust().absorb(channel, &mut after, entry, hash, at);
                (after, absorbed)
            },
        );
        *pair = after;
        absorbed
    }
}

fn items(leaves: u8) -> Vec<ItemType> {
    let named = LEAVES.iter().enumerate().filter(|(bit, _)| leaves & (1 << bit) != 0);
    named.map(|(_, name)| name.parse().expect("an item type")).collect()
}

fn label(pair: PairId) -> [u8; 16] {
    let mut label = [0; 16];
    label[..8].copy_from_slice(&(pair.citizen as u64).to_be_bytes());
    label[8..].copy_from_slice(&(pair.source as u64).to_be_bytes());
    label
}

/// A kind of entry that no reader of today knows.
pub const UNKNOWN_KIND: EntryKind = EntryKind(99);
