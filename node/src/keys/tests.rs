use std::{num::NonZeroU32, os::unix::fs::PermissionsExt};

use wire::OrganisationId;

use super::*;

/// Few rounds, so that tests are quick; how many a file has stands in the file.
const ROUNDS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

/// Made by OpenSSL 3.0: `openssl pkcs8 -topk8 -v2 aes-256-cbc`, passphrase `mebuku-test`.
const OPENSSL_P256: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgXrzKbr3mV1wICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEAVMRuF+OIg1NrzHiHfHoXYEgZCi
OQElAVMVgspx7j+mx+Ob/Ge78Kqe4A8B4THqmcG5ccmm4drtyfyXuav/eck7HdOp
AVnD0RZM00ZJetCvV0ztlvTblzU7OrBhQbNe7xLAdBAse9zr2cu4sZVP3NAMIK5o
ERMR3Zg6iJpt/o611FwDoOulnOnWabP1V3vFdyW5wPakn8sVJS0CM7mBwOySOlA=
-----END ENCRYPTED PRIVATE KEY-----
";
const OPENSSL_P256_POINT: &str = "0422c51e64946d28f1cdac2ec831c38700961ff2545b170fbc1e2e782154ab772e8fe52f5ee43fdf8a6955f11411d32b81642f3f12dfad212db10d5026d83bdcfd";
const OPENSSL_ED25519: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIGbMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAjb+Gf34w3g9gICCAAw
DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEDXFDiVHsi1Qq4KrPlx/TvwEQOuF
3KPHZxrrvrm8l6GHFqzJ1pd87ly11rhfq1Qc56kC6b7zCRg224UARZkF0roW6tTN
JmNPHtqGj0ogCJ1amEw=
-----END ENCRYPTED PRIVATE KEY-----
";
const OPENSSL_ED25519_PUBLIC: &str =
    "d6eee85c53a068c56aeb5f934c69e69a4add7a4bfb7d8468ca1eb7e7a5e746f6";
const OPENSSL_ED25519_SEED: &str =
    "d3df1e118419bc8dbd8faec60434cb51ba030befc9456d2ce4eb3897cdfe603f";
/// The same P-256 key with `-scrypt`, which this version does not read.
const OPENSSL_SCRYPT: &str = "\
-----BEGIN ENCRYPTED PRIVATE KEY-----
MIHkME8GCSqGSIb3DQEFDTBCMCEGCSsGAQQB2kcECzAUBAgEfCXmqxTrxwICQAAC
AQgCAQEwHQYJYIZIAWUDBAEqBBAoQSJopmitRHT8DO3nxQExBIGQ9bv/jtHN8ysb
GLEx/0UospQeubQBH0T+2vVXFsOMmgjUBy4zUaZkNhqd8CumRrfAmu5CCPaOv194
DuXbbc7QM+suuiBhuWzNDGBr5bEats/0nFt6B7lBz+jkPvL0YH42BZZRYlVXrOyt
OHQcRokFQmr155tyzciIthcdavy1lXOM8yF7GxbxUXQ7Onwm0i2q
-----END ENCRYPTED PRIVATE KEY-----
";

fn passphrase() -> Passphrase {
    Passphrase::new("mebuku-test".into())
}

fn store(directory: &Path) -> FileKeyStore {
    FileKeyStore::open(directory.join("keys"), passphrase()).unwrap()
}

/// Makes a key quickly.
fn create(store: &FileKeyStore, name: &KeyName) {
    KeyFile::create_with(&store.path(name), name.kind(), &store.passphrase, ROUNDS).unwrap();
}

/// Puts a file there as an operator would.
fn place(store: &FileKeyStore, name: &KeyName, content: &str) {
    std::fs::write(store.path(name), content).unwrap();
    set_mode(&store.path(name), 0o600);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_p256_key_signs_what_its_public_key_verifies_after_reopening() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Organisation);
    let signer = keys.p256(&KeyName::Organisation).unwrap();
    let signature = signer.sign(b"message").unwrap();
    let again = store(directory.path()).p256(&KeyName::Organisation).unwrap();
    assert_eq!(again.public_key(), signer.public_key());
    assert_eq!(again.public_key().verify(b"message", &signature), Ok(()));
    assert!(again.public_key().verify(b"other", &signature).is_err());
}

#[test]
fn an_ed25519_key_signs_and_gives_the_seed_of_the_transport_identity() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Log);
    create(&keys, &KeyName::Transport);
    let signer = keys.ed25519(&KeyName::Log).unwrap();
    let signature = signer.sign(b"note").unwrap();
    assert_eq!(wire::crypto::verify_ed25519(signer.public_key(), b"note", &signature), Ok(()));
    assert!(wire::crypto::verify_ed25519(signer.public_key(), b"tone", &signature).is_err());

    let mut seed = keys.transport_seed().unwrap();
    let identity = libp2p::identity::Keypair::ed25519_from_bytes(&mut seed[..]).unwrap();
    let public = identity.public().try_into_ed25519().unwrap().to_bytes();
    assert_eq!(&public, keys.ed25519(&KeyName::Transport).unwrap().public_key());
}

#[test]
fn sealed_data_opens_in_its_place_with_its_key_only() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Proofing);
    let key = keys.proofing().unwrap();
    let sealed = key.seal(b"place", b"what must be kept").unwrap();
    assert_ne!(sealed, key.seal(b"place", b"what must be kept").unwrap(), "nonces are random");
    assert_eq!(sealed.len(), 1 + 12 + 17 + 16);
    assert_eq!(&key.open(b"place", &sealed).unwrap()[..], b"what must be kept");
    assert_eq!(key.open(b"elsewhere", &sealed).unwrap_err(), SealError::NotAuthentic);
    for at in 1..sealed.len() {
        let mut altered = sealed.clone();
        altered[at] ^= 1;
        assert_eq!(key.open(b"place", &altered).unwrap_err(), SealError::NotAuthentic);
    }
    let mut future = sealed.clone();
    future[0] = 2;
    for unreadable in [&future[..], &sealed[..12], &[]] {
        assert_eq!(key.open(b"place", unreadable).unwrap_err(), SealError::Format);
    }
    let other = tempfile::tempdir().unwrap();
    let other = store(other.path());
    create(&other, &KeyName::Proofing);
    assert!(other.proofing().unwrap().open(b"place", &sealed).is_err());
}

#[test]
fn the_number_key_may_lie_in_a_file_several_nodes_share() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Number);
    let secret = keys.number_secret().unwrap();
    assert_ne!(*secret, [0; 32]);
    let shared = directory.path().join("number.pem");
    std::fs::rename(keys.path(&KeyName::Number), &shared).unwrap();
    assert_eq!(*keys.shared_number_secret(&shared).unwrap(), *secret);
}

#[test]
fn files_are_for_their_owner_only_and_hold_no_plain_key() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Transport);
    let path = keys.path(&KeyName::Transport);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let text = std::fs::read(&path).unwrap();
    let (_, file) = der::pem::decode_vec(&text).unwrap();
    let seed = keys.transport_seed().unwrap();
    assert!(!file.windows(32).any(|window| window == &seed[..]));

    set_mode(&path, 0o644);
    let text = keys.transport_seed().unwrap_err().to_string();
    assert!(text.contains("transport.pem: others") && text.contains("mode 0644"), "{text}");
}

#[test]
fn a_key_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Log);
    let before = std::fs::read(keys.path(&KeyName::Log)).unwrap();
    assert!(matches!(keys.create(&KeyName::Log), Err(KeyError::Exists { .. })));
    assert_eq!(std::fs::read(keys.path(&KeyName::Log)).unwrap(), before);
    assert!(keys.contains(&KeyName::Log).unwrap());
    assert!(!keys.contains(&KeyName::Witness).unwrap());
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    let complaint = |name: &KeyName| keys.read(name).unwrap_err().to_string();
    let log = &KeyName::Log;
    assert!(complaint(log).ends_with("keys/log.pem: there is no such key"));

    create(&keys, log);
    let wrong = Passphrase::new("wrong".into());
    let error = KeyFile::open(&keys.path(log), KeyKind::Ed25519, &wrong).unwrap_err();
    assert!(error.to_string().ends_with("log.pem: wrong passphrase, or the file is damaged"));

    create(&keys, &KeyName::Organisation);
    std::fs::rename(keys.path(&KeyName::Organisation), keys.path(log)).unwrap();
    assert!(complaint(log).ends_with("log.pem: expected an Ed25519 key, found a P-256 key"));

    for (content, expected) in [
        ("no key", "not an encrypted private key: not PEM"),
        (OPENSSL_SCRYPT, "this version reads PBES2 with PBKDF2-HMAC-SHA-256 and AES-256-CBC only"),
        ("-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n", "it is not encrypted"),
        ("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", "the PEM label"),
    ] {
        place(&keys, log, content);
        let text = complaint(log);
        assert!(text.contains("log.pem: ") && text.contains(expected), "{text}");
    }
}

#[test]
fn no_wrong_passphrase_passes_however_its_padding_looks() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Number);
    let path = keys.path(&KeyName::Number);
    for n in 0..1000 {
        let wrong = Passphrase::new(format!("wrong {n}"));
        let error = KeyFile::open(&path, KeyKind::Secret, &wrong).unwrap_err();
        assert!(matches!(error, KeyError::WrongPassphrase { .. }), "{n}: {error}");
    }
}

#[test]
fn a_file_cut_or_altered_anywhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    create(&keys, &KeyName::Organisation);
    let path = keys.path(&KeyName::Organisation);
    let public = keys.p256(&KeyName::Organisation).unwrap().public_key();
    let whole = std::fs::read_to_string(&path).unwrap();
    for at in (0..whole.len() - 1).step_by(7) {
        place(&keys, &KeyName::Organisation, &whole[..at]);
        assert!(keys.p256(&KeyName::Organisation).is_err(), "cut at {at}");
        let mut altered = whole.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        place(&keys, &KeyName::Organisation, std::str::from_utf8(&altered).unwrap());
        // CBC has no integrity of its own, but what opens must be the same whole key.
        if let Ok(signer) = keys.p256(&KeyName::Organisation) {
            assert_eq!(signer.public_key(), public, "altered at {at}");
        }
    }
}

#[test]
fn files_of_openssl_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    place(&keys, &KeyName::RootCa, OPENSSL_P256);
    let signer = keys.p256(&KeyName::RootCa).unwrap();
    assert_eq!(hex::encode(signer.public_key().sec1()), OPENSSL_P256_POINT);
    place(&keys, &KeyName::Transport, OPENSSL_ED25519);
    let signer = keys.ed25519(&KeyName::Transport).unwrap();
    assert_eq!(hex::encode(signer.public_key()), OPENSSL_ED25519_PUBLIC);
    assert_eq!(hex::encode(*keys.transport_seed().unwrap()), OPENSSL_ED25519_SEED);
}

#[test]
fn new_files_get_the_rounds_that_are_recommended() {
    let directory = tempfile::tempdir().unwrap();
    let keys = store(directory.path());
    keys.create(&KeyName::Log).unwrap();
    let text = std::fs::read(keys.path(&KeyName::Log)).unwrap();
    let (_, file) = der::pem::decode_vec(&text).unwrap();
    // INTEGER 600000
    assert!(file.windows(5).any(|window| window == [2, 3, 0x09, 0x27, 0xc0]));
    assert!(keys.ed25519(&KeyName::Log).is_ok());
}

#[test]
fn names_are_read_as_they_are_shown() {
    let service: ServiceName =
        format!("{}/lunch", OrganisationId::from_base("000020100005").unwrap()).parse().unwrap();
    let name = KeyName::credential(&service);
    assert_eq!(name.to_string(), "credential-for-lunch");
    for text in [
        "organisation",
        "credential-for-lunch",
        "transport",
        "log",
        "witness",
        "root-ca",
        "citizen-ca",
        "organisation-ca",
        "credential-ca",
        "number",
        "proofing",
    ] {
        assert_eq!(text.parse::<KeyName>().unwrap().to_string(), text);
    }
    assert_ne!(KeyName::Credential("ca".into()).to_string(), KeyName::CredentialCa.to_string());
    for text in ["", "credential-for-", "credential-lunch", "credential-for-../x", "Log"] {
        assert!(text.parse::<KeyName>().is_err(), "{text}");
    }
}
