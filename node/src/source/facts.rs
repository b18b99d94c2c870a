//! What is read together for one look at a request: the pair that it is about, its uses, channel and
//! lease, and an earlier release under the same id. A request is looked at three times (evaluate,
//! commit, send), each time from one consistent state.

use std::{collections::BTreeMap, sync::Arc};

use consent::{
    PairState, UseCount,
    lease::{Lease, NoLease},
};
use exchange::{
    Authentic, PresentConsent, Previous, View,
    source::{ChannelView, PairView},
};
use wire::{
    DecisionId, Now, ServiceId,
    channel::{ChannelHead, ChannelId},
    consent::Recipient,
    exchange::Request,
};

use super::{Source, StoredRelease, channels, release_key};
use crate::{
    channel_store::{links_prefix, source_pair},
    store::{Column, Read, Scan, StoreError, TypedRead},
};

/// Most pairs that are looked at for one id of a recipient's.
const LINKS: usize = 16;

/// An authentic request, with the present-consent that it carries.
#[derive(Clone)]
pub(super) struct Asked {
    pub request: Authentic,
    pub present: Option<Arc<PresentConsent>>,
}

/// Everything a view borrows, read from one consistent state of the store.
pub(super) struct Facts {
    pair: Option<(ServiceId, PairState)>,
    uses: BTreeMap<DecisionId, UseCount>,
    lease: Result<Lease, NoLease>,
    previous: Option<StoredRelease>,
    channel: Option<(ChannelId, ChannelHead)>,
    present: Option<Arc<PresentConsent>>,
    now: Now,
}

impl Facts {
    pub fn view(&self) -> View<'_> {
        View {
            pair: self.pair.as_ref().map(|(subject, state)| PairView {
                subject,
                state,
                channel: self.channel.as_ref().map(|(id, applied)| ChannelView {
                    id,
                    applied,
                    lease: self.lease.as_ref().map_err(|none| *none),
                }),
            }),
            uses: &self.uses,
            present: self.present.as_deref(),
            previous: self.previous.as_ref().map(|stored| Previous {
                released: &stored.released,
                presentation: &stored.presentation,
            }),
            at: self.now.wall,
        }
    }
}

impl Source {
    /// `read`: the committed state, or inside a commit what is about to be.
    pub(super) fn facts(
        &self,
        read: &(impl Read + ?Sized),
        request: &Asked,
        now: Now,
    ) -> Result<Facts, StoreError> {
        let Asked { request, present } = request;
        let asked = request.request();
        let previous = previous(read, request)?;
        let mut facts = Facts {
            pair: None,
            uses: BTreeMap::new(),
            lease: Err(NoLease::Never),
            previous,
            channel: None,
            present: present.clone(),
            now,
        };
        let subject = match present {
            Some(present) => self.claimed(read, asked, present, now.wall)?,
            None => self.linked(read, asked, now.wall)?,
        };
        let Some(subject) = subject else { return Ok(facts) };
        let pair = source_pair(read, &asked.source, &subject)?;
        for (permit, standing) in &pair.permits {
            if standing.permit.uses != wire::consent::Uses::Unlimited
                && let Some(uses) = read.read(Column::Uses, &permit.0)?
            {
                facts.uses.insert(*permit, uses);
            }
        }
        // Nothing else says that this permit is spent: it stands in no channel.
        if let Some(present) = present
            && let Some(uses) = read.read(Column::Uses, &present.id().0)?
        {
            facts.uses.insert(present.id(), uses);
        }
        if let Some(home) = &pair.home {
            let id = ChannelId { home: home.clone(), source: asked.source.clone() };
            let network = *self.context.trust().network();
            let state = channels::load(read, &network, &id)?;
            if let Some(channel) = self.channels.channel(&id) {
                facts.lease = channel.lease(&state.applied().position, now);
            }
            facts.channel = Some((id, *state.applied()));
        }
        facts.pair = Some((subject, pair));
        Ok(facts)
    }

    /// How far the channels of the homes before are applied, of a pair that moved: what evidence of a
    /// release has to show beside the channel of its home.
    pub(super) fn former_channels(
        &self,
        read: &(impl Read + ?Sized),
        facts: &Facts,
    ) -> Result<Vec<(ChannelId, ChannelHead)>, StoreError> {
        let (Some((_, pair)), Some((channel, _))) = (&facts.pair, &facts.channel) else {
            return Ok(Vec::new());
        };
        let network = *self.context.trust().network();
        let former = pair.former_homes.iter().filter(|home| **home != channel.home);
        former
            .map(|home| {
                let id = ChannelId { home: home.clone(), source: channel.source.clone() };
                let applied = *channels::load(read, &network, &id)?.applied();
                Ok((id, applied))
            })
            .collect()
    }

    /// Whom a present-consent says the request is about, unless another citizen's permit opens that
    /// very id: then a CA attested what is not so, and better no record than another person's.
    fn claimed(
        &self,
        read: &(impl Read + ?Sized),
        asked: &Request,
        present: &PresentConsent,
        at: wire::Timestamp,
    ) -> Result<Option<ServiceId>, StoreError> {
        let linked = linked_pairs(read, asked)?;
        for other in &linked {
            if *other != present.subject() && opens(read, asked, other, at)? {
                tracing::error!(recipient = %asked.recipient, "several citizens are linked to one id: refused");
                return Ok(None);
            }
        }
        Ok(if linked.len() < LINKS { Some(present.subject()) } else { None })
    }

    /// Whom the recipient means. Several pairs may be linked to the id, through a CA that attests
    /// what is not so: then only one that a standing permit opens to this very id counts, and if
    /// there are two of those, none does. Better no record than another person's.
    pub(super) fn linked(
        &self,
        read: &(impl Read + ?Sized),
        asked: &Request,
        at: wire::Timestamp,
    ) -> Result<Option<ServiceId>, StoreError> {
        let subjects = linked_pairs(read, asked)?;
        if subjects.len() < 2 {
            return Ok(subjects.first().copied());
        }
        let mut opened = Vec::new();
        for subject in &subjects {
            if opens(read, asked, subject, at)? {
                opened.push(*subject);
            }
        }
        if opened.len() > 1 || subjects.len() == LINKS {
            tracing::error!(recipient = %asked.recipient, "several citizens are linked to one id: refused");
            return Ok(None);
        }
        Ok(opened.first().or(subjects.first()).copied())
    }
}

/// What was released before under the id of a request.
pub(super) fn previous(
    read: &(impl Read + ?Sized),
    request: &Authentic,
) -> Result<Option<StoredRelease>, StoreError> {
    let (recipient, id) = request.idempotency_key();
    read.read(Column::Releases, &release_key(recipient, &id))
}

/// Whom the source's links say that the recipient's id may be; [`LINKS`] at most.
fn linked_pairs(
    read: &(impl Read + ?Sized),
    asked: &Request,
) -> Result<Vec<ServiceId>, StoreError> {
    let prefix = links_prefix(&asked.recipient, &asked.subject, &asked.source);
    let rows = read.scan_values(Column::SourceLinks, &Scan::prefix(&prefix, LINKS))?;
    Ok(rows.into_iter().map(|(_, subject)| subject).collect())
}

/// Whether a standing permit of a citizen opens to the recipient's id that is asked about.
fn opens(
    read: &(impl Read + ?Sized),
    asked: &Request,
    subject: &ServiceId,
    at: wire::Timestamp,
) -> Result<bool, StoreError> {
    let pair = source_pair(read, &asked.source, subject)?;
    Ok(pair.permits.iter().any(|(id, standing)| {
        standing.permit.recipient_subject == asked.subject
            && standing.scope.recipient == Recipient::Service(asked.recipient.clone())
            && pair.key_stands(id, standing, at).is_ok()
    }))
}
