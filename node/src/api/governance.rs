//! What municipalities decide, as this node's operator sees and hands it in: the trust file in force, and who
//! is to be struck off.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use trust::{Freshness, timestamping::Pending};
use wire::{Timestamp, membership::Denied};

use super::{Body, Problem, provider::Provider};
use crate::{
    timestamper::{NoTimestamp, NotDenied},
    trust_keeper::{self, Adopted, NotAdopted},
};

pub fn routes() -> Router<Provider> {
    let whole = DefaultBodyLimit::max(wire::limits::TRUST_FILE);
    Router::new()
        .route("/v1/trust", post(adopt).layer(whole))
        .route("/v1/trust", get(in_force))
        .route("/v1/denials", post(deny))
}

/// What a node goes by from now on.
#[derive(Debug, Serialize)]
struct Taken {
    root: u64,
    list: u64,
    timestamp: u64,
    /// Whether it was not known before.
    news: bool,
    /// How many connections it closed.
    closed: usize,
}

/// `POST /v1/trust`, a trust file (CBOR); to a node with a timestamp key also one whose timestamp is
/// missing. In force when this answers; other nodes are told.
async fn adopt(State(provider): State<Provider>, body: Body) -> Result<Json<Taken>, Problem> {
    let file = trust_keeper::read_file(&body.0).map_err(Problem::malformed)?;
    match provider.trust.hand_in(file).await {
        Ok(Adopted { versions, news, closed }) => {
            let trust::Versions { root, list, timestamp } = versions;
            Ok(Json(Taken { root, list, timestamp, news, closed }))
        }
        Err(NotAdopted::Trust(error)) => {
            Err(Problem::new(StatusCode::CONFLICT, "trust-refused", "The trust file is not taken")
                .detail(error))
        }
        Err(NotAdopted::NoTimestamp(NoTimestamp::Fault(fault)) | NotAdopted::Fault(fault)) => {
            Err(fault.into())
        }
        Err(NotAdopted::NoTimestamp(error)) => Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no-timestamp",
            "The trust file has no timestamp yet",
        )
        .detail(error)),
    }
}

/// What this node goes by, and what its operator may have to decide.
#[derive(Debug, Serialize)]
struct InForce {
    root: u64,
    list: u64,
    timestamp: u64,
    freshness: &'static str,
    soft_expiry: Timestamp,
    hard_expiry: Timestamp,
    /// Struck off by people, and by nodes since then.
    denied: Vec<Denied>,
    denylist: Vec<Denied>,
    /// Whether this node signs timestamps.
    signs: bool,
    denials: Vec<Wanted>,
}

/// Who is wanted struck off.
#[derive(Debug, Serialize)]
struct Wanted {
    denied: Denied,
    signed: usize,
    needed: usize,
}

fn wanted(pending: Vec<Pending>) -> Vec<Wanted> {
    let wanted = |Pending { denied, signed, needed }| Wanted { denied, signed, needed };
    pending.into_iter().map(wanted).collect()
}

/// `GET /v1/trust`
async fn in_force(State(provider): State<Provider>) -> Json<InForce> {
    let trust = provider.context.trust();
    let trust::Versions { root, list, timestamp } = trust.versions();
    Json(InForce {
        root,
        list,
        timestamp,
        freshness: freshness(trust.freshness(provider.context.now().wall)),
        soft_expiry: trust.timestamp().soft_expiry,
        hard_expiry: trust.timestamp().hard_expiry,
        denied: trust.list().denied.clone(),
        denylist: trust.timestamp().denylist.clone(),
        signs: provider.trust.timestamper.holds_key(),
        denials: wanted(provider.trust.timestamper.pending().await),
    })
}

pub fn freshness(of: Freshness) -> &'static str {
    match of {
        Freshness::Fresh => "fresh",
        Freshness::SoftExpired => "soft-expired",
        Freshness::HardExpired => "hard-expired",
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DenialBody {
    /// Who wants it, as the organisation names its people.
    operator: String,
    /// `{"organisation": number}` or `{"certificate": SHA-256 of the DER}`
    denied: Denied,
}

/// `POST /v1/denials`: this node's operator wants somebody struck off until the next list. They are, as soon as
/// enough cities' operators want it.
async fn deny(State(provider): State<Provider>, body: Body) -> Result<Json<Vec<Wanted>>, Problem> {
    let DenialBody { operator, denied } =
        serde_json::from_slice(&body.0).map_err(Problem::malformed)?;
    match provider.trust.timestamper.deny(&operator.parse()?, denied).await {
        Ok(pending) => Ok(Json(wanted(pending))),
        Err(NotDenied::Fault(fault)) => Err(fault.into()),
        Err(error) => {
            Err(Problem::new(StatusCode::CONFLICT, "denial-refused", "The denial is not taken")
                .detail(error))
        }
    }
}
