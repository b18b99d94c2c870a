//! Step 8: the evidence of one release, as a file that anyone checks offline.

use std::time::Duration;

use exchange::bundle;
use wire::{NetworkId, Nonce};

use super::Story;
use crate::processes::client;

impl Story {
    pub(super) async fn bundle(&mut self, released: &Nonce) -> anyhow::Result<()> {
        println!("\n8. The evidence of step 4 証跡, in one file");
        let lunch = client(self.network.node("lunch"));
        let path = format!("/v1/requests/{released}/bundle");
        let mut answer = lunch.get(&path).await?;
        for _ in 0..40 {
            if answer.status == 200 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            answer = lunch.get(&path).await?;
        }
        anyhow::ensure!(answer.status == 200, "no bundle: {}", answer.text());
        let file = self.dir.join("allergy-to-hospital-a.bundle");
        std::fs::write(&file, &answer.body)?;
        let root = self.network.id;
        println!("   verify: mebuku verify {} --root {root}", file.display());
        let output = tokio::process::Command::new(&self.mebuku)
            .arg("verify")
            .arg(&file)
            .args(["--root", &root.to_string()])
            .output()
            .await?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            println!("   {line}");
        }
        self.check(output.status.success(), "it checks offline, naming each thing it checked");

        let bytes = answer.body.to_vec();
        let (mut passed, mut tried) = (0, 0);
        let mut example = String::new();
        // Every hundredth byte here; the long tests flip a bit of every one.
        for at in (0..bytes.len()).step_by(101) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            tried += 1;
            match bundle::verify(&flipped, &root) {
                Ok(_) => passed += 1,
                Err(error) => example = error.to_string(),
            }
        }
        self.check(
            passed == 0,
            &format!("one flipped bit makes it fail, at {tried} places ({} bytes); the last said: {example}", bytes.len()),
        );
        let other = bundle::verify(&bytes, &NetworkId([0x42; 32]));
        let why = other.err().map(|error| error.to_string()).unwrap_or_default();
        self.check(
            why.starts_with("trust list"),
            &format!("under another network's root it fails: {why}"),
        );
        Ok(())
    }
}
