//! The source's end of a channel: it applies what the homes owe it, and reports what it could not
//! read. The head always advances: one bad entry never stops a city.

use serde::{Deserialize, Serialize};
use trust::Trust;
use wire::{
    DecisionId, Hash, NetworkId, Nonce, Now, OrganisationId, ServiceId, ServiceName, Signed,
    Timestamp, cbor,
    channel::{
        ChannelHead, ChannelId, Entry, EntryKind, HeadStatement, Position, Progress, Pull, Reached,
    },
    consent::{Attested, Move, Recipient},
    limits,
};

use crate::{
    admission::{
        AdmissionError, AdmittedCollapse, AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd,
        AdmittedMove, ReadDecision,
    },
    guard::Guard,
    home::thread_entry,
    pair::PairState,
    store::{DenyKey, SourceStore, StoreFault},
};

/// The state of a channel at its source, besides pairs, threads and map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceChannel {
    id: ChannelId,
    applied: ChannelHead,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum SourceError {
    #[error("the head statement is for another channel")]
    OtherChannel,
    #[error("the entries do not lead from what is applied to the head that the home signed")]
    Forked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// What became of one entry, for the log.
#[derive(Debug, Clone)]
pub struct AppliedEntry {
    pub seq: u64,
    pub kind: EntryKind,
    pub decision: Option<DecisionId>,
    /// Set if it could not be read, was not entitled, or contradicts its header.
    pub fault: Option<String>,
    /// Entries that had waited, and act from now on.
    pub acted: Vec<Acted>,
}

/// An entry that had waited for the home before to let go, once it acts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acted {
    /// In whose channel it stands.
    pub home: OrganisationId,
    pub seq: u64,
    pub hash: Hash,
    /// As in [`AppliedEntry`].
    pub fault: Option<String>,
}

impl SourceChannel {
    pub fn new(network: &NetworkId, id: ChannelId) -> Self {
        let applied =
            ChannelHead { position: Position::start(network, &id), map: evidence::map::EMPTY_ROOT };
        Self { id, applied }
    }

    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    pub fn applied(&self) -> &ChannelHead {
        &self.applied
    }

    /// How far this channel is here, if these entries of it wait: the first
    /// [`limits::WAITING_ENTRIES`] that the store has of [`SourceStore::put_waiting`]. The home is told
    /// of it once witnesses know of it ([`crate::Puller`]).
    pub fn reached(&self, waiting: Vec<u64>) -> Reached {
        Reached { applied: self.applied.position, waiting }
    }

    /// What the home is told, of which so much is `reached`. `unreadable`: the first
    /// [`limits::PULL_ATTACHMENTS`] that the store has of [`SourceStore::put_unreadable`].
    pub fn progress(&self, reached: Option<Reached>, mut unreadable: Vec<u64>) -> Progress {
        let below = reached.as_ref().map_or(0, |reached| reached.applied.length);
        unreadable.retain(|seq| *seq < below);
        Progress { applied: self.applied.position, reached, unreadable }
    }

    /// The next pull, and up to which direct deny it has looked for those of the home's citizens. They
    /// ride along until the channel brings them back; those behind `after` go first, so that neither
    /// some which the home will not take nor those of other homes hold up the others
    /// ([`crate::Puller::denies_after`]).
    pub fn pull(
        &self,
        store: &dyn SourceStore,
        nonce: Nonce,
        reached: Option<Reached>,
        after: Option<&DenyKey>,
    ) -> Result<(Pull, Option<DenyKey>), StoreFault> {
        let (denies, looked_up_to) = self.denies_to_carry(store, after)?;
        let progress = self.progress(reached, store.unreadable(&self.id.home)?);
        Ok((Pull { channel: self.id.clone(), nonce, progress, denies }, looked_up_to))
    }

    /// Direct denies of the home's citizens, from the first one behind `after` on and around to it, as
    /// many as one pull may carry and look at.
    fn denies_to_carry(
        &self,
        store: &dyn SourceStore,
        after: Option<&DenyKey>,
    ) -> Result<(Vec<Attested>, Option<DenyKey>), StoreFault> {
        let mut waiting = store.direct_denies(after, limits::PULL_LOOKS_AT)?;
        let more = limits::PULL_LOOKS_AT - waiting.len();
        if let Some(after) = after.filter(|_| more > 0) {
            let around = store.direct_denies(None, more)?;
            waiting.extend(around.into_iter().take_while(|(key, _)| key <= after));
        }
        let (mut denies, mut bytes, mut looked_up_to) = (Vec::new(), 0, None);
        for (key, deny) in waiting {
            if store.pair(&key.0)?.home.as_ref() == Some(&self.id.home) {
                bytes += weight(&deny);
                let fits = denies.len() < limits::PULL_ATTACHMENTS && bytes <= limits::PULL_BYTES;
                if !fits && !denies.is_empty() {
                    break;
                }
                denies.push(deny);
            }
            looked_up_to = Some(key);
        }
        Ok((denies, looked_up_to))
    }

    /// The home answered a pull that reported these entries unreadable: it has them on disk.
    pub fn reported(&self, store: &mut dyn SourceStore, unreadable: &[u64]) {
        for seq in unreadable {
            store.drop_unreadable(&self.id.home, *seq);
        }
    }

    /// Applies the entries that are new and checks that they lead to the head the home signed.
    /// Entries from before are passed over; a gap applies nothing. On an error the caller drops
    /// everything this call wrote.
    pub fn apply(
        &mut self,
        store: &mut dyn SourceStore,
        entries: &[Entry],
        statement: &HeadStatement,
        trust: &dyn Absorb,
        now: Now,
    ) -> Result<Vec<AppliedEntry>, SourceError> {
        if statement.channel != self.id {
            return Err(SourceError::OtherChannel);
        }
        let new: Vec<_> =
            entries.iter().filter(|entry| entry.seq >= self.applied.position.length).collect();
        if new.first().is_some_and(|first| first.seq != self.applied.position.length) {
            return Ok(Vec::new()); // a gap: the next pull closes it
        }
        if new.is_empty() && statement.head.position.length != self.applied.position.length {
            return Ok(Vec::new()); // old news, or a head whose entries are still to come
        }
        let mut next = self.clone();
        let mut outcome = Vec::with_capacity(new.len());
        for entry in new {
            if entry.seq != next.applied.position.length {
                return Err(SourceError::Forked);
            }
            let hash = entry.hash();
            let applied = next.apply_entry(store, entry, &hash, trust, now)?;
            store.put_entry(entry);
            next.applied = ChannelHead {
                position: next.applied.position.after(&hash),
                map: thread_entry(store, &entry.subject, entry.seq, &hash)?,
            };
            outcome.push(applied);
        }
        if next.applied != statement.head {
            return Err(SourceError::Forked);
        }
        *self = next;
        store.put_channel(self);
        Ok(outcome)
    }

    fn apply_entry(
        &self,
        store: &mut dyn SourceStore,
        entry: &Entry,
        hash: &Hash,
        trust: &dyn Absorb,
        now: Now,
    ) -> Result<AppliedEntry, StoreFault> {
        let mut pair = store.pair(&entry.subject)?;
        let Absorbed { decision, links, fault, waits, acted } =
            trust.absorb(&self.id, &mut pair, entry, hash, now.wall);
        if waits {
            store.put_waiting(&self.id.home, entry.seq);
        }
        if fault.is_some() {
            store.put_unreadable(&self.id.home, entry.seq);
        }
        for Acted { home, seq, fault, .. } in &acted {
            store.drop_waiting(home, *seq);
            if fault.is_some() {
                store.put_unreadable(home, *seq);
            }
        }
        if let Some(id) = decision {
            if pair.home.as_ref() == Some(&self.id.home) {
                store.drop_direct_deny(&entry.subject, &id);
            } else if pair.knows_deny(&id) {
                // A deny that another municipality took: it holds here, and the pair's own home has
                // to hear of it, or no permit could ever name it.
                if let Ok(deny) = cbor::from_slice(&entry.body) {
                    store.put_direct_deny(&entry.subject, &id, &deny);
                }
            }
        }
        for (recipient, recipient_subject) in links {
            store.put_link(&recipient, &recipient_subject, &entry.subject);
        }
        store.put_pair(&entry.subject, &pair);
        Ok(AppliedEntry { seq: entry.seq, kind: entry.kind, decision, fault, acted })
    }
}

/// Bytes of a signed object with its chain, about.
fn weight(attested: &Attested) -> usize {
    attested.object.len() + attested.chain.iter().map(|c| c.len()).sum::<usize>() + 64
}

/// What an entry did to its pair.
#[derive(Debug, Clone, Default)]
pub struct Absorbed {
    pub decision: Option<DecisionId>,
    /// The recipient, and the citizen's id there, that each applied permit joins to the pair.
    pub links: Vec<(ServiceName, ServiceId)>,
    pub fault: Option<String>,
    /// It waits in the pair, without effect.
    pub waits: bool,
    /// What had waited and acts now.
    pub acted: Vec<Acted>,
}

/// Who judges entries: the trust list. A seam, so that a model checker need not check the same
/// signature a million times.
pub trait Absorb {
    /// See [`absorb`].
    fn absorb(
        &self,
        channel: &ChannelId,
        pair: &mut PairState,
        entry: &Entry,
        hash: &Hash,
        at: Timestamp,
    ) -> Absorbed;
}

impl Absorb for Trust {
    fn absorb(
        &self,
        channel: &ChannelId,
        pair: &mut PairState,
        entry: &Entry,
        hash: &Hash,
        at: Timestamp,
    ) -> Absorbed {
        absorb(channel, pair, entry, hash, self, at)
    }
}

/// Lets one entry of `channel` act on the pair it is about, judged at the time that the home put into
/// its header (never later than `at`). Who replays a pair's entries gets the state that the source
/// had, however much later: this is what an evidence bundle is checked with.
///
/// What comes from a home to come waits in the pair, and acts as soon as the home before has let go:
/// so the state is the same in whatever order the channels of a pair's homes arrive.
pub fn absorb(
    channel: &ChannelId,
    pair: &mut PairState,
    entry: &Entry,
    hash: &Hash,
    trust: &Trust,
    at: Timestamp,
) -> Absorbed {
    let mut absorbed = absorb_one(channel, pair, entry, hash, trust, at);
    if pair.is_home(&channel.home) {
        pair.forget_over(at.min(entry.time));
    }
    while let Some((home, entries, on_removal)) = next_to_act(channel, pair, trust, at) {
        let channel = ChannelId { home, source: channel.source.clone() };
        for (number, entry) in entries.iter().enumerate() {
            let hash = entry.hash();
            let mut waited = absorb_one(&channel, pair, entry, &hash, trust, at);
            if on_removal == Some(number) {
                close_all(&channel, pair, entry);
                waited.fault = Some(HOME_REMOVED.to_owned());
            }
            absorbed.links.extend(waited.links);
            let (home, seq) = (channel.home.clone(), entry.seq);
            absorbed.acted.push(Acted { home, seq, hash, fault: waited.fault });
        }
    }
    absorbed
}

/// The home whose waiting entries are to act now: the pair's, or, where the trust list no longer has
/// that one, the one that the pair moves to from there; then with which of them it begins.
fn next_to_act(
    channel: &ChannelId,
    pair: &mut PairState,
    trust: &Trust,
    at: Timestamp,
) -> Option<(OrganisationId, Vec<Entry>, Option<usize>)> {
    let home = pair.home.clone()?;
    if let Some(entries) = pair.waiting.remove(&home) {
        return Some((home, entries, None));
    }
    let (to, begins, moving) = pair.waiting.iter().find_map(|(to, entries)| {
        let channel = ChannelId { home: to.clone(), source: channel.source.clone() };
        let begin = entries.iter().enumerate().find_map(|(number, entry)| {
            let body = claim(&channel, entry, trust)?.0;
            let at = at.min(entry.time);
            let begin = AdmittedMove::admit_begin(&body, &channel, pair, trust, at).ok()?;
            Some((number, begin))
        });
        begin.map(|(number, begin)| (to.clone(), number, begin))
    })?;
    // Only the trust list's removal of the home brings us here; the entry itself begins below.
    pair.leave(&moving.moving().from, &to, moving.moving().epoch);
    let entries = pair.waiting.remove(&to)?;
    Some((to, entries, Some(begins)))
}

/// Lets an entry stand as a deny of its scope that can be read here, where the source says that it cannot:
/// for a wallet, which shows what the source does. Gives the id under which it stands.
pub fn stand_as_deny(channel: &ChannelId, pair: &mut PairState, entry: &Entry) -> DecisionId {
    let hash = entry.hash();
    apply_unreadable(channel, pair, entry, &hash);
    unreadable_id(channel, &hash)
}

/// A home that is off the trust list has not let its pair go: what it still owed the source, a deny perhaps
/// that it called in force, nobody can tell. So the begin of the next home stands as a deny of everything,
/// under the id of an entry that could not be read, until a permit names it.
pub(crate) fn close_all(channel: &ChannelId, pair: &mut PairState, begin: &Entry) {
    stand_as_deny(channel, pair, begin);
}

/// The move that a move-begin of this channel says it begins; nothing of it is checked.
pub(crate) fn claim(channel: &ChannelId, entry: &Entry, trust: &Trust) -> Option<(Attested, Move)> {
    if entry.kind != EntryKind::MOVE_BEGIN {
        return None;
    }
    let body: Attested = cbor::from_slice(&entry.body).ok()?;
    let signed = Signed::<Move>::decode(&body.object, trust.network()).ok()?;
    let moving = signed.unverified().clone();
    let fits = moving.to == channel.home
        && moving.pair.source == channel.source
        && moving.pair.subject == entry.subject;
    fits.then_some((body, moving))
}

/// Whether an entry comes from a home that says it will be the pair's. Denies never wait.
fn has_to_wait(channel: &ChannelId, pair: &PairState, entry: &Entry, trust: &Trust) -> bool {
    let waits = matches!(
        entry.kind,
        EntryKind::PERMIT
            | EntryKind::KEY_BEGIN
            | EntryKind::KEY_END
            | EntryKind::MOVE_BEGIN
            | EntryKind::MOVE_END
            | EntryKind::COLLAPSE
    );
    let waits = waits || (entry.kind == EntryKind::DENY && !Guard::DeniesNeverWait.holds());
    waits
        && Guard::OldHomeLetsGoFirst.holds()
        && pair.home.as_ref() != Some(&channel.home)
        && (pair.waiting.contains_key(&channel.home) || claim(channel, entry, trust).is_some())
}

/// Whether what waits in a pair stays within bounds: any municipality can claim that somebody moves
/// to it. Claims that a key of the pair signed are not counted against others.
fn may_wait(channel: &ChannelId, pair: &PairState, entry: &Entry, trust: &Trust) -> bool {
    let weight = |entry: &Entry| entry.body.len() + 256;
    match pair.waiting.get(&channel.home) {
        Some(waiting) => {
            waiting.iter().chain([entry]).map(weight).sum::<usize>() <= limits::WAITING
        }
        None => {
            pair.waiting.len() < limits::HOMES_TO_COME
                || claim(channel, entry, trust).is_some_and(|(body, _)| {
                    let signed = Signed::<Move>::decode(&body.object, trust.network()).ok();
                    signed.is_some_and(|signed| {
                        let key = pair.keys.get(&signed.key());
                        key.is_some_and(|key| signed.verify(&key.public_key).is_ok())
                    })
                })
        }
    }
}

fn absorb_one(
    channel: &ChannelId,
    pair: &mut PairState,
    entry: &Entry,
    hash: &Hash,
    trust: &Trust,
    at: Timestamp,
) -> Absorbed {
    if has_to_wait(channel, pair, entry, trust) {
        if may_wait(channel, pair, entry, trust) {
            pair.waiting.entry(channel.home.clone()).or_default().push(entry.clone());
            return Absorbed { waits: true, ..Absorbed::default() };
        }
        // What only opens is left out. Anything else stands as a deny of its scope, once its home is
        // the pair's: nobody fills a stranger's pair, and nothing that closes is lost.
        let opens = matches!(entry.kind, EntryKind::PERMIT | EntryKind::KEY_BEGIN);
        if !opens && pair.waiting.contains_key(&channel.home) {
            apply_unreadable(channel, pair, entry, hash);
        }
        let fault = Some("too much waits for a move to this home".to_owned());
        return Absorbed { fault, ..Absorbed::default() };
    }
    match read(channel, entry, pair, trust, at.min(entry.time)) {
        Ok(Readable::Decision(admitted)) => absorb_decision(channel, pair, entry, hash, &admitted),
        Ok(Readable::KeyBegin(admitted)) => {
            pair.apply_key_begin(&admitted);
            Absorbed::default()
        }
        Ok(Readable::KeyEnd(admitted)) => {
            pair.apply_key_end(&admitted);
            Absorbed::default()
        }
        Ok(Readable::MoveBegin(admitted)) => {
            pair.apply_move_begin(&admitted);
            Absorbed::default()
        }
        Ok(Readable::MoveEnd(admitted)) => {
            pair.apply_move_end(&admitted);
            Absorbed::default()
        }
        Ok(Readable::Collapse(admitted)) => {
            pair.apply_collapse(&admitted);
            Absorbed::default()
        }
        Err(Unreadable { fault, entitled }) => {
            // Read and verified, but from someone who has no say over this pair: no effect. A permit
            // or key-begin would only have opened something: left out, nothing is open. Anything
            // else is a deny of its scope.
            let opens = matches!(entry.kind, EntryKind::PERMIT | EntryKind::KEY_BEGIN);
            if !opens && entitled && Guard::UnreadableDenies.holds() {
                apply_unreadable(channel, pair, entry, hash);
            }
            Absorbed { fault: Some(fault), ..Absorbed::default() }
        }
    }
}

/// Why a begin that counts is reported as one that cannot be read.
const HOME_REMOVED: &str = "the home before is off the trust list and may have owed denies: this begin denies \
                            everything until a permit names it";

fn apply_unreadable(channel: &ChannelId, pair: &mut PairState, entry: &Entry, hash: &Hash) {
    let id = unreadable_id(channel, hash);
    pair.apply_unreadable(id, entry.scope.clone(), channel.home.clone());
}

/// The id under which an entry that could not be read stands as a deny. The channel is in it: another
/// home that copies the entry makes another deny, and cannot stand in the place of this one.
pub fn unreadable_id(channel: &ChannelId, entry: &Hash) -> DecisionId {
    wire::hash_parts("mebuku/unreadable/1", &[&cbor::to_vec(channel), &entry.0]).into()
}

fn absorb_decision(
    channel: &ChannelId,
    pair: &mut PairState,
    entry: &Entry,
    hash: &Hash,
    admitted: &AdmittedDecision,
) -> Absorbed {
    let decision = Some(admitted.id());
    let contradicts = admitted.decision().scope != entry.scope
        || admitted.is_deny() != (entry.kind == EntryKind::DENY);
    if admitted.is_deny() {
        pair.apply_decision(admitted);
        if contradicts && entry.kind != EntryKind::PERMIT {
            // A header that says less than the deny must not narrow it, and one that says more is
            // applied as it stands.
            apply_unreadable(channel, pair, entry, hash);
        }
        let fault = contradicts.then(|| "the entry's header contradicts its deny".to_owned());
        return Absorbed { decision, fault, ..Absorbed::default() };
    }
    let fault = if contradicts {
        if entry.kind != EntryKind::PERMIT {
            apply_unreadable(channel, pair, entry, hash);
        }
        Some("the entry's header contradicts its permit")
    } else if !pair.is_home(&channel.home) {
        Some("a permit from a node that is not the pair's home")
    } else {
        None
    };
    if let Some(fault) = fault {
        return Absorbed { decision, fault: Some(fault.to_owned()), ..Absorbed::default() };
    }
    pair.apply_decision(admitted);
    let link = match (admitted.permit(), &admitted.decision().scope.recipient) {
        (Some(permit), Recipient::Service(recipient)) => {
            Some((recipient.clone(), permit.recipient_subject))
        }
        _ => None,
    };
    Absorbed { decision, links: link.into_iter().collect(), ..Absorbed::default() }
}

fn read(
    channel: &ChannelId,
    entry: &Entry,
    pair: &PairState,
    trust: &Trust,
    at: Timestamp,
) -> Result<Readable, Unreadable> {
    let body: Attested = cbor::from_slice(&entry.body).map_err(Unreadable::new)?;
    let other = || Unreadable::new("the body is about another pair than its header");
    match entry.kind {
        EntryKind::PERMIT | EntryKind::DENY => {
            let read = ReadDecision::read(&body, trust.network()).map_err(Unreadable::new)?;
            let claimed = read.claimed_pair();
            if claimed.source != channel.source || claimed.subject != entry.subject {
                return Err(other());
            }
            read.admit(pair, trust, at).map(Readable::Decision).map_err(Unreadable::from)
        }
        EntryKind::KEY_BEGIN => {
            let begin = AdmittedKeyBegin::admit(&body, channel, pair, trust, at)?;
            if begin.begin().pair.subject != entry.subject {
                return Err(other());
            }
            Ok(Readable::KeyBegin(begin))
        }
        EntryKind::KEY_END => {
            let end = AdmittedKeyEnd::admit(&body, channel, pair, trust, at)?;
            if end.end().pair.subject != entry.subject {
                return Err(other());
            }
            Ok(Readable::KeyEnd(end))
        }
        EntryKind::MOVE_BEGIN | EntryKind::MOVE_END => {
            let begins = entry.kind == EntryKind::MOVE_BEGIN;
            let admit = if begins { AdmittedMove::admit_begin } else { AdmittedMove::admit_end };
            let moving = admit(&body, channel, pair, trust, at)?;
            if moving.moving().pair.subject != entry.subject {
                return Err(other());
            }
            Ok(if begins { Readable::MoveBegin(moving) } else { Readable::MoveEnd(moving) })
        }
        EntryKind::COLLAPSE => {
            let collapse = AdmittedCollapse::admit(&body, channel, pair, trust, at)?;
            if collapse.collapse().subject != entry.subject {
                return Err(other());
            }
            Ok(Readable::Collapse(collapse))
        }
        EntryKind(kind) => Err(Unreadable::new(format!("entry kind {kind} is not known here"))),
    }
}

/// Takes a deny that a wallet handed straight to the source (or had relayed): it holds at once, and
/// goes to the home with the next pull. Says whether it is new.
pub fn accept_direct_deny(
    store: &mut dyn SourceStore,
    deny: &AdmittedDecision,
) -> Result<bool, StoreFault> {
    let subject = deny.decision().pair.subject;
    let mut pair = store.pair(&subject)?;
    if !deny.is_deny() || pair.knows(&deny.id()) {
        return Ok(false);
    }
    pair.apply_decision(deny);
    store.put_pair(&subject, &pair);
    store.put_direct_deny(&subject, &deny.id(), deny.submission());
    Ok(true)
}

enum Readable {
    Decision(AdmittedDecision),
    KeyBegin(AdmittedKeyBegin),
    KeyEnd(AdmittedKeyEnd),
    MoveBegin(AdmittedMove),
    MoveEnd(AdmittedMove),
    Collapse(AdmittedCollapse),
}

struct Unreadable {
    fault: String,
    /// Whether the sender could have a say at all; see [`AdmissionError::NotEntitled`].
    entitled: bool,
}

impl Unreadable {
    fn new(fault: impl ToString) -> Self {
        Self { fault: fault.to_string(), entitled: true }
    }
}

impl From<AdmissionError> for Unreadable {
    fn from(error: AdmissionError) -> Self {
        let entitled = !matches!(error, AdmissionError::NotEntitled | AdmissionError::OutOfTurn(_));
        Self { fault: error.to_string(), entitled }
    }
}
