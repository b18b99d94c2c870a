//! A municipality's side towards its citizens: enrolment, the consent register, and the channels to
//! the sources.

pub mod asking;
pub mod channels;
pub mod desk;
mod effect;
pub mod enrolment;
pub mod moves;
pub mod notices;
pub mod register;
pub mod status;

use std::sync::Arc;

use consent::Run;
use wire::Nonce;

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
}

impl Home {
    pub fn new(context: Arc<Context>, lease_ms: u64, desk: Option<Desk>) -> Arc<Self> {
        let pusher = Outboxes::new(Arc::clone(&context));
        let answers = asking::courier(&context);
        let run = Run { id: Nonce(context.entropy.array()), started_ms: context.now().mono_ms };
        let status_rate = RateLimit::new(status::PER_SECOND, status::BURST);
        let desk = desk.map(Arc::new);
        Arc::new(Self { context, pusher, answers, lease_ms, run, desk, status_rate })
    }

    /// Takes up what was owed when the node stopped.
    pub fn start(&self) -> Result<(), crate::context::Fault> {
        asking::resume(&self.answers, &self.context)?;
        self.pusher.resume()
    }
}
