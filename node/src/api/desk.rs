//! The officer's desk (`specs/11-provider-api.md`): who acts for a citizen, lost phones, moves. On the
//! local network, behind the API key, on a home.

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use identity::jpki::{BirthDate, Era};
use serde::{Deserialize, Serialize};
use wire::{
    Bytes, DecisionId, KeyHash, OrganisationId, ServiceId, ServiceName, Timestamp, cbor,
    citizen::{InForce, MoveReply, MoveSubmission},
    consent::{DocumentKind, ExpressedBy},
    ids::Pair,
};
use zeroize::Zeroizing;

use super::{
    Body, Problem,
    provider::{Provider, read_time},
};
use crate::{
    home::{
        Home,
        desk::{DeskError, DeskKey, Representation},
    },
    operator::Operator,
};

pub(super) fn routes() -> Router<Provider> {
    Router::new()
        .route("/v1/desk/challenge", post(challenge))
        .route("/v1/desk/key-begin", post(key_begin))
        .route("/v1/desk/key-end", post(key_end))
        .route("/v1/desk/keys", post(keys))
        .route("/v1/desk/move", post(certify_move))
        .merge(
            // A register, in hexadecimal.
            Router::new()
                .route("/v1/desk/hand-in", post(hand_in_move))
                .layer(DefaultBodyLimit::max(2 * wire::limits::MOVE_SUBMISSION + 1024)),
        )
}

fn home(provider: &Provider) -> Result<&Home, Problem> {
    provider.home.as_deref().ok_or_else(|| Problem::not_found("this node is no home"))
}

fn operator(name: &str) -> Result<Operator, Problem> {
    Ok(name.parse()?)
}

/// A day of the Gregorian calendar, `2026-04-01`.
fn read_day(what: &str, text: &str) -> Result<BirthDate, Problem> {
    let fault = || Problem::malformed(format!("`{what}` is no day like 2026-04-01"));
    let parts: Vec<&str> = text.split('-').collect();
    let &[year, month, day] = &parts[..] else { return Err(fault()) };
    let digits =
        |part: &str, length| part.len() == length && part.bytes().all(|c| c.is_ascii_digit());
    if !(digits(year, 4) && digits(month, 2) && digits(day, 2)) {
        return Err(fault());
    }
    match (year.parse(), month.parse(), day.parse()) {
        (Ok(year), Ok(month), Ok(day)) => {
            BirthDate::new(Era::Unknown, year, month, day).map_err(|_| fault())
        }
        _ => Err(fault()),
    }
}

/// A day, which begins when it does in Japan, or a moment.
fn read_until(text: &str) -> Result<Timestamp, Problem> {
    match read_day("until", text) {
        Ok(day) => Ok(day.turns(0)),
        Err(_) => read_time("until", text),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChallengeBody {
    operator: String,
}

#[derive(Debug, Serialize)]
struct ChallengeView {
    /// For `mebuku wallet enrol --challenge`: CBOR in hexadecimal.
    challenge: Bytes,
    expires: Timestamp,
}

async fn challenge(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<ChallengeView>, Problem> {
    let home = home(&provider)?;
    let body: ChallengeBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let challenge = home.challenge_at_desk(operator(&body.operator)?).await?;
    let expires = challenge.expires;
    Ok(Json(ChallengeView { challenge: Bytes(cbor::to_vec(&challenge)), expires }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyBeginBody {
    operator: String,
    /// As `mebuku wallet key export` writes it: CBOR in hexadecimal.
    service_chain: Bytes,
    basis: ExpressedBy,
    document: DocumentKind,
    /// What the document says, or its number.
    text: String,
    birth_date: Option<String>,
    until: Option<String>,
}

#[derive(Debug, Serialize)]
struct KeyBegunView {
    source: ServiceName,
    subject: ServiceId,
    key: KeyHash,
    until: Timestamp,
    seq: Option<u64>,
    status: InForce,
}

async fn key_begin(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<KeyBegunView>, Problem> {
    let home = home(&provider)?;
    let body: KeyBeginBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let born = body.birth_date.as_deref().map(|text| read_day("birth_date", text)).transpose()?;
    let case = Representation {
        chain: cbor::from_slice(&body.service_chain).map_err(Problem::malformed)?,
        basis: body.basis,
        document: body.document,
        text: Zeroizing::new(body.text),
        birth_date: born,
        until: body.until.as_deref().map(read_until).transpose()?,
    };
    let begun = home.begin_for_another(operator(&body.operator)?, case).await?;
    Ok(Json(KeyBegunView {
        source: begun.pair.source,
        subject: begun.pair.subject,
        key: begun.key,
        until: begun.until,
        seq: begun.reply.seq,
        status: begun.reply.status,
    }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyEndBody {
    operator: String,
    source: ServiceName,
    subject: ServiceId,
    key: KeyHash,
    /// The key's permits that go on; none for a lost phone.
    #[serde(default)]
    keeps: Vec<DecisionId>,
}

#[derive(Debug, Serialize)]
struct KeyEndedView {
    seq: Option<u64>,
    status: InForce,
}

async fn key_end(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<KeyEndedView>, Problem> {
    let home = home(&provider)?;
    let body: KeyEndBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let pair = Pair { source: body.source, subject: body.subject };
    let operator = operator(&body.operator)?;
    let reply = home.end_for_another(operator, pair, body.key, body.keeps).await?;
    Ok(Json(KeyEndedView { seq: reply.seq, status: reply.status }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysBody {
    operator: String,
    source: ServiceName,
    subject: ServiceId,
}

async fn keys(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<Vec<DeskKey>>, Problem> {
    let home = home(&provider)?;
    let body: KeysBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let pair = Pair { source: body.source, subject: body.subject };
    Ok(Json(home.keys_for_desk(operator(&body.operator)?, pair).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    operator: String,
    source: ServiceName,
    subject: ServiceId,
    from: OrganisationId,
    to: OrganisationId,
    /// One more than the pair's moves so far; the home that it leaves knows.
    epoch: Option<u32>,
}

async fn certify_move(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Response, Problem> {
    let home = home(&provider)?;
    let body: MoveBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let pair = Pair { source: body.source, subject: body.subject };
    let (operator, homes) = (operator(&body.operator)?, (body.from, body.to));
    let certified = home.certify_move(operator, pair, homes, body.epoch).await?;
    // As a wallet hands it in; what the home that is left holds is still to come.
    let submission = MoveSubmission { moving: certified, history: vec![] };
    let json = serde_json::json!({ "move": Bytes(cbor::to_vec(&submission)) });
    Ok(Json(json).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HandInBody {
    operator: String,
    /// `MoveSubmission`: CBOR in hexadecimal.
    #[serde(rename = "move")]
    submission: Bytes,
}

#[derive(Debug, Serialize)]
struct HandedInView {
    seq: u64,
    status: InForce,
    /// The home before, if this one has to wait for it to let go.
    waits_for: Option<OrganisationId>,
    /// At the home that is left: for the new one, with all that the channels hold of the pair.
    #[serde(rename = "move")]
    submission: Option<Bytes>,
}

async fn hand_in_move(
    State(provider): State<Provider>,
    Body(body): Body,
) -> Result<Json<HandedInView>, Problem> {
    let home = home(&provider)?;
    let body: HandInBody = serde_json::from_slice(&body).map_err(Problem::malformed)?;
    let submission =
        cbor::from_slice_limited(&body.submission, "move", wire::limits::MOVE_SUBMISSION);
    let submission = submission.map_err(Problem::malformed)?;
    let (reply, onward) = home.hand_in_certified(operator(&body.operator)?, submission).await?;
    let MoveReply { seq, status, waits_for } = reply;
    let submission = onward.map(|onward| Bytes(cbor::to_vec(&onward)));
    Ok(Json(HandedInView { seq, status, waits_for, submission }))
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Self {
        match error {
            DeskError::Fault(fault) => fault.into(),
            DeskError::Submission(error) => error.into(),
            DeskError::Enrolment(error) => error.into(),
            DeskError::Document => Self::malformed(error),
            DeskError::EpochNeeded => {
                Self::new(StatusCode::CONFLICT, "epoch", "How often has the citizen moved?")
                    .detail(error)
            }
            _ => Self::refused(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_in_japan_and_a_moment_is_a_moment() {
        for (text, at) in [
            ("2027-11-01", Some(1_824_994_800_000)),
            ("2027-10-31T15:00:00Z", Some(1_824_994_800_000)),
            ("1824994800000", Some(1_824_994_800_000)),
            ("2027-02-29", None),
            ("2027-2-01", None),
            ("+027-02-01", None),
            ("next year", None),
        ] {
            assert_eq!(read_until(text).ok(), at.map(Timestamp), "{text}");
        }
    }
}
