//! Puts an evidence bundle together from this source's store and its peers' identities.

use std::{collections::BTreeMap, sync::Arc};

use consent::{PairThread, moving};
use evidence::{map, proof::LogProof, record::Release};
use exchange::bundle::{Bundle, FORMAT};
use wire::{
    Hash, Nonce, OrganisationId,
    channel::{ChannelHead, ChannelId, Entry, PairExtract},
    consent::Attested,
    membership::NodeIdentity,
};

use crate::{
    channel_store::{StoredMap, entry_key, subject_key},
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
    let release = &stored.released.release;
    let applied = ChannelHead { position: release.position, map: release.map };
    let mut heads = vec![(release.channel.clone(), applied)];
    heads.extend(source.former_heads(&stored.recipient, id)?);
    let mut homes = BTreeMap::new();
    for (channel, _) in &heads {
        let home = network.member(&channel.home).await.map_err(Fault::from)?;
        homes.insert(channel.home.clone(), home.identity.clone());
    }
    from_store(source, stored, recipient.identity.clone(), (heads, homes))
}

fn from_store(
    source: &Arc<Source>,
    stored: StoredRelease,
    recipient: NodeIdentity,
    (heads, homes): (Vec<(ChannelId, ChannelHead)>, BTreeMap<OrganisationId, NodeIdentity>),
) -> Result<Vec<u8>, AssembleError> {
    let context = &source.context;
    let read = context.committer.read();
    let release = &stored.released.release;
    let home = homes.get(&release.channel.home);
    let home = home.ok_or(AssembleError::Missing("the home"))?.clone();
    let grant = match release.lease {
        None => None,
        Some(lease) => {
            let grant = read.read(Column::Grants, &lease.0)?;
            Some(grant.ok_or(AssembleError::Missing("the grant of the lease"))?)
        }
    };
    let mut extracts = Vec::with_capacity(heads.len());
    for (channel, head) in &heads {
        let home = homes.get(&channel.home).ok_or(AssembleError::Missing("a home"))?;
        extracts.push((channel, extract(&*read, (channel, head), release, home)?));
    }
    let held = extracts.iter().map(|(channel, extract)| (*channel, &extract.entries[..]));
    let order: Vec<_> = moving::in_order(held, context.trust().network())
        .into_iter()
        .map(|(channel, _)| channel.clone())
        .collect();
    extracts.sort_by_key(|(channel, _)| order.iter().position(|of| of == *channel));
    let bundle = Bundle {
        format: FORMAT.to_owned(),
        trust: context.trust().file().clone(),
        source: context.identity.clone(),
        recipient,
        home,
        release: log_proof(&*read, stored.log_index)?,
        presentation: stored.presentation,
        grant,
        channels: extracts.into_iter().map(|(_, extract)| extract).collect(),
        receipt: stored.receipt,
    };
    Ok(bundle.to_bytes())
}

/// The pair's entries in one channel up to a head, the home's word on that head, and the proof that there
/// were no others.
fn extract(
    read: &dyn Read,
    (channel, applied): (&ChannelId, &ChannelHead),
    release: &Release,
    home: &NodeIdentity,
) -> Result<PairExtract, AssembleError> {
    let subject = release.pair.subject;
    let statement = read
        .read(Column::Statements, &statement_key(channel, applied.position.length))?
        .ok_or(AssembleError::Missing("a home's word on its head"))?;
    let statement = Attested { object: statement, chain: home.chain.clone() };
    let thread: PairThread =
        read.read(Column::SourceThreads, &subject_key(channel, &subject))?.unwrap_or_default();
    let mut entries = Vec::new();
    for seq in thread.seqs.iter().filter(|seq| **seq < applied.position.length) {
        let entry: Entry = read
            .read(Column::SourceEntries, &entry_key(channel, *seq))?
            .ok_or(AssembleError::Missing("an entry of the pair"))?;
        entries.push(entry);
    }
    let map_proof = proof_at(read, channel, applied, &Hash(subject.0))?;
    Ok(PairExtract { statement, entries, map_proof })
}

/// The Merkle map as it was at an earlier head: the threads cut off there, put together again.
fn proof_at(
    read: &dyn Read,
    channel: &ChannelId,
    applied: &ChannelHead,
    key: &Hash,
) -> Result<map::MapProof, AssembleError> {
    let nodes = StoredMap::of_source(read, channel);
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
