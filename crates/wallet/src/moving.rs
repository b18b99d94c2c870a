//! 転出入: taking the register of a pair to another municipality. A key of the pair signs; the old home
//! lets go, the new one takes what the old one held. Each step may be repeated: the same move is signed
//! once, and who goes on after a crash hands in the same bytes.

use consent::PairState;
use wire::{
    Nonce, OrganisationId, ServiceName, Signed, Timestamp, Unsigned, cbor,
    channel::EntryKind,
    citizen::{MoveReply, MoveSubmission, PairRegister},
    consent::{Attested, ExpressedBy, Move},
};

use crate::{
    RegisterView, Wallet, WalletError,
    state::{Home, PendingMove},
};

/// What moving one pair takes next.
pub enum MoveStep {
    /// For the key at the service to sign, then [`Wallet::keep_move`].
    Sign(Box<Unsigned<Move>>),
    /// It was signed before, by this wallet or another of the person's phones.
    Signed(Attested),
    /// No key of the pair ever began: there is no register to move.
    Nothing,
}

impl Wallet {
    /// How to move the pair at `source` to `to`, from what its home shows of it.
    pub fn next_move(
        &self,
        source: &ServiceName,
        to: &Home,
        (register, view): (&PairRegister, &RegisterView),
        nonce: Nonce,
        at: Timestamp,
    ) -> Result<MoveStep, WalletError> {
        let own = self.service(source)?;
        let pair = view.pair();
        let Some(home) = &pair.home else { return Ok(MoveStep::Nothing) };
        let from = &self.home_of(source).organisation;
        if *from == to.organisation {
            return Err(WalletError::AtHome);
        }
        // Another phone, or this one before it lost its memory, has moved the pair already.
        if *home == to.organisation
            && let Some(body) = move_end(register, pair, self.network())
        {
            return Ok(MoveStep::Signed(body));
        }
        if !pair.is_home(from) {
            return Err(WalletError::MovedElsewhere(home.clone()));
        }
        let epoch = pair.epoch.checked_add(1).ok_or(WalletError::ForeignMove)?;
        if let Some(pending) = self.pending_move(source, &to.organisation)
            && self.read_move(&pending.moving)?.unverified().epoch == epoch
        {
            return Ok(MoveStep::Signed(pending.moving.clone()));
        }
        if pair.standing_basis(&own.key.key_hash(), at) != Some(ExpressedBy::Oneself) {
            return Err(WalletError::KeyDoesNotStand(source.clone()));
        }
        let moving = Move {
            nonce,
            pair: self.pair(source)?,
            from: from.clone(),
            to: to.organisation.clone(),
            epoch,
            time: at,
        };
        Ok(MoveStep::Sign(Box::new(Unsigned::new(moving, self.network(), &own.key))))
    }

    /// Keeps a signed move, to be stored before it is handed in anywhere. Gives what to hand in.
    pub fn keep_move(
        &mut self,
        source: &ServiceName,
        to: &Home,
        signed: &Signed<Move>,
    ) -> Result<Attested, WalletError> {
        let moving = self.attest_with_service_key(source, signed)?;
        self.keep_signed_move(source, to, moving.clone());
        Ok(moving)
    }

    /// The same for a move that [`MoveStep::Signed`] gave.
    pub fn keep_signed_move(&mut self, source: &ServiceName, to: &Home, moving: Attested) {
        self.pair_home_mut(source).moving = Some(PendingMove { to: to.clone(), moving });
    }

    /// A move of the pair to this municipality that has not come to its end.
    pub fn pending_move(&self, source: &ServiceName, to: &OrganisationId) -> Option<&PendingMove> {
        let pending = self.pair_home(source)?.moving.as_ref()?;
        (pending.to.organisation == *to).then_some(pending)
    }

    /// Takes note that the new home holds the pair. Says whether it is home now; if not, the home before
    /// has still to let go, and the move stays pending.
    pub fn accept_move(
        &mut self,
        source: &ServiceName,
        to: &Home,
        reply: &MoveReply,
    ) -> Result<bool, WalletError> {
        let pending =
            self.pending_move(source, &to.organisation).ok_or(WalletError::ForeignMove)?;
        let signed = self.read_move(&pending.moving)?;
        let Move { from, epoch, .. } = signed.unverified().clone();
        if reply.waits_for.as_ref().is_some_and(|home| *home != from) {
            return Err(WalletError::ForeignMove);
        }
        let begun = reply.waits_for.is_none();
        let pair = self.pair_home_mut(source);
        pair.epoch = epoch;
        if pair.home.organisation != to.organisation {
            pair.former.retain(|home| home.organisation != to.organisation);
            pair.former.insert(0, std::mem::replace(&mut pair.home, to.clone()));
        }
        if begun {
            pair.moving = None;
        }
        Ok(begun)
    }

    /// Takes note that a pair without a register counts as the new home's.
    pub fn follow(&mut self, source: &ServiceName, to: &Home) {
        self.pair_home_mut(source).home = to.clone();
    }

    /// Checks that the new home shows all that the old one did: it is the citizen who would miss it.
    pub fn check_arrival(before: &RegisterView, after: &RegisterView) -> Result<(), WalletError> {
        let (before, after) = (before.pair(), after.pair());
        let all_there = before.keys.keys().all(|key| after.keys.contains_key(key))
            && before.ended.keys().all(|key| after.ended.contains_key(key))
            && before.permits.keys().all(|id| after.permits.contains_key(id))
            && before.standing_denies().all(|(id, _)| after.knows_deny(id));
        if all_there { Ok(()) } else { Err(WalletError::NotBrought) }
    }

    fn read_move(&self, moving: &Attested) -> Result<Signed<Move>, WalletError> {
        Signed::decode(&moving.object, self.network())
            .map_err(|error| WalletError::Signed(error.into()))
    }
}

/// What the home moved to needs: the move, and what every home before holds.
pub fn submission(moving: Attested, register: Option<&PairRegister>) -> MoveSubmission {
    MoveSubmission { moving, history: register.map(PairRegister::history).unwrap_or_default() }
}

/// The move by which the pair left the home that shows this register.
fn move_end(
    register: &PairRegister,
    pair: &PairState,
    network: &wire::NetworkId,
) -> Option<Attested> {
    register.entries.iter().rev().find_map(|listed| {
        if listed.entry.kind != EntryKind::MOVE_END {
            return None;
        }
        let body: Attested = cbor::from_slice(&listed.entry.body).ok()?;
        let signed = Signed::<Move>::decode(&body.object, network).ok()?;
        (signed.unverified().epoch == pair.epoch).then_some(body)
    })
}

#[cfg(test)]
mod tests;
