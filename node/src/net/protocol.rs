//! The protocols by name, with what each may weigh.

use std::{convert::Infallible, future::Ready};

use libp2p::{
    core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo},
    swarm::Stream,
};
use wire::limits as sizes;

use super::limits;

/// The protocols that the application speaks; hello and directory are the network's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// [`wire::channel::ChannelRequest`] → [`wire::channel::ChannelReply`].
    Channel,
    /// [`wire::exchange::ExchangeMessage`] → [`wire::exchange::ExchangeReply`].
    Exchange,
    /// [`wire::witness::WitnessRequest`] → [`wire::witness::WitnessReply`].
    Witness,
    /// [`wire::membership::TrustRequest`] → [`wire::membership::TrustReply`].
    Trust,
}

/// All protocols. Version numbers are part of the name: another version is another protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum WireProtocol {
    Hello,
    Directory,
    Application(Protocol),
}

impl WireProtocol {
    pub(super) const ALL: [Self; 6] = [
        Self::Hello,
        Self::Directory,
        Self::Application(Protocol::Channel),
        Self::Application(Protocol::Exchange),
        Self::Application(Protocol::Witness),
        Self::Application(Protocol::Trust),
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Hello => "/mebuku/hello/1",
            Self::Directory => "/mebuku/directory/1",
            Self::Application(Protocol::Channel) => "/mebuku/channel/1",
            Self::Application(Protocol::Exchange) => "/mebuku/exchange/1",
            Self::Application(Protocol::Witness) => "/mebuku/witness/1",
            Self::Application(Protocol::Trust) => "/mebuku/trust/1",
        }
    }

    /// Largest request frame, in bytes.
    pub(super) const fn request_limit(self) -> usize {
        match self {
            Self::Hello => sizes::HELLO_FRAME,
            Self::Directory => limits::DIRECTORY_REQUEST_FRAME,
            Self::Application(Protocol::Channel) => sizes::FRAME,
            Self::Application(Protocol::Exchange) => sizes::EXCHANGE_REQUEST_FRAME,
            Self::Application(Protocol::Witness) => sizes::WITNESS_FRAME,
            // A municipality may send a draft of a whole file; others no more than a question
            // (`limits::TRUST_PULL_FRAME`).
            Self::Application(Protocol::Trust) => sizes::TRUST_FILE,
        }
    }

    /// Largest reply frame, in bytes.
    pub(super) const fn reply_limit(self) -> usize {
        match self {
            Self::Hello | Self::Directory => sizes::HELLO_FRAME,
            Self::Application(Protocol::Witness) => sizes::WITNESS_FRAME,
            Self::Application(Protocol::Trust) => sizes::TRUST_FILE,
            Self::Application(_) => sizes::FRAME,
        }
    }
}

impl AsRef<str> for WireProtocol {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// What is offered when a stream is negotiated: all protocols to the peer, one by us.
#[derive(Debug, Clone)]
pub(super) struct Offer(pub(super) &'static [WireProtocol]);

impl Offer {
    pub(super) const ALL: Self = Self(&WireProtocol::ALL);

    pub(super) const fn only(protocol: WireProtocol) -> Self {
        let [hello, directory, channel, exchange, witness, trust] = WireProtocol::ALL.as_slice()
        else {
            unreachable!()
        };
        Self(std::slice::from_ref(match protocol {
            WireProtocol::Hello => hello,
            WireProtocol::Directory => directory,
            WireProtocol::Application(Protocol::Channel) => channel,
            WireProtocol::Application(Protocol::Exchange) => exchange,
            WireProtocol::Application(Protocol::Witness) => witness,
            WireProtocol::Application(Protocol::Trust) => trust,
        }))
    }
}

impl UpgradeInfo for Offer {
    type Info = WireProtocol;
    type InfoIter = std::iter::Copied<std::slice::Iter<'static, WireProtocol>>;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.iter().copied()
    }
}

impl InboundUpgrade<Stream> for Offer {
    type Output = (Stream, WireProtocol);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, protocol: WireProtocol) -> Self::Future {
        std::future::ready(Ok((stream, protocol)))
    }
}

impl OutboundUpgrade<Stream> for Offer {
    type Output = Stream;
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, _: WireProtocol) -> Self::Future {
        std::future::ready(Ok(stream))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_of_one_names_that_one() {
        for protocol in WireProtocol::ALL {
            let names: Vec<_> = Offer::only(protocol).protocol_info().collect();
            assert_eq!(names, [protocol]);
        }
    }

    #[test]
    fn what_a_stranger_may_send_is_small() {
        assert_eq!(WireProtocol::Hello.request_limit(), 64 * 1024);
        assert_eq!(limits::TRUST_PULL_FRAME, 1024);
        // Trust files are large: municipalities send them, others only get what they asked for.
        let trust = WireProtocol::Application(Protocol::Trust);
        assert_eq!(
            (trust.request_limit(), trust.reply_limit()),
            (sizes::TRUST_FILE, sizes::TRUST_FILE)
        );
        let mut others = WireProtocol::ALL.iter().filter(|protocol| **protocol != trust);
        assert!(
            others.all(|p| p.request_limit() <= sizes::FRAME && p.reply_limit() <= sizes::FRAME)
        );
    }
}
