//! A source answers: evaluate, fetch, evaluate again inside the durable write, look once more, send.

use std::collections::{BTreeMap, BTreeSet};

use consent::{UseCount, guard::Guard};
use exchange::{
    Declined, Evaluated, Previous, View,
    source::{ChannelView, PairView},
};
use wire::{
    Now, ServiceId,
    channel::{ChannelHead, ChannelId},
};

use consent::ChannelStore;

use super::{NodeId, World};
use crate::{
    cast::{Cast, PaperId, RequestId},
    node::{Stage, Stored, source_channel},
    shared::Shared,
};

/// What a source reads before it decides, as one view of its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    subject: ServiceId,
    state: consent::PairState,
    channel: ChannelId,
    applied: ChannelHead,
    lease: Result<consent::lease::Lease, consent::lease::NoLease>,
    uses: BTreeMap<wire::DecisionId, UseCount>,
    previous: Option<Stored>,
    now: Now,
}

impl Facts {
    fn view(&self) -> View<'_> {
        View {
            pair: Some(PairView {
                subject: &self.subject,
                state: &self.state,
                channel: Some(ChannelView {
                    id: &self.channel,
                    applied: &self.applied,
                    lease: self.lease.as_ref().map_err(|none| *none),
                }),
            }),
            uses: &self.uses,
            present: None,
            previous: self.previous.as_ref().map(|stored| Previous {
                released: &stored.released,
                presentation: &stored.presentation,
            }),
            at: self.now.wall,
        }
    }
}
impl World {
    fn facts(&self, cast: &Cast, request: RequestId, source: NodeId) -> Facts {
        let pair = cast.request(request).pair;
        let channel = cast.channel(pair);
        let node = &self.nodes[source];
        let now = self.now(source);
        let store = node.disk.channels.get(&channel).cloned().unwrap_or_default();
        let applied = *source_channel(&store, cast, &channel).applied();
        let lease = match node.memory.pulls.get(&channel) {
            Some(puller) => puller.live(&applied.position, now).copied(),
            None => Err(consent::lease::NoLease::Never),
        };
        let subject = cast.subject(pair);
        Facts {
            state: store.pair(&subject).expect("memory does not fail"),
            subject,
            channel,
            applied,
            lease,
            uses: store.uses.clone(),
            previous: node.disk.releases.get(&request).cloned(),
            now,
        }
    }

    /// A recipient asks, for the first time or again.
    pub fn ask(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() || self.nodes[source].memory.answers.contains_key(&request)
        {
            return;
        }
        let facts = self.facts(cast, request, source);
        let stage = match cast.authentic(request).evaluate(&facts.view()) {
            Ok(Evaluated::Fetch(allowed)) => {
                let stale = (!Guard::EvaluateInCommit.holds()).then(|| Shared::new(facts));
                Stage::Fetching(Shared::new(allowed), stale)
            }
            Ok(Evaluated::Resend(resend)) => Stage::Again(Shared::new(resend)),
            Err(declined) => {
                // Of what stands there, only a refusal is about consent.
                if let (Some(stored), Ok(_), Declined::Refused(_)) =
                    (&facts.previous, &facts.lease, &declined)
                {
                    let (leaves, heard) =
                        self.passed_on(cast, request, source, &stored.released.leaves);
                    let wall_ms = since_start(facts.now);
                    self.judge.update(|judge| {
                        judge.retry_declined(cast, request, &leaves, &heard, wall_ms, &declined);
                    });
                }
                return;
            }
        };
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, stage));
        });
    }

    /// The records are there: evaluated again inside the durable write.
    pub fn commit(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let Some(stage) = self.nodes[source].memory.answers.get(&request).cloned() else { return };
        let facts = self.facts(cast, request, source);
        let at = trust::testing::NOW;
        let committed = match &stage {
            Stage::Fetching(allowed, stale) => {
                let number = cast.request(request).pair.source;
                let facts = stale.as_deref().unwrap_or(&facts);
                match cast.prepare(request, (**allowed).clone(), number, at) {
                    Some(prepared) => prepared.commit(&facts.view()),
                    None => return,
                }
            }
            Stage::Again(resend) => (**resend).clone().commit(&facts.view()),
            Stage::Leaving(_) => return,
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(_) => {
                self.forget(source, request);
                return;
            }
        };
        if let Some(write) = committed.write() {
            let (leaves, heard) = self.passed_on(cast, request, source, &write.released.leaves);
            let (true_ms, wall_ms) = (self.true_ms, since_start(facts.now));
            self.judge.update(|judge| {
                judge.released(cast, request, &leaves, &heard, (true_ms, wall_ms));
            });
            let stored = Stored {
                released: write.released.clone(),
                presentation: write.presentation.to_vec(),
            };
            let uses = write.uses.to_vec();
            self.nodes[source].update(|node| {
                node.disk.update(|disk| {
                    disk.append(&("release", request));
                    disk.releases.insert(request, stored);
                    if Guard::UseInSameWrite.holds() {
                        disk.channel(&facts.channel, |store| store.uses.extend(uses));
                    }
                });
            });
        }
        let stage = Stage::Leaving(Shared::new(committed));
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, stage));
        });
    }

    /// The last look, then the bytes leave.
    pub fn leave(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let answer = self.nodes[source].memory.answers.get(&request).cloned();
        let Some(Stage::Leaving(committed)) = answer else { return };
        let facts = self.facts(cast, request, source);
        let sent = (*committed).clone().send(&facts.view());
        self.forget(source, request);
        if sent.is_ok()
            && let Some(stored) = &facts.previous
        {
            let (leaves, heard) = self.passed_on(cast, request, source, &stored.released.leaves);
            let (true_ms, wall_ms) = (self.true_ms, since_start(facts.now));
            self.judge
                .update(|judge| judge.left(cast, request, &leaves, &heard, (true_ms, wall_ms)));
        }
    }

    fn forget(&mut self, source: NodeId, request: RequestId) {
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.remove(&request));
        });
    }

    /// What passed on which permit, and what the source has heard of the pair, in plain words.
    fn passed_on(
        &self,
        cast: &Cast,
        request: RequestId,
        source: NodeId,
        leaves: &[(wire::ItemType, wire::DecisionId)],
    ) -> (Vec<(u8, PaperId)>, BTreeSet<PaperId>) {
        let leaves = leaves.iter().map(|(item, permit)| {
            let leaf = crate::cast::LEAVES.iter().position(|name| *name == item.as_str());
            let permit = cast.by_decision(permit).expect("a permit of the cast");
            (1 << leaf.expect("a leaf of the cast"), permit)
        });
        let heard = self.nodes[source].disk.heard.get(&cast.request(request).pair);
        (leaves.collect(), heard.cloned().unwrap_or_default())
    }
}

/// What a node's wall clock shows, as the plain words count it.
fn since_start(now: Now) -> u64 {
    now.wall.ms_since(trust::testing::NOW)
}
