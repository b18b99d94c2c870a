//! From signed bytes to something the rules may look at. What was not admitted cannot be applied:
//! the admitted types can only be had from here.
//!
//! Saying no is always safe, so a deny needs less than a permit: any key ever certified for the
//! pair, even if its certificate has run out or was revoked since (invariant S4).

mod moves;

use trust::{CertificateKind, ChainError, LeafSubject, SignedError, Trust, VerifiedChain};
use wire::{
    DecisionId, EnvelopeError, Hash, KeyHash, NetworkId, OrganisationId, Signed, Timestamp, cbor,
    channel::ChannelId,
    consent::{
        Attested, Authority, Collapse, Decision, DocumentKind, ExpressedBy, KeyBegin, KeyEnd, Link,
        Permit, Recipient, Uses, Verdict,
    },
    ids::Pair,
    limits,
    membership::CaPurpose,
};

pub use moves::AdmittedMove;

use crate::{
    guard::Guard,
    pair::{PairKey, PairState},
    scope,
    vocabulary::Vocabulary,
};

#[derive(Debug, Clone, thiserror::Error)]
pub enum AdmissionError {
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    #[error("the signer's certificate chain does not hold: {0}")]
    Chain(ChainError),
    #[error("the certificate is for another service id than the signed object names")]
    OtherCitizen,
    #[error("it is for another source service than this one")]
    OtherSource,
    #[error("{0}")]
    Form(&'static str),
    #[error("link attestation: {0}")]
    Link(Box<AdmissionError>),
    #[error("the link attestation joins other service ids than the permit names")]
    ForeignLink,
    #[error("the link attestation's signer may not issue citizens' certificates")]
    LinkSigner,
    #[error("signed by nobody who may say this of the pair")]
    NotEntitled,
    /// A move that is not the pair's next one here, or not yet. It has no effect.
    #[error("{0}")]
    OutOfTurn(&'static str),
}

impl From<SignedError> for AdmissionError {
    fn from(error: SignedError) -> Self {
        match error {
            SignedError::Envelope(error) => Self::Envelope(error),
            SignedError::Chain(error) => Self::Chain(error),
        }
    }
}

/// A decision rightly signed by a key certified for its pair, in its one form, a permit's link
/// checked. Whether its key was begun is not asked here: that belongs to the set.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdmittedDecision {
    decision: Decision,
    id: DecisionId,
    key: KeyHash,
    submission: Attested,
}

impl AdmittedDecision {
    pub fn decision(&self) -> &Decision {
        &self.decision
    }

    pub fn id(&self) -> DecisionId {
        self.id
    }

    pub fn key(&self) -> KeyHash {
        self.key
    }

    /// The signed bytes and chain it came as: the body of its channel entry. A deny by a key that the
    /// pair knows goes on without a chain that does not hold: that key verifies it.
    pub fn submission(&self) -> &Attested {
        &self.submission
    }

    pub fn is_deny(&self) -> bool {
        self.decision.verdict == Verdict::Deny
    }

    pub fn permit(&self) -> Option<&Permit> {
        match &self.decision.verdict {
            Verdict::Permit(permit) => Some(permit),
            Verdict::Deny => None,
        }
    }
}

/// A decision that was read but not checked: only to look up the pair it claims.
pub struct ReadDecision {
    signed: Signed<Decision>,
    submission: Attested,
}

impl ReadDecision {
    pub fn read(submission: &Attested, network: &NetworkId) -> Result<Self, AdmissionError> {
        let signed = Signed::decode(&submission.object, network)?;
        Ok(Self { signed, submission: submission.clone() })
    }

    pub fn claimed_pair(&self) -> &Pair {
        &self.signed.unverified().pair
    }

    /// The id it will have if its signature holds.
    pub fn id(&self) -> DecisionId {
        self.signed.id().into()
    }

    /// Checks everything but the standing of the key. `pair` is the state of [`Self::claimed_pair`].
    pub fn admit(
        self,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<AdmittedDecision, AdmissionError> {
        let Self { signed, mut submission } = self;
        check_form(signed.unverified())?;
        let is_deny = signed.unverified().verdict == Verdict::Deny;
        let known = pair.keys.get(&signed.key());
        let verified = match known {
            // A key of the pair may always say no, whatever became of its certificate.
            Some(_)
                if is_deny
                    && pair.ended.contains_key(&signed.key())
                    && !Guard::AnyKeyMayDeny.holds() =>
            {
                return Err(AdmissionError::NotEntitled);
            }
            Some(key) if is_deny => {
                // Its chain goes on only if it is one: whoever holds a lost phone's key must not fill
                // the pair's register with what nobody reads. A source to which the key's begin is
                // still to come reads it.
                if verify_denier_chain(&submission, trust, at).is_err() {
                    submission.chain = Vec::new();
                }
                signed.verify(&key.public_key)?
            }
            _ => {
                let chain = if is_deny {
                    verify_denier_chain(&submission, trust, at)?
                } else {
                    verify_citizen_chain(&submission, trust, at)?
                };
                check_citizen(&chain, &signed.unverified().pair)?;
                signed.verify(chain.public_key())?
            }
        };
        if let Verdict::Permit(permit) = &verified.message().verdict {
            check_link(
                &verified.message().pair,
                &verified.message().scope.recipient,
                permit,
                trust,
                at,
            )?;
        }
        Ok(AdmittedDecision {
            id: verified.id().into(),
            key: verified.key(),
            decision: verified.into_message(),
            submission,
        })
    }
}

fn verify_citizen_chain(
    submission: &Attested,
    trust: &Trust,
    at: Timestamp,
) -> Result<VerifiedChain, AdmissionError> {
    trust::verify_chain(&submission.chain, CertificateKind::Service, trust, at)
        .map_err(AdmissionError::Chain)
}

/// A deny counts by any key ever certified for the pair: its certificate is judged within its own time,
/// whatever the phone's clock says of when it signed.
fn verify_denier_chain(
    submission: &Attested,
    trust: &Trust,
    at: Timestamp,
) -> Result<VerifiedChain, AdmissionError> {
    let held = submission.chain.first().and_then(|leaf| trust::claimed_validity(leaf));
    let at = held.map_or(at, |(from, until)| at.min(until).max(from));
    trust::verify_chain_though_revoked(&submission.chain, CertificateKind::Service, trust, at)
        .map_err(AdmissionError::Chain)
}

/// What tells one signed change of a pair's keys from another: the hash of what was signed, never of the
/// signature, within one network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectId {
    network: NetworkId,
    id: Hash,
}

impl ObjectId {
    fn new<M: wire::Message>(signed: &Signed<M>, network: &NetworkId) -> Self {
        Self { network: *network, id: signed.id() }
    }

    /// Whether the body of an entry holds this very object.
    pub(crate) fn is_of(&self, body: &[u8]) -> bool {
        let Ok(body) = cbor::from_slice::<Attested>(body) else { return false };
        let begin = Signed::<KeyBegin>::decode(&body.object, &self.network).map(|s| s.id());
        let end = || Signed::<KeyEnd>::decode(&body.object, &self.network).map(|s| s.id());
        begin.or_else(|_| end()).is_ok_and(|id| id == self.id)
    }
}

/// A key-begin approved by one who may, for a key certified for the pair.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdmittedKeyBegin {
    id: ObjectId,
    begin: KeyBegin,
    home: OrganisationId,
    public_key: wire::PublicKey,
    submission: Attested,
}

impl AdmittedKeyBegin {
    /// Checks a key-begin that belongs into `channel`. `pair` is the state of the pair it names.
    pub fn admit(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Signed::<KeyBegin>::decode(&submission.object, trust.network())?;
        let begin = signed.unverified();
        if begin.pair.source != channel.source {
            return Err(AdmissionError::OtherSource);
        }
        let chain = trust::verify_chain(&begin.chain, CertificateKind::Service, trust, at)
            .map_err(AdmissionError::Chain)?;
        check_citizen(&chain, &begin.pair)?;
        if begin.until > chain.not_after() {
            return Err(AdmissionError::Form("a key may not stand longer than its certificate"));
        }
        let public_key = *chain.public_key();
        let id = ObjectId::new(&signed, trust.network());
        let (begin, approver) = approve(signed, submission, channel, pair, trust, at)?;
        check_basis(&begin, approver)?;
        let (home, submission) = (channel.home.clone(), submission.clone());
        Ok(Self { id, begin, home, public_key, submission })
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    pub fn begin(&self) -> &KeyBegin {
        &self.begin
    }

    /// The hash of the key that begins.
    pub fn key(&self) -> KeyHash {
        self.public_key.key_hash()
    }

    pub fn home(&self) -> &OrganisationId {
        &self.home
    }

    pub fn submission(&self) -> &Attested {
        &self.submission
    }

    pub fn pair_key(&self) -> PairKey {
        PairKey { public_key: self.public_key, basis: self.begin.basis, until: self.begin.until }
    }
}

/// A key-end signed by another standing key of the pair, or by the pair's home.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AdmittedKeyEnd {
    id: ObjectId,
    end: KeyEnd,
    submission: Attested,
}

impl AdmittedKeyEnd {
    pub fn admit(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Signed::<KeyEnd>::decode(&submission.object, trust.network())?;
        if signed.unverified().pair.source != channel.source {
            return Err(AdmissionError::OtherSource);
        }
        let keeps = &signed.unverified().keeps;
        if keeps.windows(2).any(|two| two[0] >= two[1]) {
            return Err(AdmissionError::Form("kept permits must be sorted, each once"));
        }
        let ended = signed.unverified().key;
        if signed.key() == ended {
            return Err(AdmissionError::NotEntitled);
        }
        let id = ObjectId::new(&signed, trust.network());
        let (end, approver) = approve(signed, submission, channel, pair, trust, at)?;
        let ended_basis = pair.keys.get(&ended).map(|key| key.basis);
        match approver {
            Approver::Home | Approver::Key(ExpressedBy::Oneself) => {}
            // Who acts for the citizen ends only others who act so, never the citizen's own keys.
            Approver::Key(basis) if ended_basis == Some(basis) => {}
            Approver::Key(_) => return Err(AdmissionError::NotEntitled),
        }
        Ok(Self { id, end, submission: submission.clone() })
    }

    pub fn id(&self) -> ObjectId {
        self.id
    }

    pub fn end(&self) -> &KeyEnd {
        &self.end
    }

    pub fn submission(&self) -> &Attested {
        &self.submission
    }
}

/// Who stands behind a change of the pair's keys or home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Approver {
    /// A standing key, by its basis.
    Key(ExpressedBy),
    /// The home, by its organisation key, after fresh proofing.
    Home,
}

/// Checks that a standing key of the pair or the pair's home signed, in the home's channel.
fn approve<M: wire::Message>(
    signed: Signed<M>,
    submission: &Attested,
    channel: &ChannelId,
    pair: &PairState,
    trust: &Trust,
    at: Timestamp,
) -> Result<(M, Approver), AdmissionError> {
    if pair.home.is_some() && !pair.is_home(&channel.home) {
        return Err(AdmissionError::NotEntitled);
    }
    signed_by(signed, submission, &[&channel.home], pair, trust, at)
}

/// Checks that a standing key of the pair or one of these municipalities signed.
fn signed_by<M: wire::Message>(
    signed: Signed<M>,
    submission: &Attested,
    homes: &[&OrganisationId],
    pair: &PairState,
    trust: &Trust,
    at: Timestamp,
) -> Result<(M, Approver), AdmissionError> {
    let signer = signed.key();
    if let Some(key) = pair.keys.get(&signer) {
        let basis = pair.standing_basis(&signer, at).ok_or(AdmissionError::NotEntitled)?;
        return Ok((signed.verify(&key.public_key)?.into_message(), Approver::Key(basis)));
    }
    let chain = trust::verify_chain(&submission.chain, CertificateKind::Organisation, trust, at)
        .map_err(AdmissionError::Chain)?;
    let LeafSubject::Organisation { organisation, .. } = chain.subject() else {
        return Err(AdmissionError::NotEntitled);
    };
    if !homes.contains(&organisation) || !trust.is_municipality(organisation) {
        return Err(AdmissionError::NotEntitled);
    }
    Ok((signed.verify(chain.public_key())?.into_message(), Approver::Home))
}

/// Who may begin a key on which basis, and what has to show it.
fn check_basis(begin: &KeyBegin, approver: Approver) -> Result<(), AdmissionError> {
    use DocumentKind::{CourtOrder, FamilyRegister, GuardianshipRegister, PowerOfAttorney};
    use ExpressedBy::{Guardian, Oneself, Proxy};
    let document = begin.authority.map(|Authority { document, .. }| document);
    match (approver, begin.basis, document) {
        // Who acts for the citizen approves nobody, and only an officer makes a guardian.
        (Approver::Key(Guardian | Proxy), ..) | (Approver::Key(Oneself), Guardian, _) => {
            Err(AdmissionError::NotEntitled)
        }
        (_, Oneself, None)
        | (Approver::Home, Guardian, Some(FamilyRegister | GuardianshipRegister | CourtOrder))
        | (Approver::Home, Proxy, Some(PowerOfAttorney | GuardianshipRegister | CourtOrder))
        // The citizen's own signature is the power of attorney.
        | (Approver::Key(Oneself), Proxy, None) => Ok(()),
        _ => Err(AdmissionError::Form("the document does not fit the key's basis, or is missing")),
    }
}

/// A list of denies to be kept as one, by the pair's home.
#[derive(Debug, Clone)]
pub struct AdmittedCollapse {
    collapse: Collapse,
    submission: Attested,
}

impl AdmittedCollapse {
    pub fn admit(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Signed::<Collapse>::decode(&submission.object, trust.network())?;
        let Collapse { channel: named, denies, .. } = signed.unverified();
        if named != channel {
            return Err(AdmissionError::OtherSource);
        }
        if !(1..=limits::COLLAPSED).contains(&denies.len())
            || denies.windows(2).any(|two| two[0] >= two[1])
        {
            return Err(AdmissionError::Form("collapsed denies: 1 to 1024, sorted, each once"));
        }
        if !pair.is_home(&channel.home) {
            return Err(AdmissionError::NotEntitled);
        }
        match signed_by(signed, submission, &[&channel.home], pair, trust, at)? {
            (collapse, Approver::Home) => Ok(Self { collapse, submission: submission.clone() }),
            (_, Approver::Key(_)) => Err(AdmissionError::NotEntitled),
        }
    }

    pub fn collapse(&self) -> &Collapse {
        &self.collapse
    }

    pub fn submission(&self) -> &Attested {
        &self.submission
    }
}

fn check_citizen(chain: &VerifiedChain, pair: &Pair) -> Result<(), AdmissionError> {
    match chain.subject() {
        LeafSubject::Service { service, .. } if *service != pair.source => {
            Err(AdmissionError::OtherSource)
        }
        LeafSubject::Service { subject, .. } if *subject == pair.subject => Ok(()),
        _ => Err(AdmissionError::OtherCitizen),
    }
}

/// The link must join the pair and the recipient's id, signed by an organisation that the trust list
/// lets issue citizens' certificates.
fn check_link(
    pair: &Pair,
    recipient: &Recipient,
    permit: &Permit,
    trust: &Trust,
    at: Timestamp,
) -> Result<(), AdmissionError> {
    let (link, chain) =
        trust::verify_signed::<Link>(&permit.link, CertificateKind::Organisation, trust, at)
            .map_err(|error| AdmissionError::Link(Box::new(error.into())))?;
    let issues_citizens = match chain.subject() {
        LeafSubject::Organisation { organisation, .. } => {
            trust.authority(organisation, CaPurpose::Citizen).is_some()
        }
        _ => false,
    };
    if !issues_citizens {
        return Err(AdmissionError::LinkSigner);
    }
    let Recipient::Service(recipient) = recipient else {
        return Err(AdmissionError::Form("a permit names exactly one recipient service"));
    };
    let expected = Pair { source: recipient.clone(), subject: permit.recipient_subject };
    if link.message().source == *pair && link.message().recipient == expected {
        Ok(())
    } else {
        Err(AdmissionError::ForeignLink)
    }
}

/// What can be said of a decision without knowing anybody.
fn check_form(decision: &Decision) -> Result<(), AdmissionError> {
    let form = |fault| Err(AdmissionError::Form(fault));
    if !scope::is_well_formed(&decision.scope) {
        return form("items must be 1 to 64 personal item types, sorted, each once");
    }
    let Verdict::Permit(permit) = &decision.verdict else { return Ok(()) };
    if decision.scope.recipient == Recipient::Any {
        return form("a permit names exactly one recipient service");
    }
    if permit.valid_from >= permit.valid_until {
        return form("a permit must end after it begins");
    }
    if permit.reopens.len() > limits::REOPENS
        || permit.reopens.windows(2).any(|two| two[0] >= two[1])
    {
        return form("reopened denies must be at most 256, sorted, each once");
    }
    if let Uses::Per { count, period_ms } = permit.uses
        && (count == 0 || period_ms < 1000)
    {
        return form("uses per period need a count of at least 1 and a period of at least 1 s");
    }
    if permit.window.is_some_and(|window| window.from >= window.until) {
        return form("the window of the data must end after it begins");
    }
    if permit.notice.language.is_empty() || permit.notice.language.len() > 35 {
        return form("the notice names no language");
    }
    if Vocabulary::version(permit.vocabulary).is_none() {
        return form("the vocabulary version is not known here");
    }
    Ok(())
}
