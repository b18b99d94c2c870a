//! Errors of the http faces: problem+json (RFC 9457), with a stable `type` that programs may read
//! and a detail that people may. Never a word about a citizen.

use axum::{
    body::Bytes,
    extract::{FromRequest, Request, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use crate::{context::Fault, operator::BadOperator, witness::NotServing};

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// The request this is about, for a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<String>,
}

impl Problem {
    /// `kind` is a short stable name; the URI is made of it.
    pub fn new(status: StatusCode, kind: &str, title: &str) -> Self {
        Self {
            kind: format!("urn:mebuku:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            request: None,
        }
    }

    #[must_use]
    pub fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(detail.to_string());
        self
    }

    #[must_use]
    pub fn about(mut self, request: impl ToString) -> Self {
        self.request = Some(request.to_string());
        self
    }

    pub fn malformed(detail: impl ToString) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", "The request cannot be read").detail(detail)
    }

    pub fn refused(detail: impl ToString) -> Self {
        Self::new(StatusCode::FORBIDDEN, "refused", "This was not taken").detail(detail)
    }

    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing here").detail(what)
    }

    pub fn too_large(detail: impl ToString) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "The request is too large")
            .detail(detail)
    }

    pub async fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "This path takes another method")
    }

    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "api-key", "A valid API key is needed")
            .detail("send `Authorization: Bearer <API key>`")
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        if let Fault::NotServing(reason) = fault {
            return reason.into();
        }
        tracing::error!(%fault, "a call could not be carried out");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "The node cannot do this now")
            .detail(fault)
    }
}

impl From<BadOperator> for Problem {
    fn from(error: BadOperator) -> Self {
        Self::malformed(error)
    }
}

impl From<NotServing> for Problem {
    fn from(reason: NotServing) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not-serving", "This node does not serve now")
            .detail(reason)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response()
    }
}

/// A request's body; one that is too large or breaks off is told as a problem, like all else.
pub struct Body(pub Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        match Bytes::from_request(request, state).await {
            Ok(bytes) => Ok(Self(bytes)),
            Err(BytesRejection::FailedToBufferBody(rejection))
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE =>
            {
                Err(Problem::too_large("the body is larger than any that this path takes"))
            }
            Err(_) => Err(Problem::malformed("the body broke off")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_problem_json() {
        let problem = Problem::refused("the key has not begun");
        let json = serde_json::to_value(&problem).unwrap();
        assert_eq!(json["type"], "urn:mebuku:problem:refused");
        assert_eq!(json["status"], 403);
        assert_eq!(json["detail"], "the key has not begun");
        assert!(json.get("request").is_none());
        let response = problem.into_response();
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
    }
}
