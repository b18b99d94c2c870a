//! The officer's desk (`specs/04-consent.md`, "Keys of a pair"): what no rule decides. An officer sees a
//! document and begins the key of who acts for a citizen, ends a key, or certifies a move. Each lies in
//! the evidence log with the officer's name, in the same write as what was done.

use identity::jpki::BirthDate;
use serde::Serialize;
use trust::{CertificateKind, LeafSubject};
use wire::{
    Bytes, DecisionId, Hash, KeyHash, MessageType, Nonce, OrganisationId, ServiceId, Signed,
    Timestamp,
    citizen::{Challenge, DecisionReply, MoveReply, MoveSubmission},
    consent::{
        Attested, Authority, DocumentKind, ExpressedBy, KeyBegin, KeyEnd, Move, authority_digest,
    },
    ids::Pair,
};
use zeroize::Zeroizing;

use super::{Home, enrolment::EnrolmentRefused, register::SubmissionError};
use crate::{context::Fault, evidence_log, operator::Operator, store::Column};

/// 成年: who is of age needs no guardian but by a court's order (民法 4条).
const OF_AGE: u16 = 18;
/// Longest text of a document, in bytes.
const DOCUMENT: usize = 16 * 1024;

/// What an officer has before them to begin the key of who acts for a citizen.
pub struct Representation {
    /// The service certificate chain of the phone, as `wallet key export` writes it.
    pub chain: Vec<Bytes>,
    pub basis: ExpressedBy,
    pub document: DocumentKind,
    /// What the document says, or its number: sealed here, and only its salted hash is signed.
    pub text: Zeroizing<String>,
    /// The citizen's, where a guardian acts: how long is a question of age.
    pub birth_date: Option<BirthDate>,
    /// When the key's permits end at the latest; without it as late as certificate and age let it.
    pub until: Option<Timestamp>,
}

/// A key as the desk sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeskKey {
    pub key: KeyHash,
    pub basis: ExpressedBy,
    pub until: Timestamp,
    pub ended: bool,
    /// The permits that it signed: what a key-end may keep.
    pub permits: Vec<DecisionId>,
}

/// What became of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    pub pair: Pair,
    pub key: KeyHash,
    pub until: Timestamp,
    pub reply: DecisionReply,
}

/// Plaintext of [`Column::Authorities`]: what shows, years later, which document was seen.
#[derive(Serialize)]
struct SeenDocument<'a> {
    document: DocumentKind,
    salt: Bytes,
    text: &'a str,
}

/// Why the desk did not do it. Names no citizen.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error("the document's text has 1 to {DOCUMENT} bytes")]
    Document,
    #[error("the desk begins keys of guardians and proxies; a citizen's own begin by proofing")]
    Oneself,
    #[error("for a guardian the citizen's birth date is needed")]
    BirthDateNeeded,
    #[error("the citizen is of age: parental authority has ended")]
    OfAge,
    #[error("the key would stand longer than the citizen is a minor, which ends at {}", utc(.0))]
    BeyondMajority(Timestamp),
    #[error("the key would stand longer than its certificate, which ends at {}", utc(.0))]
    BeyondCertificate(Timestamp),
    #[error("the key would have ended before it began")]
    Over,
    #[error("the certificate chain is not that of a phone at a service: {0}")]
    Chain(String),
    #[error("a move goes from one municipality to another, and this one is one of them")]
    NoMove,
    #[error("this home does not know how often the citizen has moved: say it (`epoch`)")]
    EpochNeeded,
    #[error("{0}")]
    Submission(#[from] SubmissionError),
    #[error("{0}")]
    Enrolment(#[from] EnrolmentRefused),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// As people write a moment.
fn utc(time: &Timestamp) -> String {
    let since_1970 = std::time::Duration::from_secs(time.as_secs());
    der::DateTime::from_unix_duration(since_1970)
        .map_or_else(|_| time.0.to_string(), |t| t.to_string())
}

/// When a key's permits end. A child's guardian has until the child is of age, whatever the document; the
/// guardian of an adult only on a register's or a court's word.
fn key_until(
    case: &Representation,
    not_after: Timestamp,
    now: Timestamp,
) -> Result<Timestamp, DeskError> {
    let majority = match (case.basis, case.birth_date) {
        (ExpressedBy::Oneself, _) => return Err(DeskError::Oneself),
        (ExpressedBy::Guardian, None) => return Err(DeskError::BirthDateNeeded),
        (ExpressedBy::Guardian, Some(born)) => Some(born.turns(OF_AGE)),
        (ExpressedBy::Proxy, _) => None,
    };
    let majority = match majority {
        Some(majority) if now < majority => Some(majority),
        Some(_) if case.document == DocumentKind::FamilyRegister => return Err(DeskError::OfAge),
        _ => None,
    };
    let until = case.until.unwrap_or_else(|| not_after.min(majority.unwrap_or(not_after)));
    if let Some(majority) = majority.filter(|majority| until > *majority) {
        return Err(DeskError::BeyondMajority(majority));
    }
    if until > not_after {
        return Err(DeskError::BeyondCertificate(not_after));
    }
    if until <= now { Err(DeskError::Over) } else { Ok(until) }
}

impl Home {
    /// Begins the key of a guardian or proxy, whose phone has a certificate for the citizen's pair.
    pub async fn begin_for_another(
        &self,
        operator: Operator,
        case: Representation,
    ) -> Result<Begun, DeskError> {
        if !(1..=DOCUMENT).contains(&case.text.len()) {
            return Err(DeskError::Document);
        }
        let trust = self.context.live_trust()?;
        let now = self.context.now().wall;
        let chain = trust::verify_chain(&case.chain, CertificateKind::Service, &trust, now)
            .map_err(|error| DeskError::Chain(error.to_string()))?;
        let LeafSubject::Service { service, subject } = chain.subject() else {
            return Err(DeskError::Chain("it names no service".to_owned()));
        };
        let pair = Pair { source: service.clone(), subject: *subject };
        let (key, until) = (chain.key(), key_until(&case, chain.not_after(), now)?);
        let salt: [u8; 32] = self.context.entropy.array();
        let digest = authority_digest(&salt, case.text.as_bytes());
        let seen =
            SeenDocument { document: case.document, salt: Bytes(salt.to_vec()), text: &case.text };
        let sealed = self.desk()?.seal(&digest.0, &Zeroizing::new(wire::cbor::to_vec(&seen)))?;
        let begin = KeyBegin {
            nonce: Nonce(self.context.entropy.array()),
            pair: pair.clone(),
            basis: case.basis,
            authority: Some(Authority { document: case.document, digest, seen: now }),
            chain: case.chain,
            until,
            time: now,
        };
        let signed = self.context.sign(begin).await?;
        let id = signed.id();
        let submission = self.context.attested(&signed);
        let begun = self
            .accept_begin(pair.clone(), submission, None, move |tx| {
                tx.write(Column::Authorities, digest.0, &sealed);
                tx.log(&evidence_log::operator_action(&operator, "key-begun", Some(id), tx.wall()));
            })
            .await;
        match begun {
            Ok(accepted) => {
                let reply = self.reply(&self.channel(&pair), &accepted).await?;
                Ok(Begun { pair, key, until, reply })
            }
            Err(error) => Ok(self.refuse(MessageType::KeyBegin, id, error).await?),
        }
    }

    /// Ends a key of a pair of this home: a lost phone, a guardianship that is over.
    pub async fn end_for_another(
        &self,
        operator: Operator,
        pair: Pair,
        key: KeyHash,
        mut keeps: Vec<DecisionId>,
    ) -> Result<DecisionReply, DeskError> {
        keeps.sort();
        keeps.dedup();
        let nonce = Nonce(self.context.entropy.array());
        let end = KeyEnd { nonce, pair: pair.clone(), key, keeps, time: self.context.now().wall };
        let signed = self.context.sign(end).await?;
        let id = signed.id();
        let submission = self.context.attested(&signed);
        let ended = self
            .accept_end(pair.clone(), submission, move |tx| {
                tx.log(&evidence_log::operator_action(&operator, "key-ended", Some(id), tx.wall()));
            })
            .await;
        match ended {
            Ok(accepted) => Ok(self.reply(&self.channel(&pair), &accepted).await?),
            Err(error) => Ok(self.refuse(MessageType::KeyEnd, id, error).await?),
        }
    }

    /// The keys of a pair. That an officer looked is evidence too.
    pub async fn keys_for_desk(
        &self,
        operator: Operator,
        pair: Pair,
    ) -> Result<Vec<DeskKey>, DeskError> {
        self.log_action(&operator, "keys-shown", None).await?;
        let state = self.pair_state(&self.channel(&pair), &pair.subject)?;
        let permits_of = |key: &KeyHash| {
            let of_key = state.permits.iter().filter(|(_, permit)| permit.key == *key);
            of_key.map(|(id, _)| *id).collect()
        };
        let keys = state.keys.iter().map(|(key, begun)| DeskKey {
            key: *key,
            basis: begun.basis,
            until: begun.until,
            ended: state.ended.contains_key(key),
            permits: permits_of(key),
        });
        Ok(keys.collect())
    }

    /// Certifies a move of a citizen who has no phone left to sign it: one of the two homes does. It is
    /// handed in at the home that is left and at the new one ([`Self::hand_in_certified`]).
    pub async fn certify_move(
        &self,
        operator: Operator,
        pair: Pair,
        (from, to): (OrganisationId, OrganisationId),
        epoch: Option<u32>,
    ) -> Result<Attested, DeskError> {
        let trust = self.context.live_trust()?;
        let own = &self.context.organisation;
        let both = trust.is_municipality(&from) && trust.is_municipality(&to);
        if from == to || !both || (from != *own && to != *own) {
            return Err(DeskError::NoMove);
        }
        let epoch = match (epoch, self.epoch(&pair.source, &pair.subject, &from)?) {
            (Some(epoch), _) => epoch,
            (None, Some(moves)) => moves.saturating_add(1),
            (None, None) => return Err(DeskError::EpochNeeded),
        };
        let nonce = Nonce(self.context.entropy.array());
        let moving = Move { nonce, pair, from, to, epoch, time: self.context.now().wall };
        let signed = self.context.sign(moving).await?;
        self.log_action(&operator, "move-certified", Some(signed.id())).await?;
        Ok(self.context.attested(&signed))
    }

    /// Takes a certified move here, as a wallet would hand it in. The home that is left gives what the new
    /// one needs: the move, with all that the channels of the pair's homes hold of it, this one's end in it.
    pub async fn hand_in_certified(
        &self,
        operator: Operator,
        submission: MoveSubmission,
    ) -> Result<(MoveReply, Option<MoveSubmission>), DeskError> {
        let trust = self.context.live_trust()?;
        let signed = Signed::<Move>::decode(&submission.moving.object, trust.network())
            .map_err(consent::AdmissionError::from)
            .map_err(SubmissionError::from)?;
        let Move { pair, from, .. } = signed.unverified().clone();
        let moving = submission.moving.clone();
        // First: nothing happens here that stands under nobody's name.
        self.log_action(&operator, "move-handed-in", Some(signed.id())).await?;
        let reply = self.move_pair(submission).await?;
        if from != self.context.organisation {
            return Ok((reply, None));
        }
        let register = self.shown(&self.channel(&pair), &pair.subject).await?;
        Ok((reply, Some(MoveSubmission { moving, history: register.history() })))
    }

    /// Logs what an officer does that is no write of its own.
    async fn log_action(
        &self,
        operator: &Operator,
        what: &'static str,
        about: Option<Hash>,
    ) -> Result<(), Fault> {
        let now = self.context.now().wall;
        self.context.log(evidence_log::operator_action(operator, what, about, now)).await
    }

    /// How often a pair has moved, where this home can tell: as the home that it leaves.
    fn epoch(
        &self,
        source: &wire::ServiceName,
        subject: &ServiceId,
        from: &OrganisationId,
    ) -> Result<Option<u32>, Fault> {
        let pair = Pair { source: source.clone(), subject: *subject };
        let state = self.pair_state(&self.channel(&pair), subject)?;
        Ok((*from == self.context.organisation && state.is_home(from)).then_some(state.epoch))
    }

    /// A challenge for the phone of who acts for a citizen, answered by the citizen's card.
    pub async fn challenge_at_desk(&self, operator: Operator) -> Result<Challenge, DeskError> {
        let challenge = self.challenge_for_another()?;
        self.log_action(&operator, "challenge-opened", None).await?;
        Ok(challenge)
    }
}

#[cfg(test)]
mod tests {
    use identity::jpki::Era;

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn case(basis: ExpressedBy, document: DocumentKind, born: Option<u16>) -> Representation {
        Representation {
            chain: Vec::new(),
            basis,
            document,
            text: Zeroizing::new("seen".to_owned()),
            birth_date: born.map(|year| BirthDate::new(Era::Unknown, year, 4, 1).unwrap()),
            until: None,
        }
    }

    #[test]
    fn a_guardian_has_until_the_citizen_is_of_age_and_nobody_longer_than_the_certificate() {
        use DocumentKind::{CourtOrder, FamilyRegister, GuardianshipRegister, PowerOfAttorney};
        use ExpressedBy::{Guardian, Oneself, Proxy};
        let year = 365 * 24 * 3_600_000;
        let not_after = NOW.plus_ms(2 * year);
        let until = |case: &Representation| key_until(case, not_after, NOW);
        // NOW is in January 2027: a child born in 2009 is of age on 1 April.
        let majority = BirthDate::new(Era::Unknown, 2009, 4, 1).unwrap().turns(18);
        assert!(NOW < majority && majority < not_after);
        for document in [FamilyRegister, GuardianshipRegister, CourtOrder] {
            let child = case(Guardian, document, Some(2009));
            assert_eq!(until(&child).unwrap(), majority, "{document:?}");
            let longer = Representation { until: Some(majority.plus_ms(1)), ..child };
            assert!(matches!(until(&longer), Err(DeskError::BeyondMajority(_))), "{document:?}");
        }
        let small = case(Guardian, FamilyRegister, Some(2020));
        assert_eq!(until(&small).unwrap(), not_after, "the certificate ends first");
        assert!(matches!(
            until(&case(Guardian, FamilyRegister, Some(1980))),
            Err(DeskError::OfAge)
        ));
        assert_eq!(until(&case(Guardian, CourtOrder, Some(1980))).unwrap(), not_after);
        let unknown = case(Guardian, CourtOrder, None);
        assert!(matches!(until(&unknown), Err(DeskError::BirthDateNeeded)));
        let proxy = case(Proxy, PowerOfAttorney, None);
        assert_eq!(until(&proxy).unwrap(), not_after);
        for (at, fits) in [(NOW, false), (NOW.plus_ms(1), true), (not_after, true)] {
            let dated = Representation { until: Some(at), ..case(Proxy, PowerOfAttorney, None) };
            assert_eq!(until(&dated).is_ok(), fits, "{at:?}");
        }
        let longer = Representation { until: Some(not_after.plus_ms(1)), ..proxy };
        assert!(matches!(until(&longer), Err(DeskError::BeyondCertificate(_))));
        assert!(matches!(until(&case(Oneself, CourtOrder, Some(1980))), Err(DeskError::Oneself)));
    }
}
