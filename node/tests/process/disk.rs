//! A full disk under a source: it says so, releases nothing that is not durable, and goes on when
//! there is room again.

use std::{
    io::Write,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use node::provider_client::Question;
use testnet::{citizen::nonce, roster};
use wire::{Nonce, ServiceId};

use crate::world::{ALLERGY, ITEM, Turn, question, run, until};

/// A small file system of its own, unmounted whatever happens.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(path: &Path) -> Option<Self> {
        if Path::new("/proc/self").metadata().ok()?.uid() != 0 {
            return None;
        }
        std::fs::create_dir_all(path).ok()?;
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=16m,mode=0700", "tmpfs"]).arg(path);
        mount.status().ok()?.success().then(|| Self(path.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room there is.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).expect("a file");
        for block in [64 * 1024, 4096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.ballast()).expect("removed");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a test that failed has its nodes still running.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_releases_nothing_and_says_so() {
    run(async |mut turn| {
        // No other test starts the clinic: its store is not there yet.
        let Some(disk) = SmallDisk::mount(&turn.node("clinic").directory.join("data/store")) else {
            println!("skipped: only root may mount a small file system");
            return;
        };
        turn.start(&["maebashi", "clinic", "hospital-a"]).await;
        let mut hanako = turn.citizen("hanako", "clinic", "hospital-a").await;
        turn.permit(&mut hanako, "clinic", "hospital-a").await;
        let before = question(&hanako, "clinic", "hospital-a");
        assert_eq!(turn.ask(&before).await.status, 200);
        let released = releases(&turn).await;

        disk.fill();
        let (stored, said) = store_until_refused(&turn).await;
        println!(
            "{stored} records of 200 KiB went into what RocksDB had taken before; then: {said}"
        );
        assert!(said.contains("the disk is full"), "{said}");

        // A request is not answered, and is not refused either: it may be asked again.
        let asked = Question { id: nonce(), ..before.clone() };
        let answer = turn.ask(&asked).await;
        assert_eq!(answer.problem().as_deref(), Some("unreachable"), "{}", answer.text());
        assert_eq!(answer.status, 503);
        assert_eq!(releases(&turn).await, released, "nothing was released");
        let health = turn.provider("clinic").get("/health").await.expect("health");
        assert_eq!(health.status, 200, "it still says how it is");

        disk.free();
        let freed = testnet::citizen::now();
        until("the store to take records again", async || store_one(&turn, 1).await.0 == 204).await;
        println!(
            "it writes again {} ms after there was room",
            testnet::citizen::now().ms_since(freed)
        );
        turn.ready("clinic").await;
        let answer = turn.ask(&asked).await;
        assert_eq!(answer.status, 200, "{}", answer.text());

        // What was told is there after a crash: once each, and nothing else.
        turn.processes.kill("clinic").expect("it ran");
        turn.start(&["clinic"]).await;
        let mut expected = released;
        expected.push(asked.id);
        expected.sort();
        assert_eq!(releases(&turn).await, expected);
        turn.processes.stop_all();
        drop(disk);
    });
}

/// Stores a record; gives status and detail.
async fn store_one(turn: &Turn, size: usize) -> (u16, String) {
    let service = roster::service("clinic");
    let subject = ServiceId(testnet::citizen::nonce().0.repeat(2).try_into().expect("32 bytes"));
    let content = if size > 1 { format!("\"{}\"", "x".repeat(size)) } else { ALLERGY.to_owned() };
    let item = ITEM.parse().expect("an item");
    let put = turn.provider("clinic").put_record(&service, &subject, &item, &content).await;
    let put = put.expect("an answer");
    let detail = put.json().unwrap_or_default()["detail"].as_str().unwrap_or_default().to_owned();
    (put.status.as_u16(), detail)
}

async fn store_until_refused(turn: &Turn) -> (usize, String) {
    for stored in 0..200 {
        match store_one(turn, 200 * 1024).await {
            (204, _) => {}
            (503, detail) => return (stored, detail),
            (status, detail) => panic!("{status}: {detail}"),
        }
    }
    panic!("a full disk takes every record");
}

/// The ids of everything the clinic released.
async fn releases(turn: &Turn) -> Vec<Nonce> {
    let page = turn.provider("clinic").get("/v1/releases").await.expect("releases");
    let page = page.json().expect("json");
    let mut ids: Vec<Nonce> = page
        .as_array()
        .expect("a page")
        .iter()
        .map(|release| release["id"].as_str().expect("an id").parse().expect("an id"))
        .collect();
    ids.sort();
    ids
}
