//! Hello, both ways: judged by the trust of the moment and judged again when that changes.
//! Signatures and certificates are checked on blocking threads, at most [`limits::CHECKS`] at once.

use std::sync::Arc;

use libp2p::{PeerId, swarm::ConnectionId};
use tokio::{sync::oneshot, time::Instant};
use trust::{
    Freshness,
    member::{Member, verify_hello},
};
use wire::{
    cbor,
    membership::{Hello, HelloReply, TrustReply, TrustRequest},
};

use super::{
    PeerStatus,
    event_loop::{EventLoop, State},
    handler::{Admission, Instruction, Report},
    limits,
    view::Route,
};

/// A check that ended, by the trust of that generation.
pub(super) enum Checked {
    /// `asked`: the hello waits for an answer; otherwise it was one.
    Hello {
        connection: ConnectionId,
        asked: bool,
        message: Vec<u8>,
        generation: u64,
        verdict: Verdict,
    },
    Again {
        generation: u64,
        verdicts: Vec<Again>,
        done: Option<oneshot::Sender<usize>>,
    },
}

type Verdict = Result<(Arc<Hello>, Arc<Member>), String>;

pub(super) struct Again {
    connection: ConnectionId,
    hello: Arc<Hello>,
    verdict: Result<Member, String>,
}

impl EventLoop {
    fn own_hello(&self) -> Hello {
        let versions = self.edge.trust().versions();
        Hello {
            identity: self.identity.borrow().clone(),
            root_version: versions.root,
            list_version: versions.list,
            timestamp_version: versions.timestamp,
        }
    }

    pub(super) fn say_hello(&mut self, id: ConnectionId) {
        let hello = cbor::to_vec(&self.own_hello());
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.said_hello = Some(Instant::now());
            connection.owes_hello = false;
            let peer = connection.peer;
            self.swarm.behaviour_mut().dialogue.instruct(peer, id, Instruction::Greet(hello));
        }
    }

    /// The first word on a connection that we dialled. Whose trust file has run out can judge nobody: it
    /// asks for a newer one first.
    pub(super) fn begin(&mut self, id: ConnectionId) {
        let trust = self.edge.trust();
        if trust.freshness((self.clock)()) != Freshness::HardExpired {
            return self.say_hello(id);
        }
        let question = TrustRequest::Pull(trust.versions().into());
        if let Some(peer) = self.connections.get(&id).map(|connection| connection.peer) {
            let question = Instruction::PullTrust(cbor::to_vec(&question));
            self.swarm.behaviour_mut().dialogue.instruct(peer, id, question);
        }
    }

    /// Connections that waited for a trust file go on.
    pub(super) fn greet_who_waits(&mut self) {
        let waiting: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, c)| c.dialled && c.is_strange() && c.said_hello.is_none())
            .map(|(id, _)| *id)
            .collect();
        for id in waiting {
            self.begin(id);
        }
    }

    fn on_pulled(&mut self, id: ConnectionId, reply: Result<Vec<u8>, String>) {
        match reply.map(|reply| cbor::from_slice(&reply)) {
            Ok(Ok(TrustReply::Newer(file))) => self.edge.inbound().trust_file(file),
            Ok(Ok(TrustReply::Busy)) => self.turn_away(id, "busy, try again later".into()),
            Ok(_) => self.turn_away(id, "it has no newer trust file; ours has run out".into()),
            Err(reason) => self.turn_away(id, format!("no trust file: {reason}")),
        }
    }

    pub(super) fn on_report(&mut self, id: ConnectionId, report: Report) {
        if !self.connections.get(&id).is_some_and(|c| !matches!(c.state, State::Leaving(_))) {
            return;
        }
        match report {
            Report::Hello(Ok(_)) if self.checks.len() >= limits::CHECKS => {
                self.refuse(id, true, "busy, try again later".into());
            }
            Report::Hello(Ok(message)) => self.check_hello(id, true, message),
            Report::Hello(Err(reason)) => self.refuse(id, true, format!("no hello: {reason}")),
            Report::Reply(Ok(message)) => self.check_hello(id, false, message),
            Report::Reply(Err(reason)) => {
                self.refuse(id, false, format!("no answer to hello: {reason}"));
            }
            Report::Pulled(reply) => self.on_pulled(id, reply),
            Report::Violation(what) => self.turn_away(id, what.into()),
        }
    }

    fn check_hello(&mut self, connection: ConnectionId, asked: bool, message: Vec<u8>) {
        let Some(peer) = self.connections.get(&connection).map(|c| c.peer.to_base58()) else {
            return;
        };
        let (trust, now, generation) = (self.edge.trust(), (self.clock)(), self.generation);
        self.checks.spawn_blocking(move || {
            let hello = if asked {
                cbor::from_slice(&message).map_err(|error| format!("malformed hello: {error}"))
            } else {
                match cbor::from_slice(&message) {
                    Ok(HelloReply::Welcome(hello)) => Ok(hello),
                    Ok(HelloReply::Refused(reason)) => Err(format!("refused there: {reason}")),
                    Err(error) => Err(format!("malformed answer to hello: {error}")),
                }
            };
            let verdict =
                hello.and_then(|hello: Hello| match verify_hello(&hello, &peer, &trust, now) {
                    Ok(member) => Ok((Arc::new(hello), Arc::new(member))),
                    Err(error) => Err(error.to_string()),
                });
            Checked::Hello { connection, asked, message, generation, verdict }
        });
    }

    pub(super) fn check_all_again(&mut self, done: Option<oneshot::Sender<usize>>) {
        self.next_recheck = Instant::now() + limits::RECHECK_INTERVAL;
        let admitted: Vec<_> = self
            .connections
            .iter()
            .filter_map(|(id, connection)| match &connection.state {
                State::Admitted { hello, .. } => {
                    Some((*id, connection.peer.to_base58(), Arc::clone(hello)))
                }
                _ => None,
            })
            .collect();
        let (trust, now, generation) = (self.edge.trust(), (self.clock)(), self.generation);
        self.checks.spawn_blocking(move || {
            let verdicts = admitted
                .into_iter()
                .map(|(connection, peer, hello)| {
                    let verdict = verify_hello(&hello, &peer, &trust, now);
                    Again { connection, hello, verdict: verdict.map_err(|e| e.to_string()) }
                })
                .collect();
            Checked::Again { generation, verdicts, done }
        });
    }

    pub(super) fn on_checked(&mut self, checked: Checked) {
        match checked {
            // The trust was replaced in between.
            Checked::Hello { connection, asked, message, generation, .. }
                if generation != self.generation =>
            {
                self.check_hello(connection, asked, message);
            }
            Checked::Hello { connection, asked, verdict, .. } => {
                self.on_verdict(connection, asked, verdict);
            }
            Checked::Again { generation, done, .. } if generation != self.generation => {
                self.check_all_again(done);
            }
            Checked::Again { verdicts, done, .. } => {
                let closed = verdicts.into_iter().filter_map(|again| self.on_again(again)).count();
                if let Some(done) = done {
                    let _ = done.send(closed);
                }
            }
        }
    }

    fn on_verdict(&mut self, id: ConnectionId, asked: bool, verdict: Verdict) {
        let Some(connection) = self.connections.get(&id) else { return };
        if matches!(connection.state, State::Leaving(_)) {
            return;
        }
        let peer = connection.peer.to_base58();
        let verdict = verdict.and_then(|(hello, member)| match self.objection(&member, &peer) {
            None => Ok((hello, member)),
            Some(reason) => Err(reason.into()),
        });
        match verdict {
            Ok((hello, member)) => self.admit(id, asked, hello, member),
            Err(reason) => self.refuse(id, asked, reason),
        }
    }

    /// What speaks against a valid member: things that only this node's memory knows.
    fn objection(&self, member: &Member, peer: &str) -> Option<&'static str> {
        let soft = self.edge.trust().freshness((self.clock)()) == Freshness::SoftExpired;
        self.edge.with_directory(|directory| {
            if directory.has_rotated_out(&member.descriptor, peer) {
                Some("a newer descriptor of this organisation no longer names this peer id")
            } else if soft && directory.find(&member.organisation).is_none() {
                Some("the trust list's timestamp has run out: nobody new is admitted")
            } else {
                None
            }
        })
    }

    fn admit(&mut self, id: ConnectionId, asked: bool, hello: Arc<Hello>, member: Arc<Member>) {
        let keep = self.edge.is_core(&member.organisation);
        let admission = Admission { member: Arc::clone(&member), keep };
        let instruction = if asked {
            let reply = cbor::to_vec(&HelloReply::Welcome(self.own_hello()));
            Instruction::Answer { reply, admit: Some(admission) }
        } else {
            Instruction::Admit(admission)
        };
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let first = connection.is_strange();
        connection.state = State::Admitted { hello, member: Arc::clone(&member) };
        let status = PeerStatus {
            organisation: member.organisation.clone(),
            name: member.name.clone(),
            peer: connection.peer,
            address: connection.address.clone(),
            outbound: connection.dialled,
            since: (self.clock)(),
            rtt: None,
        };
        let (peer, slot) = (connection.peer, connection.slot);
        let dialogue = &mut self.swarm.behaviour_mut().dialogue;
        dialogue.instruct(peer, id, instruction);
        let Some(caller) = dialogue.caller(id) else { return };
        let route = Route { connection: id, caller, member: Arc::clone(&member) };
        // One connection, one organisation: a new hello may not change whose it is.
        self.view.remove_other(id, &member.organisation);
        self.view.admit(route.clone(), status);
        self.edge.with_directory(|d| d.learn(&member.descriptor, member.identity.clone()));
        if first {
            tracing::info!(organisation = %member.organisation, "greeted");
        }
        if let Some(index) = slot {
            self.slot_greeted(index);
        }
        self.close_rotated_out(&member);
        self.edge.inbound().greeted(Arc::clone(&member));
        self.on_greeted(&route);
    }

    /// A new descriptor may no longer name the peer id of a standing connection.
    fn close_rotated_out(&mut self, newest: &Member) {
        let named = |peer: &PeerId| newest.descriptor.peers.contains(&peer.to_base58());
        let rotated: Vec<_> = self
            .connections
            .iter()
            .filter(|(_, connection)| {
                connection.member().is_some_and(|member| {
                    member.organisation == newest.organisation
                        && member.descriptor.version < newest.descriptor.version
                }) && !named(&connection.peer)
            })
            .map(|(id, _)| *id)
            .collect();
        for id in rotated {
            self.turn_away(id, "its key was rotated out".into());
        }
    }

    /// The connection id if the member no longer passes.
    fn on_again(&mut self, again: Again) -> Option<ConnectionId> {
        let Again { connection: id, hello, verdict } = again;
        let connection = self.connections.get_mut(&id)?;
        match (&mut connection.state, verdict) {
            // A newer hello was judged in between.
            (State::Admitted { hello: known, .. }, _) if !Arc::ptr_eq(known, &hello) => None,
            (State::Admitted { member: known, .. }, Ok(member)) => {
                let member = Arc::new(member);
                *known = Arc::clone(&member);
                let keep = self.edge.is_core(&member.organisation);
                let admission = Admission { member, keep };
                let peer = connection.peer;
                let dialogue = &mut self.swarm.behaviour_mut().dialogue;
                dialogue.instruct(peer, id, Instruction::Admit(admission));
                None
            }
            (State::Admitted { .. }, Err(reason)) => {
                self.turn_away(id, reason);
                Some(id)
            }
            _ => None,
        }
    }

    /// Ends a greeting: a caller is told why and has a moment to read it.
    fn refuse(&mut self, id: ConnectionId, asked: bool, reason: String) {
        let reason = presentable(&reason);
        if !asked {
            return self.turn_away(id, reason);
        }
        let Some(connection) = self.connections.get_mut(&id) else { return };
        connection.state = State::Leaving(Instant::now() + limits::REFUSAL_LINGER);
        connection.refusal = Some(reason.clone());
        let peer = connection.peer;
        let reply = cbor::to_vec(&HelloReply::Refused(reason.clone()));
        let instruction = Instruction::Answer { reply, admit: None };
        self.swarm.behaviour_mut().dialogue.instruct(peer, id, instruction);
        self.view.remove(id);
        tracing::warn!(%reason, "refused a peer");
        self.edge.inbound().turned_away(peer, &reason);
    }

    /// Closes at once.
    pub(super) fn turn_away(&mut self, id: ConnectionId, reason: String) {
        let reason = presentable(&reason);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let organisation = connection.member().map(|member| member.organisation.to_string());
        connection.state = State::Leaving(Instant::now());
        let peer = connection.peer;
        connection.refusal = Some(reason.clone());
        self.view.remove(id);
        self.swarm.close_connection(id);
        tracing::warn!(organisation, %reason, "closed a connection");
        self.edge.inbound().turned_away(peer, &reason);
    }
}

/// A reason as it may stand in logs and go to the other end: short, one line, without control
/// characters. Half of it may be the other end's words.
fn presentable(reason: &str) -> String {
    reason.chars().filter(|c| !c.is_control()).take(limits::REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stay_on_one_short_line() {
        assert_eq!(presentable("not\na \u{1b}[31mmember"), "nota [31mmember");
        assert_eq!(presentable(&"あ".repeat(1000)).chars().count(), limits::REASON);
    }
}
