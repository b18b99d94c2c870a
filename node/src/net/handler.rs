//! One connection. Before hello has passed nothing but a hello is read from it; after that each
//! stream carries one request and its reply. Calls come straight from the callers over a bounded
//! queue; only hellos go through the event loop.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{
    FutureExt, StreamExt, future::BoxFuture, io::AsyncWriteExt, stream::FuturesUnordered,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, Stream, SubstreamProtocol,
    handler::{ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout, timeout_at},
};
use trust::member::Member;

use super::{
    Protocol,
    edge::Edge,
    frame::{self, FrameError, Memory},
    limits,
    protocol::{Offer, WireProtocol},
};

/// One request on its way out. `reply` dropped without an answer means that the connection closed.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) protocol: WireProtocol,
    pub(super) message: Vec<u8>,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Vec<u8>, CallError>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CallError {
    #[error("no answer in time")]
    Timeout,
    #[error("a reply of {size} bytes, at most {limit} are allowed")]
    TooLarge { size: usize, limit: usize },
    #[error("the stream was closed without an answer")]
    Closed,
}

/// What the event loop tells a connection.
#[derive(Debug)]
pub(super) enum Instruction {
    /// Send this hello.
    Greet(Vec<u8>),
    /// Ask this question for a trust file, before any hello.
    PullTrust(Vec<u8>),
    /// Answer the hello that was reported; `admit` says whether it passed.
    Answer { reply: Vec<u8>, admit: Option<Admission> },
    /// The reply to our hello passed, or the member was found changed.
    Admit(Admission),
}

#[derive(Debug, Clone)]
pub(super) struct Admission {
    pub(super) member: Arc<Member>,
    /// Whether the connection is kept while idle.
    pub(super) keep: bool,
}

/// What a connection tells the event loop.
#[derive(Debug)]
pub(super) enum Report {
    /// A hello, or why none could be read. The stream waits for [`Instruction::Answer`].
    Hello(Result<Vec<u8>, String>),
    /// The reply to our hello, or why there is none.
    Reply(Result<Vec<u8>, String>),
    /// The reply to our question for a trust file, or why there is none.
    Pulled(Result<Vec<u8>, String>),
    /// The peer broke the rules: the connection is to be closed.
    Violation(&'static str),
}

/// A stream that we asked for.
pub(super) enum Outgoing {
    Hello(Vec<u8>),
    TrustPull(Vec<u8>),
    Call(Call),
}

/// How the work on a stream ended.
enum Done {
    HelloRead(Stream, Result<Vec<u8>, String>),
    ReplyRead(Result<Vec<u8>, String>),
    PulledRead(Result<Vec<u8>, String>),
    Inbound,
    Outbound,
}

pub(super) struct Handler {
    edge: Arc<Edge>,
    memory: Memory,
    reply_memory: Memory,
    dialler: bool,
    admission: Option<Admission>,
    calls: mpsc::Receiver<Call>,
    reports: VecDeque<Report>,
    greetings: VecDeque<Vec<u8>>,
    pulls: VecDeque<Vec<u8>>,
    /// The peer asked for the trust file before hello: once on a connection.
    asked_as_stranger: bool,
    /// The hello stream that waits for our answer.
    unanswered: Option<Stream>,
    /// A hello is being read or answered.
    greeted_by_peer: bool,
    last_hello: Option<Instant>,
    held: VecDeque<(Stream, WireProtocol)>,
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    inbound: usize,
    outbound: usize,
}

impl Handler {
    pub(super) fn new(edge: Arc<Edge>, dialler: bool, calls: mpsc::Receiver<Call>) -> Self {
        Self {
            memory: Memory::of_connection(edge.request_memory()),
            reply_memory: Memory::of_connection(edge.reply_memory()),
            edge,
            dialler,
            admission: None,
            calls,
            reports: VecDeque::new(),
            greetings: VecDeque::new(),
            pulls: VecDeque::new(),
            asked_as_stranger: false,
            unanswered: None,
            greeted_by_peer: false,
            last_hello: None,
            held: VecDeque::new(),
            work: FuturesUnordered::new(),
            inbound: 0,
            outbound: 0,
        }
    }

    fn on_inbound(&mut self, stream: Stream, protocol: WireProtocol) {
        match (protocol, &self.admission) {
            (WireProtocol::Hello, _) => self.read_hello(stream),
            (_, Some(admission)) => {
                let member = Arc::clone(&admission.member);
                self.serve(stream, protocol, member);
            }
            // The node that we dialled may know us before we know it: its streams wait, unread.
            (_, None) if self.dialler => {
                if self.held.len() < limits::HELD_STREAMS {
                    self.held.push_back((stream, protocol));
                }
            }
            (WireProtocol::Application(Protocol::Trust), None) => self.serve_stranger(stream),
            (_, None) => self.violation("it opened another protocol before hello"),
        }
    }

    fn violation(&mut self, what: &'static str) {
        // One is enough: the connection is closed for it.
        if !self.reports.iter().any(|report| matches!(report, Report::Violation(_))) {
            self.reports.push_back(Report::Violation(what));
        }
    }

    fn read_hello(&mut self, mut stream: Stream) {
        let now = Instant::now();
        let too_soon = self.last_hello.is_some_and(|last| now - last < limits::HELLO_INTERVAL / 2);
        if self.greeted_by_peer || too_soon {
            return self.violation("it said hello again too soon");
        }
        self.greeted_by_peer = true;
        self.last_hello = Some(now);
        self.work.push(
            async move {
                let limit = WireProtocol::Hello.request_limit();
                let read = timeout(limits::HELLO_TIMEOUT, frame::read(&mut stream, limit)).await;
                Done::HelloRead(stream, flatten(read))
            }
            .boxed(),
        );
    }

    /// A newcomer, or a node that was away for long, cannot say hello before it has the trust file.
    fn serve_stranger(&mut self, mut stream: Stream) {
        if std::mem::replace(&mut self.asked_as_stranger, true) {
            return self.violation("it asked for the trust file twice before hello");
        }
        self.inbound += 1;
        let edge = Arc::clone(&self.edge);
        self.work.push(
            async move {
                let served = async {
                    let message = frame::read(&mut stream, limits::TRUST_PULL_FRAME).await?;
                    match edge.serve_stranger(message).await {
                        Some(reply) => {
                            let limit = WireProtocol::Application(Protocol::Trust).reply_limit();
                            frame::write_last(&mut stream, &reply, limit).await
                        }
                        None => Ok(()),
                    }
                };
                // Whoever does not read its answer is gone before long.
                let _ = timeout(limits::HELLO_TIMEOUT, served).await;
                Done::Inbound
            }
            .boxed(),
        );
    }

    fn answer(&mut self, reply: Vec<u8>) {
        self.greeted_by_peer = false;
        let Some(mut stream) = self.unanswered.take() else { return };
        self.inbound += 1;
        self.work.push(
            async move {
                let limit = WireProtocol::Hello.reply_limit();
                let write = frame::write_last(&mut stream, &reply, limit);
                // A peer that does not read our answer is gone before long.
                let _ = timeout(limits::HELLO_TIMEOUT, write).await;
                Done::Inbound
            }
            .boxed(),
        );
    }

    fn serve(&mut self, mut stream: Stream, protocol: WireProtocol, member: Arc<Member>) {
        if self.inbound >= limits::INBOUND_STREAMS {
            tracing::debug!(protocol = protocol.name(), "stream reset: too many at once");
            return;
        }
        self.inbound += 1;
        let (edge, memory) = (Arc::clone(&self.edge), self.memory.clone());
        self.work.push(
            async move {
                let organisation = member.organisation.clone();
                let served = timeout(limits::SERVE_TIMEOUT, async {
                    let limit = edge.request_limit(&member, protocol);
                    let (message, reserved) =
                        frame::read_within(&mut stream, limit, &memory).await?;
                    match edge.serve(member, protocol, message, Some(reserved)).await {
                        Some(reply) => {
                            frame::write_last(&mut stream, &reply, protocol.reply_limit()).await
                        }
                        None => Ok(()),
                    }
                });
                let protocol = protocol.name();
                match served.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error @ FrameError::TooLarge { .. })) => {
                        tracing::warn!(%organisation, protocol, %error, "stream reset");
                    }
                    Ok(Err(error)) => {
                        tracing::debug!(%organisation, protocol, %error, "stream ended early");
                    }
                    Err(_) => tracing::warn!(%organisation, protocol, "request took too long"),
                }
                Done::Inbound
            }
            .boxed(),
        );
    }

    fn on_outbound(&mut self, mut stream: Stream, outgoing: Outgoing) {
        let memory = self.reply_memory.clone();
        self.work.push(match outgoing {
            Outgoing::Hello(hello) => async move {
                let greeting = async {
                    let hello_protocol = WireProtocol::Hello;
                    frame::write_last(&mut stream, &hello, hello_protocol.request_limit()).await?;
                    frame::read(&mut stream, hello_protocol.reply_limit()).await
                };
                Done::ReplyRead(flatten(timeout(limits::HELLO_TIMEOUT, greeting).await))
            }
            .boxed(),
            Outgoing::TrustPull(question) => async move {
                let protocol = WireProtocol::Application(Protocol::Trust);
                let asking = async {
                    frame::write_last(&mut stream, &question, protocol.request_limit()).await?;
                    frame::read(&mut stream, protocol.reply_limit()).await
                };
                Done::PulledRead(flatten(timeout(limits::HELLO_TIMEOUT, asking).await))
            }
            .boxed(),
            Outgoing::Call(Call { protocol, message, deadline, mut reply }) => async move {
                let answer = async {
                    frame::write_last(&mut stream, &message, protocol.request_limit()).await?;
                    drop(message);
                    let limit = protocol.reply_limit();
                    let (reply, _reserved) =
                        frame::read_within(&mut stream, limit, &memory).await?;
                    Ok(reply)
                };
                let answer = tokio::select! {
                    answer = timeout_at(deadline, answer) => match answer {
                        Ok(Ok(reply)) => Ok(reply),
                        Ok(Err(FrameError::TooLarge { size, limit })) => {
                            Err(CallError::TooLarge { size, limit })
                        }
                        Ok(Err(FrameError::Broken(_))) => Err(CallError::Closed),
                        Err(_) => Err(CallError::Timeout),
                    },
                    // The caller lost interest: the stream is reset.
                    () = reply.closed() => return Done::Outbound,
                };
                let _ = reply.send(answer);
                // Lets the peer finish in peace; what it does after its answer is its own affair.
                let _ = stream.close().now_or_never();
                Done::Outbound
            }
            .boxed(),
        });
    }

    fn on_done(&mut self, done: Done) {
        match done {
            Done::HelloRead(stream, hello) => {
                self.unanswered = Some(stream);
                self.reports.push_back(Report::Hello(hello));
            }
            Done::ReplyRead(reply) => self.reports.push_back(Report::Reply(reply)),
            Done::PulledRead(reply) => self.reports.push_back(Report::Pulled(reply)),
            Done::Inbound => self.inbound -= 1,
            Done::Outbound => self.outbound -= 1,
        }
    }

    fn on_admission(&mut self, admission: Admission) {
        let member = Arc::clone(&admission.member);
        self.admission = Some(admission);
        for (stream, protocol) in std::mem::take(&mut self.held) {
            self.serve(stream, protocol, Arc::clone(&member));
        }
    }
}

fn flatten<T>(
    read: Result<Result<T, FrameError>, tokio::time::error::Elapsed>,
) -> Result<T, String> {
    match read {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("no hello in time".into()),
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Instruction;
    type ToBehaviour = Report;
    type InboundProtocol = Offer;
    type OutboundProtocol = Offer;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Outgoing;

    fn listen_protocol(&self) -> SubstreamProtocol<Offer> {
        SubstreamProtocol::new(Offer::ALL, ()).with_timeout(limits::HELLO_TIMEOUT)
    }

    fn connection_keep_alive(&self) -> bool {
        // Without hello the event loop ends it by its own, shorter time.
        self.admission.as_ref().is_none_or(|admission| admission.keep)
    }

    fn on_behaviour_event(&mut self, instruction: Instruction) {
        match instruction {
            Instruction::Greet(hello) => self.greetings.push_back(hello),
            Instruction::PullTrust(question) => self.pulls.push_back(question),
            Instruction::Answer { reply, admit } => {
                match admit {
                    Some(admission) => self.on_admission(admission),
                    None => self.admission = None,
                }
                self.answer(reply);
            }
            Instruction::Admit(admission) => self.on_admission(admission),
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Offer, Outgoing, Report>> {
        while let Poll::Ready(Some(done)) = self.work.poll_next_unpin(cx) {
            self.on_done(done);
        }
        if let Some(report) = self.reports.pop_front() {
            return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(report));
        }
        let open = |protocol, outgoing| {
            let protocol = SubstreamProtocol::new(Offer::only(protocol), outgoing)
                .with_timeout(limits::REQUEST_TIMEOUT);
            Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest { protocol })
        };
        if let Some(hello) = self.greetings.pop_front() {
            return open(WireProtocol::Hello, Outgoing::Hello(hello));
        }
        if let Some(question) = self.pulls.pop_front() {
            let protocol = WireProtocol::Application(Protocol::Trust);
            return open(protocol, Outgoing::TrustPull(question));
        }
        while self.admission.is_some() && self.outbound < limits::OUTBOUND_STREAMS {
            match self.calls.poll_recv(cx) {
                // Nobody waits for the answer any more.
                Poll::Ready(Some(call)) if call.reply.is_closed() => {}
                Poll::Ready(Some(call)) => {
                    self.outbound += 1;
                    return open(call.protocol, Outgoing::Call(call));
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Pending
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Offer, Offer, (), Outgoing>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (stream, protocol),
                ..
            }) => self.on_inbound(stream, protocol),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol,
                info,
            }) => self.on_outbound(protocol, info),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, .. }) => match info {
                Outgoing::Hello(_) => {
                    let reason = "it does not speak this network's hello";
                    self.reports.push_back(Report::Reply(Err(reason.into())));
                }
                Outgoing::TrustPull(_) => {
                    let reason = "it hands out no trust file";
                    self.reports.push_back(Report::Pulled(Err(reason.into())));
                }
                Outgoing::Call(call) => {
                    self.outbound -= 1;
                    let _ = call.reply.send(Err(CallError::Closed));
                }
            },
            _ => {}
        }
    }
}
