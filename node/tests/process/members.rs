//! Bad input over libp2p, by members with keys of their own: a provider that pulls, notifies and pushes
//! what is not its to say; a city that replays grants and pushes, and whose entries cannot be read.

use node::provider_client::Question;
use testnet::{
    citizen::{Citizen, nonce, now},
    roster,
};
use wire::{
    Bytes, Hash, ServiceId,
    channel::{
        ChannelId, ChannelRefusal, ChannelReply, ChannelRequest, Entry, EntryKind, HeadStatement,
        Pull, Push,
    },
    consent::Scope,
    limits,
    notice::{Notice, NoticeBatch, NoticeOutcome, NoticePush},
};

use crate::{
    peer::{Answers, Peer},
    world::{Turn, question, run, until},
};

const SOURCE: &str = "lunch";
// Nobody else in these tests decides about these.
const RECIPIENT: &str = "hospital-b";
const OTHER: &str = "hospital-a";

fn channel(turn: &Turn, home: &str, source: &str) -> ChannelId {
    let home = turn.node(home).participant.organisation();
    ChannelId { home, source: roster::service(source) }
}

fn refused(reply: ChannelReply, why: ChannelRefusal) {
    assert_eq!(reply, ChannelReply::Refused(why));
}

/// A lease's `live` at the source, from a city.
async fn is_leased(turn: &Turn, city: &str) -> bool {
    turn.lease(SOURCE, city).await.is_some()
}

async fn is_released(turn: &Turn, citizen: &Citizen, recipient: &str) -> bool {
    let asked = Question { id: nonce(), ..question(citizen, SOURCE, recipient) };
    turn.ask(&asked).await.status == 200
}

#[test]
fn a_provider_says_nothing_for_others() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut kenta = turn.citizen("kenta", SOURCE, RECIPIENT).await;
        turn.permit(&mut kenta, SOURCE, RECIPIENT).await;
        let bank = Peer::join(&turn, "bank").await;
        let maebashi = turn.node("maebashi");
        let (own, others) =
            (channel(&turn, "maebashi", "bank"), channel(&turn, "maebashi", SOURCE));

        // Pulls: its own are answered, another's not, and none brings too much along.
        let pulled = bank.says(maebashi, &ChannelRequest::Pull(bank.pull_of(&own))).await;
        assert!(matches!(pulled, ChannelReply::Pulled(_)), "{pulled:?}");
        let foreign = ChannelRequest::Pull(bank.pull_of(&others));
        refused(bank.says(maebashi, &foreign).await, ChannelRefusal::NotYours);
        let elsewhere = ChannelRequest::Pull(bank.pull_of(&channel(&turn, "ebetsu", "bank")));
        refused(bank.says(maebashi, &elsewhere).await, ChannelRefusal::NotMine);
        let deny = kenta.sign_deny(&roster::service(SOURCE), &roster::service(RECIPIENT));
        let deny = deny.expect("a deny");
        let full =
            Pull { denies: vec![deny.clone(); limits::PULL_ATTACHMENTS + 1], ..bank.pull_of(&own) };
        refused(bank.says(maebashi, &ChannelRequest::Pull(full)).await, ChannelRefusal::Malformed);
        let mut full = bank.pull_of(&own);
        full.progress.unreadable = vec![0; limits::PULL_ATTACHMENTS + 1];
        refused(bank.says(maebashi, &ChannelRequest::Pull(full)).await, ChannelRefusal::Malformed);
        // A deny about another source, brought by this one, is not taken for a deny there.
        let brought = Pull { denies: vec![deny], ..bank.pull_of(&own) };
        let pulled = bank.says(maebashi, &ChannelRequest::Pull(brought)).await;
        assert!(matches!(pulled, ChannelReply::Pulled(_)), "{pulled:?}");
        assert!(is_released(&turn, &kenta, RECIPIENT).await);

        notices(&turn, &bank, &own, &others).await;

        // Pushes and relays are for municipalities, whatever they hold.
        let statement = HeadStatement {
            channel: own.clone(),
            head: wire::channel::ChannelHead {
                position: bank.pull_of(&own).progress.applied,
                map: Hash([0; 32]),
            },
            time: now(),
        };
        let push = Push { channel: own, entries: vec![], statement: bank.sign(statement) };
        let lunch = turn.node(SOURCE);
        refused(bank.says(lunch, &ChannelRequest::Push(push)).await, ChannelRefusal::NotYours);
        let deny = kenta.sign_deny(&roster::service(SOURCE), &roster::service(RECIPIENT));
        let relay = ChannelRequest::Relay(deny.expect("a deny"));
        refused(bank.says(lunch, &relay).await, ChannelRefusal::NotYours);
        assert!(is_released(&turn, &kenta, RECIPIENT).await, "nothing of it had an effect");
        bank.leave().await;
    });
}

/// Notices of another source, altered, of another's signature; and the same ones twice.
async fn notices(turn: &Turn, bank: &Peer, own: &ChannelId, others: &ChannelId) {
    let maebashi = turn.node("maebashi");
    let notice = |seq| Notice {
        seq,
        subject: ServiceId([7; 32]),
        recipient: roster::service(RECIPIENT),
        items: vec!["health.allergy".parse().expect("an item")],
        purpose: Some("treatment".parse().expect("a purpose")),
        first: now(),
        last: now(),
        count: 1,
        outcome: NoticeOutcome::Refused("denied".parse().expect("a code")),
        salt: nonce(),
    };
    let batch = |channel: &ChannelId, notices: &[Notice]| NoticeBatch {
        channel: channel.clone(),
        first: notices[0].seq,
        hashes: notices.iter().map(Notice::hash).collect(),
        time: now(),
    };
    let push = |channel: &ChannelId, notices: Vec<Notice>| {
        let batch = bank.attest(batch(channel, &notices));
        NoticePush { notices, batch }
    };
    let says = async |push: NoticePush| bank.says(maebashi, &ChannelRequest::Notices(push)).await;
    // Earlier tests may have left some: what the home wants next is asked for first.
    let beyond = says(push(own, vec![notice(1 << 40)])).await;
    let ChannelReply::Noted(next) = beyond else { panic!("{beyond:?}") };

    refused(says(push(others, vec![notice(next)])).await, ChannelRefusal::NotYours);
    let mut altered = push(own, vec![notice(next)]);
    altered.notices[0].count = 2;
    refused(says(altered).await, ChannelRefusal::Malformed);
    let mut forged = push(own, vec![notice(next)]);
    *forged.batch.object.0.last_mut().expect("a signature") ^= 1;
    refused(says(forged).await, ChannelRefusal::Malformed);
    let good = push(own, vec![notice(next)]);
    assert_eq!(says(good.clone()).await, ChannelReply::Noted(next + 1));
    assert_eq!(says(good).await, ChannelReply::Noted(next + 1), "replayed: known");
    refused(says(push(own, vec![notice(next)])).await, ChannelRefusal::Forked);
}

#[test]
fn a_city_opens_locks_out_and_stretches_nothing() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, OTHER]).await;
        let mut kenta = turn.citizen("kenta", SOURCE, OTHER).await;
        turn.permit(&mut kenta, SOURCE, OTHER).await;
        assert!(is_released(&turn, &kenta, OTHER).await);
        let lunch = turn.node(SOURCE);
        let (own, maebashis) =
            (channel(&turn, "kadoma", SOURCE), channel(&turn, "maebashi", SOURCE));
        let kadoma = Peer::join(&turn, "kadoma").await;

        // A grant answers the pull that it was made for, and no other one.
        kadoma.plays(&own, Answers::Again);
        until("the first grant to be taken", async || is_leased(&turn, "kadoma").await).await;
        until("the same again to run out", async || !is_leased(&turn, "kadoma").await).await;
        let before = kadoma.heard().len();
        until("three more replays", async || {
            assert!(!is_leased(&turn, "kadoma").await, "a replayed grant stretched a lease");
            kadoma.heard().len() >= before + 3
        })
        .await;
        kadoma.plays(&own, Answers::Honestly(6_000));
        until("a new grant", async || is_leased(&turn, "kadoma").await).await;

        // A push for another home's channel, with another's statement, of another history.
        let subject = kenta.pair(&roster::service(SOURCE)).expect("a pair").subject;
        let entry = |kind, body: &[u8]| Entry {
            seq: 0,
            kind,
            subject,
            scope: Scope::EVERYTHING,
            time: now(),
            body: Bytes(body.to_vec()),
        };
        let push = kadoma.push_of(entry(EntryKind::DENY, b"nothing that can be read"));
        let says =
            async |push: &Push| kadoma.says(lunch, &ChannelRequest::Push(push.clone())).await;
        let foreign = Push { channel: maebashis, ..push.clone() };
        refused(says(&foreign).await, ChannelRefusal::NotYours);
        let mut forged = push.clone();
        *forged.statement.0.last_mut().expect("a signature") ^= 1;
        refused(says(&forged).await, ChannelRefusal::Malformed);
        let many =
            Push { entries: vec![push.entries[0].clone(); limits::ENTRIES + 1], ..push.clone() };
        refused(says(&many).await, ChannelRefusal::Malformed);

        // One that cannot be read: the head goes on, it is reported, and locks out nobody whose home
        // this city is not. Again is the same.
        let applied = says(&push).await;
        assert!(
            matches!(&applied, ChannelReply::Applied(progress) if progress.applied.length == 1),
            "{applied:?}"
        );
        let again = says(&push).await;
        assert!(
            matches!(&again, ChannelReply::Applied(progress) if progress.applied.length == 1),
            "replayed: known: {again:?}"
        );
        until("the report of it", async || {
            kadoma.heard().iter().any(|pull| pull.progress.unreadable == [0])
        })
        .await;
        let unknown = kadoma.push_of(entry(EntryKind(999), b""));
        let applied = says(&unknown).await;
        assert!(
            matches!(&applied, ChannelReply::Applied(progress) if progress.applied.length == 2),
            "{applied:?}"
        );
        assert!(is_released(&turn, &kenta, OTHER).await, "another city locks nobody out");

        // A relay is for denies by a key of the pair.
        let (source, recipient) = (roster::service(SOURCE), roster::service(OTHER));
        let permit = kenta.sign_permit(&source, &recipient, &[]).expect("a permit");
        let says = async |message| kadoma.says(lunch, &message).await;
        refused(says(ChannelRequest::Relay(permit)).await, ChannelRefusal::Malformed);
        let mut altered = kenta.sign_deny(&source, &recipient).expect("a deny");
        *altered.object.0.last_mut().expect("a signature") ^= 1;
        refused(says(ChannelRequest::Relay(altered)).await, ChannelRefusal::Malformed);
        assert!(is_released(&turn, &kenta, OTHER).await);
        let deny = kenta.sign_deny(&source, &recipient).expect("a deny");
        let relayed = says(ChannelRequest::Relay(deny)).await;
        assert!(matches!(relayed, ChannelReply::Relayed(_)), "{relayed:?}");
        assert!(!is_released(&turn, &kenta, OTHER).await, "an honest one bites");
        kadoma.leave().await;
    });
}
