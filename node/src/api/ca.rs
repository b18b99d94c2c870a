//! The CA's side of a member: applications, and what its operators decide about them (`specs/15-authority.md`).

use axum::{
    Extension, Json, Router,
    extract::{DefaultBodyLimit, Path, State},
    http::StatusCode,
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use trust::{LeafKind, Request};
use wire::{Bytes, Hash, OrganisationId, ServiceName, Timestamp};

use super::{
    Body, Problem,
    provider::{Provider, UsedKey},
};
use crate::{
    ca::{Application, CaError, CertificationAuthority},
    cli::init::CertificationRequest,
};

pub(super) fn routes() -> Router<Provider> {
    let whole = DefaultBodyLimit::max(1024 * 1024);
    Router::new()
        .route("/v1/ca/applications", post(hand_in).layer(whole))
        .route("/v1/ca/applications", get(list))
        .route("/v1/ca/applications/{id}", get(one))
        .route("/v1/ca/applications/{id}/approve", post(approve))
}

fn ca(provider: &Provider) -> Result<&CertificationAuthority, Problem> {
    provider.ca.as_deref().ok_or_else(|| Problem::not_found("this node is no CA"))
}

/// An application as people decide about it.
#[derive(Debug, Serialize)]
struct Shown {
    id: Hash,
    organisation: Option<OrganisationId>,
    name: String,
    services: Vec<ServiceName>,
    /// SHA-256 of each key, the organisation's first: what the applicant reads out over another channel.
    keys: Vec<String>,
    handed_in: Timestamp,
    approved_by: Vec<String>,
    needed: usize,
    issued: bool,
    /// The chains, leaf first, once it is issued.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    chains: Vec<Vec<Bytes>>,
}

fn shown(id: Hash, application: Application, needed: usize) -> Shown {
    let requests: Vec<_> =
        application.requests.iter().filter_map(|der| Request::read(der).ok()).collect();
    let (organisation, name, services) = match requests.first().map(|request| &request.kind) {
        Some(LeafKind::Organisation { organisation, name, services }) => {
            (Some(organisation.clone()), name.clone(), services.clone())
        }
        _ => (None, String::new(), Vec::new()),
    };
    Shown {
        id,
        organisation,
        name,
        services,
        keys: requests.iter().map(|request| request.key.key_hash().to_string()).collect(),
        handed_in: application.handed_in,
        approved_by: application.approvals.into_iter().map(|by| by.operator).collect(),
        needed,
        issued: !application.chains.is_empty(),
        chains: application.chains,
    }
}

/// `POST /v1/ca/applications`: what `mebuku init` wrote at the applicant.
async fn hand_in(
    State(provider): State<Provider>,
    body: Body,
) -> Result<(StatusCode, Json<Shown>), Problem> {
    let ca = ca(&provider)?;
    let asked: CertificationRequest =
        serde_json::from_slice(&body.0).map_err(Problem::malformed)?;
    let requests = asked.keys.into_iter().filter_map(|key| key.request).collect();
    let id = ca.hand_in(requests).await?;
    Ok((StatusCode::ACCEPTED, Json(shown(id, ca.application(&id)?, ca.needed()))))
}

/// `GET /v1/ca/applications`
async fn list(State(provider): State<Provider>) -> Result<Json<Vec<Shown>>, Problem> {
    let ca = ca(&provider)?;
    let without_chains = |(id, application): (Hash, Application)| {
        let shown = shown(id, application, ca.needed());
        Shown { chains: Vec::new(), ..shown }
    };
    Ok(Json(ca.all()?.into_iter().map(without_chains).collect()))
}

/// `GET /v1/ca/applications/{id}`
async fn one(
    State(provider): State<Provider>,
    Path(id): Path<String>,
) -> Result<Json<Shown>, Problem> {
    let (ca, id) = (ca(&provider)?, read_id(&id)?);
    Ok(Json(shown(id, ca.application(&id)?, ca.needed())))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApproveBody {
    /// Who approves, as the organisation names its people.
    operator: String,
}

/// `POST /v1/ca/applications/{id}/approve`
async fn approve(
    State(provider): State<Provider>,
    Extension(UsedKey(key)): Extension<UsedKey>,
    Path(id): Path<String>,
    body: Body,
) -> Result<Json<Shown>, Problem> {
    let (ca, id) = (ca(&provider)?, read_id(&id)?);
    let ApproveBody { operator } = serde_json::from_slice(&body.0).map_err(Problem::malformed)?;
    let application = ca.approve(id, operator.parse()?, key).await?;
    Ok(Json(shown(id, application, ca.needed())))
}

fn read_id(text: &str) -> Result<Hash, Problem> {
    text.parse().map_err(|_| Problem::malformed("an application is named by 64 hexadecimal digits"))
}

impl From<CaError> for Problem {
    fn from(error: CaError) -> Self {
        match error {
            CaError::Fault(fault) => fault.into(),
            CaError::Store(error) => crate::context::Fault::from(error).into(),
            CaError::Request { .. } | CaError::Application => Self::malformed(error),
            CaError::Unknown => Self::not_found("there is no such application"),
            CaError::Again(_) => {
                Self::new(StatusCode::CONFLICT, "approval", "This operator has approved already")
                    .detail(error)
            }
            CaError::Retired(_) | CaError::TooMany | CaError::Issue(_) => {
                Self::new(StatusCode::CONFLICT, "ca-refused", "The CA does not take this")
                    .detail(error)
            }
        }
    }
}
