//! The outside judge: what wallets were told and when, what left the sources and when, what recipients
//! asked and gave out. It knows no machine's inside; it holds the invariants S1 to S4 (DESIGN section 6)
//! against what happened.

use std::collections::{BTreeMap, BTreeSet};

use exchange::{Answer, Declined};
use wire::{
    Hash, ServiceName,
    channel::{ChannelId, Progress},
};

use crate::{
    cast::{Cast, PaperId, PlainReopen, PlainUses, RequestId, Says},
    node::Disk,
    reference::{self, Query, Uses},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Judge {
    /// S1, of each paper that the pair's home told a wallet to be accepted: until when something that it
    /// forbids may leave still, on a lease that was out by then (true time).
    accepted: BTreeMap<PaperId, u64>,
    /// All that a home ever called accepted: what it must never be without.
    holdings: BTreeMap<usize, BTreeSet<PaperId>>,
    /// When a wallet was told that its paper is in force at the source.
    pub told: BTreeMap<PaperId, u64>,
    /// What was released on which permit.
    pub uses: Uses,
    /// The longest head a home granted a lease for, and the longest a source reported.
    granted: BTreeMap<ChannelId, u64>,
    reported: BTreeMap<ChannelId, u64>,
    /// When the last lease that a source was granted, by whatever home, has surely run out (true time).
    leased: BTreeMap<ServiceName, u64>,
    /// How many presentations left the sources.
    pub departures: usize,
    /// How many of them on a present-consent.
    pub at_the_counter: usize,
    /// How often a home collapsed denies.
    pub collapses: usize,
    /// What left for each request, and whether witnesses knew of it by then.
    departed: BTreeMap<RequestId, BTreeMap<Hash, bool>>,
    /// The signed request that a recipient sent under each of its ids.
    pub asked: BTreeMap<RequestId, Hash>,
    /// The presentation that a recipient gave its own system.
    pub given: BTreeMap<RequestId, Hash>,
    /// Of which a source said that it has the receipt.
    pub noted: BTreeSet<RequestId>,
    /// The first violation seen.
    pub violation: Option<String>,
}

/// A release, in plain words: which leaf passed on which permit, and what the source had heard of.
#[derive(Debug, Clone)]
pub struct Passed {
    pub request: RequestId,
    pub leaves: Vec<(u8, PaperId)>,
    pub heard: BTreeSet<PaperId>,
    pub presentation: Hash,
    /// True time, and what the source's wall clock shows.
    pub at: u64,
    pub wall: u64,
    pub status_age_ms: u64,
    /// Whether the source's witnesses know of the release.
    pub is_witnessed: bool,
}

impl Passed {
    fn query<'a>(&'a self, cast: &Cast, leaf: u8) -> Query<'a> {
        Query {
            heard: &self.heard,
            request: self.request,
            recipient: cast.request(self.request).recipient,
            leaf,
            at: self.wall,
            status_age_ms: self.status_age_ms,
        }
    }
}

impl Judge {
    pub fn violated(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// `at_home`: it is the pair's home that says so.
    pub fn accepted(
        &mut self,
        id: PaperId,
        source: &ServiceName,
        home: usize,
        at_home: bool,
        at: u64,
    ) {
        if at_home {
            let leased = self.leased.get(source).copied().unwrap_or(0);
            self.accepted.entry(id).or_insert(leased.max(at));
        }
        self.holdings.entry(home).or_default().insert(id);
    }

    /// Whether a home has called a paper accepted.
    pub fn has_accepted(&self, home: usize, id: PaperId) -> bool {
        self.holdings.get(&home).is_some_and(|held| held.contains(&id))
    }

    pub fn acceptances(&self) -> usize {
        self.holdings.values().map(BTreeSet::len).sum()
    }

    pub fn in_force(&mut self, id: PaperId, at: u64) {
        self.told.entry(id).or_insert(at);
    }

    /// S3: a home never grants a lease for less than it granted before. `until`: when it has surely run
    /// out.
    pub fn grants(&mut self, channel: &ChannelId, length: u64, until: u64) {
        let leased = self.leased.entry(channel.source.clone()).or_default();
        *leased = until.max(*leased);
        let before = longest(&mut self.granted, channel, length);
        if length < before {
            self.violated(format!(
                "S3: a home granted a lease for {length} entries after {before}"
            ));
        }
    }

    /// S3: a source never tells the home that it has less than it told before.
    pub fn reports(&mut self, channel: &ChannelId, progress: &Progress) {
        let Some(reached) = &progress.reached else { return };
        let length = reached.applied.length;
        let before = longest(&mut self.reported, channel, length);
        if length < before {
            self.violated(format!("S3: a source reported {length} entries after {before}"));
        }
    }

    /// S4: a well-formed, rightly signed deny by a key of the pair is never refused.
    pub fn refused_deny(&mut self, id: PaperId, error: &str) {
        self.violated(format!("S4: deny {id} was refused: {error}"));
    }

    /// S3: a home that serves has everything it ever acknowledged.
    pub fn serves(&mut self, home: usize, disk: &Disk) {
        let mut holdings = self.holdings.get(&home).into_iter().flatten();
        if let Some(lost) = holdings.find(|id| !disk.logged.contains_key(id)).copied() {
            self.violated(format!("S3: paper {lost} was accepted and is gone"));
        }
    }

    /// A recipient sends a request: under one id always the same.
    pub fn asks(&mut self, request: RequestId, signed: Hash) {
        if *self.asked.entry(request).or_insert(signed) != signed {
            self.violated(format!("two requests were signed under the id of request {request}"));
        }
    }

    /// A recipient gives its system a presentation: what a source released, and always the same.
    pub fn given(&mut self, request: RequestId, presentation: Hash) {
        let departed = self.departed.get(&request);
        if !departed.is_some_and(|departed| departed.contains_key(&presentation)) {
            self.violated(format!("what was given out for request {request} was never released"));
        }
        if *self.given.entry(request).or_insert(presentation) != presentation {
            self.violated(format!("two presentations were given out for request {request}"));
        }
    }

    pub fn noted(&mut self, request: RequestId) {
        self.noted.insert(request);
        if !self.given.contains_key(&request) {
            self.violated(format!("a receipt for request {request}, which got nothing"));
        }
    }

    /// A source serves from this disk: what is not on it and never left was not given to anybody.
    pub fn serves_as_source(&mut self, disk: &Disk, ours: impl Fn(RequestId) -> bool) {
        for used in self.uses.values_mut() {
            used.retain(|request, _| {
                let left = self.departed.contains_key(request);
                left || disk.releases.contains_key(request) || !ours(*request)
            });
        }
    }

    /// What a recipient that serves should have on its disk and has not.
    pub fn lacks(&self, disk: &Disk, ours: impl Fn(RequestId) -> bool) -> Option<String> {
        self.given.iter().filter(|(request, _)| ours(**request)).find_map(|(request, given)| {
            let own = disk.requests.get(request);
            let answer = own.and_then(|own| own.stored()).map(|stored| &stored.answer);
            let kept = match answer {
                Some(Answer::Presented { presentation, .. }) => {
                    wire::sha256(presentation) == *given
                }
                _ => false,
            };
            if !kept {
                return Some(format!(
                    "the presentation for request {request} was given out and is gone"
                ));
            }
            let owed = own.is_some_and(|own| own.owed().is_some());
            let missing = !owed && !self.noted.contains(request);
            missing.then(|| format!("the receipt for request {request} is neither owed nor noted"))
        })
    }

    /// A release became durable.
    pub fn released(&mut self, cast: &Cast, passed: &Passed) {
        self.look(cast, passed, "committed");
        for (_, permit) in &passed.leaves {
            self.uses.entry(*permit).or_default().entry(passed.request).or_insert(passed.wall);
            let used = self.uses[permit].len();
            let once = match &cast.paper(*permit).says {
                Says::Permit { uses, .. } => *uses == PlainUses::Once,
                says => matches!(says, Says::Present { .. }),
            };
            if used > 1 && once {
                self.violated(format!("S3: permit {permit}, good once, was spent {used} times"));
            }
        }
    }

    /// Bytes left a source.
    pub fn left(&mut self, cast: &Cast, passed: &Passed) {
        self.departures += 1;
        let present = |(_, permit): &(u8, PaperId)| is_present(cast, *permit);
        self.at_the_counter += usize::from(passed.leaves.iter().any(present));
        // What no witness knew of by then may be forgotten with a disk, and be made anew.
        let Passed { request, presentation, is_witnessed, .. } = *passed;
        let departed = self.departed.entry(request).or_default();
        let is_other = departed.iter().any(|(other, known)| *known && *other != presentation);
        *departed.entry(presentation).or_default() |= is_witnessed;
        if is_other {
            self.violated(format!("two presentations left for request {request}"));
        }
        self.look(cast, passed, "left");
    }

    /// The same request again, declined under a live lease: rightly only if the rule says so.
    pub fn retry_declined(&mut self, cast: &Cast, passed: &Passed, declined: &Declined) {
        let still = passed.leaves.iter().all(|(leaf, permit)| {
            reference::allows(cast, &self.uses, *permit, &passed.query(cast, *leaf))
        });
        if still {
            let request = passed.request;
            self.violated(format!("a retry of request {request} was declined: {declined}"));
        }
    }

    /// A request declined for the first time, under a live lease: rightly only if the rule says so.
    /// `query`: what was heard, for one leaf after the other.
    pub fn declined(&mut self, cast: &Cast, query: Query<'_>, declined: &Declined) {
        let request = query.request;
        let asked = cast.request(request);
        // Left out is what is counted per period, which a clock that was set back may have closed, and what
        // names a list of denies: that names nothing as long as the source has no such list.
        let of_pair = query.heard.iter().copied().filter(|id| {
            let paper = cast.paper(*id);
            let Says::Permit { uses, reopens, .. } = &paper.says else { return false };
            let lists = reopens.iter().any(|named| matches!(named, PlainReopen::Collapsed(_)));
            let is_plain = matches!(uses, PlainUses::Once | PlainUses::Unlimited) && !lists;
            paper.pair == asked.pair && is_plain
        });
        let permits: Vec<_> = of_pair.collect();
        let mut leaves = (0..8).map(|bit| 1 << bit).filter(|leaf| asked.leaves & leaf != 0);
        let opens = |leaf: u8| {
            let query = Query { leaf, ..query };
            permits.iter().any(|permit| reference::allows(cast, &self.uses, *permit, &query))
        };
        let permitted = if asked.whole { leaves.all(opens) } else { leaves.any(opens) };
        if permitted {
            self.violated(format!("request {request} was declined against the rule: {declined}"));
        }
    }

    fn look(&mut self, cast: &Cast, passed: &Passed, what: &str) {
        let Passed { request, heard, at, .. } = passed;
        let everything: BTreeSet<PaperId> =
            heard.iter().chain(self.accepted.keys()).chain(self.told.keys()).copied().collect();
        for (leaf, permit) in &passed.leaves {
            let query = passed.query(cast, *leaf);
            if !reference::allows(cast, &self.uses, *permit, &query) {
                self.violated(format!(
                    "request {request} {what} against the rule on permit {permit}"
                ));
            }
            // At the counter, what the source has not heard of is excluded from S1 and S2.
            let known = if is_present(cast, *permit) { heard } else { &everything };
            let against: Vec<_> = reference::standing(cast, known, *permit, query.recipient, *leaf)
                .chain(reference::voids(cast, known, *permit))
                .collect();
            for id in against {
                if self.accepted.get(&id).is_some_and(|until| at > until) {
                    self.violated(format!(
                        "S1: request {request} {what} at {at} ms, long after paper {id} was accepted"
                    ));
                }
                if self.told.contains_key(&id) {
                    self.violated(format!(
                        "S2: request {request} {what} after paper {id} was told to be in force"
                    ));
                }
            }
        }
    }
}

/// The longest length seen of a channel before this one, which is kept if it is longer.
fn longest(seen: &mut BTreeMap<ChannelId, u64>, channel: &ChannelId, length: u64) -> u64 {
    match seen.get_mut(channel) {
        Some(known) => std::mem::replace(known, length.max(*known)),
        None => {
            seen.insert(channel.clone(), length);
            0
        }
    }
}

fn is_present(cast: &Cast, permit: PaperId) -> bool {
    matches!(cast.paper(permit).says, Says::Present { .. })
}
