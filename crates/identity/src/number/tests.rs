use proptest::prelude::*;

use super::*;

fn y(byte: u8) -> Y {
    Y::from_bytes(&[byte; 32]).unwrap()
}

fn service(text: &str) -> ServiceName {
    text.parse().unwrap()
}

#[test]
fn numbers_are_written_one_way() {
    assert_eq!(Number([0; 10]).to_string(), "0000-0000-0000-0000-01");
    assert_eq!(Number([0xff; 10]).to_string(), "ZZZZ-ZZZZ-ZZZZ-ZZZZ-UU");
    let text = Number([0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 0x0f, 0xed]).to_string();
    // 00010 01000 11010 00101 01100 11110 00100 11010 | 10111 10011 01111 01111 00000 00011 11111 01101
    assert_eq!(&text[..20], "28T5-CY4T-QKFF-03ZD-");
    assert_eq!(text.len(), 22);
    assert_eq!(text.parse::<Number>().unwrap().to_string(), text);
    for bad in [
        "",
        "0000",
        "0000000000000000-01",
        "0000-0000-0000-0000-0",
        "0000-0000-0000-0000-011",
        "000000000000000001",
        "o000-0000-0000-0000-01",
        "I000-0000-0000-0000-01",
        "U000-0000-0000-0000-01",
        "0000-0000-0000-0000 01",
        "0000-0000-0000-000０-1",
    ] {
        assert_eq!(bad.parse::<Number>(), Err(BadNumber::Form), "{bad}");
    }
    assert_eq!("0000-0000-0000-0000-02".parse::<Number>(), Err(BadNumber::Check));
}

#[test]
fn what_comes_of_y_is_fixed_for_ever() {
    let y = y(7);
    let lunch = service("9000020102016/lunch");
    let hash = hash_parts("mebuku/number/1", &[&[7; 32]]);
    assert_eq!(y.number().as_bytes()[..], hash.0[..10]);
    assert_eq!(y.number().to_string(), NUMBER_OF_SEVENS);
    assert_eq!(service_id(&y, &lunch).to_string(), LUNCH_OF_SEVENS);
}

/// Both worked out by another program (Python, with the check characters found by trying all).
const NUMBER_OF_SEVENS: &str = "CXB1-TJJZ-XNGW-5Z14-4P";
const LUNCH_OF_SEVENS: &str = "3300d31238631efdfb32ce32c00ba53dfadc70e9aaf8fce31c98e604f7dc8d13";

#[test]
fn service_ids_differ_by_service_and_by_person() {
    let services = ["9000020102016/lunch", "9000020102016/lunch2", "9000020102016/reception"];
    let mut ids: Vec<_> = services.iter().map(|s| service_id(&y(1), &service(s))).collect();
    ids.extend(services.iter().map(|s| y(2).service_id(&service(s))));
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 6);
    assert_eq!(service_id(&y(1), &service(services[0])), y(1).service_id(&service(services[0])));
}

#[test]
fn secrets_and_numbers_stay_out_of_debug_output() {
    assert_eq!(format!("{:?} {:?}", y(1), y(1).number()), "Y(..) Number(..)");
    assert_eq!(Y::from_bytes(&[0; 31]), Err(NotY));
    assert_eq!(Y::from_bytes(&[0; 33]), Err(NotY));
}

/// The characters of a written number, with the places where they stand.
fn characters(text: &str) -> Vec<(usize, char)> {
    text.char_indices().filter(|(_, c)| *c != '-').collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(bytes: [u8; 10]) {
        let number = Number(bytes);
        let text = number.to_string();
        prop_assert_eq!(text.parse::<Number>().unwrap(), number);
        let (body, check) = text.split_at(20);
        for typed in [
            text.clone(),
            text.to_lowercase(),
            text.replace('-', ""),
            text.replace('-', " "),
            body.replace('0', "O") + check,
            body.replace('0', "o").replace('1', "l") + check,
            body.replace('1', "i").replace('-', "") + check,
        ] {
            prop_assert_eq!(Number::read(&typed), Ok(number), "{}", typed);
        }
    }

    #[test]
    fn every_single_wrong_character_is_found(bytes: [u8; 10]) {
        let text = Number(bytes).to_string();
        for (at, right) in characters(&text) {
            for wrong in ('0'..='9').chain('A'..='Z').filter(|wrong| *wrong != right) {
                let mut altered = text.clone();
                altered.replace_range(at..=at, &wrong.to_string());
                prop_assert!(altered.parse::<Number>().is_err(), "{} {}", text, altered);
                if at >= 20 || alike(wrong as u8) != alike(right as u8) {
                    prop_assert!(Number::read(&altered).is_err(), "{} {}", text, altered);
                }
            }
        }
    }

    #[test]
    fn every_swap_of_neighbours_is_found(bytes: [u8; 10]) {
        let text = Number(bytes).to_string();
        for pair in characters(&text).windows(2) {
            let ((i, a), (j, b)) = (pair[0], pair[1]);
            if a == b {
                continue;
            }
            let mut swapped = text.clone();
            swapped.replace_range(i..=i, &b.to_string());
            swapped.replace_range(j..=j, &a.to_string());
            prop_assert!(swapped.parse::<Number>().is_err(), "{} {}", text, swapped);
            if j >= 20 || alike(a as u8) != alike(b as u8) {
                prop_assert!(Number::read(&swapped).is_err(), "{} {}", text, swapped);
            }
        }
    }

    #[test]
    fn reading_never_panics(text in "\\PC{0,40}") {
        let _ = Number::read(&text);
        let _ = text.parse::<Number>();
    }
}
