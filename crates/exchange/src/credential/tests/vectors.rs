//! The examples of RFC 9901 through the layer that [`super::super::check`] builds on: ssi's decoding and
//! revealing, our reading of JSON, our signature check. Every file of every example is used or named
//! with the reason why not.

use std::{collections::BTreeSet, fs, path::Path};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::Value;
use ssi_sd_jwt::SdJwt;
use wire::{PublicKey, SignatureBytes};

use crate::json::{self, Names};

/// Files that hold nothing to check.
const NOT_RUN: [(&str, &str); 4] = [
    ("specification.yml", "input of the tool that made the example"),
    ("LICENSE", "licence"),
    ("LICENSE.md", "licence"),
    ("README.md", "prose"),
];

#[derive(Debug, Default, PartialEq, Eq)]
struct Ran {
    examples: usize,
    files: usize,
    signatures: usize,
    disclosures: usize,
    key_bindings: usize,
}

#[test]
fn the_copies_in_this_crate() {
    let ran = run(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/vectors/sd-jwt-rfc9901")));
    assert_eq!((ran.examples, ran.key_bindings), (5, 3), "{ran:?}");
}

#[test]
fn the_full_set_beside_the_checkout() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors/sd-jwt-rfc9901");
    if !Path::new(folder).is_dir() {
        println!("not beside this checkout: only the copies in vectors/ were run");
        return;
    }
    let ran = run(Path::new(folder));
    println!("RFC 9901 examples: {ran:?}");
    assert_eq!(ran.examples, 15, "{ran:?}");
}

fn run(folder: &Path) -> Ran {
    let mut ran = Ran::default();
    let settings = fs::read_to_string(folder.join("settings.yml")).unwrap();
    let issuer = issuer_key(&settings);
    for entry in sorted(folder) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() {
            Example { folder: &entry, issuer: &issuer }.run(&mut ran);
            ran.examples += 1;
        } else if name == "settings.yml" {
            ran.files += 1;
        } else {
            not_run(&name);
        }
    }
    ran
}

fn not_run(name: &str) {
    let known = NOT_RUN.iter().find(|(known, _)| *known == name);
    let (_, why) = known.unwrap_or_else(|| panic!("{name} is neither used nor accounted for"));
    println!("{name}: {why}");
}

fn sorted(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    entries
}

/// `issuer_key` of the settings; the holder's comes before it.
fn issuer_key(settings: &str) -> PublicKey {
    let issuer = settings.split("issuer_key:").nth(1).unwrap();
    let value = |name: &str| {
        let line = issuer.lines().find(|line| line.trim().starts_with(name)).unwrap();
        line.split(": ").nth(1).unwrap().trim().to_owned()
    };
    point(&value("x:"), &value("y:"))
}

fn point(x: &str, y: &str) -> PublicKey {
    let coordinate = |text| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
    PublicKey::from_sec1(&[&[4][..], &coordinate(x), &coordinate(y)].concat()).unwrap()
}

struct Example<'a> {
    folder: &'a Path,
    issuer: &'a PublicKey,
}

impl Example<'_> {
    fn text(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(name)).ok()
    }

    fn json(&self, name: &str) -> Option<Value> {
        Some(json::parse(self.text(name)?.trim().as_bytes(), Names::Any, json::DEPTH).unwrap())
    }

    /// The compact form of `<name>.txt`, or of `<name>.json` put together from its members. Both are
    /// wrapped at 68 characters.
    fn compact(&self, name: &str) -> String {
        if let Some(text) = self.text(&format!("{name}.txt")) {
            return text.split_whitespace().collect();
        }
        let text: String = self.text(&format!("{name}.json")).unwrap().split_whitespace().collect();
        let members: Value = serde_json::from_str(&text).unwrap();
        let member = |name: &str| members[name].as_str().unwrap_or_default().to_owned();
        let jwt = [member("protected"), member("payload"), member("signature")].join(".");
        let disclosures = members["disclosures"].as_array().cloned().unwrap_or_default();
        let disclosures = disclosures.iter().map(|text| text.as_str().unwrap().to_owned());
        let parts: Vec<String> = [jwt].into_iter().chain(disclosures).collect();
        format!("{}~{}", parts.join("~"), member("kb_jwt"))
    }

    fn run(&self, ran: &mut Ran) {
        let mut used = BTreeSet::new();
        for file in sorted(self.folder) {
            let name = file.file_name().unwrap().to_str().unwrap().to_owned();
            match name.rsplit_once('.').unwrap().0 {
                "sd_jwt_issuance" => self.issuance(ran),
                "sd_jwt_presentation" => self.presentation(ran),
                "sd_jwt_jws_part" => self.jws_part(),
                "sd_jwt_payload" => self.payload(),
                "kb_jwt_serialized" => self.key_binding(ran),
                "disclosures" | "decoy_digests" => self.digests(&name),
                // Compared by the steps above.
                "user_claims" | "verified_contents" | "kb_jwt_header" | "kb_jwt_payload" => {
                    self.json(&name).unwrap();
                }
                _ => {
                    not_run(&name);
                    continue;
                }
            }
            used.insert(name);
        }
        for needed in ["verified_contents.json", "user_claims.json", "sd_jwt_payload.json"] {
            assert!(used.contains(needed), "{}: no {needed}", self.folder.display());
        }
        ran.files += used.len();
    }

    /// Everything disclosed gives the claims that the issuer started from.
    fn issuance(&self, ran: &mut Ran) {
        let text = self.compact("sd_jwt_issuance");
        let claims = self.reveal(&text, ran);
        let user_claims = self.json("user_claims.json").unwrap();
        for (name, value) in user_claims.as_object().unwrap() {
            assert!(same(name, &claims[name.as_str()], value), "{name}: {}", claims[name.as_str()]);
        }
    }

    /// What the holder chose to disclose gives exactly the verified contents.
    fn presentation(&self, ran: &mut Ran) {
        let claims = self.reveal(&self.compact("sd_jwt_presentation"), ran);
        let verified = self.json("verified_contents.json").unwrap();
        let (claims, verified) = (claims.as_object().unwrap(), verified.as_object().unwrap());
        let names = |map: &serde_json::Map<_, _>| map.keys().cloned().collect::<BTreeSet<String>>();
        assert_eq!(names(claims), names(verified), "{}", self.folder.display());
        for (name, value) in verified {
            assert!(same(name, &claims[name], value), "{}: {name}", self.folder.display());
        }
    }

    fn reveal(&self, text: &str, ran: &mut Ran) -> Value {
        let sd_jwt = SdJwt::new(text).unwrap();
        verify(self.issuer, sd_jwt.jwt().signing_bytes(), sd_jwt.jwt().signature());
        ran.signatures += 1;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(sd_jwt.jwt().payload()).unwrap();
        json::check(&payload, Names::Any, json::DEPTH).unwrap();
        for disclosure in sd_jwt.disclosures() {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(disclosure.as_bytes()).unwrap();
            json::check(&bytes, Names::Any, json::DEPTH).unwrap();
            ran.disclosures += 1;
        }
        let revealed = sd_jwt.decode().unwrap().reveal_any().unwrap();
        serde_json::to_value(revealed.claims()).unwrap()
    }

    fn jws_part(&self) {
        let issuance = self.compact("sd_jwt_issuance");
        let jwt = self.compact("sd_jwt_jws_part");
        // Of a JSON serialisation the part is the whole without disclosures.
        let jwt = jwt.split('~').next().unwrap();
        assert_eq!(issuance.split('~').next().unwrap(), jwt);
    }

    fn payload(&self) {
        let issuance = self.compact("sd_jwt_issuance");
        let payload = SdJwt::new(&issuance).unwrap().jwt().payload().to_vec();
        let payload: Value =
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        assert_eq!(payload, self.json("sd_jwt_payload.json").unwrap());
    }

    /// Every disclosure's digest stands in the list, and no decoy is the digest of one.
    fn digests(&self, name: &str) {
        let list = self.text(name).unwrap();
        let issuance = self.compact("sd_jwt_issuance");
        let sd_jwt = SdJwt::new(&issuance).unwrap();
        for disclosure in sd_jwt.disclosures() {
            let digest = wire::sha256(disclosure.as_bytes());
            let digest = BASE64_URL_SAFE_NO_PAD.encode(digest.0);
            assert_eq!(list.contains(&digest), name == "disclosures.md", "{name}: {digest}");
        }
        assert!(list.contains('`'));
    }

    /// The key binding, which ssi does not check (RFC 9901 section 7.3, step 5).
    fn key_binding(&self, ran: &mut Ran) {
        let presentation = self.compact("sd_jwt_presentation");
        let sd_jwt = SdJwt::new(&presentation).unwrap();
        let binding = sd_jwt.kb().unwrap();
        let serialized: String =
            self.text("kb_jwt_serialized.txt").unwrap().split_whitespace().collect();
        assert_eq!(binding.as_bytes(), serialized.as_bytes());
        let jwk = self.json("sd_jwt_payload.json").unwrap()["cnf"]["jwk"].clone();
        let holder = point(jwk["x"].as_str().unwrap(), jwk["y"].as_str().unwrap());
        verify(&holder, binding.signing_bytes(), binding.signature());
        let part = |text: &[u8]| -> Value {
            serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap()
        };
        assert_eq!(part(binding.header()), self.json("kb_jwt_header.json").unwrap());
        let payload = part(binding.payload());
        assert_eq!(payload, self.json("kb_jwt_payload.json").unwrap());
        let bound = wire::sha256(sd_jwt.trim_kb().as_bytes());
        let bound = BASE64_URL_SAFE_NO_PAD.encode(bound.0);
        if self.text("sd_jwt_presentation.txt").is_some() {
            assert_eq!(payload["sd_hash"], bound);
        } else {
            // RFC 9901 section 8.1 hashes the compact form of a JSON serialisation; the tool that
            // made these two examples hashed its JSON text.
            assert_ne!(payload["sd_hash"], bound, "no divergence left: compare it as the others");
            println!("{}: sd_hash is not over the compact form", self.folder.display());
        }
        ran.key_bindings += 1;
    }
}

fn verify(key: &PublicKey, message: &[u8], signature: &str) {
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    key.verify(message, &SignatureBytes::try_from(&signature[..]).unwrap()).unwrap();
}

/// ssi writes times back with a fraction.
fn same(name: &str, got: &Value, expected: &Value) -> bool {
    match name {
        "iat" | "exp" | "nbf" => got.as_f64() == expected.as_f64() && got.is_number(),
        _ => got == expected,
    }
}
