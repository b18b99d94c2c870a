//! A provider that nobody knows yet becomes a member: keys, a request, two operators of a city's CA, and
//! `mebuku join`.

use std::path::{Path, PathBuf};

use testnet::processes::client;

use crate::world::{Run, Turn, command, run, until, write_private};

const CA: &str = "maebashi";
const NUMBER: &str = "3990000000006";

/// The newcomer's directory and how it talks to the CA's node.
struct Newcomer {
    folder: tempfile::TempDir,
    ca: String,
    keys: [PathBuf; 2],
    from: String,
}

impl Newcomer {
    fn new(turn: &Turn) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_private(&folder.path().join("passphrase"), "a newcomer's passphrase");
        let city = turn.node(CA);
        let keys = ["api-key", "api-key-2"].map(|name| city.directory.join(name));
        Self { folder, ca: city.provider_url(), keys, from: city.public_url() }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a configuration with these services, and makes what keys are missing.
    fn init(&self, turn: &Turn, services: &[&str]) {
        let city = turn.node(CA);
        let peer = std::fs::read_to_string(city.directory.join("data/certification-request.json"));
        let peer: serde_json::Value = serde_json::from_str(&peer.expect("it")).expect("json");
        let bootstrap = format!(
            "/ip4/127.0.0.1/tcp/{}/p2p/{}",
            city.libp2p,
            peer["peer_id"].as_str().expect("a peer")
        );
        let services: String = services
            .iter()
            .map(|name| format!("\n[[services]]\nname = \"{name}\"\ntitle = \"{name}\"\n"))
            .collect();
        let text = format!(
            "organisation = \"{NUMBER}\"\nname = \"図書館 Library\"\nnetwork = \"{}\"\n\
             roles = [\"source\", \"recipient\"]\ndata_dir = \"data\"\n\
             passphrase_file = \"passphrase\"\ntrust_file = \"trust.cbor\"\n\
             listen = [\"/ip4/127.0.0.1/tcp/0\"]\nbootstrap = [{bootstrap:?}]\n\
             provider_listen = \"127.0.0.1:{}\"\n\n[witnesses]\noff = true\n{services}",
            turn.network.id,
            free_port(),
        );
        std::fs::write(self.folder.path().join("node.toml"), text).expect("written");
        command(&["init", "--config", &self.path("node.toml")]).expect("keys");
    }

    fn ca(&self, operator: usize, arguments: &[&str]) -> Result<String, String> {
        let key = self.keys[operator].display().to_string();
        let of_node = ["ca", "--node", &self.ca, "--api-key-file", &key];
        command(&[&of_node[..], arguments].concat())
    }

    /// Hands the request in; gives the application's id.
    fn apply(&self) -> Result<String, String> {
        let said = self.ca(0, &["hand-in", &self.path("data/certification-request.json")])?;
        let json: serde_json::Value = serde_json::from_str(&said).expect("json");
        Ok(json["id"].as_str().expect("an id").to_owned())
    }

    fn certified(&self) -> Result<(), String> {
        let id = self.apply()?;
        self.ca(0, &["approve", &id, "--operator", "sato"])?;
        self.ca(1, &["approve", &id, "--operator", "suzuki"])?;
        let out = self.path("issued.json");
        self.ca(0, &["fetch", &id, "--out", &out]).map(drop)
    }

    fn join(&self) -> Result<String, String> {
        let (config, issued) = (self.path("node.toml"), self.path("issued.json"));
        command(&["join", "--config", &config, "--from", &self.from, "--certificates", &issued])
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn a_provider_joins_with_the_word_of_two_operators() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&[CA]).await;
        let library = Newcomer::new(&turn);
        library.init(&turn, &["loans", "rooms"]);
        let id = library.apply().expect("an application");
        assert_eq!(library.apply().expect("the same"), id, "the same again is the same");
        let shown = library.ca(0, &["show", &id]).expect("it");
        for expected in [NUMBER, "図書館 Library", &format!("{NUMBER}/rooms"), "\"issued\": false"]
        {
            assert!(shown.contains(expected), "{expected}: {shown}");
        }
        let early = library.ca(0, &["fetch", &id, "--out", &library.path("issued.json")]);
        assert!(early.expect_err("too early").contains("not approved by enough"));
        assert!(!Path::new(&library.path("issued.json")).exists());

        // One operator is one, under whatever name and with whatever key.
        let approve = |key, operator| library.ca(key, &["approve", &id, "--operator", operator]);
        assert!(approve(0, "sato").expect("the first").contains("\"issued\": false"));
        for (key, operator) in [(0, "sato"), (0, "suzuki"), (1, "sato")] {
            let refused = approve(key, operator).expect_err("the same operator");
            assert!(refused.contains("another one, with an API key of their own"), "{refused}");
        }
        assert!(approve(1, "suzuki").expect("the second").contains("\"issued\": true"));
        library.ca(0, &["fetch", &id, "--out", &library.path("issued.json")]).expect("issued");
        let log = client(turn.node(CA)).get("/v1/log").await.expect("the log").text();
        for expected in ["certificate-approved", "certificate-issued", "sato", "suzuki"] {
            assert!(log.contains(expected), "{expected} is in the evidence log");
        }

        let said = library.join().expect("it joins");
        assert!(
            said.contains("trust list 1") && said.contains("key organisation: certified"),
            "{said}"
        );
        let _node = Run::start(Path::new(&library.path("node.toml")));
        until("the city to have met the newcomer", async || {
            let peers = client(turn.node(CA)).get("/v1/peers").await.expect("peers").text();
            peers.contains(NUMBER)
        })
        .await;
    });
}

#[test]
fn a_service_name_that_was_given_up_is_never_given_again() {
    run(async |mut turn| {
        turn.rewind_afterwards();
        turn.start(&[CA]).await;
        let library = Newcomer::new(&turn);
        library.init(&turn, &["loans", "rooms"]);
        library.certified().expect("certificates");
        library.init(&turn, &["loans"]);
        library.certified().expect("one service less");
        library.init(&turn, &["loans", "rooms", "events"]);
        let refused = library.apply().expect_err("a name of the past");
        assert!(refused.contains("rooms was given up and is never given again"), "{refused}");
        library.init(&turn, &["loans", "events"]);
        library.certified().expect("a new name");

        // A request that somebody changed on the way is no request.
        let path = library.path("data/certification-request.json");
        let text = std::fs::read_to_string(&path).expect("a request");
        let mut json: serde_json::Value = serde_json::from_str(&text).expect("json");
        let request = json["keys"][0]["request"].as_str().expect("a request").to_owned();
        let end = if request.ends_with("00") { "01" } else { "00" };
        json["keys"][0]["request"] = format!("{}{end}", &request[..request.len() - 2]).into();
        std::fs::write(&path, json.to_string()).expect("written");
        let refused = library.apply().expect_err("altered");
        assert!(refused.contains("request 1:"), "{refused}");

        // Joining with certificates for other keys, or from another network, changes nothing.
        let issued = library.path("issued.json");
        library.join().expect("its own");
        let other = Newcomer::new(&turn);
        other.init(&turn, &["loans", "events"]);
        std::fs::copy(&issued, other.path("issued.json")).expect("copied");
        let refused = other.join().expect_err("somebody else's certificates");
        assert!(refused.contains("no certificate for this key yet"), "{refused}");
    });
}
