//! What a wallet and its home say to each other.

use wire::{
    DecisionId, OrganisationId,
    citizen::{
        CertificateStatus, Challenge, DecisionReply, EnrolledIdKey, Enrolment, EnrolmentReply,
        IdEnd, IdKeys, IdQuery, InForce, LinkRequest, MoveReply, MoveSubmission, PairRegister,
        RecordSubmission, RegisterEntry, ServiceKeyProof, ServiceKeyReply, ServiceKeyRequest,
        Standing, WalletQuery,
    },
};

use super::{
    consent::{absence, entry, extract, map_proof, moving, statement},
    *,
};

fn y() -> Bytes {
    Bytes(vec![0xee; 32])
}

pub fn examples() -> Vec<Example> {
    [enrolment(), id_keys(), service_keys(), register(), moves()].into_iter().flatten().collect()
}

fn enrolment() -> Vec<Example> {
    let registrar: OrganisationId = "9000020102016".parse().unwrap();
    let challenge = Challenge { registrar, nonce: nonce(7), expires: NOON.plus_ms(300_000) };
    let enrolment = Enrolment {
        challenge: challenge.clone(),
        id_key: key(9).public_key(),
        card_certificate: chain()[0].clone(),
        card_signature: Bytes(vec![0x5a; 256]),
    };
    let bare = Enrolment {
        card_certificate: Bytes(vec![]),
        card_signature: Bytes(vec![]),
        ..enrolment.clone()
    };
    vec![
        plain("challenge", "full", &challenge),
        signed("signed-enrolment", "full", &enrolment),
        signed("signed-enrolment", "minimal", &bare),
        plain("enrolment", "full", &enrolment),
        plain("enrolment-reply", "full", &EnrolmentReply { chain: chain(), y: y() }),
        plain("enrolment-reply", "minimal", &EnrolmentReply { chain: vec![], y: y() }),
    ]
}

fn id_keys() -> Vec<Example> {
    let query = IdQuery { nonce: nonce(12), time: NOON };
    let lost = key(8).public_key().key_hash();
    let end = IdEnd { key: lost, nonce: nonce(13), time: NOON };
    let keys =
        |ended| IdKeys { keys: vec![EnrolledIdKey { key: lost, enrolled: Timestamp(0), ended }] };
    vec![
        signed("signed-id-query", "full", &query),
        signed("signed-id-query", "minimal", &IdQuery { time: Timestamp(0), ..query.clone() }),
        plain("id-query", "full", &query),
        signed("signed-id-end", "full", &end),
        signed("signed-id-end", "minimal", &IdEnd { time: Timestamp(0), ..end.clone() }),
        plain("id-end", "full", &end),
        plain("id-keys", "full", &keys(Some(NOON))),
        plain("id-keys", "standing", &keys(None)),
        plain("id-keys", "minimal", &IdKeys { keys: vec![] }),
    ]
}

fn service_keys() -> Vec<Example> {
    let proof = ServiceKeyProof { service: source(), id_key: key(9).public_key().key_hash() };
    let request = ServiceKeyRequest {
        service: source(),
        proof: bytes_of(&proof),
        key: key(1).public_key(),
        y: y(),
        nonce: nonce(8),
        time: NOON,
    };
    let reply = ServiceKeyReply { subject: subject(0xa1), chain: chain(), begun: true };
    let unbegun = ServiceKeyReply { chain: vec![], begun: false, ..reply.clone() };
    let link = LinkRequest {
        source: source(),
        recipient: recipient(),
        y: y(),
        nonce: nonce(9),
        time: NOON,
    };
    let early = |time| ServiceKeyRequest { time, ..request.clone() };
    let other = ServiceKeyProof { service: recipient(), ..proof.clone() };
    vec![
        signed("signed-service-key-proof", "full", &proof),
        signed("signed-service-key-proof", "minimal", &other),
        plain("service-key-proof", "full", &proof),
        signed("signed-service-key-request", "full", &request),
        signed("signed-service-key-request", "minimal", &early(Timestamp(0))),
        plain("service-key-request", "full", &request),
        plain("service-key-reply", "full", &reply),
        plain("service-key-reply", "minimal", &unbegun),
        signed("signed-link-request", "full", &link),
        signed(
            "signed-link-request",
            "minimal",
            &LinkRequest { time: Timestamp(0), ..link.clone() },
        ),
        plain("link-request", "full", &link),
    ]
}

fn register() -> Vec<Example> {
    let query = WalletQuery { pair: pair(), nonce: nonce(10), time: NOON };
    let with = |decision, status| PairRegister {
        brought: vec![extract()],
        entries: vec![RegisterEntry { entry: entry(), decision, status }],
        statement: attested(&statement()),
        map_proof: map_proof(),
    };
    let empty_register = PairRegister {
        brought: vec![],
        entries: vec![],
        map_proof: absence(),
        ..with(None, InForce::Accepted)
    };
    let id = DecisionId([3; 32]);
    let record = RecordSubmission {
        pair: pair(),
        item: "health.allergy".parse().unwrap(),
        content: Bytes(r#"{"食物":["そば"]}"#.into()),
        nonce: nonce(11),
        time: NOON,
    };
    let reply = |status| DecisionReply { decision: id, seq: Some(12), status, effect: None };
    let effect = Some(attested(&super::notice::effect()));
    let relayed = DecisionReply { seq: None, effect, ..reply(InForce::Acknowledged(NOON)) };
    let empty = RecordSubmission { content: Bytes(vec![]), ..record.clone() };
    vec![
        signed("signed-wallet-query", "full", &query),
        signed(
            "signed-wallet-query",
            "minimal",
            &WalletQuery { time: Timestamp(0), ..query.clone() },
        ),
        plain("wallet-query", "full", &query),
        plain("pair-register", "full", &with(Some(id), InForce::Acknowledged(NOON))),
        plain("pair-register", "of-a-key", &with(None, InForce::Accepted)),
        plain("pair-register", "minimal", &empty_register),
        plain("decision-reply", "accepted", &reply(InForce::Accepted)),
        plain("decision-reply", "durable", &reply(InForce::Durable)),
        plain("decision-reply", "acknowledged", &reply(InForce::Acknowledged(NOON))),
        plain("decision-reply", "relayed", &relayed),
        plain("decision-reply", "leases-lapsed", &reply(InForce::LeasesLapsed(NOON))),
        plain("decision-reply", "unreadable", &reply(InForce::Unreadable(NOON))),
        signed("signed-record-submission", "full", &record),
        signed("signed-record-submission", "minimal", &empty),
        plain("record-submission", "full", &record),
        signed("signed-certificate-status", "full", &status(Standing::Good)),
        signed("signed-certificate-status", "revoked", &status(Standing::Revoked)),
        plain("certificate-status", "full", &status(Standing::Good)),
        plain("certificate-status", "revoked", &status(Standing::Revoked)),
    ]
}

fn moves() -> Vec<Example> {
    let full = MoveSubmission { moving: attested(&moving()), history: vec![extract()] };
    let left = MoveSubmission { history: vec![], ..full.clone() };
    let begun = MoveReply { seq: 3, status: InForce::Acknowledged(NOON), waits_for: None };
    let waiting = MoveReply {
        status: InForce::Accepted,
        waits_for: Some("9000020102016".parse().unwrap()),
        ..begun.clone()
    };
    vec![
        plain("move-submission", "full", &full),
        plain("move-submission", "minimal", &left),
        plain("move-reply", "begun", &begun),
        plain("move-reply", "waiting", &waiting),
    ]
}

pub fn status(standing: Standing) -> CertificateStatus {
    CertificateStatus { certificate: Hash([0x17; 32]), standing, time: NOON }
}
