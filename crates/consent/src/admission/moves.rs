//! The halves of a move: who may sign one, and when it is its turn.

use trust::Trust;
use wire::{
    Signed, Timestamp,
    channel::ChannelId,
    consent::{Attested, ExpressedBy, Move},
};

use super::{AdmissionError, Approver, signed_by};
use crate::{guard::Guard, pair::PairState};

const NOT_THE_HOME: &str = "the pair's home is another than the one that the move leaves";
const NOT_THE_NEXT: &str = "the move's epoch is not the pair's next";
const NOT_HERE: &str = "the move leads to another municipality";
const NO_MUNICIPALITY: &str = "the move leads to no municipality of the trust list";
const NOT_LET_GO: &str = "the home before has not let the pair go by this move";

/// One half of a move: the old home letting go, or the new one beginning.
#[derive(Debug, Clone)]
pub struct AdmittedMove {
    moving: Move,
    submission: Attested,
}

impl AdmittedMove {
    /// The half that belongs into the channel of the home left, which must be the pair's home.
    pub fn admit_end(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Self::read(submission, channel, trust)?;
        let moving = signed.unverified();
        in_turn(moving.from == channel.home && pair.is_home(&channel.home), NOT_THE_HOME)?;
        in_turn(is_next(moving, pair), NOT_THE_NEXT)?;
        in_turn(trust.is_municipality(&moving.to), NO_MUNICIPALITY)?;
        Self::admit(signed, submission, pair, trust, at)
    }

    /// The half that belongs into the channel of the home moved to. It counts once the old home has
    /// let go, or is no longer on the trust list.
    pub fn admit_begin(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Self::read(submission, channel, trust)?;
        let moving = signed.unverified();
        let let_go = pair.awaits_begin
            && pair.home.as_ref() == Some(&moving.to)
            && pair.epoch == moving.epoch
            && pair.former_homes.contains(&moving.from);
        let removed = pair.home.as_ref() == Some(&moving.from)
            && is_next(moving, pair)
            && !trust.is_municipality(&moving.from);
        in_turn(moving.to == channel.home, NOT_HERE)?;
        in_turn(let_go || removed || !Guard::OldHomeLetsGoFirst.holds(), NOT_LET_GO)?;
        Self::admit(signed, submission, pair, trust, at)
    }

    /// The same half while the home before has not let go and is on the trust list still. It opens
    /// nothing: it waits until [`Self::admit_begin`] takes it.
    pub fn admit_early_begin(
        submission: &Attested,
        channel: &ChannelId,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let signed = Self::read(submission, channel, trust)?;
        let moving = signed.unverified();
        in_turn(moving.to == channel.home, NOT_HERE)?;
        in_turn(pair.is_home(&moving.from), NOT_THE_HOME)?;
        in_turn(is_next(moving, pair), NOT_THE_NEXT)?;
        Self::admit(signed, submission, pair, trust, at)
    }

    pub fn moving(&self) -> &Move {
        &self.moving
    }

    pub fn submission(&self) -> &Attested {
        &self.submission
    }

    fn read(
        submission: &Attested,
        channel: &ChannelId,
        trust: &Trust,
    ) -> Result<Signed<Move>, AdmissionError> {
        let signed = Signed::<Move>::decode(&submission.object, trust.network())?;
        if signed.unverified().pair.source != channel.source {
            return Err(AdmissionError::OtherSource);
        }
        if signed.unverified().from == signed.unverified().to {
            return Err(AdmissionError::Form("a move leads from one home to another"));
        }
        Ok(signed)
    }

    fn admit(
        signed: Signed<Move>,
        submission: &Attested,
        pair: &PairState,
        trust: &Trust,
        at: Timestamp,
    ) -> Result<Self, AdmissionError> {
        let Move { from, to, .. } = signed.unverified().clone();
        match signed_by(signed, submission, &[&from, &to], pair, trust, at)? {
            (moving, Approver::Home | Approver::Key(ExpressedBy::Oneself)) => {
                Ok(Self { moving, submission: submission.clone() })
            }
            (_, Approver::Key(_)) => Err(AdmissionError::NotEntitled),
        }
    }
}

fn is_next(moving: &Move, pair: &PairState) -> bool {
    pair.epoch.checked_add(1) == Some(moving.epoch)
}

fn in_turn(holds: bool, otherwise: &'static str) -> Result<(), AdmissionError> {
    if holds { Ok(()) } else { Err(AdmissionError::OutOfTurn(otherwise)) }
}
