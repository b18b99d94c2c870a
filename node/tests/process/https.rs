//! The public face over TLS: a wallet's way to its home and straight to a source.

use std::process::Command;

use node::{
    tls::TlsRoots,
    wallet_client::{ClientError, WalletClient},
};
use testnet::{founding::Founded, roster, web::WebAuthority};

use crate::world::{Run, mebuku, run, until};

/// A node's configuration with https in the place of plain http; gives its URL.
fn secure(node: &Founded) -> (std::path::PathBuf, String) {
    let plain = node.public_url();
    let url = plain.replace("http://127.0.0.1", "https://localhost");
    let text = std::fs::read_to_string(node.config()).expect("node.toml");
    assert!(text.contains(&plain), "no public_url to replace");
    let tls = "[public_tls]\ncertificate = \"web.pem\"\nkey = \"web-key.pem\"\n";
    let config = node.directory.join("https.toml");
    std::fs::write(&config, format!("{}\n{tls}", text.replace(&plain, &url))).expect("written");
    (config, url)
}

#[test]
fn a_wallet_speaks_tls_to_its_home_and_a_certificate_is_renewed_while_it_runs() {
    run(async |mut turn| {
        let city = turn.node("maebashi");
        let folder = tempfile::tempdir().expect("a folder");
        let authority = WebAuthority::found(folder.path()).expect("an authority");
        authority.certify("localhost", &city.directory).expect("a certificate");
        let (config, url) = secure(city);
        let mut process = Run::start(&config);
        let roots = TlsRoots::File(authority.file.clone());
        until("https", async || {
            assert!(process.runs(), "it ended");
            let client = WalletClient::trusting(&url, &roots).expect("a client");
            client.identity().await.is_ok()
        })
        .await;

        turn.start(&["bank"]).await;
        let wallet = |ca_file: &std::path::Path, name: &str, arguments: &[&str]| {
            let mut command = Command::new(mebuku());
            command.args(["wallet", "--dir"]).arg(folder.path().join(name));
            command.arg("--ca-file").arg(ca_file).args(arguments);
            command.output().expect("the command line")
        };
        let card = turn.network.cards.join("citizen-1.card").display().to_string();
        let network = turn.network.id.to_string();
        let create = ["create", "--home", &url, "--network", &network, "--card", &card];
        // The home of a pair, and each home that it ever had, are asked in the same way.
        let source = roster::service("bank").to_string();
        for arguments in [
            &create[..],
            &["enrol"],
            &["service", &source],
            &["register", &source],
            &["history", "--service", &source],
        ] {
            let done = wallet(&authority.file, "wallet", arguments);
            let error = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.success(), "{arguments:?}: {error}");
        }

        // Another authority's certificate under the same name: no word is said to that server.
        let stranger = tempfile::tempdir().expect("a folder");
        let other = WebAuthority::found(stranger.path()).expect("an authority");
        let refused = wallet(&other.file, "fooled", &create);
        assert!(!refused.status.success());
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("invalid peer certificate"), "{said}");

        // Renewed by another authority: who trusts the new one is served, without a restart.
        other.certify("localhost", &city.directory).expect("a certificate");
        let others = TlsRoots::File(other.file.clone());
        until("the new certificate", async || {
            let client = WalletClient::trusting(&url, &others).expect("a client");
            client.identity().await.is_ok()
        })
        .await;
        let old = WalletClient::trusting(&url, &roots).expect("a client");
        let error = old.identity().await.expect_err("the old certificate is gone");
        assert!(matches!(error, ClientError::Unreachable(_)), "{error}");

        // Files that do not hold leave the good ones in use.
        std::fs::write(city.directory.join("web.pem"), "nothing").expect("written");
        tokio::time::sleep(std::time::Duration::from_secs(6)).await;
        let client = WalletClient::trusting(&url, &others).expect("a client");
        client.identity().await.expect("served still");
        process.terminate();
        let (status, ..) = process.end(10_000);
        assert!(status.success());
    });
}
