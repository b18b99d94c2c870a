//! Guards against the traps that DESIGN section 6 names, each where the code asks for it by name. In
//! every ordinary build all of them hold and the compiler sees a constant. With the feature `mutants`
//! one can be switched off, to prove that the model checker or the simulator notices: what nobody
//! misses when it is gone guards nothing (`specs/14-verification.md`).

/// One guard. The texts stand in the table of `specs/14-verification.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Guard {
    /// A lease is counted from when its pull was sent, not from when the answer came.
    LeaseFromSend,
    /// A lease ends on the monotonic clock, which nobody can set.
    LeaseMonotonic,
    /// A lease ends on the wall clock too, which goes on while a machine is frozen.
    LeaseWallCap,
    /// A grant answers the one pull that waits for it, once.
    GrantAnswersItsPull,
    /// A lease counts only once everything it covers is applied.
    AppliedCoversLease,
    /// A lease lasts as long as the home granted, whatever the source is set to.
    GrantedDuration,
    /// The home keeps the longest lease it may have out across a restart.
    HomeRemembersGrants,
    /// A shorter setting does not shorten leases that are out.
    LongestGrantCounts,
    /// The home counts a lapse on the monotonic clock, too.
    LapseMonotonic,
    /// An entry that can neither be read nor is a permit is a deny of its scope.
    UnreadableDenies,
    /// A deny stands until a permit names it, in whatever order they come.
    DenyStandsUntilNamed,
    /// A key-end voids its permits, whenever they were signed or came.
    KeyEndVoids,
    /// A key that was not begun may not permit.
    KeyMustBegin,
    /// A deny counts by any key ever certified for the pair, an ended one too.
    AnyKeyMayDeny,
    /// Consent is evaluated again inside the durable write.
    EvaluateInCommit,
    /// The lease is looked at again before the first byte leaves.
    LeaseBeforeSend,
    /// Consent is evaluated once more before the first byte leaves.
    EvaluateBeforeSend,
    /// A retry does not count its own use.
    RetryIgnoresOwnUse,
    /// A retry passes only on the permits that its bytes cite.
    RetrySamePermits,
    /// A use is consumed in the same write as the release.
    UseInSameWrite,
    /// Witnesses know of a counted use before the bytes leave.
    UseIsCosigned,
    /// A home asks its witnesses at its start whether its log was longer.
    HomeStartCheck,
    /// So does a source.
    SourceStartCheck,
    /// Nothing is called accepted before witnesses cosigned it.
    AcceptedIsCosigned,
    /// A source says how far it is only as far as its witnesses know.
    ReachedIsCosigned,
    /// A new home's channel counts only after the old one's end.
    OldHomeLetsGoFirst,
    /// The denies of a home to come hold at once.
    DeniesNeverWait,
    /// Leases that ran out say nothing of a pair that moved.
    MovedPairsAwaitTheSource,
    /// What waits at the source is not in force there.
    WaitingIsNotInForce,
    /// What a collapse lists goes on standing.
    CollapsedDeniesStand,
    /// A collapse names the ids that it lists and no other.
    CollapseListsExactIds,
    /// A present-consent names every covering deny that the source holds.
    PresentNamesDenies,
    /// A present-consent is good for the one request that it was signed for.
    PresentForOneRequest,
    /// The status of a present-consent's certificate is not old.
    PresentStatusIsFresh,
    /// A request is durable before it leaves.
    RequestIsDurable,
    /// Of two answers to one request the first stands.
    FirstAnswerStands,
    /// The receipt is owed in the same write that keeps the presentation.
    ReceiptIsOwed,
}

impl Guard {
    pub const ALL: [Self; 37] = [
        Self::LeaseFromSend,
        Self::LeaseMonotonic,
        Self::LeaseWallCap,
        Self::GrantAnswersItsPull,
        Self::AppliedCoversLease,
        Self::GrantedDuration,
        Self::HomeRemembersGrants,
        Self::LongestGrantCounts,
        Self::LapseMonotonic,
        Self::UnreadableDenies,
        Self::DenyStandsUntilNamed,
        Self::KeyEndVoids,
        Self::KeyMustBegin,
        Self::AnyKeyMayDeny,
        Self::EvaluateInCommit,
        Self::LeaseBeforeSend,
        Self::EvaluateBeforeSend,
        Self::RetryIgnoresOwnUse,
        Self::RetrySamePermits,
        Self::UseInSameWrite,
        Self::UseIsCosigned,
        Self::HomeStartCheck,
        Self::SourceStartCheck,
        Self::AcceptedIsCosigned,
        Self::ReachedIsCosigned,
        Self::OldHomeLetsGoFirst,
        Self::DeniesNeverWait,
        Self::MovedPairsAwaitTheSource,
        Self::WaitingIsNotInForce,
        Self::CollapsedDeniesStand,
        Self::CollapseListsExactIds,
        Self::PresentNamesDenies,
        Self::PresentForOneRequest,
        Self::PresentStatusIsFresh,
        Self::RequestIsDurable,
        Self::FirstAnswerStands,
        Self::ReceiptIsOwed,
    ];

    /// Whether the guard holds: always, but in a mutation test that switched it off.
    #[cfg(not(feature = "mutants"))]
    #[inline(always)]
    pub const fn holds(self) -> bool {
        let _ = self;
        true
    }

    #[cfg(feature = "mutants")]
    pub fn holds(self) -> bool {
        OFF.load(std::sync::atomic::Ordering::Relaxed) & (1u64 << self as u32) == 0
    }
}

#[cfg(feature = "mutants")]
static OFF: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// Switches one guard off in this process until [`restore`]. Mutation tests run one after another.
#[cfg(feature = "mutants")]
pub fn switch_off(guard: Guard) {
    OFF.store(1u64 << guard as u32, std::sync::atomic::Ordering::Relaxed);
}

/// All guards hold again.
#[cfg(feature = "mutants")]
pub fn restore() {
    OFF.store(0, std::sync::atomic::Ordering::Relaxed);
}
