//! Finding an organisation: remembered identity or a look-up at municipal nodes, then a dial to
//! the addresses of its descriptor. Callers wait here until a connection is greeted or hope is
//! lost; how long they wait is their own affair.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::stream::{FuturesUnordered, StreamExt};
use libp2p::{
    Multiaddr, PeerId, multiaddr,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};
use trust::{Trust, member::Member};
use wire::{
    OrganisationId, Timestamp, cbor,
    membership::{DirectoryReply, DirectoryRequest, NodeIdentity},
};

use super::{
    NetError,
    bootstrap::back_off,
    event_loop::{self, DialFor, EventLoop},
    handler::Call,
    limits,
    protocol::WireProtocol,
    resolve::resolve,
    verify_identity,
    view::Route,
};

#[derive(Default)]
pub(super) struct Searches {
    open: BTreeMap<OrganisationId, Search>,
    /// Organisations that could not be reached lately.
    failed: BTreeMap<OrganisationId, Failed>,
}

struct Search {
    wants: Vec<Want>,
    stage: Stage,
    /// Found already; only the connection is missing.
    member: Option<Arc<Member>>,
    /// The last reason why it did not work.
    error: NetError,
}

enum Want {
    Route(oneshot::Sender<Result<Route, NetError>>),
    Member(oneshot::Sender<Result<Arc<Member>, NetError>>),
}

enum Stage {
    /// A task checks what is remembered, or asks municipal nodes.
    Looking,
    /// No municipal node is connected: goes on when one is.
    Alone,
    /// It failed a moment ago.
    Resting(Instant),
    /// Connections being dialled or greeted; `asked` unless the identity came from memory.
    Dialling { attempts: BTreeSet<ConnectionId>, asked: bool, version: u64 },
}

struct Failed {
    times: u32,
    until: Instant,
    error: NetError,
}

/// How a look into memory (`asked` false) or a look-up ended.
pub(super) struct Looked {
    organisation: OrganisationId,
    asked: bool,
    found: Result<Found, NetError>,
}

/// A member with the addresses to dial, names resolved.
struct Found {
    member: Arc<Member>,
    addresses: Vec<Multiaddr>,
}

impl Looked {
    /// Names are resolved here, in the task, not in the event loop.
    async fn with_addresses(
        organisation: OrganisationId,
        asked: bool,
        member: Result<Arc<Member>, NetError>,
    ) -> event_loop::Found {
        let found = match member {
            Ok(member) => {
                let addresses = resolve(dialable(&member.descriptor.addresses)).await;
                Ok(Found { member, addresses })
            }
            Err(error) => Err(error),
        };
        event_loop::Found::Member(Self { organisation, asked, found })
    }
}

impl Want {
    fn fail(self, error: NetError) {
        match self {
            Self::Route(answer) => drop(answer.send(Err(error))),
            Self::Member(answer) => drop(answer.send(Err(error))),
        }
    }

    fn is_given_up(&self) -> bool {
        match self {
            Self::Route(answer) => answer.is_closed(),
            Self::Member(answer) => answer.is_closed(),
        }
    }
}

impl Searches {
    fn waiting(&self) -> usize {
        self.open.values().map(|search| search.wants.len()).sum()
    }

    /// After a change of trust everybody gets a fresh chance.
    pub(super) fn forgive(&mut self) {
        self.failed.clear();
    }
}

impl EventLoop {
    pub(super) fn find_route(
        &mut self,
        to: OrganisationId,
        answer: oneshot::Sender<Result<Route, NetError>>,
    ) {
        match self.view.route(&to) {
            Some(route) => drop(answer.send(Ok(route))),
            None => self.want(to, Want::Route(answer)),
        }
    }

    pub(super) fn find_member(
        &mut self,
        of: OrganisationId,
        answer: oneshot::Sender<Result<Arc<Member>, NetError>>,
    ) {
        match self.view.route(&of) {
            Some(route) => drop(answer.send(Ok(route.member))),
            None => self.want(of, Want::Member(answer)),
        }
    }

    fn want(&mut self, organisation: OrganisationId, want: Want) {
        if self.searches.waiting() >= limits::WAITING {
            return want.fail(NetError::Busy);
        }
        if let Some(search) = self.searches.open.get_mut(&organisation) {
            match (want, &search.member) {
                (Want::Member(answer), Some(member)) => {
                    let _ = answer.send(Ok(Arc::clone(member)));
                }
                (want, _) => search.wants.push(want),
            }
            return;
        }
        let now = Instant::now();
        let resting = self.searches.failed.get(&organisation).filter(|failed| failed.until > now);
        let stage = match resting {
            // Asking again before long would bring the same answer.
            Some(Failed { error: error @ NetError::NotAMember(_), .. }) => {
                return want.fail(error.clone());
            }
            Some(failed) => Stage::Resting(failed.until),
            None => Stage::Looking,
        };
        let look = matches!(stage, Stage::Looking);
        let search =
            Search { wants: vec![want], stage, member: None, error: NetError::Unreachable };
        self.searches.open.insert(organisation.clone(), search);
        if look {
            self.look(organisation);
        }
    }

    /// Memory first, then the municipal nodes.
    fn look(&mut self, organisation: OrganisationId) {
        let remembered = |d: &mut super::Directory| d.find(&organisation).cloned();
        let Some(identity) = self.edge.with_directory(remembered) else {
            return self.ask(organisation, None);
        };
        self.set_stage(&organisation, Stage::Looking);
        let (trust, now) = (self.edge.trust(), (self.clock)());
        self.look_ups.spawn(async move {
            let found = verify_identity(identity, trust, now).await;
            Looked::with_addresses(organisation, false, found).await
        });
    }

    /// Asks municipal nodes for an identity, newer than version `known` if one is known.
    fn ask(&mut self, organisation: OrganisationId, known: Option<u64>) {
        let routes = self.municipal_routes(&organisation);
        if routes.is_empty() {
            if known.is_none() && self.slots.iter().any(|slot| !slot.is_own()) {
                return self.set_stage(&organisation, Stage::Alone);
            }
            let error = known.map_or(NetError::UnknownOrganisation, |_| NetError::Unreachable);
            return self.search_failed(&organisation, error);
        }
        self.set_stage(&organisation, Stage::Looking);
        let (trust, now) = (self.edge.trust(), (self.clock)());
        self.look_ups.spawn(async move {
            let found = ask_all(routes, &organisation, known, trust, now).await;
            Looked::with_addresses(organisation, true, found).await
        });
    }

    /// One connection to each of a few municipalities, not to the organisation itself.
    fn municipal_routes(&self, except: &OrganisationId) -> Vec<Route> {
        let trust = self.edge.trust();
        let members = self.connections.values().filter_map(|connection| connection.member());
        let organisations: BTreeSet<_> = members
            .map(|member| &member.organisation)
            .filter(|organisation| *organisation != except && trust.is_municipality(organisation))
            .collect();
        let routes = organisations.into_iter().filter_map(|to| self.view.route(to));
        routes.take(limits::LOOKUP_WIDTH).collect()
    }

    pub(super) fn on_looked(&mut self, looked: Looked) {
        let Looked { organisation, asked, found } = looked;
        let Some(search) = self.searches.open.get_mut(&organisation) else { return };
        match found {
            Ok(Found { member, addresses }) => {
                let (members, routes): (Vec<_>, Vec<_>) = std::mem::take(&mut search.wants)
                    .into_iter()
                    .partition(|want| matches!(want, Want::Member(_)));
                search.wants = routes;
                for want in members {
                    if let Want::Member(answer) = want {
                        let _ = answer.send(Ok(Arc::clone(&member)));
                    }
                }
                if asked {
                    self.edge
                        .with_directory(|d| d.learn(&member.descriptor, member.identity.clone()));
                }
                if search.wants.is_empty() {
                    self.searches.open.remove(&organisation);
                } else {
                    search.member = Some(Arc::clone(&member));
                    self.dial_member(&organisation, &member, addresses, asked);
                }
            }
            Err(error) if asked => self.search_failed(&organisation, error),
            Err(error) => {
                // What we remember does not hold today; perhaps others know better.
                search.error = error;
                self.ask(organisation, None);
            }
        }
    }

    fn dial_member(
        &mut self,
        organisation: &OrganisationId,
        member: &Member,
        addresses: Vec<Multiaddr>,
        asked: bool,
    ) {
        let descriptor = &member.descriptor;
        let peers: Vec<PeerId> = descriptor
            .peers
            .iter()
            .filter_map(|peer| peer.parse().ok())
            .filter(|peer| peer != self.swarm.local_peer_id())
            .take(limits::DIAL_PEERS)
            .collect();
        // Greetings and dials already under way count; only then new ones.
        let greeting = self.connections.iter().filter(|(_, c)| c.is_strange());
        let mut attempts: BTreeSet<_> =
            greeting.filter(|(_, c)| peers.contains(&c.peer)).map(|(id, _)| *id).collect();
        let purpose = DialFor::Organisation(organisation.clone());
        attempts.extend(self.dials.iter().filter(|(_, p)| **p == purpose).map(|(id, _)| *id));
        if attempts.is_empty() {
            for peer in peers.iter().filter(|_| !addresses.is_empty()) {
                let options = DialOpts::peer_id(*peer)
                    .condition(PeerCondition::Always)
                    .addresses(addresses.clone())
                    .allocate_new_port()
                    .build();
                if let Ok(connection) = self.dial(options, purpose.clone()) {
                    attempts.insert(connection);
                }
            }
        }
        let version = descriptor.version;
        let none = attempts.is_empty();
        self.set_stage(organisation, Stage::Dialling { attempts, asked, version });
        if none {
            self.attempts_failed(organisation);
        }
    }

    /// A connection that some search waits for will not come.
    pub(super) fn attempt_failed(&mut self, connection: ConnectionId, error: &NetError) {
        let mut lost = Vec::new();
        for (organisation, search) in &mut self.searches.open {
            if let Stage::Dialling { attempts, .. } = &mut search.stage
                && attempts.remove(&connection)
            {
                if !matches!(search.error, NetError::NotAMember(_)) {
                    search.error = error.clone();
                }
                if attempts.is_empty() {
                    lost.push(organisation.clone());
                }
            }
        }
        for organisation in lost {
            self.attempts_failed(&organisation);
        }
    }

    fn attempts_failed(&mut self, organisation: &OrganisationId) {
        let Some(search) = self.searches.open.get(organisation) else { return };
        let error = search.error.clone();
        match search.stage {
            // It may have moved.
            Stage::Dialling { asked: false, version, .. } => {
                self.ask(organisation.clone(), Some(version));
            }
            _ => self.search_failed(organisation, error),
        }
    }

    fn search_failed(&mut self, organisation: &OrganisationId, error: NetError) {
        let Some(search) = self.searches.open.remove(organisation) else { return };
        // A refusal met on the way says more than that nothing else was found.
        let error = match search.error {
            refused @ NetError::NotAMember(_) => refused,
            _ => error,
        };
        let now = Instant::now();
        if self.searches.failed.len() < limits::WAITING {
            let failed = self.searches.failed.entry(organisation.clone());
            let failed = failed.or_insert(Failed { times: 0, until: now, error: error.clone() });
            let refused = matches!(error, NetError::NotAMember(_));
            let wait = if refused { limits::REDIAL_REFUSED } else { back_off(failed.times) };
            *failed = Failed { times: failed.times + 1, until: now + wait, error: error.clone() };
        }
        for want in search.wants {
            want.fail(error.clone());
        }
    }

    /// A connection was greeted: whoever waits for it goes on.
    pub(super) fn on_greeted(&mut self, route: &Route) {
        let organisation = &route.member.organisation;
        self.searches.failed.remove(organisation);
        if let Some(search) = self.searches.open.remove(organisation) {
            for want in search.wants {
                match want {
                    Want::Route(answer) => drop(answer.send(Ok(route.clone()))),
                    Want::Member(answer) => drop(answer.send(Ok(Arc::clone(&route.member)))),
                }
            }
        }
        if self.edge.trust().is_municipality(organisation) {
            let alone = self.searches.open.iter().filter(|(_, s)| matches!(s.stage, Stage::Alone));
            let alone: Vec<_> = alone.map(|(organisation, _)| organisation.clone()).collect();
            for organisation in alone {
                self.ask(organisation, None);
            }
        }
    }

    pub(super) fn continue_searches(&mut self, now: Instant) {
        for search in self.searches.open.values_mut() {
            search.wants.retain(|want| !want.is_given_up());
        }
        self.searches.open.retain(|_, search| !search.wants.is_empty());
        // Kept a while beyond the wait, so that the next failure doubles it.
        self.searches.failed.retain(|_, failed| now < failed.until + limits::IDLE_TIMEOUT / 10);
        let due =
            self.searches.open.iter().filter(
                |(_, search)| matches!(search.stage, Stage::Resting(until) if until <= now),
            );
        let due: Vec<_> = due.map(|(organisation, _)| organisation.clone()).collect();
        for organisation in due {
            self.look(organisation);
        }
    }

    fn set_stage(&mut self, organisation: &OrganisationId, stage: Stage) {
        if let Some(search) = self.searches.open.get_mut(organisation) {
            search.stage = stage;
        }
    }
}

/// Addresses of a descriptor that this node can dial: no peer id, no relay.
fn dialable(addresses: &[String]) -> Vec<Multiaddr> {
    let plain = |address: &Multiaddr| {
        !address.iter().any(|part| {
            matches!(part, multiaddr::Protocol::P2p(_) | multiaddr::Protocol::P2pCircuit)
        })
    };
    let parsed = addresses.iter().filter_map(|address| address.parse().ok());
    parsed.filter(plain).take(limits::DIAL_ADDRESSES).collect()
}

/// Asks all at once and takes the first identity that proves itself, is of the organisation asked
/// for, and is newer than `known`.
async fn ask_all(
    routes: Vec<Route>,
    organisation: &OrganisationId,
    known: Option<u64>,
    trust: Arc<Trust>,
    now: Timestamp,
) -> Result<Arc<Member>, NetError> {
    let deadline = Instant::now() + limits::LOOKUP_TIMEOUT;
    let mut answers: FuturesUnordered<_> =
        routes.iter().map(|route| ask_one(route, organisation, deadline)).collect();
    let mut error = NetError::Unreachable;
    while let Some(answer) = answers.next().await {
        match answer {
            Some(DirectoryReply::Found(identity)) => {
                match check(identity, organisation, known, &trust, now).await {
                    Ok(member) => return Ok(member),
                    Err(reason) => error = reason,
                }
            }
            Some(DirectoryReply::Unknown) if error == NetError::Unreachable && known.is_none() => {
                error = NetError::UnknownOrganisation;
            }
            Some(DirectoryReply::Unknown) | None => {}
        }
    }
    Err(error)
}

async fn check(
    identity: NodeIdentity,
    organisation: &OrganisationId,
    known: Option<u64>,
    trust: &Arc<Trust>,
    now: Timestamp,
) -> Result<Arc<Member>, NetError> {
    let member = verify_identity(identity, Arc::clone(trust), now).await?;
    if member.organisation != *organisation {
        let reason = "the directory answered with another organisation";
        return Err(NetError::NotAMember(reason.into()));
    }
    if known.is_some_and(|known| member.descriptor.version <= known) {
        return Err(NetError::Unreachable);
    }
    Ok(member)
}

async fn ask_one(
    route: &Route,
    organisation: &OrganisationId,
    deadline: Instant,
) -> Option<DirectoryReply> {
    let message = cbor::to_vec(&DirectoryRequest::Organisation(organisation.clone()));
    let (reply, answer) = oneshot::channel();
    let call = Call { protocol: WireProtocol::Directory, message, deadline, reply };
    timeout_at(deadline, route.caller.send(call)).await.ok()?.ok()?;
    let reply = timeout_at(deadline, answer).await.ok()?.ok()?.ok()?;
    cbor::from_slice(&reply).ok()
}

#[cfg(test)]
mod tests {
    use trust::testing::{NOW, TestNetwork};
    use wire::Bytes;

    use super::*;

    #[test]
    fn what_cannot_be_dialled_is_left_out() {
        let peer = PeerId::random();
        let addresses = [
            "/ip4/192.0.2.1/tcp/1".to_owned(),
            format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}/p2p-circuit"),
            "not an address".to_owned(),
            "/dns4/node.example/udp/1/quic-v1".to_owned(),
        ];
        let left: Vec<_> = dialable(&addresses).iter().map(Multiaddr::to_string).collect();
        assert_eq!(left, ["/ip4/192.0.2.1/tcp/1", "/dns4/node.example/udp/1/quic-v1"]);
        let many = vec!["/ip4/192.0.2.1/tcp/1".to_owned(); 100];
        assert_eq!(dialable(&many).len(), limits::DIAL_ADDRESSES);
    }

    /// A municipality may keep silent about an organisation, but not put another in its place.
    #[tokio::test]
    async fn a_directory_answer_proves_itself() {
        let network = TestNetwork::new();
        let trust = Arc::new(network.trust.clone());
        let (asked, other) = (network.city(0), network.city(1));
        let check = async |identity: &NodeIdentity, known| {
            check(identity.clone(), &asked.organisation, known, &trust, NOW).await
        };
        let found = check(&asked.identity, None).await.unwrap();
        assert_eq!(found.organisation, asked.organisation);
        let substituted = check(&other.identity, None).await;
        let reason = "the directory answered with another organisation";
        assert_eq!(substituted.err(), Some(NetError::NotAMember(reason.into())));
        let stale = check(&asked.identity, Some(asked.descriptor.version)).await;
        assert_eq!(stale.err(), Some(NetError::Unreachable), "not newer than what failed");
        let patched = NodeIdentity {
            chain: other.identity.chain.clone(),
            descriptor: Bytes(asked.identity.descriptor.to_vec()),
        };
        assert!(matches!(check(&patched, None).await, Err(NetError::NotAMember(_))));
    }
}
