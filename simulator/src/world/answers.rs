//! A source answers: evaluate, fetch, evaluate again inside the durable write, look once more, send.

use std::collections::{BTreeMap, BTreeSet};

use consent::{ChannelStore, UseCount, guard::Guard};
use exchange::{
    Declined, Evaluated, PresentConsent, Previous, View,
    source::{ChannelView, PairView},
};
use wire::{
    Bytes, Now, ServiceId,
    channel::{ChannelHead, ChannelId},
    exchange::{ExchangeReply, Rejection},
};

use super::{Flight, NodeId, World};
use crate::{
    cast::{Cast, PaperId, RequestId},
    judge::Passed,
    node::{Stage, Stored, Work, source_channel},
    reference::Query,
    shared::Shared,
};

/// What a source reads before it decides, as one view of its store.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Facts {
    subject: ServiceId,
    state: consent::PairState,
    /// The channel from the pair's home.
    channel: Option<ChannelFacts>,
    uses: BTreeMap<wire::DecisionId, UseCount>,
    present: Option<Shared<PresentConsent>>,
    previous: Option<Shared<Stored>>,
    now: Now,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ChannelFacts {
    id: ChannelId,
    applied: ChannelHead,
    lease: Result<consent::lease::Lease, consent::lease::NoLease>,
}

impl Facts {
    fn view(&self) -> View<'_> {
        View {
            pair: Some(PairView {
                subject: &self.subject,
                state: &self.state,
                channel: self.channel.as_ref().map(|channel| ChannelView {
                    id: &channel.id,
                    applied: &channel.applied,
                    lease: channel.lease.as_ref().map_err(|none| *none),
                }),
            }),
            uses: &self.uses,
            present: self.present.as_deref(),
            previous: self.previous.as_ref().map(|stored| Previous {
                released: &stored.released,
                presentation: &stored.presentation,
            }),
            at: self.now.wall,
        }
    }

    fn has_lease(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.lease.is_ok())
    }
}

impl World {
    fn facts(
        &self,
        cast: &Cast,
        source: NodeId,
        request: RequestId,
        present: Option<&Shared<PresentConsent>>,
    ) -> Facts {
        let pair = cast.request(request).pair;
        let node = &self.nodes[source];
        let now = self.now(source);
        let subject = cast.subject(pair);
        let state = node.disk.pairs.pair(&subject).expect("memory does not fail");
        let channel = state.home.clone().map(|home| {
            let id = ChannelId { home, source: cast.sources[pair.source].clone() };
            let store = node.disk.channels.get(&id).cloned().unwrap_or_default();
            let applied = *source_channel(&store, cast, &id).applied();
            let lease = match node.memory.pulls.get(&id) {
                Some(puller) => puller.live(&applied.position, now).copied(),
                None => Err(consent::lease::NoLease::Never),
            };
            ChannelFacts { id, applied, lease }
        });
        Facts {
            subject,
            state,
            channel,
            uses: node.disk.pairs.uses.clone(),
            present: present.cloned(),
            previous: node.disk.releases.get(&request).cloned(),
            now,
        }
    }

    fn facts_of(&self, cast: &Cast, source: NodeId, request: RequestId, work: &Work) -> Facts {
        self.facts(cast, source, request, work.present.as_ref())
    }

    /// A signed request arrives, for the first time or again. `back`: who waits for the answer.
    pub fn arrive(
        &mut self,
        cast: &Cast,
        back: Option<NodeId>,
        request: RequestId,
        signed: &Bytes,
    ) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() || self.nodes[source].memory.answers.contains_key(&request)
        {
            return;
        }
        let at = self.now(source).wall;
        let authentic = match cast.authenticate(request, signed, at) {
            Ok(authentic) => authentic,
            Err(rejection) => {
                return self.reply(source, back, request, ExchangeReply::Rejected(rejection));
            }
        };
        let mut present = None;
        if authentic.request().present_consent.is_some() {
            let subject = cast.subject(cast.request(request).pair);
            let state = self.nodes[source].disk.pairs.pair(&subject).expect("memory does not fail");
            match cast.admit_present(&authentic, &state, self.status_age_ms, at) {
                Some(admitted) => present = Some(Shared::new(admitted)),
                None => return self.reply(source, back, request, ExchangeReply::NotPermitted),
            }
        }
        let facts = self.facts(cast, source, request, present.as_ref());
        let stage = match authentic.evaluate(&facts.view()) {
            Ok(Evaluated::Fetch(allowed)) => {
                let stale = (!Guard::EvaluateInCommit.holds()).then(|| Shared::new(facts));
                Stage::Fetching(Shared::new(allowed), stale)
            }
            Ok(Evaluated::Resend(resend)) => Stage::Again(Shared::new(resend)),
            Err(declined) => {
                // Of what stands there, only a refusal is about consent.
                if let (true, Declined::Refused(_)) = (facts.has_lease(), &declined) {
                    self.judge_declined(cast, source, &facts, request, &declined);
                }
                return self.reply(source, back, request, declined.reply());
            }
        };
        let work = Work { request: Shared::new(authentic), present, back, stage };
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, work));
        });
    }

    /// The records are there: evaluated again inside the durable write.
    pub fn commit(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let Some(work) = self.nodes[source].memory.answers.get(&request).cloned() else { return };
        let facts = self.facts_of(cast, source, request, &work);
        let committed = match &work.stage {
            Stage::Fetching(allowed, stale) => {
                let number = cast.request(request).pair.source;
                let read = stale.as_deref().unwrap_or(&facts);
                match cast.prepare((**allowed).clone(), number, facts.now.wall) {
                    Some(prepared) => prepared.commit(&read.view()),
                    None => return,
                }
            }
            Stage::Again(resend) => (**resend).clone().commit(&facts.view()),
            Stage::Leaving(_) => return,
        };
        let committed = match committed {
            Ok(committed) => committed,
            Err(declined) => {
                self.forget(source, request);
                return self.reply(source, work.back, request, declined.reply());
            }
        };
        if let Some(write) = committed.write() {
            let stored = Stored {
                released: write.released.clone(),
                presentation: write.presentation.to_vec(),
                size: self.nodes[source].disk.size() + 1,
            };
            let passed = self.passed_on(cast, source, &facts, request, &stored);
            self.judge.update(|judge| judge.released(cast, &passed));
            let uses = write.uses.to_vec();
            self.nodes[source].update(|node| {
                node.disk.update(|disk| {
                    disk.append(&("release", request));
                    disk.releases.insert(request, Shared::new(stored));
                    if Guard::UseInSameWrite.holds() {
                        disk.pairs.update(|pairs| pairs.uses.extend(uses));
                    }
                });
            });
        }
        let work = Work { stage: Stage::Leaving(Shared::new(committed)), ..work };
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.insert(request, work));
        });
    }

    /// The last look, then the bytes leave.
    pub fn leave(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        if !self.nodes[source].serves() {
            return;
        }
        let Some(work) = self.nodes[source].memory.answers.get(&request).cloned() else { return };
        let Stage::Leaving(committed) = &work.stage else { return };
        if !self.may_leave(source, request) {
            return; // it waits
        }
        let facts = self.facts_of(cast, source, request, &work);
        let sent = (**committed).clone().send(&facts.view());
        self.forget(source, request);
        if let (Ok(_), Some(stored)) = (&sent, &facts.previous) {
            let passed = self.passed_on(cast, source, &facts, request, stored);
            self.judge.update(|judge| judge.left(cast, &passed));
        }
        let reply = sent.unwrap_or_else(|declined| declined.reply());
        self.reply(source, work.back, request, reply);
    }

    /// Whether an answer that is durable may leave, as far as it waits for witnesses.
    pub fn may_leave(&self, source: NodeId, request: RequestId) -> bool {
        let node = &self.nodes[source];
        let waits = match node.memory.answers.get(&request).map(|work| &work.stage) {
            Some(Stage::Leaving(committed)) => committed.awaits_witnesses(),
            _ => false,
        };
        let size = node.disk.releases.get(&request).map_or(0, |stored| stored.size);
        !waits || size <= self.cosigned(source)
    }

    /// The source waits no longer for its witnesses: the recipient may ask again.
    pub fn give_up_answer(&mut self, cast: &Cast, request: RequestId) {
        let source = self.source(cast, cast.request(request).pair);
        self.forget(source, request);
    }

    fn forget(&mut self, source: NodeId, request: RequestId) {
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.answers.remove(&request));
        });
    }

    fn reply(
        &mut self,
        from: NodeId,
        back: Option<NodeId>,
        request: RequestId,
        reply: ExchangeReply,
    ) {
        // A source that is not ready says so, and nothing that a recipient could keep.
        let is_answer = reply != ExchangeReply::Rejected(Rejection::Unavailable);
        if let Some(to) = back.filter(|_| is_answer) {
            self.send(Flight::Reply { from, to, request, reply: Shared::new(reply) });
        }
    }

    /// What a source declined under a live lease is held against the rule: what was asked for the first
    /// time, and what was released before. A present-consent is the counter's matter.
    fn judge_declined(
        &mut self,
        cast: &Cast,
        source: NodeId,
        facts: &Facts,
        request: RequestId,
        declined: &Declined,
    ) {
        if let Some(stored) = &facts.previous {
            let passed = self.passed_on(cast, source, facts, request, stored);
            return self.judge.update(|judge| judge.retry_declined(cast, &passed, declined));
        }
        if facts.present.is_some() {
            return;
        }
        let heard = self.nodes[source].disk.heard.get(&cast.request(request).pair).cloned();
        let heard = heard.unwrap_or_default();
        let query = Query {
            heard: &heard,
            request,
            recipient: cast.request(request).recipient,
            leaf: 0,
            at: facts.now.wall.ms_since(trust::testing::NOW),
            status_age_ms: self.status_age_ms,
        };
        self.judge.update(|judge| judge.declined(cast, query, declined));
    }

    /// What passed on which permit, and what the source has heard of the pair, in plain words.
    fn passed_on(
        &self,
        cast: &Cast,
        source: NodeId,
        facts: &Facts,
        request: RequestId,
        stored: &Stored,
    ) -> Passed {
        let leaves = stored.released.leaves.iter().map(|(item, permit)| {
            let leaf = crate::cast::LEAVES.iter().position(|name| *name == item.as_str());
            let permit: PaperId = cast.by_decision(permit).expect("a permit of the cast");
            (1 << leaf.expect("a leaf of the cast"), permit)
        });
        let heard = self.nodes[source].disk.heard.get(&cast.request(request).pair);
        let heard: BTreeSet<PaperId> = heard.cloned().unwrap_or_default();
        Passed {
            request,
            leaves: leaves.collect(),
            heard,
            presentation: wire::sha256(&stored.presentation),
            at: self.true_ms,
            wall: facts.now.wall.ms_since(trust::testing::NOW),
            status_age_ms: self.status_age_ms,
            is_witnessed: stored.size <= self.cosigned(source),
        }
    }
}
