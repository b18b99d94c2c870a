//! What a citizen holds against a bundle: a deny, and the signed word that it was in force (発効証明). The
//! channels in the bundle are what the source chose to show; this is what it, or a home of the pair, had
//! said to the citizen.

use consent::{PairState, admission::ReadDecision};
use evidence::record::Release;
use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    DecisionId, OrganisationId, Signed, Timestamp,
    notice::{Effect, EffectHow},
};

use super::{BundleError, ensure, failed};
use crate::{bundle::ConfirmedDeny, credential::CLOCK_SKEW_MS};

pub(super) const CHECK: &str = "confirmed deny";
/// Fails where deny or receipt prove nothing; of the bundle that says nothing.
pub(super) const UNUSABLE: &str = "deny with its receipt";

/// A confirmed deny that was in force when the release was made.
pub(super) struct Standing {
    /// The pair as it has to be judged.
    pub(super) pair: PairState,
    /// In words for people.
    pub(super) says: String,
}

/// Checks deny and receipt. `None`, with the reason, if the receipt says nothing of the time of the
/// release. `homes`: the pair's, by the bundle.
pub(super) fn check(
    confirmed: &ConfirmedDeny,
    pair: &PairState,
    homes: &[OrganisationId],
    (release, log_index): (&Release, u64),
    trust: &Trust,
    at: Timestamp,
) -> Result<Result<Standing, String>, BundleError> {
    let (signer, effect) = receipt(confirmed, release, trust, at)?;
    let read = ReadDecision::read(&confirmed.deny, trust.network()).map_err(failed(UNUSABLE))?;
    let Effect { decision, since, how, .. } = &effect;
    ensure(UNUSABLE, read.id() == *decision, "the receipt is about another decision")?;
    ensure(UNUSABLE, *read.claimed_pair() == release.pair, "the deny is about another pair")?;
    let deny = read.admit(pair, trust, at).map_err(failed(UNUSABLE))?;
    ensure(UNUSABLE, deny.is_deny(), "it is no deny")?;

    let says = describe(decision, *since, *how, &signer);
    let heeded = match (how, effect.log_index) {
        // Of two records in one log the place says which was first, and no clock.
        (EffectHow::AtSource, Some(from)) => log_index >= from,
        (EffectHow::AtSource, None) => {
            return Err(failed(UNUSABLE)("it names no place in the source's log"));
        }
        _ => at > since.plus_ms(CLOCK_SKEW_MS),
    };
    if !heeded {
        return Ok(Err(format!("{says}: not before the release")));
    }
    // Only now: a home that the pair moved to later speaks of later.
    ensure(
        UNUSABLE,
        is_entitled(&effect, &signer, homes, release),
        "the receipt is signed neither by the source nor by a home of the pair",
    )?;
    if effect.present_consent_excepted && release.lease.is_none() {
        return Ok(Err(format!("{says}, which excepts a present-consent")));
    }
    let mut pair = pair.clone();
    if !pair.knows_deny(decision) {
        pair.apply_decision(&deny);
    }
    Ok(Ok(Standing { pair, says }))
}

/// The receipt, and by which organisation.
fn receipt(
    confirmed: &ConfirmedDeny,
    release: &Release,
    trust: &Trust,
    at: Timestamp,
) -> Result<(OrganisationId, Effect), BundleError> {
    let receipt = &confirmed.receipt;
    let claimed = Signed::<Effect>::decode(&receipt.object, trust.network());
    let claimed = claimed.map_err(failed(UNUSABLE))?.unverified().time;
    let kind = CertificateKind::Organisation;
    let (signed, chain) = trust::verify_signed_before::<Effect>(receipt, kind, trust, claimed, at)
        .map_err(failed(UNUSABLE))?;
    let effect = signed.into_message();
    ensure(UNUSABLE, effect.pair == release.pair, "the receipt is about another pair")?;
    ensure(UNUSABLE, effect.since <= effect.time, "it is about a time after it was signed")?;
    match chain.subject() {
        LeafSubject::Organisation { organisation, .. } => Ok((organisation.clone(), effect)),
        _ => Err(failed(UNUSABLE)("the receipt is signed by no organisation")),
    }
}

/// By the source, or by a home of the pair about its channel to the source.
fn is_entitled(
    effect: &Effect,
    signer: &OrganisationId,
    homes: &[OrganisationId],
    release: &Release,
) -> bool {
    match (effect.how, &effect.channel) {
        (EffectHow::AtSource, _) => *signer == release.pair.source.organisation(),
        (_, Some(channel)) => {
            channel.home == *signer
                && channel.source == release.pair.source
                && homes.contains(signer)
        }
        (_, None) => false,
    }
}

fn describe(
    deny: &DecisionId,
    since: Timestamp,
    how: EffectHow,
    signer: &OrganisationId,
) -> String {
    let how = match how {
        EffectHow::Acknowledged => "acknowledged",
        EffectHow::LeasesLapsed => "leases lapsed",
        EffectHow::AtSource => "at the source",
    };
    format!("{deny} was in force since {} ms ({how}) by the word of {signer}", since.0)
}
