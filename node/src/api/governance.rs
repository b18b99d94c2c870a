//! Where an operator hands in what the municipalities decided: a trust file.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    routing::post,
};
use serde::Serialize;

use super::{Body, Problem, provider::Provider};
use crate::trust_keeper::{self, Adopted, NotAdopted};

pub fn routes() -> Router<Provider> {
    let whole = DefaultBodyLimit::max(wire::limits::TRUST_FILE);
    Router::new().route("/v1/trust", post(adopt).layer(whole))
}

/// What a node goes by from now on.
#[derive(Debug, Serialize)]
struct InForce {
    root: u64,
    list: u64,
    timestamp: u64,
    /// Whether it was not known before.
    news: bool,
    /// How many connections it closed.
    closed: usize,
}

/// `POST /v1/trust`, a trust file (CBOR). In force when this answers; other nodes are told.
async fn adopt(State(provider): State<Provider>, body: Body) -> Result<Json<InForce>, Problem> {
    let file = trust_keeper::read_file(&body.0).map_err(Problem::malformed)?;
    match provider.trust.adopt(file).await {
        Ok(Adopted { versions, news, closed }) => {
            let trust::Versions { root, list, timestamp } = versions;
            Ok(Json(InForce { root, list, timestamp, news, closed }))
        }
        Err(NotAdopted::Trust(error)) => {
            Err(Problem::new(StatusCode::CONFLICT, "trust-refused", "The trust file is not taken")
                .detail(error))
        }
        Err(NotAdopted::Fault(fault)) => Err(fault.into()),
    }
}
