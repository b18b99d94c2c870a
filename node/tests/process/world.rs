//! One founded network for all tests of this binary, and the processes of one test.
//!
//! Tests take turns: the nodes' ports and directories are the network's own.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use node::provider_client::{Answer, ProviderClient, Question};
use testnet::{
    citizen::{Citizen, nonce, now},
    founding::{self, Founded, Network},
    processes::{Processes, client},
    roster,
};
use wire::{ServiceName, Timestamp, cbor, membership::TrustFile};

pub const PATIENCE_MS: u64 = 30_000;
const POLL: Duration = Duration::from_millis(20);

pub const ALLERGY: &str = r#"{"resourceType":"AllergyIntolerance","criticality":"high"}"#;
pub const ITEM: &str = "health.allergy";

static NETWORK: OnceLock<Network> = OnceLock::new();
static TURN: Mutex<()> = Mutex::new(());

/// Ends the configuration of a node that runs without witnesses.
const NO_WITNESSES: &str = "\n[witnesses]\noff = true\n";

fn set_witnesses(network: &Network, on: bool) {
    for node in &network.nodes {
        let text = std::fs::read_to_string(node.config()).expect("node.toml");
        let plain = text.strip_suffix(NO_WITNESSES).unwrap_or(&text);
        let end = if on { "" } else { NO_WITNESSES };
        std::fs::write(node.config(), format!("{plain}{end}")).expect("written");
    }
}

pub fn mebuku() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_mebuku"))
}

/// A test's turn with the network. Its nodes are stopped when it ends.
pub struct Turn {
    pub processes: Processes,
    pub network: &'static Network,
    // Dropped after the processes, in this order.
    _rewind: Option<Rewind>,
    _turn: MutexGuard<'static, ()>,
}

impl Turn {
    pub fn take() -> Self {
        // A test that failed poisons nothing: the next one starts its own nodes.
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let network = NETWORK.get_or_init(|| {
            let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("process-tests");
            // Beside the story's people, some of whom no other test has heard: each has a register of their own.
            let plan = founding::Plan { crowd: 7, ..founding::Plan::story() };
            founding::found(&dir, &mebuku(), &plan).expect("a network")
        });
        set_witnesses(network, false);
        let processes = Processes::new(mebuku(), network);
        Self { processes, network, _rewind: None, _turn: turn }
    }

    /// For a test that ruins a log for ever: afterwards all nodes are as they are now, so that nobody
    /// remembers.
    pub fn rewind_afterwards(&mut self) {
        self._rewind = Some(Rewind::of(self.network));
    }

    /// With the witnesses that a network has; without this a test may run one or two of its nodes.
    pub fn with_witnesses(&self) {
        set_witnesses(self.network, true);
    }

    /// Starts nodes and waits until each serves; sources until their lease from Maebashi is live.
    pub async fn start(&mut self, keys: &[&str]) {
        for key in keys {
            self.processes.start(self.network.node(key)).expect("a process");
        }
        for key in keys {
            self.ready(key).await;
        }
    }

    pub async fn ready(&self, key: &str) {
        let node = self.network.node(key);
        let client = client(node);
        let what = format!("{key} to be ready; see {}", node.directory.join("node.log").display());
        until(&what, async || {
            if node.participant.is_city() {
                return client.get("/health").await.is_ok_and(|answer| answer.status == 200);
            }
            client.get("/v1/leases").await.is_ok() && self.lease(key, "maebashi").await.is_some()
        })
        .await;
    }

    pub fn node(&self, key: &str) -> &'static Founded {
        self.network.node(key)
    }

    pub fn provider(&self, key: &str) -> ProviderClient {
        client(self.node(key))
    }

    /// One figure of a node's metrics; 0 if it was never counted.
    pub async fn metric(&self, key: &str, name: &str) -> u64 {
        let text = self.provider(key).get("/metrics").await.expect("metrics").text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map_or(0, |value| value.trim().parse().expect("a number"))
    }

    /// A citizen with a phone that was just enrolled, keys at both services and their link.
    pub async fn citizen(&self, card: &str, source: &str, recipient: &str) -> Citizen {
        let (source, recipient) = (roster::service(source), roster::service(recipient));
        let mut citizen = Citizen::enrol(self.network, card).await.expect("enrolment");
        for service in [&source, &recipient] {
            assert!(citizen.join(service).await.expect("a service certificate"));
        }
        citizen.link(&source, &recipient).await.expect("a link");
        citizen
    }

    /// Puts the citizen's record in, and lets them permit it; returns when that is in force.
    pub async fn permit(&self, citizen: &mut Citizen, source: &str, recipient: &str) {
        let (from, to) = (roster::service(source), roster::service(recipient));
        let subject = citizen.pair(&from).expect("a pair").subject;
        let item = ITEM.parse().expect("an item");
        let put = self.provider(source).put_record(&from, &subject, &item, ALLERGY).await;
        assert_eq!(put.expect("an answer").status, 204);
        let permit = citizen.sign_permit(&from, &to, &[]).expect("a permit");
        citizen.hand_in(&permit).await.expect("accepted");
        citizen.until_in_force(&from).await.expect("in force");
    }

    /// Waits until a source's lease from a city is live.
    pub async fn leased(&self, source: &str, city: &str) {
        until(&format!("{source} to have a lease of {city}"), async || {
            self.lease(source, city).await.is_some()
        })
        .await;
    }

    /// Waits until a source has another lease from a city than it has now: the one from before the city
    /// was restarted lives on a while, and may run out before the source, which tried in vain, asks again.
    pub async fn leased_anew(&self, source: &str, city: &str) {
        let old = self.lease(source, city).await;
        until(&format!("{source} to have a new lease of {city}"), async || {
            self.lease(source, city).await.is_some_and(|until| Some(until) != old)
        })
        .await;
    }

    /// Until when a source's lease from a city lives, if it does.
    pub async fn lease(&self, source: &str, city: &str) -> Option<Timestamp> {
        let home = self.node(city).participant.organisation().to_string();
        let leases = self.provider(source).get("/v1/leases").await.expect("leases");
        let leases = leases.json().expect("json");
        let mut leases = leases.as_array().expect("leases").iter();
        let live = leases.find(|lease| lease["home"] == home.as_str() && lease["live"] == true)?;
        Some(Timestamp(live["until"].as_u64().expect("a time")))
    }

    /// The evidence bundle of a release at a source, by the recipient's id of the request.
    pub async fn bundle(&self, source: &str, request: &wire::Nonce) -> Vec<u8> {
        let path = format!("/v1/requests/{request}/bundle");
        let client = self.provider(source);
        until("a bundle", async || {
            let answer = client.get(&path).await.expect("an answer");
            assert!([200, 409].contains(&answer.status.as_u16()), "{}", answer.text());
            answer.status == 200
        })
        .await;
        client.get(&path).await.expect("an answer").body.to_vec()
    }

    /// Hands a trust file in; gives the status and what was said.
    pub async fn hand_in(&self, key: &str, file: &TrustFile) -> (u16, serde_json::Value) {
        let handed_in = self.provider(key).hand_in_trust(cbor::to_vec(file)).await;
        let answer = handed_in.expect("an answer");
        (answer.status.as_u16(), answer.json().expect("json"))
    }

    /// Asks anew; whether a presentation came, which must be so or a refusal.
    pub async fn released(&self, asked: &Question) -> bool {
        let answer = self.ask(&Question { id: nonce(), ..asked.clone() }).await;
        let is_refused = answer.problem().as_deref() == Some("not-permitted");
        assert!(is_refused || answer.status == 200, "{}", answer.text());
        !is_refused
    }

    pub async fn ask(&self, question: &Question) -> Answer {
        let asks =
            |node: &&Founded| node.participant.service_name().as_ref() == Some(&question.recipient);
        let node = self.network.nodes.iter().find(asks).expect("a recipient of the roster");
        client(node).ask(question).await.expect("an answer")
    }
}

/// Copies of all nodes' data, put back when it is dropped.
struct Rewind(&'static Network);

impl Rewind {
    /// No node runs.
    fn of(network: &'static Network) -> Self {
        for node in &network.nodes {
            copy_over(&node.directory.join("data"), &node.directory.join("data-before"));
        }
        Self(network)
    }
}

impl Drop for Rewind {
    fn drop(&mut self) {
        for node in &self.0.nodes {
            copy_over(&node.directory.join("data-before"), &node.directory.join("data"));
        }
    }
}

/// A directory in the place of another.
pub fn copy_over(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

/// The recipient's question for the citizen's allergy, under a new id.
pub fn question(citizen: &Citizen, source: &str, recipient: &str) -> Question {
    let recipient: ServiceName = roster::service(recipient);
    Question {
        id: nonce(),
        source: roster::service(source),
        subject: citizen.pair(&recipient).expect("a pair").subject,
        recipient,
        items: vec![ITEM.parse().expect("an item")],
        purpose: "treatment".parse().expect("a purpose"),
        whole: true,
    }
}

/// A flipped bit anywhere makes a bundle prove nothing; looked at in some hundred places.
pub fn every_bit_counts(file: &[u8], root: &wire::NetworkId) {
    let step = file.len() / 101 + 1;
    for at in (0..file.len()).step_by(step) {
        let mut flipped = file.to_vec();
        flipped[at] ^= 1 << (at % 8);
        assert!(exchange::bundle::verify(&flipped, root).is_err(), "byte {at} may change");
    }
}

/// Runs a command of the real binary; gives what it said.
pub fn command(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(mebuku()).args(arguments).output().expect("a process");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(format!("{said}{}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Waits for something that must come true.
#[track_caller]
pub fn until(
    what: &str,
    mut holds: impl AsyncFnMut() -> bool,
) -> impl std::future::Future<Output = ()> {
    let (what, deadline) = (what.to_owned(), now().plus_ms(PATIENCE_MS));
    async move {
        while !holds().await {
            assert!(now() < deadline, "waited in vain for {what}");
            tokio::time::sleep(POLL).await;
        }
    }
}

/// Runs a test of a turn on threads of its own.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Turn) -> F) {
    let turn = Turn::take();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(test(turn));
}

/// A `mebuku run` of a test's own, killed if the test ends before it does.
pub struct Run {
    child: Child,
    log: PathBuf,
}

impl Run {
    pub fn start(config: &Path) -> Self {
        let log = config.with_extension("log");
        let file = std::fs::File::create(&log).expect("a log");
        let mut command = Command::new(mebuku());
        command.args(["run", "--config"]).arg(config);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        Self { child: command.spawn().expect("a process"), log }
    }

    /// SIGTERM, as an init system would.
    pub fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().expect("kill").success());
    }

    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for its end; gives how it ended, what it said, and when it was seen.
    pub fn end(mut self, within_ms: u64) -> (ExitStatus, String, Timestamp) {
        let deadline = now().plus_ms(within_ms);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                let said = std::fs::read_to_string(&self.log).expect("a log");
                return (status, said, now());
            }
            assert!(now() < deadline, "still running; see {}", self.log.display());
            std::thread::sleep(POLL);
        }
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file that only its owner may read, as keys and passphrases must be.
pub fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(path);
    file.expect("a file").write_all(text.as_bytes()).expect("written");
}
