use trust::testing::{NOW, TestOrganisation};
use wire::{
    Hash, Message, ServiceId,
    notice::{HistoryBatch, NoticeOutcome},
};

use super::*;
use crate::testing::{Citizen, HOSPITAL, LUNCH, TestHome, later, nonce, service};

fn by<M: Message>(home: &TestHome, node: &TestOrganisation, message: M) -> Attested {
    let signed = Signed::new(message, &home.network.id, &node.signer).unwrap();
    Attested { object: signed.bytes().to_vec().into(), chain: node.chain.clone() }
}

fn channel(home: &TestHome) -> ChannelId {
    ChannelId { home: home.node.organisation.clone(), source: service(LUNCH) }
}

fn notice(seq: u64, subject: ServiceId) -> Notice {
    Notice {
        seq,
        subject,
        recipient: service(HOSPITAL),
        items: vec!["health.allergy".parse().unwrap()],
        purpose: Some("treatment".parse().unwrap()),
        first: NOW,
        last: NOW,
        count: 1,
        outcome: NoticeOutcome::Refused("denied".parse().unwrap()),
        salt: nonce(seq as u8),
    }
}

/// A batch of five, of which the citizen's are number 4 and 6.
fn shown(home: &TestHome, mine: ServiceId) -> PairHistory {
    let all: Vec<_> = (3..8)
        .map(|seq| notice(seq, if seq % 2 == 0 { mine } else { ServiceId([9; 32]) }))
        .collect();
    let hashes = all.iter().map(Notice::hash).collect();
    let batch = NoticeBatch { channel: channel(home), first: 3, hashes, time: NOW };
    let batch = by(home, &home.node, batch);
    let notices = all.into_iter().filter(|notice| notice.subject == mine).collect();
    PairHistory { batches: vec![HistoryBatch { batch, notices }], older: false }
}

#[test]
fn a_history_is_shown_without_anyone_elses() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    let mine = citizen.wallet.pair(&service(LUNCH)).unwrap().subject;
    let history = shown(&home, mine);
    let view =
        citizen.wallet.read_history(&service(LUNCH), &history, home.trust(), later(60)).unwrap();
    let seqs: Vec<_> = view.notices.iter().map(|notice| notice.seq).collect();
    assert_eq!(seqs, [4, 6]);
    // Years later the certificates have run out; what they signed then holds.
    assert!(!view.older);
}

#[test]
fn what_the_source_did_not_sign_is_not_shown() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    let mine = citizen.wallet.pair(&service(LUNCH)).unwrap().subject;
    let fault = |change: &dyn Fn(&mut PairHistory)| {
        let mut history = shown(&home, mine);
        change(&mut history);
        let read = citizen.wallet.read_history(&service(LUNCH), &history, home.trust(), later(60));
        read.unwrap_err().to_string()
    };
    let says = |said: String, words: &str| assert!(said.contains(words), "{said}");
    let notices = |history: &mut PairHistory| std::mem::take(&mut history.batches[0].notices);
    says(fault(&|h| h.batches[0].notices[0].count = 2), "not in the batch");
    says(fault(&|h| h.batches[0].notices[0].seq = 90), "not in the batch");
    says(fault(&|h| h.batches[0].notices[0].seq = 0), "not in the batch");
    says(fault(&|h| h.batches[0].notices[0].subject = ServiceId([9; 32])), "another citizen");
    says(fault(&|h| h.batches[0].notices.reverse()), "order");
    says(
        fault(&|h| {
            let mut all = notices(h);
            all.push(all[1].clone());
            h.batches[0].notices = all;
        }),
        "order",
    );
    let elsewhere = |change: &dyn Fn(&mut NoticeBatch), node: &TestOrganisation| {
        fault(&|h| {
            let signed =
                Signed::<NoticeBatch>::decode(&h.batches[0].batch.object, &home.network.id);
            let mut batch = signed.unwrap().unverified().clone();
            change(&mut batch);
            h.batches[0].batch = by(&home, node, batch);
        })
    };
    let other = home.network.city(1);
    says(elsewhere(&|_| {}, &other), "another organisation");
    says(elsewhere(&|b| b.channel.source = service(HOSPITAL), &home.node), "another citizen or");
    says(
        elsewhere(&|b| b.channel.home = other.organisation.clone(), &home.node),
        "another citizen or channel",
    );
    says(elsewhere(&|b| b.hashes[1] = Hash([0; 32]), &home.node), "not in the batch");
}

fn effect(home: &TestHome, citizen: &Citizen) -> Effect {
    Effect {
        decision: DecisionId([5; 32]),
        pair: citizen.wallet.pair(&service(LUNCH)).unwrap(),
        channel: Some(channel(home)),
        seq: Some(3),
        how: EffectHow::LeasesLapsed,
        since: NOW,
        log_index: None,
        time: later(10),
        present_consent_excepted: true,
    }
}

#[test]
fn a_receipt_is_checked_and_kept() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let effect = effect(&home, &citizen);
    let receipt = by(&home, &home.node, effect.clone());
    let (lunch, at) = (service(LUNCH), later(20));
    let id = effect.decision;
    assert!(citizen.wallet.effect(&id).is_none());
    let taken = citizen.wallet.accept_effect(&lunch, &id, &receipt, home.trust(), at).unwrap();
    assert_eq!(taken, effect);
    assert_eq!(citizen.wallet.effect(&id), Some(&receipt));
    // It is there after a restart.
    let again = Wallet::from_bytes(&citizen.wallet.to_bytes()).unwrap();
    assert_eq!(again.effect(&id), Some(&receipt));
}

#[test]
fn a_receipt_of_another_is_not_kept() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let good = effect(&home, &citizen);
    let other = home.network.city(1);
    let (lunch, id) = (service(LUNCH), good.decision);
    let mut refused = |node: &TestOrganisation, change: &dyn Fn(&mut Effect), words: &str| {
        let mut effect = good.clone();
        change(&mut effect);
        let receipt = by(&home, node, effect);
        let taken = citizen.wallet.accept_effect(&lunch, &id, &receipt, home.trust(), later(20));
        let said = taken.unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
        assert!(citizen.wallet.effect(&id).is_none());
    };
    refused(&other, &|_| {}, "another organisation");
    refused(&other, &|e| e.how = EffectHow::AtSource, "another organisation");
    refused(&home.node, &|e| e.decision = DecisionId([6; 32]), "another decision");
    refused(&home.node, &|e| e.pair.subject = ServiceId([1; 32]), "another citizen");
    refused(&home.node, &|e| e.pair.source = service(HOSPITAL), "another citizen");
    refused(&home.node, &|e| e.channel = None, "another citizen or channel");
    refused(&home.node, &|e| e.seq = None, "contradicts itself");
    refused(&home.node, &|e| e.since = e.time.plus_ms(1), "contradicts itself");
}
