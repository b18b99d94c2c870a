use proptest::prelude::*;

use super::*;
use crate::cbor;

#[test]
fn corporate_numbers() {
    // The National Tax Agency's own number, and two local public bodies' with the check digit
    // worked out by hand from the formula of the order.
    for valid in ["7000012050002", "9000020102016", "7000020100005", "1180301018771"] {
        let organisation: OrganisationId = valid.parse().unwrap();
        assert_eq!(organisation.as_str(), valid);
        assert_eq!(OrganisationId::from_base(&valid[1..]).unwrap(), organisation);
        for wrong in (0..10).filter(|digit| valid[..1] != digit.to_string()) {
            assert!(format!("{wrong}{}", &valid[1..]).parse::<OrganisationId>().is_err());
        }
    }
    for wrong in [
        "",
        "7",
        "700001205000",
        "70000120500020",
        " 7000012050002",
        "7000012050002\n",
        "700001205000a",
        "７００００１２０５０００２",
        "-000012050002",
        "7000012050 02",
    ] {
        assert!(wrong.parse::<OrganisationId>().is_err(), "{wrong:?}");
        assert!(OrganisationId::from_base(wrong).is_err() || wrong == "700001205000", "{wrong:?}");
    }
    assert!(OrganisationId::from_base("12345678901").is_err());
    assert!(OrganisationId::from_base("1234567890123").is_err());
}

#[test]
fn service_names() {
    let name: ServiceName = "7000012050002/school-lunch-2".parse().unwrap();
    assert_eq!(name.organisation(), "7000012050002".parse().unwrap());
    assert_eq!(name.short_name(), "school-lunch-2");
    assert_eq!(name.uri(), "mebuku:7000012050002/school-lunch-2");
    assert_eq!(ServiceName::from_uri(&name.uri()), Ok(name.clone()));
    assert_eq!(name.to_string(), name.as_str());
    let longest = format!("7000012050002/{}", "a".repeat(32));
    assert!(longest.parse::<ServiceName>().is_ok());
    for wrong in [
        "",
        "/",
        "app",
        "7000012050002",
        "7000012050002/",
        "/app",
        "8000012050002/app",
        "7000012050002/App",
        "7000012050002/a/b",
        "7000012050002/a_b",
        "7000012050002/a b",
        "7000012050002/給食",
        "7000012050002//app",
        "7000012050002/app\0",
        &format!("{longest}a"),
    ] {
        assert!(wrong.parse::<ServiceName>().is_err(), "{wrong:?}");
    }
    for wrong in [
        "",
        "mebuku:",
        "7000012050002/app",
        "MEBUKU:7000012050002/app",
        "mebuku://7000012050002/app",
    ] {
        assert!(ServiceName::from_uri(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn item_types() {
    let item = |text: &str| text.parse::<ItemType>();
    for valid in ["health", "health.allergy", "a.b.c.d.e.f.g.h", "public", "x-1.2-y", "0"] {
        assert_eq!(item(valid).unwrap().as_str(), valid);
    }
    assert!(item(&["a".repeat(31), "b".repeat(32)].join(".")).is_ok(), "64 characters");
    for wrong in [
        "",
        ".",
        "health.",
        ".health",
        "health..allergy",
        "Health",
        "health allergy",
        "a.b.c.d.e.f.g.h.i",
        "health/allergy",
        "健康",
        "*",
    ] {
        assert!(item(wrong).is_err(), "{wrong:?}");
    }
    assert!(item(&"a".repeat(33)).is_err());
    assert!(item(&["a".repeat(32), "b".repeat(32)].join(".")).is_err(), "65 characters");

    let within = |inner: &str, outer: &str| item(inner).unwrap().is_within(&item(outer).unwrap());
    assert!(within("health", "health"));
    assert!(within("health.allergy", "health"));
    assert!(within("health.allergy.food", "health.allergy"));
    assert!(!within("health", "health.allergy"));
    assert!(!within("healthy", "health"));
    assert!(!within("health-2.allergy", "health"));
    assert!(!within("school.health", "health"));
}

#[test]
fn purposes() {
    let purpose = |text: &str| text.parse::<Purpose>();
    assert!(purpose("treatment").is_ok() && purpose("x.9000020102016.a.b").is_ok());
    for wrong in ["", "Treatment", "a..b", ".a", "a.", "a b", "a.b.c.d.e", &"a".repeat(33)] {
        assert!(purpose(wrong).is_err(), "{wrong:?}");
    }
    let care = purpose("welfare.child-care").unwrap();
    assert!(care.is_within(&care) && care.is_within(&purpose("welfare").unwrap()));
    assert!(!care.is_within(&purpose("welfare.child").unwrap()));
}

#[test]
fn byte_ids_have_one_spelling() {
    let hash = Hash([0xab; 32]);
    assert_eq!(hash.to_string(), "ab".repeat(32));
    assert_eq!(hash.to_string().parse(), Ok(hash));
    assert!("AB".repeat(32).parse::<Hash>().is_err());
    assert!("ab".repeat(31).parse::<Hash>().is_err());
    assert!("ab".repeat(33).parse::<Hash>().is_err());
    assert!("zz".repeat(32).parse::<Hash>().is_err());
    assert!(format!("0x{}", "ab".repeat(31)).parse::<Hash>().is_err());
    assert!(Hash::try_from(&[0u8; 31][..]).is_err());
    assert!(Nonce::try_from(&[0u8; 17][..]).is_err());
    assert_eq!(DecisionId::from(hash).0, ServiceId::from(hash).0);
    assert_eq!(format!("{:?}", Nonce([1; 16])), format!("Nonce({})", "01".repeat(16)));
}

#[test]
fn binary_in_cbor_and_text_in_json() {
    let nonce = Nonce([0xfe; 16]);
    assert_eq!(cbor::to_vec(&nonce), [&[0x50][..], &[0xfe; 16]].concat());
    assert_eq!(serde_json::to_value(nonce).unwrap(), "fe".repeat(16));
    assert!(cbor::from_slice::<Nonce>(&cbor::to_vec(&"fe".repeat(16))).is_err());
    assert!(cbor::from_slice::<Nonce>(&cbor::to_vec(&[0xfeu8; 16])).is_err());

    let item: ItemType = "health.allergy".parse().unwrap();
    assert_eq!(cbor::to_vec(&item), [&[0x6e][..], b"health.allergy"].concat());
    assert_eq!(serde_json::to_value(&item).unwrap(), "health.allergy");
    assert!(cbor::from_slice::<ItemType>(&cbor::to_vec("Health")).is_err());
    assert!(cbor::from_slice::<OrganisationId>(&cbor::to_vec("0000012050002")).is_err());
    assert!(
        cbor::from_slice::<ServiceName>(&cbor::to_vec(&cbor::Bytes(b"7000012050002/a".to_vec())))
            .is_err()
    );
    assert!(serde_json::from_str::<Purpose>("\"a b\"").is_err());
    assert!(serde_json::from_str::<Hash>(&format!("\"{}\"", "AB".repeat(32))).is_err());
}

#[test]
fn timestamps_do_not_wrap() {
    assert_eq!(Timestamp::from_secs(2), Timestamp(2000));
    assert_eq!(Timestamp(2999).as_secs(), 2);
    assert_eq!(Timestamp::from_secs(u64::MAX), Timestamp(u64::MAX));
    assert_eq!(Timestamp(u64::MAX - 1).plus_ms(5), Timestamp(u64::MAX));
    assert_eq!(Timestamp(5).ms_since(Timestamp(9)), 0);
    assert_eq!(Timestamp(9).ms_since(Timestamp(5)), 4);
}

proptest! {
    #[test]
    fn check_digits_find_one_wrong_digit_mostly(base in "[0-9]{12}", place in 1usize..13, digit in 0u8..10) {
        let number = OrganisationId::from_base(&base).unwrap();
        prop_assert!(number.as_str().parse::<OrganisationId>().is_ok());
        let mut wrong = number.as_str().as_bytes().to_vec();
        let was = wrong[place] - b'0';
        wrong[place] = b'0' + digit;
        let wrong = String::from_utf8(wrong).unwrap();
        // Modulo nine cannot tell 0 from 9; every other single error shows.
        let same = was % 9 == digit % 9;
        prop_assert_eq!(wrong.parse::<OrganisationId>().is_ok(), same);
    }

    #[test]
    fn any_text_parses_to_itself_or_not_at_all(text in "\\PC{0,80}|[a-z0-9.-]{1,70}|[0-9]{13}/[a-z0-9-]{0,34}") {
        if let Ok(id) = text.parse::<OrganisationId>() { prop_assert_eq!(id.as_str(), &text); }
        if let Ok(id) = text.parse::<ServiceName>() {
            prop_assert_eq!(format!("{}/{}", id.organisation(), id.short_name()), text.clone());
        }
        if let Ok(id) = text.parse::<ItemType>() { prop_assert!(id.is_within(&id)); }
        if let Ok(id) = text.parse::<Purpose>() { prop_assert_eq!(id.to_string(), text); }
    }

    #[test]
    fn bytes_print_and_parse(raw in any::<[u8; 32]>()) {
        let id = ServiceId(raw);
        prop_assert_eq!(id.to_string().parse(), Ok(id));
        prop_assert_eq!(cbor::from_slice::<ServiceId>(&cbor::to_vec(&id)), Ok(id));
        let json = serde_json::to_string(&id).unwrap();
        prop_assert_eq!(serde_json::from_str::<ServiceId>(&json).unwrap(), id);
    }
}
