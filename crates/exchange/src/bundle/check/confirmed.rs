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
    release: &Release,
    trust: &Trust,
    at: Timestamp,
) -> Result<Result<Standing, String>, BundleError> {
    let (signer, effect) = receipt(confirmed, homes, release, trust, at)?;
    let read = ReadDecision::read(&confirmed.deny, trust.network()).map_err(failed(CHECK))?;
    let Effect { decision, since, how, .. } = &effect;
    ensure(CHECK, read.id() == *decision, "the receipt is about another decision")?;
    ensure(CHECK, *read.claimed_pair() == release.pair, "the deny is about another pair")?;
    let deny = read.admit(pair, trust, at).map_err(failed(CHECK))?;
    ensure(CHECK, deny.is_deny(), "it is no deny")?;

    let says = describe(decision, *since, *how, &signer);
    // The source's own clock needs no allowance.
    let allowance = if *how == EffectHow::AtSource { 0 } else { CLOCK_SKEW_MS };
    if at <= since.plus_ms(allowance) {
        return Ok(Err(format!("{says}: not before the release")));
    }
    if effect.present_consent_excepted && release.lease.is_none() {
        return Ok(Err(format!("{says}, which excepts a present-consent")));
    }
    let mut pair = pair.clone();
    if !pair.knows_deny(decision) {
        pair.apply_decision(&deny);
    }
    Ok(Ok(Standing { pair, says }))
}

/// By the source, or by a home of the pair about its channel to the source.
fn receipt(
    confirmed: &ConfirmedDeny,
    homes: &[OrganisationId],
    release: &Release,
    trust: &Trust,
    at: Timestamp,
) -> Result<(OrganisationId, Effect), BundleError> {
    let receipt = &confirmed.receipt;
    let claimed = Signed::<Effect>::decode(&receipt.object, trust.network());
    let claimed = claimed.map_err(failed(CHECK))?.unverified().time;
    let kind = CertificateKind::Organisation;
    let (signed, chain) = trust::verify_signed_before::<Effect>(receipt, kind, trust, claimed, at)
        .map_err(failed(CHECK))?;
    let effect = signed.into_message();
    ensure(CHECK, effect.pair == release.pair, "the receipt is about another pair")?;
    ensure(CHECK, effect.since <= effect.time, "the receipt is about a time after it was signed")?;
    let LeafSubject::Organisation { organisation: signer, .. } = chain.subject() else {
        return Err(failed(CHECK)("the receipt is signed by no organisation"));
    };
    let entitled = match (effect.how, &effect.channel) {
        (EffectHow::AtSource, _) => *signer == release.pair.source.organisation(),
        (_, Some(channel)) => {
            channel.home == *signer
                && channel.source == release.pair.source
                && homes.contains(signer)
        }
        (_, None) => false,
    };
    ensure(
        CHECK,
        entitled,
        "the receipt is signed neither by the source nor by a home of the pair",
    )?;
    Ok((signer.clone(), effect))
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
