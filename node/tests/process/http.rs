//! Raw HTTP, so that a test can send what no client of ours would.

use std::time::Duration;

use node::wallet_client::ClientError;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: u16,
    pub content_type: String,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// It must be a problem of this status and kind whose detail has these words.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str, words: &str) {
        let json = self.json();
        let told = (self.status, self.content_type.as_str(), json["type"].as_str());
        let kind = format!("urn:mebuku:problem:{kind}");
        let wanted = (status, "application/problem+json", Some(kind.as_str()));
        assert_eq!(told, wanted, "{}", self.text());
        let detail = json["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "`{words}` is not in: {}", self.text());
    }
}

/// One call on a connection of its own. `base` such as `http://127.0.0.1:8080`.
pub async fn call(
    base: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let address = base.strip_prefix("http://").expect("plain http");
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    text.push_str(&format!("content-length: {}\r\n", body.len()));
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str("\r\n");
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(text.as_bytes()).await?;
        // A server may answer and close before it has read all; its answer is what counts.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.expect("an answer in time");
    parse(&answer.expect("an answer"))
}

fn parse(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let content_type =
        head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap_or_default();
    let content_type = content_type.to_owned();
    assert!(!head.contains("transfer-encoding"), "answers have a length");
    Reply { status, content_type, body: answer[end + 4..].to_vec() }
}

/// What a node said to a wallet that it refused.
#[track_caller]
pub fn refused<T: std::fmt::Debug>(result: Result<T, ClientError>, status: u16, words: &str) {
    match result {
        Err(ClientError::Problem(problem)) => {
            assert_eq!(problem.status, status, "{problem}");
            assert!(problem.detail.contains(words), "`{words}` is not in: {problem}");
        }
        other => panic!("expected a refusal with `{words}`, got {other:?}"),
    }
}
