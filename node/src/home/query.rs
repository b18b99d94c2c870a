//! What wallets ask of their home: signed, fresh, and by a key that may see what it asks for.

use consent::{
    AdmissionError,
    access::{self, Access},
};
use trust::{CertificateKind, LeafSubject, Trust};
use wire::{
    Hash, KeyHash, Message, Pair, Timestamp, asking::ConsentAnswer, citizen::WalletQuery,
    consent::Attested, notice::EffectQuery,
};

use super::{Home, register::SubmissionError};

/// How far a wallet's clock may be off when it asks, in milliseconds.
pub const QUERY_WINDOW_MS: u64 = 5 * 60 * 1000;

/// What is asked about one pair, at a time.
pub(super) trait Asks: Message {
    fn pair(&self) -> &Pair;
    fn time(&self) -> Timestamp;
}

macro_rules! asks {
    ($($message:ident),+) => {
        $(impl Asks for $message {
            fn pair(&self) -> &Pair {
                &self.pair
            }

            fn time(&self) -> Timestamp {
                self.time
            }
        })+
    };
}

asks!(WalletQuery, EffectQuery, ConsentAnswer);

/// A query made just now by a key certified for the pair that it names. Whether the citizen holds that
/// key, or ever did, is not said.
pub(super) struct Asked<M> {
    pub(super) message: M,
    pub(super) key: KeyHash,
    /// Id of the signed query.
    pub(super) id: Hash,
}

impl Home {
    /// Checks a query by a key that may have this access to the pair it names.
    pub(super) fn query<M: Asks>(
        &self,
        trust: &Trust,
        query: &Attested,
        access: Access,
    ) -> Result<Asked<M>, SubmissionError> {
        let asked = self.asked::<M>(trust, query)?;
        self.check_access(&asked, access)?;
        Ok(asked)
    }

    pub(super) fn check_access<M: Asks>(
        &self,
        asked: &Asked<M>,
        access: Access,
    ) -> Result<(), SubmissionError> {
        let pair = asked.message.pair();
        let state = self.pair_state(&self.channel(pair), &pair.subject)?;
        Ok(access::may(&state, &asked.key, access, self.context.now().wall)?)
    }

    /// Checks a query by any key certified for the pair that it names.
    pub(super) fn asked<M: Asks>(
        &self,
        trust: &Trust,
        query: &Attested,
    ) -> Result<Asked<M>, SubmissionError> {
        let now = self.context.now().wall;
        let (query, chain) = trust::verify_signed::<M>(query, CertificateKind::Service, trust, now)
            .map_err(AdmissionError::from)?;
        let (key, id) = (chain.key(), query.id());
        let (pair, time) = (query.message().pair(), query.message().time());
        let theirs = match chain.subject() {
            LeafSubject::Service { service, subject } => {
                *service == pair.source && *subject == pair.subject
            }
            _ => false,
        };
        if !theirs {
            return Err(SubmissionError::OtherCitizen);
        }
        if time.ms_since(now).max(now.ms_since(time)) > QUERY_WINDOW_MS {
            return Err(SubmissionError::OutOfTime);
        }
        Ok(Asked { message: query.into_message(), key, id })
    }
}
