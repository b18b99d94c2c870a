//! A lease: a source's proof that it has seen everything in a channel up to a moment ago.
//!
//! It is counted from the moment the source *sent* the pull, never from when the answer came, by a
//! clock that counts suspend; the wall clock caps it. It lives in memory only: a source that starts
//! anew has none until it has pulled.

use serde::{Deserialize, Serialize};
use wire::{
    Hash, Nonce, Now, Timestamp,
    channel::{ChannelHead, ChannelId, Grant, Position},
};

use crate::guard::Guard;

/// How far two honest clocks may drift apart while a lease runs, in parts per thousand.
pub const DRIFT_PER_MILLE: u64 = 1;

/// Leases outside of this are a fault of the home: shorter ones would keep both ends busy, longer
/// ones would leave a deny without effect for longer than anybody could be told.
pub const LEASES_MS: std::ops::RangeInclusive<u64> = 2_000..=24 * 60 * 60 * 1000;

/// What a source is set to that goes by its own setting instead of what was granted: a mutant.
const OTHER_SETTING_MS: u64 = 60_000;

/// How long the home must wait until a lease it granted has surely run out at the source. Nothing,
/// if none was ever granted.
pub const fn lapse_ms(granted_ms: u64) -> u64 {
    if granted_ms == 0 { 0 } else { granted_ms + granted_ms * DRIFT_PER_MILLE / 1000 + 1 }
}

/// One life of a node, from its start to its end. The monotonic clock can be compared within it,
/// never with that of an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Fresh random bytes.
    pub id: Nonce,
    /// On the monotonic clock.
    pub started_ms: u64,
}

/// When a home did something, on both of its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    pub wall: Timestamp,
    /// On the monotonic clock of [`Moment::run`].
    pub mono_ms: u64,
    pub run: Nonce,
}

impl Moment {
    pub fn new(run: &Run, now: Now) -> Self {
        Self { wall: now.wall, mono_ms: now.mono_ms, run: run.id }
    }

    /// Whether `ms` have surely passed since: both clocks must say so. What was before this run
    /// began counts, on the monotonic clock, from when it began: how long the node was away only the
    /// wall clock says, and that one can be set.
    pub fn is_past(&self, ms: u64, run: &Run, now: Now) -> bool {
        let since_ms = if self.run == run.id { self.mono_ms } else { run.started_ms };
        let passed = now.mono_ms.checked_sub(since_ms).is_some_and(|passed| passed >= ms);
        (passed || !Guard::LapseMonotonic.holds()) && now.wall >= self.wall.plus_ms(ms)
    }
}

/// The lease of one channel at its source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LeaseKeeper {
    channel: ChannelId,
    sent: Option<Sent>,
    lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Sent {
    nonce: Nonce,
    at: Now,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    /// Id of the signed grant.
    pub grant: Hash,
    pub head: ChannelHead,
    pub granted_ms: u64,
    /// When the pull was sent that it answers.
    sent: Now,
}

/// Why a lease does not let anything be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NoLease {
    #[error("no lease was granted since this node started")]
    Never,
    #[error("the lease has run out")]
    RanOut,
    #[error("the lease is for a head that is not applied yet")]
    Behind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum GrantError {
    #[error("the grant is for another channel")]
    OtherChannel,
    #[error("the grant answers no pull that is waiting for one")]
    Unasked,
    #[error("the lease would last {0} ms; 2 s to 24 h can be granted")]
    Duration(u64),
    #[error("the home's clock is {0} ms ahead of ours: one of the two is wrong")]
    Clock(u64),
}

/// How far a home's clock may be ahead of the source's, beside the time that an answer may take. A
/// source whose clock was set back would go on with permits that are over.
pub const CLOCK_AHEAD_MS: u64 = 60_000;

impl LeaseKeeper {
    pub fn new(channel: ChannelId) -> Self {
        Self { channel, sent: None, lease: None }
    }

    /// A pull with this nonce leaves now. An earlier one that is still unanswered no longer counts.
    pub fn sending(&mut self, nonce: Nonce, now: Now) {
        self.sent = Some(Sent { nonce, at: now });
    }

    /// A grant arrived whose signature by the home was checked. `id` is the id of that envelope.
    pub fn granted(&mut self, grant: &Grant, id: Hash) -> Result<(), GrantError> {
        if grant.channel != self.channel {
            return Err(GrantError::OtherChannel);
        }
        let sent = self
            .sent
            .filter(|sent| sent.nonce == grant.nonce || !Guard::GrantAnswersItsPull.holds())
            .ok_or(GrantError::Unasked)?;
        if !LEASES_MS.contains(&grant.granted_ms) {
            return Err(GrantError::Duration(grant.granted_ms));
        }
        let ahead_ms = grant.time.ms_since(sent.at.wall);
        if ahead_ms > CLOCK_AHEAD_MS + crate::pull::TIMEOUT_MS {
            return Err(GrantError::Clock(ahead_ms));
        }
        self.sent = None;
        self.lease = Some(Lease {
            grant: id,
            head: grant.head,
            granted_ms: match Guard::GrantedDuration.holds() {
                true => grant.granted_ms,
                false => OTHER_SETTING_MS,
            },
            sent: sent.at,
        });
        Ok(())
    }

    /// The home said the histories differ, or the member was struck off: nothing more is released.
    pub fn revoke(&mut self) {
        self.lease = None;
        self.sent = None;
    }

    /// The live lease, if everything it covers has been applied.
    pub fn live(&self, applied: &Position, now: Now) -> Result<&Lease, NoLease> {
        let lease = self.lease.as_ref().ok_or(NoLease::Never)?;
        if !lease.runs(now) {
            return Err(NoLease::RanOut);
        }
        let covers = applied.length >= lease.head.position.length;
        if !covers && Guard::AppliedCoversLease.holds() {
            return Err(NoLease::Behind);
        }
        Ok(lease)
    }

    /// When the next pull should leave, on the monotonic clock: a third of the lease after the last
    /// one was sent, at once if there is none.
    pub fn next_pull_ms(&self) -> u64 {
        self.lease.map_or(0, |lease| lease.sent.mono_ms.saturating_add(lease.granted_ms / 3))
    }
}

impl Lease {
    fn runs(&self, now: Now) -> bool {
        // Both clocks must agree that it still runs: the monotonic one cannot be set, the wall
        // clock catches a monotonic one that stood still.
        let monotonic =
            now.mono_ms >= self.sent.mono_ms && now.mono_ms - self.sent.mono_ms < self.granted_ms;
        let wall = now.wall < self.sent.wall.plus_ms(self.granted_ms);
        (monotonic || !Guard::LeaseMonotonic.holds()) && (wall || !Guard::LeaseWallCap.holds())
    }

    pub fn runs_until(&self) -> Timestamp {
        self.sent.wall.plus_ms(self.granted_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: Nonce = Nonce([7; 16]);
    const GRANT: Hash = Hash([9; 32]);

    fn channel() -> ChannelId {
        ChannelId {
            home: wire::OrganisationId::from_base("000020102016").unwrap(),
            source: "9000020102016/lunch".parse().unwrap(),
        }
    }

    fn at(ms: u64) -> Now {
        Now { mono_ms: 1_000_000 + ms, wall: Timestamp(1_800_000_000_000 + ms) }
    }

    fn position(length: u64) -> Position {
        Position { length, chain: Hash([length as u8; 32]) }
    }

    fn grant(length: u64, granted_ms: u64) -> Grant {
        let head = ChannelHead { position: position(length), map: Hash([1; 32]) };
        Grant { channel: channel(), nonce: NONCE, head, granted_ms, time: at(0).wall }
    }

    fn leased(sent: Now, grant_: &Grant) -> LeaseKeeper {
        let mut keeper = LeaseKeeper::new(channel());
        keeper.sending(NONCE, sent);
        keeper.granted(grant_, GRANT).unwrap();
        keeper
    }

    #[test]
    fn it_is_counted_from_when_the_pull_was_sent() {
        // The answer took 5 s; the lease still ends 60 s after the pull left.
        let keeper = leased(at(0), &grant(3, 60_000));
        assert!(keeper.live(&position(3), at(59_999)).is_ok());
        assert_eq!(keeper.live(&position(3), at(60_000)), Err(NoLease::RanOut));
    }

    #[test]
    fn either_clock_ends_it() {
        let keeper = leased(at(0), &grant(3, 60_000));
        let stopped = Now { mono_ms: at(10).mono_ms, wall: at(60_000).wall };
        assert_eq!(keeper.live(&position(3), stopped), Err(NoLease::RanOut));
        let set_back = Now { mono_ms: at(60_000).mono_ms, wall: at(10).wall };
        assert_eq!(keeper.live(&position(3), set_back), Err(NoLease::RanOut));
        let rebooted = Now { mono_ms: 5, wall: at(10).wall };
        assert_eq!(keeper.live(&position(3), rebooted), Err(NoLease::RanOut));
    }

    #[test]
    fn a_head_that_is_not_applied_releases_nothing() {
        let keeper = leased(at(0), &grant(3, 60_000));
        assert_eq!(keeper.live(&position(2), at(1)), Err(NoLease::Behind));
        assert!(keeper.live(&position(4), at(1)).is_ok());
    }

    #[test]
    fn only_the_waiting_pull_is_answered() {
        let mut keeper = LeaseKeeper::new(channel());
        assert_eq!(keeper.granted(&grant(0, 60_000), GRANT), Err(GrantError::Unasked));
        keeper.sending(Nonce([1; 16]), at(0));
        assert_eq!(keeper.granted(&grant(0, 60_000), GRANT), Err(GrantError::Unasked));
        keeper.sending(NONCE, at(0));
        keeper.granted(&grant(0, 60_000), GRANT).unwrap();
        // The same grant again, to stretch the lease.
        assert_eq!(keeper.granted(&grant(0, 60_000), GRANT), Err(GrantError::Unasked));
    }

    #[test]
    fn a_new_node_has_none() {
        let keeper = LeaseKeeper::new(channel());
        assert_eq!(keeper.live(&position(0), at(0)), Err(NoLease::Never));
        assert_eq!(keeper.next_pull_ms(), 0);
        assert_eq!(leased(at(0), &grant(0, 60_000)).next_pull_ms(), at(20_000).mono_ms);
    }

    #[test]
    fn a_lease_no_home_may_grant_is_none() {
        for granted_ms in [0, 1_999, 24 * 60 * 60 * 1000 + 1, u64::MAX] {
            let mut keeper = LeaseKeeper::new(channel());
            keeper.sending(NONCE, at(0));
            let refused = keeper.granted(&grant(0, granted_ms), GRANT);
            assert_eq!(refused, Err(GrantError::Duration(granted_ms)));
            assert_eq!(keeper.live(&position(0), at(1)), Err(NoLease::Never));
        }
    }

    #[test]
    fn a_source_whose_clock_is_far_behind_gets_no_lease() {
        let most = CLOCK_AHEAD_MS + crate::pull::TIMEOUT_MS;
        for (ahead_ms, lease) in [(0, true), (most, true), (most + 1, false)] {
            let mut keeper = LeaseKeeper::new(channel());
            keeper.sending(NONCE, at(0));
            let grant = Grant { time: at(ahead_ms).wall, ..grant(0, 60_000) };
            assert_eq!(keeper.granted(&grant, GRANT).is_ok(), lease, "{ahead_ms}");
            assert_eq!(keeper.live(&position(0), at(1)).is_ok(), lease);
        }
        // A home that lags harms nobody but its own citizens' leases: not even those.
        let mut keeper = LeaseKeeper::new(channel());
        keeper.sending(NONCE, at(500_000));
        keeper.granted(&grant(0, 60_000), GRANT).unwrap();
    }

    #[test]
    fn time_has_passed_when_both_clocks_say_so() {
        let run = Run { id: Nonce([1; 16]), started_ms: at(0).mono_ms };
        let moment = Moment::new(&run, at(10));
        assert!(!moment.is_past(100, &run, at(109)));
        assert!(moment.is_past(100, &run, at(110)));
        let wall_set_ahead = Now { mono_ms: at(20).mono_ms, wall: at(500).wall };
        assert!(!moment.is_past(100, &run, wall_set_ahead));
        let wall_set_back = Now { mono_ms: at(500).mono_ms, wall: at(20).wall };
        assert!(!moment.is_past(100, &run, wall_set_back));
        // After a restart the monotonic clock of before says nothing: a full wait from the start.
        let next = Run { id: Nonce([2; 16]), started_ms: 50 };
        let later = |ms| Now { mono_ms: ms, wall: at(5_000).wall };
        assert!(!moment.is_past(100, &next, later(149)));
        assert!(moment.is_past(100, &next, later(150)));
        // Nor does a monotonic clock that is not of this run.
        assert!(!moment.is_past(100, &run, later(5)));
    }

    #[test]
    fn the_home_waits_longer_than_the_source_releases() {
        assert!(lapse_ms(60_000) > 60_000 + 60);
        assert!(lapse_ms(2_000) > 2_000);
    }
}
