//! The public face (`specs/10-wallet.md`): what wallets call. Bodies are deterministic CBOR, and
//! everything that matters is signed by whom it comes from, so that no session or cookie exists.

use std::sync::Arc;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};
use wire::{
    Hash, Signed, cbor,
    citizen::MoveSubmission,
    consent::{Attested, Decision, Verdict},
};

use super::{
    Body, Problem,
    bounds::{self, Lanes},
};
use crate::{
    context::{Context, Fault},
    home::{Home, enrolment::EnrolmentRefused, register::SubmissionError, status::StatusError},
    source::{
        Source,
        records::{self, RecordError},
    },
};

/// What the public face speaks for.
#[derive(Clone)]
pub struct Public {
    pub context: Arc<Context>,
    /// Set on a node that is a home.
    pub home: Option<Arc<Home>>,
    /// Set on a node that is a source.
    pub source: Option<Arc<Source>>,
}

/// Deterministic CBOR as a body.
struct Cbor(Vec<u8>);

impl Cbor {
    fn of(value: &impl Serialize) -> Self {
        Self(cbor::to_vec(value))
    }
}

impl IntoResponse for Cbor {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/cbor")], self.0).into_response()
    }
}

fn read<T: DeserializeOwned>(body: &Body) -> Result<T, Problem> {
    cbor::from_slice(&body.0).map_err(Problem::malformed)
}

pub fn router(public: Public) -> Router {
    let lanes = Lanes::new(*public.context.trust().network());
    let mut wallets = Router::new();
    if public.home.is_some() {
        wallets = wallets
            .route("/wallet/challenge", post(challenge))
            .route("/wallet/enrol", post(enrol))
            .route("/wallet/id-keys", post(id_keys))
            .route("/wallet/id-end", post(id_end))
            .route("/wallet/service-key", post(service_key))
            .route("/wallet/link", post(link))
            .route("/wallet/decision", post(decision))
            .route("/wallet/key", post(key))
            .route("/wallet/move", post(move_pair))
            .route("/wallet/register", post(register))
            .route("/wallet/history", post(history))
            .route("/wallet/requests", post(requests))
            .route("/wallet/answer", post(answer))
            .route("/wallet/effect", post(effect))
            .route("/ca/status", post(certificate_status));
    }
    if public.source.is_some() {
        wallets = wallets.route("/wallet/record", post(record));
    }
    if public.home.is_some() || public.source.is_some() {
        wallets = wallets.route("/wallet/deny", post(deny));
    }
    Router::new()
        .merge(wallets.layer(middleware::from_fn_with_state(public.clone(), require_serving)))
        .route("/trust", get(trust))
        .route("/identity", get(identity))
        .route("/health", get(health))
        .fallback(|| async { Problem::not_found("no such path on this node") })
        .method_not_allowed_fallback(Problem::wrong_method)
        // Bodies were read before, within that limit.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(lanes, bounds::within))
        .with_state(public)
}

/// Nothing of a wallet's is taken or shown by a node that may have forgotten what it promised.
async fn require_serving(
    State(public): State<Public>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    Ok(public.context.while_serving(next.run(request)).await?)
}

async fn health(State(public): State<Public>) -> Result<&'static str, Problem> {
    public.context.serving()?;
    Ok("ok")
}

async fn trust(State(public): State<Public>) -> Cbor {
    Cbor::of(public.context.trust().file())
}

async fn identity(State(public): State<Public>) -> Cbor {
    Cbor::of(&public.context.identity)
}

fn home(public: &Public) -> Result<&Arc<Home>, Problem> {
    public.home.as_ref().ok_or_else(|| Problem::not_found("this node is no home"))
}

async fn challenge(State(public): State<Public>) -> Result<Cbor, Problem> {
    let challenge = home(&public)?.challenge()?;
    Ok(Cbor::of(&challenge))
}

async fn enrol(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.enrol(body.0.to_vec()).await?;
    Ok(Cbor::of(&reply))
}

async fn id_keys(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let keys = home(&public)?.id_keys(read(&body)?).await?;
    Ok(Cbor::of(&keys))
}

async fn id_end(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let keys = home(&public)?.end_id_key(read(&body)?).await?;
    Ok(Cbor::of(&keys))
}

async fn service_key(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.certify_service_key(read(&body)?).await?;
    Ok(Cbor::of(&reply))
}

async fn link(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.attest_link(read(&body)?).await?;
    Ok(Cbor::of(&reply))
}

async fn decision(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.decide(read(&body)?).await?;
    Ok(Cbor::of(&reply))
}

async fn key(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.change_key(read(&body)?).await?;
    Ok(Cbor::of(&crate::wallet_client::KeyReply {
        seq: reply.seq.unwrap_or_default(),
        status: reply.status,
    }))
}

async fn move_pair(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let reply = home(&public)?.move_pair(read::<MoveSubmission>(&body)?).await?;
    Ok(Cbor::of(&reply))
}

async fn register(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let register = home(&public)?.register(read(&body)?).await?;
    Ok(Cbor::of(&register))
}

async fn certificate_status(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let status = home(&public)?.certificate_status(read::<Hash>(&body)?).await?;
    Ok(Cbor::of(&status))
}

async fn history(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let history = home(&public)?.history(read(&body)?).await?;
    Ok(Cbor::of(&history))
}

async fn requests(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let waiting = home(&public)?.requests(read(&body)?).await?;
    Ok(Cbor::of(&waiting))
}

async fn answer(State(public): State<Public>, body: Body) -> Result<StatusCode, Problem> {
    home(&public)?.answer(read(&body)?).await?;
    Ok(StatusCode::OK)
}

async fn effect(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let effect = home(&public)?.effect(read(&body)?).await?;
    Ok(Cbor::of(&effect))
}

/// At a source what is about its services; at a home anything else, to be relayed.
async fn deny(State(public): State<Public>, body: Body) -> Result<Cbor, Problem> {
    let submission: Attested = read(&body)?;
    let network = *public.context.trust().network();
    let deny =
        Signed::<Decision>::decode(&submission.object, &network).map_err(Problem::malformed)?;
    if deny.unverified().verdict != Verdict::Deny {
        return Err(Problem::malformed("only a deny may be handed in here"));
    }
    let owned = public.context.owns(&deny.unverified().pair.source);
    let reply = match (&public.source, &public.home) {
        (Some(source), _) if owned => source.take_direct_deny(submission).await?,
        (_, Some(home)) => home.decide(submission).await?,
        (_, None) => return Err(Problem::malformed("no such service at this node")),
    };
    Ok(Cbor::of(&reply))
}

async fn record(State(public): State<Public>, body: Body) -> Result<StatusCode, Problem> {
    records::submit(&public.context, read(&body)?).await?;
    Ok(StatusCode::OK)
}

impl From<SubmissionError> for Problem {
    fn from(error: SubmissionError) -> Self {
        match error {
            SubmissionError::Fault(fault) => fault.into(),
            SubmissionError::Unknown(what) => Self::not_found(what),
            SubmissionError::NotYet | SubmissionError::NotCosigned => {
                Self::new(StatusCode::CONFLICT, "not-yet", "Not in force yet").detail(error)
            }
            SubmissionError::OtherHome(_) => {
                Self::new(StatusCode::CONFLICT, "other-home", "Another municipality is home now")
                    .detail(error)
            }
            SubmissionError::Raced => {
                Self::new(StatusCode::CONFLICT, "raced", "Something else came first").detail(error)
            }
            SubmissionError::Malformed(_)
            | SubmissionError::Admission(consent::AdmissionError::Envelope(_)) => {
                Self::malformed(error)
            }
            _ => Self::refused(error),
        }
    }
}

impl From<EnrolmentRefused> for Problem {
    fn from(error: EnrolmentRefused) -> Self {
        match error {
            EnrolmentRefused::Fault(fault) => fault.into(),
            EnrolmentRefused::Busy(_) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too many challenges are open")
            }
            EnrolmentRefused::Enrolment(identity::EnrolmentError::Envelope(_))
            | EnrolmentRefused::Signed(trust::SignedError::Envelope(_)) => Self::malformed(error),
            EnrolmentRefused::NotOffered => Self::not_found("this home does not enrol citizens"),
            _ => Self::refused(error),
        }
    }
}

impl From<StatusError> for Problem {
    fn from(error: StatusError) -> Self {
        match error {
            StatusError::Fault(fault) => fault.into(),
            StatusError::Busy => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "Too many questions").detail(error)
            }
            StatusError::Unknown => Self::not_found(error),
        }
    }
}

impl From<RecordError> for Problem {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Fault(fault) => fault.into(),
            RecordError::UnknownService => Self::not_found("no such service at this node"),
            RecordError::UnknownItem(_) | RecordError::NotJson => Self::malformed(error),
            RecordError::TooLarge => Self::too_large(error),
            _ => Self::refused(error),
        }
    }
}

impl From<crate::store::StoreError> for Problem {
    fn from(error: crate::store::StoreError) -> Self {
        Fault::from(error).into()
    }
}
