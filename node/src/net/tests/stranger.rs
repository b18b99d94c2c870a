//! A peer that says what it likes: raw bytes on any protocol, over libp2p's own request-response.

use std::io;

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder, identity, noise,
    request_response::{self, OutboundFailure, ProtocolSupport},
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use wire::{
    cbor,
    membership::{Hello, HelloReply},
};

pub const HELLO: &str = "/mebuku/hello/1";
pub const DIRECTORY: &str = "/mebuku/directory/1";
pub const EXCHANGE: &str = "/mebuku/exchange/1";

/// Bytes as given, no frame added.
#[derive(Clone, Default)]
pub struct Raw;

impl request_response::Codec for Raw {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: futures::AsyncRead + Unpin + Send,
    {
        read(io).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        bytes: Vec<u8>,
    ) -> io::Result<()>
    where
        T: futures::AsyncWrite + Unpin + Send,
    {
        io.write_all(&bytes).await
    }
}

async fn read(io: &mut (impl futures::AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io.take(1 << 20).read_to_end(&mut bytes).await?;
    Ok(bytes)
}

#[derive(NetworkBehaviour)]
pub struct Behaviour {
    hello: request_response::Behaviour<Raw>,
    directory: request_response::Behaviour<Raw>,
    exchange: request_response::Behaviour<Raw>,
}

pub struct Stranger {
    swarm: Swarm<Behaviour>,
    there: PeerId,
}

/// A frame: length and body.
pub fn frame(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_be_bytes(), body].concat()
}

impl Stranger {
    /// Connects with this transport key and says nothing.
    pub async fn connect(seed: [u8; 32], to: Multiaddr) -> Self {
        let mut seed = seed;
        let keypair = identity::Keypair::ed25519_from_bytes(&mut seed).unwrap();
        let speak = |protocol: &'static str| {
            let protocols = [(StreamProtocol::new(protocol), ProtocolSupport::Outbound)];
            request_response::Behaviour::new(protocols, request_response::Config::default())
        };
        let mut swarm = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_quic()
            .with_behaviour(|_| Behaviour {
                hello: speak(HELLO),
                directory: speak(DIRECTORY),
                exchange: speak(EXCHANGE),
            })
            .unwrap()
            .with_swarm_config(|c| {
                c.with_idle_connection_timeout(std::time::Duration::from_secs(60))
            })
            .build();
        swarm.dial(to).unwrap();
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    return Self { swarm, there: peer_id };
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    pub fn peer(&self) -> PeerId {
        *self.swarm.local_peer_id()
    }

    /// Sends `bytes`; what came back, or `None` if the stream or the connection was closed.
    pub async fn send(&mut self, protocol: &str, bytes: Vec<u8>) -> Option<Vec<u8>> {
        let Behaviour { hello, directory, exchange } = self.swarm.behaviour_mut();
        let behaviour = match protocol {
            HELLO => hello,
            DIRECTORY => directory,
            _ => exchange,
        };
        behaviour.send_request(&self.there, bytes);
        loop {
            let event = match self.swarm.select_next_some().await {
                SwarmEvent::Behaviour(
                    BehaviourEvent::Hello(event)
                    | BehaviourEvent::Directory(event)
                    | BehaviourEvent::Exchange(event),
                ) => event,
                SwarmEvent::ConnectionClosed { .. } => return None,
                _ => continue,
            };
            match event {
                request_response::Event::Message {
                    message: request_response::Message::Response { response, .. },
                    ..
                } => return Some(response).filter(|bytes| !bytes.is_empty()),
                request_response::Event::OutboundFailure {
                    error: OutboundFailure::ConnectionClosed | OutboundFailure::Io(_),
                    ..
                } => return None,
                request_response::Event::OutboundFailure { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    pub async fn say_hello(&mut self, hello: &Hello) -> HelloReply {
        self.greet_with(frame(&cbor::to_vec(hello))).await
    }

    pub async fn greet_with(&mut self, bytes: Vec<u8>) -> HelloReply {
        let reply = self.send(HELLO, bytes).await.expect("an answer");
        cbor::from_slice(&reply[4..]).expect("an answer to hello")
    }

    /// As [`Self::say_hello`], giving the reason of the refusal.
    pub async fn is_refused(&mut self, hello: &Hello) -> String {
        match self.say_hello(hello).await {
            HelloReply::Refused(reason) => reason,
            HelloReply::Welcome(_) => panic!("welcomed"),
        }
    }

    pub async fn is_disconnected(&mut self) {
        while self.swarm.is_connected(&self.there) {
            self.swarm.select_next_some().await;
        }
    }
}
