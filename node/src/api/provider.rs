//! The provider API (`specs/11-provider-api.md`): what the organisation's own systems call on the
//! local network, with an API key. Metrics and health stand beside it, without a key.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};
use wire::{
    Bytes, DecisionId, Hash, ItemType, Nonce, OrganisationId, Purpose, ServiceId, ServiceName,
    Timestamp, cbor,
    channel::ChannelRefusal,
    consent::{Onward, Uses, Window},
    limits,
};

const DAY_MS: u64 = 24 * 3_600_000;

use super::{Body, Problem, ca, desk, governance};
use crate::{
    bundle,
    ca::CertificationAuthority,
    context::Context,
    home::Home,
    metrics,
    recipient::{
        Ask, AskError, Outcome, Recipient,
        asking::{ConsentAsk, ConsentAskError, ConsentState},
    },
    source::{
        Source,
        exchange::rejection_code,
        records::{self, NewRecord},
    },
    trust_keeper::TrustKeeper,
    witness::NotServing,
};

/// What the provider API speaks for.
#[derive(Clone)]
pub struct Provider {
    pub context: Arc<Context>,
    pub home: Option<Arc<Home>>,
    pub source: Option<Arc<Source>>,
    pub recipient: Option<Arc<Recipient>>,
    pub trust: Arc<TrustKeeper>,
    pub ca: Option<Arc<CertificationAuthority>>,
    /// SHA-256 of the API keys that are let in.
    pub api_keys: Arc<Vec<Hash>>,
}

pub fn router(provider: Provider) -> Router {
    let serving = Router::new()
        .route("/v1/requests", post(request))
        .route("/v1/requests/{id}/present-consent", post(present_consent))
        .route("/v1/consent-requests", post(consent_request))
        .route("/v1/records/{organisation}/{service}/{subject}/{item}", put(put_record))
        .merge(desk::routes())
        .merge(ca::routes())
        .route_layer(middleware::from_fn_with_state(provider.clone(), require_serving));
    let guarded = Router::new()
        .merge(serving)
        .route("/v1/requests/{id}", get(request_outcome))
        .route("/v1/requests/{id}/bundle", get(evidence_bundle))
        .route("/v1/consent-requests/{id}", get(consent_request_state))
        .route("/v1/releases", get(releases))
        .route("/v1/leases", get(leases))
        .route("/v1/log", get(log))
        .merge(governance::routes())
        .route("/v1/peers", get(peers))
        .route_layer(middleware::from_fn_with_state(provider.clone(), require_api_key));
    Router::new()
        .merge(guarded)
        .route("/health", get(health))
        .route("/metrics", get(metrics_text))
        .fallback(|| async { Problem::not_found("no such path on this node") })
        .method_not_allowed_fallback(Problem::wrong_method)
        .layer(DefaultBodyLimit::max(limits::RECORD + 1024))
        .with_state(provider)
}

async fn require_api_key(
    State(provider): State<Provider>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    // Hashes are compared, so that timing tells nothing of the keys themselves.
    let given = given.map(|key| wire::sha256(key.as_bytes()));
    match given.filter(|hash| provider.api_keys.contains(hash)) {
        Some(hash) => {
            request.extensions_mut().insert(UsedKey(hash));
            Ok(next.run(request).await)
        }
        None => Err(Problem::unauthorized()),
    }
}

/// SHA-256 of the API key that a call came with.
#[derive(Debug, Clone, Copy)]
pub(super) struct UsedKey(pub Hash);

/// A node that may have forgotten what it promised does nothing new.
async fn require_serving(
    State(provider): State<Provider>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    Ok(provider.context.while_serving(next.run(request)).await?)
}

/// `POST /v1/requests`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestBody {
    /// Who holds the data.
    source: ServiceName,
    /// Which of this node's services asks.
    recipient: ServiceName,
    /// The citizen's service id at `recipient`.
    subject: ServiceId,
    items: Vec<ItemType>,
    purpose: Purpose,
    /// All the items, or nothing.
    #[serde(default)]
    whole: bool,
    /// Chosen by the caller for a safe retry; made up if left out.
    id: Option<Nonce>,
    /// The citizen is at the counter: prepare the request for their present-consent, send nothing.
    #[serde(default)]
    present: bool,
}

/// A request that waits for the citizen's present-consent.
#[derive(Debug, Serialize)]
struct PreparedRequest {
    id: Nonce,
    outcome: &'static str,
    /// What the citizen's permit binds.
    consent_hash: Hash,
    /// The request as it will be signed, CBOR in hexadecimal: what the wallet reads and shows.
    request: Bytes,
    /// From then on nobody answers it; prepare another one.
    expires: Timestamp,
}

impl PreparedRequest {
    fn new(id: Nonce, request: &wire::exchange::Request) -> Self {
        Self {
            id,
            outcome: "prepared",
            consent_hash: request.consent_hash(),
            request: Bytes(cbor::to_vec(request)),
            expires: request.expires,
        }
    }
}

/// `POST /v1/requests/{id}/present-consent`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PresentConsentBody {
    /// What the wallet gave, CBOR in hexadecimal.
    present_consent: Bytes,
}

/// A presentation, as the recipient's system gets it.
#[derive(Debug, Serialize)]
struct Presented {
    id: Nonce,
    outcome: &'static str,
    /// Item type to the record's JSON.
    items: serde_json::Map<String, serde_json::Value>,
    /// What each permit that it passed on asks of us, by the permit's id: the window of the data, how
    /// many days it may be kept, whether it may be passed on, and when the permit ends.
    terms: BTreeMap<DecisionId, exchange::Terms>,
    /// The SD-JWT VC itself.
    presentation: String,
}

async fn request(State(provider): State<Provider>, Body(body): Body) -> Result<Response, Problem> {
    let recipient = recipient(&provider)?;
    let body: RequestBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let ask = Ask {
        source: body.source,
        recipient: body.recipient,
        subject: body.subject,
        items: body.items,
        purpose: body.purpose,
        whole: body.whole,
        id: body.id,
    };
    if body.present {
        let (id, request) = recipient.prepare(ask).await?;
        return Ok(Json(PreparedRequest::new(id, &request)).into_response());
    }
    let (id, outcome) = recipient.ask(ask).await?;
    presented(id, outcome)
}

async fn present_consent(
    State(provider): State<Provider>,
    Path(id): Path<String>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(Problem::malformed)?;
    let body: PresentConsentBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let present = cbor::from_slice(&body.present_consent).map_err(Problem::malformed)?;
    presented(id, recipient(&provider)?.attach(id, present).await?)
}

async fn request_outcome(
    State(provider): State<Provider>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(Problem::malformed)?;
    let outcome = recipient(&provider)?
        .outcome(&id)?
        .ok_or_else(|| Problem::not_found("no request with this id"))?;
    presented(id, outcome)
}

fn presented(id: Nonce, outcome: Outcome) -> Result<Response, Problem> {
    match outcome {
        Outcome::Presented { items, terms, presentation } => {
            let outcome = "presented";
            Ok(Json(Presented { id, outcome, items, terms, presentation }).into_response())
        }
        Outcome::Prepared(request) => Ok(Json(PreparedRequest::new(id, &request)).into_response()),
        Outcome::NotPermitted => {
            Err(Problem::new(StatusCode::FORBIDDEN, "not-permitted", "Not permitted")
                .detail("no presentation was released; the reason is the citizen's own")
                .about(id))
        }
        Outcome::Pending => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-answer",
            "The source has not answered yet",
        )
        .detail("ask again with the same id")
        .about(id)),
        Outcome::Rejected(rejection) => Err(Problem::new(
            StatusCode::BAD_GATEWAY,
            "rejected",
            "The source did not take the request",
        )
        .detail(rejection_code(rejection))
        .about(id)),
    }
}

/// `POST /v1/consent-requests`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsentRequestBody {
    /// Who holds the data.
    source: ServiceName,
    /// Which of this node's services asks.
    recipient: ServiceName,
    /// The citizen's service id at `recipient`.
    subject: ServiceId,
    items: Vec<ItemType>,
    purpose: Purpose,
    /// How long the permit shall hold.
    valid_days: u32,
    #[serde(default = "unlimited")]
    uses: Uses,
    window: Option<Window>,
    retention_days: Option<u32>,
    #[serde(default = "forbidden")]
    onward: Onward,
    /// What the citizen is shown.
    text: String,
    language: String,
    #[serde(default)]
    version: u32,
    /// How long the request may wait for its answer; at most 30 days.
    #[serde(default = "wait_days")]
    wait_days: u32,
    /// Chosen by the caller for a safe retry; made up if left out.
    id: Option<Nonce>,
}

fn unlimited() -> Uses {
    Uses::Unlimited
}

fn forbidden() -> Onward {
    Onward::Forbidden
}

fn wait_days() -> u32 {
    14
}

/// How a consent request stands.
#[derive(Debug, Serialize)]
struct ConsentStateView {
    id: Nonce,
    /// `waiting`, `agreed`, `declined`, `expired`, or `refused` by the citizen's home.
    state: &'static str,
    /// Why the home did not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<ChannelRefusal>,
}

impl ConsentStateView {
    fn of(id: Nonce, state: ConsentState) -> Self {
        let (state, reason) = match state {
            ConsentState::Waiting => ("waiting", None),
            ConsentState::Agreed => ("agreed", None),
            ConsentState::Declined => ("declined", None),
            ConsentState::Expired => ("expired", None),
            ConsentState::Refused(refusal) => ("refused", Some(refusal)),
        };
        Self { id, state, reason }
    }
}

async fn consent_request(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<(StatusCode, Json<ConsentStateView>), Problem> {
    let recipient = recipient(&provider)?;
    let body: ConsentRequestBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let ask = ConsentAsk {
        source: body.source,
        recipient: body.recipient,
        subject: body.subject,
        items: body.items,
        purpose: body.purpose,
        valid_days: body.valid_days,
        uses: body.uses,
        window: body.window,
        retention_days: body.retention_days,
        onward: body.onward,
        text: body.text,
        language: body.language,
        version: body.version,
        wait_ms: u64::from(body.wait_days) * DAY_MS,
        id: body.id,
    };
    let (id, state) = recipient.ask_consent(ask).await?;
    Ok((StatusCode::ACCEPTED, Json(ConsentStateView::of(id, state))))
}

async fn consent_request_state(
    State(provider): State<Provider>,
    Path(id): Path<String>,
) -> Result<Json<ConsentStateView>, Problem> {
    let id = id.parse().map_err(Problem::malformed)?;
    let state = recipient(&provider)?
        .consent_state(&id)?
        .ok_or_else(|| Problem::not_found("no consent request with this id"))?;
    Ok(Json(ConsentStateView::of(id, state)))
}

async fn evidence_bundle(
    State(provider): State<Provider>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = id.parse().map_err(Problem::malformed)?;
    let source = source(&provider)?;
    let bundle = bundle::assemble(source, &id).await.map_err(|error| match error {
        bundle::AssembleError::Fault(fault) => Problem::from(fault),
        error => Problem::new(StatusCode::CONFLICT, "no-bundle", "No bundle can be made yet")
            .detail(error),
    })?;
    Ok(([(header::CONTENT_TYPE, "application/cbor")], bundle).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RecordQuery {
    /// The time that the record is about: RFC 3339 in UTC, or milliseconds since 1970.
    about: Option<String>,
}

pub(super) fn read_time(what: &str, text: &str) -> Result<Timestamp, Problem> {
    if let Ok(ms) = text.parse() {
        return Ok(Timestamp(ms));
    }
    let time: der::DateTime = text.parse().map_err(|_| {
        let fault = "is neither milliseconds nor like 2026-04-01T09:30:00Z";
        Problem::malformed(format!("`{what}` {fault}"))
    })?;
    Ok(Timestamp(time.unix_duration().as_secs() * 1000))
}

async fn put_record(
    State(provider): State<Provider>,
    Path((organisation, service, subject, item)): Path<(String, String, String, String)>,
    query: Result<Query<RecordQuery>, QueryRejection>,
    Body(body): Body,
) -> Result<StatusCode, Problem> {
    source(&provider)?;
    let service = format!("{organisation}/{service}").parse().map_err(Problem::malformed)?;
    let subject = subject.parse().map_err(Problem::malformed)?;
    let item = item.parse().map_err(Problem::malformed)?;
    let Query(query) = query.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    let about = query.about.as_deref().map(|about| read_time("about", about)).transpose()?;
    let record = NewRecord { service, subject, item, content: body.to_vec(), about };
    records::put(&provider.context, record).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Debug, Deserialize)]
struct Page {
    /// The id after which the page begins.
    after: Option<Nonce>,
}

async fn releases(
    State(provider): State<Provider>,
    page: Result<Query<Page>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(page) = page.map_err(|rejection| Problem::malformed(rejection.body_text()))?;
    Ok(Json(source(&provider)?.releases(page.after)?).into_response())
}

#[derive(Debug, Deserialize)]
struct LogPage {
    /// The index at which the page begins.
    #[serde(default)]
    from: u64,
}

/// A page of the evidence log, in words: for the operator, and for reconciling.
async fn log(
    State(provider): State<Provider>,
    Query(page): Query<LogPage>,
) -> Result<Response, Problem> {
    let read = provider.context.committer.read();
    Ok(Json(crate::evidence_log::page(&*read, page.from)?).into_response())
}

async fn leases(State(provider): State<Provider>) -> Result<Response, Problem> {
    Ok(Json(source(&provider)?.channels.statuses()?).into_response())
}

#[derive(Debug, Serialize)]
struct Peer {
    organisation: OrganisationId,
    name: String,
    peer: String,
    address: String,
    outbound: bool,
    rtt_us: Option<u64>,
}

async fn peers(State(provider): State<Provider>) -> Result<Response, Problem> {
    let peers: Vec<_> = provider
        .context
        .network()?
        .peers()
        .into_iter()
        .map(|peer| Peer {
            organisation: peer.organisation,
            name: peer.name,
            peer: peer.peer.to_base58(),
            address: peer.address.to_string(),
            outbound: peer.outbound,
            rtt_us: peer.rtt.map(|rtt| rtt.as_micros() as u64),
        })
        .collect();
    Ok(Json(peers).into_response())
}

#[derive(Debug, Serialize)]
struct Health {
    /// `ok`, or in one word why not.
    status: &'static str,
    /// Why this node serves nothing, and what to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// How many entries of the log are cosigned by enough witnesses; none without witnesses.
    cosigned: Option<u64>,
    organisation: OrganisationId,
    name: String,
    network: wire::NetworkId,
    trust_list_version: u64,
    trust: &'static str,
    peers: usize,
    leases_live: usize,
    leases: usize,
    log_size: u64,
    resident_bytes: Option<u64>,
}

async fn health(State(provider): State<Provider>) -> Result<Response, Problem> {
    let context = &provider.context;
    let trust = context.trust();
    let leases = match &provider.source {
        Some(source) => source.channels.statuses()?,
        None => Vec::new(),
    };
    let freshness = governance::freshness(trust.freshness(context.now().wall));
    let serving = context.serving();
    let status = match &serving {
        Err(NotServing::Waiting) => "waiting",
        Err(NotServing::Restored { .. }) => "restored",
        Err(NotServing::Forked { .. }) => "forked",
        Ok(()) if freshness == "hard-expired" => "stopped",
        Ok(()) => "ok",
    };
    let code = if serving.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = Health {
        status,
        detail: serving.err().map(|reason| reason.to_string()),
        cosigned: context.own_log().reached(),
        organisation: context.organisation.clone(),
        name: context.name.clone(),
        network: *trust.network(),
        trust_list_version: trust.list().version,
        trust: freshness,
        peers: context.network()?.peers().len(),
        leases_live: leases.iter().filter(|lease| lease.live).count(),
        leases: leases.len(),
        log_size: crate::evidence_log::size(&*context.committer.read())?,
        resident_bytes: metrics::resident_bytes(),
    };
    Ok((code, Json(health)).into_response())
}

async fn metrics_text(State(provider): State<Provider>) -> Result<Response, Problem> {
    let context = &provider.context;
    let figures = &context.metrics;
    figures.peers.set(context.network()?.peers().len() as i64);
    if let Some(source) = &provider.source {
        let live = source.channels.statuses()?.iter().filter(|lease| lease.live).count();
        figures.leases_live.set(live as i64);
    }
    figures.resident_bytes.set(metrics::resident_bytes().unwrap_or(0) as i64);
    figures.log_size.set(crate::evidence_log::size(&*context.committer.read())? as i64);
    figures.commit_queue.set(context.committer.statistics().queued as i64);
    let text = figures.text().map_err(|error| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", "No figures").detail(error)
    })?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response())
}

fn source(provider: &Provider) -> Result<&Arc<Source>, Problem> {
    provider.source.as_ref().ok_or_else(|| Problem::not_found("this node is no source"))
}

fn recipient(provider: &Provider) -> Result<&Arc<Recipient>, Problem> {
    provider.recipient.as_ref().ok_or_else(|| Problem::not_found("this node is no recipient"))
}

impl From<ConsentAskError> for Problem {
    fn from(error: ConsentAskError) -> Self {
        match error {
            ConsentAskError::Fault(fault) => fault.into(),
            ConsentAskError::NoHome | ConsentAskError::NoChannels => {
                Self::new(StatusCode::CONFLICT, "no-home", "The citizen cannot be asked")
                    .detail(error)
            }
            ConsentAskError::OtherRequest => {
                Self::new(StatusCode::CONFLICT, "id-reused", "This id names another request")
            }
            ConsentAskError::Malformed(_) | ConsentAskError::NotOurs => Self::malformed(error),
        }
    }
}

impl From<AskError> for Problem {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Fault(fault) => fault.into(),
            AskError::Unreachable { id, reason } => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unreachable",
                "The source did not answer",
            )
            .detail(format!("{reason}; ask again with the same id"))
            .about(id),
            AskError::BadPresentation { id, reason } => Self::new(
                StatusCode::BAD_GATEWAY,
                "bad-presentation",
                "The source's presentation does not hold",
            )
            .detail(reason)
            .about(id),
            AskError::OtherRequest => {
                Self::new(StatusCode::CONFLICT, "id-reused", "This id names another request")
            }
            AskError::Waits { id } => Self::new(
                StatusCode::CONFLICT,
                "prepared",
                "The request waits for the citizen's present-consent",
            )
            .detail("hand it in under /v1/requests/{id}/present-consent")
            .about(id),
            AskError::NotPrepared => Self::new(
                StatusCode::CONFLICT,
                "not-prepared",
                "No request with this id waits for this present-consent",
            ),
            AskError::Malformed(_) | AskError::NotOurs => Self::malformed(error),
        }
    }
}
