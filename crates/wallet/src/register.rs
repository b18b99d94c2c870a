//! 同意台帳: what the home says stands for one pair, read as the source reads it. Every entry is
//! replayed through the source's own rules ([`consent::source::absorb`]), so that the citizen sees
//! what the source does, not what the home says it does.

use std::collections::BTreeMap;

use consent::{
    CheckedExtract, PairState, Permitted, Query, Refused, UseCount, evaluate, moving, scope,
    source::{absorb, stand_as_deny, unreadable_id},
};
use serde::{Deserialize, Serialize};
use trust::{ChainError, Freshness, Trust};
use wire::{
    DecisionId, Hash, ItemType, KeyHash, NetworkId, Nonce, OrganisationId, ServiceName, Signed,
    Timestamp, Unsigned, cbor,
    channel::{ChannelId, Entry, EntryKind},
    citizen::{DecisionReply, InForce, PairRegister, RegisterEntry, WalletQuery},
    consent::{
        Attested, Collapse, Decision, Items, KeyBegin, KeyEnd, Move, PurposeScope, Recipient,
        Scope, Verdict,
    },
};

use crate::{PermitDraft, Wallet, WalletError};

/// The register of one pair, every entry checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterView {
    rows: Vec<RegisterRow>,
    pair: PairState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRow {
    /// In whose channel it stands.
    pub home: OrganisationId,
    /// Position in the channel from that home to the source.
    pub seq: u64,
    /// 発効, by the word of the home that was asked; `None` for what an earlier home's channel holds.
    pub status: Option<InForce>,
    pub scope: Scope,
    pub content: RegisterContent,
}

/// What an entry turned out to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RegisterContent {
    Decision {
        id: DecisionId,
        key: KeyHash,
        decision: Box<Decision>,
    },
    KeyBegin(KeyBegin),
    KeyEnd(KeyEnd),
    MoveBegin(Move),
    MoveEnd(Move),
    Collapse(Collapse),
    /// It does not hold. As a permit it is none; as anything else it stands as a deny of its scope,
    /// under this id.
    Unreadable {
        kind: EntryKind,
        stands_as: Option<DecisionId>,
        fault: String,
    },
}

impl RegisterView {
    /// Channel after channel, the pair's first home's first; each in its order.
    pub fn rows(&self) -> &[RegisterRow] {
        &self.rows
    }

    /// The set that the rule looks at.
    pub fn pair(&self) -> &PairState {
        &self.pair
    }

    /// The permits that a key of the pair signed: void once it is ended, but for those that are kept.
    pub fn permits_of(&self, key: &KeyHash) -> impl Iterator<Item = DecisionId> {
        (self.pair.permits.iter()).filter(move |(_, permit)| permit.key == *key).map(|(id, _)| *id)
    }

    /// The denies that cover something of what `draft` would permit, whether the draft names them
    /// or not: to be shown before the citizen decides which of them to reopen.
    pub fn denies_a_permit_would_reopen(&self, draft: &PermitDraft) -> Vec<DecisionId> {
        (self.pair.standing_denies())
            .filter(|(_, deny)| draft.meets(&deny.scope))
            .map(|(id, _)| *id)
            .collect()
    }

    /// The leaves that `draft` would allow today: those which no deny covers but denies it names.
    pub fn leaves_allowed_by(&self, draft: &PermitDraft) -> Vec<ItemType> {
        let reopened = self.pair.reopened(&draft.reopens);
        let standing: Vec<_> =
            self.pair.standing_denies().filter(|(id, deny)| !reopened.names(id, deny)).collect();
        (draft.leaves().into_iter())
            .filter(|leaf| {
                !standing.iter().any(|(_, deny)| {
                    scope::covers(&deny.scope, leaf, &draft.recipient, &draft.purpose)
                })
            })
            .collect()
    }

    /// What a permit of this register allows by itself at `at`, by the same rule that the source
    /// applies; uses count as unspent, since only the source counts them. `None` if there is no
    /// such permit.
    pub fn standing(
        &self,
        permit: &DecisionId,
        at: Timestamp,
    ) -> Option<Result<Permitted, Refused>> {
        let standing = self.pair.permits.get(permit)?;
        let mut alone = self.pair.clone();
        alone.permits.retain(|id, _| id == permit);
        let (Recipient::Service(recipient), PurposeScope::Code(purpose), Items::Types(items)) =
            (&standing.scope.recipient, &standing.scope.purpose, &standing.scope.items)
        else {
            // No wallet of this kind writes such a permit, and nobody can say it for one leaf.
            return None;
        };
        let query = Query {
            recipient,
            recipient_subject: &standing.permit.recipient_subject,
            items,
            whole: false,
            purpose,
            consent_hash: standing.permit.request.unwrap_or(Hash([0; 32])),
            at,
            released: None,
        };
        Some(evaluate(&alone, &BTreeMap::<DecisionId, UseCount>::new(), &query))
    }
}

impl Wallet {
    /// For the key at `source` to sign: show me the register of my pair there.
    pub fn query(
        &self,
        source: &ServiceName,
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<Unsigned<WalletQuery>, WalletError> {
        let own = self.service(source)?;
        let query = WalletQuery { pair: self.pair(source)?, nonce, time: at };
        Ok(Unsigned::new(query, self.network(), &own.key))
    }

    /// Checks a register and works out what stands. The home has to have signed that this is all that
    /// its channel holds of the pair, and so has each home before for what was brought from it; an entry
    /// that does not hold is shown as such.
    pub fn read_register(
        &self,
        source: &ServiceName,
        register: &PairRegister,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<RegisterView, WalletError> {
        // Nothing can be said of any entry then, which is not the same as that none holds.
        if trust.freshness(at) == Freshness::HardExpired {
            return Err(WalletError::Chain(ChainError::TrustExpired));
        }
        let pair = self.pair(source)?;
        let home = &self.home_of(source).organisation;
        let checked = |extract: &_| CheckedExtract::check(extract, &pair, trust, at);
        let mut extracts = Vec::with_capacity(register.brought.len() + 1);
        let mut is_one_gone = false;
        for extract in &register.brought {
            // A home that is gone since signed what nobody can check any more.
            let gone = |_| {
                is_one_gone = true;
                CheckedExtract::on_anothers_word(extract, &pair, trust)
            };
            extracts.push(checked(extract).or_else(gone).map_err(WalletError::Extract)?);
        }
        let own = checked(&register.extract()).map_err(WalletError::Extract)?;
        if own.statement().channel.home != *home {
            return Err(WalletError::OtherSigner);
        }
        extracts.push(own);
        let listed: BTreeMap<u64, &RegisterEntry> =
            register.entries.iter().map(|listed| (listed.entry.seq, listed)).collect();
        let channels = extracts.iter().map(|one| (&one.statement().channel, one.entries()));
        let mut view = RegisterView { rows: Vec::new(), pair: PairState::default() };
        for (channel, entries) in moving::in_order(channels, trust.network()) {
            let is_own = channel.home == *home;
            for entry in entries {
                let listed = listed.get(&entry.seq).filter(|_| is_own);
                let id = listed.map(|listed| listed.decision);
                let mut content = view.absorb_entry(channel, entry, id, trust, at);
                if let Some(InForce::Unreadable(_)) = listed.map(|listed| listed.status) {
                    content = view.as_the_source_says(channel, entry, content);
                }
                view.rows.push(RegisterRow {
                    home: channel.home.clone(),
                    seq: entry.seq,
                    status: listed.map(|listed| listed.status),
                    scope: entry.scope.clone(),
                    content,
                });
            }
        }
        // Nor can the keys that it began be: whose home the pair is the wallet knows by itself.
        if is_one_gone {
            view.pair.home = Some(home.clone());
        }
        Ok(view)
    }

    /// Takes over from a register what it says of this wallet's own key.
    pub fn note_register(&mut self, source: &ServiceName, view: &RegisterView) {
        for (key, begun) in &view.pair.keys {
            self.note_begun(source, key, begun);
        }
    }

    /// Checks that a home's answer is about the decision that was sent.
    pub fn check_decision_reply(
        &self,
        sent: &Signed<Decision>,
        reply: &DecisionReply,
    ) -> Result<(), WalletError> {
        if reply.decision == DecisionId::from(sent.id()) {
            Ok(())
        } else {
            Err(WalletError::OtherDecision)
        }
    }
}

impl RegisterView {
    /// `listed_as`: the decision as which the home lists the entry; `None` where it is not in its list.
    fn absorb_entry(
        &mut self,
        channel: &ChannelId,
        entry: &Entry,
        listed_as: Option<Option<DecisionId>>,
        trust: &Trust,
        now: Timestamp,
    ) -> RegisterContent {
        let as_listed = |id: Option<DecisionId>| listed_as.is_none_or(|listed| listed == id);
        let hash = entry.hash();
        // As the source does: at the time in the entry's header, or now if that is to come.
        let mut absorbed = absorb(channel, &mut self.pair, entry, &hash, trust, now);
        for acted in absorbed.acted {
            let Some(fault) = acted.fault else { continue };
            if (&acted.home, acted.seq) == (&channel.home, entry.seq) {
                absorbed.fault = Some(fault);
                continue;
            }
            let channel = ChannelId { home: acted.home, source: channel.source.clone() };
            self.note_fault(&channel, acted.seq, &acted.hash, fault);
        }
        if absorbed.fault.is_none()
            && as_listed(absorbed.decision)
            && let Some(content) = read_body(entry, trust.network())
        {
            return content;
        }
        let fault = match absorbed.fault {
            Some(fault) => fault,
            None if !as_listed(absorbed.decision) => {
                "the home lists it under another id than its own".to_owned()
            }
            None => "its kind is not known to this wallet".to_owned(),
        };
        let stands_as = [Some(unreadable_id(channel, &hash)), absorbed.decision]
            .into_iter()
            .flatten()
            .find(|id| self.pair.knows_deny(id));
        RegisterContent::Unreadable { kind: entry.kind, stands_as, fault }
    }

    /// An entry that holds here and, by the source's word, not there: its trust list is another, or it
    /// never heard of what this entry follows. What opens shows that by its status. Anything else is a
    /// deny there, which a permit has to name.
    fn as_the_source_says(
        &mut self,
        channel: &ChannelId,
        entry: &Entry,
        content: RegisterContent,
    ) -> RegisterContent {
        let opens = matches!(entry.kind, EntryKind::PERMIT | EntryKind::KEY_BEGIN);
        if opens || matches!(content, RegisterContent::Unreadable { .. }) {
            return content;
        }
        let stands_as = Some(stand_as_deny(channel, &mut self.pair, entry));
        let fault = "by the source's word it does not hold there".to_owned();
        RegisterContent::Unreadable { kind: entry.kind, stands_as, fault }
    }

    /// An entry that is in the list already does not hold after all: it had waited.
    fn note_fault(&mut self, channel: &ChannelId, seq: u64, hash: &Hash, fault: String) {
        let stands_as = Some(unreadable_id(channel, hash)).filter(|id| self.pair.knows_deny(id));
        let mut rows = self.rows.iter_mut();
        if let Some(row) = rows.find(|row| row.home == channel.home && row.seq == seq) {
            let kind = row.content.kind();
            row.content = RegisterContent::Unreadable { kind, stands_as, fault };
        }
    }
}

/// Reads an entry's body for showing; nothing is checked here.
fn read_body(entry: &Entry, network: &NetworkId) -> Option<RegisterContent> {
    let body: Attested = cbor::from_slice(&entry.body).ok()?;
    match entry.kind {
        EntryKind::PERMIT | EntryKind::DENY => {
            let signed = Signed::<Decision>::decode(&body.object, network).ok()?;
            let decision = signed.unverified().clone();
            let content = RegisterContent::Decision {
                id: signed.id().into(),
                key: signed.key(),
                decision: Box::new(decision),
            };
            Some(content)
        }
        EntryKind::KEY_BEGIN => {
            let begin =
                Signed::<KeyBegin>::decode(&body.object, network).ok()?.unverified().clone();
            Some(RegisterContent::KeyBegin(begin))
        }
        EntryKind::KEY_END => {
            let end = Signed::<KeyEnd>::decode(&body.object, network).ok()?.unverified().clone();
            Some(RegisterContent::KeyEnd(end))
        }
        EntryKind::MOVE_BEGIN | EntryKind::MOVE_END => {
            let moving = Signed::<Move>::decode(&body.object, network).ok()?.unverified().clone();
            let content = if entry.kind == EntryKind::MOVE_BEGIN {
                RegisterContent::MoveBegin(moving)
            } else {
                RegisterContent::MoveEnd(moving)
            };
            Some(content)
        }
        EntryKind::COLLAPSE => {
            let collapse =
                Signed::<Collapse>::decode(&body.object, network).ok()?.unverified().clone();
            Some(RegisterContent::Collapse(collapse))
        }
        _ => None,
    }
}

impl RegisterContent {
    fn kind(&self) -> EntryKind {
        match self {
            Self::Decision { decision, .. } if decision.verdict == Verdict::Deny => EntryKind::DENY,
            Self::Decision { .. } => EntryKind::PERMIT,
            Self::KeyBegin(_) => EntryKind::KEY_BEGIN,
            Self::KeyEnd(_) => EntryKind::KEY_END,
            Self::MoveBegin(_) => EntryKind::MOVE_BEGIN,
            Self::MoveEnd(_) => EntryKind::MOVE_END,
            Self::Collapse(_) => EntryKind::COLLAPSE,
            Self::Unreadable { kind, .. } => *kind,
        }
    }
}

impl RegisterRow {
    /// The deny or permit in this row, if it holds.
    pub fn decision(&self) -> Option<(DecisionId, &Decision)> {
        match &self.content {
            RegisterContent::Decision { id, decision, .. } => Some((*id, decision)),
            _ => None,
        }
    }

    pub fn is_deny(&self) -> bool {
        self.decision().is_some_and(|(_, decision)| decision.verdict == Verdict::Deny)
    }
}
