//! The outside judge: what wallets were told and when, what left the sources and when. It knows no
//! machine's inside; it holds the invariants S1 to S4 (DESIGN section 6) against what happened.

use std::collections::{BTreeMap, BTreeSet};

use exchange::Declined;
use wire::channel::ChannelId;

use crate::{
    cast::{Cast, PaperId, PlainUses, RequestId, Says},
    node::Disk,
    reference::{self, Uses},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Judge {
    /// When a home told a wallet that its paper is accepted (true time).
    pub accepted: BTreeMap<PaperId, u64>,
    /// The same by home: what it must never be without.
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
    /// S1's bound: the longest lease that is ever granted, and the drift.
    bound_ms: u64,
    /// The first violation seen.
    pub violation: Option<String>,
}

impl Judge {
    pub fn new(bound_ms: u64) -> Self {
        Self { bound_ms, ..Self::default() }
    }

    fn violated(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    pub fn accepted(&mut self, id: PaperId, home: usize, at: u64) {
        self.accepted.entry(id).or_insert(at);
        self.holdings.entry(home).or_default().insert(id);
    }

    pub fn in_force(&mut self, id: PaperId, at: u64) {
        self.told.entry(id).or_insert(at);
    }

    /// S3: a home never grants a lease for less than it granted before.
    pub fn grants(&mut self, channel: &ChannelId, length: u64) {
        let seen = self.granted.entry(channel.clone()).or_default();
        let before = std::mem::replace(seen, length.max(*seen));
        if length < before {
            self.violated(format!(
                "S3: a home granted a lease for {length} entries after {before}"
            ));
        }
    }

    /// S3: a source never reports less than it reported before.
    pub fn reports(&mut self, channel: &ChannelId, length: u64) {
        let seen = self.reported.entry(channel.clone()).or_default();
        let before = std::mem::replace(seen, length.max(*seen));
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

    /// A release became durable.
    pub fn released(
        &mut self,
        cast: &Cast,
        request: RequestId,
        leaves: &[(u8, PaperId)],
        heard: &BTreeSet<PaperId>,
        (at, wall): (u64, u64),
    ) {
        self.look(cast, request, leaves, heard, (at, wall), "committed");
        for (_, permit) in leaves {
            self.uses.entry(*permit).or_default().entry(request).or_insert(wall);
            let used = self.uses[permit].len();
            let says = &cast.paper(*permit).says;
            if used > 1 && matches!(says, Says::Permit { uses: PlainUses::Once, .. }) {
                self.violated(format!("S3: permit {permit}, good once, was spent {used} times"));
            }
        }
    }

    /// Bytes left a source.
    pub fn left(
        &mut self,
        cast: &Cast,
        request: RequestId,
        leaves: &[(u8, PaperId)],
        heard: &BTreeSet<PaperId>,
        times: (u64, u64),
    ) {
        self.departures += 1;
        self.look(cast, request, leaves, heard, times, "left");
    }

    /// The same request again, declined under a live lease: rightly only if the rule says so.
    pub fn retry_declined(
        &mut self,
        cast: &Cast,
        request: RequestId,
        leaves: &[(u8, PaperId)],
        heard: &BTreeSet<PaperId>,
        at: u64,
        declined: &Declined,
    ) {
        let recipient = cast.request(request).recipient;
        let still = leaves.iter().all(|(leaf, permit)| {
            reference::allows(cast, heard, &self.uses, *permit, (request, recipient, *leaf, at))
        });
        if still {
            self.violated(format!("a retry of request {request} was declined: {declined}"));
        }
    }

    fn look(
        &mut self,
        cast: &Cast,
        request: RequestId,
        leaves: &[(u8, PaperId)],
        heard: &BTreeSet<PaperId>,
        (at, wall): (u64, u64),
        what: &str,
    ) {
        let recipient = cast.request(request).recipient;
        let everything: BTreeSet<PaperId> =
            heard.iter().chain(self.accepted.keys()).chain(self.told.keys()).copied().collect();
        for (leaf, permit) in leaves {
            let query = (request, recipient, *leaf, wall);
            if !reference::allows(cast, heard, &self.uses, *permit, query) {
                self.violated(format!(
                    "request {request} {what} against the rule on permit {permit}"
                ));
            }
            let against: Vec<_> = reference::standing(cast, &everything, *permit, recipient, *leaf)
                .chain(reference::voids(cast, &everything, *permit))
                .collect();
            for id in against {
                if self.accepted.get(&id).is_some_and(|accepted| at > accepted + self.bound_ms) {
                    self.violated(format!("S1: request {request} {what} at {at} ms, long after paper {id} was accepted"));
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
