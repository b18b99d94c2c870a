//! What citizens and recipients sign, in plain words and in bytes.

use exchange::{Ask, Received};
use trust::testing::{NOW, TestSigner};
use wire::{
    Bytes, Hash, ItemType, Nonce, Signed, Timestamp,
    consent::{
        Attested, Decision, ExpressedBy, Items, KeyBegin, KeyEnd, Notice, Onward, Permit,
        PurposeScope, Recipient, Reopen, Scope, Uses, Verdict,
    },
};

use super::{Cast, PairId, PaperId, RequestId, Submission};

/// The leaves that the world deals in; a set of them is a bit mask over this table.
pub const LEAVES: [&str; 3] = ["education.enrolment", "health.allergy", "health.medication"];
pub const PURPOSE: &str = "treatment";
const DAY_MS: u64 = 86_400_000;

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

impl Cast {
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
}

fn items(leaves: u8) -> Vec<ItemType> {
    let named = LEAVES.iter().enumerate().filter(|(bit, _)| leaves & (1 << bit) != 0);
    named.map(|(_, name)| name.parse().expect("an item type")).collect()
}
