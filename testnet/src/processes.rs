//! The nodes as operating-system processes: started, watched until they are ready, killed, stopped.

use std::{
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};
use node::provider_client::ProviderClient;
use serde_json::Value;
use tokio::time::Instant;

use crate::founding::{Founded, Network};

/// How long a node may take to be ready.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

pub struct Processes {
    mebuku: PathBuf,
    children: Vec<(&'static str, Child)>,
    /// How many channels a source has.
    cities: usize,
}

impl Processes {
    pub fn new(mebuku: PathBuf, network: &Network) -> Self {
        Self { mebuku, children: Vec::new(), cities: network.cities() }
    }

    pub fn start(&mut self, node: &Founded) -> anyhow::Result<()> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(node.directory.join("node.log"))?;
        let child = Command::new(&self.mebuku)
            .args(["run", "--config"])
            .arg(node.config())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", node.participant.key))?;
        self.children.push((node.participant.key, child));
        Ok(())
    }

    pub fn pid(&self, key: &str) -> Option<u32> {
        self.children.iter().find(|(of, _)| *of == key).map(|(_, child)| child.id())
    }

    /// SIGKILL: the process gets no word in.
    pub fn kill(&mut self, key: &str) -> anyhow::Result<()> {
        let at = self.children.iter().position(|(of, _)| *of == key);
        let (_, mut child) = self.children.remove(at.context("no such process")?);
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// SIGSTOP and SIGCONT: the process stands still, its connections stay, and time goes on.
    pub fn suspend(&self, key: &str, suspended: bool) -> anyhow::Result<()> {
        let pid = self.pid(key).context("no such process")?;
        let signal = if suspended { "-STOP" } else { "-CONT" };
        let sent = Command::new("kill").args([signal, &pid.to_string()]).status()?;
        anyhow::ensure!(sent.success(), "{signal} was not sent to {key}");
        Ok(())
    }

    /// SIGTERM, and SIGKILL for who does not listen.
    pub fn stop_all(&mut self) {
        for (_, child) in &self.children {
            let _ = Command::new("kill").arg(child.id().to_string()).status();
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        for (_, child) in &mut self.children {
            while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
                std::thread::sleep(POLL);
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        self.children.clear();
    }

    /// Whether a process has ended by itself.
    pub fn ended(&mut self, key: &str) -> bool {
        let child = self.children.iter_mut().find(|(of, _)| *of == key);
        child.is_none_or(|(_, child)| !matches!(child.try_wait(), Ok(None)))
    }

    /// Waits until a node serves, knows its peers and (a source) holds a live lease from every home.
    pub async fn ready(&mut self, node: &Founded) -> anyhow::Result<Value> {
        let key = node.participant.key;
        let deadline = Instant::now() + PATIENCE;
        let mut last = Value::Null;
        loop {
            if let Ok(health) = health(node).await {
                let is_source = !node.participant.is_city();
                let leases = health["leases_live"].as_u64().unwrap_or(0);
                let enough = !is_source || leases == self.cities as u64;
                let serves = health["status"] == "ok";
                if serves && enough && health["peers"].as_u64().unwrap_or(0) > 0 {
                    return Ok(health);
                }
                last = health;
            }
            if self.ended(key) || Instant::now() > deadline {
                let log = node.directory.join("node.log");
                bail!("{key} did not become ready ({last}); see {}", log.display());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        self.stop_all();
    }
}

pub async fn health(node: &Founded) -> anyhow::Result<Value> {
    Ok(client(node).get("/health").await?.json()?)
}

pub fn client(node: &Founded) -> ProviderClient {
    ProviderClient::new(node.provider_url(), node.api_key.clone())
}

/// Starts all nodes, says as what each runs, and waits for all.
pub async fn start_all(
    network: &Network,
    mebuku: PathBuf,
    runs_as: impl Fn(&'static str, u32),
) -> anyhow::Result<Processes> {
    let mut processes = Processes::new(mebuku, network);
    for node in &network.nodes {
        processes.start(node)?;
        let key = node.participant.key;
        runs_as(key, processes.pid(key).context("just started")?);
    }
    for node in &network.nodes {
        processes.ready(node).await?;
    }
    Ok(processes)
}
