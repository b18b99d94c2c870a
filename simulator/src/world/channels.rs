//! The two ends of a channel at work: pulls, pushes, leases.

use std::collections::BTreeSet;

use consent::{Puller, Pusher, home::HomeError, source::SourceError, store::SourceStore};
use wire::{
    Nonce, Now,
    channel::{
        ChannelHead, ChannelId, Entry, Grant, HeadStatement, Position, Progress, Pull, Reached,
    },
};

use super::{Flight, NodeId, World, papers::HandInError};
use crate::{
    cast::{Cast, PairId, PaperId, Says},
    node::{AtSource, Disk, Node, Pulling, home_channel, source_channel},
    shared::Shared,
};

impl World {
    /// Whether a push would carry anything.
    pub fn owes(&self, cast: &Cast, home: NodeId, channel: &ChannelId) -> bool {
        self.nodes[home].disk.channels.get(channel).is_some_and(|store| {
            let machine = home_channel(store, cast, channel);
            machine.acknowledged() < machine.head().position.length
        })
    }

    /// The source pulls, if a pull is due.
    pub fn pull(&mut self, cast: &Cast, source: NodeId, channel: &ChannelId) {
        if !self.nodes[source].serves() {
            return;
        }
        let now = self.now(source);
        let home = self.home_of(cast, channel);
        let run = u128::from_be_bytes(self.nodes[source].memory.run.id.0);
        let nonce = Nonce((run | u128::from(now.mono_ms)).to_be_bytes());
        let known = self.cosigned(source);
        let pull = self.nodes[source].update(|node| {
            let due = node.memory.update(|memory| {
                let puller = memory.puller(channel);
                puller.begin(nonce, now).then(|| puller.denies_after().copied())
            });
            let after = due?;
            let told = told(cast, node, channel, known);
            let mut pairs = node.disk.pairs.clone();
            let mut kept = node.disk.channels.get(channel).cloned().unwrap_or_default();
            let machine = source_channel(&kept, cast, channel);
            let store = AtSource { pairs: &mut pairs, channel: &mut kept };
            let pulled = machine.pull(&store, nonce, told, after.as_ref());
            let (pull, last) = pulled.expect("memory does not fail");
            node.memory.update(|memory| memory.puller(channel).carries(last));
            Some(pull)
        });
        let Some(pull) = pull else { return };
        self.judge.update(|judge| judge.reports(channel, &pull.progress));
        self.send(Flight::Pull { from: source, to: home, pull: Shared::new(pull) });
    }

    /// The home pushes what is owed, if a push is due.
    pub fn push(&mut self, cast: &Cast, home: NodeId, channel: &ChannelId) {
        if !self.nodes[home].serves() {
            return;
        }
        let now = self.now(home);
        let due = self.nodes[home]
            .update(|node| node.memory.update(|memory| memory.pusher(channel).begin(now)));
        if !due {
            return;
        }
        let Some(store) = self.nodes[home].disk.channels.get(channel) else { return };
        let machine = home_channel(store, cast, channel);
        let applied = self.nodes[home].memory.pushes.get(channel).and_then(Pusher::applied);
        let start = match (applied, machine.acknowledged()) {
            (Some(applied), _) => *applied,
            (None, 0) => Position::start(&cast.network.id, channel),
            (None, seen) => store.home_entries[seen as usize - 1].head.position,
        };
        let batch = match machine.batch_after(&**store, &start) {
            Ok(batch) if !batch.entries.is_empty() => batch,
            other => {
                self.nodes[home].update(|node| {
                    node.memory.update(|memory| match other {
                        Ok(_) => memory.pusher(channel).idle(),
                        Err(_) => memory.pusher(channel).failed(now),
                    });
                });
                return;
            }
        };
        let to = self.source_of(cast, channel);
        let entries = batch.entries.into_iter().map(Shared::new).collect();
        self.send(Flight::Push {
            from: home,
            to,
            channel: channel.clone(),
            entries,
            head: batch.head,
        });
    }

    pub(super) fn pulled(
        &mut self,
        cast: &Cast,
        source: NodeId,
        grant: &Grant,
        unreadable: &[u64],
        (entries, head): (&[Shared<Entry>], ChannelHead),
    ) {
        let channel = &grant.channel;
        match self.apply(cast, source, channel, entries, head, unreadable) {
            Some((applied, news)) => {
                let (now, id) = (self.now(source), grant_id(grant));
                self.nodes[source].update(|node| {
                    node.memory.update(|memory| {
                        // What is wrong with a grant only its sender could mend.
                        let _ = memory.puller(channel).pulled(grant, id, &applied, news > 0, now);
                    });
                });
            }
            None => self.forked(source, channel),
        }
    }

    pub(super) fn pushed(
        &mut self,
        cast: &Cast,
        (from, source): (NodeId, NodeId),
        channel: &ChannelId,
        (entries, head): (&[Shared<Entry>], ChannelHead),
    ) {
        match self.apply(cast, source, channel, entries, head, &[]) {
            Some(_) => {
                if self.prompt_witness {
                    self.cosign(cast, source);
                }
                let known = self.cosigned(source);
                let progress = self.nodes[source].update(|node| {
                    let told = told(cast, node, channel, known);
                    let kept = node.disk.channels.get(channel).cloned().unwrap_or_default();
                    let unreadable = node.disk.pairs.unreadable(&channel.home);
                    let unreadable = unreadable.expect("memory does not fail");
                    source_channel(&kept, cast, channel).progress(told, unreadable)
                });
                self.judge.update(|judge| judge.reports(channel, &progress));
                let channel = channel.clone();
                let progress = Shared::new(progress);
                self.send(Flight::Applied { from: source, to: from, channel, progress });
            }
            None => self.forked(source, channel),
        }
    }

    pub(super) fn applied(
        &mut self,
        cast: &Cast,
        home: NodeId,
        channel: &ChannelId,
        progress: &Progress,
    ) {
        let now = self.now(home);
        self.nodes[home].update(|node| {
            let done = node.disk.update(|disk| {
                disk.channel(channel, |store| {
                    let mut machine = home_channel(store, cast, channel);
                    machine.acknowledge(store, progress, now).ok()?;
                    Some(progress.applied.length < machine.head().position.length)
                })
            });
            node.memory.update(|memory| match done {
                Some(more) => memory.pusher(channel).pushed(progress.applied, more, now),
                None => memory.pusher(channel).failed(now),
            });
        });
    }

    pub(super) fn forked(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).forked(now));
        });
    }

    /// A pull comes. If it brings denies, answering takes more than one write.
    pub(super) fn answer_pull(
        &mut self,
        cast: &Cast,
        from: NodeId,
        home: NodeId,
        pull: &Shared<Pull>,
    ) {
        if pull.denies.is_empty() {
            return self.grant(cast, from, home, pull);
        }
        let pulling = Pulling { from, pull: pull.clone(), looked_at: 0 };
        self.nodes[home].update(|node| {
            node.memory.update(|memory| memory.pulled.push(pulling));
        });
    }

    /// A home goes on with the pull that it is answering: takes the next deny that it brought, or grants.
    pub fn answer(&mut self, cast: &Cast, home: NodeId) {
        let Some(pulling) = self.nodes[home].memory.pulled.first().cloned() else { return };
        let Pulling { from, pull, looked_at } = pulling;
        let next = pull.denies.get(looked_at);
        self.nodes[home].update(|node| {
            node.memory.update(|memory| match next {
                Some(_) => memory.pulled[0].looked_at += 1,
                None => drop(memory.pulled.remove(0)),
            });
        });
        match next {
            None => self.grant(cast, from, home, &pull),
            Some(deny) => {
                let Some(id) = cast.by_attested(deny) else { return };
                if let Err(HandInError::Refused(error)) =
                    self.take(cast, home, &pull.channel, id, &[])
                {
                    self.judge.update(|judge| judge.refused_deny(id, &error));
                }
            }
        }
    }

    fn grant(&mut self, cast: &Cast, from: NodeId, home: NodeId, pull: &Pull) {
        let (now, granted_ms) = (self.now(home), self.nodes[home].lease_ms);
        let (run, batch) = (self.nodes[home].memory.run, self.batch);
        let channel = &pull.channel;
        let (terms, record) = self.nodes[home].update(|node| {
            node.disk.update(|disk| {
                let terms = disk.channel(channel, |store| {
                    let mut machine = home_channel(store, cast, channel);
                    let mut terms = machine.grant(store, pull, granted_ms, &run, now)?;
                    terms.batch = machine.batch_of(store, &pull.progress.applied, batch)?;
                    Ok::<_, HomeError>(terms)
                });
                let longest = terms.as_ref().ok().and_then(|terms| terms.longest_grant_ms);
                let record = longest.map(|longest| disk.append(&("longest grant", longest)));
                (terms, record)
            })
        });
        if let Some(record) = record {
            self.nodes[home].update(|node| {
                node.memory.update(|memory| memory.grants_known = record.max(memory.grants_known));
            });
        }
        let known = self.nodes[home].memory.grants_known;
        if self.prompt_witness && self.cosigned(home) < known {
            self.cosign(cast, home);
        }
        if self.cosigned(home) < known {
            // No lease leaves before the witnesses know of the longest: unavailable.
            self.give_up(from, channel);
            return;
        }
        match terms {
            Ok(terms) => {
                self.nodes[home].update(|node| {
                    node.memory.update(|memory| {
                        memory.pusher(channel).heard(pull.progress.applied);
                    });
                });
                let grant = Grant {
                    channel: channel.clone(),
                    nonce: pull.nonce,
                    head: terms.head,
                    granted_ms: terms.granted_ms,
                    time: now.wall,
                };
                let until_ms = self.true_ms + consent::lease::lapse_ms(terms.granted_ms);
                let length = terms.head.position.length;
                self.judge.update(|judge| judge.grants(channel, length, until_ms));
                let entries = terms.batch.entries.into_iter().map(Shared::new).collect();
                let unreadable = pull.progress.unreadable.clone();
                let head = terms.batch.head;
                let (from, to) = (home, from);
                self.send(Flight::Pulled { from, to, grant, unreadable, entries, head });
            }
            Err(_) => {
                let channel = channel.clone();
                self.send(Flight::Forked { from: home, to: from, channel });
            }
        }
    }

    /// Applies entries at a source, whose home has heard that the `reported` ones are unreadable; `None`
    /// is a fork.
    fn apply(
        &mut self,
        cast: &Cast,
        source: NodeId,
        channel: &ChannelId,
        entries: &[Shared<Entry>],
        head: ChannelHead,
        reported: &[u64],
    ) -> Option<(Position, usize)> {
        let now = self.now(source);
        let entries: Vec<Entry> = entries.iter().map(|entry| (**entry).clone()).collect();
        let papers = || entries.iter().filter_map(|entry| cast.by_entry(entry));
        let pairs: BTreeSet<PairId> = papers().map(|paper| cast.paper(paper).pair).collect();
        let statement = HeadStatement { channel: channel.clone(), head, time: now.wall };
        let known = self.cosigned(source);
        self.nodes[source].update(|node| {
            // An empty answer undoes nothing; a copy would cost more than all the rest.
            let before = (!entries.is_empty()).then(|| node.disk.clone());
            let applied = node.disk.update(|disk| {
                let waited = waiting(cast, disk, &pairs);
                let outcome = disk.at_source(channel, |store| {
                    let mut machine = source_channel(store.channel, cast, channel);
                    let outcome = machine.apply(store, &entries, &statement, cast, now)?;
                    machine.reported(store, reported);
                    Ok::<_, SourceError>((machine.applied().position, outcome.len()))
                });
                if let Ok((position, 1..)) = &outcome {
                    disk.append(&("applied", channel, position.length));
                    // What waits for the home before it to let go has not been heard yet. A deny is: it
                    // may not wait.
                    let waits = waiting(cast, disk, &pairs);
                    let heard = |paper: &PaperId| {
                        matches!(cast.paper(*paper).says, Says::Deny { .. })
                            || !waits.contains(paper)
                    };
                    for paper in papers().chain(waited).filter(heard) {
                        disk.heard.entry(cast.paper(paper).pair).or_default().insert(paper);
                    }
                }
                outcome
            });
            match applied {
                Ok(applied) => {
                    if applied.1 > 0 {
                        told(cast, node, channel, known);
                    }
                    Some(applied)
                }
                Err(_) => {
                    // Everything of it goes with the batch that was not committed.
                    if let Some(before) = before {
                        node.disk = before;
                    }
                    None
                }
            }
        })
    }
}

/// What a source tells a home waits for witnesses no longer: it pulls soon to tell it.
pub(super) fn tell(node: &mut Node, known: u64, now: Now) {
    let due = |puller: &Puller| puller.untold().is_some_and(|leaf| leaf <= known);
    if !node.memory.pulls.values().any(due) {
        return;
    }
    node.memory.update(|memory| {
        for puller in memory.pulls.values_mut() {
            if puller.witnessed(known) {
                puller.hurry(now);
            }
        }
    });
}

/// Brings what a home is told up to what the source's witnesses know, which is its log up to this size.
fn told(cast: &Cast, node: &mut Node, channel: &ChannelId, known: u64) -> Option<Reached> {
    let kept = node.disk.channels.get(channel).cloned().unwrap_or_default();
    let waiting = node.disk.pairs.waiting_of(&channel.home);
    let reached = source_channel(&kept, cast, channel).reached(waiting);
    let size = node.disk.size();
    node.memory.update(|memory| {
        let puller = memory.puller(channel);
        puller.reached(reached, size);
        puller.witnessed(known);
        puller.told().cloned()
    })
}

/// What came to a source from homes to come and does not act yet.
fn waiting(cast: &Cast, disk: &Disk, pairs: &BTreeSet<PairId>) -> BTreeSet<PaperId> {
    let states = pairs.iter().filter_map(|pair| disk.pairs.pairs.get(&cast.subject(*pair)));
    let entries = states.flat_map(|state| state.waiting.values().flatten());
    entries.filter_map(|entry| cast.by_entry(entry)).collect()
}

fn grant_id(grant: &Grant) -> wire::Hash {
    wire::hash_parts("simulator/grant", &[&grant.nonce.0])
}
