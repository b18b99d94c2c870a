use evidence::record::Release;
use trust::testing::{NOW, TestSigner};
use wire::{
    DecisionId, Pair,
    channel::{ChannelId, Position},
};

use super::*;
use crate::{
    credential::check_presentation,
    fixture::{Fixture, HERE, PERMIT, claims, expected, hospital, item, lunch},
};

struct Case {
    fixture: Fixture,
    released: Released,
    checked: CheckedPresentation,
}

impl Case {
    /// A presentation released, received and checked.
    fn new() -> Self {
        let fixture = Fixture::new();
        let request = fixture.request(&["health.allergy"], true);
        let signed = fixture.signed(request.clone());
        let presentation = fixture.present(&claims(&request, signed.id(), &["health.allergy"]));
        let expected = expected(&request, signed.id(), NOW);
        let checked = check_presentation(presentation.bytes(), &expected, fixture.trust()).unwrap();
        let home = fixture.network.cities[1].organisation.clone();
        let release = Release {
            request: signed.bytes().to_vec().into(),
            request_id: signed.id(),
            request_nonce: request.id,
            permits: vec![PERMIT],
            items: vec![item("health.allergy")],
            presentation: presentation.hash(),
            pair: Pair { source: lunch(), subject: HERE },
            recipient: hospital(),
            channel: ChannelId { home, source: lunch() },
            position: Position { length: 3, chain: Hash([1; 32]) },
            map: Hash([2; 32]),
            lease: Some(Hash([3; 32])),
        };
        let leaves: Vec<(_, DecisionId)> = vec![(item("health.allergy"), PERMIT)];
        Self { released: Released { release, leaves, time: NOW }, fixture, checked }
    }

    fn check(
        &self,
        receipt: Receipt,
        signer: &TestSigner,
        released: Option<&Released>,
    ) -> Result<Verified<Receipt>, ReceiptError> {
        let network = &self.fixture.network.id;
        let signed = Signed::new(receipt, network, signer).unwrap();
        let received = ReceivedReceipt::decode(signed.bytes(), network).unwrap();
        assert_eq!(received.claimed_request(), signed.unverified().request);
        let member = self.fixture.member(&self.fixture.hospital);
        received.check(&member, released, NOW.plus_ms(100))
    }
}

#[test]
fn a_receipt_for_what_was_released() {
    let case = Case::new();
    let receipt = receipt(&case.checked, NOW.plus_ms(50));
    let hospital = &case.fixture.hospital.signer;
    let verified = case.check(receipt.clone(), hospital, Some(&case.released)).unwrap();
    assert_eq!(verified.message(), &receipt);
    assert_eq!(receipt.request, case.released.release.request_id);
    assert_eq!(receipt.presentation, case.released.release.presentation);
}

#[test]
fn everything_else_does_not_count() {
    let case = Case::new();
    let good = receipt(&case.checked, NOW);
    let key = &case.fixture.hospital.signer;
    let why =
        |receipt: Receipt, released| case.check(receipt, key, released).map(|_| ()).unwrap_err();
    let released = Some(&case.released);
    assert_eq!(why(good.clone(), None), ReceiptError::NothingReleased);
    let other = Receipt { request: Hash([9; 32]), ..good.clone() };
    assert_eq!(why(other, released), ReceiptError::NothingReleased);
    let other = Receipt { presentation: Hash([9; 32]), ..good.clone() };
    assert_eq!(why(other, released), ReceiptError::OtherPresentation);
    let early = Receipt { time: Timestamp(NOW.0 - 60_001), ..good.clone() };
    assert_eq!(why(early, released), ReceiptError::Time);
    let late = Receipt { time: NOW.plus_ms(60_101), ..good.clone() };
    assert_eq!(why(late, released), ReceiptError::Time);
    for time in [Timestamp(NOW.0 - 60_000), NOW.plus_ms(60_100)] {
        case.check(Receipt { time, ..good.clone() }, key, released).unwrap();
    }
    // Released to somebody else.
    let mut foreign = case.released.clone();
    foreign.release.recipient = lunch();
    assert_eq!(why(good.clone(), Some(&foreign)), ReceiptError::NothingReleased);
    // Signed by somebody else.
    let stranger = TestSigner::new(200);
    let error = case.check(good.clone(), &stranger, released).unwrap_err();
    assert_eq!(
        (error.clone(), error.rejection()),
        (ReceiptError::OtherKey, Rejection::NotAuthentic)
    );
    // Another network, and bytes that are no receipt.
    let other = wire::NetworkId([9; 32]);
    let signed = Signed::new(good, &other, key).unwrap();
    let member = case.fixture.member(&case.fixture.hospital);
    let error = ReceivedReceipt::decode(signed.bytes(), &case.fixture.network.id)
        .unwrap()
        .check(&member, released, NOW)
        .unwrap_err();
    assert!(matches!(error, ReceiptError::Signature(_)));
    let request = case.fixture.signed(case.fixture.request(&["health"], false));
    let error = ReceivedReceipt::decode(request.bytes(), &case.fixture.network.id).unwrap_err();
    assert_eq!(error.rejection(), Rejection::Malformed);
}
