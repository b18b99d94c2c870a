//! `mebuku trust`: municipalities found a network, add a member, admit a firm, replace a CA, rotate the root
//! and remove a member, with files that go from hand to hand.

use std::path::{Path, PathBuf};

use node::keys::{KeyFile, KeyKind, P256Signer, Passphrase};
use testnet::{
    citizen::now,
    roster::{self, CITIES},
};
use trust::Validity;
use wire::OrganisationId;

use crate::world::{command, write_private};

const ROLES: [&str; 3] = ["root", "list", "timestamp"];
const YEAR_MS: u64 = 365 * 86_400_000;

/// What lies on the tables of those who govern.
struct Governors {
    folder: tempfile::TempDir,
    /// The network, once it is founded.
    root: Option<String>,
    rounds: u32,
}

impl Governors {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_private(&folder.path().join("passphrase"), "a passphrase of people");
        Self { folder, root: None, rounds: 0 }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn passphrase(&self) -> [String; 2] {
        ["--passphrase-file".to_owned(), self.text("passphrase")]
    }

    fn trust(&self, arguments: &[&str]) -> Result<String, String> {
        command(&[&["trust"], arguments].concat())
    }

    /// A key on somebody's own machine; gives what they hand in for the plan.
    fn key(&self, name: &str) -> String {
        let [flag, passphrase] = self.passphrase();
        let out = self.text(&format!("{name}.pem"));
        let said = self.trust(&["key", "--out", &out, &flag, &passphrase]).expect("a key");
        said.trim().to_owned()
    }

    /// A root CA's certificate, as whoever runs the CA hands it in.
    fn certificate(&self, organisation: &OrganisationId, name: &str, file: &str) {
        let passphrase = Passphrase::from_file(&self.path("passphrase")).expect("a passphrase");
        let key = self.path(&format!("{file}.ca.pem"));
        let key = KeyFile::create(&key, KeyKind::P256, &passphrase).expect("a key");
        let signer = P256Signer::new(&key).expect("a signer");
        let validity = Validity { not_before: now(), not_after: now().plus_ms(10 * YEAR_MS) };
        let serial = nonce_of(file);
        let der = trust::root_ca(organisation, name, &signer, serial, validity).expect("a CA");
        std::fs::write(self.path(&format!("{file}.der")), der).expect("written");
    }

    /// What is in force, if anything.
    fn before(&self) -> Vec<String> {
        let Some(root) = &self.root else { return vec![] };
        vec!["--trust".to_owned(), self.text("trust.cbor"), "--root".to_owned(), root.clone()]
    }

    /// Proposes a plan; gives the proposals and what was said of them.
    fn propose(&mut self, plan: &str, renew: &[&str]) -> (Vec<PathBuf>, String) {
        self.rounds += 1;
        let out = self.text(&format!("round-{}", self.rounds));
        let (plan, before) = (self.text(plan), self.before());
        let verb = if self.root.is_some() { "propose" } else { "init" };
        let mut arguments = vec![verb, "--plan", &plan, "--out", &out];
        arguments.extend(before.iter().map(String::as_str));
        arguments.extend(renew);
        let said = self.trust(&arguments).expect("proposals");
        let folder = std::fs::read_dir(&out).expect("a folder");
        let files = folder.map(|file| file.expect("a file").path()).collect();
        (files, said)
    }

    /// Signs a copy on a machine of one's own; gives the signed copies.
    fn sign(&self, proposals: &[PathBuf], key: &str) -> Result<Vec<PathBuf>, String> {
        let desk = self.path(&format!("desk-{}-{key}", self.rounds));
        std::fs::create_dir_all(&desk).expect("a desk");
        let copies: Vec<_> = proposals
            .iter()
            .map(|proposal| {
                let copy = desk.join(proposal.file_name().expect("a name"));
                std::fs::copy(proposal, &copy).expect("copied");
                copy
            })
            .collect();
        let (key, before) = (self.text(&format!("{key}.pem")), self.before());
        let [flag, passphrase] = self.passphrase();
        let mut arguments = vec!["sign", "--yes", "--key", &key, &flag, &passphrase];
        arguments.extend(before.iter().map(String::as_str));
        arguments.extend(copies.iter().map(|copy| copy.to_str().expect("a name")));
        self.trust(&arguments).map(|_| copies)
    }

    fn publish(&self, copies: &[PathBuf], out: &str) -> Result<String, String> {
        let (out, before) = (self.text(out), self.before());
        let mut arguments = vec!["publish", "--out", &out];
        arguments.extend(before.iter().map(String::as_str));
        arguments.extend(copies.iter().map(|copy| copy.to_str().expect("a name")));
        self.trust(&arguments)
    }

    /// All of it: proposes, lets these sign, publishes in the place of what is in force.
    fn change(&mut self, plan: &str, signers: &[&str]) -> String {
        // Here no node runs that could make the timestamp.
        let with_timestamp: &[&str] = if self.root.is_some() { &["--timestamp"] } else { &[] };
        let (proposals, said) = self.propose(plan, with_timestamp);
        let mut copies = Vec::new();
        for key in signers {
            match self.sign(&proposals, key) {
                Ok(signed) => copies.extend(signed),
                // Of a role in which nothing changes.
                Err(said) => assert!(said.contains("has no say"), "{said}"),
            }
        }
        let published = self.publish(&copies, "trust.cbor").expect("enough signatures");
        format!("{said}{published}")
    }

    /// Writes what is in force as a plan, and changes it.
    fn plan(&self, name: &str, change: impl FnOnce(&mut toml::Table)) {
        let (out, before) = (self.text(name), self.before());
        let mut arguments = vec!["plan", "--out", &out];
        arguments.extend(before.iter().map(String::as_str));
        self.trust(&arguments).expect("a plan");
        let text = std::fs::read_to_string(self.path(name)).expect("a plan");
        let mut plan: toml::Table = toml::from_str(&text).expect("a plan");
        change(&mut plan);
        std::fs::write(self.path(name), plan.to_string()).expect("written");
    }

    fn verify(&self) -> String {
        let (root, file) = (self.root.as_deref().expect("founded"), self.text("trust.cbor"));
        self.trust(&["verify", "--root", root, &file]).expect("it holds")
    }
}

fn nonce_of(text: &str) -> [u8; 16] {
    *wire::sha256(text.as_bytes()).0.first_chunk().expect("32 bytes")
}

fn roles_of(keys: &[[String; 3]]) -> String {
    let mut text = String::new();
    for (role, name) in ["root", "trust_list", "timestamp"].into_iter().enumerate() {
        let keys: Vec<_> = keys.iter().map(|of| format!("{:?}", of[role])).collect();
        text += &format!("[{name}]\nthreshold = 3\nkeys = [{}]\n", keys.join(", "));
    }
    text
}

fn array<'t>(plan: &'t mut toml::Table, name: &str) -> &'t mut Vec<toml::Value> {
    plan.get_mut(name).and_then(toml::Value::as_array_mut).expect("an array")
}

fn entry(pairs: &[(&str, &str)]) -> toml::Table {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), toml::Value::from(*value))).collect()
}

/// Four cities found a network, with a key for each role and city.
fn found() -> Governors {
    let mut governors = Governors::new();
    let keys: Vec<[String; 3]> = CITIES
        .iter()
        .map(|city| ROLES.map(|role| governors.key(&format!("{}-{role}", city.key))))
        .collect();
    let mut plan = format!(
        "testnet = true\nroot_days = 365\nlist_days = 90\n{}\
         [committee]\nthreshold = 0\nmembers = []\npublic_key = \"\"\n",
        roles_of(&keys)
    );
    for city in &CITIES {
        let organisation = city.organisation();
        governors.certificate(&organisation, city.name, city.key);
        plan += &format!(
            "[[municipality]]\norganisation = \"{organisation}\"\nname = \"{}\"\n\
             [[authority]]\norganisation = \"{organisation}\"\ncertificate = \"{}.der\"\n\
             purposes = [\"citizen\", \"organisation\", \"credential\"]\n",
            city.name, city.key
        );
    }
    std::fs::write(governors.path("plan.toml"), plan).expect("written");
    let said = governors.change("plan.toml", &all(0..3).each_ref().map(String::as_str));
    assert!(said.contains("a new network begins: a TESTNET"), "{said}");
    assert!(said.contains(CITIES[3].name), "{said}");
    let root = said.lines().last().and_then(|line| line.strip_prefix("network "));
    governors.root = Some(root.expect("the network").to_owned());
    governors
}

/// The keys of three cities in every role.
fn all(cities: std::ops::Range<usize>) -> [String; 9] {
    let mut names =
        cities.flat_map(|city| ROLES.map(|role| format!("{}-{role}", CITIES[city].key)));
    std::array::from_fn(|_| names.next().expect("three cities"))
}

#[test]
fn walk_throughs_of_the_ceremony() {
    let mut governors = found();
    let everybody = all(0..3);
    let everybody = everybody.each_ref().map(String::as_str);
    let said = governors.verify();
    assert!(said.contains("root 1, trust list 1, timestamp 1") && said.contains("fresh"), "{said}");

    // A fifth city joins, with its CA.
    let fifth = roster::service("hospital-a").organisation();
    governors.certificate(&fifth, "芽吹市", "fifth");
    governors.plan("fifth.toml", |plan| {
        let organisation = fifth.to_string();
        let city = entry(&[("organisation", &organisation), ("name", "芽吹市")]);
        array(plan, "municipality").push(city.into());
        let mut ca = entry(&[("organisation", &organisation), ("certificate", "fifth.der")]);
        ca.insert("purposes".to_owned(), vec!["citizen"].into());
        array(plan, "authority").push(ca.into());
    });
    let said = governors.change("fifth.toml", &everybody[..]);
    assert!(said.contains("芽吹市") && said.contains("becomes a member"), "{said}");
    assert!(governors.verify().contains("root 1, trust list 2, timestamp 2"));

    // A firm is admitted as an issuer, and no more than that.
    let firm = roster::service("bank").organisation();
    governors.certificate(&firm, "電子証明株式会社", "firm");
    governors.plan("firm.toml", |plan| {
        let organisation = firm.to_string();
        let mut ca = entry(&[("organisation", &organisation), ("certificate", "firm.der")]);
        ca.insert("purposes".to_owned(), vec!["organisation"].into());
        array(plan, "authority").push(ca.into());
    });
    let said = governors.change("firm.toml", &everybody[..]);
    assert!(said.contains("which is no municipality"), "{said}");
    assert!(governors.verify().contains(&format!("CA of {firm} (a firm)")));

    // A CA is replaced: its next generation, then the old one goes.
    governors.certificate(&fifth, "芽吹市", "fifth-2");
    governors.plan("ca.toml", |plan| {
        let organisation = fifth.to_string();
        for ca in array(plan, "authority") {
            let ca = ca.as_table_mut().expect("a CA");
            if ca["organisation"].as_str() == Some(&organisation) {
                ca.insert("certificate".to_owned(), "fifth-2.der".into());
            }
        }
    });
    let said = governors.change("ca.toml", &everybody[..]);
    assert!(said.contains("is REMOVED") && said.contains("may issue"), "{said}");

    // The root rotates: one city's root key is replaced, by the old keys and the new.
    let new_key = governors.key("omura-root-2");
    let old = CITIES.iter().position(|city| city.key == "omura").expect("a city");
    let holders: Vec<_> = (0..4).filter(|city| *city != old).map(|city| CITIES[city].key).collect();
    governors.plan("root.toml", |plan| {
        let role = plan.get_mut("root").and_then(toml::Value::as_table_mut).expect("a role");
        // Only they know which is whose; the plan names what the city's own machine prints.
        let theirs = key_text(&governors, &format!("{}-root", CITIES[old].key));
        let keys = role.get_mut("keys").and_then(toml::Value::as_array_mut).expect("keys");
        let place = keys.iter().position(|key| key.as_str() == Some(&theirs)).expect("its key");
        keys[place] = new_key.clone().into();
    });
    let (proposals, said) = governors.propose("root.toml", &["--timestamp"]);
    assert!(said.contains("may no longer sign the root"), "{said}");
    let keys = |role: &str| holders.iter().map(|city| format!("{city}-{role}")).collect::<Vec<_>>();
    let mut copies = Vec::new();
    for key in &keys("root")[..2] {
        copies.extend(governors.sign(&proposals, key).expect("signed"));
    }
    for key in keys("timestamp") {
        copies.extend(governors.sign(&proposals, &key).expect("signed"));
    }
    let few = governors.publish(&copies, "few.cbor").expect_err("two of three");
    assert!(few.contains("root: 2 of 3 signatures by the root keys of before"), "{few}");
    assert!(!governors.path("few.cbor").exists());
    copies.extend(governors.sign(&proposals, &keys("root")[2]).expect("signed"));
    governors.publish(&copies, "trust.cbor").expect("enough");
    assert!(governors.verify().contains("root 2,"));

    // The fifth city is removed again.
    governors.plan("removed.toml", |plan| {
        let organisation = fifth.to_string();
        for list in ["municipality", "authority"] {
            array(plan, list).retain(|one| one["organisation"].as_str() != Some(&organisation));
        }
    });
    let said = governors.change("removed.toml", &everybody[..]);
    assert!(said.contains("REMOVED: its citizens need another home"), "{said}");
    assert!(!governors.verify().contains(fifth.as_str()));

    // Where nodes run, people sign the list alone; nobody goes by it before it has a timestamp.
    governors.plan("bank.toml", |plan| {
        let denied = vec![toml::Value::from(firm.as_str())];
        plan.insert("denied_organisations".to_owned(), denied.into());
    });
    let (proposals, said) = governors.propose("bank.toml", &[]);
    assert!(said.contains(&format!("{firm} is STRUCK OFF")), "{said}");
    assert_eq!(proposals.len(), 1, "{proposals:?}");
    let mut copies = governors.sign(&proposals, everybody[1]).expect("signed");
    copies.extend(governors.sign(&proposals, everybody[4]).expect("signed"));
    let few = governors.publish(&copies, "decided.cbor").expect_err("two of three");
    assert!(few.contains("trust list: 2 of 3"), "{few}");
    copies.extend(governors.sign(&proposals, everybody[7]).expect("signed"));
    let said = governors.publish(&copies, "decided.cbor").expect("enough");
    assert!(said.contains("the nodes make its timestamp"), "{said}");
    let (root, decided) =
        (governors.root.clone().expect("founded"), governors.text("decided.cbor"));
    let no_trust = governors.trust(&["verify", "--root", &root, &decided]).expect_err("no trust");
    assert!(no_trust.contains("names another trust list"), "{no_trust}");
}

/// The public part of a key that was made before.
fn key_text(governors: &Governors, name: &str) -> String {
    let passphrase = Passphrase::from_file(&governors.path("passphrase")).expect("a passphrase");
    let key = KeyFile::open(&governors.path(&format!("{name}.pem")), KeyKind::P256, &passphrase);
    let signer = P256Signer::new(&key.expect("a key")).expect("a signer");
    node::cli::trust::key_text(&wire::Signer::public_key(&signer))
}

#[test]
fn bad_proposals_are_refused_by_name() {
    let governors = found();
    let refused = |arguments: &[&str]| governors.trust(arguments).expect_err("refused");
    let (root, trust) = (governors.root.clone().expect("founded"), governors.text("trust.cbor"));
    let missing = governors.text("nothing");
    assert!(refused(&["show", &missing]).contains("nothing"));
    assert!(refused(&["show", &trust]).contains("neither a root"), "a trust file is no proposal");
    let other = root.replace(&root[..4], if root.starts_with("0000") { "1111" } else { "0000" });
    assert!(refused(&["verify", "--root", &other, &trust]).contains("another network"));
    governors.plan("same.toml", |_| {});
    let (plan, out) = (governors.text("same.toml"), governors.text("out"));
    let same = ["propose", "--trust", &trust, "--root", &root, "--plan", &plan, "--out", &out];
    assert!(refused(&same).contains("the plan changes nothing"));
    let mut wrong = std::fs::read_to_string(governors.path("same.toml")).expect("a plan");
    wrong = wrong.replacen("threshold = 3", "threshold = 9", 1);
    std::fs::write(governors.path("same.toml"), wrong).expect("written");
    assert!(refused(&same).contains("threshold"), "{}", refused(&same));
    assert!(!Path::new(&out).exists(), "nothing half done");
    // A key of nobody signs nothing, and nobody signs unasked.
    governors.key("stranger");
    let first = governors.path("round-1");
    let proposals: Vec<_> = std::fs::read_dir(first)
        .expect("proposals")
        .map(|file| file.expect("a file").path().display().to_string())
        .collect();
    let [flag, passphrase] = governors.passphrase();
    let key = governors.text("stranger.pem");
    let mut sign = vec!["sign", "--key", &key, &flag, &passphrase];
    sign.extend(proposals.iter().map(String::as_str));
    assert!(refused(&sign).contains("nobody is there to confirm"));
    sign.push("--yes");
    assert!(refused(&sign).contains("has no say"), "{}", refused(&sign));
}
