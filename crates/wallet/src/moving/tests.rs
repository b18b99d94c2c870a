use trust::testing::{NOW, TestSigner};
use wire::{
    ServiceId, Signer,
    citizen::InForce,
    consent::{Items, PurposeScope, Recipient, Scope},
};

use super::*;
use crate::{
    DenyDraft, RegisterContent,
    testing::{Citizen, LUNCH, TestHome, later, nonce, service},
};

fn lunch() -> ServiceName {
    service(LUNCH)
}

fn city(home: &TestHome) -> Home {
    Home { organisation: home.node.organisation.clone(), url: "http://localhost:9090".into() }
}

/// What the home shows of the citizen, and how the wallet reads it.
fn shown(home: &TestHome, wallet: &Wallet) -> (PairRegister, RegisterView) {
    let subject = wallet.pair(&lunch()).unwrap().subject;
    let register = home.register_of(&subject);
    let view = wallet.read_register(&lunch(), &register, home.trust(), later(1)).unwrap();
    (register, view)
}

fn step(citizen: &Citizen, to: &Home, shown: &(PairRegister, RegisterView)) -> MoveStep {
    let shown = (&shown.0, &shown.1);
    citizen.wallet.next_move(&lunch(), to, shown, nonce(50), later(1)).unwrap()
}

fn sign(citizen: &mut Citizen, to: &Home, shown: &(PairRegister, RegisterView)) -> Attested {
    match step(citizen, to, shown) {
        MoveStep::Sign(unsigned) => {
            let signed = unsigned.sign(&citizen.lunch).unwrap();
            citizen.wallet.keep_move(&lunch(), to, &signed).unwrap()
        }
        _ => panic!("signed before, or nothing to sign"),
    }
}

fn reply(waits_for: Option<OrganisationId>) -> MoveReply {
    MoveReply { seq: 0, status: InForce::Accepted, waits_for }
}

fn append(home: &mut TestHome, kind: EntryKind, subject: ServiceId, moving: &Attested) {
    home.append(kind, subject, Scope::EVERYTHING, moving);
}

fn deny(citizen: &Citizen, home: &mut TestHome) {
    let draft = DenyDraft {
        source: lunch(),
        recipient: Recipient::Any,
        items: Items::All,
        purpose: PurposeScope::Any,
    };
    let deny = citizen.wallet.deny(&draft, nonce(51), NOW).unwrap();
    citizen.decide(home, deny);
}

#[test]
fn a_pair_moves_with_all_that_stands_and_the_wallet_follows() {
    let (mut old, mut new) = (TestHome::new(), TestHome::of_city(1));
    let mut citizen = Citizen::new(&mut old, "hanako");
    deny(&citizen, &mut old);
    let (to, subject) = (city(&new), citizen.wallet.pair(&lunch()).unwrap().subject);
    let before = shown(&old, &citizen.wallet);
    let moving = sign(&mut citizen, &to, &before);
    let signed = Signed::<Move>::decode(&moving.object, &old.network.id).unwrap();
    let Move { from, to: there, epoch, pair, .. } = signed.unverified().clone();
    assert_eq!((from, there, epoch), (old.node.organisation.clone(), to.organisation.clone(), 1));
    assert_eq!(pair.subject, subject);

    // Whoever goes on after a crash, before or after the old home has taken it, has the same bytes.
    citizen.wallet = Wallet::from_bytes(&citizen.wallet.to_bytes()).unwrap();
    assert!(matches!(step(&citizen, &to, &before), MoveStep::Signed(same) if same == moving));
    append(&mut old, EntryKind::MOVE_END, subject, &moving);
    let left = shown(&old, &citizen.wallet);
    assert!(matches!(step(&citizen, &to, &left), MoveStep::Signed(same) if same == moving));
    assert_eq!(citizen.wallet.home_of(&lunch()).organisation, old.node.organisation);

    let submission = submission(moving.clone(), Some(&left.0));
    assert_eq!(submission.history, [left.0.extract()]);
    assert!(citizen.wallet.accept_move(&lunch(), &to, &reply(None)).unwrap());
    let pair = citizen.wallet.pair_home(&lunch()).unwrap().clone();
    assert_eq!((pair.epoch, pair.moving), (1, None));
    let homes: Vec<_> = citizen.wallet.homes_of(&lunch()).map(|home| &home.organisation).collect();
    assert_eq!(homes, [&to.organisation, &old.node.organisation]);
    // Where the citizen lives is another matter: this was one service.
    assert_eq!(citizen.wallet.home().organisation, old.node.organisation);

    append(&mut new, EntryKind::MOVE_BEGIN, subject, &moving);
    let mut register = new.register_of(&subject);
    register.brought = submission.history;
    let read =
        |register: &_| citizen.wallet.read_register(&lunch(), register, new.trust(), later(2));
    let view = read(&register).unwrap();
    let kinds: Vec<_> = view.rows().iter().map(|row| (&row.home, row.status.is_some())).collect();
    let (a, b) = (&old.node.organisation, &to.organisation);
    assert_eq!(kinds, [(a, false), (a, false), (a, false), (b, true)]);
    assert!(matches!(&view.rows()[3].content, RegisterContent::MoveBegin(_)));
    assert!(view.pair().is_home(b) && view.pair().epoch == 1);
    Wallet::check_arrival(&before.1, &view).unwrap();

    // What was brought left out, cut, or told by another: the wallet notices.
    let mut forgetful = register.clone();
    forgetful.brought.clear();
    let error = Wallet::check_arrival(&before.1, &read(&forgetful).unwrap());
    assert!(matches!(error, Err(WalletError::NotBrought)));
    let mut cut = register.clone();
    cut.brought[0].entries.remove(1);
    assert!(matches!(read(&cut), Err(WalletError::Extract(_))));
    let mut retold = register.clone();
    retold.brought[0].statement = register.statement.clone();
    assert!(matches!(read(&retold), Err(WalletError::Extract(_))));
    // A register of the old home is none of the new one.
    assert!(matches!(read(&left.0), Err(WalletError::OtherSigner)));
}

/// The source began by the old home's removal, whatever the citizen's own papers say: what was permitted
/// before is closed there, and the wallet shows which id a permit has to name.
#[test]
fn a_begin_that_the_source_took_for_a_deny_is_shown_as_one() {
    let (mut old, mut new) = (TestHome::new(), TestHome::of_city(1));
    let mut citizen = Citizen::new(&mut old, "hanako");
    let (to, subject) = (city(&new), citizen.wallet.pair(&lunch()).unwrap().subject);
    let before = shown(&old, &citizen.wallet);
    let moving = sign(&mut citizen, &to, &before);
    append(&mut old, EntryKind::MOVE_END, subject, &moving);
    let left = shown(&old, &citizen.wallet);
    assert!(citizen.wallet.accept_move(&lunch(), &to, &reply(None)).unwrap());
    append(&mut new, EntryKind::MOVE_BEGIN, subject, &moving);
    let gone = new.network.trust_with(|list, _| {
        list.municipalities
            .retain(|municipality| municipality.organisation != old.node.organisation);
    });
    let mut register = new.register_of(&subject);
    let begin = register.entries[0].entry.clone();
    let channel = wire::channel::ChannelId { home: to.organisation, source: lunch() };
    let id = consent::source::unreadable_id(&channel, &begin.hash());
    let said = InForce::Unreadable(later(1));
    register.entries[0].status = said;
    // The citizen holds the end that the source never got; or has none, and the old home is off the list.
    for (brought, trust) in [(left.0.extract(), new.trust()), (before.0.extract(), &gone)] {
        register.brought = vec![brought];
        let view = citizen.wallet.read_register(&lunch(), &register, trust, later(2)).unwrap();
        let row = view.rows().last().unwrap();
        assert!(
            matches!(&row.content, RegisterContent::Unreadable { kind, stands_as, .. }
                if *kind == EntryKind::MOVE_BEGIN && *stands_as == Some(id)),
            "{row:?}"
        );
        assert_eq!(view.pair().standing_denies().map(|(id, _)| *id).collect::<Vec<_>>(), [id]);
    }
    register.brought = vec![left.0.extract()];
    register.entries[0].status = InForce::Accepted;
    let view = citizen.wallet.read_register(&lunch(), &register, new.trust(), later(2)).unwrap();
    assert_eq!(view.pair().standing_denies().count(), 0, "let go: nothing is closed");
}

#[test]
fn a_home_that_does_not_let_go_is_waited_for() {
    let (mut old, new) = (TestHome::new(), TestHome::of_city(1));
    let mut citizen = Citizen::new(&mut old, "hanako");
    let to = city(&new);
    let before = shown(&old, &citizen.wallet);
    let moving = sign(&mut citizen, &to, &before);
    let third = new.network.city(2).organisation;
    let foreign = citizen.wallet.accept_move(&lunch(), &to, &reply(Some(third)));
    assert!(matches!(foreign, Err(WalletError::ForeignMove)));
    let waits = reply(Some(old.node.organisation.clone()));
    assert!(!citizen.wallet.accept_move(&lunch(), &to, &waits).unwrap());
    assert_eq!(citizen.wallet.home_of(&lunch()), &to);
    let pending = citizen.wallet.pending_move(&lunch(), &to.organisation).unwrap();
    assert_eq!(pending.moving, moving);
    // The same again, and at last it is there.
    assert!(!citizen.wallet.accept_move(&lunch(), &to, &waits).unwrap());
    assert!(citizen.wallet.accept_move(&lunch(), &to, &reply(None)).unwrap());
    assert!(citizen.wallet.pending_move(&lunch(), &to.organisation).is_none());
    assert_eq!(citizen.wallet.homes_of(&lunch()).count(), 2);
}

#[test]
fn who_cannot_move_a_pair_is_told_why() {
    let (mut old, new) = (TestHome::new(), TestHome::of_city(1));
    let mut citizen = Citizen::new(&mut old, "hanako");
    let (to, subject) = (city(&new), citizen.wallet.pair(&lunch()).unwrap().subject);
    let before = shown(&old, &citizen.wallet);
    let refused = |wallet: &Wallet, to: &Home, shown: &(PairRegister, RegisterView)| {
        wallet.next_move(&lunch(), to, (&shown.0, &shown.1), nonce(50), later(1)).err().unwrap()
    };
    assert!(matches!(refused(&citizen.wallet, &city(&old), &before), WalletError::AtHome));
    // A phone whose key never began.
    let mut second = citizen.wallet.clone();
    let phone = TestSigner::new(130);
    let certified = citizen.service_key(&old, LUNCH, &phone);
    second.accept_service_key(&lunch(), &phone.public_key(), certified, old.trust(), NOW).unwrap();
    assert!(matches!(refused(&second, &to, &before), WalletError::KeyDoesNotStand(_)));
    // The first phone moves the pair: the second one follows with the same bytes, or is told where to.
    let moving = sign(&mut citizen, &to, &before);
    append(&mut old, EntryKind::MOVE_END, subject, &moving);
    let left = shown(&old, &second);
    let found = second.next_move(&lunch(), &to, (&left.0, &left.1), nonce(52), later(1)).unwrap();
    assert!(matches!(found, MoveStep::Signed(same) if same == moving));
    let third = city(&TestHome::of_city(2));
    let elsewhere = refused(&second, &third, &left);
    assert!(matches!(elsewhere, WalletError::MovedElsewhere(home) if home == to.organisation));
    // Nobody has a register of a pair whose keys never began.
    let taro = Citizen::new(&mut TestHome::new(), "taro");
    let none = shown(&TestHome::new(), &taro.wallet);
    assert!(matches!(step(&taro, &to, &none), MoveStep::Nothing));
}

#[test]
fn a_wallet_of_before_moves_is_read() {
    let citizen = Citizen::new(&mut TestHome::new(), "hanako");
    let bytes = citizen.wallet.to_bytes();
    let mut value = cbor::value_from_slice(&bytes).unwrap();
    let entries = value.as_map_mut().unwrap();
    entries.retain(|(key, _)| key.as_text() != Some("pairs"));
    for (key, value) in entries.iter_mut() {
        if key.as_text() == Some("format") {
            *value = 2.into();
        }
    }
    let before = cbor::to_vec(&value);
    assert_eq!(Wallet::from_bytes(&before).unwrap(), citizen.wallet);
    assert_eq!(citizen.wallet.homes_of(&lunch()).count(), 1);
}
