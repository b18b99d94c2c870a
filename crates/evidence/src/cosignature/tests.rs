use super::*;
use crate::note::{Checkpoint, tests::TestKey};

/// The witness of a published Go test (transparency-dev/formats, `note_cosigv1_test.go`).
const REMORA: &str = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
/// A cosignature there, of 1727964367.
const PUBLISHED: &str = "— witness ZGhGuQAAAABm/qTPeyKXD+R2rzyQsxPiP8mXum7qq/iF0u4vanlqJyocWODBt97w9uL+8q\
    T7S5gxEHWWOworDcFiEBYJXORmnFBOBA==";
const TIME: Timestamp = Timestamp(1_679_315_147_999);

fn text() -> String {
    let root = sha256(b"a root");
    Checkpoint { origin: "example.com/behind-the-sofa".into(), size: 20_852_163, root }.text()
}

fn cosigned() -> (CosignerKey, NoteSignature) {
    let signer = TestKey::new(5);
    let key = CosignerKey::new("witness.example.com/w1", signer.public_key()).unwrap();
    (key, CosignerKey::cosign("witness.example.com/w1", &text(), TIME, &signer).unwrap())
}

#[test]
fn key_ids_are_those_of_others() {
    let base64 = REMORA.rsplit_once("+BOvN").unwrap().1;
    let bytes = STANDARD.decode(format!("BOvN{base64}")).unwrap();
    let key = CosignerKey::new("remora.n621.de", bytes[1..].try_into().unwrap()).unwrap();
    assert_eq!(key.to_string(), REMORA);
    assert_eq!(CosignerKey::new("two words", [0; 32]), Err(NoteError::VerifierKey));
}

#[test]
fn the_layout_is_that_of_the_specification() {
    let (key, line) = cosigned();
    let published: NoteSignature = PUBLISHED.parse().unwrap();
    assert_eq!(published.to_string(), PUBLISHED);
    assert_eq!(published.signature.len(), line.signature.len());
    assert_eq!(published.signature[..8], 1_727_964_367u64.to_be_bytes());
    assert_eq!(line.signature[..8], 1_679_315_147u64.to_be_bytes());
    let message = format!("cosignature/v1\ntime 1679315147\n{}", text());
    verify_ed25519(&key.key, message.as_bytes(), &line.signature[8..]).unwrap();
    assert_eq!(key.verify(&text(), &line), Ok(Timestamp::from_secs(1_679_315_147)));
    assert_eq!(line.to_string().parse(), Ok(line));
}

#[test]
fn a_cosignature_holds_for_one_text_time_and_witness() {
    let (key, line) = cosigned();
    let bad = Err(NoteError::BadSignature(key.name().into()));
    let other = Err(NoteError::NotSigned(key.name().into()));
    assert_eq!(key.verify(&text().replace("20852163", "20852164"), &line), bad);
    for (index, expected) in [(7, &bad), (0, &bad), (8, &bad), (71, &bad)] {
        let mut altered = line.clone();
        altered.signature[index] ^= 1;
        assert_eq!(key.verify(&text(), &altered), *expected, "byte {index}");
    }
    let mut future = line.clone();
    future.signature[0] = 0x80;
    assert_eq!(key.verify(&text(), &future), bad);
    for length in [0, 7, 8, 71] {
        let mut short = line.clone();
        short.signature.truncate(length);
        assert_eq!(key.verify(&text(), &short), bad, "{length} bytes");
    }
    let renamed = NoteSignature { name: "witness.example.com/w2".into(), ..line.clone() };
    assert_eq!(key.verify(&text(), &renamed), other);
    let rekeyed = NoteSignature { key_id: [0; 4], ..line.clone() };
    assert_eq!(key.verify(&text(), &rekeyed), other);
}

#[test]
fn a_cosigned_note() {
    let (log, witness) = (TestKey::new(1), TestKey::new(5));
    let mut note = SignedNote::sign(text(), "example.com/behind-the-sofa", &log).unwrap();
    let (key, line) = cosigned();
    assert_eq!(key.find(&note), Err(NoteError::NotSigned(key.name().into())));
    // The same key under the same name as a log's key is another key: its id differs.
    let plain = SignedNote::sign(text(), key.name(), &witness).unwrap();
    note.add(plain.signatures()[0].clone()).unwrap();
    assert_eq!(key.find(&note), Err(NoteError::NotSigned(key.name().into())));
    note.add(line.clone()).unwrap();
    let later = Timestamp(TIME.0 + 9000);
    note.add(CosignerKey::cosign(key.name(), &text(), later, &witness).unwrap()).unwrap();
    let read = SignedNote::parse(note.to_string().as_bytes()).unwrap();
    assert_eq!(key.find(&read), Ok(Timestamp::from_secs(1_679_315_156)));
    let alone = note.clone().signed_only_by("example.com/behind-the-sofa");
    assert_eq!((alone.signatures().len(), alone.text()), (1, note.text()));
    let mut altered = line;
    altered.signature[20] ^= 1;
    note.add(altered).unwrap();
    assert_eq!(key.find(&note), Err(NoteError::BadSignature(key.name().into())));
}
