//! What happened in a run, as seen from outside the nodes and as their own evidence tells it: all
//! that the judge looks at. Times are milliseconds since the run began, on this machine's clock.

use std::collections::BTreeSet;

use wire::{DecisionId, Hash, Nonce};

pub type Ms = u64;
/// A node, and where it is a provider also its one service: a key of the roster.
pub type Place = &'static str;
pub type Item = &'static str;

/// One citizen's one item, from one source to one recipient: what a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    pub citizen: usize,
    pub source: Place,
    pub recipient: Place,
    pub item: Item,
}

/// A decision as the wallet signed it.
#[derive(Debug, Clone)]
pub struct Made {
    pub id: DecisionId,
    pub citizen: usize,
    pub source: Place,
    pub verdict: Verdict,
}

#[derive(Debug, Clone)]
pub enum Verdict {
    Permit {
        recipient: Place,
        item: Item,
        reopens: BTreeSet<DecisionId>,
        once: bool,
    },
    /// `None` is any.
    Deny {
        recipient: Option<Place>,
        item: Option<Item>,
    },
}

impl Made {
    pub fn is_deny(&self) -> bool {
        matches!(self.verdict, Verdict::Deny { .. })
    }

    pub fn covers(&self, lane: &Lane) -> bool {
        let (recipient, item) = match &self.verdict {
            Verdict::Permit { recipient, item, .. } => (Some(*recipient), Some(*item)),
            Verdict::Deny { recipient, item } => (*recipient, *item),
        };
        self.citizen == lane.citizen
            && self.source == lane.source
            && recipient.is_none_or(|recipient| recipient == lane.recipient)
            && item.is_none_or(|item| item == lane.item)
    }

    pub fn reopens(&self, deny: &DecisionId) -> bool {
        matches!(&self.verdict, Verdict::Permit { reopens, .. } if reopens.contains(deny))
    }

    pub fn is_once(&self) -> bool {
        matches!(self.verdict, Verdict::Permit { once: true, .. })
    }
}

/// The way a decision went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    Home,
    /// Straight to the source.
    Source,
    /// To another city, which passes it on.
    Relay,
}

/// One time that a wallet handed a decision in, and what it was told.
#[derive(Debug, Clone)]
pub struct Handed {
    pub decision: DecisionId,
    pub via: Via,
    pub to: Place,
    pub begun: Ms,
    pub ended: Ms,
    pub said: Said,
}

impl Handed {
    pub fn acknowledges(&self) -> bool {
        matches!(self.said, Said::Accepted | Said::InForce)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Accepted by a city; not yet known to bind the source.
    Accepted,
    /// In force at the source.
    InForce,
    /// The node runs and cannot do it now, or has not done all of it.
    Unavailable,
    Refused(String),
    /// Killed, cut off or too slow: it may hold or not.
    NoAnswer,
}

/// One time that a recipient's system asked its node.
#[derive(Debug, Clone)]
pub struct Asked {
    pub request: Nonce,
    pub lane: Lane,
    pub begun: Ms,
    pub ended: Ms,
    pub got: Got,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Got {
    /// A presentation: its hash, and the permits it says it passes on.
    Data {
        presentation: Hash,
        permits: Vec<DecisionId>,
    },
    NotPermitted,
    /// The source did not take the request, for its form or time.
    Rejected(String),
    /// The recipient's node says that it has no answer from the source.
    NoAnswer,
    /// The recipient's node did not answer.
    Silence,
}

/// A release as the source keeps it.
#[derive(Debug, Clone)]
pub struct Released {
    pub request: Nonce,
    pub source: Place,
    pub at: Ms,
    pub presentation: Hash,
}

/// A decision in the home's register at the end.
#[derive(Debug, Clone)]
pub struct Registered {
    pub decision: DecisionId,
    /// When the home says that it accepted it.
    pub accepted: Ms,
    pub in_force: bool,
}

/// How far a source had applied a home's channel at the end, of how many entries.
#[derive(Debug, Clone)]
pub struct Applied {
    pub home: Place,
    pub source: Place,
    pub owed: u64,
    pub applied: u64,
}

/// What a counter that never goes back was seen at.
#[derive(Debug, Clone)]
pub struct Head {
    pub node: Place,
    pub of: String,
    pub at: Ms,
    pub length: u64,
}

/// A whole run.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The lease that homes grant.
    pub granted_ms: u64,
    pub made: Vec<Made>,
    pub handed: Vec<Handed>,
    pub asked: Vec<Asked>,
    pub heads: Vec<Head>,
    /// From here on: at the end, everything healed.
    pub released: Vec<Released>,
    /// A source's evidence log: one for each entry that tells of a release.
    pub logged: Vec<(Place, Nonce)>,
    pub registered: Vec<Registered>,
    pub applied: Vec<Applied>,
    /// Asked last, with nothing else going on.
    pub probes: Vec<Asked>,
}
