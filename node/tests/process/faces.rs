//! What the http faces say to what they cannot read, and to whom they do not know.

use node::provider_client::Question;
use serde_json::json;
use testnet::roster;
use wire::ServiceId;

use crate::{
    http::{Reply, call},
    world::{ALLERGY, ITEM, Turn, question, run},
};

/// A call to hospital A's provider API, as its own systems make it.
async fn provider(turn: &Turn, method: &str, path: &str, body: &[u8]) -> Reply {
    let node = turn.node("hospital-a");
    let bearer = format!("Bearer {}", node.api_key);
    call(&node.provider_url(), method, path, &[("authorization", &bearer)], body).await
}

async fn public(turn: &Turn, key: &str, path: &str, body: &[u8]) -> Reply {
    call(&turn.node(key).public_url(), "POST", path, &[], body).await
}

#[test]
fn what_cannot_be_read_is_told_as_a_problem() {
    run(async |mut turn| {
        turn.start(&["maebashi", "lunch", "hospital-a"]).await;
        the_provider_api(&turn).await;
        the_public_face(&turn).await;
        let mut hanako = turn.citizen("hanako", "lunch", "hospital-a").await;
        turn.permit(&mut hanako, "lunch", "hospital-a").await;
        questions(&turn, &question(&hanako, "lunch", "hospital-a")).await;
        // All of it counts as nothing: the nodes serve on.
        for key in ["maebashi", "lunch", "hospital-a"] {
            let health = turn.provider(key).get("/health").await.expect("health");
            assert_eq!(health.json().expect("json")["status"], "ok", "{key}");
            let log = std::fs::read_to_string(turn.node(key).directory.join("node.log"));
            assert!(!log.expect("a log").contains("panicked"), "{key}");
        }
    });
}

async fn the_provider_api(turn: &Turn) {
    let requests = "/v1/requests";
    for (body, words) in [
        (&b""[..], "EOF"),
        (b"{\"source\":", "EOF"),
        (b"\xff\xfe", "expected value"),
        (b"{\"sauce\":1}", "unknown field `sauce`"),
        (b"{\"source\":\"nobody/lunch\"}", "not "),
    ] {
        let reply = provider(turn, "POST", requests, body).await;
        reply.is_problem(400, "malformed", words);
    }
    let huge = vec![b' '; 300 * 1024];
    let reply = provider(turn, "POST", requests, &huge).await;
    reply.is_problem(413, "too-large", "larger");
    provider(turn, "GET", "/v2/requests", b"").await.is_problem(404, "not-found", "path");
    provider(turn, "DELETE", requests, b"").await.is_problem(405, "wrong-method", "");
    provider(turn, "GET", "/v1/requests/xyz", b"").await.is_problem(400, "malformed", "not ");
    let unknown = format!("/v1/requests/{}", "00".repeat(16));
    provider(turn, "GET", &unknown, b"").await.is_problem(404, "not-found", "request");
    let page = provider(turn, "GET", "/v1/releases?after=xyz", b"").await;
    page.is_problem(400, "malformed", "after");

    let base = turn.node("hospital-a").provider_url();
    let wrong = format!("Bearer {}", turn.node("lunch").api_key);
    for headers in [&[][..], &[("authorization", wrong.as_str())], &[("authorization", "Bearer ")]]
    {
        for (method, path) in [("POST", requests), ("GET", "/v1/releases"), ("GET", "/v1/leases")] {
            let reply = call(&base, method, path, headers, b"{}").await;
            reply.is_problem(401, "api-key", "Bearer");
        }
    }

    let service = roster::service("hospital-a");
    let subject = ServiceId([3; 32]);
    let record = |service: &str, item: &str| format!("/v1/records/{service}/{subject}/{item}");
    let other = record(&roster::service("lunch").to_string(), ITEM);
    let reply = provider(turn, "PUT", &other, ALLERGY.as_bytes()).await;
    reply.is_problem(404, "not-found", "service");
    let unknown = record(&service.to_string(), "health.unheard-of");
    let reply = provider(turn, "PUT", &unknown, ALLERGY.as_bytes()).await;
    reply.is_problem(400, "malformed", "health.unheard-of");
    let own = record(&service.to_string(), ITEM);
    provider(turn, "PUT", &own, b"wheat").await.is_problem(400, "malformed", "not JSON");
    let large = format!("\"{}\"", "x".repeat(wire::limits::RECORD));
    provider(turn, "PUT", &own, large.as_bytes()).await.is_problem(413, "too-large", "262144");
}

async fn the_public_face(turn: &Turn) {
    let paths = [
        "enrol",
        "service-key",
        "link",
        "decision",
        "key",
        "register",
        "history",
        "effect",
        "requests",
        "answer",
        "id-keys",
        "id-end",
    ];
    for path in paths.map(|path| format!("/wallet/{path}")) {
        for body in [&b""[..], b"{}", b"\xa1\x00", &[0x9f; 64], &[0x81; 4096]] {
            public(turn, "maebashi", &path, body).await.is_problem(400, "malformed", "");
        }
    }
    for path in ["deny", "record"].map(|path| format!("/wallet/{path}")) {
        public(turn, "lunch", &path, b"\x01").await.is_problem(400, "malformed", "");
    }
    let huge = vec![0; 512 * 1024];
    let reply = public(turn, "maebashi", "/wallet/decision", &huge).await;
    reply.is_problem(413, "too-large", "larger");
    public(turn, "maebashi", "/wallet/money", b"").await.is_problem(404, "not-found", "path");
    public(turn, "lunch", "/wallet/decision", b"").await.is_problem(404, "not-found", "path");
    public(turn, "maebashi", "/wallet/deny", b"").await.is_problem(400, "malformed", "");
    public(turn, "maebashi", "/wallet/record", b"").await.is_problem(404, "not-found", "path");
    public(turn, "maebashi", "/trust", b"").await.is_problem(405, "wrong-method", "");
}

fn body(question: &Question) -> serde_json::Value {
    json!({
        "id": question.id,
        "source": question.source,
        "recipient": question.recipient,
        "subject": question.subject,
        "items": question.items,
        "purpose": question.purpose,
        "whole": question.whole,
    })
}

/// Everything but which request it was.
fn without_request(reply: &Reply) -> (u16, String, serde_json::Value) {
    let mut json = reply.json();
    json.as_object_mut().expect("an object").remove("request").expect("the request's id");
    (reply.status, reply.content_type.clone(), json)
}

async fn questions(turn: &Turn, permitted: &Question) {
    let ask = async |change: &dyn Fn(&mut serde_json::Value)| {
        let mut body = body(permitted);
        body["id"] = json!(testnet::citizen::nonce());
        change(&mut body);
        provider(turn, "POST", "/v1/requests", body.to_string().as_bytes()).await
    };
    let first = ask(&|body| body["id"] = json!(permitted.id)).await;
    assert_eq!(first.status, 200, "{}", first.text());
    let reused = ask(&|body| {
        body["id"] = json!(permitted.id);
        body["purpose"] = json!("research");
    })
    .await;
    reused.is_problem(409, "id-reused", "");

    let lunch = &permitted.source;
    let other_service = format!("{}/dinner", lunch.organisation());
    let reply = ask(&|body| body["source"] = json!(other_service)).await;
    reply.is_problem(502, "rejected", "unknown-service");
    let stranger = wire::OrganisationId::from_base("990000000099").expect("a number");
    let reply = ask(&|body| body["source"] = json!(format!("{stranger}/lunch"))).await;
    reply.is_problem(503, "unreachable", "no municipal node knows this organisation");
    let reply = ask(&|body| body["recipient"] = json!(lunch)).await;
    reply.is_problem(400, "malformed", "not a service of this node");
    ask(&|body| body["items"] = json!([])).await.is_problem(400, "malformed", "item");
    ask(&|body| body["items"] = json!(["Health!"])).await.is_problem(400, "malformed", "not ");

    // Nobody learns from a refusal whether the citizen is known.
    let refused = ask(&|body| body["purpose"] = json!("research")).await;
    refused.is_problem(403, "not-permitted", "");
    for unknown in [
        ask(&|body| body["subject"] = json!(ServiceId([9; 32]))).await,
        ask(&|body| body["items"] = json!(["health.unheard-of"])).await,
    ] {
        assert_eq!(without_request(&unknown), without_request(&refused));
    }
}
