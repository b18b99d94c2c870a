//! 転出入: a pair that comes from another home. The citizen brings what the channels of the homes before
//! hold; the new home works out from it what stands, begins, and keeps it to show.
//!
//! What a home signed of its channel shows that nothing is missing at that head. That it was the pair's
//! home the source decides, which has every channel whole: a begin that it does not take has no effect.

use std::collections::BTreeMap;

use trust::Trust;
use wire::{
    NetworkId, Now, OrganisationId, ServiceId, Signed, Timestamp, cbor,
    channel::{ChannelId, Entry, EntryKind},
    consent::{Attested, Move},
};

use crate::{
    admission::{AdmissionError, AdmittedMove},
    extract::CheckedExtract,
    home::{Accepted, HomeChannel, HomeError, adopt},
    lease::Run,
    pair::PairState,
    source::claim,
    store::{HomeEntry, HomeStore},
};

/// A pair as the new home holds it once it is taken over, and how it begins.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// What this home held of the pair when the arrival was worked out.
    held: PairState,
    pair: PairState,
    begins: Begins,
}

#[derive(Debug, Clone)]
enum Begins {
    /// The home before has let go, or is off the trust list.
    Now(AdmittedMove),
    /// It has not.
    Early(AdmittedMove),
    /// The begin stands in the channel already.
    Known(Box<HomeEntry>),
}

#[derive(Debug, thiserror::Error)]
pub enum ArrivalFault {
    #[error(transparent)]
    Admission(#[from] AdmissionError),
    #[error("this municipality is the pair's home, and never was told to let it go")]
    AtHome,
}

impl Arrival {
    /// Works out what becomes of a pair that `moving` brings into `channel`, from what the channels of
    /// the homes before hold, the first home's first. `held` is what this home holds of the pair, and
    /// `own` what stands of it in its channel.
    pub fn new(
        channel: &ChannelId,
        moving: &Attested,
        history: &[CheckedExtract],
        (held, own): (&PairState, &[HomeEntry]),
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, ArrivalFault> {
        if began_here(channel, held, own) {
            return Err(ArrivalFault::AtHome);
        }
        let body = cbor::to_vec(moving);
        let same = |row: &&HomeEntry| row.holds(EntryKind::MOVE_BEGIN, &body);
        // One that waits is enough: another that the citizen signs for the same step brings nothing new.
        let signed = Signed::<Move>::decode(&moving.object, trust.network());
        let step = signed.ok().map(|signed| step(signed.unverified()));
        let waits = |row: &&HomeEntry| {
            let claim = claim(channel, &row.entry, trust).map(|(_, moving)| self::step(&moving));
            claim.is_some() && claim == step && held.waits(&channel.home, &row.entry)
        };
        let known = own.iter().find(same).or_else(|| own.iter().find(waits));
        if let Some(known) = known.filter(|row| !held.waits(&channel.home, &row.entry)) {
            let begins = Begins::Known(Box::new(known.clone()));
            return Ok(Self { held: held.clone(), pair: held.clone(), begins });
        }
        // Its own channel a home knows best.
        let brought = (history.iter())
            .map(|extract| (&extract.statement().channel, extract.entries()))
            .filter(|(of, _)| of.home != channel.home);
        let pair = if held.has_moved() {
            follow(held.clone(), brought, trust, at)
        } else {
            // Of a home that took no part yet: denies that it relayed. A key that it began for somebody
            // else's citizen has no effect.
            let stray: Vec<_> = own.iter().map(|row| row.entry.clone()).collect();
            in_order(brought.chain([(channel, &stray[..])]), trust.network())
                .into_iter()
                .fold(PairState::default(), |pair, (of, entries)| {
                    adopt(of, pair, entries, trust, at)
                })
        };
        let begins = match AdmittedMove::admit_begin(moving, channel, &pair, trust, at) {
            Ok(begin) => Begins::Now(begin),
            // It waited. Either it goes on waiting, or what was brought now let it act.
            Err(error) => match (known, error) {
                (Some(known), _) => Begins::Known(Box::new(known.clone())),
                (None, AdmissionError::OutOfTurn(_)) => Begins::Early(
                    AdmittedMove::admit_early_begin(moving, channel, &pair, trust, at)?,
                ),
                (None, error) => return Err(error.into()),
            },
        };
        Ok(Self { held: held.clone(), pair, begins })
    }

    /// Makes it so, if this home still holds of the pair what it did then; else nothing, and `None`.
    pub fn accept(
        &self,
        channel: &mut HomeChannel,
        store: &mut dyn HomeStore,
        subject: &ServiceId,
        run: &Run,
        now: Now,
    ) -> Result<Option<Accepted>, HomeError> {
        if store.pair(subject)? != self.held {
            return Ok(None);
        }
        let pair = self.pair.clone();
        Ok(Some(match &self.begins {
            Begins::Now(begin) => channel.accept_move_begin(store, begin, pair, run, now)?,
            Begins::Early(begin) => channel.accept_early_begin(store, begin, pair, run, now)?,
            Begins::Known(entry) => {
                store.put_pair(subject, &pair);
                Accepted { entry: (**entry).clone(), known: true }
            }
        }))
    }

    /// The begin, if it stands and nothing that was brought changes what this home holds.
    pub fn stands(&self) -> Option<&HomeEntry> {
        match &self.begins {
            Begins::Known(entry) if self.pair == self.held => Some(entry),
            _ => None,
        }
    }
}

/// From what a home held when it let the pair go, or when it began too early: the channels of the homes
/// since then, one after the other. Older ones have nothing to add.
fn follow<'a>(
    mut pair: PairState,
    brought: impl Iterator<Item = (&'a ChannelId, &'a [Entry])>,
    trust: &Trust,
    at: Timestamp,
) -> PairState {
    let mut brought: BTreeMap<_, _> =
        brought.map(|(of, entries)| (&of.home, (of, entries))).collect();
    while let Some((of, entries)) = pair.home.as_ref().and_then(|home| brought.remove(home)) {
        pair = adopt(of, pair, entries, trust, at);
    }
    pair
}

/// The channels of a pair's homes in the order in which they were its homes, as their first move says;
/// of two that name none, or the same, the one given first. The order in which channels are read matters
/// for one thing only: whose key-begin came first ([`crate::pair`]).
pub fn in_order<'a>(
    channels: impl IntoIterator<Item = (&'a ChannelId, &'a [Entry])>,
    network: &NetworkId,
) -> Vec<(&'a ChannelId, &'a [Entry])> {
    let mut channels: Vec<_> = channels.into_iter().collect();
    channels.sort_by_key(|(channel, entries)| home_since(channel, entries, network));
    channels
}

/// The epoch in which a channel's first move says that its home was the pair's; 0 if it has none.
fn home_since(channel: &ChannelId, entries: &[Entry], network: &NetworkId) -> u32 {
    let since = |entry: &Entry| {
        if !matches!(entry.kind, EntryKind::MOVE_BEGIN | EntryKind::MOVE_END) {
            return None;
        }
        let body: Attested = cbor::from_slice(&entry.body).ok()?;
        let signed = Signed::<Move>::decode(&body.object, network).ok()?;
        let Move { from, to, epoch, .. } = signed.unverified();
        match entry.kind {
            EntryKind::MOVE_BEGIN => (*to == channel.home).then_some(*epoch),
            _ if *from == channel.home => epoch.checked_sub(1),
            _ => None,
        }
    };
    entries.iter().find_map(since).unwrap_or(0)
}

/// From where to where, and the how manieth.
fn step(moving: &Move) -> (OrganisationId, OrganisationId, u32) {
    (moving.from.clone(), moving.to.clone(), moving.epoch)
}

/// Whether a pair that never moved has this home by the source's word, too: another municipality that
/// shows a channel of its own for it then speaks of what the source gave no effect.
fn began_here(channel: &ChannelId, held: &PairState, own: &[HomeEntry]) -> bool {
    let counts = |row: &HomeEntry| {
        row.entry.kind == EntryKind::KEY_BEGIN
            && row.acknowledged.is_some()
            && row.unreadable.is_none()
    };
    !held.has_moved() && held.is_home(&channel.home) && own.iter().any(counts)
}
