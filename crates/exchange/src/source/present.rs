//! 対面同意: a permit signed at the counter for one request, the only release without a lease. It
//! counts if a begun key of the pair signed it, it is good once and for this very request, the CA
//! that certified the key said lately that the certificate is good, and it names every covering deny
//! that the source holds.

use consent::{
    AdmissionError, AdmittedDecision, PairState, admission::ReadDecision, guard::Guard,
    pair::StandingPermit,
};
use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    DecisionId, NetworkId, Pair, ServiceId, Timestamp,
    citizen::{CertificateStatus, Standing},
    consent::Uses,
    exchange,
    membership::CaPurpose,
};

use crate::{credential::CLOCK_SKEW_MS, request::Authentic};

/// How old the status of the signing certificate may be, unless the source is told otherwise.
pub const STATUS_AGE_MS: u64 = 600_000;
/// The most that a source may be told: a status says nothing of what came after it.
pub const LONGEST_STATUS_AGE_MS: u64 = 24 * 3_600_000;

#[derive(Debug, Clone, thiserror::Error)]
pub enum PresentConsentError {
    #[error("the request carries none")]
    None,
    #[error("present-consent: {0}")]
    Admission(#[from] AdmissionError),
    #[error("it is not a permit, good once, for this request at this source")]
    OtherRequest,
    #[error("the certificate's status does not hold: {0}")]
    Status(trust::SignedError),
    #[error("the status is of another certificate, or not by the CA's organisation")]
    OtherStatus,
    #[error("the certificate's status is too old, or from the future")]
    StaleStatus,
    #[error("the certificate is revoked")]
    Revoked,
}

impl PresentConsentError {
    /// The reason's code in the evidence log and in notices.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::None | Self::Admission(_) => "present-consent",
            Self::OtherRequest => "present-consent-for-other-request",
            Self::Status(_) | Self::OtherStatus => "certificate-status",
            Self::StaleStatus => "certificate-status-stale",
            Self::Revoked => "certificate-revoked",
        }
    }
}

/// A present-consent that was admitted for one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PresentConsent {
    decision: AdmittedDecision,
    standing: StandingPermit,
    request: wire::Hash,
    /// The time of the status, and how old it may be, in milliseconds.
    status: Timestamp,
    status_age_ms: u64,
}

/// The pair that a request's present-consent claims to be about: only to look up its state.
pub fn claimed_pair(request: &Authentic, network: &NetworkId) -> Result<Pair, PresentConsentError> {
    Ok(read(request, network)?.claimed_pair().clone())
}

impl PresentConsent {
    /// Checks the permit that a request carries and the status of its certificate. `pair` is the
    /// state of [`claimed_pair`]; the status may be `status_age_ms` old at most.
    pub fn admit(
        request: &Authentic,
        pair: &PairState,
        trust: &Trust,
        status_age_ms: u64,
        at: Timestamp,
    ) -> Result<Self, PresentConsentError> {
        let decision = read(request, trust.network())?.admit(pair, trust, at)?;
        let standing = StandingPermit::new(&decision).ok_or(PresentConsentError::OtherRequest)?;
        let permit = &standing.permit;
        let asked = request.request();
        let this = permit.request == Some(asked.consent_hash());
        let fits = (this || !Guard::PresentForOneRequest.holds())
            && permit.uses == Uses::Once
            && decision.decision().pair.source == asked.source;
        if !fits {
            return Err(PresentConsentError::OtherRequest);
        }
        let status = check_status(carried(request)?, trust, at)?;
        let present = Self { standing, decision, request: request.id(), status, status_age_ms };
        if !present.is_fresh(at) {
            return Err(PresentConsentError::StaleStatus);
        }
        Ok(present)
    }

    pub fn id(&self) -> DecisionId {
        self.decision.id()
    }

    pub fn subject(&self) -> ServiceId {
        self.decision.decision().pair.subject
    }

    pub fn decision(&self) -> &AdmittedDecision {
        &self.decision
    }

    /// When the CA said that the certificate is good.
    pub fn status(&self) -> Timestamp {
        self.status
    }

    pub(super) fn standing(&self) -> &StandingPermit {
        &self.standing
    }

    pub(super) fn is_for(&self, request: &Authentic) -> bool {
        self.request == request.id()
    }

    /// A status from the future (beyond what clocks differ) would be fresh for too long.
    pub(super) fn is_fresh(&self, at: Timestamp) -> bool {
        let is_old = at.ms_since(self.status) > self.status_age_ms;
        self.status <= at.plus_ms(CLOCK_SKEW_MS) && !(is_old && Guard::PresentStatusIsFresh.holds())
    }

    /// The pair with this permit in it, and, if it has to do alone, no other.
    pub(crate) fn joined(&self, pair: &PairState, alone: bool) -> PairState {
        let mut pair = pair.clone();
        if alone {
            pair.permits.clear();
        }
        if !Guard::PresentNamesDenies.holds() {
            (pair.denies, pair.folded) = Default::default();
        }
        pair.permits.insert(self.id(), self.standing.clone());
        pair
    }
}

fn carried(request: &Authentic) -> Result<&exchange::PresentConsent, PresentConsentError> {
    request.request().present_consent.as_ref().ok_or(PresentConsentError::None)
}

fn read(request: &Authentic, network: &NetworkId) -> Result<ReadDecision, PresentConsentError> {
    Ok(ReadDecision::read(&carried(request)?.permit, network)?)
}

/// When the organisation whose CA issued the permit's certificate said that it is good.
fn check_status(
    present: &exchange::PresentConsent,
    trust: &Trust,
    at: Timestamp,
) -> Result<Timestamp, PresentConsentError> {
    let certified = trust::verify_chain(&present.permit.chain, CertificateKind::Service, trust, at)
        .map_err(AdmissionError::Chain)?;
    let (status, signer) = trust::verify_signed::<CertificateStatus>(
        &present.status,
        CertificateKind::Organisation,
        trust,
        at,
    )
    .map_err(PresentConsentError::Status)?;
    let by_the_issuer = match signer.subject() {
        LeafSubject::Organisation { organisation, .. } => {
            organisation == certified.issuing_organisation()
                && trust.authority(organisation, CaPurpose::Citizen).is_some()
        }
        _ => false,
    };
    let status = status.message();
    if !by_the_issuer || status.certificate != certified.certificate_hash() {
        return Err(PresentConsentError::OtherStatus);
    }
    match status.standing {
        Standing::Good => Ok(status.time),
        Standing::Revoked => Err(PresentConsentError::Revoked),
    }
}
