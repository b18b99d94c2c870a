//! A member that keeps no rule: a participant's keys in this process, on the network through the node's
//! own `net`, saying on channels whatever a test wants.

use std::sync::{Arc, Mutex, PoisonError};

use consent::PairThread;
use evidence::map::MemoryMap;
use futures::{FutureExt, future::BoxFuture};
use node::{
    certificates,
    config::Config,
    keys::{KeyName, KeyStore},
    net::{self, Inbound, Network, NetworkConfig, Protocol},
    run::read_trust,
};
use testnet::{
    citizen::{nonce, now},
    founding::Founded,
};
use tokio::sync::watch;
use trust::{Trust, member::Member};
use wire::{
    Bytes, Hash, Message, Signed, Signer, cbor,
    channel::{
        ChannelHead, ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Entry, Grant,
        HeadStatement, Position, Progress, Pull, PullReply, Push,
    },
    consent::Attested,
    membership::{Descriptor, NodeIdentity, Role},
};

use crate::world::Turn;

/// How a home that a test plays answers pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answers {
    /// With a lease of so many milliseconds.
    Honestly(u64),
    /// With the last answer it gave, whatever was asked.
    Again,
}

/// Signs for one participant.
struct Voice {
    turn_network: wire::NetworkId,
    signer: Arc<dyn Signer>,
    chain: Vec<Bytes>,
}

impl Voice {
    fn sign<M: Message>(&self, message: M) -> Bytes {
        let signed = Signed::new(message, &self.turn_network, &*self.signer).expect("signed");
        Bytes(signed.bytes().to_vec())
    }
}

/// One channel that this peer plays the home of.
struct Played {
    answers: Answers,
    channel: ChannelId,
    entries: Vec<(Entry, ChannelHead)>,
    map: MemoryMap,
    thread: PairThread,
    last: Option<PullReply>,
    heard: Vec<Pull>,
}

struct Ears {
    voice: Arc<Voice>,
    played: Arc<Mutex<Option<Played>>>,
}

impl Inbound for Ears {
    fn handle(
        &self,
        _: Arc<Member>,
        protocol: Protocol,
        message: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        let unavailable = ChannelReply::Refused(ChannelRefusal::Unavailable);
        let reply = match (protocol, cbor::from_slice(&message), played.as_mut()) {
            (Protocol::Channel, Ok(ChannelRequest::Pull(pull)), Some(played))
                if pull.channel == played.channel =>
            {
                ChannelReply::Pulled(played.answer(pull, &self.voice))
            }
            (Protocol::Channel, ..) => unavailable,
            _ => return async { None }.boxed(),
        };
        async move { Some(cbor::to_vec(&reply)) }.boxed()
    }
}

impl Played {
    fn head_at(&self, length: u64, network: &wire::NetworkId) -> ChannelHead {
        match (length as usize).checked_sub(1).and_then(|last| self.entries.get(last)) {
            Some((_, head)) => *head,
            None => ChannelHead {
                position: Position::start(network, &self.channel),
                map: evidence::map::EMPTY_ROOT,
            },
        }
    }

    fn answer(&mut self, pull: Pull, voice: &Voice) -> PullReply {
        self.heard.push(pull.clone());
        if let (Answers::Again, Some(last)) = (self.answers, &self.last) {
            return last.clone();
        }
        let granted_ms = match self.answers {
            Answers::Honestly(granted_ms) => granted_ms,
            Answers::Again => 6_000,
        };
        let head = self.head_at(self.entries.len() as u64, &voice.turn_network);
        let (channel, time) = (self.channel.clone(), now());
        let nonce = pull.nonce;
        let grant = Grant { channel: channel.clone(), nonce, head, granted_ms, time };
        let entries = self.entries.iter().skip(pull.progress.applied.length as usize);
        let reply = PullReply {
            grant: voice.sign(grant),
            entries: entries.map(|(entry, _)| entry.clone()).collect(),
            statement: voice.sign(HeadStatement { channel, head, time }),
        };
        self.last = Some(reply.clone());
        reply
    }
}

pub struct Peer {
    network: Network,
    voice: Arc<Voice>,
    played: Arc<Mutex<Option<Played>>>,
    /// Kept: the network goes by it.
    _identity: watch::Sender<NodeIdentity>,
}

impl Peer {
    /// Joins with the keys of a participant whose node does not run.
    pub async fn join(turn: &Turn, key: &str) -> Self {
        let node = turn.node(key);
        let config = Config::load(&node.config()).expect("a configuration");
        let keys = node.keys().expect("keys");
        let signer: Arc<dyn Signer> = keys.p256(&KeyName::Organisation).expect("a key");
        let seed = keys.transport_seed().expect("a seed");
        let witness = node.participant.is_city().then(|| keys.ed25519(&KeyName::Witness));
        let log_key = *keys.ed25519(&KeyName::Log).expect("a key").public_key();
        let descriptor = Descriptor {
            organisation: config.organisation.clone(),
            name: config.name.clone(),
            version: now().0,
            peers: vec![net::peer_id(*seed)],
            addresses: config.announced().iter().map(ToString::to_string).collect(),
            log_key: Bytes(log_key.to_vec()),
            witness_key: witness.map(|key| Bytes(key.expect("a key").public_key().to_vec())),
            roles: config.roles.iter().copied().collect::<Vec<Role>>(),
            services: config.service_names(),
            public_url: config.public_url.clone(),
            issued: now(),
        };
        let chain = certificates::read(&config.data_dir, &KeyName::Organisation).expect("a chain");
        let turn_network = turn.network.id;
        let voice = Arc::new(Voice { turn_network, signer, chain: chain.clone() });
        let identity = NodeIdentity { chain, descriptor: voice.sign(descriptor) };
        let (sender, watched) = watch::channel(identity);
        let mut settings = NetworkConfig::new(*seed);
        settings.listen = config.listen.clone();
        settings.bootstrap = config.bootstrap.clone();
        let trust = read_trust(&config.trust_file).expect("a trust list");
        let trust = Trust::open(&trust, &turn_network, now()).expect("a trust list that holds");
        let played = Arc::new(Mutex::new(None));
        let ears = Arc::new(Ears { voice: Arc::clone(&voice), played: Arc::clone(&played) });
        let network = Network::start(settings, watched, Arc::new(trust), Arc::new(now), ears);
        let network = network.await.expect("a network");
        Self { network, voice, played, _identity: sender }
    }

    pub async fn leave(self) {
        self.network.shutdown().await;
    }

    /// Says something to a node; gives what it answers.
    pub async fn says(&self, to: &Founded, message: &ChannelRequest) -> ChannelReply {
        let (to, message) = (to.participant.organisation(), cbor::to_vec(message));
        let reply = self.network.request(&to, Protocol::Channel, message).await;
        cbor::from_slice(&reply.expect("an answer")).expect("a channel reply")
    }

    #[track_caller]
    pub fn attest<M: Message>(&self, message: M) -> Attested {
        Attested { object: self.voice.sign(message), chain: self.voice.chain.clone() }
    }

    pub fn sign<M: Message>(&self, message: M) -> Bytes {
        self.voice.sign(message)
    }

    /// From now on this peer is the home of a channel, and answers its pulls.
    pub fn plays(&self, channel: &ChannelId, answers: Answers) {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        match played.as_mut().filter(|played| played.channel == *channel) {
            Some(played) => played.answers = answers,
            None => {
                *played = Some(Played {
                    answers,
                    channel: channel.clone(),
                    entries: Vec::new(),
                    map: MemoryMap::default(),
                    thread: PairThread::default(),
                    last: None,
                    heard: Vec::new(),
                });
            }
        }
    }

    /// The pulls that came so far.
    pub fn heard(&self) -> Vec<Pull> {
        let played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        played.as_ref().map(|played| played.heard.clone()).unwrap_or_default()
    }

    /// Appends an entry, all of one subject, to the channel; gives the push that brings it.
    pub fn push_of(&self, entry: Entry) -> Push {
        let mut played = self.played.lock().unwrap_or_else(PoisonError::into_inner);
        let played = played.as_mut().expect("it plays a home");
        let seq = played.entries.len() as u64;
        let before = played.head_at(seq, &self.voice.turn_network);
        let entry = Entry { seq, ..entry };
        let hash = entry.hash();
        played.thread.extend(seq, &hash);
        played.map.insert(&Hash(entry.subject.0), &played.thread.digest);
        let head = ChannelHead { position: before.position.after(&hash), map: played.map.root() };
        played.entries.push((entry.clone(), head));
        let channel = played.channel.clone();
        let statement = HeadStatement { channel: channel.clone(), head, time: now() };
        Push { channel, entries: vec![entry], statement: self.voice.sign(statement) }
    }

    /// A pull as a source of this peer's organisation would send it.
    pub fn pull_of(&self, channel: &ChannelId) -> Pull {
        Pull {
            channel: channel.clone(),
            nonce: nonce(),
            progress: Progress {
                applied: Position::start(&self.voice.turn_network, channel),
                reached: None,
                unreadable: vec![],
            },
            denies: vec![],
        }
    }
}
