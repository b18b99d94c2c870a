//! Who looked at what: the notices of one pair, each checked against the batch that its source
//! signed; and 発効証明, the signed word that a decision is in force.

use trust::{CertificateKind, ChainError, Freshness, LeafSubject, SignedError, Trust};
use wire::{
    DecisionId, Message, Nonce, OrganisationId, ServiceName, Signed, Timestamp, Unsigned,
    channel::ChannelId,
    consent::Attested,
    notice::{Effect, EffectHow, EffectQuery, Notice, NoticeBatch, PairHistory},
};

use crate::{Wallet, WalletError};

/// What happened at one source, every notice checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryView {
    /// In the order in which the source wrote them.
    pub notices: Vec<Notice>,
    /// Whether older ones exist that the home did not show.
    pub older: bool,
}

impl Wallet {
    /// Checks a history that one of the pair's homes shows: each notice is this wallet's own, is in the
    /// batch it came with, and the batch is the source's. [`Wallet::query`] asks for it.
    pub fn read_history(
        &self,
        source: &ServiceName,
        history: &PairHistory,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<HistoryView, WalletError> {
        let subject = self.pair(source)?.subject;
        let mut channel: Option<ChannelId> = None;
        let mut notices: Vec<Notice> = Vec::new();
        for shown in &history.batches {
            let batch: NoticeBatch = by_organisation(
                &shown.batch,
                &source.organisation(),
                trust,
                at,
                |batch: &NoticeBatch| batch.time,
            )?;
            // One home's channel: each numbers its notices for itself.
            let channel = channel.get_or_insert_with(|| batch.channel.clone());
            if batch.channel != *channel
                || channel.source != *source
                || !self.is_home_of(source, &channel.home)
            {
                return Err(WalletError::ForeignHistory);
            }
            for notice in &shown.notices {
                if notice.subject != subject {
                    return Err(WalletError::ForeignHistory);
                }
                if batch.hash_of(notice.seq) != Some(&notice.hash()) {
                    return Err(WalletError::NoticeNotSigned);
                }
                if notices.last().is_some_and(|last| last.seq >= notice.seq) {
                    return Err(WalletError::HistoryOrder);
                }
                notices.push(notice.clone());
            }
        }
        Ok(HistoryView { notices, older: history.older })
    }

    /// For the key at `source` to sign: give me the receipt for this decision of mine there.
    pub fn effect_query(
        &self,
        source: &ServiceName,
        decision: DecisionId,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<EffectQuery>, WalletError> {
        let own = self.service(source)?;
        let query = EffectQuery { pair: self.pair(source)?, decision, nonce, time: at };
        Ok(Unsigned::new(query, self.network(), &own.key))
    }

    /// Checks a receipt for a decision at `source` and keeps it: signed by the one of the pair's homes
    /// whose channel it names, or by the source if it says that the source holds the decision.
    pub fn accept_effect(
        &mut self,
        source: &ServiceName,
        decision: &DecisionId,
        receipt: &Attested,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Effect, WalletError> {
        let claimed = Signed::<Effect>::decode(&receipt.object, trust.network())
            .map_err(|error| WalletError::Signed(SignedError::Envelope(error)))?;
        let Effect { how, channel, .. } = claimed.unverified();
        let by_home = *how != EffectHow::AtSource;
        let named = channel.as_ref().filter(|channel| channel.source == *source);
        let signer = match named {
            _ if !by_home => source.organisation(),
            Some(channel) if self.is_home_of(source, &channel.home) => channel.home.clone(),
            _ => return Err(WalletError::ForeignEffect),
        };
        let effect: Effect =
            by_organisation(receipt, &signer, trust, at, |effect: &Effect| effect.time)?;
        if effect.decision != *decision {
            return Err(WalletError::OtherDecision);
        }
        if effect.pair != self.pair(source)?
            || effect.channel.as_ref().is_some_and(|named| named.source != *source)
            || (by_home && effect.seq.is_none())
            || effect.since > effect.time
        {
            return Err(WalletError::ForeignEffect);
        }
        self.note_effect(*decision, receipt.clone());
        Ok(effect)
    }
}

/// A message signed by one organisation, whose certificate held when it was signed, or holds now.
pub(crate) fn by_organisation<M: Message>(
    signed: &Attested,
    organisation: &OrganisationId,
    trust: &Trust,
    at: Timestamp,
    time: impl Fn(&M) -> Timestamp,
) -> Result<M, WalletError> {
    if trust.freshness(at) == Freshness::HardExpired {
        return Err(WalletError::Chain(ChainError::TrustExpired));
    }
    let claimed = Signed::<M>::decode(&signed.object, trust.network())
        .map_err(|error| WalletError::Signed(SignedError::Envelope(error)))?;
    let (kind, signed_at) = (CertificateKind::Organisation, time(claimed.unverified()).min(at));
    let (verified, chain) = trust::verify_signed_before::<M>(signed, kind, trust, signed_at, at)
        .map_err(WalletError::Signed)?;
    match chain.subject() {
        LeafSubject::Organisation { organisation: of, .. } if of == organisation => {
            Ok(verified.into_message())
        }
        _ => Err(WalletError::OtherSigner),
    }
}

#[cfg(test)]
mod tests;
