//! The witness role: check, make durable, then cosign. Every municipality's node has it and serves it
//! from the moment it greets, before it knows whether its own log is the newest: a network in which all
//! nodes start at once comes up because this role needs nothing of anybody.

use std::sync::Arc;

use evidence::{
    cosignature::{CosignerKey, witness_name},
    note::{NoteSigner, SignedNote, VerifiedCheckpoint, log_origin},
    witness::{WitnessRefusal, observe},
};
use trust::member::Member;
use wire::{
    OrganisationId,
    witness::{AddCheckpoint, WitnessConflict, WitnessRefused, WitnessReply, WitnessRequest},
};

use super::{Fork, Witnessed};
use crate::{
    context::{Context, Fault},
    rate::RateLimit,
    store::{Column, Key, Scan, StoreError, Transaction, TypedRead},
};

/// A log sends a checkpoint when somebody waits for it, at most some twenty in a second.
const REQUESTS_PER_SECOND: u64 = 50;
/// Most pairs of checkpoints kept against one log: the first ones tell everything.
const FORKS_LIMIT: usize = 16;

pub struct Witness {
    context: Arc<Context>,
    /// The witness key.
    signer: Arc<dyn NoteSigner + Send + Sync>,
    name: String,
    rate: RateLimit<OrganisationId>,
}

/// What the commit found.
enum Observed {
    Durable,
    Refused(WitnessRefusal, Option<String>),
}

impl Witness {
    pub fn new(context: Arc<Context>, signer: Arc<dyn NoteSigner + Send + Sync>) -> Arc<Self> {
        let name = witness_name(context.trust().network(), &context.organisation);
        let rate = RateLimit::new(REQUESTS_PER_SECOND, 10 * REQUESTS_PER_SECOND);
        Arc::new(Self { context, signer, name, rate })
    }

    pub async fn answer(&self, from: &Member, request: WitnessRequest) -> WitnessReply {
        let allowed = self.rate.allows(&from.organisation, self.context.now().mono_ms);
        // What a node remembers of others' logs went back together with its own.
        if !allowed || self.context.lost_its_past() {
            return WitnessReply::Refused(WitnessRefused::Unavailable);
        }
        let answer = match request {
            WitnessRequest::Latest(origin) => self.latest(&origin),
            WitnessRequest::AddCheckpoint(add) => self.add(from, add).await,
        };
        answer.unwrap_or_else(|fault| {
            tracing::warn!(log = %from.organisation, %fault, "a checkpoint could not be witnessed");
            WitnessReply::Refused(WitnessRefused::Unavailable)
        })
    }

    fn latest(&self, origin: &str) -> Result<WitnessReply, Fault> {
        let read = self.context.committer.read();
        let known: Option<Witnessed> = read.read(Column::Witnessed, &Key::new().text(origin))?;
        Ok(known.map_or(WitnessReply::Unknown, |known| WitnessReply::Known(known.note)))
    }

    async fn add(&self, from: &Member, add: AddCheckpoint) -> Result<WitnessReply, Fault> {
        let origin = log_origin(self.context.trust().network(), &from.organisation);
        let refused = |refused| Ok(WitnessReply::Refused(refused));
        let Ok(log_key) = <[u8; 32]>::try_from(&from.descriptor.log_key.0[..]) else {
            return refused(WitnessRefused::NotYours);
        };
        let new = match VerifiedCheckpoint::verify(add.note.as_bytes(), &origin, &log_key) {
            Ok(new) => new.checkpoint().clone(),
            Err(error) => {
                tracing::warn!(log = %from.organisation, %error, "not a checkpoint of this member");
                return refused(WitnessRefused::NotYours);
            }
        };
        let Ok(note) = SignedNote::parse(add.note.as_bytes()) else {
            return refused(WitnessRefused::Malformed);
        };
        let AddCheckpoint { old_size, proof, note: signed } = add;
        let observed = self.context.commit(move |tx| {
            let key = Key::new().text(&origin);
            let known: Option<Witnessed> = tx.read(Column::Witnessed, &key)?;
            let before = known.as_ref().map(Witnessed::checkpoint).transpose();
            let before = before.map_err(|_| StoreError::Inconsistent {
                column: Column::Witnessed,
                what: "not a checkpoint",
            })?;
            match observe(before.as_ref(), old_size, &proof, &new) {
                // Cosigned before: it is durable already.
                Ok(()) if before.as_ref() == Some(&new) => {}
                Ok(()) => {
                    let witnessed = Witnessed { note: signed, time: tx.wall() };
                    tx.write(Column::Witnessed, key, &witnessed);
                }
                Err(refusal) => {
                    let known = known.map(|known| known.note);
                    if let Some(known) = known.as_ref().filter(|_| refusal.is_evidence()) {
                        let fork = Fork { known: known.clone(), later: signed, time: tx.wall() };
                        keep(tx, &origin, &new, &fork)?;
                    }
                    return Ok(Observed::Refused(refusal, known));
                }
            }
            Ok::<_, StoreError>(Observed::Durable)
        });
        match observed.await?? {
            Observed::Durable => self.cosign(note).await,
            Observed::Refused(refusal, known) => Ok(answer(from, &refusal, known)),
        }
    }

    async fn cosign(&self, note: SignedNote) -> Result<WitnessReply, Fault> {
        let (name, signer) = (self.name.clone(), Arc::clone(&self.signer));
        let time = self.context.now().wall;
        // A key store may be slow.
        let signed = tokio::task::spawn_blocking(move || {
            CosignerKey::cosign(&name, note.text(), time, &*signer)
        });
        let line = signed.await.map_err(|_| Fault::Failed)??;
        Ok(WitnessReply::Cosigned(line.to_string()))
    }
}

/// Keeps both checkpoints, as evidence against the log.
fn keep(
    tx: &mut Transaction<'_>,
    origin: &str,
    later: &evidence::note::Checkpoint,
    fork: &Fork,
) -> Result<(), StoreError> {
    let prefix = Key::new().text(origin);
    let kept = tx.scan_values::<Fork>(Column::Forks, &Scan::prefix(&prefix, FORKS_LIMIT))?;
    if kept.len() < FORKS_LIMIT {
        tx.write(Column::Forks, prefix.u64(later.size).fixed(&later.root.0), fork);
    }
    Ok(())
}

fn answer(from: &Member, refusal: &WitnessRefusal, known: Option<String>) -> WitnessReply {
    if refusal.is_evidence() {
        tracing::error!(
            log = %from.organisation, %refusal,
            "a log contradicts what it signed before; both checkpoints are kept"
        );
    }
    match refusal {
        WitnessRefusal::Conflict { size }
        | WitnessRefusal::Shrunk { size }
        | WitnessRefusal::Forked { size } => {
            WitnessReply::Conflict(WitnessConflict { size: *size, note: known })
        }
        WitnessRefusal::NotAnExtension { .. } => {
            WitnessReply::Refused(WitnessRefused::Inconsistent)
        }
        WitnessRefusal::Backwards { .. } | WitnessRefusal::OtherOrigin => {
            WitnessReply::Refused(WitnessRefused::Malformed)
        }
    }
}
