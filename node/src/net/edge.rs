//! Where requests of greeted members come in: what is clear from membership and role alone is
//! decided here, the directory is answered here, and the rest is handed to the application in a
//! task of its own.

use std::sync::{Arc, Mutex, PoisonError, RwLock};

use tokio::sync::Semaphore;
use trust::{Trust, member::Member};
use wire::{
    OrganisationId, cbor,
    channel::{ChannelRefusal, ChannelReply},
    membership::{DirectoryReply, DirectoryRequest, NodeIdentity, Role},
};

use super::{
    Inbound, Protocol,
    directory::Directory,
    frame::{Memory, Reserved},
    limits,
    protocol::WireProtocol,
    shares::{Lane, Shares},
};

pub(super) struct Edge {
    inbound: Arc<dyn Inbound>,
    pub(super) own: OrganisationId,
    trust: RwLock<Arc<Trust>>,
    identity: tokio::sync::watch::Receiver<NodeIdentity>,
    pub(super) directory: Mutex<Directory>,
    shares: Shares,
    request_memory: Arc<Semaphore>,
    reply_memory: Arc<Semaphore>,
}

impl Edge {
    pub(super) fn new(
        inbound: Arc<dyn Inbound>,
        own: OrganisationId,
        trust: Arc<Trust>,
        identity: tokio::sync::watch::Receiver<NodeIdentity>,
        directory: Directory,
    ) -> Self {
        Self {
            inbound,
            own,
            trust: RwLock::new(trust),
            identity,
            directory: Mutex::new(directory),
            shares: Shares::new(),
            request_memory: Memory::of_node(),
            reply_memory: Memory::of_node(),
        }
    }

    pub(super) fn request_memory(&self) -> &Arc<Semaphore> {
        &self.request_memory
    }

    pub(super) fn reply_memory(&self) -> &Arc<Semaphore> {
        &self.reply_memory
    }

    pub(super) fn inbound(&self) -> &dyn Inbound {
        &*self.inbound
    }

    pub(super) fn trust(&self) -> Arc<Trust> {
        Arc::clone(&self.trust.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn set_trust(&self, trust: Arc<Trust>) {
        *self.trust.write().unwrap_or_else(PoisonError::into_inner) = trust;
    }

    pub(super) fn with_directory<T>(&self, act: impl FnOnce(&mut Directory) -> T) -> T {
        act(&mut self.directory.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether this node or `organisation` is a municipality: such connections are kept.
    pub(super) fn is_core(&self, organisation: &OrganisationId) -> bool {
        let trust = self.trust();
        trust.is_municipality(&self.own) || trust.is_municipality(organisation)
    }

    /// The reply to `message`, or none to close the stream. `reserved` is held for as long as the
    /// message is worked on, even if the stream ends before.
    pub(super) async fn serve(
        &self,
        from: Arc<Member>,
        protocol: WireProtocol,
        message: Vec<u8>,
        reserved: Option<Reserved>,
    ) -> Option<Vec<u8>> {
        let application = match protocol {
            WireProtocol::Application(application) => application,
            WireProtocol::Directory => return self.look_up(&message),
            // Hellos are answered by the event loop.
            WireProtocol::Hello => return None,
        };
        if application == Protocol::Channel && !self.may_send(&from, &message) {
            tracing::warn!(organisation = %from.organisation, "channel message refused: role");
            return Some(cbor::to_vec(&ChannelReply::Refused(ChannelRefusal::NotYours)));
        }
        let lane = Lane::of(application, variant(&message));
        let place = self.shares.place(lane, &from.organisation).await;
        let handled = self.inbound.handle(from, application, message);
        // A task of its own: a request once begun is not cut off half-way when the caller leaves.
        let task = tokio::spawn(async move {
            let reply = handled.await;
            drop((place, reserved));
            reply
        });
        match task.await {
            Ok(reply) => reply,
            Err(_) => {
                tracing::error!(protocol = protocol.name(), "handling a request failed");
                None
            }
        }
    }

    /// As [`serve`](Self::serve), for whoever has not said hello: trust files only.
    pub(super) async fn serve_stranger(&self, message: Vec<u8>) -> Option<Vec<u8>> {
        tokio::spawn(self.inbound.handle_stranger(message)).await.ok().flatten()
    }

    /// Most that is read of a request from this member, in bytes.
    pub(super) fn request_limit(&self, from: &Member, protocol: WireProtocol) -> usize {
        match protocol {
            WireProtocol::Application(Protocol::Trust)
                if !self.trust().is_municipality(&from.organisation) =>
            {
                limits::TRUST_PULL_FRAME
            }
            _ => protocol.request_limit(),
        }
    }

    fn look_up(&self, message: &[u8]) -> Option<Vec<u8>> {
        if !self.trust().is_municipality(&self.own) {
            return None;
        }
        let DirectoryRequest::Organisation(organisation) = cbor::from_slice(message).ok()?;
        let found = if organisation == self.own {
            Some(self.identity.borrow().clone())
        } else {
            self.with_directory(|directory| directory.find(&organisation).cloned())
        };
        Some(cbor::to_vec(&found.map_or(DirectoryReply::Unknown, DirectoryReply::Found)))
    }

    /// Pushes and relays come from municipal nodes, pulls from sources. Looks at the variant only:
    /// reading the whole message is the application's work, once.
    fn may_send(&self, from: &Member, message: &[u8]) -> bool {
        match variant(message) {
            Some(b"push") => {
                from.has_role(Role::Home) && self.trust().is_municipality(&from.organisation)
            }
            Some(b"relay") => self.trust().is_municipality(&from.organisation),
            Some(b"pull") => from.has_role(Role::Source),
            // Not ours to judge: the application answers what it cannot read.
            _ => true,
        }
    }
}

/// The variant's name in the deterministic encoding of an enum: a map of one entry whose key is a
/// short text string (RFC 8949 section 3.1).
fn variant(message: &[u8]) -> Option<&[u8]> {
    let [0xa1, head @ 0x60..=0x77, rest @ ..] = message else { return None };
    rest.get(..usize::from(head - 0x60))
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{
        Bytes, Hash, Nonce,
        channel::{ChannelId, ChannelRequest, Position, Progress, Pull, Push},
    };

    #[test]
    fn the_variant_is_read_without_the_message() {
        let channel = ChannelId {
            home: OrganisationId::from_base("000000000001").unwrap(),
            source: format!("{}/lunch", OrganisationId::from_base("000000000009").unwrap())
                .parse()
                .unwrap(),
        };
        let push = ChannelRequest::Push(Push {
            channel: channel.clone(),
            entries: vec![],
            statement: Bytes(vec![]),
        });
        let pull = ChannelRequest::Pull(Pull {
            channel,
            nonce: Nonce([0; 16]),
            progress: Progress {
                applied: Position { length: 0, chain: Hash([0; 32]) },
                reached: None,
                unreadable: vec![],
            },
            denies: vec![],
        });
        assert_eq!(variant(&cbor::to_vec(&push)), Some(&b"push"[..]));
        assert_eq!(variant(&cbor::to_vec(&pull)), Some(&b"pull"[..]));
        assert_eq!(variant(&[0xa1, 0x77, b'p']), None, "cut short");
        assert_eq!(variant(b""), None);
    }
}
