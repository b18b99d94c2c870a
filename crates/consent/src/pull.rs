//! When a source pulls one channel, and the lease that comes of it: every third of a lease, at once if
//! entries are missing or a deny waits, after a growing pause if pulls fail.

use wire::{
    Hash, Nonce, Now,
    channel::{ChannelId, Grant, Position, Reached},
};

use crate::{
    guard::Guard,
    lease::{GrantError, Lease, LeaseKeeper, NoLease},
    store::DenyKey,
};

/// The pause after a pull that failed; doubled with each further one.
pub const FIRST_PAUSE_MS: u64 = 500;
/// Where the doubling ends. Shorter than the home's for pushes: without a lease nothing is released.
pub const LONGEST_PAUSE_MS: u64 = 4_000;
/// The least time from one pull to the next, but where the first brought entries and more wait.
pub const LEAST_MS: u64 = 200;
/// A pull that was not answered for this long counts as failed.
pub const TIMEOUT_MS: u64 = 30_000;
/// How often a home is asked whose history differs from ours: people have to settle it.
pub const FORKED_MS: u64 = 30_000;

/// The pacing and the lease of one channel, in memory only: a source that starts anew has no lease
/// until it has pulled.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Puller {
    keeper: LeaseKeeper,
    /// When the next pull leaves (monotonic).
    due_ms: u64,
    /// When the last pull left (monotonic).
    begun_ms: Option<u64>,
    on_its_way: bool,
    /// Someone was in a hurry since the pull on its way left.
    hurried: bool,
    pause_ms: u64,
    /// How far the home is told that this source is: what its witnesses know, and in the source's log up to
    /// which leaf that is.
    told: Option<(Reached, u64)>,
    /// What it will be told once they have cosigned this leaf of the source's log: the oldest that waits for
    /// them and the newest, so that witnesses who are slower than what comes in are not waited for in vain.
    untold: Vec<(Reached, u64)>,
    /// Direct denies up to this one were carried by an answered pull.
    denies_after: Option<DenyKey>,
    /// The last one that the pull on its way carries.
    carries: Option<DenyKey>,
}

impl Puller {
    /// The first pull is due at once.
    pub fn new(channel: ChannelId) -> Self {
        Self {
            keeper: LeaseKeeper::new(channel),
            due_ms: 0,
            begun_ms: None,
            on_its_way: false,
            hurried: false,
            pause_ms: FIRST_PAUSE_MS,
            told: None,
            untold: Vec::new(),
            denies_after: None,
            carries: None,
        }
    }

    /// When to look again, on the monotonic clock.
    pub fn wake_at_ms(&self) -> u64 {
        match self.begun_ms {
            Some(begun_ms) if self.on_its_way => begun_ms.saturating_add(TIMEOUT_MS),
            _ => self.due_ms,
        }
    }

    /// Entries are missing, or a direct deny waits: pull soon, whatever pause there is.
    pub fn hurry(&mut self, now: Now) {
        self.hurried = self.on_its_way;
        self.due_ms = self.due_ms.min(self.soon(now));
    }

    /// Whether a pull leaves now. If so the lease that answers it is counted from here, and it is on
    /// its way until [`Puller::pulled`], [`Puller::failed`] or [`Puller::forked`].
    pub fn begin(&mut self, nonce: Nonce, now: Now) -> bool {
        if self.on_its_way {
            if now.mono_ms < self.wake_at_ms() {
                return false;
            }
            self.failed(now);
        }
        if now.mono_ms < self.due_ms {
            return false;
        }
        self.keeper.sending(nonce, now);
        self.begun_ms = Some(now.mono_ms);
        self.on_its_way = true;
        self.hurried = false;
        self.carries = None;
        true
    }

    /// The channel is so far here, and all of it in the log up to `leaf`. What the home is told is told
    /// for good: it calls decisions in force, and forgets what it owed. So witnesses have to know first,
    /// or a source that is put back to before that would never hear of them.
    pub fn reached(&mut self, reached: Reached, leaf: u64) {
        if !Guard::ReachedIsCosigned.holds() {
            self.told = Some((reached, leaf));
            return;
        }
        // Two commits may be told of in another order than they were made in.
        let mut known = self.told.iter().chain(&self.untold);
        if known.all(|(known, of)| *of <= leaf && *known != reached) {
            self.untold.truncate(1);
            self.untold.push((reached, leaf));
        }
    }

    /// The next leaf that witnesses have to cosign before the home is told more.
    pub fn untold(&self) -> Option<u64> {
        self.untold.first().map(|(_, leaf)| *leaf)
    }

    /// They have cosigned the source's log up to `leaf`. Says whether the home is to be told more.
    pub fn witnessed(&mut self, leaf: u64) -> bool {
        let known = self.untold.partition_point(|(_, of)| *of <= leaf);
        let newest = self.untold.drain(..known).next_back();
        let news = newest.is_some();
        self.told = newest.or(self.told.take());
        news
    }

    /// What the home is told to be in force; nothing before witnesses know anything.
    pub fn told(&self) -> Option<&Reached> {
        self.told.as_ref().map(|(reached, _)| reached)
    }

    /// Where the direct denies of the next pull start: see [`crate::source::SourceChannel::pull`].
    pub fn denies_after(&self) -> Option<&DenyKey> {
        self.denies_after.as_ref()
    }

    /// The pull on its way carries direct denies up to this one.
    pub fn carries(&mut self, last: Option<DenyKey>) {
        self.carries = last;
    }

    /// The home answered. The grant's signature was checked; its id is that of the envelope. The
    /// entries that came with it are applied, up to `applied`; `brought`: there were some.
    ///
    /// An error gives no lease and has been taken into account: the next pull comes after a pause,
    /// and an answer to a pull that does not wait for one changes nothing.
    pub fn pulled(
        &mut self,
        grant: &Grant,
        id: Hash,
        applied: &Position,
        brought: bool,
        now: Now,
    ) -> Result<(), GrantError> {
        if !Guard::LeaseFromSend.holds() {
            self.keeper.sending(grant.nonce, now);
        }
        match self.keeper.granted(grant, id) {
            Ok(()) => {}
            Err(GrantError::Unasked) => return Err(GrantError::Unasked),
            Err(error) => {
                self.failed(now);
                return Err(error);
            }
        }
        let behind = applied.length < grant.head.position.length;
        // A home that says there is more and sends nothing is asked again at its pace, not at ours.
        self.due_ms = if behind && brought {
            now.mono_ms
        } else if self.hurried {
            self.soon(now)
        } else {
            self.keeper.next_pull_ms().max(self.soon(now))
        };
        self.on_its_way = false;
        self.hurried = false;
        self.pause_ms = FIRST_PAUSE_MS;
        if let Some(last) = self.carries.take() {
            self.denies_after = Some(last);
        }
        Ok(())
    }

    /// No answer, or none that can be used. The lease runs on as long as it runs.
    pub fn failed(&mut self, now: Now) {
        let pause_ms = if self.hurried { 0 } else { self.pause_ms };
        self.due_ms = now.mono_ms.saturating_add(pause_ms).max(self.soon(now));
        self.pause_ms = (self.pause_ms * 2).min(LONGEST_PAUSE_MS);
        self.on_its_way = false;
        self.hurried = false;
        self.carries = None;
    }

    /// The histories of home and source differ: nothing is released on this channel, and the home is
    /// asked now and then.
    pub fn forked(&mut self, now: Now) {
        self.keeper.revoke();
        self.due_ms = now.mono_ms.saturating_add(FORKED_MS);
        self.on_its_way = false;
        self.hurried = false;
        self.carries = None;
    }

    /// The live lease, if all it covers is applied.
    pub fn live(&self, applied: &Position, now: Now) -> Result<&Lease, NoLease> {
        self.keeper.live(applied, now)
    }

    pub fn keeper(&self) -> &LeaseKeeper {
        &self.keeper
    }

    /// As soon as the least time between two pulls allows.
    fn soon(&self, now: Now) -> u64 {
        let least_ms = self.begun_ms.map_or(0, |begun_ms| begun_ms.saturating_add(LEAST_MS));
        now.mono_ms.max(least_ms)
    }
}

#[cfg(test)]
mod tests;
