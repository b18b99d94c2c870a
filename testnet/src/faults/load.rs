//! The load: every citizen's wallet permits and denies, recipients' systems ask. What they were told
//! and what they got is recorded as they see it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use anyhow::Context;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use node::{
    provider_client::{Answer, Question},
    wallet_client::ClientError,
};
use tokio::time::sleep;
use wallet::{DenyDraft, NoticeText, PermitDraft};
use wire::{
    DecisionId, Nonce, Signed,
    citizen::{DecisionReply, InForce},
    consent::{Attested, Decision, Items, Onward, PurposeScope, Recipient, Reopen, Uses},
};

use super::{
    dice::Dice,
    history::{Asked, Got, Handed, Item, Lane, Made, Place, Said, Verdict, Via},
    judge::lease_bound_ms,
    links::Link,
    world::{HOMES, LEASE_MS, Operation, Person, World, lock},
};
use crate::{citizen::nonce, roster::service};

const PURPOSE: &str = "treatment";
/// A recipient's system waits longer than its node does.
const SYSTEM_PATIENCE: Duration = Duration::from_secs(12);
/// How often the same decision is handed in before the wallet gives up.
const ATTEMPTS: usize = 60;
/// How often the same request is asked.
const ASKS: usize = 5;
/// How often the wallet asks whether a decision is in force before it gives up.
const POLLS: usize = 60;

/// One citizen's wallet, until the load stops.
pub async fn decide(world: Arc<World>, index: usize, mut dice: Dice) -> anyhow::Result<()> {
    let person = &world.people[index];
    let lanes: Vec<_> = person.lanes().collect();
    while !world.stopping() {
        let lane = *dice.pick(&lanes);
        let standing = standing(person, &lane);
        let deny = if standing.is_open { dice.percent(65) } else { dice.percent(15) };
        let (made, bytes) = if deny {
            let verdict = deny_of(&lane, &mut dice);
            sign(&world, person, &lane, verdict).await?
        } else {
            let reopens = standing.denies;
            let once = dice.percent(25);
            let (recipient, item) = (lane.recipient, lane.item);
            let verdict = Verdict::Permit { recipient, item, reopens, once };
            sign(&world, person, &lane, verdict).await?
        };
        world.heat(lanes.iter().filter(|lane| made.covers(lane)).copied());
        hand_in(&world, person, &made, &bytes, &mut dice).await;
        if dice.percent(10) {
            let _at = world.under_way(person.home, Operation::Register);
            // What it says is looked at in the end; here it is load, and may find nobody.
            let _ = person.citizen.lock().await.register(&service(lane.source)).await;
        }
        sleep(Duration::from_millis(dice.between(50, 900))).await;
    }
    Ok(())
}

/// One scene that chance seldom sets: a city is asked to relay another city's citizen's deny to a
/// source that it cannot reach, long enough for its own leases to have run out, while the citizen's
/// home holds a live lease there. What the city says is recorded, and so is what can be had after it.
pub async fn relay_in_vain(world: &World, dice: &mut Dice) -> anyhow::Result<()> {
    let person = &world.people[0];
    let lane = person.lanes().next().context("a citizen has lanes")?;
    let Lane { recipient, item, .. } = lane;
    let permit = Verdict::Permit { recipient, item, reopens: BTreeSet::new(), once: false };
    let (made, bytes) = sign(world, person, &lane, permit).await?;
    hand_in(world, person, &made, &bytes, dice).await;
    let relay = HOMES[(person.index + 1) % HOMES.len()];
    world.links.set(relay, lane.source, Link::Cut);
    sleep(Duration::from_millis(lease_bound_ms(LEASE_MS) + 500)).await;
    let deny = Verdict::Deny { recipient: Some(recipient), item: Some(item) };
    let (made, bytes) = sign(world, person, &lane, deny).await?;
    let handed = hand(world, person, &made, &bytes, Via::Relay).await;
    println!("   a relay in vain: {:?} in {} ms", handed.said, handed.ended - handed.begun);
    world.history().handed.push(handed);
    for _ in 0..5 {
        let asked = ask(world, nonce(), lane).await;
        world.history().asked.push(asked);
    }
    world.links.heal();
    // The wallet goes on until it holds.
    hand_in(world, person, &made, &bytes, dice).await;
    Ok(())
}

struct Standing {
    /// Whether the newest permit names every deny that covers the lane.
    is_open: bool,
    denies: BTreeSet<DecisionId>,
}

fn standing(person: &Person, lane: &Lane) -> Standing {
    let made = lock(&person.made);
    let covering = || made.iter().filter(|made| made.covers(lane));
    let denies: BTreeSet<_> =
        covering().filter(|made| made.is_deny()).map(|deny| deny.id).collect();
    let newest = covering().rfind(|made| !made.is_deny());
    let is_open = newest.is_some_and(|permit| denies.iter().all(|deny| permit.reopens(deny)));
    Standing { is_open, denies }
}

fn deny_of(lane: &Lane, dice: &mut Dice) -> Verdict {
    let (recipient, item) = (Some(lane.recipient), Some(lane.item));
    match dice.below(20) {
        0..14 => Verdict::Deny { recipient, item },
        14..17 => Verdict::Deny { recipient, item: None },
        17..19 => Verdict::Deny { recipient: None, item },
        _ => Verdict::Deny { recipient: None, item: None },
    }
}

async fn sign(
    world: &World,
    person: &Person,
    lane: &Lane,
    verdict: Verdict,
) -> anyhow::Result<(Made, Attested)> {
    let mut citizen = person.citizen.lock().await;
    let source = service(lane.source);
    let bytes = match &verdict {
        Verdict::Permit { recipient, item, reopens, once } => citizen
            .sign_permit_draft(&permit_draft(lane.source, recipient, &[item], reopens, *once)?)?,
        Verdict::Deny { recipient, item } => citizen.sign_deny_draft(&DenyDraft {
            source,
            recipient: recipient.map_or(Recipient::Any, |place| Recipient::Service(service(place))),
            items: match item {
                Some(item) => Items::Types(vec![item.parse()?]),
                None => Items::All,
            },
            purpose: PurposeScope::Any,
        })?,
    };
    let id = Signed::<Decision>::decode(&bytes.object, &world.network.id)?.id();
    let made = Made { id: DecisionId(id.0), citizen: person.index, source: lane.source, verdict };
    lock(&person.made).push(made.clone());
    world.history().made.push(made.clone());
    Ok((made, bytes))
}

/// A permit for treatment, good for a month.
pub fn permit_draft(
    source: Place,
    recipient: Place,
    items: &[Item],
    reopens: &BTreeSet<DecisionId>,
    once: bool,
) -> anyhow::Result<PermitDraft> {
    Ok(PermitDraft {
        source: service(source),
        recipient: service(recipient),
        items: items.iter().map(|item| item.parse()).collect::<Result<_, _>>()?,
        purpose: PURPOSE.parse()?,
        reopens: reopens.iter().copied().map(Reopen::Deny).collect(),
        valid_days: 30,
        uses: if once { Uses::Once } else { Uses::Unlimited },
        window: None,
        retention_days: None,
        onward: Onward::Forbidden,
        notice: NoticeText {
            text: "受付の病院が、診療のために記録を受け取ります。".to_owned(),
            language: "ja".to_owned(),
            version: 1,
        },
        request: None,
    })
}

/// Hands in the same bytes until somebody took them, then asks until they are in force.
async fn hand_in(world: &World, person: &Person, made: &Made, bytes: &Attested, dice: &mut Dice) {
    let mut taken = false;
    for _ in 0..ATTEMPTS {
        let via = match (made.is_deny(), dice.below(10)) {
            (true, 5..8) => Via::Source,
            (true, 8..10) => Via::Relay,
            _ => Via::Home,
        };
        let handed = hand(world, person, made, bytes, via).await;
        taken = handed.acknowledges();
        let over = taken || matches!(handed.said, Said::Refused(_));
        let in_force = handed.said == Said::InForce;
        world.history().handed.push(handed);
        if in_force {
            return;
        }
        if over || (world.stopping() && dice.percent(20)) {
            break;
        }
        sleep(Duration::from_millis(dice.between(50, 400))).await;
    }
    for _ in 0..POLLS {
        if !taken || world.stopping() {
            return;
        }
        sleep(Duration::from_millis(80)).await;
        let handed = hand(world, person, made, bytes, Via::Home).await;
        // The same word again is no news.
        if handed.said != Said::Accepted {
            let over = matches!(handed.said, Said::InForce | Said::Refused(_));
            world.history().handed.push(handed);
            if over {
                return;
            }
        }
    }
}

/// One attempt, and what was said.
async fn hand(world: &World, person: &Person, made: &Made, bytes: &Attested, via: Via) -> Handed {
    let to = match via {
        Via::Home => person.home,
        Via::Source => made.source,
        Via::Relay => HOMES[(person.index + 1) % HOMES.len()],
    };
    let operation = match via {
        Via::Source => Operation::DenyAtSource,
        Via::Relay => Operation::DenyRelayed,
        Via::Home if made.is_deny() => Operation::Deny,
        Via::Home => Operation::Permit,
    };
    let _at = world.under_way(to, operation);
    let begun = world.now();
    let said = match via {
        Via::Source => told(world.wallet(to).deny(bytes).await.map(|reply| said(&reply))),
        Via::Home | Via::Relay => {
            told(world.wallet(to).decide(bytes).await.map(|reply| said(&reply)))
        }
    };
    Handed { decision: made.id, via, to, begun, ended: world.now(), said }
}

fn said(reply: &DecisionReply) -> Said {
    match reply.status {
        InForce::Accepted => Said::Accepted,
        InForce::Acknowledged(_) | InForce::LeasesLapsed(_) => Said::InForce,
        #[allow(unreachable_patterns, reason = "a status that promises less is no acknowledgement")]
        _ => Said::Unavailable,
    }
}

fn told(result: Result<Said, ClientError>) -> Said {
    match result {
        Ok(said) => said,
        Err(ClientError::Problem(problem)) if problem.status == 503 => Said::Unavailable,
        Err(
            error @ (ClientError::Problem(_) | ClientError::Status(_) | ClientError::Answer(_)),
        ) => Said::Refused(error.to_string()),
        Err(_) => Said::NoAnswer,
    }
}

/// One worker of the recipients' systems, until the load stops.
pub async fn ask_on(world: Arc<World>, mut dice: Dice) {
    while !world.stopping() {
        let hot = world.hot();
        let lane = if !hot.is_empty() && dice.percent(60) {
            *dice.pick(&hot)
        } else {
            let person = dice.pick(&world.people);
            *dice.pick(&person.lanes().collect::<Vec<_>>())
        };
        let request = nonce();
        for _ in 0..ASKS {
            let asked = ask(&world, request, lane).await;
            let again = matches!(asked.got, Got::NoAnswer | Got::Silence);
            world.history().asked.push(asked);
            if !again || world.stopping() {
                break;
            }
            sleep(Duration::from_millis(dice.between(50, 700))).await;
        }
        sleep(Duration::from_millis(dice.between(0, 40))).await;
    }
}

/// The recipient's system asks its node once.
pub async fn ask(world: &World, request: Nonce, lane: Lane) -> Asked {
    let person = &world.people[lane.citizen];
    let begun = world.now();
    let Ok(question) = question(person, request, lane).await else {
        return Asked {
            request,
            lane,
            begun,
            ended: begun,
            got: Got::Rejected("no id".to_owned()),
        };
    };
    let _at = world.under_way(lane.recipient, Operation::RequestAtRecipient);
    let _too = world.under_way(lane.source, Operation::RequestAtSource);
    let begun = world.now();
    let answer =
        tokio::time::timeout(SYSTEM_PATIENCE, world.system(lane.recipient).ask(&question)).await;
    let got = match answer {
        Ok(Ok(answer)) => got(&answer),
        Ok(Err(_)) | Err(_) => Got::Silence,
    };
    Asked { request, lane, begun, ended: world.now(), got }
}

async fn question(person: &Person, id: Nonce, lane: Lane) -> anyhow::Result<Question> {
    let recipient = service(lane.recipient);
    Ok(Question {
        id,
        source: service(lane.source),
        subject: person.citizen.lock().await.pair(&recipient)?.subject,
        recipient,
        items: vec![lane.item.parse()?],
        purpose: PURPOSE.parse()?,
        whole: true,
    })
}

fn got(answer: &Answer) -> Got {
    match (answer.status.as_u16(), answer.problem().as_deref()) {
        (200, _) => match presentation(answer) {
            Some(data) => data,
            None => Got::Rejected("a presentation that cannot be read".to_owned()),
        },
        (403, Some("not-permitted")) => Got::NotPermitted,
        (503, _) => Got::NoAnswer,
        _ => Got::Rejected(answer.text()),
    }
}

/// The presentation's hash and the permits that its `decisions` claim names (specs/06-exchange.md).
fn presentation(answer: &Answer) -> Option<Got> {
    let json = answer.json().ok()?;
    let compact = json["presentation"].as_str()?;
    let claims = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    let permits = claims["decisions"].as_array()?;
    let permits: Option<_> = permits.iter().map(|id| id.as_str()?.parse().ok()).collect();
    Some(Got::Data { presentation: wire::sha256(compact.as_bytes()), permits: permits? })
}

/// A probe of every lane: asked until there is an answer, with nothing else going on.
pub async fn probe(world: &World) -> Vec<Asked> {
    let mut probes = Vec::new();
    for person in &world.people {
        for lane in person.lanes() {
            let request = nonce();
            let mut asked = ask(world, request, lane).await;
            for _ in 0..ASKS {
                if !matches!(asked.got, Got::NoAnswer | Got::Silence) {
                    break;
                }
                sleep(Duration::from_millis(500)).await;
                asked = ask(world, request, lane).await;
            }
            probes.push(asked);
        }
    }
    probes
}
