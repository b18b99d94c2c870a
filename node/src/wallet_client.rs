//! The http client of a wallet: one method for each call of `specs/10-wallet.md`. Bodies are
//! deterministic CBOR; errors come back as problem+json and keep their title and detail.
//!
//! Plain http is for this machine only: a wallet hands its secret to its home, so that any other address
//! is spoken to over TLS or not at all.

use std::{net::IpAddr, time::Duration};

use axum::{
    body::Bytes,
    http::{self, Method, StatusCode, Uri, header},
};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use wire::{
    CborError, Hash, Signed,
    asking::WaitingRequests,
    cbor,
    citizen::{
        Challenge, DecisionReply, Enrolment, EnrolmentReply, IdKeys, InForce, MoveReply,
        MoveSubmission, PairRegister, ServiceKeyReply,
    },
    consent::Attested,
    membership::{NodeIdentity, TrustFile},
    notice::PairHistory,
};

use crate::{
    http_client::{self, HttpClient},
    tls::{self, TlsError, TlsRoots},
};

/// Largest answer that is one object or a handful, in bytes.
const SMALL: usize = 256 * 1024;
/// Largest trust file or register, in bytes.
const LARGE: usize = 32 * 1024 * 1024;
/// How long one call may take, unless told otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);

const CBOR: &str = "application/cbor";
const PROBLEM: &str = "application/problem+json";

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not an http or https URL without query and user name")]
    BadUrl(String),
    #[error("{0} is not this machine: that needs TLS (https)")]
    TlsNeeded(String),
    #[error("TLS cannot be spoken: {0}")]
    Tls(#[from] TlsError),
    #[error("the node could not be reached{}", untrusted(.0))]
    Unreachable(#[source] hyper_util::client::legacy::Error),
    #[error("the connection broke during the answer")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("{0}")]
    Problem(Problem),
    #[error("the node answered with status {0} and no explanation")]
    Status(StatusCode),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer is not what this call gives")]
    Answer(#[source] CborError),
}

impl ClientError {
    /// Whether nobody answered: what the node last said may be used where that is safe.
    pub fn is_offline(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Broken(_) | Self::Timeout(_))
    }

    /// Whether a home before has nothing to say to this wallet: it is away, or never heard of a key that
    /// began since.
    pub fn knows_nothing(&self) -> bool {
        self.is_offline() || self.status() == Some(StatusCode::FORBIDDEN.as_u16())
    }

    /// The status of an answer that carried nothing out.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Problem(problem) => Some(problem.status),
            Self::Status(status) => Some(status.as_u16()),
            _ => None,
        }
    }
}

/// What a node says about a call it did not carry out (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    #[serde(skip)]
    pub status: u16,
    pub title: String,
    #[serde(default)]
    pub detail: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " (status {})", self.status)
    }
}

impl std::error::Error for Problem {}

/// The answer to a key-begin or key-end that the home made durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyReply {
    pub seq: u64,
    pub status: InForce,
}

/// Speaks to the public face of one node. Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct WalletClient {
    /// Without a slash at the end.
    base: String,
    http: HttpClient,
    timeout: Duration,
}

impl WalletClient {
    /// For the public face at `url`, over TLS with the authorities that this machine trusts, or in plain
    /// http on this machine. Connects with the first call.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        Self::trusting(url, &TlsRoots::System)
    }

    /// The same, with other authorities.
    pub fn trusting(url: &str, roots: &TlsRoots) -> Result<Self, ClientError> {
        let tls = match check_url(url)? {
            Scheme::Plain => tls::trusting_nobody(),
            Scheme::Tls => roots.client()?,
        };
        let (base, http) = (url.trim_end_matches('/').to_owned(), http_client::client(tls));
        Ok(Self { base, http, timeout: TIMEOUT })
    }

    /// The same client with another limit on how long one call may take.
    #[must_use]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    pub fn url(&self) -> &str {
        &self.base
    }

    /// The trust list as this node holds it: proves itself against the network id.
    pub async fn trust(&self) -> Result<TrustFile, ClientError> {
        self.call(Method::GET, "/trust", Vec::new(), LARGE).await
    }

    /// Who this node is.
    pub async fn identity(&self) -> Result<NodeIdentity, ClientError> {
        self.call(Method::GET, "/identity", Vec::new(), SMALL).await
    }

    pub async fn challenge(&self) -> Result<Challenge, ClientError> {
        self.call(Method::POST, "/wallet/challenge", Vec::new(), SMALL).await
    }

    pub async fn enrol(
        &self,
        enrolment: &Signed<Enrolment>,
    ) -> Result<EnrolmentReply, ClientError> {
        // A COSE_Sign1 is the body as it stands: there is no chain yet that could go with it.
        self.call(Method::POST, "/wallet/enrol", enrolment.bytes().to_vec(), SMALL).await
    }

    /// `query`: an ID query with the ID chain.
    pub async fn id_keys(&self, query: &Attested) -> Result<IdKeys, ClientError> {
        self.post("/wallet/id-keys", query).await
    }

    /// `end`: the end of another ID key, with the ID chain. Durable when this returns.
    pub async fn end_id_key(&self, end: &Attested) -> Result<IdKeys, ClientError> {
        self.post("/wallet/id-end", end).await
    }

    /// `request`: a service-key request with the ID chain.
    pub async fn service_key(&self, request: &Attested) -> Result<ServiceKeyReply, ClientError> {
        self.post("/wallet/service-key", request).await
    }

    /// `request`: a link request with the ID chain. Gives a link with its signer's chain.
    pub async fn link(&self, request: &Attested) -> Result<Attested, ClientError> {
        self.post("/wallet/link", request).await
    }

    /// `decision`: a permit or deny with the service chain. Durable at the home when this returns.
    pub async fn decide(&self, decision: &Attested) -> Result<DecisionReply, ClientError> {
        self.post("/wallet/decision", decision).await
    }

    /// `change`: a key-begin or key-end with the chain of the key of the pair that approves it.
    pub async fn key(&self, change: &Attested) -> Result<KeyReply, ClientError> {
        self.post("/wallet/key", change).await
    }

    /// A move with the chain of the key that signed it: at the home left, then with what that holds at
    /// the home moved to.
    pub async fn move_pair(&self, submission: &MoveSubmission) -> Result<MoveReply, ClientError> {
        self.call(Method::POST, "/wallet/move", cbor::to_vec(submission), SMALL).await
    }

    /// `query`: a wallet query with the service chain.
    pub async fn register(&self, query: &Attested) -> Result<PairRegister, ClientError> {
        self.call(Method::POST, "/wallet/register", cbor::to_vec(query), LARGE).await
    }

    /// How a certificate of this node's CA stands: a signed certificate-status with its signer's chain.
    pub async fn certificate_status(&self, certificate: &Hash) -> Result<Attested, ClientError> {
        self.call(Method::POST, "/ca/status", cbor::to_vec(certificate), SMALL).await
    }

    /// `query`: a wallet query with the service chain. What happened at the source.
    pub async fn history(&self, query: &Attested) -> Result<PairHistory, ClientError> {
        self.call(Method::POST, "/wallet/history", cbor::to_vec(query), LARGE).await
    }

    /// `query`: a wallet query for the pair at a recipient. What it asks and waits to hear.
    pub async fn requests(&self, query: &Attested) -> Result<WaitingRequests, ClientError> {
        self.call(Method::POST, "/wallet/requests", cbor::to_vec(query), LARGE).await
    }

    /// `answer`: a consent answer with the chain of the key at the recipient.
    pub async fn answer(&self, answer: &Attested) -> Result<(), ClientError> {
        self.post_for_nothing("/wallet/answer", answer).await
    }

    /// `query`: an effect query with the service chain. Gives a signed effect with its signer's chain.
    pub async fn effect(&self, query: &Attested) -> Result<Attested, ClientError> {
        self.post("/wallet/effect", query).await
    }

    /// Hands a deny to its source, or to any municipal node, which relays it. With `seq` in the reply the
    /// node keeps it and is to bring it to the source; without, the source has it: in force, with its
    /// signed `effect` unless the source's witnesses have not answered in time.
    pub async fn deny(&self, deny: &Attested) -> Result<DecisionReply, ClientError> {
        self.post("/wallet/deny", deny).await
    }

    /// Hands a record to the source that will hold it: durable there when this returns.
    pub async fn put_record(&self, record: &Attested) -> Result<(), ClientError> {
        self.post_for_nothing("/wallet/record", record).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &Attested,
    ) -> Result<T, ClientError> {
        self.call(Method::POST, path, cbor::to_vec(body), SMALL).await
    }

    async fn post_for_nothing(&self, path: &str, body: &Attested) -> Result<(), ClientError> {
        let answer = self.exchange(Method::POST, path, cbor::to_vec(body), SMALL).await?;
        if answer.is_empty() {
            Ok(())
        } else {
            Err(ClientError::Answer(CborError::TrailingBytes(answer.len())))
        }
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body, limit).await?;
        cbor::from_slice(&answer).map_err(ClientError::Answer)
    }

    /// One exchange, the whole of it within the timeout; gives the body of a good answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        limit: usize,
    ) -> Result<Bytes, ClientError> {
        let url = format!("{}{path}", self.base);
        let request = http::Request::builder()
            .method(method)
            .uri(&url)
            .header(header::CONTENT_TYPE, CBOR)
            .header(header::ACCEPT, format!("{CBOR}, {PROBLEM}"))
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| ClientError::BadUrl(url))?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(ClientError::Unreachable)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    ClientError::TooLong(limit)
                } else {
                    ClientError::Broken(error)
                }
            })?;
            if head.status == StatusCode::OK {
                return Ok(body.to_bytes());
            }
            Err(read_problem(head.status, &head.headers, &body.to_bytes()))
        };
        match tokio::time::timeout(self.timeout, exchange).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout(self.timeout)),
        }
    }
}

enum Scheme {
    Plain,
    Tls,
}

/// https, or plain http to this machine; nothing behind the path.
fn check_url(url: &str) -> Result<Scheme, ClientError> {
    let bad = || ClientError::BadUrl(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| bad())?;
    let host = uri.host().ok_or_else(bad)?;
    let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
    if uri.query().is_some() || has_user {
        return Err(bad());
    }
    match uri.scheme_str() {
        Some("https") => Ok(Scheme::Tls),
        Some("http") if is_loopback(host) => Ok(Scheme::Plain),
        Some("http") => Err(ClientError::TlsNeeded(host.to_owned())),
        _ => Err(bad()),
    }
}

/// Says so if the certificate is what is wrong.
fn untrusted(error: &hyper_util::client::legacy::Error) -> String {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(rustls) = tls_fault(error) {
            return format!(": {rustls}");
        }
        cause = error.source();
    }
    String::new()
}

/// rustls hands its errors on inside of those of `std::io`, and these inside of each other.
fn tls_fault<'a>(mut error: &'a (dyn std::error::Error + 'static)) -> Option<&'a rustls::Error> {
    loop {
        if let Some(fault) = error.downcast_ref() {
            return Some(fault);
        }
        error = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn read_problem(status: StatusCode, headers: &http::HeaderMap, body: &[u8]) -> ClientError {
    let is_problem = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.split(';').next().unwrap_or_default().trim() == PROBLEM);
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if is_problem => ClientError::Problem(Problem {
            status: status.as_u16(),
            title: printable(&problem.title),
            detail: printable(&problem.detail),
        }),
        _ => ClientError::Status(status),
    }
}

/// A node's words go to a terminal: no control characters, and no novel.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

#[cfg(test)]
mod tests;
