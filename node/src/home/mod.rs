//! A municipality's side towards its citizens: enrolment, the consent register, and the channels to
//! the sources.

pub mod asking;
pub mod channels;
pub mod desk;
mod effect;
pub mod enrolment;
pub mod moves;
pub mod notices;
mod phones;
pub mod query;
pub mod register;
pub mod status;

use std::sync::Arc;

use consent::Run;
use wire::{Nonce, OrganisationId};

use asking::AnswersOwed;

use crate::{context::Context, courier::Courier, rate::RateLimit};

pub use channels::Outboxes;
pub use enrolment::{Desk, DeskParts};

pub struct Home {
    context: Arc<Context>,
    pusher: Arc<Outboxes>,
    /// Citizens' answers to consent requests, on their way to recipients.
    answers: Arc<Courier<AnswersOwed>>,
    lease_ms: u64,
    /// This life of the node: the monotonic times at which entries were accepted belong to it.
    run: Run,
    /// Set where citizens are enrolled.
    desk: Option<Arc<Desk>>,
    /// How often anybody may ask how a certificate stands: each answer is signed.
    status_rate: RateLimit<()>,
    /// How many of the denies that a member's pulls bring along are looked at.
    pulled_denies: RateLimit<OrganisationId>,
}

/// A signature or a look-up each. A source that has more to bring brings the rest with its next pulls.
const PULLED_DENIES_PER_SECOND: u64 = 500;
const PULLED_DENIES_BURST: u64 = 1000;

impl Home {
    pub fn new(context: Arc<Context>, lease_ms: u64, desk: Option<Desk>) -> Arc<Self> {
        let pusher = Outboxes::new(Arc::clone(&context));
        let answers = asking::courier(&context);
        let run = Run { id: Nonce(context.entropy.array()), started_ms: context.now().mono_ms };
        let status_rate = RateLimit::new(status::PER_SECOND, status::BURST);
        let pulled_denies = RateLimit::new(PULLED_DENIES_PER_SECOND, PULLED_DENIES_BURST);
        let desk = desk.map(Arc::new);
        Arc::new(Self { context, pusher, answers, lease_ms, run, desk, status_rate, pulled_denies })
    }

    /// Takes up what was owed when the node stopped.
    pub fn start(&self) -> Result<(), crate::context::Fault> {
        asking::resume(&self.answers, &self.context)?;
        self.pusher.resume()
    }
}
