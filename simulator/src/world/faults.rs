//! What goes wrong: crashes, restarts, old copies, sleep, clocks, broken connections.

use evidence::{
    note::Checkpoint,
    witness::{Quorum, StartCheck, StartVerdict},
};
use wire::{Hash, OrganisationId, channel::ChannelId};

use super::{Flight, NodeId, World};
use crate::{
    cast::{Cast, PairId, PlainReopen},
    node::{Disk, Memory, Power, Role},
    shared::Shared,
};
use consent::{ChannelStore, guard::Guard};

impl World {
    /// The process dies; what was not durable is gone.
    pub fn crash(&mut self, node: NodeId) {
        let now = self.now(node);
        self.nodes[node].update(|node| {
            node.power = Power::Off;
            node.memory = Shared::new(Memory::new(0, now));
        });
    }

    /// The process starts, and asks its witnesses whether its log was longer.
    pub fn start(&mut self, cast: &Cast, node: NodeId) {
        self.runs += 1;
        let (run, now) = (self.runs, self.now(node));
        let asks = match self.nodes[node].role {
            Role::Home(_) => Guard::HomeStartCheck.holds(),
            Role::Source(_) => Guard::SourceStartCheck.holds(),
            Role::Recipient(_) => true,
        };
        let restored = asks && !self.may_start(node);
        self.nodes[node].update(|node| {
            node.power = if restored { Power::Restored } else { Power::Serving };
            let mut memory = Memory::new(run, now);
            memory.grants_known = node.disk.size();
            for (channel, store) in &node.disk.channels {
                let Some(machine) = &store.home_channel else { continue };
                if machine.acknowledged() < machine.head().position.length {
                    memory.pusher(channel).owed(now);
                }
            }
            node.memory = Shared::new(memory);
        });
        // Only a disk that was replaced can lack anything, and that comes with a start.
        let this = &self.nodes[node];
        match this.role {
            _ if !this.serves() => {}
            Role::Home(_) => {
                let disk = this.disk.clone();
                self.judge.update(|judge| judge.serves(node, &disk));
            }
            Role::Source(number) => {
                let disk = this.disk.clone();
                let ours = |request| cast.request(request).pair.source == number;
                self.judge.update(|judge| judge.serves_as_source(&disk, ours));
            }
            Role::Recipient(number) => {
                self.judge_recipient(node, |request| cast.request(request).recipient == number);
            }
        }
    }

    /// What the node's start check makes of the witness's answer.
    fn may_start(&self, node: NodeId) -> bool {
        let disk = &self.nodes[node].disk;
        let checkpoint =
            |size: u64, root: Hash| Checkpoint { origin: format!("log {node}"), size, root };
        let size = disk.size();
        let Some(root) = disk.root_at(size) else { return false };
        let witness = OrganisationId::from_base("999999999999").expect("twelve digits");
        let alone = Quorum::new(1, 1, 1).expect("one witness that always answers");
        let own = checkpoint(size, root);
        let mut check = StartCheck::new(own, alone, [witness.clone()]);
        let latest = self.witnessed.get(&node).map(|(size, root)| checkpoint(*size, *root));
        check.answer(&witness, latest.as_ref(), |size| disk.root_at(size));
        check.verdict() == StartVerdict::Serve
    }

    pub fn back_up(&mut self, node: NodeId) {
        self.nodes[node].update(|node| node.backup = Some(node.disk.clone()));
    }

    /// The disk is replaced by the old copy; the process is dead.
    pub fn restore(&mut self, node: NodeId) {
        self.crash(node);
        self.nodes[node].update(|node| {
            if let Some(backup) = node.backup.take() {
                node.disk = backup;
            }
        });
    }

    /// The machine sleeps (its monotonic clock goes on) or is frozen (it stands still).
    pub fn fall_asleep(&mut self, node: NodeId, frozen: bool) {
        let since_ms = self.true_ms;
        self.nodes[node].update(|node| node.power = Power::Asleep { since_ms, frozen });
    }

    pub fn wake(&mut self, node: NodeId) {
        let true_ms = self.true_ms;
        self.nodes[node].update(|node| {
            if let Power::Asleep { since_ms, frozen } = node.power {
                if frozen {
                    node.clocks.frozen_ms += true_ms - since_ms;
                }
                node.power = Power::Serving;
            }
        });
    }

    pub fn set_lease(&mut self, home: NodeId, lease_ms: u64) {
        self.nodes[home].update(|node| node.lease_ms = lease_ms);
    }

    /// The source would like to pull before its time.
    pub fn hurry(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).hurry(now));
        });
    }

    /// The connection broke under a message: whoever waits for its answer knows.
    pub fn failed(&mut self, flight: &Flight) {
        let (node, pull, channel) = match flight {
            Flight::Pull { from, pull, .. } => (*from, true, &pull.channel),
            Flight::Pulled { to, grant, .. } => (*to, true, &grant.channel),
            Flight::Forked { to, channel, .. } => (*to, true, channel),
            Flight::Push { from, channel, .. } => (*from, false, channel),
            Flight::Applied { to, channel, .. } => (*to, false, channel),
            // Whoever waits for a reply asks again when it is told to.
            Flight::Request { .. }
            | Flight::Reply { .. }
            | Flight::Receipt { .. }
            | Flight::Noted { .. } => return,
        };
        if !self.nodes[node].serves() {
            return;
        }
        if pull {
            return self.give_up(node, channel);
        }
        let now = self.now(node);
        self.nodes[node].update(|node| {
            node.memory.update(|memory| memory.pusher(channel).failed(now));
        });
    }

    /// The source waits no longer for the answer to its pull.
    pub fn give_up(&mut self, source: NodeId, channel: &ChannelId) {
        let now = self.now(source);
        self.nodes[source].update(|node| {
            node.memory.update(|memory| memory.puller(channel).failed(now));
        });
    }

    /// The operator puts the newest disk back.
    pub fn repair(&mut self, node: NodeId, disk: Shared<Disk>) {
        self.crash(node);
        self.nodes[node].update(|node| node.disk = disk);
    }

    /// What a wallet sees at a home of the denies that stand: one by one, and as collapses list them.
    /// None if the home does not answer.
    pub fn denies_at(&self, cast: &Cast, home: NodeId, pair: PairId) -> Vec<PlainReopen> {
        let node = &self.nodes[home];
        let Some(store) = node.disk.channels.get(&cast.channel(home, pair)) else { return vec![] };
        if !node.serves() {
            return vec![];
        }
        let state = store.pair(&cast.subject(pair)).expect("memory does not fail");
        let single = state.denies.keys().filter_map(|id| cast.by_decision(id));
        let listed = state.collapsed.values().map(|ids| {
            PlainReopen::Collapsed(ids.iter().filter_map(|id| cast.by_decision(id)).collect())
        });
        single.map(PlainReopen::Deny).chain(listed).collect()
    }

    pub fn set_drift(&mut self, node: NodeId, ppm: i64) {
        self.nodes[node].update(|node| node.clocks.drift_ppm = ppm);
    }

    pub fn set_wall_to(&mut self, node: NodeId, offset_ms: i64) {
        self.nodes[node].update(|node| node.clocks.wall_offset_ms = offset_ms);
    }

    pub fn set_wall(&mut self, node: NodeId, by_ms: i64) {
        self.nodes[node].update(|node| node.clocks.wall_offset_ms += by_ms);
    }
}
