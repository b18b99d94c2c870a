//! 発効証明: the home's signed word that a decision is in force, and how it knows.

use consent::{HomeEntry, access::Access};
use wire::{
    DecisionId, KeyHash, NetworkId, Signed, cbor,
    channel::EntryKind,
    citizen::InForce,
    consent::{Attested, Decision},
    notice::{Effect, EffectHow, EffectQuery},
};

use super::{Home, register::SubmissionError};
use crate::{channel_store::home_rows, context::Fault};

const UNREADABLE: &str = "the source could not read it: it permits nothing, and has no receipt";

impl Home {
    /// The receipt for one decision of the citizen who asks, if it is in force. Saying no is always
    /// safe, and so is hearing that it was heard: a key that may see nothing else gets the receipt of
    /// its own deny.
    pub async fn effect(&self, query: Attested) -> Result<Attested, SubmissionError> {
        let trust = self.context.live_trust()?;
        let asked = self.asked::<EffectQuery>(&trust, &query)?;
        let access = self.check_access(&asked, Access::Register);
        let (key, EffectQuery { pair, decision, .. }) = (asked.key, asked.message);
        let channel = self.channel(&pair);
        let rows = home_rows(&*self.context.committer.read(), &channel, &pair.subject);
        let mut rows = rows.map_err(Fault::from)?.into_iter().rev();
        let row = rows.find(|row| is_it(row, &decision));
        if !row.as_ref().is_some_and(|row| is_deny_by(row, &key, trust.network())) {
            access?;
        }
        let row =
            row.ok_or(SubmissionError::Unknown("no such decision of this citizen is here"))?;
        // What a lost disk could make this home forget is not promised yet.
        if !self.context.all_cosigned().await? {
            return Err(SubmissionError::NotCosigned);
        }
        let time = self.context.now().wall;
        let (how, since) = match self.standing(&channel, &row)? {
            InForce::Acknowledged(since) => (EffectHow::Acknowledged, since),
            InForce::LeasesLapsed(since) => (EffectHow::LeasesLapsed, since),
            InForce::Accepted | InForce::Durable => return Err(SubmissionError::NotYet),
            InForce::Unreadable(_) => return Err(SubmissionError::Standing(UNREADABLE.to_owned())),
        };
        // A source that has not received the deny may release on a present-consent, which needs no
        // lease (DESIGN section 6).
        let excepted = how == EffectHow::LeasesLapsed && row.entry.kind == EntryKind::DENY;
        let effect = Effect {
            decision,
            pair,
            channel: Some(channel),
            seq: Some(row.entry.seq),
            how,
            since,
            log_index: None,
            time,
            present_consent_excepted: excepted,
        };
        Ok(self.context.attest(effect).await?)
    }
}

/// Whether an entry is a deny that this key signed.
fn is_deny_by(row: &HomeEntry, key: &KeyHash, network: &NetworkId) -> bool {
    row.entry.kind == EntryKind::DENY
        && cbor::from_slice::<Attested>(&row.entry.body).is_ok_and(|body| {
            Signed::<Decision>::decode(&body.object, network).is_ok_and(|deny| deny.key() == *key)
        })
}

/// A decision by its id, an entry about a key by its hash.
fn is_it(row: &HomeEntry, id: &DecisionId) -> bool {
    match row.decision {
        Some(decision) => decision == *id,
        None => row.entry.hash().0 == id.0,
    }
}
