use std::collections::BTreeSet;

use consent::Refused;
use trust::testing::{NOW, TestSigner};
use wire::{
    ItemType, Signed, Signer, Timestamp, cbor,
    cbor::Bytes,
    channel::EntryKind,
    citizen::{DecisionReply, InForce},
    consent::{
        Attested, Decision, ExpressedBy, Items, Onward, PurposeScope, Recipient, Reopen, Scope,
        Uses, Verdict, Window,
    },
    hash_parts,
};

use crate::{
    Acting, DenyDraft, Home, IdKey, NoticeText, PermitDraft, RegisterContent, ServiceKey, Wallet,
    WalletError,
    decision::DAY_MS,
    error::DraftFault,
    testing::{Citizen, HOSPITAL, LUNCH, TestHome, later, nonce, service},
};

fn item(text: &str) -> ItemType {
    text.parse().unwrap()
}

fn permit_draft() -> PermitDraft {
    PermitDraft {
        source: service(LUNCH),
        recipient: service(HOSPITAL),
        items: [item("health.medication"), item("health.allergy")].into(),
        purpose: "treatment".parse().unwrap(),
        reopens: BTreeSet::new(),
        valid_days: 30,
        uses: Uses::Unlimited,
        window: None,
        retention_days: Some(90),
        onward: Onward::Forbidden,
        notice: NoticeText { text: "Who, what, why.".into(), language: "en".into(), version: 1 },
        request: None,
    }
}

fn deny_draft(items: &[&str]) -> DenyDraft {
    DenyDraft {
        source: service(LUNCH),
        recipient: Recipient::Any,
        items: Items::Types(items.iter().map(|text| item(text)).collect()),
        purpose: PurposeScope::Any,
    }
}

#[test]
fn from_card_to_permit() {
    let mut home = TestHome::new();
    let mut wallet = home.wallet();
    let card = home.card("前橋　花子");
    let id = TestSigner::new(100);

    let draft = wallet.enrolment(home.challenge(1), id.public_key(), NOW).unwrap();
    let signature = card.sign(&draft.card_message()).unwrap();
    let enrolment = draft.with_card(card.certificate().to_vec(), signature).sign(&id).unwrap();
    let reply = home.enrol(enrolment.bytes());
    wallet.accept_enrolment(&id.public_key(), reply.clone(), home.trust(), NOW).unwrap();
    let number = wallet.id().unwrap().number();

    // A second phone of the same person gets the same number.
    let mut other_phone = home.wallet();
    let other_id = TestSigner::new(101);
    let draft = other_phone.enrolment(home.challenge(2), other_id.public_key(), NOW).unwrap();
    let signature = card.sign(&draft.card_message()).unwrap();
    let enrolment =
        draft.with_card(card.certificate().to_vec(), signature).sign(&other_id).unwrap();
    let reply = home.enrol(enrolment.bytes());
    other_phone.accept_enrolment(&other_id.public_key(), reply, home.trust(), NOW).unwrap();
    assert_eq!(other_phone.id().unwrap().number(), number);
    assert_ne!(other_phone.id().unwrap().key(), wallet.id().unwrap().key());

    // Service key, link, permit, and the wallet survives its file.
    let lunch = TestSigner::new(102);
    let mut citizen = Citizen { wallet, id, lunch: lunch.clone() };
    let reply = citizen.service_key(&home, LUNCH, &lunch);
    let begun = citizen
        .wallet
        .accept_service_key(&service(LUNCH), &lunch.public_key(), reply.clone(), home.trust(), NOW)
        .unwrap();
    assert!(begun);
    home.begin_key(citizen.wallet.pair(&service(LUNCH)).unwrap(), reply.chain);
    let link = citizen.link(&home, LUNCH, HOSPITAL);
    citizen
        .wallet
        .accept_link(&service(LUNCH), &service(HOSPITAL), link, home.trust(), NOW)
        .unwrap();
    citizen.wallet = Wallet::from_bytes(&citizen.wallet.to_bytes()).unwrap();
    let permit = citizen.wallet.permit(&permit_draft(), nonce(5), NOW).unwrap();
    let id = citizen.decide(&mut home, permit);
    let view = citizen
        .wallet
        .read_register(&service(LUNCH), &home.register(), home.trust(), later(1))
        .unwrap();
    let allowed = view.standing(&id, later(1)).unwrap().unwrap();
    let leaves: Vec<_> = allowed.leaves().iter().map(|(leaf, _)| leaf.as_str()).collect();
    assert_eq!(leaves, ["health.allergy", "health.medication"]);
}

#[test]
fn an_enrolment_for_anyone_else_is_refused() {
    let mut home = TestHome::new();
    let hanako = Citizen::new(&mut home, "hanako");
    let taro = Citizen::new(&mut home, "taro");
    let key = TestSigner::new(110);
    let y = |label: &str| {
        identity::Y::from_bytes(&hash_parts("test-y", &[label.as_bytes()]).0).unwrap()
    };
    let mut fresh = home.wallet();
    let mut refused = |reply, trust: &trust::Trust| {
        let before = fresh.clone();
        let error = fresh.accept_enrolment(&key.public_key(), reply, trust, NOW).unwrap_err();
        assert_eq!(fresh, before, "a refused reply leaves nothing behind");
        error
    };

    // Certified for another key.
    let reply = home.enrolment_reply(&y("hanako"), &taro.id.public_key());
    assert!(matches!(refused(reply, home.trust()), WalletError::OtherKey));
    // A secret that is not behind the certified number.
    let mut reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    reply.y = Bytes(y("taro").as_bytes().to_vec());
    assert!(matches!(refused(reply, home.trust()), WalletError::OtherNumber));
    let mut reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    reply.y = Bytes(vec![1; 31]);
    assert!(matches!(refused(reply, home.trust()), WalletError::Secret(_)));
    // A certificate of another kind, of a CA that is no longer trusted, and no chain at all.
    let mut reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    let own = hanako.wallet.service(&service(LUNCH)).unwrap();
    reply.chain = own.chain.clone();
    assert!(matches!(refused(reply, home.trust()), WalletError::Chain(_)));
    let reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    let without = home.network.trust_with(|list, timestamp| {
        list.version += 1;
        timestamp.version += 1;
        list.authorities.remove(0);
    });
    assert!(matches!(refused(reply, &without), WalletError::Chain(_)));
    let mut reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    reply.chain.clear();
    assert!(matches!(refused(reply, home.trust()), WalletError::Chain(_)));

    // Enrolling again with a new key keeps the number; another person's is refused.
    let mut wallet = hanako.wallet.clone();
    let reply = home.enrolment_reply(&y("taro"), &key.public_key());
    let error = wallet.accept_enrolment(&key.public_key(), reply, home.trust(), NOW).unwrap_err();
    assert!(matches!(error, WalletError::NumberChanged));
    assert_eq!(wallet, hanako.wallet);
    let reply = home.enrolment_reply(&y("hanako"), &key.public_key());
    wallet.accept_enrolment(&key.public_key(), reply, home.trust(), NOW).unwrap();
    assert_eq!(wallet.id().unwrap().number(), hanako.wallet.id().unwrap().number());

    let mut home = TestHome::new();
    let challenge = home.challenge(1);
    let expires = challenge.expires;
    let error = home.wallet().enrolment(challenge, key.public_key(), expires).unwrap_err();
    assert!(matches!(error, WalletError::ChallengeOver));
}

#[test]
fn a_service_key_for_anyone_or_anything_else_is_refused() {
    let mut home = TestHome::new();
    let mut hanako = Citizen::new(&mut home, "hanako");
    let taro = Citizen::new(&mut home, "taro");
    let key = TestSigner::new(120);
    let before = hanako.wallet.clone();
    let mut refused = |name: &str, reply| {
        let error = hanako
            .wallet
            .accept_service_key(&service(name), &key.public_key(), reply, home.trust(), NOW)
            .unwrap_err();
        assert_eq!(hanako.wallet, before, "a refused reply leaves nothing behind");
        error
    };

    let for_taro = taro.service_key(&home, LUNCH, &key);
    assert!(matches!(refused(LUNCH, for_taro.clone()), WalletError::OtherSubject));
    // The reply may say whatever it likes beside the certificate.
    let mut dressed_up = for_taro;
    dressed_up.subject = before.pair(&service(LUNCH)).unwrap().subject;
    assert!(matches!(refused(LUNCH, dressed_up), WalletError::OtherSubject));
    let citizen = Citizen { wallet: before.clone(), id: hanako.id.clone(), lunch: key.clone() };
    let elsewhere = citizen.service_key(&home, HOSPITAL, &key);
    assert!(matches!(refused(LUNCH, elsewhere), WalletError::OtherSubject));
    let mut mislabelled = citizen.service_key(&home, LUNCH, &key);
    mislabelled.subject = taro.wallet.pair(&service(LUNCH)).unwrap().subject;
    assert!(matches!(refused(LUNCH, mislabelled), WalletError::OtherSubject));
    let other_key = citizen.service_key(&home, LUNCH, &TestSigner::new(121));
    assert!(matches!(refused(LUNCH, other_key), WalletError::OtherKey));
    let mut id_chain = citizen.service_key(&home, LUNCH, &key);
    id_chain.chain = before.id().unwrap().chain().to_vec();
    assert!(matches!(refused(LUNCH, id_chain), WalletError::Chain(_)));
    assert_eq!(
        refused(LUNCH, citizen.service_key(&home, HOSPITAL, &key)).to_string(),
        "the certificate in the reply is for another citizen or service"
    );

    // The proof must be by the key it is for, and made for this wallet's ID key.
    let proof = before.service_key_proof(&service(LUNCH), &key.public_key()).unwrap();
    let proof = proof.sign(&key).unwrap();
    let other = TestSigner::new(122).public_key();
    let error = before.service_key_request(&other, &proof, nonce(1), NOW);
    assert!(matches!(error, Err(WalletError::WrongSigner { .. })));
    let error = taro.wallet.service_key_request(&key.public_key(), &proof, nonce(1), NOW);
    assert!(matches!(error, Err(WalletError::WrongSigner { .. })));
}

#[test]
fn a_foreign_link_is_refused() {
    let mut home = TestHome::new();
    let mut hanako = Citizen::new(&mut home, "hanako");
    let taro = Citizen::new(&mut home, "taro");
    let (lunch, hospital) = (service(LUNCH), service(HOSPITAL));
    let before = hanako.wallet.clone();
    let good = hanako.link(&home, LUNCH, HOSPITAL);
    let mut refused = |link, trust: &trust::Trust| {
        let error = hanako.wallet.accept_link(&lunch, &hospital, link, trust, NOW).unwrap_err();
        assert_eq!(hanako.wallet, before);
        error
    };
    let of_taro = taro.link(&home, LUNCH, HOSPITAL);
    assert!(matches!(refused(of_taro, home.trust()), WalletError::ForeignLink));
    let citizen = Citizen { wallet: before.clone(), ..Citizen::new(&mut home, "hanako") };
    let reversed = citizen.link(&home, HOSPITAL, LUNCH);
    assert!(matches!(refused(reversed, home.trust()), WalletError::ForeignLink));
    // Half mine, half someone else's.
    let mine = before.pair(&lunch).unwrap();
    let theirs = taro.wallet.pair(&hospital).unwrap();
    let forged = wire::consent::Link { source: mine, recipient: theirs, time: NOW };
    let signed = Signed::new(forged, &home.network.id, &home.node.signer).unwrap();
    let half = Attested { object: Bytes(signed.bytes().to_vec()), ..good.clone() };
    assert!(matches!(refused(half, home.trust()), WalletError::ForeignLink));
    // A member, but none that may issue citizens' certificates.
    let outsider = wire::OrganisationId::from_base("123456789012").unwrap();
    let member = home.network.organisation(0, &outsider, "Clinic", &[], &[]);
    let link = Signed::<wire::consent::Link>::decode(&good.object, &home.network.id).unwrap();
    let signed = Signed::new(link.unverified().clone(), &home.network.id, &member.signer).unwrap();
    let by_member =
        Attested { object: Bytes(signed.bytes().to_vec()), chain: member.chain.clone() };
    assert!(matches!(refused(by_member, home.trust()), WalletError::LinkSigner));
    // Signed by one, with the chain of another; and altered.
    let mixed = Attested { chain: member.chain.clone(), ..good.clone() };
    assert!(matches!(refused(mixed, home.trust()), WalletError::Signed(_)));
    let mut altered = good.clone();
    let last = altered.object.0.len() - 1;
    altered.object.0[last] ^= 1;
    assert!(matches!(refused(altered, home.trust()), WalletError::Signed(_)));

    let error = before.link_request(&lunch, &lunch, nonce(1), NOW);
    assert!(matches!(error, Err(WalletError::Draft(DraftFault::SameService))));
}

#[test]
fn a_permit_carries_exactly_its_draft() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let window = Window { from: Timestamp(1), until: later(0) };
    let reopened: BTreeSet<_> = [
        Reopen::Deny(wire::DecisionId([9; 32])),
        Reopen::Deny(wire::DecisionId([3; 32])),
        Reopen::Key(wire::KeyHash([4; 32])),
    ]
    .into();
    let draft = PermitDraft {
        reopens: reopened.clone(),
        uses: Uses::Per { count: 3, period_ms: DAY_MS },
        window: Some(window),
        onward: Onward::Allowed,
        request: Some(wire::Hash([6; 32])),
        ..permit_draft()
    };
    let signed =
        citizen.wallet.permit(&draft, nonce(5), NOW).unwrap().sign(&citizen.lunch).unwrap();
    let Decision { nonce: n, pair, scope, time, expressed_by, verdict } =
        signed.unverified().clone();
    assert_eq!((n, time, expressed_by), (nonce(5), NOW, ExpressedBy::Oneself));
    assert_eq!(pair, citizen.wallet.pair(&service(LUNCH)).unwrap());
    assert_eq!(
        scope,
        Scope {
            recipient: Recipient::Service(service(HOSPITAL)),
            items: Items::Types(vec![item("health.allergy"), item("health.medication")]),
            purpose: PurposeScope::Code("treatment".parse().unwrap()),
        }
    );
    let Verdict::Permit(permit) = verdict else { panic!("a deny") };
    assert_eq!(permit.recipient_subject, citizen.wallet.pair(&service(HOSPITAL)).unwrap().subject);
    assert_eq!(permit.reopens, reopened.into_iter().collect::<Vec<_>>());
    assert!(permit.reopens.is_sorted());
    assert_eq!((permit.valid_from, permit.valid_until), (NOW, NOW.plus_ms(30 * DAY_MS)));
    assert_eq!(permit.uses, Uses::Per { count: 3, period_ms: DAY_MS });
    assert_eq!((permit.window, permit.retention_days), (Some(window), Some(90)));
    assert_eq!((permit.onward, permit.request), (Onward::Allowed, Some(wire::Hash([6; 32]))));
    assert_eq!(permit.notice.hash, hash_parts("mebuku/notice/1", &[b"Who, what, why."]));
    assert_eq!((&permit.notice.language[..], permit.notice.version), ("en", 1));
    assert_eq!(permit.vocabulary, consent::vocabulary::CURRENT.version);
    assert_eq!(permit.link, *citizen.wallet.link(&service(LUNCH), &service(HOSPITAL)).unwrap());
    let shown = citizen.wallet.notice(&permit.notice.hash).unwrap();
    assert_eq!((&shown.text[..], shown.first_shown), ("Who, what, why.", NOW));
    signed.verify(&citizen.lunch.public_key()).unwrap();
}

/// Made of constants alone, so that only what is signed can change the hashes.
fn constant_wallet() -> Wallet {
    let key = |label: &str| TestSigner::from_label(label).public_key();
    let home =
        Home { organisation: "9000020102016".parse().unwrap(), url: "http://localhost".into() };
    let mut wallet = Wallet::new(wire::NetworkId([1; 32]), home);
    let y = Bytes(vec![2; 32]);
    let number = identity::Y::from_bytes(&y).unwrap().number();
    let not_after = NOW.plus_ms(365 * DAY_MS);
    wallet.set_id(IdKey { key: key("id"), chain: vec![], not_after, number, y });
    let subject = wallet.pair(&service(LUNCH)).unwrap().subject;
    let own = ServiceKey {
        key: key("lunch"),
        subject,
        chain: vec![],
        not_after,
        begun: true,
        acting: None,
    };
    wallet.set_service(service(LUNCH), own);
    let link = Attested { object: Bytes(vec![3]), chain: vec![Bytes(vec![4])] };
    wallet.set_link(service(LUNCH), service(HOSPITAL), link);
    wallet
}

#[test]
fn what_is_signed_never_changes_unnoticed() {
    let mut wallet = constant_wallet();
    let permit = wallet.permit(&permit_draft(), nonce(5), NOW).unwrap();
    let deny = wallet.deny(&deny_draft(&["health"]), nonce(6), NOW).unwrap();
    let stop = wallet.stop_everything(&service(LUNCH), nonce(7), NOW).unwrap();
    let hashes =
        [permit, deny, stop].map(|unsigned| wire::sha256(unsigned.to_be_signed()).to_string());
    assert_eq!(hashes, GOLDEN);
    assert_eq!(wire::sha256(&wallet.to_bytes()).to_string(), GOLDEN_FILE);
}

/// Ids of the three decisions above: SHA-256 of their Sig_structure. Whoever changes one breaks
/// every deployed wallet and stored decision.
const GOLDEN: [&str; 3] = [
    "3a9b5c0dc2803f72c5f4c7ca6161a32fcf68fcf04568fb790518bc2e6938322f",
    "82d11e3ed0b0df282de6ae312b6aa8edf84cdb6faeed55bf425dd716d9d6ec22",
    "cf07697310e6b28bdcde63b03fcdb4f26bae7b9a5408349327bc18cc9eb994f0",
];

/// SHA-256 of the stored wallet: whoever changes it has to raise its format.
const GOLDEN_FILE: &str = "857018be968f1f051fc0835b98bf517f62cc0d2c3c79521e3a2204178790d673";

#[test]
fn drafts_that_mean_nothing_are_refused() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let too_many: BTreeSet<_> =
        (0..65).map(|n| item(&format!("x.9000020102016.item-{n}"))).collect();
    let many_reopens: BTreeSet<_> =
        (0..257u16).map(|n| Reopen::Deny(wire::sha256(&n.to_be_bytes()).into())).collect();
    let notice = |text: &str, language: &str| NoticeText {
        text: text.into(),
        language: language.into(),
        version: 1,
    };
    let backwards = Window { from: Timestamp(2), until: Timestamp(2) };
    let not_after = citizen.wallet.service(&service(LUNCH)).unwrap().not_after;
    let cases = [
        (PermitDraft { items: BTreeSet::new(), ..permit_draft() }, DraftFault::ItemCount),
        (PermitDraft { items: too_many, ..permit_draft() }, DraftFault::ItemCount),
        (
            PermitDraft { items: [item("public.weather")].into(), ..permit_draft() },
            DraftFault::PublicItem(item("public.weather")),
        ),
        (
            PermitDraft { items: [item("healt")].into(), ..permit_draft() },
            DraftFault::UnknownItem(item("healt")),
        ),
        (
            PermitDraft { purpose: "fun".parse().unwrap(), ..permit_draft() },
            DraftFault::UnknownPurpose("fun".parse().unwrap()),
        ),
        (PermitDraft { recipient: service(LUNCH), ..permit_draft() }, DraftFault::SameService),
        (PermitDraft { valid_days: 0, ..permit_draft() }, DraftFault::NoTime),
        (
            PermitDraft { valid_days: 3660, ..permit_draft() },
            DraftFault::OutlivesCertificate(not_after),
        ),
        (
            PermitDraft { uses: Uses::Per { count: 0, period_ms: 1000 }, ..permit_draft() },
            DraftFault::Uses,
        ),
        (
            PermitDraft { uses: Uses::Per { count: 1, period_ms: 999 }, ..permit_draft() },
            DraftFault::Uses,
        ),
        (PermitDraft { window: Some(backwards), ..permit_draft() }, DraftFault::Window),
        (PermitDraft { reopens: many_reopens, ..permit_draft() }, DraftFault::TooManyReopens),
        (PermitDraft { notice: notice(" ", "en"), ..permit_draft() }, DraftFault::Notice),
        (PermitDraft { notice: notice("x", ""), ..permit_draft() }, DraftFault::Notice),
        (
            PermitDraft { notice: notice("x", &"a".repeat(36)), ..permit_draft() },
            DraftFault::Notice,
        ),
    ];
    let before = citizen.wallet.clone();
    for (draft, fault) in cases {
        match citizen.wallet.permit(&draft, nonce(1), NOW) {
            Err(WalletError::Draft(found)) => assert_eq!(found, fault),
            Err(other) => panic!("{fault}: {other}"),
            Ok(_) => panic!("{fault}: accepted"),
        }
    }
    assert_eq!(citizen.wallet, before, "nothing of a refused draft is kept");

    // A deny may name what does not exist yet, but nothing public, and at least something.
    citizen.wallet.deny(&deny_draft(&["health.not-yet"]), nonce(1), NOW).unwrap();
    for (items, fault) in [
        (&["public"][..], DraftFault::PublicItem(item("public"))),
        (&[][..], DraftFault::ItemCount),
    ] {
        let error = citizen.wallet.deny(&deny_draft(items), nonce(1), NOW).err().unwrap();
        assert!(matches!(error, WalletError::Draft(found) if found == fault));
    }
    let unsorted = deny_draft(&["health", "finance", "health"]);
    let signed =
        citizen.wallet.deny(&unsorted, nonce(1), NOW).unwrap().sign(&citizen.lunch).unwrap();
    assert_eq!(
        signed.unverified().scope.items,
        Items::Types(vec![item("finance"), item("health")])
    );

    // Without key or link there is nothing to sign with or to show.
    let elsewhere =
        PermitDraft { source: service(HOSPITAL), recipient: service(LUNCH), ..permit_draft() };
    let error = citizen.wallet.permit(&elsewhere, nonce(1), NOW).err().unwrap();
    assert!(matches!(error, WalletError::NoServiceKey(_)), "{error}");
    let clinic = PermitDraft { recipient: service("9000020102016/clinic"), ..permit_draft() };
    let error = citizen.wallet.permit(&clinic, nonce(1), NOW).err().unwrap();
    assert!(matches!(error, WalletError::NoLink { .. }), "{error}");
    let error = home.wallet().pair(&service(LUNCH)).unwrap_err();
    assert!(matches!(error, WalletError::NotEnrolled), "{error}");
}

#[test]
fn a_deny_stands_until_a_permit_names_it() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let lunch = service(LUNCH);
    let read = |citizen: &Citizen, home: &TestHome| {
        citizen.wallet.read_register(&lunch, &home.register(), home.trust(), later(60)).unwrap()
    };
    let allergy = citizen.wallet.deny(&deny_draft(&["health.allergy"]), nonce(1), NOW).unwrap();
    let allergy = citizen.decide(&mut home, allergy);
    let finance = citizen.wallet.deny(&deny_draft(&["finance"]), nonce(2), NOW).unwrap();
    citizen.decide(&mut home, finance);
    let clinic_only = DenyDraft {
        recipient: Recipient::Service(service("9000020102016/clinic")),
        ..deny_draft(&["health"])
    };
    let clinic_only = citizen.wallet.deny(&clinic_only, nonce(3), NOW).unwrap();
    citizen.decide(&mut home, clinic_only);

    let view = read(&citizen, &home);
    assert_eq!(view.rows().len(), 4);
    assert_eq!(view.denies_a_permit_would_reopen(&permit_draft()), [allergy]);
    let allowed = view.leaves_allowed_by(&permit_draft());
    assert_eq!(allowed, [item("health.medication")]);
    // Showing denies adds none of them.
    let permit = citizen.wallet.permit(&permit_draft(), nonce(4), NOW).unwrap();
    let partial = citizen.decide(&mut home, permit);
    let naming = PermitDraft { reopens: [Reopen::Deny(allergy)].into(), ..permit_draft() };
    assert_eq!(view.denies_a_permit_would_reopen(&naming), [allergy]);
    assert_eq!(view.leaves_allowed_by(&naming).len(), 2);
    let permit = citizen.wallet.permit(&naming, nonce(5), NOW).unwrap();
    let full = citizen.decide(&mut home, permit);

    let view = read(&citizen, &home);
    let leaves = |id| view.standing(&id, later(60)).unwrap().map(|yes| yes.leaves().len());
    assert_eq!((leaves(partial), leaves(full)), (Ok(1), Ok(2)));
    assert_eq!(view.standing(&allergy, later(60)), None, "a deny is no permit");
    let over = NOW.plus_ms(30 * DAY_MS);
    assert_eq!(view.standing(&full, over), Some(Err(Refused::Expired)));

    let stop = citizen.wallet.stop_everything(&lunch, nonce(6), NOW).unwrap();
    let stop = citizen.decide(&mut home, stop);
    let view = read(&citizen, &home);
    assert_eq!(view.standing(&full, later(60)), Some(Err(Refused::Denied)));
    let mut both = [allergy, stop];
    both.sort();
    assert_eq!(view.denies_a_permit_would_reopen(&naming), both);
    assert!(view.leaves_allowed_by(&naming).is_empty());
}

#[test]
fn a_register_is_read_as_the_source_reads_it() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    Citizen::new(&mut home, "taro");
    let lunch = service(LUNCH);
    let pair = citizen.wallet.pair(&lunch).unwrap();
    // Taro's key-begin is in the same channel, but not in the register of this pair.
    let mut register = home.register();
    assert_eq!(register.entries.len(), 2);
    let read =
        |register: &_| citizen.wallet.read_register(&lunch, register, home.trust(), later(60));
    assert!(matches!(read(&register), Err(WalletError::Extract(_))));
    register.entries.retain(|listed| listed.entry.subject == pair.subject);
    let view = read(&register).unwrap();
    assert!(matches!(&view.rows()[0].content, RegisterContent::KeyBegin(_)));

    // A deny whose signature was broken on the way stands as a deny of its scope, under its hash; a
    // broken permit is none; a deny with another's id beside it is shown as what it is.
    let deny = citizen.wallet.deny(&deny_draft(&["health"]), nonce(1), NOW).unwrap();
    let deny = deny.sign(&citizen.lunch).unwrap();
    let submission = citizen.wallet.attest_with_service_key(&lunch, &deny).unwrap();
    let mut broken = submission.clone();
    let last = broken.object.0.len() - 1;
    broken.object.0[last] ^= 1;
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    home.append(EntryKind::DENY, pair.subject, deny.unverified().scope.clone(), &broken);
    let permit = citizen.wallet.permit(&permit_draft(), nonce(2), NOW).unwrap();
    let permit = permit.sign(&citizen.lunch).unwrap();
    let scope = permit.unverified().scope.clone();
    home.append(EntryKind::PERMIT, pair.subject, scope, &broken);
    home.take(&deny, &submission);
    let mut register = home.register();
    register.entries[3].decision = Some(permit.id().into());
    register.entries[3].status = InForce::Acknowledged(later(2));
    let view = citizen.wallet.read_register(&lunch, &register, home.trust(), later(60)).unwrap();
    let unreadable = |row: usize| match &view.rows()[row].content {
        RegisterContent::Unreadable { stands_as, fault, .. } => (*stands_as, fault.clone()),
        other => panic!("row {row}: {other:?}"),
    };
    let channel = wire::channel::ChannelId {
        home: citizen.wallet.home().organisation.clone(),
        source: lunch.clone(),
    };
    let hash = register.entries[1].entry.hash();
    let unreadable_id = consent::source::unreadable_id(&channel, &hash);
    assert_eq!(unreadable(1).0, Some(unreadable_id));
    assert!(unreadable(1).1.contains("signature"), "{}", unreadable(1).1);
    assert_eq!(unreadable(2).0, None);
    assert_eq!(
        unreadable(3),
        (Some(deny.id().into()), "the home lists it under another id than its own".into())
    );
    assert_eq!(view.rows()[3].status, Some(InForce::Acknowledged(later(2))));
    let mut denies = vec![unreadable_id, deny.id().into()];
    denies.sort();
    assert_eq!(view.denies_a_permit_would_reopen(&permit_draft()), denies);

    // Out of the channel's order, or with a trust list that says nothing any more: no view at all.
    register.entries.swap(1, 2);
    let error = citizen.wallet.read_register(&lunch, &register, home.trust(), later(60));
    assert!(matches!(error, Err(WalletError::Extract(_))), "{error:?}");
    register.entries.swap(1, 2);
    let long_after = NOW.plus_ms(15 * DAY_MS);
    let error = citizen.wallet.read_register(&lunch, &register, home.trust(), long_after);
    assert!(matches!(error, Err(WalletError::Chain(trust::ChainError::TrustExpired))));
}

#[test]
fn who_acts_for_the_citizen_signs_as_that_and_no_longer_than_its_key_stands() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let lunch = service(LUNCH);
    let phone = TestSigner::new(131);
    let mut proxy = citizen.wallet.clone();
    let mut reply = citizen.service_key(&home, LUNCH, &phone);
    reply.begun = false;
    proxy.accept_service_key(&lunch, &phone.public_key(), reply, home.trust(), NOW).unwrap();
    let own = proxy.service(&lunch).unwrap();
    assert_eq!(own.expressed_by(), ExpressedBy::Oneself, "nothing else is known yet");
    // What a wallet of before this keeps is read, and what it keeps for the citizen is unchanged.
    assert_eq!(Wallet::from_bytes(&proxy.to_bytes()).unwrap(), proxy);

    let days = |n: u64| NOW.plus_ms(n * DAY_MS);
    let chain = own.chain.clone();
    let begin = citizen.wallet.approve_proxy(&lunch, chain, days(40), home.trust(), nonce(1), NOW);
    let begin = begin.unwrap().sign(&citizen.lunch).unwrap();
    assert_eq!(begin.unverified().until, days(40));
    let body = citizen.wallet.attest_with_service_key(&lunch, &begin).unwrap();
    let subject = citizen.wallet.pair(&lunch).unwrap().subject;
    home.append(EntryKind::KEY_BEGIN, subject, Scope::EVERYTHING, &body);
    let view = proxy.read_register(&lunch, &home.register(), home.trust(), later(1)).unwrap();
    proxy.note_register(&lunch, &view);
    let own = proxy.service(&lunch).unwrap();
    assert_eq!(own.acting, Some(Acting { basis: ExpressedBy::Proxy, until: days(40) }));
    assert_eq!(Wallet::from_bytes(&proxy.to_bytes()).unwrap(), proxy);

    let draft = |valid_days| PermitDraft { valid_days, ..permit_draft() };
    let permit = proxy.permit(&draft(30), nonce(2), NOW).unwrap().sign(&phone).unwrap();
    assert_eq!(permit.unverified().expressed_by, ExpressedBy::Proxy);
    let deny = proxy.stop_everything(&lunch, nonce(3), NOW).unwrap();
    assert_eq!(deny.sign(&phone).unwrap().unverified().expressed_by, ExpressedBy::Proxy);
    let long = proxy.permit(&draft(41), nonce(4), NOW);
    let at = days(40);
    assert!(matches!(long, Err(WalletError::Draft(DraftFault::OutlivesKey(until))) if until == at));
    let id = permit.id().into();
    home.take(&permit, &proxy.attest_with_service_key(&lunch, &permit).unwrap());
    let view = proxy.read_register(&lunch, &home.register(), home.trust(), later(1)).unwrap();
    assert!(view.standing(&id, later(1)).unwrap().is_ok());
    // The citizen's own phone knows itself.
    citizen.wallet.note_register(&lunch, &view);
    assert_eq!(citizen.wallet.service(&lunch).unwrap().expressed_by(), ExpressedBy::Oneself);
}

#[test]
fn a_key_that_was_not_begun_learns_of_it_from_the_register() {
    let mut home = TestHome::new();
    let mut citizen = Citizen::new(&mut home, "hanako");
    let lunch = service(LUNCH);
    // The second phone: same person, same service, its key approved by the first.
    let phone = TestSigner::new(130);
    let mut second = citizen.wallet.clone();
    let mut reply = citizen.service_key(&home, LUNCH, &phone);
    reply.begun = false;
    let begun =
        second.accept_service_key(&lunch, &phone.public_key(), reply, home.trust(), NOW).unwrap();
    assert!(!begun && !second.service(&lunch).unwrap().begun);
    let permit = second.permit(&permit_draft(), nonce(1), NOW).unwrap().sign(&phone).unwrap();
    let id = permit.id().into();
    home.take(&permit, &second.attest_with_service_key(&lunch, &permit).unwrap());
    let view = second.read_register(&lunch, &home.register(), home.trust(), later(1)).unwrap();
    assert_eq!(view.standing(&id, later(1)), Some(Err(Refused::KeyDoesNotStand)));
    second.note_register(&lunch, &view);
    assert!(!second.service(&lunch).unwrap().begun);

    let chain = second.service(&lunch).unwrap().chain.clone();
    let begin = citizen.wallet.approve_key(&lunch, chain, home.trust(), nonce(2), NOW).unwrap();
    let begin = begin.sign(&citizen.lunch).unwrap();
    let body = citizen.wallet.attest_with_service_key(&lunch, &begin).unwrap();
    let subject = citizen.wallet.pair(&lunch).unwrap().subject;
    home.append(EntryKind::KEY_BEGIN, subject, Scope::EVERYTHING, &body);
    let view = second.read_register(&lunch, &home.register(), home.trust(), later(1)).unwrap();
    assert!(view.standing(&id, later(1)).unwrap().is_ok());
    second.note_register(&lunch, &view);
    assert!(second.service(&lunch).unwrap().begun);

    // The phone is lost: the first one ends its key, and its permit with it.
    let key = phone.public_key().key_hash();
    let end = citizen.wallet.end_key(&lunch, key, &BTreeSet::new(), nonce(3), NOW).unwrap();
    let end = end.sign(&citizen.lunch).unwrap();
    let body = citizen.wallet.attest_with_service_key(&lunch, &end).unwrap();
    home.append(EntryKind::KEY_END, subject, Scope::EVERYTHING, &body);
    let view =
        citizen.wallet.read_register(&lunch, &home.register(), home.trust(), later(1)).unwrap();
    assert!(
        matches!(&view.rows().last().unwrap().content, RegisterContent::KeyEnd(end) if end.key == key)
    );
    assert_eq!(view.standing(&id, later(1)), Some(Err(Refused::KeyDoesNotStand)));

    let own = citizen.lunch.public_key().key_hash();
    let error = citizen.wallet.end_key(&lunch, own, &BTreeSet::new(), nonce(4), NOW);
    assert!(matches!(error, Err(WalletError::Draft(DraftFault::EndsItself))));
    let stranger = Citizen::new(&mut home, "taro").wallet.service(&lunch).unwrap().chain.clone();
    let error = citizen.wallet.approve_key(&lunch, stranger, home.trust(), nonce(5), NOW);
    assert!(matches!(error, Err(WalletError::OtherSubject)));
    citizen.wallet.note_register(&lunch, &view);
}

#[test]
fn records_are_one_item_of_json() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    let lunch = service(LUNCH);
    let record = |name: &str, content: &str| {
        citizen.wallet.record(&lunch, item(name), content, nonce(1), NOW)
    };
    let signed = record("health.allergy", r#"{"egg":true}"#).unwrap().sign(&citizen.lunch).unwrap();
    let submission = signed.unverified();
    assert_eq!(submission.pair, citizen.wallet.pair(&lunch).unwrap());
    assert_eq!((&submission.content[..], submission.time), (&br#"{"egg":true}"#[..], NOW));
    let fault = |result: Result<_, WalletError>| match result.err().unwrap() {
        WalletError::Draft(fault) => fault,
        other => panic!("{other}"),
    };
    assert_eq!(fault(record("health", "{}")), DraftFault::UnknownItem(item("health")));
    assert_eq!(fault(record("health.allergy", "{egg}")), DraftFault::Record);
    let long = format!("\"{}\"", "a".repeat(wire::limits::RECORD));
    assert_eq!(fault(record("health.allergy", &long)), DraftFault::Record);
}

#[test]
fn answers_and_signers_are_matched() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    let lunch = service(LUNCH);
    let deny = citizen.wallet.stop_everything(&lunch, nonce(1), NOW).unwrap();
    let deny = deny.sign(&citizen.lunch).unwrap();
    let mut reply = DecisionReply {
        decision: deny.id().into(),
        seq: Some(0),
        status: InForce::Accepted,
        effect: None,
    };
    citizen.wallet.check_decision_reply(&deny, &reply).unwrap();
    reply.decision.0[0] ^= 1;
    let error = citizen.wallet.check_decision_reply(&deny, &reply);
    assert!(matches!(error, Err(WalletError::OtherDecision)));

    let query = citizen.wallet.query(&lunch, nonce(2), NOW).unwrap().sign(&citizen.lunch).unwrap();
    let attested = citizen.wallet.attest_with_service_key(&lunch, &query).unwrap();
    assert_eq!(attested.chain, citizen.wallet.service(&lunch).unwrap().chain);
    let error = citizen.wallet.attest_with_id(&query);
    assert!(matches!(error, Err(WalletError::WrongSigner { .. })));
}

#[test]
fn a_stored_wallet_is_read_strictly_and_hides_its_secret() {
    let mut home = TestHome::new();
    let citizen = Citizen::new(&mut home, "hanako");
    let bytes = citizen.wallet.to_bytes();
    assert_eq!(Wallet::from_bytes(&bytes).unwrap(), citizen.wallet);
    assert_eq!(bytes, citizen.wallet.to_bytes());
    assert!(matches!(Wallet::from_bytes(&bytes[1..]), Err(WalletError::Stored(_))));
    let mut value = cbor::value_from_slice(&bytes).unwrap();
    for (key, value) in value.as_map_mut().unwrap() {
        if key.as_text() == Some("format") {
            *value = 9.into();
        }
    }
    let newer = cbor::to_vec(&value);
    assert!(matches!(Wallet::from_bytes(&newer), Err(WalletError::StoredFormat(9))));

    let shown = format!("{:?}", citizen.wallet);
    let y = hash_parts("test-y", &[b"hanako"]);
    let number = citizen.wallet.id().unwrap().number().to_string();
    assert!(!shown.contains(&y.to_string()) && !shown.contains(&format!("{:?}", &y.0[..4])));
    assert!(!shown.contains(&number));
}
