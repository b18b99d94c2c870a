//! How much of the node the public face may keep busy: whoever wants may call it. Bodies come in a set
//! time; what was read is worked on in two lanes, so that no other call, however many there are, keeps
//! a deny waiting; connections are counted, and end when nothing is said on them.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
    serve::Listener,
};
use axum_server::accept::Accept;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep, timeout},
};
use wire::{
    NetworkId, Signed, cbor,
    consent::{Attested, Decision, Verdict},
};

use super::Problem;

/// Largest body of any call but a move, in bytes.
pub const BODY: usize = wire::limits::RECORD + wire::limits::SIGNED_OBJECT * 2;
/// How long a body may take to come, and an answer to be made.
const READING: Duration = Duration::from_secs(10);
const ANSWERING: Duration = Duration::from_secs(30);
/// How long a call that is no deny waits for its turn.
const WAITING: Duration = Duration::from_secs(1);
/// Bodies being read at once; further calls are turned away.
const BODIES: usize = 1024;
/// Moves being read at once, whose bodies are large; further ones are turned away.
const MOVES: usize = 16;
/// Denies worked on at once; further ones wait.
const DENIES: usize = 512;
/// Other calls worked on at once.
const OTHERS: usize = 256;
/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 1024;
/// A connection on which nothing came or went for this long is closed.
const IDLE: Duration = Duration::from_secs(60);

/// The places of the public face.
pub struct Lanes {
    network: NetworkId,
    bodies: Semaphore,
    moves: Semaphore,
    denies: Semaphore,
    others: Semaphore,
}

impl Lanes {
    pub fn new(network: NetworkId) -> Arc<Self> {
        Arc::new(Self {
            network,
            bodies: Semaphore::new(BODIES),
            moves: Semaphore::new(MOVES),
            denies: Semaphore::new(DENIES),
            others: Semaphore::new(OTHERS),
        })
    }

    /// Whether a call says that it brings a deny. It need not be true: a forgery is turned away for
    /// less work than waiting for it would be worth.
    fn is_deny(&self, path: &str, body: &[u8]) -> bool {
        matches!(path, "/wallet/decision" | "/wallet/deny")
            && cbor::from_slice::<Attested>(body).is_ok_and(|submission| {
                Signed::<Decision>::decode(&submission.object, &self.network)
                    .is_ok_and(|decision| decision.unverified().verdict == Verdict::Deny)
            })
    }
}

fn busy() -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", "Too many calls at once")
        .detail("nothing was done; try again in a moment")
}

/// Reads a call's body, and lets the call in when its lane has room.
pub async fn within(
    State(lanes): State<Arc<Lanes>>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let body = {
        // A register that moves is larger than anything else that comes.
        let (bodies, limit) = match head.uri.path() {
            "/wallet/move" => (&lanes.moves, wire::limits::MOVE_SUBMISSION),
            _ => (&lanes.bodies, BODY),
        };
        let _reading = bodies.try_acquire().map_err(|_| busy())?;
        match timeout(READING, to_bytes(body, limit)).await {
            Ok(Ok(body)) => body,
            Ok(Err(error)) if is_too_long(&error) => {
                return Err(Problem::too_large("the body is larger than any that this path takes"));
            }
            Ok(Err(_)) => return Err(Problem::malformed("the body broke off")),
            Err(_) => return Err(Problem::malformed("the body did not come in time")),
        }
    };
    let answer = async {
        let _place = if lanes.is_deny(head.uri.path(), &body) {
            lanes.denies.acquire().await
        } else {
            timeout(WAITING, lanes.others.acquire()).await.map_err(|_| busy())?
        }
        .map_err(|_| busy())?; // never: they are not closed
        Ok::<_, Problem>(next.run(Request::from_parts(head, Body::from(body))).await)
    };
    match timeout(ANSWERING, answer).await {
        Ok(answer) => answer,
        Err(_) => Ok(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", "No answer in time")
            .detail("what was asked for may have been done; the same again tells")
            .into_response()),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// Accepts as many connections as may be at once.
pub struct Bounded {
    listener: TcpListener,
    slots: Arc<Semaphore>,
}

impl Bounded {
    pub fn new(listener: TcpListener) -> Self {
        Self { listener, slots: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl Listener for Bounded {
    type Io = Held<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        // Never an error: it is not closed.
        let slot = Arc::clone(&self.slots).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let _ = stream.set_nodelay(true);
        (Held::new(stream, IDLE, slot), address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The same under TLS, where further connections are closed.
#[derive(Clone)]
pub struct BoundedAcceptor {
    slots: Arc<Semaphore>,
}

impl Default for BoundedAcceptor {
    fn default() -> Self {
        Self { slots: Arc::new(Semaphore::new(CONNECTIONS)) }
    }
}

impl<S> Accept<TcpStream, S> for BoundedAcceptor {
    type Stream = Held<TcpStream>;
    type Service = S;
    type Future = Ready<io::Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        let _ = stream.set_nodelay(true);
        ready(match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(slot) => Ok((Held::new(stream, IDLE, Some(slot)), service)),
            Err(_) => Err(io::ErrorKind::ResourceBusy.into()),
        })
    }
}

/// One of them: it ends when nothing came or went for a while.
pub struct Held<S> {
    io: S,
    longest: Duration,
    idle: Pin<Box<Sleep>>,
    _slot: Option<OwnedSemaphorePermit>,
}

impl<S> Held<S> {
    fn new(io: S, longest: Duration, slot: Option<OwnedSemaphorePermit>) -> Self {
        Self { io, longest, idle: Box::pin(sleep(longest)), _slot: slot }
    }

    /// What an operation came to, unless it waits and has waited too long.
    fn unless_idle<T>(
        &mut self,
        task: &mut Task<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            let until = Instant::now() + self.longest;
            self.idle.as_mut().reset(until);
            return outcome;
        }
        match self.idle.as_mut().poll(task) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Held<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.io).poll_read(task, buffer);
        self.unless_idle(task, read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Held<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Task<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(task, bytes);
        self.unless_idle(task, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(task)
    }
}

#[cfg(test)]
mod tests {
    use axum::{Router, middleware, routing::post};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use trust::testing::{NOW, TestSigner};
    use wire::{
        Nonce, Pair, ServiceId,
        consent::{ExpressedBy, Scope},
    };

    use super::*;

    const NETWORK: NetworkId = NetworkId([7; 32]);

    fn deny() -> Vec<u8> {
        let decision = Decision {
            nonce: Nonce([1; 16]),
            pair: Pair {
                source: "9000020102016/school-lunch".parse().unwrap(),
                subject: ServiceId([2; 32]),
            },
            scope: Scope::EVERYTHING,
            time: NOW,
            expressed_by: ExpressedBy::Oneself,
            verdict: Verdict::Deny,
        };
        let signed = Signed::new(decision, &NETWORK, &TestSigner::new(100)).unwrap();
        cbor::to_vec(&Attested { object: signed.bytes().to_vec().into(), chain: vec![] })
    }

    /// A face on which every call takes for ever, but for a deny.
    async fn serve(lanes: &Arc<Lanes>) -> SocketAddr {
        let router = Router::new()
            .route("/wallet/deny", post(|| async { "denied" }))
            .route("/wallet/register", post(std::future::pending::<&'static str>))
            .layer(middleware::from_fn_with_state(Arc::clone(lanes), within));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounded = Bounded::new(listener);
        tokio::spawn(async move { axum::serve(bounded, router).await.unwrap() });
        address
    }

    async fn call(to: SocketAddr, path: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_full_face_turns_calls_away_and_takes_denies() {
        let lanes = Lanes::new(NETWORK);
        let address = serve(&lanes).await;
        let calls: Vec<_> = (0..OTHERS)
            .map(|_| tokio::spawn(async move { call(address, "/wallet/register", b"x").await }))
            .collect();
        while lanes.others.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let turned_away = call(address, "/wallet/register", b"x").await;
        assert!(turned_away.starts_with("HTTP/1.1 503") && turned_away.contains("busy"));
        let denied = call(address, "/wallet/deny", &deny()).await;
        assert!(denied.starts_with("HTTP/1.1 200") && denied.ends_with("denied"), "{denied}");
        // What only calls itself one waits with the others.
        let garbage = call(address, "/wallet/deny", b"no").await;
        assert!(garbage.starts_with("HTTP/1.1 503"), "{garbage}");
        let large = call(address, "/wallet/register", &vec![0; BODY + 1]).await;
        assert!(large.starts_with("HTTP/1.1 413"), "{large}");
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }

    #[tokio::test]
    async fn a_connection_on_which_nothing_is_said_ends() {
        const LONGEST: Duration = Duration::from_millis(400);
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut held = Held::new(ours, LONGEST, None);
        let mut byte = [0];
        tokio::time::sleep(LONGEST / 2).await;
        theirs.write_all(b"x").await.unwrap();
        held.read_exact(&mut byte).await.unwrap();
        let asked = Instant::now();
        let ended = held.read(&mut byte).await.unwrap_err();
        assert_eq!(ended.kind(), io::ErrorKind::TimedOut);
        assert!(asked.elapsed() >= LONGEST - Duration::from_millis(50), "since the last byte");
    }
}
