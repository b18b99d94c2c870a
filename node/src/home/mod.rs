//! A municipality's side towards its citizens: enrolment, the consent register, and the channels to
//! the sources.

pub mod channels;
pub mod enrolment;
pub mod register;
pub mod status;

use std::sync::Arc;

use trust::member::Member;
use wire::channel::{ChannelReply, Pull};

use crate::{context::Context, rate::RateLimit};

pub use channels::Pusher;
pub use enrolment::{Desk, DeskParts};

pub struct Home {
    context: Arc<Context>,
    pusher: Arc<Pusher>,
    lease_ms: u64,
    /// Set where citizens are enrolled.
    desk: Option<Arc<Desk>>,
    /// How often anybody may ask how a certificate stands: each answer is signed.
    status_rate: RateLimit<()>,
}

impl Home {
    pub fn new(context: Arc<Context>, lease_ms: u64, desk: Option<Desk>) -> Arc<Self> {
        let pusher = Pusher::new(Arc::clone(&context));
        let status_rate = RateLimit::new(status::PER_SECOND, status::BURST);
        Arc::new(Self { context, pusher, lease_ms, desk: desk.map(Arc::new), status_rate })
    }

    /// Takes up what was owed when the node stopped.
    pub fn start(&self) -> Result<(), crate::context::Fault> {
        self.pusher.resume()
    }

    pub async fn answer_pull(&self, from: &Member, pull: Pull) -> ChannelReply {
        channels::answer_pull(&self.context, &self.pusher, self.lease_ms, from, pull).await
    }
}
