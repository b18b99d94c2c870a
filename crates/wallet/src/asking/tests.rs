use trust::testing::{NOW, TestOrganisation, TestSigner};
use wire::{
    Nonce, ServiceId, Signer,
    consent::{Attested, Onward, Uses, Verdict},
};

use super::*;
use crate::testing::{Citizen, HOSPITAL, LUNCH, TestHome, later, nonce, service};

/// A citizen with a key at the hospital, too.
fn patient(home: &mut TestHome) -> (Citizen, TestSigner) {
    let mut citizen = Citizen::new(home, "hanako");
    let key = TestSigner::from_label("hanako hospital");
    let reply = citizen.service_key(home, HOSPITAL, &key);
    let at = service(HOSPITAL);
    citizen.wallet.accept_service_key(&at, &key.public_key(), reply, home.trust(), NOW).unwrap();
    (citizen, key)
}

fn request(citizen: &Citizen) -> ConsentRequest {
    ConsentRequest {
        id: Nonce([1; 16]),
        source: service(LUNCH),
        recipient: service(HOSPITAL),
        subject: citizen.wallet.pair(&service(HOSPITAL)).unwrap().subject,
        items: vec!["health.allergy".parse().unwrap()],
        purpose: "treatment".parse().unwrap(),
        valid_days: 30,
        uses: Uses::Once,
        window: None,
        retention_days: Some(90),
        onward: Onward::Forbidden,
        text: "診療のために、アレルギー情報を受け取ります。".to_owned(),
        language: "ja".to_owned(),
        version: 4,
        issued: NOW,
        expires: later(3600),
    }
}

fn waiting(home: &TestHome, node: &TestOrganisation, request: ConsentRequest) -> WaitingRequests {
    let signed = Signed::new(request, &home.network.id, &node.signer).unwrap();
    let chain = node.chain.clone();
    WaitingRequests { requests: vec![Attested { object: signed.bytes().to_vec().into(), chain }] }
}

#[test]
fn a_request_leads_to_the_permit_it_asks_for_and_to_an_answer() {
    let mut home = TestHome::new();
    let (mut citizen, key) = patient(&mut home);
    let asked = waiting(&home, &home.node, request(&citizen));
    let hospital = service(HOSPITAL);
    let read = citizen.wallet.read_requests(&hospital, &asked, home.trust(), later(60)).unwrap();
    assert_eq!(read.len(), 1);
    let permit = citizen.wallet.permit(&read[0].permit(), nonce(9), later(60)).unwrap();
    let permit = permit.sign(&citizen.lunch).unwrap();
    let Verdict::Permit(permit) = &permit.unverified().verdict else { panic!("a permit") };
    let shown = read[0].permit().notice.hash();
    assert_eq!((permit.notice.hash, permit.notice.version), (shown, 4));
    assert_eq!(permit.valid_until, later(60 + 30 * 24 * 3600));
    assert_eq!(citizen.wallet.notice(&shown).unwrap().text, read[0].request.text);

    let answer = citizen.wallet.answer(&read[0], Answered::Agreed, later(61)).unwrap();
    let answer = answer.sign(&key).unwrap();
    let said = answer.unverified();
    assert_eq!((said.request, said.answer), (read[0].id, Answered::Agreed));
    assert_eq!(said.pair.source, hospital, "nothing of the source is in it");
    citizen.wallet.attest_with_service_key(&hospital, &answer).unwrap();
}

#[test]
fn what_is_not_for_this_citizen_or_not_the_recipients_is_not_shown() {
    let mut home = TestHome::new();
    let (citizen, _) = patient(&mut home);
    let hospital = service(HOSPITAL);
    let refused = |node: &TestOrganisation, change: &dyn Fn(&mut ConsentRequest), words: &str| {
        let mut request = request(&citizen);
        change(&mut request);
        let asked = waiting(&home, node, request);
        let read = citizen.wallet.read_requests(&hospital, &asked, home.trust(), later(60));
        let said = read.unwrap_err().to_string();
        assert!(said.contains(words), "{said}");
    };
    refused(&home.network.city(1), &|_| {}, "another organisation");
    refused(&home.node, &|r| r.subject = ServiceId([3; 32]), "another citizen");
    refused(&home.node, &|r| r.recipient = service(LUNCH), "of another recipient");
    refused(&home.node, &|r| r.text = "\u{1b}[2J".to_owned(), "control character");
    refused(&home.node, &|r| r.expires = later(60), "expired");
}
