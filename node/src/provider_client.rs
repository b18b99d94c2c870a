//! A client of the provider API, as an organisation's own system would be: for the command line and
//! the testnet.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{Method, Request, StatusCode, header},
};
use http_body_util::{BodyExt, Full, Limited};
use serde_json::Value;
use wire::{ItemType, Nonce, Purpose, ServiceId, ServiceName, membership::Denied};

use crate::{
    http_client::{self, HttpClient},
    tls,
};

/// Largest answer, in bytes.
const ANSWER: usize = 64 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    #[error("the node could not be reached: {0}")]
    Unreachable(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the answer cannot be read")]
    Answer,
}

/// What the node said: its status and its body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Result<Value, ProviderError> {
        serde_json::from_slice(&self.body).map_err(|_| ProviderError::Answer)
    }

    /// The short name of the problem, if it is one.
    pub fn problem(&self) -> Option<String> {
        let json = self.json().ok()?;
        json["type"].as_str()?.strip_prefix("urn:mebuku:problem:").map(ToOwned::to_owned)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// One question to a source, as the provider API takes it.
#[derive(Debug, Clone)]
pub struct Question {
    pub id: Nonce,
    pub source: ServiceName,
    pub recipient: ServiceName,
    pub subject: ServiceId,
    pub items: Vec<ItemType>,
    pub purpose: Purpose,
    pub whole: bool,
}

#[derive(Clone)]
pub struct ProviderClient {
    base: String,
    api_key: String,
    http: HttpClient,
    timeout: Duration,
}

impl ProviderClient {
    /// `base` such as `http://127.0.0.1:8081`.
    pub fn new(base: impl Into<String>, api_key: impl Into<String>) -> Self {
        Self {
            base: base.into(),
            api_key: api_key.into(),
            http: http_client::client(tls::trusting_nobody()),
            timeout: Duration::from_secs(30),
        }
    }

    pub async fn ask(&self, question: &Question) -> Result<Answer, ProviderError> {
        let body = serde_json::json!({
            "id": question.id,
            "source": question.source,
            "recipient": question.recipient,
            "subject": question.subject,
            "items": question.items,
            "purpose": question.purpose,
            "whole": question.whole,
        });
        self.call(Method::POST, "/v1/requests", body.to_string()).await
    }

    pub async fn put_record(
        &self,
        service: &ServiceName,
        subject: &ServiceId,
        item: &ItemType,
        json: &str,
    ) -> Result<Answer, ProviderError> {
        let path = format!("/v1/records/{service}/{subject}/{item}");
        self.call(Method::PUT, &path, json.to_owned()).await
    }

    pub async fn get(&self, path: &str) -> Result<Answer, ProviderError> {
        self.call(Method::GET, path, String::new()).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer, ProviderError> {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// Hands in a trust file (CBOR).
    pub async fn hand_in_trust(&self, file: Vec<u8>) -> Result<Answer, ProviderError> {
        self.send(Method::POST, "/v1/trust", "application/cbor", file.into()).await
    }

    /// Wants somebody struck off.
    pub async fn deny(&self, operator: &str, denied: &Denied) -> Result<Answer, ProviderError> {
        let body = serde_json::json!({ "operator": operator, "denied": denied });
        self.call(Method::POST, "/v1/denials", body.to_string()).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<Answer, ProviderError> {
        self.send(method, path, "application/json", body.into()).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        kind: &str,
        body: Bytes,
    ) -> Result<Answer, ProviderError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.api_key))
            .header(header::CONTENT_TYPE, kind)
            .body(Full::new(body))
            .map_err(|error| ProviderError::Unreachable(error.to_string()))?;
        let exchange = async {
            let response = self.http.request(request).await;
            let response =
                response.map_err(|error| ProviderError::Unreachable(error.to_string()))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER).collect().await;
            let body = body.map_err(|error| ProviderError::Unreachable(error.to_string()))?;
            Ok(Answer { status, body: body.to_bytes() })
        };
        let timed = tokio::time::timeout(self.timeout, exchange).await;
        timed.unwrap_or(Err(ProviderError::Timeout(self.timeout)))
    }
}
