//! The story that the network is for, told on real processes: one citizen, her allergy, two
//! hospitals. Every step checks what it claims, from outside the nodes.

mod consent;
mod crash;
mod evidence;

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use node::provider_client::{Answer, Question};
use serde_json::Value;
use wire::{Nonce, ServiceName};

use crate::{
    citizen::{Citizen, nonce},
    founding::{self, LEASE_MS, Network},
    processes::{self, Processes, client, health},
    roster::service,
};

/// Everything the steps share.
pub struct Story {
    pub network: Network,
    pub processes: Processes,
    pub dir: PathBuf,
    pub mebuku: PathBuf,
    failed: Vec<String>,
    /// Taro's id at Hospital A, once he has one.
    taro: Option<String>,
}

/// The services of the story.
pub struct Cast {
    pub lunch: ServiceName,
    pub hospital_a: ServiceName,
    pub hospital_b: ServiceName,
    pub clinic: ServiceName,
}

/// A wheat allergy as a JP Core provider would write it (HL7 FHIR R4 AllergyIntolerance).
const ALLERGY: &str = r#"{
  "resourceType": "AllergyIntolerance",
  "meta": {"profile": ["http://jpfhir.jp/fhir/core/StructureDefinition/JP_AllergyIntolerance"]},
  "clinicalStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical", "code": "active"}]},
  "verificationStatus": {"coding": [{"system": "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification", "code": "confirmed"}]},
  "type": "allergy",
  "category": ["food"],
  "criticality": "high",
  "code": {"coding": [{"system": "http://jpfhir.jp/fhir/core/CodeSystem/JP_JfagyFoodAllergen_CS", "code": "J9FA11010000", "display": "小麦"}], "text": "小麦 (wheat)"},
  "patient": {"reference": "Patient/1"},
  "recordedDate": "2026-04-08",
  "reaction": [{"manifestation": [{"text": "アナフィラキシー (anaphylaxis)"}], "severity": "severe"}]
}"#;

pub async fn run(dir: &Path, check: bool) -> anyhow::Result<()> {
    let mebuku = sibling("mebuku")?;
    println!("Mebuku 芽吹く: four municipalities, five providers, one citizen");
    println!(
        "\n0. Founding the network (three of four cities sign root and trust list 信頼リスト)"
    );
    let network = founding::found(dir, &mebuku, &founding::Plan::story())?;
    println!("   network {}", network.id);
    let processes = processes::start_all(&network, mebuku.clone(), |_, _| {}).await?;
    let dir = dir.canonicalize()?;
    let mut story = Story { network, processes, dir, mebuku, failed: Vec::new(), taro: None };
    story.introduce().await?;
    let told = story.tell().await;
    story.memory().await?;
    if let Err(error) = told {
        story.failed.push(format!("the story broke off: {error:#}"));
    }
    if story.failed.is_empty() {
        println!("\nEvery step did what it says.");
    } else {
        println!("\n{} steps FAILED:", story.failed.len());
        for what in &story.failed {
            println!("   ✗ {what}");
        }
    }
    if check {
        story.processes.stop_all();
        anyhow::ensure!(story.failed.is_empty(), "the demo failed");
        return Ok(());
    }
    story.stay_up().await
}

pub(crate) fn sibling(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    anyhow::ensure!(path.exists(), "{} is not built", path.display());
    Ok(path)
}

impl Story {
    /// Notes whether a claim holds, and says so.
    pub fn check(&mut self, holds: bool, claim: &str) {
        println!("   {} {claim}", if holds { "✓" } else { "✗" });
        if !holds {
            self.failed.push(claim.to_owned());
        }
        // A reader watches the story as it happens.
        let _ = std::io::stdout().flush();
    }

    async fn introduce(&mut self) -> anyhow::Result<()> {
        for node in &self.network.nodes {
            let pid = self.processes.pid(node.participant.key).unwrap_or_default();
            println!(
                "   {:<11} pid {pid:<7} wallets {}  provider API {}",
                node.participant.key,
                node.public_url(),
                node.provider_url()
            );
        }
        let mut leases = 0;
        for node in &self.network.nodes {
            leases += health(node).await?["leases_live"].as_u64().unwrap_or(0);
        }
        self.check(
            leases == 20,
            "nine processes run; every source holds a live lease from every home",
        );
        Ok(())
    }

    async fn tell(&mut self) -> anyhow::Result<()> {
        let cast = Cast {
            lunch: service("lunch"),
            hospital_a: service("hospital-a"),
            hospital_b: service("hospital-b"),
            clinic: service("clinic"),
        };
        let mut hanako = self.enrolment(&cast).await?;
        self.record(&cast, &hanako).await?;
        self.decisions(&cast, &mut hanako).await?;
        let released = self.exchange(&cast, &hanako).await?;
        self.mallory(&cast, &mut hanako).await?;
        self.revocation(&cast, &mut hanako).await?;
        self.crash(&cast, &hanako).await?;
        self.bundle(&released).await?;
        self.by_hand(&cast).await
    }

    async fn enrolment(&mut self, cast: &Cast) -> anyhow::Result<Citizen> {
        println!("\n1. Hanako enrols at Maebashi with her (synthetic) My Number Card 本人確認");
        let mut hanako = Citizen::enrol(&self.network, "hanako").await?;
        let number = hanako.wallet.id()?.number();
        println!("   number 利用者識別番号 {number}");
        let mut begun = true;
        for service in [&cast.lunch, &cast.clinic, &cast.hospital_a, &cast.hospital_b] {
            begun &= hanako.join(service).await?;
        }
        self.check(
            begun,
            "ID certificate, and a service certificate サービス別ID with its own key at 4 services",
        );
        for recipient in [&cast.clinic, &cast.hospital_a, &cast.hospital_b] {
            hanako.link(&cast.lunch, recipient).await?;
        }
        self.check(true, "link attestations from the lunch service to 3 recipients");
        let again = Citizen::enrol(&self.network, "hanako").await?;
        let same = again.wallet.id()?.number() == number;
        self.check(same, "enrolled once more on a second phone: the same number");
        Ok(hanako)
    }

    async fn record(&mut self, cast: &Cast, hanako: &Citizen) -> anyhow::Result<()> {
        println!(
            "\n2. The lunch service's system puts Hanako's allergy into its node (FHIR R4, JP Core)"
        );
        let subject = hanako.pair(&cast.lunch)?.subject;
        let lunch = client(self.network.node("lunch"));
        let item = "health.allergy".parse()?;
        let put = lunch.put_record(&cast.lunch, &subject, &item, ALLERGY).await?;
        self.check(put.status == 204, "stored under her service id, durable");
        Ok(())
    }

    /// A hospital's system asks its node for Hanako's allergy, for treatment.
    pub fn question(
        &self,
        cast: &Cast,
        who: &ServiceName,
        hanako: &Citizen,
    ) -> anyhow::Result<Question> {
        Ok(Question {
            id: nonce(),
            source: cast.lunch.clone(),
            recipient: who.clone(),
            subject: hanako.pair(who)?.subject,
            items: vec!["health.allergy".parse()?],
            purpose: "treatment".parse()?,
            whole: true,
        })
    }

    pub async fn ask(&self, node: &str, question: &Question) -> anyhow::Result<Answer> {
        Ok(client(self.network.node(node)).ask(question).await?)
    }

    async fn exchange(&mut self, cast: &Cast, hanako: &Citizen) -> anyhow::Result<Nonce> {
        println!("\n4. Both hospitals ask, for treatment 診療");
        let question = self.question(cast, &cast.hospital_a, hanako)?;
        let answer = self.ask("hospital-a", &question).await?;
        let json = answer.json().unwrap_or(Value::Null);
        let allergy = &json["items"]["health.allergy"];
        let is_wheat = allergy["resourceType"] == "AllergyIntolerance"
            && allergy["criticality"] == "high"
            && allergy["code"]["coding"][0]["display"] == "小麦";
        self.check(
            is_wheat,
            "Hospital A gets a presentation 提示 (SD-JWT VC, x5c) that it checked: wheat, high",
        );
        if !is_wheat {
            println!("     {}", answer.text());
        }
        let refused = self.question(cast, &cast.hospital_b, hanako)?;
        let refused = self.ask("hospital-b", &refused).await?;
        let unknown = Question {
            subject: wire::ServiceId([7; 32]),
            ..self.question(cast, &cast.hospital_b, hanako)?
        };
        let unknown = self.ask("hospital-b", &unknown).await?;
        let both = refused.problem().as_deref() == Some("not-permitted")
            && unknown.problem().as_deref() == Some("not-permitted");
        self.check(both, "Hospital B is refused, in the same words as for a citizen nobody knows");
        Ok(question.id)
    }

    async fn memory(&mut self) -> anyhow::Result<()> {
        println!("\nMemory of each node, idle (resident)");
        for node in &self.network.nodes {
            let resident = health(node).await?["resident_bytes"].as_u64().unwrap_or(0);
            println!("   {:<11} {:>6.1} MiB", node.participant.key, resident as f64 / 1_048_576.0);
        }
        Ok(())
    }

    /// The same by hand: the command line, with a third citizen's card.
    async fn by_hand(&mut self, cast: &Cast) -> anyhow::Result<()> {
        println!("\n9. The same from the command line, with Taro's card");
        let wallet = self.dir.join("taro");
        let home = self.network.node("maebashi").public_url();
        let network = self.network.id.to_string();
        let card = self.network.cards.join("taro.card");
        let card = card.display().to_string();
        let (lunch, hospital) = (cast.lunch.to_string(), cast.hospital_a.to_string());
        let record = self.dir.join("taro-allergy.json").display().to_string();
        std::fs::write(&record, ALLERGY)?;
        let lunch_url = self.network.node("lunch").public_url();
        let commands: [&[&str]; 8] = [
            &["create", "--home", &home, "--network", &network, "--card", &card],
            &["enrol"],
            &["service", &lunch],
            &["service", &hospital],
            &["link", &lunch, &hospital],
            &[
                "record",
                "put",
                "--source",
                &lunch,
                "--item",
                "health.allergy",
                "--file",
                &record,
                "--url",
                &lunch_url,
            ],
            &[
                "permit",
                "--source",
                &lunch,
                "--recipient",
                &hospital,
                "--item",
                "health.allergy",
                "--purpose",
                "treatment",
            ],
            &["register", &lunch],
        ];
        for arguments in commands {
            self.wallet_command(&wallet, arguments).await?;
        }
        let shown = self.wallet_command(&wallet, &["show"]).await?;
        let subject = shown
            .lines()
            .find_map(|line| line.strip_prefix(&format!("service  {hospital} as ")))
            .and_then(|rest| rest.split(',').next())
            .context("the wallet shows Taro's id at the hospital")?
            .to_owned();
        let asked = tokio::process::Command::new(&self.mebuku)
            .args(self.request_by_hand(&subject))
            .output()
            .await?;
        self.check(asked.status.success(), "mebuku request: Hospital A gets Taro's allergy");
        self.taro = Some(subject);
        Ok(())
    }

    /// Runs `mebuku wallet` and gives what it says.
    async fn wallet_command(
        &mut self,
        wallet: &Path,
        arguments: &[&str],
    ) -> anyhow::Result<String> {
        let output = tokio::process::Command::new(&self.mebuku)
            .args(["wallet", "--dir"])
            .arg(wallet)
            .args(arguments)
            .output()
            .await?;
        let ok = output.status.success();
        self.check(ok, &format!("mebuku wallet --dir taro {}", arguments[0]));
        anyhow::ensure!(ok, "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// The arguments with which Hospital A asks for Taro's allergy.
    fn request_by_hand(&self, subject: &str) -> Vec<String> {
        let hospital = self.network.node("hospital-a");
        let key = hospital.directory.join("api-key").display().to_string();
        let (url, lunch) = (hospital.provider_url(), service("lunch").to_string());
        let recipient = service("hospital-a").to_string();
        let options = [
            ("--node", url.as_str()),
            ("--api-key-file", &key),
            ("--source", &lunch),
            ("--recipient", &recipient),
            ("--subject", subject),
            ("--item", "health.allergy"),
            ("--purpose", "treatment"),
        ];
        let mut arguments = vec!["request".to_owned()];
        arguments.extend(options.iter().flat_map(|(k, v)| [(*k).to_owned(), (*v).to_owned()]));
        arguments
    }

    async fn stay_up(mut self) -> anyhow::Result<()> {
        let maebashi = self.network.node("maebashi").public_url();
        let hospital = self.network.node("hospital-a");
        let mebuku = self.mebuku.display();
        let dir = self.dir.display();
        println!("\nThe network stays up (leases of {} s). Try it by hand:", LEASE_MS / 1000);
        println!("   {mebuku} wallet --dir {dir}/taro show");
        println!("   {mebuku} wallet --dir {dir}/taro register {}", service("lunch"));
        println!(
            "   {mebuku} wallet --dir {dir}/taro deny --source {} --recipient {}",
            service("lunch"),
            service("hospital-a")
        );
        if let Some(subject) = &self.taro {
            println!("   {mebuku} {}", self.request_by_hand(subject).join(" "));
        }
        println!("   {mebuku} doctor --config {}", hospital.config().display());
        println!("   curl {}/metrics", hospital.provider_url());
        println!("   wallets of Maebashi speak to {maebashi}");
        println!("\nCtrl-C stops all nodes.");
        tokio::signal::ctrl_c().await.context("waiting for Ctrl-C")?;
        self.processes.stop_all();
        Ok(())
    }
}
