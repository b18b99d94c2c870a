//! Puts an evidence bundle together from this source's store and its peers' identities.

use std::{collections::BTreeMap, sync::Arc};

use consent::PairThread;
use evidence::{map, proof::LogProof, record::Release};
use exchange::bundle::{Bundle, FORMAT};
use wire::{
    Hash, Nonce,
    channel::{ChannelHead, ChannelId, Entry},
    membership::NodeIdentity,
};

use crate::{
    channel_store::{entry_key, map_key, subject_key},
    context::Fault,
    source::{Source, StoredRelease, channels::statement_key},
    store::{
        Column, Read, StoreError, TypedRead,
        log::{self, SignedCheckpoint, with_nodes},
    },
};

#[derive(Debug, thiserror::Error)]
pub enum AssembleError {
    #[error("no release with this id")]
    Unknown,
    #[error("no checkpoint covers the release yet; ask again in a second")]
    NoCheckpoint,
    #[error("the citizen's decisions have changed since; the proof for that moment is not kept")]
    MovedOn,
    #[error("the release was made on a present-consent; bundles of those come later")]
    PresentConsent,
    #[error("a part is missing in the store: {0}")]
    Missing(&'static str),
    #[error(transparent)]
    Fault(#[from] Fault),
}

impl From<StoreError> for AssembleError {
    fn from(error: StoreError) -> Self {
        Fault::from(error).into()
    }
}

/// The bundle of a release, found by the id that the recipient chose.
pub async fn assemble(source: &Arc<Source>, id: &Nonce) -> Result<Vec<u8>, AssembleError> {
    let context = &source.context;
    let stored = source.release_by_id(id)?.ok_or(AssembleError::Unknown)?;
    let network = context.network()?;
    let recipient = network.member(&stored.recipient.organisation()).await.map_err(Fault::from)?;
    let home = network.member(&stored.released.release.channel.home).await.map_err(Fault::from)?;
    let identities = (recipient.identity.clone(), home.identity.clone());
    from_store(source, stored, identities)
}

fn from_store(
    source: &Arc<Source>,
    stored: StoredRelease,
    (recipient, home): (NodeIdentity, NodeIdentity),
) -> Result<Vec<u8>, AssembleError> {
    let context = &source.context;
    let read = context.committer.read();
    let release = &stored.released.release;
    let lease = release.lease.ok_or(AssembleError::PresentConsent)?;
    let applied = ChannelHead { position: release.position, map: release.map };
    let grant = read
        .read(Column::Grants, &lease.0)?
        .ok_or(AssembleError::Missing("the grant of the lease"))?;
    let statement = read
        .read(Column::Statements, &statement_key(&release.channel, applied.position.length))?
        .ok_or(AssembleError::Missing("the home's word on the head"))?;
    let (entries, map_proof) = decisions(&*read, release, &applied)?;
    let bundle = Bundle {
        format: FORMAT.to_owned(),
        trust: context.trust().file().clone(),
        source: context.identity.clone(),
        recipient,
        home,
        release: log_proof(&*read, stored.log_index)?,
        presentation: stored.presentation,
        grant,
        statement,
        entries,
        map_proof,
        receipt: stored.receipt,
    };
    Ok(bundle.to_bytes())
}

/// The pair's entries up to the head of the release, and the proof that there were no others.
fn decisions(
    read: &dyn Read,
    release: &Release,
    applied: &ChannelHead,
) -> Result<(Vec<Entry>, map::MapProof), AssembleError> {
    let (channel, subject) = (&release.channel, release.pair.subject);
    let thread: PairThread = read
        .read(Column::SourceThreads, &subject_key(channel, &subject))?
        .ok_or(AssembleError::Missing("the pair's thread"))?;
    let mut entries = Vec::new();
    for seq in thread.seqs.iter().filter(|seq| **seq < applied.position.length) {
        let entry: Entry = read
            .read(Column::SourceEntries, &entry_key(channel, *seq))?
            .ok_or(AssembleError::Missing("an entry of the pair"))?;
        entries.push(entry);
    }
    let proof = proof_at(read, channel, applied, &Hash(subject.0))?;
    Ok((entries, proof))
}

/// The Merkle map as it was at an earlier head: the threads cut off there, put together again.
fn proof_at(
    read: &dyn Read,
    channel: &ChannelId,
    applied: &ChannelHead,
    key: &Hash,
) -> Result<map::MapProof, AssembleError> {
    let nodes = StoredNodes { read, channel };
    if map::root(&nodes) == applied.map {
        return map::prove(&nodes, key).map_err(|_| AssembleError::Missing("a node of the map"));
    }
    let mut then = BTreeMap::new();
    for seq in 0..applied.position.length {
        let entry: Entry = read
            .read(Column::SourceEntries, &entry_key(channel, seq))?
            .ok_or(AssembleError::Missing("an entry of the channel"))?;
        let digest = then.entry(Hash(entry.subject.0)).or_insert(Hash([0; 32]));
        *digest = consent::store::pair_digest(digest, &entry.hash());
    }
    let mut map = map::MemoryMap::default();
    for (subject, digest) in &then {
        map.insert(subject, digest);
    }
    if map.root() != applied.map {
        return Err(AssembleError::MovedOn);
    }
    Ok(map.prove(key))
}

struct StoredNodes<'a> {
    read: &'a dyn Read,
    channel: &'a ChannelId,
}

impl map::MapNodes for StoredNodes<'_> {
    fn node(&self, key: &map::NodeKey) -> Option<map::MapNode> {
        // A node that cannot be read makes the proof fail, never pass.
        self.read.read(Column::SourceMap, &map_key(self.channel, key)).ok().flatten()
    }
}

fn log_proof(read: &dyn Read, index: u64) -> Result<LogProof, AssembleError> {
    let checkpoint = SignedCheckpoint::latest(read)?
        .filter(|checkpoint| checkpoint.size > index)
        .ok_or(AssembleError::NoCheckpoint)?;
    let record = log::record(read, index)?.ok_or(AssembleError::Missing("the log record"))?;
    // Every byte of a bundle is checked: cosignatures stay out until the bundle names the witnesses.
    let note =
        checkpoint.own_note().map_err(|_| AssembleError::Missing("a readable checkpoint"))?;
    let note = note.to_string();
    let proof = with_nodes(read, |nodes| {
        LogProof::new(nodes, index, &record.record, &record.salt.0, checkpoint.size, &note)
    })?;
    proof.map_err(|_| AssembleError::Missing("a node of the log"))
}
