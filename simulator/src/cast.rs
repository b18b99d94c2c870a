//! Who takes part and what they sign: real keys, real certificates, real signatures. The world refers
//! to papers and requests by number; the cast holds their bytes and, beside them, in plain words what
//! they say, for the reference that judges the machines.

mod memory;
mod papers;
mod requests;

use std::collections::{BTreeMap, HashMap};

use trust::{
    Member, Trust,
    testing::{NOW, TestNetwork, TestOrganisation, TestSigner},
};
use wire::{
    Bytes, DecisionId, Hash, KeyHash, OrganisationId, ServiceId, ServiceName, Signed, Signer,
    Timestamp,
    channel::{ChannelId, Entry, EntryKind},
    consent::{Attested, Link},
    ids::Pair,
    membership::Role,
};

use memory::Remembered;
pub use papers::{ALL_LEAVES, LEAVES, Paper, PlainReopen, PlainScope, PlainUses, Says};
pub use requests::PlainRequest;

/// Number of something a citizen signed.
pub type PaperId = usize;
/// Number of a request that a recipient made.
pub type RequestId = usize;

/// One citizen at one source, with the citizen's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairId {
    pub citizen: usize,
    pub source: usize,
}

#[derive(Clone)]
struct Phone {
    signer: TestSigner,
    chain: Vec<Bytes>,
}

#[derive(Clone)]
struct Submission {
    attested: Attested,
    id: Hash,
    /// Of a present-consent: what the CA says of the certificate that signed it.
    status: Option<Attested>,
}

#[derive(Clone)]
pub struct Cast {
    pub network: TestNetwork,
    pub homes: Vec<OrganisationId>,
    pub sources: Vec<ServiceName>,
    pub recipients: Vec<ServiceName>,
    cities: Vec<TestOrganisation>,
    organisations: Vec<TestOrganisation>,
    members: Vec<Member>,
    credentials: Vec<(TestSigner, Vec<Bytes>)>,
    phones: BTreeMap<(PairId, usize), Phone>,
    links: BTreeMap<(PairId, usize), Attested>,
    papers: Vec<(Paper, Submission)>,
    /// With the time that its recipient writes into it.
    requests: Vec<(PlainRequest, Timestamp)>,
    by_hash: HashMap<Hash, PaperId>,
    /// Whether verdicts are remembered: a model checker meets the same ones all the time.
    remembers: bool,
    memory: Remembered,
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
        let cities: Vec<_> = (0..size.homes).map(|n| network.city(n)).collect();
        let homes = cities.iter().map(|city| city.organisation.clone()).collect();
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
            cities,
            organisations,
            members,
            credentials,
            phones: BTreeMap::new(),
            links: BTreeMap::new(),
            papers: Vec::new(),
            requests: Vec::new(),
            by_hash: HashMap::new(),
            remembers: false,
            memory: Remembered::default(),
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
            let by = &self.cities[city];
            let link = Attested { object: self.sign(link, &by.signer), chain: by.chain.clone() };
            self.links.insert((pair, recipient), link);
        }
    }

    pub fn trust(&self) -> &Trust {
        &self.network.trust
    }

    /// Number of the home at which a pair's citizen begins.
    pub fn home_of(&self, pair: PairId) -> usize {
        pair.citizen % self.homes.len()
    }

    /// From one home to the source of a pair.
    pub fn channel(&self, home: usize, pair: PairId) -> ChannelId {
        ChannelId { home: self.homes[home].clone(), source: self.sources[pair.source].clone() }
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
}

fn label(pair: PairId) -> [u8; 16] {
    let mut label = [0; 16];
    label[..8].copy_from_slice(&(pair.citizen as u64).to_be_bytes());
    label[8..].copy_from_slice(&(pair.source as u64).to_be_bytes());
    label
}

/// A kind of entry that no reader of today knows.
pub const UNKNOWN_KIND: EntryKind = EntryKind(99);
