//! What is on its way between two nodes.

use wire::{
    Bytes,
    channel::{ChannelHead, ChannelId, Entry, Grant, Progress, Pull},
    exchange::ExchangeReply,
};

use super::NodeId;
use crate::{cast::RequestId, shared::Shared};

/// A message between two nodes. Signatures are the transport's and the trust list's matter; what is
/// believed of a message here is what a member proved.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Flight {
    Pull {
        from: NodeId,
        to: NodeId,
        pull: Shared<Pull>,
    },
    Pulled {
        from: NodeId,
        to: NodeId,
        grant: Grant,
        /// What the pull reported, which the home has on disk now.
        unreadable: Vec<u64>,
        entries: Vec<Shared<Entry>>,
        head: ChannelHead,
    },
    Forked {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
    },
    Push {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
        entries: Vec<Shared<Entry>>,
        head: ChannelHead,
    },
    Applied {
        from: NodeId,
        to: NodeId,
        channel: ChannelId,
        progress: Shared<Progress>,
    },
    /// A signed request, and what a source says to it.
    Request {
        from: NodeId,
        to: NodeId,
        request: RequestId,
        signed: Shared<Bytes>,
    },
    Reply {
        from: NodeId,
        to: NodeId,
        request: RequestId,
        reply: Shared<ExchangeReply>,
    },
    /// A signed receipt, and the source's word that it has it.
    Receipt {
        from: NodeId,
        to: NodeId,
        request: RequestId,
        signed: Shared<Bytes>,
    },
    Noted {
        from: NodeId,
        to: NodeId,
        request: RequestId,
    },
}

impl Flight {
    pub fn from(&self) -> NodeId {
        match self {
            Self::Pull { from, .. }
            | Self::Pulled { from, .. }
            | Self::Forked { from, .. }
            | Self::Push { from, .. }
            | Self::Applied { from, .. }
            | Self::Request { from, .. }
            | Self::Reply { from, .. }
            | Self::Receipt { from, .. }
            | Self::Noted { from, .. } => *from,
        }
    }

    /// In a few words, for traces.
    pub fn brief(&self) -> String {
        let (from, to) = (self.from(), self.to());
        match self {
            Self::Pull { pull, .. } => {
                let (applied, denies) = (pull.progress.applied.length, pull.denies.len());
                format!("{from}→{to} pull after {applied}, {denies} denies")
            }
            Self::Pulled { grant, entries, .. } => {
                let (length, ms) = (grant.head.position.length, grant.granted_ms);
                format!("{from}→{to} {ms} ms for {length}, {} entries", entries.len())
            }
            Self::Forked { .. } => format!("{from}→{to} forked"),
            Self::Push { entries, head, .. } => {
                format!("{from}→{to} push of {} up to {}", entries.len(), head.position.length)
            }
            Self::Applied { progress, .. } => {
                let reached = progress.reached.as_ref();
                let told = reached.map_or(0, |reached| reached.applied.length);
                let waiting = reached.map_or(0, |reached| reached.waiting.len());
                let applied = progress.applied.length;
                format!("{from}→{to} applied {applied}, told {told}, {waiting} wait")
            }
            Self::Request { request, .. } => format!("{from}→{to} request {request}"),
            Self::Reply { request, reply, .. } => {
                let says = match &**reply {
                    ExchangeReply::Presentation(bytes) => format!("{} bytes", bytes.len()),
                    other => format!("{other:?}"),
                };
                format!("{from}→{to} reply to {request}: {says}")
            }
            Self::Receipt { request, .. } => format!("{from}→{to} receipt of {request}"),
            Self::Noted { request, .. } => format!("{from}→{to} noted {request}"),
        }
    }

    pub fn to(&self) -> NodeId {
        match self {
            Self::Pull { to, .. }
            | Self::Pulled { to, .. }
            | Self::Forked { to, .. }
            | Self::Push { to, .. }
            | Self::Applied { to, .. }
            | Self::Request { to, .. }
            | Self::Reply { to, .. }
            | Self::Receipt { to, .. }
            | Self::Noted { to, .. } => *to,
        }
    }
}
