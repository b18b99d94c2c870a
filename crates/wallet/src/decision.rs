//! Permits and denies. A permit reopens exactly the denies that its caller names, after the citizen
//! saw them ([`crate::RegisterView::denies_a_permit_would_reopen`]); nothing here adds one.

use std::collections::BTreeSet;

use consent::{scope, vocabulary};
use wire::{
    Hash, ItemType, Nonce, Purpose, ServiceName, Timestamp, Unsigned,
    consent::{
        Decision, Items, Notice, Onward, Permit, PurposeScope, Recipient, Reopen, Scope, Uses,
        Verdict, Window,
    },
    limits,
};

use crate::{
    Wallet, WalletError,
    error::DraftFault,
    state::{Acting, ServiceKey, ShownNotice},
};

/// One day, in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// What the citizen is about to allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PermitDraft {
    pub source: ServiceName,
    pub recipient: ServiceName,
    /// Item types, or categories of the current vocabulary: 1 to [`limits::ITEMS`].
    pub items: BTreeSet<ItemType>,
    pub purpose: Purpose,
    /// The denies that the citizen was shown and wants to stop standing against this permit.
    pub reopens: BTreeSet<Reopen>,
    pub valid_days: u32,
    pub uses: Uses,
    pub window: Option<Window>,
    /// How long the recipient may keep what it gets; `None` is as the law says.
    pub retention_days: Option<u32>,
    pub onward: Onward,
    pub notice: NoticeText,
    /// For a present-consent: [`wire::exchange::Request::consent_hash`] of the one request.
    pub request: Option<Hash>,
}

/// The words shown before signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticeText {
    pub text: String,
    /// BCP 47 language tag.
    pub language: String,
    pub version: u32,
}

impl NoticeText {
    /// What a permit carries of it.
    pub fn hash(&self) -> Hash {
        wire::hash_parts("mebuku/notice/1", &[self.text.as_bytes()])
    }
}

/// What the citizen is about to refuse. It also covers types that do not exist yet, and it holds
/// until a permit names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenyDraft {
    pub source: ServiceName,
    pub recipient: Recipient,
    /// In whatever order; sorted here.
    pub items: Items,
    pub purpose: PurposeScope,
}

impl PermitDraft {
    /// The scope the permit will have.
    pub fn scope(&self) -> Scope {
        Scope {
            recipient: Recipient::Service(self.recipient.clone()),
            items: Items::Types(self.items.iter().cloned().collect()),
            purpose: PurposeScope::Code(self.purpose.clone()),
        }
    }

    /// The leaves that the permit means, by the vocabulary it pins.
    pub fn leaves(&self) -> BTreeSet<ItemType> {
        self.items.iter().flat_map(|item| vocabulary::CURRENT.leaves_of(item)).collect()
    }

    /// Whether a deny of `scope` covers some leaf that this permit means.
    pub fn meets(&self, scope: &Scope) -> bool {
        self.leaves().iter().any(|leaf| scope::covers(scope, leaf, &self.recipient, &self.purpose))
    }

    fn check(&self, own: &ServiceKey, valid_until: Timestamp) -> Result<(), DraftFault> {
        check_items(&self.items)?;
        for item in &self.items {
            if vocabulary::CURRENT.leaves_of(item).is_empty() {
                return Err(DraftFault::UnknownItem(item.clone()));
            }
        }
        if !vocabulary::CURRENT.knows_purpose(&self.purpose) {
            return Err(DraftFault::UnknownPurpose(self.purpose.clone()));
        }
        if self.source == self.recipient {
            return Err(DraftFault::SameService);
        }
        if self.valid_days == 0 {
            return Err(DraftFault::NoTime);
        }
        // No permit outlives its certificate: what the citizen was told must be what happens.
        if valid_until > own.not_after {
            return Err(DraftFault::OutlivesCertificate(own.not_after));
        }
        if let Some(Acting { until, .. }) = own.acting
            && valid_until > until
        {
            return Err(DraftFault::OutlivesKey(until));
        }
        if let Uses::Per { count, period_ms } = self.uses
            && (count == 0 || period_ms < 1000)
        {
            return Err(DraftFault::Uses);
        }
        if self.window.is_some_and(|window| window.from >= window.until) {
            return Err(DraftFault::Window);
        }
        if self.reopens.len() > limits::REOPENS {
            return Err(DraftFault::TooManyReopens);
        }
        let NoticeText { text, language, .. } = &self.notice;
        if text.trim().is_empty() || !(1..=35).contains(&language.len()) {
            return Err(DraftFault::Notice);
        }
        Ok(())
    }
}

impl DenyDraft {
    /// Every recipient, every item, every purpose.
    pub fn everything(source: ServiceName) -> Self {
        let Scope { recipient, items, purpose } = Scope::EVERYTHING;
        Self { source, recipient, items, purpose }
    }

    fn scope(&self) -> Result<Scope, DraftFault> {
        let items = match &self.items {
            Items::All => Items::All,
            Items::Types(types) => {
                let types: BTreeSet<_> = types.iter().cloned().collect();
                check_items(&types)?;
                Items::Types(types.into_iter().collect())
            }
        };
        Ok(Scope { recipient: self.recipient.clone(), items, purpose: self.purpose.clone() })
    }
}

fn check_items(items: &BTreeSet<ItemType>) -> Result<(), DraftFault> {
    if !(1..=limits::ITEMS).contains(&items.len()) {
        return Err(DraftFault::ItemCount);
    }
    match items.iter().find(|item| scope::is_public(item)) {
        Some(item) => Err(DraftFault::PublicItem(item.clone())),
        None => Ok(()),
    }
}

impl Wallet {
    /// For the key at the source to sign. It carries the link, so that must be there; the notice is
    /// kept with the wallet.
    pub fn permit(
        &mut self,
        draft: &PermitDraft,
        nonce: Nonce,
        now: Timestamp,
    ) -> Result<Unsigned<Decision>, WalletError> {
        let own = self.service(&draft.source)?;
        let valid_until = now.plus_ms(u64::from(draft.valid_days) * DAY_MS);
        draft.check(own, valid_until)?;
        let notice = &draft.notice;
        let permit = Permit {
            recipient_subject: self.pair(&draft.recipient)?.subject,
            reopens: draft.reopens.iter().cloned().collect(),
            valid_from: now,
            valid_until,
            uses: draft.uses,
            window: draft.window,
            retention_days: draft.retention_days,
            onward: draft.onward,
            notice: Notice {
                hash: notice.hash(),
                language: notice.language.clone(),
                version: notice.version,
            },
            vocabulary: vocabulary::CURRENT.version,
            link: self.link(&draft.source, &draft.recipient)?.clone(),
            request: draft.request,
        };
        let verdict = Verdict::Permit(Box::new(permit));
        let unsigned = self.decision(&draft.source, draft.scope(), verdict, nonce, now)?;
        let shown = ShownNotice {
            text: notice.text.clone(),
            language: notice.language.clone(),
            version: notice.version,
            first_shown: now,
        };
        self.note_notice(notice.hash(), shown);
        Ok(unsigned)
    }

    /// For the key at the source to sign. Needs no link, no begun key, no register: saying no is
    /// always possible.
    pub fn deny(
        &self,
        draft: &DenyDraft,
        nonce: Nonce,
        now: Timestamp,
    ) -> Result<Unsigned<Decision>, WalletError> {
        self.decision(&draft.source, draft.scope()?, Verdict::Deny, nonce, now)
    }

    /// One deny that covers all there is at this source and all there will be.
    pub fn stop_everything(
        &self,
        source: &ServiceName,
        nonce: Nonce,
        now: Timestamp,
    ) -> Result<Unsigned<Decision>, WalletError> {
        self.deny(&DenyDraft::everything(source.clone()), nonce, now)
    }

    fn decision(
        &self,
        source: &ServiceName,
        scope: Scope,
        verdict: Verdict,
        nonce: Nonce,
        time: Timestamp,
    ) -> Result<Unsigned<Decision>, WalletError> {
        let own = self.service(source)?;
        let decision = Decision {
            nonce,
            pair: self.pair(source)?,
            scope,
            time,
            expressed_by: own.expressed_by(),
            verdict,
        };
        Ok(Unsigned::new(decision, self.network(), &own.key))
    }
}
