//! The stages between a yes and the first byte that leaves.

use std::collections::{BTreeMap, BTreeSet};

use consent::{Permitted, Refused, UseCount, evaluate::use_after, guard::Guard};
use evidence::record::Release;
use wire::{
    Bytes, DecisionId, ItemType, Pair, ServiceId, SignError, SignatureBytes, Signer, Timestamp,
    exchange::{ExchangeReply, Rejection},
};

use super::{Decided, Declined, Previous, Released, View};
use crate::{
    credential::{
        Claims, IssueError, PRESENTATION_VALIDITY_MS, Presentation, Record, Terms,
        UnsignedPresentation,
    },
    request::Authentic,
};

/// Permitted; nothing fetched yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Allowed {
    request: Authentic,
    subject: ServiceId,
    permitted: Permitted,
    terms: BTreeMap<DecisionId, Terms>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    #[error(transparent)]
    Declined(#[from] Declined),
    #[error("a record of an item that was not permitted")]
    ForeignRecord,
    #[error("the presentation could not be made: {0}")]
    Issue(IssueError),
}

impl PrepareError {
    /// As [`Declined::reply`]; anything else is a fault of this source.
    pub fn reply(&self) -> ExchangeReply {
        match self {
            Self::Declined(declined) => declined.reply(),
            Self::ForeignRecord | Self::Issue(_) => ExchangeReply::Rejected(Rejection::Unavailable),
        }
    }
}

impl Allowed {
    pub(super) fn new(
        request: Authentic,
        subject: ServiceId,
        permitted: Permitted,
        terms: BTreeMap<DecisionId, Terms>,
    ) -> Self {
        Self { request, subject, permitted, terms }
    }

    pub fn request(&self) -> &Authentic {
        &self.request
    }

    /// The citizen's service id at the source: whose records to fetch.
    pub fn subject(&self) -> &ServiceId {
        &self.subject
    }

    /// The leaves to fetch, each with the permit it passes on.
    pub fn leaves(&self) -> &[(ItemType, DecisionId)] {
        self.permitted.leaves()
    }

    /// Builds the presentation from the records found. Leaves without a record are left out, and so
    /// are those whose record lies outside of their permit's window; if the request says all or
    /// nothing, one missing record is no data.
    ///
    /// `chain` is the source service's credential chain, leaf first, anchor left out; `seed` are 32
    /// fresh random bytes.
    pub fn prepare(
        self,
        mut records: BTreeMap<ItemType, Record>,
        chain: &[Bytes],
        seed: [u8; 32],
        at: Timestamp,
    ) -> Result<Unsigned, PrepareError> {
        if records.keys().any(|item| !self.leaves().iter().any(|(leaf, _)| leaf == item)) {
            return Err(PrepareError::ForeignRecord);
        }
        let terms = |permit: &DecisionId| self.terms.get(permit).copied();
        let shown = |(item, permit): &&(ItemType, DecisionId)| {
            let record = records.get(item);
            record.zip(terms(permit)).is_some_and(|(record, terms)| terms.covers(record))
        };
        let leaves: Vec<_> = self.leaves().iter().filter(shown).cloned().collect();
        records.retain(|item, _| leaves.iter().any(|(leaf, _)| leaf == item));
        let request = self.request.request();
        let some_missing = leaves.len() < self.leaves().len();
        if leaves.is_empty() || (request.whole && some_missing) {
            return Err(Declined::Refused(Refused::NoData).into());
        }
        let claims = Claims {
            source: request.source.clone(),
            recipient: request.recipient.clone(),
            subject: request.subject,
            request: self.request.id(),
            nonce: request.nonce,
            purpose: request.purpose.clone(),
            decisions: (permits(&leaves).into_iter())
                .filter_map(|id| Some((id, terms(&id)?)))
                .collect(),
            issued: at,
            expires: at.plus_ms(PRESENTATION_VALIDITY_MS),
            items: records,
        };
        let presentation =
            UnsignedPresentation::new(&claims, chain, seed).map_err(PrepareError::Issue)?;
        Ok(Unsigned { request: self.request, subject: self.subject, leaves, presentation })
    }
}

/// A presentation of the permitted items, waiting for the credential key's signature.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Unsigned {
    request: Authentic,
    subject: ServiceId,
    leaves: Vec<(ItemType, DecisionId)>,
    presentation: UnsignedPresentation,
}

impl Unsigned {
    /// The bytes to sign with ES256.
    pub fn signing_input(&self) -> &[u8] {
        self.presentation.signing_input()
    }

    pub fn finish(self, signature: SignatureBytes) -> Prepared {
        let Self { request, subject, leaves, presentation } = self;
        Prepared { request, subject, leaves, presentation: presentation.finish(signature) }
    }

    pub fn sign(self, signer: &dyn Signer) -> Result<Prepared, SignError> {
        let signature = signer.sign(self.signing_input())?;
        Ok(self.finish(signature))
    }
}

/// A signed presentation that nobody may see yet.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Prepared {
    request: Authentic,
    subject: ServiceId,
    leaves: Vec<(ItemType, DecisionId)>,
    presentation: Presentation,
}

impl Prepared {
    #[cfg(test)]
    pub(super) fn commit_bytes(self) -> Vec<u8> {
        self.presentation.into_bytes()
    }

    pub fn request(&self) -> &Authentic {
        &self.request
    }

    /// Evaluates again, inside the durable write. `view` is read under the lock that also applies
    /// channel entries and direct denies, and the caller makes [`Committed::write`] durable before
    /// it lets go of it.
    ///
    /// If the same request was released in the meantime, that release stands and its bytes are sent.
    pub fn commit(self, view: &View<'_>) -> Result<Committed, Declined> {
        if view.previous.is_some() {
            return Resend::new(self.request).commit(view);
        }
        self.request.check_previous(view)?;
        let decided = self.request.decide(view)?;
        if decided.subject != self.subject {
            return Err(Declined::Changed);
        }
        for (item, permit) in &self.leaves {
            match decided.permitted.leaves().iter().find(|(leaf, _)| leaf == item) {
                Some((_, now)) if now == permit => {}
                Some(_) => return Err(Declined::Changed),
                // Other items still pass; why this one does not is what the log must say.
                None => {
                    self.request.decide_items(view, std::slice::from_ref(item), true)?;
                    return Err(Declined::Changed);
                }
            }
        }
        let uses = spend(&self.leaves, view);
        let bytes = self.presentation.into_bytes();
        let release = release(&self.request, &decided, &self.leaves, &bytes);
        let (on_lease, is_counted) = (release.lease.is_some(), !uses.is_empty());
        let released = Released { release, leaves: self.leaves, time: view.at };
        let uses = Some(uses);
        Ok(Committed { request: self.request, bytes, on_lease, is_counted, released, uses })
    }
}

/// Permitted again, on the permits that the stored presentation cites.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Resend {
    request: Authentic,
}

impl Resend {
    pub(super) fn new(request: Authentic) -> Self {
        Self { request }
    }

    pub fn request(&self) -> &Authentic {
        &self.request
    }

    /// As [`Prepared::commit`]; there is nothing to write.
    pub fn commit(self, view: &View<'_>) -> Result<Committed, Declined> {
        self.request.check_previous(view)?;
        // The release to be repeated is gone: nothing may be made up in its place.
        let previous = view.previous.ok_or(Declined::Damaged)?;
        let decided = self.request.decide(view)?;
        let bytes = previous.presentation.to_vec();
        Ok(Committed {
            request: self.request,
            bytes,
            on_lease: decided.lease.is_some(),
            is_counted: !spend(&previous.released.leaves, view).is_empty(),
            released: previous.released.clone(),
            uses: None,
        })
    }
}

fn permits(leaves: &[(ItemType, DecisionId)]) -> BTreeSet<DecisionId> {
    leaves.iter().map(|(_, permit)| *permit).collect()
}

fn release(
    request: &Authentic,
    decided: &Decided,
    leaves: &[(ItemType, DecisionId)],
    presentation: &[u8],
) -> Release {
    let Decided { subject, channel, applied, lease, .. } = decided;
    let asked = request.request();
    Release {
        request: Bytes(request.bytes().to_vec()),
        request_id: request.id(),
        request_nonce: asked.id,
        permits: permits(leaves).into_iter().collect(),
        items: leaves.iter().map(|(item, _)| item.clone()).collect(),
        presentation: wire::sha256(presentation),
        pair: Pair { source: asked.source.clone(), subject: *subject },
        recipient: asked.recipient.clone(),
        channel: channel.clone(),
        position: applied.position,
        map: applied.map,
        lease: *lease,
    }
}

/// The counters after this release; a permit is spent once, however many items pass on it.
fn spend(leaves: &[(ItemType, DecisionId)], view: &View<'_>) -> Vec<(DecisionId, UseCount)> {
    permits(leaves)
        .into_iter()
        .filter_map(|id| {
            let standing = match view.present.filter(|present| present.id() == id) {
                Some(present) => present.standing(),
                None => view.pair?.state.permits.get(&id)?,
            };
            Some((id, use_after(standing, view.uses.uses(&id), view.at)?))
        })
        .collect()
}

/// Evaluated inside the durable write. The bytes come out only through [`Committed::send`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Committed {
    request: Authentic,
    bytes: Vec<u8>,
    on_lease: bool,
    /// Whether it passes on a permit whose uses are counted.
    is_counted: bool,
    released: Released,
    /// The new counters; `None` for a retry, which writes nothing.
    uses: Option<Vec<(DecisionId, UseCount)>>,
}

/// What the durable write holds. [`Released::release`] is the body of the log's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReleaseWrite<'a> {
    pub released: &'a Released,
    /// The new counters of the permits that are counted.
    pub uses: &'a [(DecisionId, UseCount)],
    pub presentation: &'a [u8],
}

impl Committed {
    /// What must be durable before anything is sent; `None` for a retry.
    pub fn write(&self) -> Option<ReleaseWrite<'_>> {
        let uses = self.uses.as_ref()?;
        Some(ReleaseWrite { released: &self.released, uses, presentation: &self.bytes })
    }

    /// Whether the witnesses must know of the release before its bytes leave: a source put back to an
    /// older copy than that would spend the same use again (DESIGN section 6, S3).
    pub fn awaits_witnesses(&self) -> bool {
        self.is_counted && Guard::UseIsCosigned.holds()
    }

    /// The last look, right before the first byte leaves, on a `view` read after the write is
    /// durable. Consent is evaluated as for a retry: on the permits that the presentation cites, its
    /// own use not counted. So a deny that was applied after the commit stops it still; and what was
    /// released on a lease needs a live one.
    pub fn send(self, view: &View<'_>) -> Result<ExchangeReply, Declined> {
        let Self { request, bytes, on_lease, released, .. } = self;
        let previous = Previous { released: &released, presentation: &bytes };
        let view = View { previous: Some(previous), ..*view };
        request.check_previous(&view)?;
        let decided = match request.decide(&view) {
            Err(Refused::NoLease) if !Guard::LeaseBeforeSend.holds() => None,
            Err(refused) if refused != Refused::NoLease && !Guard::EvaluateBeforeSend.holds() => {
                None
            }
            decided => Some(decided?),
        };
        let Some(decided) = decided else {
            return Ok(ExchangeReply::Presentation(Bytes(bytes))); // a mutant looks no more
        };
        if decided.subject != released.release.pair.subject {
            return Err(Declined::Changed);
        }
        if on_lease && decided.lease.is_none() {
            return Err(Declined::Refused(Refused::NoLease));
        }
        Ok(ExchangeReply::Presentation(Bytes(bytes)))
    }
}
