//! How the nodes that hold timestamp keys keep the timestamp fresh by themselves, without people: one of
//! them drafts the next, the others sign it if they would have drafted the same. Between two trust
//! lists they strike off whom enough of their operators want struck off (`specs/03-trust.md`,
//! "Timestamps").
//!
//! A machine for one key. The shell makes [`Timestamping::kept`] durable before a signature leaves: a key
//! signs one timestamp of each version, so that of two with the same version only one can ever have a
//! majority.

mod denials;

use serde::{Deserialize, Serialize};
use wire::{
    Bytes, EnvelopeError, Hash, Message, MultiSigned, PublicKey, Timestamp,
    membership::{Denied, NotSigned, RoleKeys, TimestampDraft, TrustTimestamp},
};

pub use denials::{DenialError, Denials, Pending};

use crate::list::{Decided, Trust, check_timestamp_form, denial_signers};

/// How far the clock of whoever drafts may be from ours.
pub const CLOCK_MS: u64 = 5 * 60_000;
/// How many versions a draft may leave out: as many attempts as may fail in a row.
const SKIPS: u64 = 1024;
/// How long after another node an urgent draft is made, if that one makes none.
const URGENT_STEP_MS: u64 = 500;

/// What a key signed last, durable before the signature leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastSigned {
    pub version: u64,
    /// Of the payload.
    pub payload: Hash,
}

/// What must outlive a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    pub last: Option<LastSigned>,
    /// Signed denials.
    pub denials: Vec<Bytes>,
}

/// Why a draft is not signed: the word for the other node, and the reason for this one's operator.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    pub kind: NotSigned,
    pub why: String,
}

fn refused(why: impl ToString) -> Refusal {
    Refusal { kind: NotSigned::Refused, why: why.to_string() }
}

/// The state of one timestamp key.
#[derive(Debug, Clone, Default)]
pub struct Timestamping {
    last: Option<LastSigned>,
    denials: Denials,
    /// Since when somebody is to be struck off who is not.
    urgent_since: Option<Timestamp>,
}

impl Timestamping {
    /// Denials that lapsed in between are forgotten.
    pub fn restore(kept: &Kept, trust: &Trust) -> Self {
        let mut denials = Denials::default();
        for denial in &kept.denials {
            let _ = denials.add(denial, trust);
        }
        Self { last: kept.last, denials, urgent_since: None }
    }

    pub fn kept(&self) -> Kept {
        Kept { last: self.last, denials: self.denials.bytes() }
    }

    /// The highest version that is signed or in force.
    pub fn highest(&self, trust: &Trust) -> u64 {
        self.last.map_or(0, |last| last.version).max(trust.timestamp().version)
    }

    pub fn denials(&self) -> &Denials {
        &self.denials
    }

    /// Takes a signed denial; gives whether it says anything new.
    pub fn add_denial(&mut self, bytes: &[u8], trust: &Trust) -> Result<bool, DenialError> {
        self.denials.add(bytes, trust)
    }

    /// When the node with this key drafts the next timestamp, unless another one has done so by then; never,
    /// if the key has no say. Half a soft expiry after the last one; each further key waits a little more,
    /// and who begins goes round.
    pub fn due(&mut self, trust: &Trust, own: &PublicKey, at: Timestamp) -> Option<Timestamp> {
        let (timestamp, role) = (trust.timestamp(), &trust.root().timestamp);
        let (turn, keys) = (turn(role, own, timestamp.version)?, role.keys.len() as u64);
        if !has_majority(role) {
            return None;
        }
        let fresh_ms = timestamp.soft_expiry.ms_since(timestamp.issued);
        let regular = timestamp.issued.plus_ms(fresh_ms / 2 + turn * (fresh_ms / 4 / keys));
        if self.denylist(trust, trust.decided()) == timestamp.denylist {
            self.urgent_since = None;
            return Some(regular);
        }
        let since = *self.urgent_since.get_or_insert(at);
        Some(regular.min(since.plus_ms(turn * URGENT_STEP_MS)))
    }

    /// The next timestamp, naming what people decided, of a version above all that is known to be spent.
    /// Counts as signed: it is signed with the own key as soon as that is durable.
    pub fn draft(
        &mut self,
        trust: &Trust,
        decided: &Decided,
        spent: u64,
        at: Timestamp,
    ) -> MultiSigned<TrustTimestamp> {
        let (before, known) = (trust.timestamp(), self.highest(trust));
        let highest = spent.clamp(known, known.saturating_add(SKIPS - 1));
        let draft = MultiSigned::new(TrustTimestamp {
            version: highest.saturating_add(1),
            list_version: decided.list().version,
            list_hash: decided.list_hash(),
            issued: at,
            soft_expiry: at.plus_ms(before.soft_expiry.ms_since(before.issued)),
            hard_expiry: at.plus_ms(before.hard_expiry.ms_since(before.issued)),
            denylist: self.denylist(trust, decided),
        });
        self.note(&draft);
        draft
    }

    /// Looks at another node's draft. What comes back is to be signed with the own key, once
    /// [`Self::kept`] is durable.
    pub fn examine(
        &mut self,
        trust: &Trust,
        own: &PublicKey,
        draft: &TimestampDraft,
        at: Timestamp,
    ) -> Result<MultiSigned<TrustTimestamp>, Refusal> {
        let decided = trust.next(&draft.file, at).map_err(refused)?;
        let role = &decided.root().timestamp;
        if !role.keys.contains(own) {
            let why = "this node holds no timestamp key".to_owned();
            return Err(Refusal { kind: NotSigned::NoKey, why });
        }
        if !has_majority(role) {
            return Err(refused("the threshold of the timestamp is no majority of its keys"));
        }
        let proposed = MultiSigned::<TrustTimestamp>::decode(&draft.file.timestamp);
        let proposed = proposed.map_err(refused)?;
        if sole_signers(&proposed, trust, role).map_err(refused)?.is_none() {
            return Err(refused("it is not signed by timestamp keys, and by nobody else"));
        }
        for denial in draft.denials.iter().take(wire::limits::DENIED) {
            self.denials.add(denial, trust).map_err(refused)?;
        }
        self.check(proposed.unverified(), proposed.payload_hash(), trust, &decided, at)?;
        self.note(&proposed);
        Ok(proposed)
    }

    fn check(
        &self,
        proposed: &TrustTimestamp,
        payload: Hash,
        trust: &Trust,
        decided: &Decided,
        at: Timestamp,
    ) -> Result<(), Refusal> {
        check_timestamp_form(proposed).map_err(refused)?;
        let (before, known) = (trust.timestamp(), self.highest(trust));
        let again = Some(LastSigned { version: proposed.version, payload }) == self.last;
        if proposed.version <= before.version || (proposed.version <= known && !again) {
            let why = format!("version {} is spent; {known} is the highest", proposed.version);
            return Err(Refusal { kind: NotSigned::Spent, why });
        }
        if proposed.version > known.saturating_add(SKIPS) {
            return Err(refused("it leaves out too many versions"));
        }
        let list = (proposed.list_version, proposed.list_hash);
        if list != (decided.list().version, decided.list_hash()) {
            return Err(refused("it names another trust list"));
        }
        let apart = proposed.issued.ms_since(at).max(at.ms_since(proposed.issued));
        if apart > CLOCK_MS || proposed.issued < before.issued {
            return Err(refused("it was drafted by another clock"));
        }
        let spans = |t: &TrustTimestamp| {
            (t.soft_expiry.ms_since(t.issued), t.hard_expiry.ms_since(t.issued))
        };
        if spans(proposed) != spans(before) {
            return Err(refused("it would hold for another time than the one before"));
        }
        let expected = self.denylist(trust, decided);
        if let Some(missing) = expected.iter().find(|denied| !proposed.denylist.contains(denied)) {
            return Err(refused(format!("it leaves out who is struck off: {missing}")));
        }
        if let Some(added) = proposed.denylist.iter().find(|denied| !expected.contains(denied)) {
            return Err(refused(format!("it strikes off whom too few want struck off: {added}")));
        }
        Ok(())
    }

    fn note(&mut self, timestamp: &MultiSigned<TrustTimestamp>) {
        let version = timestamp.unverified().version;
        self.last = Some(LastSigned { version, payload: timestamp.payload_hash() });
    }

    /// Who is to be struck off beside that list: whoever was, and whom enough want to be, as long as the list
    /// is the same. With another list all that lapses.
    fn denylist(&self, trust: &Trust, decided: &Decided) -> Vec<Denied> {
        if decided.list_hash() != trust.decided().list_hash() {
            return Vec::new();
        }
        let needed = denial_signers(&decided.root().timestamp);
        let mut all = trust.timestamp().denylist.clone();
        all.extend(self.denials.wanted_by(needed, trust));
        all.sort();
        all.dedup();
        all.truncate(wire::limits::DENIED);
        all
    }
}

/// Whether a timestamp has all the signatures that it takes.
pub fn is_signed_enough(
    timestamp: &MultiSigned<TrustTimestamp>,
    decided: &Decided,
    trust: &Trust,
) -> bool {
    let role = &decided.root().timestamp;
    let signed = timestamp.signers(trust.network(), &role.keys).map_or(0, |keys| keys.len());
    let denies = !timestamp.unverified().denylist.is_empty();
    signed >= role.threshold as usize && (!denies || signed >= denial_signers(role))
}

/// Takes over the signatures of another node's copy, if it is one and nothing in it is broken or a stranger's.
pub fn join_copy(
    timestamp: &mut MultiSigned<TrustTimestamp>,
    copy: &[u8],
    decided: &Decided,
    trust: &Trust,
) -> bool {
    let Ok(copy) = MultiSigned::decode(copy) else { return false };
    let holds = copy.payload_hash() == timestamp.payload_hash()
        && matches!(sole_signers(&copy, trust, &decided.root().timestamp), Ok(Some(_)));
    if holds {
        timestamp.join(&copy);
    }
    holds
}

/// The keys of a role that signed; none if nobody did, or somebody else did too: what strangers add to an
/// envelope is not carried on.
pub(crate) fn sole_signers<M: Message>(
    envelope: &MultiSigned<M>,
    trust: &Trust,
    role: &RoleKeys,
) -> Result<Option<Vec<PublicKey>>, EnvelopeError> {
    let signers = envelope.signers(trust.network(), &role.keys)?;
    Ok(Some(signers).filter(|keys| !keys.is_empty() && keys.len() == envelope.signatures()))
}

/// Any two majorities have a key in common, and that key signs one timestamp of a version.
pub(crate) fn has_majority(role: &RoleKeys) -> bool {
    2 * role.threshold as usize > role.keys.len()
}

/// How many keys come before this one; none has a say twice in a row before all others.
fn turn(role: &RoleKeys, own: &PublicKey, version: u64) -> Option<u64> {
    let (keys, place) = (role.keys.len() as u64, role.keys.binary_search(own).ok()? as u64);
    Some((place + keys - version % keys) % keys)
}

#[cfg(test)]
mod tests;
