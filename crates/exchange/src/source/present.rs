//! 対面同意: a permit signed at the counter for one request, the only release without a lease. It
//! counts if a begun key of the pair signed it, it is good once and for this very request, the
//! certificate's status is fresh, and it names every covering deny that the source holds.

use consent::{
    AdmissionError, AdmittedDecision, PairState, admission::ReadDecision, pair::StandingPermit,
};
use trust::Trust;
use wire::{
    DecisionId, NetworkId, Pair, ServiceId, Timestamp,
    consent::{Permit, Uses},
};

use crate::request::Authentic;

/// How old the status of the signing certificate may be.
pub const STATUS_AGE_MS: u64 = 600_000;

#[derive(Debug, Clone, thiserror::Error)]
pub enum PresentConsentError {
    #[error("the request carries none")]
    None,
    #[error("present-consent: {0}")]
    Admission(#[from] AdmissionError),
    #[error("it is not a permit, good once, for this request at this source")]
    OtherRequest,
}

/// A present-consent that was admitted for one request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PresentConsent {
    decision: AdmittedDecision,
    standing: StandingPermit,
    request: wire::Hash,
    status: Timestamp,
}

/// The pair that a request's present-consent claims to be about: only to look up its state.
pub fn claimed_pair(request: &Authentic, network: &NetworkId) -> Result<Pair, PresentConsentError> {
    Ok(read(request, network)?.claimed_pair().clone())
}

impl PresentConsent {
    /// Checks the permit that a request carries. `pair` is the state of [`claimed_pair`]; `status`
    /// is when the CA last said that the signing certificate is good.
    pub fn admit(
        request: &Authentic,
        pair: &PairState,
        trust: &Trust,
        status: Timestamp,
        at: Timestamp,
    ) -> Result<Self, PresentConsentError> {
        let decision = read(request, trust.network())?.admit(pair, trust, at)?;
        let Some(permit) = decision.permit() else {
            return Err(PresentConsentError::OtherRequest);
        };
        let asked = request.request();
        let fits = permit.request == Some(asked.consent_hash())
            && permit.uses == Uses::Once
            && decision.decision().pair.source == asked.source;
        if !fits {
            return Err(PresentConsentError::OtherRequest);
        }
        let standing = standing(&decision, permit);
        Ok(Self { standing, decision, request: request.id(), status })
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

    pub(super) fn standing(&self) -> &StandingPermit {
        &self.standing
    }

    pub(super) fn is_for(&self, request: &Authentic) -> bool {
        self.request == request.id()
    }

    pub(super) fn is_fresh(&self, at: Timestamp) -> bool {
        at.ms_since(self.status) <= STATUS_AGE_MS
    }

    /// The pair with this permit in it, and, if it has to do alone, no other.
    pub(super) fn joined(&self, pair: &PairState, alone: bool) -> PairState {
        let mut pair = pair.clone();
        if alone {
            pair.permits.clear();
        }
        pair.permits.insert(self.id(), self.standing.clone());
        pair
    }
}

fn read(request: &Authentic, network: &NetworkId) -> Result<ReadDecision, PresentConsentError> {
    let submission = request.request().present_consent.as_ref().ok_or(PresentConsentError::None)?;
    Ok(ReadDecision::read(submission, network)?)
}

fn standing(decision: &AdmittedDecision, permit: &Permit) -> StandingPermit {
    StandingPermit {
        key: decision.key(),
        expressed_by: decision.decision().expressed_by,
        scope: decision.decision().scope.clone(),
        permit: permit.clone(),
    }
}
