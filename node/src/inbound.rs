//! Where requests of greeted members meet the node's roles.

use std::sync::Arc;

use futures::future::BoxFuture;
use trust::member::Member;
use wire::{
    OrganisationId, cbor,
    channel::{ChannelRefusal, ChannelReply, ChannelRequest},
    exchange::{ExchangeMessage, ExchangeReply, Rejection},
    membership::TrustFile,
    witness::{WitnessRefused, WitnessReply},
};

use crate::{
    context::Context,
    home::Home,
    net::{Inbound, Protocol},
    rate::RateLimit,
    recipient::Recipient,
    source::Source,
    trust_keeper::TrustKeeper,
    witness::Witness,
};

/// The roles that answer other nodes.
#[derive(Clone)]
pub struct Roles {
    pub context: Arc<Context>,
    pub home: Option<Arc<Home>>,
    pub source: Option<Arc<Source>>,
    pub recipient: Option<Arc<Recipient>>,
    pub witness: Option<Arc<Witness>>,
    pub trust: Arc<TrustKeeper>,
    pub rates: Arc<ChannelRates>,
}

/// How often a member may send what is no deny, by kind: what an honest node, with as many services as a
/// descriptor can name, never reaches. Pushes and relays bring denies: they have no rate, but a lane of
/// their own and a share of it (`net`).
pub struct ChannelRates {
    pulls: RateLimit<OrganisationId>,
    notices: RateLimit<OrganisationId>,
    asks: RateLimit<OrganisationId>,
    answers: RateLimit<OrganisationId>,
}

impl Default for ChannelRates {
    fn default() -> Self {
        Self {
            // 64 channels, each every 667 ms at the shortest lease, and sooner with a deny.
            pulls: RateLimit::new(200, 1000),
            notices: RateLimit::new(50, 200),
            asks: RateLimit::new(10, 100),
            answers: RateLimit::new(50, 200),
        }
    }
}

impl ChannelRates {
    fn allow(&self, from: &OrganisationId, message: &ChannelRequest, mono_ms: u64) -> bool {
        let rate = match message {
            ChannelRequest::Push(_) | ChannelRequest::Relay(_) => return true,
            ChannelRequest::Pull(_) => &self.pulls,
            ChannelRequest::Notices(_) => &self.notices,
            ChannelRequest::Ask(_) => &self.asks,
            ChannelRequest::Answer(_) => &self.answers,
        };
        rate.allows(from, mono_ms)
    }
}

impl Roles {
    async fn channel(&self, from: &Member, message: &[u8]) -> ChannelReply {
        let message = match cbor::from_slice::<ChannelRequest>(message) {
            Ok(message) => message,
            Err(_) => return ChannelReply::Refused(ChannelRefusal::Malformed),
        };
        if !self.rates.allow(&from.organisation, &message, self.context.now().mono_ms) {
            self.context.metrics.channel_busy.inc();
            return ChannelReply::Refused(ChannelRefusal::Unavailable);
        }
        match (message, &self.home, &self.source) {
            (ChannelRequest::Pull(pull), Some(home), _) => home.answer_pull(from, pull).await,
            (message @ (ChannelRequest::Push(_) | ChannelRequest::Relay(_)), _, Some(source)) => {
                source.handle(from, message).await
            }
            (ChannelRequest::Notices(push), Some(home), _) => home.take_notices(from, push).await,
            (ChannelRequest::Ask(ask), Some(home), _) => home.take_ask(from, ask).await,
            (ChannelRequest::Answer(answer), ..) => match &self.recipient {
                Some(recipient) => recipient.take_answer(from, answer).await,
                None => ChannelReply::Refused(ChannelRefusal::NotMine),
            },
            _ => ChannelReply::Refused(ChannelRefusal::NotMine),
        }
    }

    /// Serves before the node knows whether its own log is the newest: others need it to find out.
    async fn witness(&self, from: &Member, message: &[u8]) -> WitnessReply {
        let Some(witness) = &self.witness else {
            return WitnessReply::Refused(WitnessRefused::NotAWitness);
        };
        match cbor::from_slice(message) {
            Ok(request) => witness.answer(from, request).await,
            Err(_) => WitnessReply::Refused(WitnessRefused::Malformed),
        }
    }

    async fn exchange(&self, from: &Member, message: &[u8]) -> ExchangeReply {
        let Some(source) = &self.source else {
            return ExchangeReply::Rejected(Rejection::UnknownService);
        };
        match cbor::from_slice::<ExchangeMessage>(message) {
            Ok(message) => source.answer(from, message).await,
            Err(_) => ExchangeReply::Rejected(Rejection::Malformed),
        }
    }
}

impl Inbound for Roles {
    fn handle(
        &self,
        from: Arc<Member>,
        protocol: Protocol,
        message: Vec<u8>,
    ) -> BoxFuture<'static, Option<Vec<u8>>> {
        let roles = self.clone();
        Box::pin(async move {
            let context = &roles.context;
            // A lease or a release that was under way when this node was found to be put back stays
            // here: this is the last look before the first byte leaves.
            Some(match protocol {
                Protocol::Channel => {
                    let reply = context.while_serving(roles.channel(&from, &message)).await;
                    let unavailable = ChannelReply::Refused(ChannelRefusal::Unavailable);
                    cbor::to_vec(&reply.unwrap_or(unavailable))
                }
                Protocol::Exchange => {
                    let reply = context.while_serving(roles.exchange(&from, &message)).await;
                    let unavailable = ExchangeReply::Rejected(Rejection::Unavailable);
                    cbor::to_vec(&reply.unwrap_or(unavailable))
                }
                Protocol::Witness => cbor::to_vec(&roles.witness(&from, &message).await),
                Protocol::Trust => cbor::to_vec(&roles.trust.answer(&from, &message).await),
            })
        })
    }

    fn handle_stranger(&self, message: Vec<u8>) -> BoxFuture<'static, Option<Vec<u8>>> {
        let trust = Arc::clone(&self.trust);
        Box::pin(async move { Some(cbor::to_vec(&trust.answer_stranger(&message))) })
    }

    fn trust_file(&self, file: TrustFile) {
        self.trust.take_file(file);
    }

    fn greeted(&self, member: Arc<Member>) {
        // It may have been away, or this node.
        if self.context.trust().is_municipality(&member.organisation) {
            self.trust.look_at(member.organisation.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::{Bytes, consent::Attested};

    use super::*;

    #[test]
    fn asking_has_a_rate_and_saying_no_has_none() {
        let rates = ChannelRates::default();
        let (greedy, modest) = ("7000012050002", "9000020102016");
        let attested = || Attested { object: Bytes(vec![]), chain: vec![] };
        let passed = |from: &str, message: &ChannelRequest| {
            let from = from.parse().unwrap();
            (0..5000).filter(|_| rates.allow(&from, message, 0)).count()
        };
        assert_eq!(passed(greedy, &ChannelRequest::Ask(attested())), 100);
        assert_eq!(passed(modest, &ChannelRequest::Ask(attested())), 100, "each has its own");
        assert_eq!(passed(greedy, &ChannelRequest::Answer(attested())), 200);
        assert_eq!(passed(greedy, &ChannelRequest::Relay(attested())), 5000);
    }
}
