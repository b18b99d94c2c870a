//! The outside judge: what wallets were told and when, what left the sources and when, what recipients
//! asked and gave out. It knows no machine's inside; it holds the invariants S1 to S4 (DESIGN section 6)
//! against what happened.

use std::collections::{BTreeMap, BTreeSet};

use exchange::{Answer, Declined};
use wire::{Hash, channel::ChannelId};

use crate::{
    cast::{Cast, PaperId, PlainUses, RequestId, Says},
    node::Disk,
    reference::{self, Query, Uses},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Judge {
    /// When the pair's home told a wallet that its paper is accepted (true time): what S1 counts from.
    pub accepted: BTreeMap<PaperId, u64>,
    /// All that a home ever called accepted: what it must never be without.
    holdings: BTreeMap<usize, BTreeSet<PaperId>>,
    /// When a wallet was told that its paper is in force at the source.
    pub told: BTreeMap<PaperId, u64>,
    /// What was released on which permit.
    pub uses: Uses,
    /// The longest head a home granted a lease for, and the longest a source reported.
    granted: BTreeMap<ChannelId, u64>,
    reported: BTreeMap<ChannelId, u64>,
    /// How many presentations left the sources.
    pub departures: usize,
    /// How many of them on a present-consent.
    pub at_the_counter: usize,
    /// How often a home collapsed denies.
    pub collapses: usize,
    /// What left for each request.
    departed: BTreeMap<RequestId, Hash>,
    /// The signed request that a recipient sent under each of its ids.
    pub asked: BTreeMap<RequestId, Hash>,
    /// The presentation that a recipient gave its own system.
    pub given: BTreeMap<RequestId, Hash>,
    /// Of which a source said that it has the receipt.
    pub noted: BTreeSet<RequestId>,
    /// S1's bound: the longest lease that is ever granted, and the drift.
    bound_ms: u64,
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
    pub fn new(bound_ms: u64) -> Self {
        Self { bound_ms, ..Self::default() }
    }

    pub fn violated(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// `at_home`: it is the pair's home that says so.
    pub fn accepted(&mut self, id: PaperId, home: usize, at_home: bool, at: u64) {
        if at_home {
            self.accepted.entry(id).or_insert(at);
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

    /// S3: a home never grants a lease for less than it granted before.
    pub fn grants(&mut self, channel: &ChannelId, length: u64) {
        let before = longest(&mut self.granted, channel, length);
        if length < before {
            self.violated(format!(
                "S3: a home granted a lease for {length} entries after {before}"
            ));
        }
    }

    /// S3: a source never reports less than it reported before.
    pub fn reports(&mut self, channel: &ChannelId, length: u64) {
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
        if self.departed.get(&request) != Some(&presentation) {
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
        let departed = self.departed.entry(passed.request).or_insert(passed.presentation);
        if *departed != passed.presentation {
            let request = passed.request;
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
                if self.accepted.get(&id).is_some_and(|accepted| *at > accepted + self.bound_ms) {
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
