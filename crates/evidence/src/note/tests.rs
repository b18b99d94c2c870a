use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use proptest::prelude::*;

use super::*;

/// The note, and the second signer, in the documentation of Go's note package.
const PETER: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n";
const PETER_LINE: &str = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2p\
    ZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
const ENOCH_LINE: &str = "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5o\
    vTG01oOTGwnWLox33WWd1RvMc+QQ=\n";

fn peter() -> VerifierKey {
    PETER.parse().unwrap()
}

fn note(lines: &[&str]) -> String {
    format!("{TEXT}\n{}", lines.concat())
}

pub(crate) struct TestKey(Ed25519KeyPair);

impl TestKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }
}

impl NoteSigner for TestKey {
    fn public_key(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).as_ref().try_into().unwrap())
    }
}

#[test]
fn the_published_note() {
    let published = note(&[PETER_LINE, ENOCH_LINE]);
    let read = SignedNote::parse(published.as_bytes()).unwrap();
    assert_eq!(read.text(), TEXT);
    assert_eq!(read.to_string(), published);
    assert_eq!(read.signatures().len(), 2);
    read.verify(&peter()).unwrap();
    // Enoch's key: Go's generator over a stream of zeros, so the seed is 32 zero bytes.
    let enoch = VerifierKey::new("EnochRoot", TestKey::new(0).public_key()).unwrap();
    assert_eq!(
        enoch.to_string(),
        "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
    );
    read.verify(&enoch).unwrap();
    let signed = SignedNote::sign(TEXT.into(), "EnochRoot", &TestKey::new(0)).unwrap();
    assert_eq!(signed.to_string(), note(&[ENOCH_LINE]));
}

#[test]
fn unknown_signatures_are_passed_over_and_known_ones_must_hold() {
    let verify =
        |lines: &[&str]| SignedNote::parse(note(lines).as_bytes()).unwrap().verify(&peter());
    let not_signed = Err(NoteError::NotSigned("PeterNeumann".into()));
    let bad = Err(NoteError::BadSignature("PeterNeumann".into()));
    assert_eq!(verify(&[ENOCH_LINE]), not_signed);
    assert_eq!(verify(&[ENOCH_LINE, PETER_LINE, PETER_LINE]), Ok(()));
    // Another key under the same name, and the same key under another name.
    let other_key = PETER_LINE.replace("x08g", "y08g");
    assert_eq!(verify(&[&other_key]), not_signed);
    assert_eq!(verify(&[&other_key, PETER_LINE]), Ok(()));
    assert_eq!(verify(&[&PETER_LINE.replace("Neumann", "Newman")]), not_signed);
    let altered = PETER_LINE.replace("ZJkuBS", "ZJkuBT");
    assert_eq!(verify(&[&altered]), bad);
    assert_eq!(verify(&[PETER_LINE, &altered]), bad, "one that does not match spoils the note");
    let short = format!("— PeterNeumann {}\n", STANDARD.encode([0xc7, 0x4f, 0x20, 0xa3, 1]));
    assert_eq!(verify(&[&short]), bad);
}

#[test]
fn signatures_are_bounded() {
    let parse = |count| SignedNote::parse(note(&vec![ENOCH_LINE; count]).as_bytes());
    let mut full = parse(SIGNATURES_LIMIT).unwrap();
    assert_eq!(parse(SIGNATURES_LIMIT + 1), Err(NoteError::TooManySignatures));
    let line = full.signatures()[0].clone();
    assert_eq!(full.add(line), Err(NoteError::TooManySignatures));
    let long = format!("{}\n\n{PETER_LINE}", "x".repeat(NOTE_LIMIT));
    assert_eq!(SignedNote::parse(long.as_bytes()), Err(NoteError::TooLarge(long.len())));
}

#[test]
fn malformed_notes_are_refused() {
    let good = note(&[PETER_LINE]);
    let bad = [
        String::new(),
        "\n".into(),
        "\n\n".into(),
        TEXT.into(),
        format!("{TEXT}\n"),
        format!("{TEXT}{PETER_LINE}"),
        good.trim_end().into(),
        format!("{good}\n"),
        good.replace('\n', "\r\n"),
        good.replace("think", "th\tnk"),
        good.replace("— ", "- "),
        good.replace("— ", "—"),
        good.replace("PeterNeumann ", "Peter Neumann "),
        good.replace("PeterNeumann ", "Peter+Neumann "),
        good.replace("PeterNeumann ", "Peter\u{3000}Neumann "),
        good.replace("PeterNeumann ", " "),
        good.replace("nAM=", "nAM"),
        good.replace("nAM=", "nAM=="),
        // The same bytes with stray bits in the last symbol.
        good.replace("nAM=", "nAN="),
        good.replace("x08go/", "x08go_"),
        good.replace("x08go/", "x08go/ "),
        format!("{TEXT}\n— PeterNeumann x08gow==\n"),
        format!("{TEXT}\n— PeterNeumann\n"),
    ];
    for note in bad {
        assert!(SignedNote::parse(note.as_bytes()).is_err(), "{note:?}");
    }
    let not_text = [good.as_bytes(), b"\xff\n"].concat();
    assert_eq!(SignedNote::parse(&not_text), Err(NoteError::Note("not UTF-8")));
}

#[test]
fn verifier_keys_have_one_spelling() {
    let key = peter();
    assert_eq!((key.name(), key.key_id()), ("PeterNeumann", [0xc7, 0x4f, 0x20, 0xa3]));
    let bad = [
        "",
        "PeterNeumann",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a3+",
        &PETER.replace("c74f20a3", "c74f20a4"),
        &PETER.replace("c74f20a3", "C74F20A3"),
        &PETER.replace("+ARpc", "+AhpC"),
        &PETER.replace("+ARpc", "+BBpc"),
        &PETER.replace("PeterNeumann", "PeterNewman"),
        &PETER.replace("PeterNeumann", ""),
        &format!("{PETER}="),
        &format!("{PETER} "),
    ];
    for text in bad {
        assert_eq!(text.parse::<VerifierKey>(), Err(NoteError::VerifierKey), "{text}");
    }
    assert_eq!(VerifierKey::new("two words", [0; 32]), Err(NoteError::VerifierKey));
}

const ORIGIN: &str = "mebuku/network/7000012050002";

fn checkpoint() -> Checkpoint {
    Checkpoint { origin: ORIGIN.into(), size: 300, root: sha256(b"root") }
}

#[test]
fn checkpoints_are_signed_and_verified() {
    let key = TestKey::new(1);
    let note = checkpoint().sign(&key).unwrap().to_string();
    assert!(note.starts_with(
        "mebuku/network/7000012050002\n300\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n\n— mebuku/network/7000012050002 "
    ));
    let verify = |note: &str, origin, key: &TestKey| {
        VerifiedCheckpoint::verify(note.as_bytes(), origin, &key.public_key())
    };
    assert_eq!(*verify(&note, ORIGIN, &key).unwrap().checkpoint(), checkpoint());
    let unknown = verify(&note, ORIGIN, &TestKey::new(2));
    assert_eq!(unknown, Err(NoteError::NotSigned(ORIGIN.into())));
    let (expected, got) = ("mebuku/other".to_owned(), ORIGIN.to_owned());
    let other = verify(&note, "mebuku/other", &key);
    assert_eq!(other, Err(NoteError::OtherOrigin { expected, got }));
    let grown = verify(&note.replace("\n300\n", "\n301\n"), ORIGIN, &key);
    assert_eq!(grown, Err(NoteError::BadSignature(ORIGIN.into())));

    // A cosignature beside it changes nothing.
    let mut cosigned = SignedNote::parse(note.as_bytes()).unwrap();
    let witness = TestKey::new(3);
    let other = SignedNote::sign(cosigned.text().into(), "witness.example", &witness).unwrap();
    cosigned.add(other.signatures()[0].clone()).unwrap();
    assert_eq!(*verify(&cosigned.to_string(), ORIGIN, &key).unwrap().checkpoint(), checkpoint());
    let nameless = NoteSignature { name: "a b".into(), ..other.signatures()[0].clone() };
    assert!(cosigned.add(nameless).is_err());
}

#[test]
fn malformed_checkpoints_are_refused() {
    let good = checkpoint().text();
    assert_eq!(Checkpoint::parse(&good).unwrap(), checkpoint());
    assert_eq!(Checkpoint::parse(&format!("{good}extension\n")).unwrap(), checkpoint());
    let largest = good.replace("300", "9223372036854775807");
    assert_eq!(Checkpoint::parse(&largest).unwrap().size, i64::MAX as u64);
    let root = STANDARD.encode(checkpoint().root.0);
    let bad = [
        String::new(),
        "\n".into(),
        format!("{ORIGIN}\n300\n"),
        good.trim_end().into(),
        format!("{good}\n"),
        format!("{good}\nextension\n"),
        good.replace(ORIGIN, ""),
        good.replace("300", "0300"),
        good.replace("300", "+300"),
        good.replace("300", "-1"),
        good.replace("300", "300 "),
        good.replace("300", ""),
        good.replace("300", "9223372036854775808"),
        good.replace("300", "99999999999999999999"),
        good.replace(&root, ""),
        good.replace(&root, &root[..43]),
        good.replace(&root, &STANDARD.encode([0; 31])),
        good.replace(&root, &STANDARD.encode([0; 33])),
        good.replace("d7I=", "d7J="),
    ];
    for text in bad {
        assert!(Checkpoint::parse(&text).is_err(), "{text:?}");
    }
}

#[test]
fn a_checkpoint_that_would_not_be_a_note_is_not_signed() {
    let sign = |origin: &str| {
        Checkpoint { origin: origin.into(), ..checkpoint() }.sign(&TestKey::new(1)).is_err()
    };
    assert!(sign("") && sign("two words") && sign("two\nlines") && sign("a+b"));
    assert!(!sign(&log_origin(&NetworkId([1; 32]), &"7000012050002".parse().unwrap())));
}

proptest! {
    #[test]
    fn any_bytes_are_safe_to_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = SignedNote::parse(&bytes);
    }

    #[test]
    fn what_is_read_prints_itself_as_it_was(text in "[a-c\n— +=A]{0,80}") {
        if let Ok(read) = SignedNote::parse(text.as_bytes()) {
            prop_assert_eq!(read.to_string(), text.clone());
        }
        if let Ok(read) = Checkpoint::parse(&text) {
            prop_assert!(text.starts_with(&read.text()));
        }
    }

    #[test]
    fn every_flipped_bit_of_a_signed_checkpoint_is_refused(bit in 0..8usize) {
        let key = TestKey::new(1);
        let note = checkpoint().sign(&key).unwrap().to_string().into_bytes();
        for at in 0..note.len() {
            let mut flipped = note.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(VerifiedCheckpoint::verify(&flipped, ORIGIN, &key.public_key()).is_err());
        }
    }
}
