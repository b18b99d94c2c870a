use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What a run counts, to show that it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Delayed,
    Duplicated,
    Lost,
    GivenUp,
    SlowFetch,
    HomeRestarted,
    SourceRestarted,
    RecipientRestarted,
    HomeRestored,
    SourceRestored,
    RecipientRestored,
    Asleep,
    Frozen,
    SourceClock,
    HomeClock,
    ShorterLease,
    Moved,
    Collapsed,
    AtTheCounter,
    Noted,
}

impl Kind {
    pub const ALL: [(Self, &'static str); 20] = [
        (Self::Delayed, "message delayed"),
        (Self::Duplicated, "message duplicated"),
        (Self::Lost, "message lost"),
        (Self::GivenUp, "answer given up on"),
        (Self::SlowFetch, "slow fetch"),
        (Self::HomeRestarted, "home crashed and restarted"),
        (Self::SourceRestarted, "source crashed and restarted"),
        (Self::RecipientRestarted, "recipient crashed and restarted"),
        (Self::HomeRestored, "home restored from an old copy"),
        (Self::SourceRestored, "source restored from an old copy"),
        (Self::RecipientRestored, "recipient restored from an old copy"),
        (Self::Asleep, "machine asleep"),
        (Self::Frozen, "machine frozen"),
        (Self::SourceClock, "source's wall clock set back"),
        (Self::HomeClock, "home's wall clock set forward"),
        (Self::ShorterLease, "lease setting shortened"),
        (Self::Moved, "pair moved to another home"),
        (Self::Collapsed, "denies collapsed"),
        (Self::AtTheCounter, "released on a present-consent"),
        (Self::Noted, "receipt noted"),
    ];
}

/// How often each kind happened, counted by all threads of a run.
#[derive(Debug, Clone, Default)]
pub struct Counts(Arc<[AtomicU64; Kind::ALL.len()]>);

impl Counts {
    pub fn add(&self, kind: Kind) {
        self.0[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn read(&self) -> [u64; Kind::ALL.len()] {
        std::array::from_fn(|n| self.0[n].load(Ordering::Relaxed))
    }
}
