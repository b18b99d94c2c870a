//! `mebuku run` with something wrong in what it is given: it says what and where, and ends before
//! anything is written.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
};

use testnet::{citizen::PhoneKey, citizen::now, founding::Founded};
use wire::{
    Bytes, MultiSigned, Signer, cbor,
    membership::{RoleKeys, Root, TrustFile, TrustList, TrustTimestamp},
};

use crate::world::{Run, Turn, mebuku, run, until, write_private};

/// How long a node may take to say no: keys are derived from a passphrase, slowly on purpose.
const TO_REFUSE_MS: u64 = 20_000;
/// How long an orderly end may take.
const TO_STOP_MS: u64 = 5_000;

fn config_of(node: &Founded) -> String {
    std::fs::read_to_string(node.config()).expect("node.toml")
}

/// Runs a variant of a node's configuration, which must be refused; gives what was said.
fn refusal(node: &Founded, name: &str, text: &str) -> String {
    let path = node.directory.join(format!("{name}.toml"));
    std::fs::write(&path, text).expect("written");
    let (status, said, _) = Run::start(&path).end(TO_REFUSE_MS);
    assert_eq!(status.code(), Some(1), "{name}: {said}");
    assert!(!said.contains("panicked"), "{name}: {said}");
    assert!(!said.contains("\"ready\""), "{name}: {said}");
    said
}

#[track_caller]
fn says(said: &str, words: &[&str]) {
    for words in words {
        assert!(said.contains(words), "`{words}` is not in: {said}");
    }
}

fn with(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "`{from}` is not in the configuration");
    text.replace(from, to)
}

/// A copy of a node's data directory, beside it, without its store.
fn copy_of_data(node: &Founded, name: &str) -> PathBuf {
    let copy = node.directory.join(name);
    let _ = std::fs::remove_dir_all(&copy);
    for part in ["keys", "certificates"] {
        let (from, to) = (node.directory.join("data").join(part), copy.join(part));
        std::fs::create_dir_all(&to).expect("a directory");
        for file in std::fs::read_dir(from).expect("a directory") {
            let file = file.expect("a file");
            std::fs::copy(file.path(), to.join(file.file_name())).expect("copied");
        }
    }
    copy
}

#[test]
fn a_configuration_that_is_wrong_is_named() {
    let turn = Turn::take();
    let bank = turn.node("bank");
    let good = config_of(bank);

    let said = refusal(bank, "misspelt", &with(&good, "lease_ms", "leese_ms"));
    let line = good.lines().position(|line| line.starts_with("lease_ms")).expect("a line") + 1;
    says(&said, &["misspelt.toml", "leese_ms", &format!("line {line}")]);

    let said = refusal(bank, "no-trust", &with(&good, "trust.cbor", "nowhere.cbor"));
    says(&said, &["nowhere.cbor", "No such file"]);

    std::fs::write(bank.directory.join("garbage.cbor"), b"no trust file").expect("written");
    let said = refusal(bank, "bad-trust", &with(&good, "trust.cbor", "garbage.cbor"));
    says(&said, &["garbage.cbor"]);

    write_private(&bank.directory.join("wrong"), "not the passphrase");
    let said = refusal(bank, "wrong-pass", &with(&good, "../passphrase", "wrong"));
    says(&said, &["wrong passphrase"]);

    let said = refusal(bank, "no-pass", &with(&good, "../passphrase", "nowhere"));
    says(&said, &["nowhere"]);

    let network = turn.network.id.to_string();
    let other = wire::NetworkId([7; 32]).to_string();
    let said = refusal(bank, "other-network", &with(&good, &network, &other));
    says(&said, &["trust.cbor", "another network"]);

    let said = refusal(bank, "other-service", &with(&good, "\"accounts\"", "\"loans\""));
    says(&said, &["credential-for-loans"]);

    let said = refusal(bank, "bad-role", &with(&good, "\"recipient\"", "\"home\""));
    says(&said, &["no member", "Home"]);

    copy_of_data(bank, "blocked");
    std::fs::write(bank.directory.join("blocked/store"), "a file").expect("written");
    let said = refusal(bank, "blocked", &with(&good, "\"data\"", "\"blocked\""));
    says(&said, &["blocked/store", "cannot be used as a data directory"]);

    let held = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = held.local_addr().expect("an address").port().to_string();
    let text = with(&good, &format!("127.0.0.1:{}", bank.provider), &format!("127.0.0.1:{port}"));
    let said = refusal(bank, "busy-port", &text);
    says(&said, &["cannot listen on", &port]);
    drop(held);
}

#[test]
fn a_missing_certificate_is_named_and_nothing_was_begun() {
    run(async |turn| {
        let bank = turn.node("bank");
        let copy = copy_of_data(bank, "uncertified");
        let text = with(&config_of(bank), "\"data\"", "\"uncertified\"");
        for key in ["organisation", "credential-for-accounts"] {
            let certificate = copy.join("certificates").join(format!("{key}.pem"));
            let aside = copy.join("aside.pem");
            std::fs::rename(&certificate, &aside).expect("moved");
            let said = refusal(bank, "uncertified", &text);
            says(&said, &[&format!("{key}.pem"), "no certificate for this key yet"]);

            std::fs::write(&certificate, "-----BEGIN CERTIFICATE-----\n").expect("written");
            let said = refusal(bank, "uncertified", &text);
            says(&said, &[&format!("{key}.pem"), "not a chain of certificates"]);
            std::fs::rename(&aside, &certificate).expect("moved back");
        }

        // What was refused left nothing in the log: the first entry is this start.
        let mut good = Run::start(&bank.directory.join("uncertified.toml"));
        let client = turn.provider("bank");
        until("the node to serve", async || client.get("/health").await.is_ok()).await;
        let health = client.get("/health").await.expect("health").json().expect("json");
        assert_eq!(health["log_size"], 1);

        let said = a_second_one(bank);
        says(&said, &["uncertified/store", "another node is running on this data directory"]);
        assert!(good.runs());
        let health = client.get("/health").await.expect("health").json().expect("json");
        assert_eq!(health["log_size"], 1, "the first node serves on");

        let asked_to_stop = now();
        good.terminate();
        let (status, said, ended) = good.end(TO_STOP_MS);
        assert_eq!(status.code(), Some(0), "{said}");
        println!("SIGTERM to exit code 0: {} ms", ended.ms_since(asked_to_stop));
        says(&said, &["\"stopped\""]);
    });
}

/// Another node on the same data directory, with ports of its own.
fn a_second_one(node: &Founded) -> String {
    let text = std::fs::read_to_string(node.directory.join("uncertified.toml")).expect("a file");
    let text = with(&text, &format!("127.0.0.1:{}", node.provider), "127.0.0.1:0");
    refusal(node, "second", &text)
}

#[test]
fn a_home_that_could_not_proof_anybody_does_not_start() {
    let turn = Turn::take();
    let city = turn.node("kadoma");
    let good = config_of(city);

    let said = refusal(city, "no-root", &with(&good, "../jlis/root.der", "../jlis/nowhere.der"));
    says(&said, &["nowhere.der", "No such file"]);

    let said = refusal(city, "bad-root", &with(&good, "../jlis/root.der", "trust.cbor"));
    says(&said, &["J-LIS", "malformed"]);

    let number = with(&good, "/number.pem", "/nowhere.pem");
    says(&refusal(city, "no-number", &number), &["nowhere.pem"]);

    // Synthetic cards hang from a JPKI-TEST root: nothing for a network that is no testnet.
    let network = found_for_real(city);
    let text = with(&good, &turn.network.id.to_string(), &network);
    let text = with(&text, "trust.cbor", "real.cbor");
    says(
        &refusal(city, "real", &text),
        &["J-LIS", "a JPKI-TEST root is accepted in a testnet only"],
    );
}

/// Writes `real.cbor`: the same authorities, in a network that does not say testnet.
fn found_for_real(city: &Founded) -> String {
    let file = std::fs::read(city.directory.join("trust.cbor")).expect("a trust file");
    let file: TrustFile = cbor::from_slice_limited(&file, "trust file", 1 << 24).expect("cbor");
    let list = MultiSigned::<TrustList>::decode(&file.trust_list).expect("a list");
    let mut list = list.unverified().clone();
    list.committee.members =
        list.municipalities.iter().map(|city| city.organisation.clone()).collect();
    list.committee.threshold = 2;
    let timestamp = MultiSigned::<TrustTimestamp>::decode(&file.timestamp).expect("a timestamp");
    let mut timestamp = timestamp.unverified().clone();
    let root = MultiSigned::<Root>::decode(&file.roots[0]).expect("a root");
    let mut root = root.unverified().clone();

    let mut keys = [(); 3].map(|()| PhoneKey::generate().expect("a key"));
    keys.sort_by_key(Signer::public_key);
    let role = RoleKeys { keys: keys.iter().map(Signer::public_key).collect(), threshold: 2 };
    root.testnet = false;
    (root.root, root.trust_list, root.timestamp) = (role.clone(), role.clone(), role);
    let mut root = MultiSigned::new(root);
    let id = trust::network_id(&root);
    let mut list = MultiSigned::new(list);
    timestamp.list_hash = list.payload_hash();
    let mut timestamp = MultiSigned::new(timestamp);
    for key in &keys {
        root.sign(&id, key).expect("signed");
        list.sign(&id, key).expect("signed");
        timestamp.sign(&id, key).expect("signed");
    }
    let file = TrustFile {
        roots: vec![Bytes(root.bytes())],
        trust_list: Bytes(list.bytes()),
        timestamp: Bytes(timestamp.bytes()),
    };
    std::fs::write(city.directory.join("real.cbor"), cbor::to_vec(&file)).expect("written");
    id.to_string()
}

#[test]
fn init_twice_keeps_every_key() {
    let turn = Turn::take();
    let bank = turn.node("bank");
    let copy = copy_of_data(bank, "again");
    let path = bank.directory.join("again.toml");
    std::fs::write(&path, with(&config_of(bank), "\"data\"", "\"again\"")).expect("written");
    let keys = |dir: &Path| -> Vec<(PathBuf, Vec<u8>)> {
        let mut files: Vec<_> = std::fs::read_dir(dir.join("keys"))
            .expect("keys")
            .map(|file| file.expect("a file").path())
            .map(|path| (path.clone(), std::fs::read(&path).expect("read")))
            .collect();
        files.sort();
        files
    };
    let before = keys(&copy);
    let mut init = std::process::Command::new(mebuku());
    let output = init.args(["init", "--config"]).arg(&path).output().expect("a process");
    assert!(output.status.success());
    assert_eq!(keys(&copy), before);
}
