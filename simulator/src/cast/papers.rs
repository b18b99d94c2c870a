//! What citizens and recipients sign, in plain words and in bytes.

use trust::testing::{NOW, TestSigner};
use wire::{
    Bytes, Hash, ItemType, Nonce, Signed, Timestamp,
    citizen::{CertificateStatus, Standing},
    consent::{
        Attested, Decision, ExpressedBy, Items, KeyBegin, KeyEnd, Move, Notice, Onward, Permit,
        PurposeScope, Recipient, Reopen, Scope, Uses, Verdict, collapse_digest,
    },
};

use super::{Cast, PairId, PaperId, RequestId, Submission};

/// The leaves that the world deals in; a set of them is a bit mask over this table.
pub const LEAVES: [&str; 3] = ["education.enrolment", "health.allergy", "health.medication"];
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
    /// At the counter: a permit for one request, with the status of its certificate as of a moment
    /// (milliseconds after the world's beginning of time).
    Present {
        request: RequestId,
        reopens: Vec<PlainReopen>,
        status_ms: u64,
    },
    /// From one home to another, by number.
    Moves {
        from: usize,
        to: usize,
        epoch: u32,
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

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlainReopen {
    Deny(PaperId),
    Phone(usize),
    /// All that a collapse of just these denies lists.
    Collapsed(Vec<PaperId>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PlainUses {
    Once,
    Per { count: u32, period_ms: u64 },
    Unlimited,
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
                let city = &self.cities[self.home_of(paper.pair)];
                let signed = Signed::new(begin, &self.network.id, &city.signer).expect("signs");
                let attested =
                    Attested { object: Bytes(signed.bytes().to_vec()), chain: city.chain.clone() };
                return self.file(paper, attested, signed.id(), None);
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
                let permit = Permit {
                    uses: match uses {
                        PlainUses::Once => Uses::Once,
                        PlainUses::Per { count, period_ms } => {
                            Uses::Per { count: *count, period_ms: *period_ms }
                        }
                        PlainUses::Unlimited => Uses::Unlimited,
                    },
                    ..self.permit(&paper, scope, reopens, *until_ms)
                };
                self.signed(self.decision(&paper, nonce, scope, permit, at), &signed_by.signer)
            }
            Says::Present { request, reopens, status_ms } => {
                let asked = self.request(*request);
                let scope = PlainScope { recipient: Some(asked.recipient), leaves: asked.leaves };
                let bare = self.draft(*request, 0);
                let until_ms = bare.expires.ms_since(NOW) + DAY_MS;
                let permit = Permit {
                    request: Some(bare.consent_hash()),
                    ..self.permit(&paper, &scope, reopens, until_ms)
                };
                let decision = self.decision(&paper, nonce, &scope, permit, at);
                let (object, id) = self.signed(decision, &signed_by.signer);
                let status = CertificateStatus {
                    certificate: wire::sha256(&signed_by.chain[0]),
                    standing: Standing::Good,
                    time: NOW.plus_ms(*status_ms),
                };
                let city = &self.cities[self.home_of(paper.pair)];
                let status =
                    Attested { object: self.sign(status, &city.signer), chain: city.chain.clone() };
                let attested = Attested { object, chain: signed_by.chain.clone() };
                return self.file(paper, attested, id, Some(status));
            }
            Says::Moves { from, to, epoch } => {
                let (from, to) = (self.homes[*from].clone(), self.homes[*to].clone());
                let moving = Move { nonce, pair, from, to, epoch: *epoch, time: at };
                self.signed(moving, &signed_by.signer)
            }
        };
        let attested = Attested { object, chain: signed_by.chain.clone() };
        self.file(paper, attested, id, None)
    }

    /// A permit as far as permits are alike; good once.
    fn permit(
        &self,
        paper: &Paper,
        scope: &PlainScope,
        reopens: &[PlainReopen],
        until_ms: u64,
    ) -> Permit {
        let recipient = scope.recipient.expect("a permit names its recipient");
        let mut reopens: Vec<_> =
            reopens.iter().map(|reopen| self.reopen(paper.pair, reopen)).collect();
        reopens.sort();
        Permit {
            recipient_subject: self.there(paper.pair, recipient).subject,
            reopens,
            valid_from: NOW,
            valid_until: NOW.plus_ms(until_ms),
            uses: Uses::Once,
            window: None,
            retention_days: Some(30),
            onward: Onward::Forbidden,
            notice: Notice { hash: Hash([1; 32]), language: "ja".to_owned(), version: 1 },
            vocabulary: 1,
            link: self.links[&(paper.pair, recipient)].clone(),
            request: None,
        }
    }

    fn reopen(&self, pair: PairId, plain: &PlainReopen) -> Reopen {
        match plain {
            PlainReopen::Deny(id) => Reopen::Deny(self.decision_id(*id)),
            PlainReopen::Phone(phone) => Reopen::Key(self.key(pair, *phone)),
            PlainReopen::Collapsed(ids) => {
                let mut ids: Vec<_> = ids.iter().map(|id| self.decision_id(*id)).collect();
                ids.sort();
                Reopen::Collapsed(collapse_digest(&ids))
            }
        }
    }

    fn decision(
        &self,
        paper: &Paper,
        nonce: Nonce,
        scope: &PlainScope,
        permit: Permit,
        at: Timestamp,
    ) -> Decision {
        Decision {
            nonce,
            pair: self.pair(paper.pair),
            scope: self.scope(scope),
            time: at,
            expressed_by: ExpressedBy::Oneself,
            verdict: Verdict::Permit(Box::new(permit)),
        }
    }

    fn signed<M: wire::Message>(&self, message: M, signer: &TestSigner) -> (Bytes, Hash) {
        let signed = Signed::new(message, &self.network.id, signer).expect("test keys sign");
        (Bytes(signed.bytes().to_vec()), signed.id())
    }

    fn file(
        &mut self,
        paper: Paper,
        attested: Attested,
        id: Hash,
        status: Option<Attested>,
    ) -> PaperId {
        let number = self.papers.len();
        self.by_hash.insert(wire::sha256(&wire::cbor::to_vec(&attested)), number);
        self.by_hash.insert(id, number);
        self.papers.push((paper, Submission { attested, id, status }));
        number
    }
}

pub(super) fn items(leaves: u8) -> Vec<ItemType> {
    let named = LEAVES.iter().enumerate().filter(|(bit, _)| leaves & (1 << bit) != 0);
    named.map(|(_, name)| name.parse().expect("an item type")).collect()
}
