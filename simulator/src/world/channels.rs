//! The two ends of a channel at work: pulls, pushes, leases.

use consent::{home::HomeError, source::SourceError};
use wire::{
    Nonce,
    channel::{ChannelHead, ChannelId, Entry, Grant, HeadStatement, Position, Pull},
};

use super::{Flight, NodeId, World, papers::accept};
use crate::{
    cast::Cast,
    node::{home_channel, source_channel},
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
        let pull = self.nodes[source].update(|node| {
            let store = node.disk.channels.get(channel).cloned().unwrap_or_default();
            node.memory.update(|memory| {
                let puller = memory.puller(channel);
                if !puller.begin(nonce, now) {
                    return None;
                }
                let machine = source_channel(&store, cast, channel);
                let pulled = machine.pull(&*store, nonce, puller.denies_after());
                let (pull, last) = pulled.expect("memory does not fail");
                puller.carries(last);
                Some(pull)
            })
        });
        let Some(pull) = pull else { return };
        self.judge.update(|judge| judge.reports(channel, pull.applied.length));
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
        let start = match machine.acknowledged() {
            0 => Position::start(&cast.network.id, channel),
            seen => store.home_entries[seen as usize - 1].head.position,
        };
        let Ok(batch) = machine.batch_after(&**store, &start) else { return };
        if batch.entries.is_empty() {
            self.nodes[home].update(|node| {
                node.memory.update(|memory| memory.pusher(channel).acknowledged(false, now));
            });
            return;
        }
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

    /// A message arrives. A node that is off or restored does not hear it; one that sleeps does when it
    /// wakes, which is a later delivery.
    pub fn deliver(&mut self, cast: &Cast, flight: &Flight) {
        if !self.nodes[flight.to()].serves() {
            return;
        }
        match flight {
            Flight::Pull { from, to, pull } => self.answer_pull(cast, *from, *to, pull),
            Flight::Pulled { to, grant, unreadable, entries, head, .. } => {
                let (channel, brought) = (&grant.channel, !entries.is_empty());
                match self.apply(cast, *to, channel, entries, *head) {
                    Some(applied) => self.lease(cast, *to, grant, unreadable, &applied, brought),
                    None => self.forked(*to, channel),
                }
            }
            Flight::Forked { to, channel, .. } => self.forked(*to, channel),
            Flight::Push { from, to, channel, entries, head } => {
                match self.apply(cast, *to, channel, entries, *head) {
                    Some(position) => {
                        let (from, to, channel) = (*to, *from, channel.clone());
                        self.send(Flight::Applied { from, to, channel, position });
                    }
                    None => self.forked(*to, channel),
                }
            }
            Flight::Applied { to, channel, position, .. } => {
                let now = self.now(*to);
                self.nodes[*to].update(|node| {
                    let more = node.disk.update(|disk| {
                        disk.channel(channel, |store| {
                            let mut machine = home_channel(store, cast, channel);
                            machine.acknowledge(store, position, now).ok()?;
                            Some(machine.acknowledged() < machine.head().position.length)
                        })
                    });
                    node.memory.update(|memory| match more {
                        Some(more) => memory.pusher(channel).acknowledged(more, now),
                        None => memory.pusher(channel).failed(now),
                    });
                });
            }
        }
    }

    fn lease(
        &mut self,
        cast: &Cast,
        source: NodeId,
        grant: &Grant,
        unreadable: &[u64],
        applied: &Position,
        brought: bool,
    ) {
        let now = self.now(source);
        let id = wire::hash_parts("simulator/grant", &[&grant.nonce.0]);
        self.nodes[source].update(|node| {
            let granted = node.memory.update(|memory| {
                memory.puller(&grant.channel).pulled(grant, id, applied, brought, now)
            });
            if granted.is_ok() && !unreadable.is_empty() {
                node.disk.update(|disk| {
                    disk.channel(&grant.channel, |store| {
                        source_channel(store, cast, &grant.channel).reported(store, unreadable);
                    });
                });
            }
        });
    }

    fn forked(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).forked(now));
        });
    }

    fn answer_pull(&mut self, cast: &Cast, from: NodeId, home: NodeId, pull: &Pull) {
        let (now, granted_ms) = (self.now(home), self.nodes[home].lease_ms);
        let (run, batch) = (self.nodes[home].memory.run, self.batch);
        let channel = &pull.channel;
        let denies: Vec<_> =
            (pull.denies.iter()).filter_map(|deny| cast.by_attested(deny)).collect();
        let (terms, record) = self.nodes[home].update(|node| {
            node.disk.update(|disk| {
                for id in denies {
                    let new =
                        disk.channel(channel, |store| accept(cast, store, channel, id, &run, now));
                    if new.unwrap_or(false) {
                        let size = disk.append(&("accepted", id));
                        disk.logged.insert(id, size);
                    }
                }
                let terms = disk.channel(channel, |store| {
                    let mut machine = home_channel(store, cast, channel);
                    let mut terms = machine.grant(store, pull, granted_ms, &run, now)?;
                    terms.batch = machine.batch_of(store, &pull.applied, batch)?;
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
            self.cosign(home);
        }
        if self.cosigned(home) < known {
            // No lease leaves before the witnesses know of the longest: unavailable.
            self.give_up(from, channel);
            return;
        }
        match terms {
            Ok(terms) => {
                let grant = Grant {
                    channel: channel.clone(),
                    nonce: pull.nonce,
                    head: terms.head,
                    granted_ms: terms.granted_ms,
                    time: now.wall,
                };
                self.judge.update(|judge| judge.grants(channel, terms.head.position.length));
                let entries = terms.batch.entries.into_iter().map(Shared::new).collect();
                let unreadable = pull.unreadable.clone();
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

    /// Applies entries at a source; `None` is a fork.
    fn apply(
        &mut self,
        cast: &Cast,
        source: NodeId,
        channel: &ChannelId,
        entries: &[Shared<Entry>],
        head: ChannelHead,
    ) -> Option<Position> {
        let now = self.now(source);
        let entries: Vec<Entry> = entries.iter().map(|entry| (**entry).clone()).collect();
        let statement = HeadStatement { channel: channel.clone(), head, time: now.wall };
        self.nodes[source].update(|node| {
            // An empty answer undoes nothing; a copy would cost more than all the rest.
            let before = (!entries.is_empty()).then(|| node.disk.clone());
            let applied = node.disk.update(|disk| {
                let outcome = disk.channel(channel, |store| {
                    let mut machine = source_channel(store, cast, channel);
                    let outcome = machine.apply(store, &entries, &statement, cast, now)?;
                    Ok::<_, SourceError>((machine.applied().position, outcome.len()))
                });
                if let Ok((position, 1..)) = &outcome {
                    disk.append(&("applied", channel, position.length));
                    for paper in entries.iter().filter_map(|entry| cast.by_entry(entry)) {
                        disk.heard.entry(cast.paper(paper).pair).or_default().insert(paper);
                    }
                }
                outcome
            });
            match applied {
                Ok((position, _)) => Some(position),
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
