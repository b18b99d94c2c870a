//! The phones of one person at their home: the ID keys of a number, how a lost one is ended, and what the
//! loss of one means for the keys that the home begins by itself.

use trust::{CertificateKind, LeafSubject, VerifiedChain};
use wire::{
    KeyHash, Message, Timestamp, Verified,
    citizen::{EnrolledIdKey, IdEnd, IdKeys, IdQuery},
    consent::Attested,
    ids::Pair,
};

use super::{
    Home,
    enrolment::{Desk, EnrolledKey, EnrolmentRefused},
    query::QUERY_WINDOW_MS,
    status::{CertificateRow, is_revoked},
};
use crate::{
    context::Fault,
    evidence_log,
    store::{Column, Key, Read, Scan, StoreError, Transaction, TypedRead},
};

/// Most ID keys of one number that are shown.
const SHOWN: usize = 256;

impl Home {
    /// The ID keys of the citizen who asks, by any of them that was not ended.
    pub async fn id_keys(&self, query: Attested) -> Result<IdKeys, EnrolmentRefused> {
        let (query, id) = self.by_id_key::<IdQuery>(&query, |query| query.time)?;
        drop(query);
        let read = self.context.committer.read();
        keys_of(&*read, number(&id)?).map_err(refused)
    }

    /// Ends another ID key of the same number. Whose key signs, and that it was not ended itself, is
    /// asked in the commit: of two phones that end each other only one can.
    pub async fn end_id_key(&self, end: Attested) -> Result<IdKeys, EnrolmentRefused> {
        let (end, id) = self.by_id_key::<IdEnd>(&end, |end| end.time)?;
        let (request, signer, lost) = (end.id(), id.key(), end.message().key);
        let number = number(&id)?.to_owned();
        if signer == lost {
            return Err(EnrolmentRefused::EndsItself);
        }
        let ended = self.context.commit(move |tx| {
            let by_other = check_stands(tx, &signer)?.represented;
            let place = phone_key(&number, &lost);
            let row: Option<EnrolledIdKey> =
                tx.read(Column::NumberPhones, &place).map_err(refused)?;
            let enrolled: Option<EnrolledKey> =
                tx.read(Column::Citizens, &lost.0).map_err(refused)?;
            // Nobody learns whether it is somebody else's.
            let (Some(mut row), Some(enrolled)) = (row, enrolled) else {
                return Err(EnrolmentRefused::UnknownPhone);
            };
            // Who acts for a citizen does not shut the citizen out.
            if by_other && !enrolled.represented {
                return Err(EnrolmentRefused::NotTheirs);
            }
            if row.ended.is_none() {
                let now = tx.wall();
                row.ended = Some(now);
                tx.write(Column::NumberPhones, place, &row);
                let certificate = wire::sha256(&enrolled.certificate);
                let standing = CertificateRow { revoked: Some(now) };
                tx.write(Column::CertificateStanding, certificate.0, &standing);
                tx.log(&evidence_log::certificate_revoked(certificate, request, now));
            }
            keys_of(tx, &number).map_err(refused)
        });
        ended.await?
    }

    /// Something signed just now by an ID key that this home enrolled and nobody ended.
    fn by_id_key<M: Message>(
        &self,
        signed: &Attested,
        time: impl Fn(&M) -> Timestamp,
    ) -> Result<(Verified<M>, VerifiedChain), EnrolmentRefused> {
        self.desk()?;
        let trust = self.context.live_trust()?;
        let now = self.context.now().wall;
        let (signed, id) = trust::verify_signed::<M>(signed, CertificateKind::Id, &trust, now)
            .map_err(EnrolmentRefused::Signed)?;
        let time = time(signed.message());
        if time.ms_since(now).max(now.ms_since(time)) > QUERY_WINDOW_MS {
            return Err(EnrolmentRefused::OutOfTime);
        }
        check_stands(&*self.context.committer.read(), &id.key())?;
        Ok((signed, id))
    }
}

/// The ID key's row, if this home enrolled it and its certificate was not revoked.
pub(super) fn check_stands(
    read: &(impl Read + ?Sized),
    id_key: &KeyHash,
) -> Result<EnrolledKey, EnrolmentRefused> {
    let enrolled: Option<EnrolledKey> = read.read(Column::Citizens, &id_key.0).map_err(refused)?;
    let enrolled = enrolled.ok_or(EnrolmentRefused::NotOurs)?;
    if is_revoked(read, &enrolled.certificate).map_err(refused)? {
        return Err(EnrolmentRefused::Ended);
    }
    Ok(enrolled)
}

/// Notes an ID key that was just enrolled: with the card in hand, whatever was before.
pub(super) fn note_enrolled(tx: &mut Transaction<'_>, number: &str, id_key: KeyHash) {
    let row = EnrolledIdKey { key: id_key, enrolled: tx.wall(), ended: None };
    tx.write(Column::NumberPhones, phone_key(number, &id_key), &row);
    tx.delete(Column::StalePhones, id_key.0);
}

/// Whether the home may still begin keys on this ID key's word.
pub(super) fn is_stale(read: &(impl Read + ?Sized), id_key: &KeyHash) -> Result<bool, StoreError> {
    Ok(read.read::<Timestamp>(Column::StalePhones, &id_key.0)?.is_some())
}

/// A key of the pair was ended: the phone that had it certified here may be in other hands, and gets no
/// further key begun without another phone or the card.
pub(super) fn note_ended(
    tx: &mut Transaction<'_>,
    desk: Option<&Desk>,
    pair: &Pair,
    key: &KeyHash,
) -> Result<(), StoreError> {
    let place = key_phone(pair, key);
    let (Some(desk), Some(sealed)) = (desk, tx.read::<wire::Bytes>(Column::KeyPhones, &place)?)
    else {
        return Ok(());
    };
    match desk.open_phone(&place, &sealed) {
        Some(id_key) => {
            let now = tx.wall();
            tx.write(Column::StalePhones, id_key.0, &now);
        }
        // The end itself must not fail for that.
        None => tracing::error!("whose phone a key was certified for does not open any more"),
    }
    Ok(())
}

/// Where the phone of a pair's key is kept, sealed.
pub(super) fn key_phone(pair: &Pair, key: &KeyHash) -> Key {
    Key::new().text(&pair.source).fixed(&pair.subject.0).fixed(&key.0)
}

fn phone_key(number: &str, id_key: &KeyHash) -> Key {
    Key::new().text(number).fixed(&id_key.0)
}

fn keys_of(read: &(impl Read + ?Sized), number: &str) -> Result<IdKeys, StoreError> {
    let prefix = Key::new().text(number);
    let rows =
        read.scan_values::<EnrolledIdKey>(Column::NumberPhones, &Scan::prefix(&prefix, SHOWN))?;
    let mut keys: Vec<_> = rows.into_iter().map(|(_, row)| row).collect();
    keys.sort_by_key(|row| (row.enrolled, row.key));
    Ok(IdKeys { keys })
}

fn number(id: &VerifiedChain) -> Result<&str, EnrolmentRefused> {
    match id.subject() {
        LeafSubject::Id { number } => Ok(number),
        _ => Err(EnrolmentRefused::NotOurs),
    }
}

fn refused(error: StoreError) -> EnrolmentRefused {
    Fault::from(error).into()
}
