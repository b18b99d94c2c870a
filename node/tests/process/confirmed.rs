//! `mebuku verify --deny`: what a citizen was told, held against the bundle of a release.

use std::path::Path;

use exchange::bundle::ConfirmedDeny;
use node::wallet_client::WalletClient;
use testnet::roster;
use wire::{DecisionId, Signed, consent::Decision};

use crate::world::{command, question, run, until};

const SOURCE: &str = "lunch";
const RECIPIENT: &str = "hospital-a";

fn verify(root: &str, bundle: &Path, deny: &Path) -> Result<String, String> {
    let [bundle, deny] = [bundle, deny].map(|path| path.to_str().expect("a name"));
    command(&["verify", "--root", root, "--deny", deny, bundle])
}

#[test]
fn a_bundle_is_held_against_the_receipt_of_a_deny() {
    run(async |mut turn| {
        turn.start(&["maebashi", SOURCE, RECIPIENT]).await;
        let mut taro = turn.citizen("taro", SOURCE, RECIPIENT).await;
        turn.permit(&mut taro, SOURCE, RECIPIENT).await;
        let (source, recipient) = (roster::service(SOURCE), roster::service(RECIPIENT));
        let asked = question(&taro, SOURCE, RECIPIENT);
        assert_eq!(turn.ask(&asked).await.status, 200);

        let deny = taro.sign_deny(&source, &recipient).expect("a deny");
        let direct = WalletClient::new(&turn.node(SOURCE).public_url()).expect("a client");
        let receipt = direct.deny(&deny).await.expect("in force").effect.expect("a receipt");
        let signed = Signed::<Decision>::decode(&deny.object, &turn.network.id).expect("signed");
        let id = DecisionId::from(signed.id());
        let naming = taro.sign_permit(&source, &recipient, &[id]).expect("a permit");
        taro.hand_in(&naming).await.expect("accepted");
        let again = question(&taro, SOURCE, RECIPIENT);
        until("a release on the permit that names the deny", async || turn.released(&again).await)
            .await;
        let last = question(&taro, SOURCE, RECIPIENT);
        assert_eq!(turn.ask(&last).await.status, 200);

        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("written");
            path
        };
        let confirmed = ConfirmedDeny::new(deny, receipt);
        let confirmed = file("deny", &confirmed.to_bytes());
        let root = turn.network.id.to_string();
        let before = file("before", &turn.bundle(SOURCE, &asked.id).await);
        let said = verify(&root, &before, &confirmed).expect("valid");
        assert!(said.contains("not before the release"), "{said}");
        let after = file("after", &turn.bundle(SOURCE, &last.id).await);
        let said = verify(&root, &after, &confirmed).expect("valid");
        assert!(said.contains("the release heeds it"), "{said}");
        let said = verify(&root, &after, &before).expect_err("no deny");
        assert!(said.contains("before: "), "{said}");
    });
}
