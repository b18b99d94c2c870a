//! The rule once more, written plainly over plain words: what the machines are judged by. It shares no
//! code with `consent`; it is slow and short.

use std::collections::{BTreeMap, BTreeSet};

use crate::cast::{Cast, Paper, PaperId, PlainReopen, PlainScope, PlainUses, RequestId, Says};

/// What a permit was used for: the requests that were given something on it, and when.
pub type Uses = BTreeMap<PaperId, BTreeMap<usize, u64>>;

fn covers(scope: &PlainScope, recipient: usize, leaf: u8) -> bool {
    scope.leaves & leaf != 0 && scope.recipient.is_none_or(|named| named == recipient)
}

/// The denies among `papers` that stand against one leaf for one recipient and that `permit` does not
/// name.
pub fn standing<'a>(
    cast: &'a Cast,
    papers: &'a BTreeSet<PaperId>,
    permit: PaperId,
    recipient: usize,
    leaf: u8,
) -> impl Iterator<Item = PaperId> + 'a {
    let Paper { pair, says, .. } = cast.paper(permit);
    let (Says::Permit { reopens, .. } | Says::Present { reopens, .. }) = says else {
        panic!("paper {permit} is no permit")
    };
    papers.iter().copied().filter(move |id| {
        let paper = cast.paper(*id);
        if paper.pair != *pair {
            return false;
        }
        let (Says::Deny { scope } | Says::Unknown { scope }) = &paper.says else { return false };
        let named = reopens.iter().any(|reopen| match reopen {
            PlainReopen::Deny(deny) => deny == id,
            PlainReopen::Collapsed(listed) => listed.contains(id),
            PlainReopen::Phone(phone) => {
                paper.phone == *phone
                    && matches!(paper.says, Says::Deny { .. })
                    && ends(cast, papers, permit, *phone).next().is_some()
            }
        });
        covers(scope, recipient, leaf) && !named
    })
}

/// The key-ends among `papers` of a phone of the pair that `permit` belongs to.
pub fn ends<'a>(
    cast: &'a Cast,
    papers: &'a BTreeSet<PaperId>,
    permit: PaperId,
    phone: usize,
) -> impl Iterator<Item = PaperId> + 'a {
    let pair = cast.paper(permit).pair;
    papers.iter().copied().filter(move |id| {
        let paper = cast.paper(*id);
        paper.pair == pair && matches!(&paper.says, Says::KeyEnds { phone: of, .. } if *of == phone)
    })
}

/// The key-ends that void a permit.
pub fn voids<'a>(
    cast: &'a Cast,
    papers: &'a BTreeSet<PaperId>,
    permit: PaperId,
) -> impl Iterator<Item = PaperId> + 'a {
    let phone = cast.paper(permit).phone;
    ends(cast, papers, permit, phone).filter(move |end| match &cast.paper(*end).says {
        Says::KeyEnds { keeps, .. } => !keeps.contains(&permit),
        _ => false,
    })
}

/// What a source has heard of, who asks for what, and when.
#[derive(Debug, Clone, Copy)]
pub struct Query<'a> {
    pub heard: &'a BTreeSet<PaperId>,
    pub request: RequestId,
    pub recipient: usize,
    pub leaf: u8,
    /// By the source's wall clock.
    pub at: u64,
    /// How old the status of a present-consent may be.
    pub status_age_ms: u64,
}

/// Whether a permit allows one leaf to one recipient, by what was heard and was used before.
pub fn allows(cast: &Cast, uses: &Uses, permit: PaperId, query: &Query<'_>) -> bool {
    let Query { heard, request, recipient, leaf, at, .. } = *query;
    let paper = cast.paper(permit);
    let covered = match &paper.says {
        Says::Permit { scope, until_ms, .. } => {
            heard.contains(&permit) && at < *until_ms && covers(scope, recipient, leaf)
        }
        // Handed over with its one request, and heard of nowhere else.
        Says::Present { request: named, status_ms, .. } => {
            *named == request && at.saturating_sub(*status_ms) <= query.status_age_ms
        }
        _ => false,
    };
    let begun = heard.iter().any(|id| {
        let begin = cast.paper(*id);
        begin.pair == paper.pair
            && matches!(begin.says, Says::KeyBegins { phone } if phone == paper.phone)
    });
    // A retry is no further use: its own was counted when it was released.
    let used = uses.get(&permit).filter(|used| !used.contains_key(&request));
    let times = used.into_iter().flat_map(BTreeMap::values);
    let spent = match &paper.says {
        Says::Permit { uses: PlainUses::Unlimited, .. } => false,
        Says::Permit { uses: PlainUses::Per { count, period_ms }, .. } => {
            times.filter(|used| *used / period_ms == at / period_ms).count() >= *count as usize
        }
        _ => times.count() > 0,
    };
    covered
        && begun
        && !spent
        && voids(cast, heard, permit).next().is_none()
        && standing(cast, heard, permit, recipient, leaf).next().is_none()
}
