//! What a channel holds of one pair, shown to others than its two ends: to the wallet, to the home that
//! the pair moves to, and in evidence. The home signs the head, and the head's Merkle map shows that no
//! entry of the pair is left out, altered or added.

use evidence::map::{InvalidMapProof, MapProof};
use trust::{CertificateKind, LeafSubject, SignedError, Trust};
use wire::{
    Hash, Pair, ServiceId, ServiceName, Signed, Timestamp,
    channel::{Entry, HeadStatement, PairExtract},
    consent::Attested,
};

use crate::store::PairThread;

/// Why an extract shows nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ExtractFault {
    #[error("the home's word on its channel's head: {0}")]
    Head(#[from] HeadFault),
    #[error("what the channel holds: {0}")]
    Entries(#[from] EntriesFault),
}

/// Why a statement is no home's word on the head of a channel to this source.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HeadFault {
    #[error(transparent)]
    Signed(SignedError),
    #[error("signed by another organisation than the channel's home, or by no municipality")]
    OtherHome,
    #[error("it is for a channel to another source")]
    OtherSource,
}

/// Why entries are not all that a head says of a pair.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntriesFault {
    #[error("an entry of another pair")]
    OtherPair,
    #[error("an entry out of order, or beyond the head")]
    Order,
    #[error("an entry is missing, altered or added: {0}")]
    Proof(#[from] InvalidMapProof),
}

/// The head of a channel, by the word of its home.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckedHead(HeadStatement);

impl CheckedHead {
    /// Checks a home's word on the head of its channel to `source`. The home's certificate has to hold
    /// when it signed (by its own word, never later than `at`) or at `at`.
    pub fn check(
        statement: &Attested,
        source: &ServiceName,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, HeadFault> {
        let kind = CertificateKind::Organisation;
        let signed_at = claimed(statement, trust)?.time.min(at);
        let (signed, chain) =
            trust::verify_signed_before::<HeadStatement>(statement, kind, trust, signed_at, at)
                .map_err(HeadFault::Signed)?;
        let statement = signed.into_message();
        let home = &statement.channel.home;
        let by_the_home = matches!(
            chain.subject(),
            LeafSubject::Organisation { organisation, .. } if organisation == home
        );
        if !by_the_home || !trust.is_municipality(home) {
            return Err(HeadFault::OtherHome);
        }
        if statement.channel.source != *source {
            return Err(HeadFault::OtherSource);
        }
        Ok(Self(statement))
    }

    pub fn statement(&self) -> &HeadStatement {
        &self.0
    }

    /// Checks that these entries are all that the head says of a pair.
    pub fn prove(
        self,
        entries: &[Entry],
        map_proof: &MapProof,
        subject: &ServiceId,
    ) -> Result<CheckedExtract, EntriesFault> {
        let Self(statement) = self;
        let mut thread = PairThread::default();
        let mut next = 0;
        for entry in entries {
            if entry.subject != *subject {
                return Err(EntriesFault::OtherPair);
            }
            if !(next..statement.head.position.length).contains(&entry.seq) {
                return Err(EntriesFault::Order);
            }
            next = entry.seq + 1;
            thread.extend(entry.seq, &entry.hash());
        }
        let (root, key) = (&statement.head.map, Hash(subject.0));
        match entries.is_empty() {
            true => map_proof.verify_absence(root, &key)?,
            false => map_proof.verify_presence(root, &key, &thread.digest)?,
        }
        Ok(CheckedExtract { statement, entries: entries.to_vec() })
    }
}

/// What a statement says; nothing is checked.
fn claimed(statement: &Attested, trust: &Trust) -> Result<HeadStatement, HeadFault> {
    let signed = Signed::<HeadStatement>::decode(&statement.object, trust.network())
        .map_err(|error| HeadFault::Signed(error.into()))?;
    Ok(signed.unverified().clone())
}

/// Everything that one channel held of one pair at a head, by the home's word. Each entry is still to be
/// judged for itself ([`crate::source::absorb`]).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CheckedExtract {
    statement: HeadStatement,
    entries: Vec<Entry>,
}

impl CheckedExtract {
    /// Checks an extract about `pair`, head and entries.
    pub fn check(
        extract: &PairExtract,
        pair: &Pair,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, ExtractFault> {
        let head = CheckedHead::check(&extract.statement, &pair.source, trust, at)?;
        Ok(head.prove(&extract.entries, &extract.map_proof, &pair.subject)?)
    }

    /// The same for a home that is off the trust list, whose signature nobody can check any more: on the
    /// word of the home that keeps it, which checked it when the pair came.
    pub fn on_anothers_word(
        extract: &PairExtract,
        pair: &Pair,
        trust: &Trust,
    ) -> Result<Self, ExtractFault> {
        let statement = claimed(&extract.statement, trust)?;
        if trust.is_municipality(&statement.channel.home) {
            return Err(HeadFault::OtherHome.into());
        }
        if statement.channel.source != pair.source {
            return Err(HeadFault::OtherSource.into());
        }
        let head = CheckedHead(statement);
        Ok(head.prove(&extract.entries, &extract.map_proof, &pair.subject)?)
    }

    /// The head of which channel, and when the home said so.
    pub fn statement(&self) -> &HeadStatement {
        &self.statement
    }

    /// In the channel's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}
