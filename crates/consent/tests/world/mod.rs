//! Cities, phones and one pair, with real certificates and signatures: entries are made one by one, and
//! act on the state of a pair in whatever order a test likes.

use std::collections::BTreeMap;

use consent::{
    PairState, Permitted, Query, Refused, UseCount, evaluate,
    source::{Absorbed, absorb},
};
use trust::{
    Trust,
    testing::{NOW, TestNetwork, TestSigner},
};
use wire::{
    Bytes, DecisionId, Hash, KeyHash, Nonce, OrganisationId, ServiceId, ServiceName, Signed,
    Signer, Timestamp, cbor,
    channel::{ChannelId, Entry, EntryKind},
    consent::{
        Attested, Authority, Collapse, Decision, DocumentKind, ExpressedBy, Items, KeyBegin,
        KeyEnd, Link, Move, Notice, Onward, Permit, PurposeScope, Recipient, Reopen, Scope, Uses,
        Verdict,
    },
    ids::Pair,
};

pub const DAY: u64 = 86_400_000;

#[derive(Clone)]
pub struct Phone {
    pub signer: TestSigner,
    pub chain: Vec<Bytes>,
}

impl Phone {
    pub fn key(&self) -> KeyHash {
        self.signer.public_key().key_hash()
    }
}

pub struct World {
    pub network: TestNetwork,
    nonce: std::cell::Cell<u8>,
}

pub fn lunch() -> ServiceName {
    "9000020102016/lunch".parse().unwrap()
}

pub fn hospital() -> ServiceName {
    "9000020102016/hospital".parse().unwrap()
}

pub fn here() -> ServiceId {
    ServiceId([0xaa; 32])
}

fn there() -> ServiceId {
    ServiceId([0xbb; 32])
}

pub fn pair() -> Pair {
    Pair { source: lunch(), subject: here() }
}

pub fn allergy() -> Scope {
    Scope {
        recipient: Recipient::Service(hospital()),
        items: Items::Types(vec!["health.allergy".parse().unwrap()]),
        purpose: PurposeScope::Code("treatment".parse().unwrap()),
    }
}

pub fn saw(document: DocumentKind) -> Option<Authority> {
    let digest = wire::consent::authority_digest(&[7; 32], b"what the officer saw");
    Some(Authority { document, digest, seen: NOW })
}

impl World {
    pub fn new() -> Self {
        Self { network: TestNetwork::new(), nonce: std::cell::Cell::new(0) }
    }

    pub fn trust(&self) -> &Trust {
        &self.network.trust
    }

    pub fn city(&self, city: usize) -> OrganisationId {
        self.network.cities[city].organisation.clone()
    }

    pub fn channel(&self, city: usize) -> ChannelId {
        ChannelId { home: self.city(city), source: lunch() }
    }

    /// A phone of the citizen, certified by the first city.
    pub fn phone(&self, label: &str) -> Phone {
        self.phone_by(0, label)
    }

    pub fn phone_by(&self, city: usize, label: &str) -> Phone {
        let signer = TestSigner::from_label(label);
        let key = signer.public_key();
        Phone { chain: self.network.service_certificate(city, here(), &lunch(), &key), signer }
    }

    /// The organisation key of a city, as a signer with its chain.
    pub fn officer(&self, city: usize) -> Phone {
        let city = self.network.city(city);
        Phone { signer: city.signer, chain: city.chain }
    }

    fn nonce(&self) -> Nonce {
        self.nonce.set(self.nonce.get() + 1);
        Nonce([self.nonce.get(); 16])
    }

    pub fn sign<M: wire::Message>(&self, message: M, by: &Phone) -> Attested {
        let signed = Signed::new(message, &self.network.id, &by.signer).unwrap();
        Attested { object: signed.bytes().to_vec().into(), chain: by.chain.clone() }
    }

    pub fn id<M: wire::Message>(&self, object: &Attested) -> Hash {
        Signed::<M>::decode(&object.object, &self.network.id).unwrap().id()
    }

    pub fn decision_id(&self, decision: &Attested) -> DecisionId {
        self.id::<Decision>(decision).into()
    }

    pub fn deny(&self, by: &Phone, scope: Scope) -> Attested {
        self.decision(by, ExpressedBy::Oneself, scope, NOW, Verdict::Deny)
    }

    pub fn decision(
        &self,
        by: &Phone,
        expressed_by: ExpressedBy,
        scope: Scope,
        time: Timestamp,
        verdict: Verdict,
    ) -> Attested {
        let nonce = self.nonce();
        let decision = Decision { nonce, pair: pair(), scope, time, expressed_by, verdict };
        self.sign(decision, by)
    }

    pub fn permit(&self, by: &Phone, reopens: &[Reopen]) -> Attested {
        self.permit_as(by, ExpressedBy::Oneself, reopens, NOW)
    }

    pub fn permit_as(
        &self,
        by: &Phone,
        expressed_by: ExpressedBy,
        reopens: &[Reopen],
        time: Timestamp,
    ) -> Attested {
        let mut reopens = reopens.to_vec();
        reopens.sort();
        let verdict = Verdict::Permit(Box::new(Permit {
            recipient_subject: there(),
            reopens,
            valid_from: time,
            valid_until: NOW.plus_ms(30 * DAY),
            uses: Uses::Unlimited,
            window: None,
            retention_days: Some(30),
            onward: Onward::Forbidden,
            notice: Notice { hash: Hash([1; 32]), language: "ja".to_owned(), version: 1 },
            vocabulary: 1,
            link: self.link(),
            request: None,
        }));
        self.decision(by, expressed_by, allergy(), time, verdict)
    }

    fn link(&self) -> Attested {
        let recipient = Pair { source: hospital(), subject: there() };
        self.sign(Link { source: pair(), recipient, time: NOW }, &self.officer(0))
    }

    pub fn begin(&self, by: &Phone, key: &Phone) -> Attested {
        self.begin_as(by, key, ExpressedBy::Oneself, None, NOW.plus_ms(300 * DAY))
    }

    pub fn begin_as(
        &self,
        by: &Phone,
        key: &Phone,
        basis: ExpressedBy,
        authority: Option<Authority>,
        until: Timestamp,
    ) -> Attested {
        let chain = key.chain.clone();
        let nonce = self.nonce();
        self.sign(KeyBegin { nonce, pair: pair(), basis, authority, chain, until, time: NOW }, by)
    }

    pub fn end(&self, by: &Phone, key: &Phone, keeps: &[DecisionId]) -> Attested {
        let (nonce, key) = (self.nonce(), key.key());
        self.sign(KeyEnd { nonce, pair: pair(), key, keeps: keeps.to_vec(), time: NOW }, by)
    }

    pub fn moving(&self, by: &Phone, from: usize, to: usize, epoch: u32) -> Attested {
        let (nonce, from, to) = (self.nonce(), self.city(from), self.city(to));
        self.sign(Move { nonce, pair: pair(), from, to, epoch, time: NOW }, by)
    }

    pub fn collapse(&self, city: usize, denies: Vec<DecisionId>) -> Attested {
        let channel = self.channel(city);
        let collapse = Collapse { channel, subject: here(), denies, time: NOW };
        self.sign(collapse, &self.officer(city))
    }

    /// An entry of some channel, its header as an honest home writes it.
    pub fn entry(&self, seq: u64, kind: EntryKind, body: &Attested) -> Entry {
        let scope = Signed::<Decision>::decode(&body.object, &self.network.id)
            .map_or(Scope::EVERYTHING, |signed| signed.unverified().scope.clone());
        let body = Bytes(cbor::to_vec(body));
        Entry { seq, kind, subject: here(), scope, time: NOW, body }
    }

    pub fn absorb(&self, pair: &mut PairState, city: usize, entry: &Entry) -> Absorbed {
        self.absorb_under(pair, city, entry, self.trust())
    }

    pub fn absorb_under(
        &self,
        pair: &mut PairState,
        city: usize,
        entry: &Entry,
        trust: &Trust,
    ) -> Absorbed {
        absorb(&self.channel(city), pair, entry, &entry.hash(), trust, NOW)
    }

    /// The entries of one city's channel act in their order; gives what was wrong with each.
    pub fn replay(
        &self,
        pair: &mut PairState,
        city: usize,
        entries: &[(EntryKind, Attested)],
    ) -> Vec<Option<String>> {
        (entries.iter().enumerate())
            .map(|(seq, (kind, body))| {
                self.absorb(pair, city, &self.entry(seq as u64, *kind, body)).fault
            })
            .collect()
    }
}

/// The hospital asks for the allergy, for treatment.
pub fn ask(pair: &PairState, at: Timestamp) -> Result<Permitted, Refused> {
    let query = Query {
        recipient: &hospital(),
        recipient_subject: &there(),
        items: &["health.allergy".parse().unwrap()],
        whole: true,
        purpose: &"treatment".parse().unwrap(),
        consent_hash: Hash([0; 32]),
        at,
        released: None,
    };
    evaluate(pair, &BTreeMap::<DecisionId, UseCount>::new(), &query)
}
