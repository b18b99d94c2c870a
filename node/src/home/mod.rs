//! A municipality's side towards its citizens: enrolment, the consent register, and the channels to
//! the sources.

pub mod asking;
pub mod channels;
mod effect;
pub mod enrolment;
pub mod notices;
pub mod register;

use std::sync::Arc;

use trust::member::Member;
use wire::channel::{ChannelReply, Pull};

use asking::AnswersOwed;

use crate::{context::Context, courier::Courier};

pub use channels::Pusher;
pub use enrolment::{Desk, DeskParts};

pub struct Home {
    context: Arc<Context>,
    pusher: Arc<Pusher>,
    /// Citizens' answers to consent requests, on their way to recipients.
    answers: Arc<Courier<AnswersOwed>>,
    lease_ms: u64,
    /// Set where citizens are enrolled.
    desk: Option<Arc<Desk>>,
}

impl Home {
    pub fn new(context: Arc<Context>, lease_ms: u64, desk: Option<Desk>) -> Arc<Self> {
        let pusher = Pusher::new(Arc::clone(&context));
        let answers = asking::courier(&context);
        Arc::new(Self { context, pusher, answers, lease_ms, desk: desk.map(Arc::new) })
    }

    /// Takes up what was owed when the node stopped.
    pub fn start(&self) -> Result<(), crate::context::Fault> {
        asking::resume(&self.answers, &self.context)?;
        self.pusher.resume()
    }

    pub async fn answer_pull(&self, from: &Member, pull: Pull) -> ChannelReply {
        channels::answer_pull(&self.context, &self.pusher, self.lease_ms, from, pull).await
    }
}
