use std::net::SocketAddr;

use axum::{
    Router,
    http::HeaderMap,
    response::IntoResponse,
    routing::{get, post},
};
use testnet::web::WebAuthority;
use wire::{Nonce, Timestamp, citizen::DecisionReply};

use super::*;
use crate::tls::{self, TlsFiles};

async fn serve(router: Router) -> (WalletClient, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (WalletClient::new(&format!("http://{address}/")).unwrap(), address)
}

fn attested() -> Attested {
    Attested { object: cbor::Bytes(vec![1, 2, 3]), chain: vec![cbor::Bytes(vec![4])] }
}

fn denied() -> DecisionReply {
    let decision = wire::DecisionId([8; 32]);
    let status = InForce::Acknowledged(Timestamp(9));
    DecisionReply { decision, seq: None, status, effect: Some(attested()) }
}

#[tokio::test]
async fn bodies_are_deterministic_cbor_both_ways() {
    let reply = DecisionReply {
        decision: wire::DecisionId([7; 32]),
        seq: Some(3),
        status: InForce::Acknowledged(Timestamp(9)),
        effect: None,
    };
    let answer = cbor::to_vec(&reply);
    let router = Router::new().route(
        "/wallet/decision",
        post(move |headers: HeaderMap, body: Bytes| async move {
            assert_eq!(headers[header::CONTENT_TYPE], CBOR);
            assert_eq!(body[..], cbor::to_vec(&attested())[..]);
            answer
        }),
    );
    let (client, _) = serve(router).await;
    assert_eq!(client.decide(&attested()).await.unwrap(), reply);
}

#[tokio::test]
async fn get_and_empty_post_work() {
    let challenge = Challenge {
        registrar: "9000020102016".parse().unwrap(),
        nonce: Nonce([3; 16]),
        expires: Timestamp(5),
    };
    let identity = NodeIdentity { chain: vec![], descriptor: cbor::Bytes(vec![9]) };
    let (a, b) = (cbor::to_vec(&challenge), cbor::to_vec(&identity));
    let router = Router::new()
        .route(
            "/wallet/challenge",
            post(move |body: Bytes| async move {
                assert!(body.is_empty());
                a
            }),
        )
        .route("/identity", get(move || async move { b }))
        .route("/wallet/deny", post(|| async { cbor::to_vec(&denied()) }))
        .route("/wallet/answer", post(|| async { "" }));
    let (client, _) = serve(router).await;
    assert_eq!(client.challenge().await.unwrap(), challenge);
    assert_eq!(client.identity().await.unwrap(), identity);
    assert_eq!(client.deny(&attested()).await.unwrap(), denied());
    client.answer(&attested()).await.unwrap();
}

#[tokio::test]
async fn a_problem_keeps_its_title_and_detail_and_loses_control_characters() {
    let problem = |content_type: &'static str| {
        post(move || async move {
            let body =
                r#"{"type":"about:blank","status":403,"title":"No\u001b[2J","detail":"key ended"}"#;
            (StatusCode::FORBIDDEN, [(header::CONTENT_TYPE, content_type)], body).into_response()
        })
    };
    let router = Router::new()
        .route("/wallet/decision", problem("application/problem+json; charset=utf-8"))
        .route("/wallet/link", problem("application/json"));
    let (client, _) = serve(router).await;
    match client.decide(&attested()).await.unwrap_err() {
        ClientError::Problem(problem) => {
            assert_eq!((problem.status, &problem.title[..]), (403, "No[2J"));
            assert_eq!(problem.to_string(), "No[2J: key ended (status 403)");
        }
        other => panic!("{other}"),
    }
    let other = client.link(&attested()).await.unwrap_err();
    assert!(matches!(other, ClientError::Status(StatusCode::FORBIDDEN)), "{other}");
}

#[tokio::test]
async fn odd_answers_are_told_apart() {
    let router = Router::new()
        .route("/wallet/link", post(|| async { vec![0u8; SMALL + 1] }))
        .route("/wallet/decision", post(|| async { vec![0xffu8] }))
        .route("/wallet/deny", post(|| async { vec![0u8] }))
        .route(
            "/wallet/key",
            post(|| async {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }),
        );
    let (client, address) = serve(router).await;
    let error = client.link(&attested()).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLong(SMALL)), "{error}");
    let error = client.decide(&attested()).await.unwrap_err();
    assert!(matches!(error, ClientError::Answer(CborError::Malformed)), "{error}");
    let error = client.deny(&attested()).await.unwrap_err();
    assert!(matches!(error, ClientError::Answer(_)), "{error}");
    let hasty = client.clone().with_timeout(Duration::from_millis(50));
    let error = hasty.key(&attested()).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout(_)), "{error}");
    let error = client.register(&attested()).await.unwrap_err();
    assert!(matches!(error, ClientError::Status(StatusCode::NOT_FOUND)), "{error}");

    // A port that was just free: nobody listens there.
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let free = nobody.local_addr().unwrap();
    drop(nobody);
    assert_ne!(free, address);
    let error = WalletClient::new(&format!("http://{free}")).unwrap().trust().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
}

#[tokio::test]
async fn a_server_is_believed_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = WebAuthority::found(folder.path()).unwrap();
    let (certificate, key) = authority.certify("localhost", folder.path()).unwrap();
    let files = TlsFiles { certificate, key };
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/wallet/answer", post(|| async { "" }));
    tokio::spawn(tls::serve(listener, files.clone(), files.open().unwrap(), router));

    let roots = TlsRoots::File(authority.file.clone());
    let client = |host: &str, roots| {
        WalletClient::trusting(&format!("https://{host}:{port}"), roots).unwrap()
    };
    client("localhost", &roots).answer(&attested()).await.unwrap();
    let stranger = tempfile::tempdir().unwrap();
    let others = TlsRoots::File(WebAuthority::found(stranger.path()).unwrap().file);
    for (host, roots, why) in [
        ("127.0.0.1", &roots, "certificate not valid for name"),
        ("localhost", &others, "BadSignature"),
    ] {
        let error = client(host, roots).answer(&attested()).await.unwrap_err();
        assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
        assert!(error.to_string().contains(why), "{host}: {error}");
    }
    // Nothing in the clear on this port.
    let plain = WalletClient::new(&format!("http://localhost:{port}")).unwrap();
    assert!(plain.answer(&attested()).await.is_err());
}

#[test]
fn plain_http_stays_on_this_machine() {
    for url in [
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://localhost:1/",
        "http://[::1]:8080/base",
    ] {
        WalletClient::new(url).unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    for url in [
        "http://example.org",
        "http://10.0.0.1:8080",
        "http://127.0.0.1.example.org/",
        "http://localhost.example.org",
        "http://[::2]:80",
    ] {
        let error = WalletClient::new(url).unwrap_err();
        assert!(matches!(error, ClientError::TlsNeeded(_)), "{url}: {error}");
        assert!(error.to_string().contains("TLS"));
    }
    for url in [
        "",
        "127.0.0.1:80",
        "/path",
        "ftp://127.0.0.1",
        "http://a@127.0.0.1/",
        "http://127.0.0.1/?a",
    ] {
        let error = WalletClient::new(url).unwrap_err();
        assert!(matches!(error, ClientError::BadUrl(_)), "{url}: {error}");
    }
}
