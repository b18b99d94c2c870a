//! The home's end of a channel: it accepts what citizens sign, owes every entry to the source, and
//! grants leases. Everything it owes is in the store; what is not acknowledged yet *is* the outbox.

mod moves;

use std::{cell::RefCell, collections::BTreeSet};

use evidence::map::{self, MapNode, MapNodes, NodeKey};
use serde::{Deserialize, Serialize};
use wire::{
    DecisionId, Hash, NetworkId, Now, OrganisationId, ServiceId, Timestamp, cbor,
    channel::{ChannelHead, ChannelId, Entry, EntryKind, Position, Progress, Pull},
    citizen::InForce,
    consent::{Attested, Reopen, Scope},
    limits,
};

pub use moves::adopt;

use crate::{
    admission::{AdmittedCollapse, AdmittedDecision, AdmittedKeyBegin, AdmittedKeyEnd, ObjectId},
    guard::Guard,
    lease::{Moment, Run, lapse_ms},
    pair::{KeyStanding, PairState, StandingPermit},
    store::{ChannelStore, HomeEntries, HomeEntry, HomeStore, StoreFault},
};

/// The state of a channel at its home, besides its entries, pairs and map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeChannel {
    id: ChannelId,
    /// Before the first entry.
    start: Position,
    head: ChannelHead,
    /// How many entries the source has said to have applied, as its witnesses know.
    acknowledged: u64,
    /// Of so many of them it is known whether they have effect there.
    told: u64,
    /// Entries that have none yet: they wait there for the home before to let their pair go.
    waiting: BTreeSet<u64>,
    /// The longest lease that may be out. Kept on disk before a longer one leaves: a home that forgot
    /// it would tell citizens "in force" too early.
    longest_grant_ms: u64,
    /// Set while shorter ones are granted.
    lowering: Option<Lowering>,
}

/// Nothing longer than `to_ms` was granted since a moment: once what was granted before has run out,
/// it is the longest.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lowering {
    to_ms: u64,
    since: Moment,
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum HomeError {
    #[error("the permit cannot be accepted: {0}")]
    KeyStanding(#[from] KeyStanding),
    #[error("this key of the pair has already begun")]
    AlreadyBegun,
    #[error("the permit is over already")]
    Over,
    #[error("{0} permits of this pair are not over yet: no further one is taken")]
    TooManyPermits(usize),
    #[error("the pair's home is {0}, which takes its permits and keys")]
    OtherHome(OrganisationId),
    #[error(
        "{0} entries of this channel wait for homes before to let go: try again once some have"
    )]
    TooManyWaiting(usize),
    #[error("the source's position is not in this channel's history")]
    Forked,
    #[error(transparent)]
    Store(#[from] StoreFault),
}

/// What became of something handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Accepted {
    pub entry: HomeEntry,
    /// Whether it was there before; the same thing handed in twice is accepted once.
    pub known: bool,
}

/// Consecutive entries for the source and the head they lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub entries: Vec<Entry>,
    pub head: ChannelHead,
}

/// What a grant says, to be signed once what [`HomeChannel::grant`] wrote is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    pub head: ChannelHead,
    pub granted_ms: u64,
    pub batch: Batch,
    /// The longest lease that may be out, if this pull changed it: for the log.
    pub longest_grant_ms: Option<u64>,
    /// Whether anything was written. Most pulls need no write.
    pub wrote: bool,
}

impl HomeChannel {
    pub fn new(network: &NetworkId, id: ChannelId) -> Self {
        let start = Position::start(network, &id);
        let head = ChannelHead { position: start, map: map::EMPTY_ROOT };
        Self {
            id,
            start,
            head,
            acknowledged: 0,
            told: 0,
            waiting: BTreeSet::new(),
            longest_grant_ms: 0,
            lowering: None,
        }
    }

    pub fn id(&self) -> &ChannelId {
        &self.id
    }

    pub fn head(&self) -> &ChannelHead {
        &self.head
    }

    /// How many entries the source has said to have applied; the rest is owed.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// The longest lease that may be out, in milliseconds; 0 if there never was one.
    pub fn longest_grant_ms(&self) -> u64 {
        self.longest_grant_ms
    }

    /// Accepts a decision. A deny is never refused; a permit needs a key that stands.
    pub fn accept_decision(
        &mut self,
        store: &mut dyn HomeStore,
        decision: &AdmittedDecision,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = decision.decision().pair.subject;
        let mut pair = store.pair(&subject)?;
        // What is known from the register that a moved citizen brought has no entry here yet.
        if pair.knows(&decision.id())
            && let Some(entry) =
                self.find(store, &subject, |entry| entry.decision == Some(decision.id()))?
        {
            return Ok(Accepted { entry, known: true });
        }
        if let Some(permit) = StandingPermit::new(decision) {
            pair.key_stands(&decision.id(), &permit, now.wall)?;
            if !pair.is_home(&self.id.home) {
                // Its key stands, so that a home began it.
                let home = pair.home.as_ref().unwrap_or(&self.id.home);
                return Err(HomeError::OtherHome(home.clone()));
            }
            // One that is over and forgotten would be taken for new, again and again.
            if now.wall >= permit.permit.valid_until {
                return Err(HomeError::Over);
            }
            let open = pair.open_permits(now.wall);
            if open >= limits::PERMITS {
                return Err(HomeError::TooManyPermits(open));
            }
        }
        pair.apply_decision(decision);
        let kind = if decision.is_deny() { EntryKind::DENY } else { EntryKind::PERMIT };
        let scope = decision.decision().scope.clone();
        let body = decision.submission();
        self.append(store, kind, subject, scope, body, Some(decision.id()), pair, run, now)
    }

    pub fn accept_key_begin(
        &mut self,
        store: &mut dyn HomeStore,
        begin: &AdmittedKeyBegin,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = begin.begin().pair.subject;
        let mut pair = store.pair(&subject)?;
        if pair.keys.contains_key(&begin.key()) {
            let known = self.find_object(store, &subject, EntryKind::KEY_BEGIN, begin.id())?;
            return known.ok_or(HomeError::AlreadyBegun);
        }
        pair.apply_key_begin(begin);
        let (kind, body) = (EntryKind::KEY_BEGIN, begin.submission());
        self.append(store, kind, subject, Scope::EVERYTHING, body, None, pair, run, now)
    }

    pub fn accept_key_end(
        &mut self,
        store: &mut dyn HomeStore,
        end: &AdmittedKeyEnd,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = end.end().pair.subject;
        let mut pair = store.pair(&subject)?;
        if pair.ended.contains_key(&end.end().key)
            && let Some(known) = self.find_object(store, &subject, EntryKind::KEY_END, end.id())?
        {
            return Ok(known);
        }
        pair.apply_key_end(end);
        let (kind, body) = (EntryKind::KEY_END, end.submission());
        self.append(store, kind, subject, Scope::EVERYTHING, body, None, pair, run, now)
    }

    pub fn accept_collapse(
        &mut self,
        store: &mut dyn HomeStore,
        collapse: &AdmittedCollapse,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let subject = collapse.collapse().subject;
        let mut pair = store.pair(&subject)?;
        pair.apply_collapse(collapse);
        let (kind, body) = (EntryKind::COLLAPSE, collapse.submission());
        self.append(store, kind, subject, Scope::EVERYTHING, body, None, pair, run, now)
    }

    /// Answers a pull, after any denies it brought were accepted. Writes only what is news: entries
    /// newly acknowledged or newly reported unreadable, and a longest grant that changes. What is
    /// written must be durable before the grant is signed.
    ///
    /// Grants and acceptances of one channel happen in one order: whoever answers a pull has to see
    /// every entry whose [`HomeEntry::accepted`] is earlier. A view of the store from before an
    /// entry that is just being written would grant a lease that outlasts the entry's lapse.
    pub fn grant(
        &mut self,
        store: &mut dyn HomeStore,
        pull: &Pull,
        granted_ms: u64,
        run: &Run,
        now: Now,
    ) -> Result<Terms, HomeError> {
        let batch = self.batch_after(store, &pull.progress.applied)?;
        let mut wrote = self.acknowledge(store, &pull.progress, now)?;
        let (longest_ms, lowering) = (self.longest_grant_ms, self.lowering.clone());
        self.note_grant(granted_ms, run, now);
        if (longest_ms, &lowering) != (self.longest_grant_ms, &self.lowering) {
            if Guard::HomeRemembersGrants.holds() {
                store.put_channel(self);
            }
            wrote = true;
        }
        let changed = longest_ms != self.longest_grant_ms;
        let longest_grant_ms = changed.then_some(self.longest_grant_ms);
        Ok(Terms { head: self.head, granted_ms, batch, longest_grant_ms, wrote })
    }

    fn note_grant(&mut self, granted_ms: u64, run: &Run, now: Now) {
        if granted_ms >= self.longest_grant_ms || !Guard::LongestGrantCounts.holds() {
            self.longest_grant_ms = granted_ms;
            self.lowering = None;
            return;
        }
        let wait_ms = lapse_ms(self.longest_grant_ms);
        match &self.lowering {
            Some(lowering) if lowering.to_ms >= granted_ms => {
                if lowering.since.is_past(wait_ms, run, now) {
                    self.longest_grant_ms = lowering.to_ms;
                    self.lowering = None;
                }
            }
            _ => {
                let since = Moment::new(run, now);
                self.lowering = Some(Lowering { to_ms: granted_ms, since });
            }
        }
    }

    /// The next entries after a position, if it lies in this channel's history.
    pub fn batch_after(
        &self,
        store: &dyn HomeEntries,
        applied: &Position,
    ) -> Result<Batch, HomeError> {
        self.batch_of(store, applied, limits::ENTRIES)
    }

    /// The same with at most so many entries: for the model, whose channels are short.
    pub fn batch_of(
        &self,
        store: &dyn HomeEntries,
        applied: &Position,
        most: usize,
    ) -> Result<Batch, HomeError> {
        let mut head = self.head_at(store, applied.length)?;
        if head.position != *applied {
            return Err(HomeError::Forked);
        }
        let mut entries = Vec::new();
        let mut size = 0;
        for seq in applied.length..self.head.position.length {
            let row = self.row(store, seq)?;
            size += row.entry.body.len() + 512;
            // The first entry always goes, however large: a channel must never stall.
            if entries.len() == most || (seq > applied.length && size > limits::FRAME / 2) {
                break;
            }
            head = row.head;
            entries.push(row.entry);
        }
        Ok(Batch { entries, head })
    }

    /// What the source said of how far it is. Says whether that is news.
    pub fn acknowledge(
        &mut self,
        store: &mut dyn HomeStore,
        progress: &Progress,
        now: Now,
    ) -> Result<bool, HomeError> {
        let Progress { applied, reached, unreadable } = progress;
        self.lies_in_history(store, applied)?;
        let Some(reached) = reached else { return Ok(false) };
        self.lies_in_history(store, &reached.applied)?;
        let length = reached.applied.length;
        let waiting = Listed::new(&reached.waiting, limits::WAITING_ENTRIES, length);
        let unreadable = Listed::new(unreadable, limits::PULL_ATTACHMENTS, length);
        let told = waiting.until.min(unreadable.until);
        // What acts once acts for good, so that reports may come in any order.
        let open = self.waiting.range(..told).copied().chain(self.told..told);
        let before = (self.acknowledged, self.told);
        let (mut moved, mut noted) = (false, false);
        for seq in open.chain(unreadable.seqs.iter().copied()).collect::<BTreeSet<_>>() {
            let is_unreadable = unreadable.has(seq);
            if !is_unreadable && waiting.has(seq) && Guard::WaitingIsNotInForce.holds() {
                moved |= self.waiting.insert(seq);
                continue;
            }
            moved |= self.waiting.remove(&seq);
            let mut row = self.row(store, seq)?;
            let known = (row.acknowledged, row.unreadable);
            if is_unreadable {
                row.unreadable.get_or_insert(now.wall);
            } else if row.unreadable.is_none() {
                row.acknowledged.get_or_insert(now.wall);
            }
            if known != (row.acknowledged, row.unreadable) {
                store.put_entry(&row);
                noted = true;
            }
        }
        self.acknowledged = self.acknowledged.max(length);
        self.told = self.told.max(told);
        moved |= before != (self.acknowledged, self.told);
        if moved {
            store.put_channel(self);
        }
        Ok(moved || noted)
    }

    fn lies_in_history(
        &self,
        store: &dyn HomeEntries,
        position: &Position,
    ) -> Result<(), HomeError> {
        let ours = self.head_at(store, position.length)?.position;
        if ours == *position { Ok(()) } else { Err(HomeError::Forked) }
    }

    /// Appends an entry as it is, unchecked and without effect at this end: what a faulty home does.
    /// For tests and the model; `entry.seq` is filled in.
    #[cfg(any(test, feature = "testing"))]
    pub fn append_unchecked(
        &mut self,
        store: &mut dyn HomeStore,
        entry: Entry,
        run: &Run,
        now: Now,
    ) -> Result<HomeEntry, HomeError> {
        let seq = self.head.position.length;
        let entry = Entry { seq, ..entry };
        self.append_entry(store, entry, None, run, now)
    }

    fn head_at(&self, store: &dyn HomeEntries, length: u64) -> Result<ChannelHead, HomeError> {
        if length == self.head.position.length {
            return Ok(self.head);
        }
        if length > self.head.position.length {
            return Err(HomeError::Forked);
        }
        match length.checked_sub(1) {
            Some(last) => Ok(self.row(store, last)?.head),
            None => Ok(ChannelHead { position: self.start, map: map::EMPTY_ROOT }),
        }
    }

    fn row(&self, store: &dyn HomeEntries, seq: u64) -> Result<HomeEntry, HomeError> {
        store
            .entry(seq)?
            .ok_or_else(|| StoreFault(format!("entry {seq} of a channel is missing")).into())
    }

    fn find(
        &self,
        store: &dyn HomeStore,
        subject: &ServiceId,
        wanted: impl Fn(&HomeEntry) -> bool,
    ) -> Result<Option<HomeEntry>, HomeError> {
        for seq in store.thread(subject)?.seqs {
            let row = self.row(store, seq)?;
            if wanted(&row) {
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// The entry that a signed object came to, if it came before.
    fn find_object(
        &self,
        store: &dyn HomeStore,
        subject: &ServiceId,
        kind: EntryKind,
        id: ObjectId,
    ) -> Result<Option<Accepted>, HomeError> {
        let same = |row: &HomeEntry| row.entry.kind == kind && id.is_of(&row.entry.body);
        let entry = self.find(store, subject, same)?;
        Ok(entry.map(|entry| Accepted { entry, known: true }))
    }

    /// The next entry about a whole pair, unless it is about less.
    fn next_entry(&self, kind: EntryKind, subject: ServiceId, body: &Attested, now: Now) -> Entry {
        let seq = self.head.position.length;
        let body = cbor::to_vec(body).into();
        Entry { seq, kind, subject, scope: Scope::EVERYTHING, time: now.wall, body }
    }

    #[allow(clippy::too_many_arguments)] // the fields of one entry, and where it goes
    fn append(
        &mut self,
        store: &mut dyn HomeStore,
        kind: EntryKind,
        subject: ServiceId,
        scope: Scope,
        body: &Attested,
        decision: Option<DecisionId>,
        mut pair: PairState,
        run: &Run,
        now: Now,
    ) -> Result<Accepted, HomeError> {
        let entry = Entry { scope, ..self.next_entry(kind, subject, body, now) };
        if pair.is_home(&self.id.home) {
            pair.forget_over(now.wall);
        }
        store.put_pair(&subject, &pair);
        let entry = self.append_entry(store, entry, decision, run, now)?;
        Ok(Accepted { entry, known: false })
    }

    fn append_entry(
        &mut self,
        store: &mut dyn HomeStore,
        entry: Entry,
        decision: Option<DecisionId>,
        run: &Run,
        now: Now,
    ) -> Result<HomeEntry, HomeError> {
        let hash = entry.hash();
        self.head = ChannelHead {
            position: self.head.position.after(&hash),
            map: thread_entry(store, &entry.subject, entry.seq, &hash)?,
        };
        let row = HomeEntry {
            entry,
            head: self.head,
            decision,
            accepted: Moment::new(run, now),
            longest_grant_ms: self.longest_grant_ms,
            acknowledged: None,
            unreadable: None,
        };
        store.put_entry(&row);
        store.put_channel(self);
        Ok(row)
    }
}

/// Sequence numbers as a source lists them, and below which number the list says it all.
struct Listed<'a> {
    seqs: &'a [u64],
    until: u64,
}

impl<'a> Listed<'a> {
    /// `most`: a list of so many says nothing of what is behind its last. Of what lies beyond `length` a
    /// list says nothing either.
    fn new(listed: &'a [u64], most: usize, length: u64) -> Self {
        let listed = &listed[..listed.len().min(most)];
        let until = match listed.last() {
            Some(last) if listed.len() == most => length.min(last.saturating_add(1)),
            _ => length,
        };
        let below = listed.iter().take_while(|seq| **seq < length).count();
        Self { seqs: &listed[..below], until }
    }

    fn has(&self, seq: u64) -> bool {
        self.seqs.binary_search(&seq).is_ok()
    }
}

/// Whether the source is bound by an entry, and since when. Without its word it is, once every lease
/// that was granted without knowing the entry has surely run out.
pub fn in_force(entry: &HomeEntry, channel: &HomeChannel, run: &Run, now: Now) -> InForce {
    if let Some(since) = entry.unreadable {
        return InForce::Unreadable(since);
    }
    if let Some(since) = entry.acknowledged {
        return InForce::Acknowledged(since);
    }
    // Both are bounds: the channel's may have been raised since, or lowered because the longer ones
    // have run out.
    let wait_ms = lapse_ms(entry.longest_grant_ms.min(channel.longest_grant_ms));
    if entry.accepted.is_past(wait_ms, run, now) {
        InForce::LeasesLapsed(entry.accepted.wall.plus_ms(wait_ms))
    } else {
        InForce::Accepted
    }
}

/// What `home` may say of an entry's force for this pair. Where the source releases under another home's
/// leases, or, since the pair moved, may still do so, only the source's own word counts: that it has the
/// entry, and not among those that wait.
pub fn in_force_for(pair: &PairState, home: &OrganisationId, status: InForce) -> InForce {
    let moves =
        (pair.has_moved() || !pair.is_home(home)) && Guard::MovedPairsAwaitTheSource.holds();
    match status {
        InForce::LeasesLapsed(_) if moves => InForce::Accepted,
        status => status,
    }
}

/// The denies to collapse now, sorted: those that no standing permit names, once they are more than
/// [`limits::DENIES`]. Only for the pair's home.
pub fn collapse_due(pair: &PairState, at: Timestamp) -> Option<Vec<DecisionId>> {
    collapse_beyond(pair, limits::DENIES, at)
}

/// The same beyond so many denies: for the model, whose citizens sign few.
pub fn collapse_beyond(pair: &PairState, most: usize, at: Timestamp) -> Option<Vec<DecisionId>> {
    if pair.denies.len() <= most {
        return None;
    }
    let stands = |id: &DecisionId, permit: &StandingPermit| {
        at < permit.permit.valid_until && pair.key_stands(id, permit, at).is_ok()
    };
    let standing = pair.permits.iter().filter(|(id, permit)| stands(id, permit));
    let named: BTreeSet<&DecisionId> = standing
        .flat_map(|(_, permit)| &permit.permit.reopens)
        .filter_map(|reopen| match reopen {
            Reopen::Deny(id) => Some(id),
            Reopen::Key(_) | Reopen::Collapsed(_) => None,
        })
        .collect();
    let unnamed: Vec<_> = pair.denies.keys().filter(|id| !named.contains(id)).copied().collect();
    let due = unnamed.len() > most;
    due.then(|| unnamed.into_iter().take(limits::COLLAPSED).collect())
}

/// Adds an entry to its pair's thread and brings the Merkle map up to it; gives the map's new root.
pub(crate) fn thread_entry<S: ChannelStore + ?Sized>(
    store: &mut S,
    subject: &ServiceId,
    seq: u64,
    entry: &Hash,
) -> Result<Hash, StoreFault> {
    let mut thread = store.thread(subject)?;
    thread.extend(seq, entry);
    let update = {
        let nodes = StoreNodes { store: &*store, fault: RefCell::new(None) };
        let update = map::update(&nodes, &Hash(subject.0), &thread.digest);
        if let Some(fault) = nodes.fault.into_inner() {
            return Err(fault);
        }
        if let Some(damaged) = update.damaged {
            return Err(StoreFault(damaged.to_string()));
        }
        update
    };
    for (key, node) in &update.writes {
        store.put_map_node(key, node);
    }
    store.put_thread(subject, &thread);
    Ok(update.root)
}

/// Reads map nodes for `evidence::map`, which knows nothing of stores that fail.
struct StoreNodes<'a, S: ChannelStore + ?Sized> {
    store: &'a S,
    fault: RefCell<Option<StoreFault>>,
}

impl<S: ChannelStore + ?Sized> MapNodes for StoreNodes<'_, S> {
    fn node(&self, key: &NodeKey) -> Option<MapNode> {
        self.store.map_node(key).unwrap_or_else(|fault| {
            self.fault.borrow_mut().get_or_insert(fault);
            None
        })
    }
}
