//! At the counter: the home is gone, its lease has lapsed, and the citizen signs a permit for the one
//! request that the recipient shows.

use std::{collections::BTreeSet, sync::Arc};

use node::{
    certificates,
    config::Config,
    keys::{FileKeyStore, KeyName, KeyStore, Passphrase},
    wallet_client::WalletClient,
};
use serde_json::json;
use testnet::{
    citizen::{Citizen, nonce, now},
    founding::LEASE_MS,
    roster,
};
use wallet::NoticeText;
use wire::{
    Bytes, DecisionId, Signed, Signer, Timestamp, cbor,
    citizen::{CertificateStatus, Standing},
    consent::{Attested, Decision, Reopen},
    exchange::{PresentConsent, Request},
};

use crate::{
    http::{Reply, call},
    world::{ITEM, PATIENCE_MS, Turn, every_bit_counts, question, run, until},
};

const SOURCE: &str = "clinic";
const RECIPIENT: &str = "hospital-b";

async fn recipient(turn: &Turn, path: &str, body: &serde_json::Value) -> Reply {
    let node = turn.node(RECIPIENT);
    let bearer = format!("Bearer {}", node.api_key);
    let body = body.to_string();
    let headers = [("authorization", bearer.as_str())];
    call(&node.provider_url(), "POST", path, &headers, body.as_bytes()).await
}

/// The recipient prepares a request for the citizen at its counter.
async fn prepare(turn: &Turn, citizen: &Citizen) -> Request {
    let recipient_service = roster::service(RECIPIENT);
    let body = json!({
        "source": roster::service(SOURCE),
        "subject": citizen.pair(&recipient_service).expect("a pair").subject,
        "recipient": recipient_service,
        "items": [ITEM],
        "purpose": "treatment",
        "whole": true,
        "present": true,
    });
    let reply = recipient(turn, "/v1/requests", &body).await;
    assert_eq!((reply.status, &reply.json()["outcome"]), (200, &json!("prepared")));
    let bytes: Bytes = serde_json::from_value(reply.json()["request"].clone()).expect("hex");
    let request: Request = cbor::from_slice(&bytes).expect("a request");
    assert_eq!(reply.json()["consent_hash"], json!(request.consent_hash()));
    request
}

fn sign(
    citizen: &mut Citizen,
    request: &Request,
    reopens: &[DecisionId],
    status: &Attested,
) -> PresentConsent {
    let source = roster::service(SOURCE);
    let notice =
        NoticeText {
            text: "この照会に限り、一回".into(), language: "ja".into(), version: 1
        };
    let reopens: BTreeSet<_> = reopens.iter().copied().map(Reopen::Deny).collect();
    let draft = citizen.wallet.present_draft(request, reopens, notice, now()).expect("a draft");
    let unsigned = citizen.wallet.permit(&draft, nonce(), now()).expect("a permit");
    let signed = unsigned.sign(citizen.signer(&source).expect("a key")).expect("signed");
    let permit = citizen.wallet.attest_with_service_key(&source, &signed).expect("attested");
    PresentConsent { permit, status: status.clone() }
}

async fn attach(turn: &Turn, request: &Request, present: &PresentConsent) -> Reply {
    let path = format!("/v1/requests/{}/present-consent", request.id);
    let body = json!({ "present_consent": Bytes(cbor::to_vec(present)) });
    recipient(turn, &path, &body).await
}

/// The city's organisation key in the hands of a test: it says what it is told to say.
struct Issuer {
    signer: Arc<dyn Signer>,
    chain: Vec<Bytes>,
}

impl Issuer {
    fn of(turn: &Turn, key: &str) -> Self {
        let config = Config::load(&turn.node(key).config()).expect("a configuration");
        let passphrase = Passphrase::load(config.passphrase_file.as_deref()).expect("a passphrase");
        let keys = FileKeyStore::open(config.keys_dir(), passphrase).expect("keys");
        let name = KeyName::Organisation;
        let chain = certificates::read(&config.data_dir, &name).expect("a chain");
        Self { signer: keys.p256(&name).expect("the key"), chain }
    }

    fn status(&self, turn: &Turn, status: CertificateStatus) -> Attested {
        let signed = Signed::new(status, &turn.network.id, &*self.signer).expect("signed");
        Attested { object: signed.bytes().to_vec().into(), chain: self.chain.clone() }
    }
}

fn reason(code: &str) -> String {
    format!("mebuku_refusals_total{{reason=\"{code}\"}}")
}

/// A request with this present-consent is refused, for this reason, and the recipient hears none.
async fn refused(turn: &Turn, request: &Request, present: &PresentConsent, code: &str) {
    let before = turn.metric(SOURCE, &reason(code)).await;
    let reply = attach(turn, request, present).await;
    reply.is_problem(403, "not-permitted", "");
    assert_eq!(turn.metric(SOURCE, &reason(code)).await, before + 1, "for {code}");
}

#[test]
fn at_the_counter_one_request_is_answered_without_a_lease() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let source = roster::service(SOURCE);
        let mut citizen = turn.citizen("hanako", SOURCE, RECIPIENT).await;
        turn.permit(&mut citizen, SOURCE, RECIPIENT).await;
        let certificate = citizen.wallet.certificate_hash(&source).expect("a certificate");
        let status = citizen.home.certificate_status(&certificate).await.expect("a status");
        let trust = citizen.trust.clone();
        citizen.wallet.check_status(&source, &status, &trust, now()).expect("good");
        let unknown = citizen.home.certificate_status(&wire::Hash([7; 32])).await;
        crate::http::refused(unknown, 404, "no certificate of this CA");

        // Once with the home alive: recipient and source have found each other through it.
        let asked = question(&citizen, SOURCE, RECIPIENT);
        let answer = turn.ask(&asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let terms = &answer.json().expect("json")["terms"];
        let terms: Vec<_> = terms.as_object().expect("terms").values().collect();
        assert_eq!(
            (&terms[0]["retention_days"], &terms[0]["onward"]),
            (&json!(365), &json!("forbidden"))
        );

        turn.processes.kill("maebashi").expect("it ran");
        let killed = now();
        let before = turn.metric(SOURCE, &reason("no-lease")).await;
        until("the lease to lapse", async || {
            let asked = node::provider_client::Question { id: nonce(), ..asked.clone() };
            turn.ask(&asked).await.problem().as_deref() == Some("not-permitted")
        })
        .await;
        assert!(now() < killed.plus_ms(LEASE_MS + PATIENCE_MS));
        assert!(turn.metric(SOURCE, &reason("no-lease")).await > before);

        // The one request, once; asked again, the same bytes.
        let request = prepare(&turn, &citizen).await;
        let present = sign(&mut citizen, &request, &[], &status);
        let first = attach(&turn, &request, &present).await;
        assert_eq!(first.status, 200, "{}", first.text());
        assert_eq!(attach(&turn, &request, &present).await.body, first.body);
        // Its evidence needs no lease: it shows the permit, the status, and that no deny stood unnamed.
        let bundle = turn.bundle(SOURCE, &request.id).await;
        let verdict = exchange::bundle::verify(&bundle, &turn.network.id).expect("it verifies");
        let checks: Vec<_> = verdict.checks.iter().map(|check| check.name).collect();
        assert!(checks.contains(&"present-consent"), "{checks:?}");
        assert_eq!(verdict.release.lease, None);
        every_bit_counts(&bundle, &turn.network.id);
        // It is good for no other request: with another one it is refused.
        let other = prepare(&turn, &citizen).await;
        refused(&turn, &other, &present, "present-consent-for-other-request").await;
        // And the release stands in the source's log with the present-consent in its request.
        let releases = turn.provider(SOURCE).get("/v1/releases").await.expect("releases");
        let releases = releases.json().expect("json");
        let of = |request: &Request| {
            let id = request.id.to_string();
            releases.as_array().expect("a page").iter().filter(|r| r["id"] == id.as_str()).count()
        };
        assert_eq!((of(&request), of(&other)), (1, 0));

        // A status that is too old, or says revoked, or that another city signed.
        let city = Issuer::of(&turn, "maebashi");
        let said = |standing, time| CertificateStatus { certificate, standing, time };
        let old = Timestamp(now().0 - 601_000);
        for (issuer, status, code) in [
            (&city, said(Standing::Good, old), "certificate-status-stale"),
            (&city, said(Standing::Revoked, now()), "certificate-revoked"),
            (&Issuer::of(&turn, "omura"), said(Standing::Good, now()), "certificate-status"),
        ] {
            let request = prepare(&turn, &citizen).await;
            let present = sign(&mut citizen, &request, &[], &issuer.status(&turn, status));
            refused(&turn, &request, &present, code).await;
        }

        // A deny that the source holds, and no channel ever brought, has to be named.
        let deny = citizen.sign_deny(&source, &roster::service(RECIPIENT)).expect("a deny");
        let client = WalletClient::new(&turn.node(SOURCE).public_url()).expect("a client");
        client.deny(&deny).await.expect("in force");
        let deny = Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("a deny").id();
        let request = prepare(&turn, &citizen).await;
        let silent = sign(&mut citizen, &request, &[], &status);
        refused(&turn, &request, &silent, "denied").await;
        let request = prepare(&turn, &citizen).await;
        let naming = sign(&mut citizen, &request, &[deny.into()], &status);
        let answer = attach(&turn, &request, &naming).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    });
}
