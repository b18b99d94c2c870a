//! The provider API (`specs/11-provider-api.md`): what the organisation's own systems call on the
//! local network, with an API key. Metrics and health stand beside it, without a key.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Path, Query, Request, State, rejection::QueryRejection},
    http::{StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};
use wire::{Hash, ItemType, Nonce, OrganisationId, Purpose, ServiceId, ServiceName, limits};

use super::{Body, Problem};
use crate::{
    bundle,
    context::Context,
    metrics,
    recipient::{Ask, AskError, Outcome, Recipient},
    source::{Source, exchange::rejection_code, records},
    witness::NotServing,
};

/// What the provider API speaks for.
#[derive(Clone)]
pub struct Provider {
    pub context: Arc<Context>,
    pub source: Option<Arc<Source>>,
    pub recipient: Option<Arc<Recipient>>,
    /// SHA-256 of the API keys that are let in.
    pub api_keys: Arc<Vec<Hash>>,
}

pub fn router(provider: Provider) -> Router {
    let guarded = Router::new()
        .route("/v1/requests", post(request))
        .route("/v1/requests/{id}", get(request_outcome))
        .route("/v1/requests/{id}/bundle", get(evidence_bundle))
        .route("/v1/records/{organisation}/{service}/{subject}/{item}", put(put_record))
        .route("/v1/releases", get(releases))
        .route("/v1/leases", get(leases))
        .route("/v1/log", get(log))
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
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    // Hashes are compared, so that timing tells nothing of the keys themselves.
    let known = given.is_some_and(|key| provider.api_keys.contains(&wire::sha256(key.as_bytes())));
    if known { Ok(next.run(request).await) } else { Err(Problem::unauthorized()) }
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
}

/// A presentation, as the recipient's system gets it.
#[derive(Debug, Serialize)]
struct Presented {
    id: Nonce,
    outcome: &'static str,
    /// Item type to the record's JSON.
    items: serde_json::Map<String, serde_json::Value>,
    /// The SD-JWT VC itself.
    presentation: String,
}

async fn request(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<Presented>, Problem> {
    provider.context.serving()?;
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
    let (id, outcome) = recipient.ask(ask).await?;
    presented(id, outcome)
}

async fn request_outcome(
    State(provider): State<Provider>,
    Path(id): Path<String>,
) -> Result<Json<Presented>, Problem> {
    let id = id.parse().map_err(Problem::malformed)?;
    let outcome = recipient(&provider)?
        .outcome(&id)?
        .ok_or_else(|| Problem::not_found("no request with this id"))?;
    presented(id, outcome)
}

fn presented(id: Nonce, outcome: Outcome) -> Result<Json<Presented>, Problem> {
    match outcome {
        Outcome::Presented { items, presentation } => {
            Ok(Json(Presented { id, outcome: "presented", items, presentation }))
        }
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

async fn put_record(
    State(provider): State<Provider>,
    Path((organisation, service, subject, item)): Path<(String, String, String, String)>,
    Body(body): Body,
) -> Result<StatusCode, Problem> {
    provider.context.serving()?;
    source(&provider)?;
    let service = format!("{organisation}/{service}").parse().map_err(Problem::malformed)?;
    let subject = subject.parse().map_err(Problem::malformed)?;
    let item = item.parse().map_err(Problem::malformed)?;
    records::put(&provider.context, service, subject, item, body.to_vec()).await?;
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
    let freshness = match trust.freshness(context.now().wall) {
        trust::Freshness::Fresh => "fresh",
        trust::Freshness::SoftExpired => "soft-expired",
        trust::Freshness::HardExpired => "hard-expired",
    };
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
            AskError::Malformed(_) | AskError::NotOurs => Self::malformed(error),
        }
    }
}
