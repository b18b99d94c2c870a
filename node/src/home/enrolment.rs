//! The registration authority and the citizens' CA of a home: from a My Number Card to an ID
//! certificate, and from there to service certificates and link attestations.
//!
//! `y` passes through here and is forgotten; no attribute of the card is kept but in the proofing
//! store, sealed, and none goes into a log or an error.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use identity::{
    CardStatus, JpkiRoots, ProofedCitizen, Registrar, Y, issuing,
    number::{BlindedQuery, NumberError, SingleKeyFunction},
};
use serde::{Deserialize, Serialize};
use trust::{Ca, CertificateKind, Pointers, Validity};
use wire::{
    Bytes, KeyHash, Nonce, PublicKey, Signer, Timestamp,
    citizen::{Challenge, EnrolmentReply, LinkRequest, ServiceKeyReply, ServiceKeyRequest},
    consent::{Attested, ExpressedBy, KeyBegin},
};

use super::{Home, phones, register::SubmissionError, status};
use crate::{context::Fault, evidence_log, keys::SealingKey, net::NetError, store::Column};

/// Five years, less a day: what an ID certificate may hold at most (DESIGN section 5).
const ID_VALIDITY_MS: u64 = (5 * 365 - 1) * 24 * 3600 * 1000;
/// Two years: a phone is renewed about as often.
const SERVICE_VALIDITY_MS: u64 = 2 * 365 * 24 * 3600 * 1000;
/// Certificates begin a little before they are issued, for phones whose clock is slow.
const BACKDATE_MS: u64 = 5 * 60 * 1000;

/// From this age on a citizen signs for themself: J-LIS issues signing certificates to younger ones in
/// exceptions only, and somebody else holds the card then.
const SIGNS_FROM_AGE: u16 = 15;

/// What a home needs to enrol citizens.
pub struct Desk {
    registrar: Mutex<Registrar>,
    /// Challenges that an officer opened for who acts for a citizen, by their expiry.
    represented: Mutex<BTreeMap<Nonce, Timestamp>>,
    roots: JpkiRoots,
    /// Where the latest revocation list of J-LIS lies; something outside keeps it fresh.
    crl_file: PathBuf,
    crl_max_age_ms: u64,
    number_function: SingleKeyFunction,
    /// The function's public key, from the trust list.
    number_public_key: Vec<u8>,
    ca_certificate: Vec<u8>,
    ca_signer: Arc<dyn Signer>,
    sealing: SealingKey,
    fresh_proofing_ms: u64,
}

pub struct DeskParts {
    pub registrar: Registrar,
    pub roots: JpkiRoots,
    pub crl_file: PathBuf,
    pub crl_max_age_ms: u64,
    pub number_function: SingleKeyFunction,
    pub number_public_key: Vec<u8>,
    /// The citizens' sub-CA, DER, and its key.
    pub ca_certificate: Vec<u8>,
    pub ca_signer: Arc<dyn Signer>,
    pub sealing: SealingKey,
    /// How long after proofing the home itself begins keys of the person's pairs.
    pub fresh_proofing_ms: u64,
}

impl Desk {
    pub fn new(parts: DeskParts) -> Self {
        Self {
            registrar: Mutex::new(parts.registrar),
            represented: Mutex::new(BTreeMap::new()),
            roots: parts.roots,
            crl_file: parts.crl_file,
            crl_max_age_ms: parts.crl_max_age_ms,
            number_function: parts.number_function,
            number_public_key: parts.number_public_key,
            ca_certificate: parts.ca_certificate,
            ca_signer: parts.ca_signer,
            sealing: parts.sealing,
            fresh_proofing_ms: parts.fresh_proofing_ms,
        }
    }

    fn ca(&self) -> Ca<'_> {
        Ca { certificate: &self.ca_certificate, signer: &*self.ca_signer }
    }

    fn registrar(&self) -> std::sync::MutexGuard<'_, Registrar> {
        self.registrar.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn represented(&self) -> std::sync::MutexGuard<'_, BTreeMap<Nonce, Timestamp>> {
        self.represented.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Seals what an officer saw or proofing must keep, for the place where it will lie.
    pub(super) fn seal(&self, place: &[u8], plain: &[u8]) -> Result<Bytes, Fault> {
        let sealed = self.sealing.seal(place, plain);
        Ok(Bytes(sealed.map_err(|error| Fault::Sign(wire::SignError(error.to_string())))?))
    }

    /// The chain to hand out with a leaf: the anchor is on the trust list.
    fn chain(&self, leaf: Vec<u8>) -> Vec<Bytes> {
        vec![Bytes(leaf), Bytes(self.ca_certificate.clone())]
    }
}

/// Why no certificate was issued.
#[derive(Debug, thiserror::Error)]
pub enum EnrolmentRefused {
    #[error("this home does not enrol citizens")]
    NotOffered,
    #[error("{0}")]
    Busy(identity::proofing::ChallengeError),
    #[error("{0}")]
    Enrolment(identity::EnrolmentError),
    #[error("the number could not be computed: {0}")]
    Number(NumberError),
    #[error("{0}")]
    Issuing(issuing::IssuingError),
    #[error("{0}")]
    Signed(trust::SignedError),
    #[error("the ID certificate is not one that this home issued and holds valid")]
    NotOurs,
    #[error("the ID key was ended: the phone has to be enrolled anew, with the card")]
    Ended,
    #[error("no ID key of yours at this home has this hash")]
    UnknownPhone,
    #[error("an ID key is not ended by itself: sign with another phone's")]
    EndsItself,
    #[error("a phone of who acts for a citizen ends none of the citizen's own")]
    NotTheirs,
    #[error("the request's time differs from ours by more than 5 minutes")]
    OutOfTime,
    #[error("no member of the network offers this service")]
    UnknownService,
    #[error("{0}")]
    Key(String),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// What the home keeps of an enrolment beside the sealed evidence: no attribute, no number, no `y`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrolledKey {
    pub certificate: Bytes,
    pub proofed_at: Timestamp,
    /// Whether somebody else holds the phone for the citizen. Rows from before there was such do not
    /// say it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub represented: bool,
}

impl Home {
    pub(super) fn desk(&self) -> Result<&Arc<Desk>, EnrolmentRefused> {
        self.desk.as_ref().ok_or(EnrolmentRefused::NotOffered)
    }

    pub fn challenge(&self) -> Result<Challenge, EnrolmentRefused> {
        let nonce = Nonce(self.context.entropy.array());
        let now = self.context.now().wall;
        self.desk()?.registrar().open_challenge(nonce, now).map_err(EnrolmentRefused::Busy)
    }

    /// Opens a challenge for the phone of who acts for the citizen whose card answers it: proofing
    /// begins no key of that phone, the officer does.
    pub(super) fn challenge_for_another(&self) -> Result<Challenge, EnrolmentRefused> {
        let challenge = self.challenge()?;
        let now = self.context.now().wall;
        let mut represented = self.desk()?.represented();
        // The registrar bounds how many challenges are open.
        represented.retain(|_, expires| now < *expires);
        represented.insert(challenge.nonce, challenge.expires);
        Ok(challenge)
    }

    /// Checks card and challenge, computes the number and issues the ID certificate.
    pub async fn enrol(&self, enrolment: Vec<u8>) -> Result<EnrolmentReply, EnrolmentRefused> {
        self.context.live_trust()?;
        let desk = Arc::clone(self.desk()?);
        let context = Arc::clone(&self.context);
        // Cards, blinding and the CA's signature take milliseconds: not on the network's threads.
        let issued = tokio::task::spawn_blocking(move || {
            let seeds = [context.entropy.array(), context.entropy.array()];
            let (serial, now) = (context.entropy.array(), context.now().wall);
            let citizen = check(&desk, &enrolment, now)?;
            let y = desk.compute(&citizen, seeds)?;
            let certificate = issuing::issue_id_certificate(
                &desk.ca(),
                &y.number(),
                citizen.id_key(),
                serial,
                validity(now, ID_VALIDITY_MS),
                &Pointers { crl: None, ocsp: None },
            )
            .map_err(EnrolmentRefused::Issuing)?;
            let key = citizen.id_key().key_hash();
            let evidence = desk.seal(&key.0, citizen.enrolment().bytes())?;
            let challenge = &citizen.enrolment().message().challenge;
            // Whoever holds a child's card is not the child.
            let represented = desk.represented().remove(&challenge.nonce).is_some()
                || now < citizen.attributes().birth_date.turns(SIGNS_FROM_AGE);
            Ok::<_, EnrolmentRefused>((certificate, key, evidence, y, represented))
        });
        let (certificate, key, evidence, y, represented) =
            match issued.await.map_err(|_| Fault::Failed)? {
                Ok(issued) => issued,
                Err(refused) => return self.refuse_enrolment(refused).await,
            };
        let row = EnrolledKey {
            certificate: Bytes(certificate.clone()),
            proofed_at: self.context.now().wall,
            represented,
        };
        let issuer = self.desk()?.ca_certificate.clone();
        let number = y.number().to_string();
        let committed = self.context.commit(move |tx| {
            let now = tx.wall();
            tx.write(Column::Citizens, key.0, &row);
            phones::note_enrolled(tx, &number, key);
            tx.write(Column::Proofing, key.0, &evidence);
            let kind = CertificateKind::Id;
            tx.log(&evidence_log::certificate_issued(kind, &row.certificate, &issuer, now));
            status::note_issued(tx, &row.certificate);
            Ok::<_, std::convert::Infallible>(())
        });
        match committed.await? {
            Ok(()) => {}
        }
        self.context.metrics.certificates_issued.inc();
        let chain = self.desk()?.chain(certificate);
        Ok(EnrolmentReply { chain, y: Bytes(y.as_bytes().to_vec()) })
    }

    /// Certifies a key for the citizen's service id at a service; begins it in the pair's channel if
    /// proofing is fresh.
    pub async fn certify_service_key(
        &self,
        request: Attested,
    ) -> Result<ServiceKeyReply, EnrolmentRefused> {
        let trust = self.context.live_trust()?;
        let desk = Arc::clone(self.desk()?);
        let desk_fresh_ms = desk.fresh_proofing_ms;
        let now = self.context.now().wall;
        let (request, id) =
            trust::verify_signed::<ServiceKeyRequest>(&request, CertificateKind::Id, &trust, now)
                .map_err(EnrolmentRefused::Signed)?;
        let id_key = id.key();
        let enrolled = phones::check_stands(&*self.context.committer.read(), &id_key)?;
        self.check_service(&request.message().service).await?;
        let context = Arc::clone(&self.context);
        let network = *trust.network();
        let issued = tokio::task::spawn_blocking(move || {
            let checked = issuing::check_service_key(&request, &id, &network, now)?;
            let serial = context.entropy.array();
            let validity = validity(now, SERVICE_VALIDITY_MS);
            let pointers = Pointers { crl: None, ocsp: None };
            issuing::issue_checked_service_certificate(
                &desk.ca(),
                &checked,
                serial,
                validity,
                &pointers,
            )
            .map(|issued| (issued.certificate, checked))
        });
        let (certificate, checked) =
            match issued.await.map_err(|_| Fault::Failed)?.map_err(EnrolmentRefused::Issuing) {
                Ok(issued) => issued,
                Err(refused) => return self.refuse_enrolment(refused).await,
            };
        let (pair, key) = (checked.pair().clone(), *checked.key());
        self.keep_service_key(&certificate, &pair, &key, id_key).await?;
        let chain = self.desk()?.chain(certificate);
        let fresh = !enrolled.represented && now.ms_since(enrolled.proofed_at) < desk_fresh_ms;
        let begun = match fresh {
            true => self.begin_fresh_key(&pair, &key, &chain, id_key).await?,
            false => self.stands(&pair, &key.key_hash())?,
        };
        Ok(ServiceKeyReply { subject: pair.subject, chain, begun })
    }

    /// Attests that the citizen's ids at two services are one person's.
    pub async fn attest_link(&self, request: Attested) -> Result<Attested, EnrolmentRefused> {
        let trust = self.context.live_trust()?;
        self.desk()?;
        let now = self.context.now().wall;
        let (request, id) =
            trust::verify_signed::<LinkRequest>(&request, CertificateKind::Id, &trust, now)
                .map_err(EnrolmentRefused::Signed)?;
        phones::check_stands(&*self.context.committer.read(), &id.key())?;
        self.check_service(&request.message().source).await?;
        self.check_service(&request.message().recipient).await?;
        match issuing::attest_link(&request, &id, now) {
            Ok(link) => Ok(self.context.attest(link).await?),
            Err(error) => self.refuse_enrolment(EnrolmentRefused::Issuing(error)).await,
        }
    }

    /// Certificates, and the channels that follow from them, are for services that exist.
    async fn check_service(&self, service: &wire::ServiceName) -> Result<(), EnrolmentRefused> {
        let network = self.context.network()?;
        match network.member(&service.organisation()).await {
            Ok(member) if member.owns(service) => Ok(()),
            Ok(_) | Err(NetError::UnknownOrganisation) => Err(EnrolmentRefused::UnknownService),
            Err(error) => Err(Fault::from(error).into()),
        }
    }

    async fn keep_service_key(
        &self,
        certificate: &[u8],
        pair: &wire::ids::Pair,
        key: &PublicKey,
        id_key: KeyHash,
    ) -> Result<(), EnrolmentRefused> {
        let row = Bytes(certificate.to_vec());
        let issuer = self.desk()?.ca_certificate.clone();
        let at = phones::key_phone(pair, &key.key_hash());
        let phone = self.desk()?.seal(&at, &id_key.0)?;
        let committed = self.context.commit(move |tx| {
            // It may have been ended while the certificate was being made: then none leaves.
            phones::check_stands(tx, &id_key)?;
            let now = tx.wall();
            let kind = CertificateKind::Service;
            tx.log(&evidence_log::certificate_issued(kind, &row, &issuer, now));
            tx.write(Column::KeyPhones, at.clone(), &phone);
            tx.write(Column::ServiceKeys, at, &row);
            status::note_issued(tx, &row);
            Ok::<_, EnrolmentRefused>(())
        });
        committed.await??;
        self.context.metrics.certificates_issued.inc();
        Ok(())
    }

    /// Begins a key on the word of a phone whose proofing is fresh. Says whether it stands after that:
    /// not where the pair's keys belong to another home, where the key was ended, or where the citizen
    /// ended a key of this phone since.
    async fn begin_fresh_key(
        &self,
        pair: &wire::ids::Pair,
        key: &PublicKey,
        chain: &[Bytes],
        id_key: KeyHash,
    ) -> Result<bool, EnrolmentRefused> {
        let trust = self.context.live_trust()?;
        let now = self.context.now().wall;
        let verified = trust::verify_chain(chain, CertificateKind::Service, &trust, now)
            .map_err(|error| EnrolmentRefused::Key(error.to_string()))?;
        debug_assert_eq!(verified.public_key(), key);
        let begin = KeyBegin {
            nonce: Nonce(self.context.entropy.array()),
            pair: pair.clone(),
            basis: ExpressedBy::Oneself,
            authority: None,
            chain: chain.to_vec(),
            until: verified.not_after(),
            time: now,
        };
        match self.begin_key(begin, &key.key_hash(), id_key).await {
            Ok(()) => self.stands(pair, &key.key_hash()),
            Err(SubmissionError::Fault(fault)) => Err(fault.into()),
            Err(refused) => {
                tracing::info!(source = %pair.source, %refused, "a key was not begun");
                Ok(false)
            }
        }
    }

    /// Whether a key stands for its pair at this home.
    fn stands(&self, pair: &wire::ids::Pair, key: &KeyHash) -> Result<bool, EnrolmentRefused> {
        let state = self.pair_state(&self.channel(pair), &pair.subject)?;
        Ok(state.standing_basis(key, self.context.now().wall).is_some())
    }

    async fn refuse_enrolment<T>(&self, refused: EnrolmentRefused) -> Result<T, EnrolmentRefused> {
        // What cannot be read is nobody's attempt, and costs no write.
        let unread = matches!(
            refused,
            EnrolmentRefused::Fault(_)
                | EnrolmentRefused::Enrolment(identity::EnrolmentError::Envelope(_))
        );
        if !unread {
            tracing::info!(reason = %refused, "an enrolment was refused");
            let now = self.context.now().wall;
            let nobody = wire::Hash([0; 32]);
            let what = wire::MessageType::Enrolment;
            let record = evidence_log::attempt_refused(what, nobody, &refused.to_string(), now);
            self.context.log_attempt(record).await?;
        }
        Err(refused)
    }
}

impl Desk {
    /// For [`Column::KeyPhones`]: whose phone it was, opened again only when a key ends.
    pub(super) fn open_phone(&self, place: &[u8], sealed: &[u8]) -> Option<KeyHash> {
        let opened = self.sealing.open(place, sealed).ok()?;
        Some(KeyHash(opened[..].try_into().ok()?))
    }

    fn compute(
        &self,
        citizen: &ProofedCitizen,
        seeds: [[u8; 32]; 2],
    ) -> Result<Y, EnrolmentRefused> {
        let (query, blinded) = BlindedQuery::new(citizen.identity().clone(), seeds[0])
            .map_err(EnrolmentRefused::Number)?;
        let evaluation = self
            .number_function
            .evaluate(&blinded.0, seeds[1])
            .map_err(EnrolmentRefused::Number)?;
        query.finalize(&evaluation, &self.number_public_key).map_err(EnrolmentRefused::Number)
    }
}

fn check(
    desk: &Desk,
    enrolment: &[u8],
    now: Timestamp,
) -> Result<ProofedCitizen, EnrolmentRefused> {
    let waiting = desk
        .registrar()
        .check_all_but_status(enrolment, &desk.roots, now)
        .map_err(EnrolmentRefused::Enrolment)?;
    // No list, an unreadable one or a stale one: all are a refusal.
    let list = std::fs::read(&desk.crl_file).ok();
    let status = match &list {
        Some(der) => CardStatus::List { der, max_age_ms: desk.crl_max_age_ms },
        None => CardStatus::NoAnswer,
    };
    waiting.complete(status, now).map_err(EnrolmentRefused::Enrolment)
}

fn validity(now: Timestamp, length_ms: u64) -> Validity {
    // Certificates know whole seconds.
    let not_before = Timestamp::from_secs(now.as_secs()).0.saturating_sub(BACKDATE_MS);
    let not_before = Timestamp(not_before);
    Validity { not_before, not_after: not_before.plus_ms(length_ms) }
}
