//! Founding a network in a directory: keys by `mebuku init` in each node's own directory, then what
//! people would do around a table: the root, the cities' CAs, everyone's certificates, the trust list.

use std::{
    collections::BTreeSet,
    fs::DirBuilder,
    net::{TcpListener, UdpSocket},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, bail, ensure};
use identity::{
    CardAttributes,
    jpki::{BirthDate, Era, Gender},
    number::SingleKeyFunction,
    synthetic::{CardValidity, SyntheticCard, SyntheticJlis},
};
use node::{
    certificates,
    cli::init::{CertificationRequest, REQUEST_FILE},
    clock::{Clock, SystemClock},
    config::Config,
    entropy::SystemEntropy,
    keys::{FileKeyStore, KeyFile, KeyKind, KeyName, KeyStore, P256Signer, Passphrase},
};
use trust::{
    Ca, LeafKind, Pointers, Trust, Validity,
    ceremony::{self, Ceremony, CeremonyError, Renew, Wanted},
    leaf, network_id, root_ca, sub_ca,
};
use wire::{
    Bytes, Hash, MultiSigned, NetworkId, PublicKey, Signer, Timestamp, cbor,
    membership::{
        Authority, CaPurpose, Committee, Denied, Municipality, RoleKeys, Root, TrustFile,
        TrustList, TrustTimestamp,
    },
};

use crate::roster::{self, CITIES, PROVIDERS, Participant};

const DAY_MS: u64 = 24 * 3600 * 1000;
/// Of four cities, three have to agree.
const THRESHOLD: u32 = 3;
/// The lease that homes grant here: short, so that the story shows one running out.
pub const LEASE_MS: u64 = 6_000;

/// What kind of network to found.
pub struct Plan {
    /// Who takes part: cities first.
    pub participants: Vec<&'static Participant>,
    /// The lease that homes grant, in milliseconds.
    pub lease_ms: u64,
    /// Nodes tell each other another TCP port than the one they listen on, so that a forwarder can
    /// stand between them.
    pub forwarded: bool,
    /// Cards beside those of the story's people: `citizen-0`, `citizen-1`, …
    pub crowd: u8,
    /// Cities that are not on the first trust list.
    pub later: &'static [&'static str],
}

impl Plan {
    /// The whole roster, as the story needs it.
    pub fn story() -> Self {
        Self {
            participants: roster::everyone().collect(),
            lease_ms: LEASE_MS,
            forwarded: false,
            crowd: 0,
            later: &[],
        }
    }

    /// Some of the roster, by their keys; forwarders between them.
    pub fn few(keys: &[&str], lease_ms: u64, crowd: u8) -> Self {
        let participants =
            CITIES.iter().chain(&PROVIDERS).filter(|p| keys.contains(&p.key)).collect();
        Self { participants, lease_ms, forwarded: true, crowd, later: &[] }
    }
}

/// One founded node, ready to run.
pub struct Founded {
    pub participant: &'static Participant,
    pub directory: PathBuf,
    pub public: u16,
    pub provider: u16,
    pub api_key: String,
    /// Another operator's.
    pub second_api_key: String,
    /// Where it listens to other nodes.
    pub libp2p: u16,
    /// Where other nodes are told to dial: the same, or a forwarder's port.
    pub announced: u16,
    /// Held from the beginning, so that nobody else takes the announced port.
    pub forwarder: Option<TcpListener>,
}

impl Founded {
    pub fn config(&self) -> PathBuf {
        self.directory.join("node.toml")
    }

    pub fn public_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.public)
    }

    pub fn provider_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.provider)
    }
}

pub struct Network {
    pub id: NetworkId,
    pub nodes: Vec<Founded>,
    pub cards: PathBuf,
    /// Cities that are not on the list yet, with their CA.
    pub later: Vec<(Municipality, Authority)>,
}

impl Network {
    pub fn node(&self, key: &str) -> &Founded {
        let found = self.nodes.iter().find(|node| node.participant.key == key);
        found.expect("a participant of the roster")
    }

    /// How many municipalities the trust list names: as many channels every source has.
    pub fn cities(&self) -> usize {
        self.nodes.iter().filter(|node| node.participant.is_city()).count() - self.later.len()
    }

    /// A synthetic My Number Card.
    pub fn card(&self, name: &str) -> anyhow::Result<SyntheticCard> {
        let path = self.cards.join(format!("{name}.card"));
        Ok(SyntheticCard::from_bytes(&std::fs::read(path)?)?)
    }
}

/// Makes `dir` anew and founds a network in it.
pub fn found(dir: &Path, mebuku: &Path, plan: &Plan) -> anyhow::Result<Network> {
    let marker = dir.join("testnet");
    if dir.exists() {
        // Only what an earlier run made is removed.
        ensure!(marker.exists(), "{} is there and is no testnet's directory", dir.display());
        std::fs::remove_dir_all(dir)?;
    }
    std::fs::create_dir_all(dir)?;
    let dir = dir.canonicalize()?;
    std::fs::write(dir.join("testnet"), "made by testnet; removed by the next run\n")?;
    let now = SystemClock.now().wall;
    let passphrase_file = dir.join("passphrase");
    write_private(&passphrase_file, &hex(&SystemEntropy.array::<16>()))?;
    let passphrase = Passphrase::from_file(&passphrase_file)?;

    let ceremony = Governors::hold(&dir, &passphrase, now)?;
    let number_key = dir.join("number.pem");
    let secret = KeyFile::create(&number_key, KeyKind::Secret, &passphrase)?.secret()?;
    let function = SingleKeyFunction::from_seed(&secret, b"mebuku/number-key/1", true)?;
    let cards = make_cards(&dir, plan.crowd, now)?;

    let prepare = |p: &&'static Participant| Founded::prepare(&dir, p, plan.forwarded);
    let mut nodes = plan.participants.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
    for node in &nodes {
        node.write_config(&ceremony.id, &dir, &[], plan.lease_ms)?;
    }
    init_all(mebuku, &nodes)?;
    let requests = nodes.iter().map(Founded::request).collect::<anyhow::Result<Vec<_>>>()?;
    // Everybody knows two cities to begin with; the rest is found through them.
    let bootstrap: Vec<_> = (nodes.iter().zip(&requests))
        .take(2)
        .map(|(node, request)| {
            format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", node.announced, request.peer_id)
        })
        .collect();
    for (node, request) in nodes.iter().zip(&requests) {
        let others: Vec<_> =
            bootstrap.iter().filter(|a| !a.ends_with(&request.peer_id)).cloned().collect();
        node.write_config(&ceremony.id, &dir, &others, plan.lease_ms)?;
    }
    let authorities = certify(&nodes, &requests, now)?;
    let mut cities: Vec<_> = nodes
        .iter()
        .map(|node| node.participant)
        .filter(|p| p.is_city())
        .map(municipality)
        .collect();
    cities.sort_by(|a, b| a.organisation.cmp(&b.organisation));
    let is_later = |(city, _): &(Municipality, Authority)| {
        plan.later.iter().any(|key| roster::city_key(&city.organisation) == Some(*key))
    };
    // Both are sorted by organisation.
    let (later, now_on): (Vec<_>, Vec<_>) = cities.into_iter().zip(authorities).partition(is_later);
    let file = ceremony.trust_file(now_on, function.public_key(), now)?;
    for node in &mut nodes {
        std::fs::write(node.directory.join("trust.cbor"), cbor::to_vec(&file))?;
    }
    Ok(Network { id: ceremony.id, nodes, cards, later })
}

/// The cities' people, with a key each for root, list and timestamp.
struct Governors {
    id: NetworkId,
    root: MultiSigned<Root>,
    list_signers: Vec<P256Signer>,
    timestamp_signers: Vec<P256Signer>,
}

impl Governors {
    fn hold(dir: &Path, passphrase: &Passphrase, now: Timestamp) -> anyhow::Result<Self> {
        let directory = dir.join("ceremony");
        std::fs::create_dir_all(&directory)?;
        let signers = |role: &str| -> anyhow::Result<Vec<P256Signer>> {
            CITIES
                .iter()
                .map(|city| {
                    let path = directory.join(format!("{}-{role}.pem", city.key));
                    Ok(P256Signer::new(&KeyFile::create(&path, KeyKind::P256, passphrase)?)?)
                })
                .collect()
        };
        let (roots, list_signers) = (signers("root")?, signers("list")?);
        // The one that the nodes have themselves: `mebuku init` finds it there.
        let timestamp_signers = CITIES
            .iter()
            .map(|city| {
                let path = timestamp_key_path(dir, city);
                if let Some(keys) = path.parent() {
                    DirBuilder::new().recursive(true).mode(0o700).create(keys)?;
                }
                Ok(P256Signer::new(&KeyFile::create(&path, KeyKind::P256, passphrase)?)?)
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut root = MultiSigned::new(Root {
            version: 1,
            testnet: true,
            issued: now,
            expires: now.plus_ms(365 * DAY_MS),
            root: role_keys(&roots),
            trust_list: role_keys(&list_signers),
            timestamp: role_keys(&timestamp_signers),
        });
        let id = network_id(&root);
        for signer in roots.iter().take(THRESHOLD as usize) {
            root.sign(&id, signer)?;
        }
        Ok(Self { id, root, list_signers, timestamp_signers })
    }

    fn trust_file(
        &self,
        cities: Vec<(Municipality, Authority)>,
        number_key: [u8; 33],
        now: Timestamp,
    ) -> anyhow::Result<TrustFile> {
        let (municipalities, authorities) = cities.into_iter().unzip();
        let mut list = MultiSigned::new(TrustList {
            version: 1,
            issued: now,
            expires: now.plus_ms(90 * DAY_MS),
            authorities,
            municipalities,
            witnesses: vec![],
            committee: Committee {
                members: vec![],
                threshold: 0,
                public_key: Bytes(number_key.to_vec()),
            },
            denied: vec![],
        });
        let mut timestamp = MultiSigned::new(TrustTimestamp {
            version: 1,
            list_version: 1,
            list_hash: list.payload_hash(),
            issued: now,
            soft_expiry: now.plus_ms(DAY_MS),
            hard_expiry: now.plus_ms(14 * DAY_MS),
            denylist: vec![],
        });
        for (list_signer, timestamp_signer) in
            self.list_signers.iter().zip(&self.timestamp_signers).take(THRESHOLD as usize)
        {
            list.sign(&self.id, list_signer)?;
            timestamp.sign(&self.id, timestamp_signer)?;
        }
        Ok(TrustFile {
            roots: vec![Bytes(self.root.bytes())],
            trust_list: Bytes(list.bytes()),
            timestamp: Bytes(timestamp.bytes()),
        })
    }
}

fn timestamp_key_path(dir: &Path, city: &Participant) -> PathBuf {
    dir.join(city.key).join("data/keys").join(format!("{}.pem", KeyName::Timestamp))
}

fn timestamp_key(
    dir: &Path,
    city: &Participant,
    passphrase: &Passphrase,
) -> anyhow::Result<P256Signer> {
    let path = timestamp_key_path(dir, city);
    Ok(P256Signer::new(&KeyFile::open(&path, KeyKind::P256, passphrase)?)?)
}

fn municipality(city: &Participant) -> Municipality {
    Municipality { organisation: city.organisation(), name: city.name.to_owned() }
}

fn role_keys(signers: &[P256Signer]) -> RoleKeys {
    let mut keys: Vec<PublicKey> = signers.iter().map(Signer::public_key).collect();
    keys.sort();
    RoleKeys { keys, threshold: THRESHOLD }
}

impl Founded {
    fn prepare(
        dir: &Path,
        participant: &'static Participant,
        forwarded: bool,
    ) -> anyhow::Result<Self> {
        let directory = dir.join(participant.key);
        std::fs::create_dir_all(&directory)?;
        let [api_key, second_api_key] = [(); 2].map(|()| hex(&SystemEntropy.array::<16>()));
        write_private(&directory.join("api-key"), &api_key)?;
        write_private(&directory.join("api-key-2"), &second_api_key)?;
        let [libp2p, public, provider] = free_ports()?;
        let forwarder = forwarded.then(|| TcpListener::bind("127.0.0.1:0")).transpose()?;
        let announced = match &forwarder {
            Some(forwarder) => forwarder.local_addr()?.port(),
            None => libp2p,
        };
        Ok(Self {
            participant,
            directory,
            public,
            provider,
            api_key,
            second_api_key,
            libp2p,
            announced,
            forwarder,
        })
    }

    fn write_config(
        &self,
        network: &NetworkId,
        dir: &Path,
        bootstrap: &[String],
        lease_ms: u64,
    ) -> anyhow::Result<()> {
        use std::fmt::Write;
        let participant = self.participant;
        let (tcp, udp) = (
            format!("/ip4/127.0.0.1/tcp/{}", self.libp2p),
            format!("/ip4/127.0.0.1/udp/{}/quic-v1", self.libp2p),
        );
        // A forwarder passes TCP only: then nobody is offered anything else.
        let forwarded = self.announced != self.libp2p;
        let listen = if forwarded { vec![tcp] } else { vec![tcp, udp] };
        let announce = match forwarded {
            true => vec![format!("/ip4/127.0.0.1/tcp/{}", self.announced)],
            false => vec![],
        };
        let mut text = format!(
            "organisation = \"{}\"\nname = \"{}\"\nnetwork = \"{network}\"\nroles = {}\n\n\
             data_dir = \"data\"\npassphrase_file = \"../passphrase\"\ntrust_file = \"trust.cbor\"\n\n\
             listen = {listen:?}\nannounce = {announce:?}\n\
             bootstrap = {bootstrap:?}\npublic_listen = \"127.0.0.1:{}\"\npublic_url = \"{}\"\n\
             provider_listen = \"127.0.0.1:{}\"\napi_key_hashes = [\"{}\", \"{}\"]\nlease_ms = {lease_ms}\n",
            participant.organisation(),
            participant.name,
            serde_json::to_string(participant.roles())?,
            self.public,
            self.public_url(),
            self.provider,
            wire::sha256(self.api_key.as_bytes()),
            wire::sha256(self.second_api_key.as_bytes()),
        );
        if participant.is_city() {
            writeln!(text, "number_key = \"{}\"", dir.join("number.pem").display())?;
            writeln!(
                text,
                "\n[jpki]\nroots = [\"../jlis/root.der\"]\ncrl_file = \"../jlis/sign.crl\""
            )?;
            writeln!(text, "crl_max_age_hours = 240")?;
        }
        if let Some((name, title)) = participant.service {
            writeln!(text, "\n[[services]]\nname = \"{name}\"\ntitle = \"{title}\"")?;
        }
        std::fs::write(self.config(), text)?;
        Config::load(&self.config()).context("the configuration just written")?;
        Ok(())
    }

    fn request(&self) -> anyhow::Result<CertificationRequest> {
        let path = self.directory.join("data").join(REQUEST_FILE);
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }

    pub fn keys(&self) -> anyhow::Result<FileKeyStore> {
        let config = Config::load(&self.config())?;
        let passphrase = Passphrase::load(config.passphrase_file.as_deref())?;
        Ok(FileKeyStore::open(config.keys_dir(), passphrase)?)
    }
}

/// `mebuku init` for every node; deriving keys from passphrases is slow on purpose, so side by side.
fn init_all(mebuku: &Path, nodes: &[Founded]) -> anyhow::Result<()> {
    let children = nodes
        .iter()
        .map(|node| {
            let log = std::fs::File::create(node.directory.join("init.log"))?;
            let mut command = Command::new(mebuku);
            command.args(["init", "--config"]).arg(node.config());
            Ok(command.stdout(log.try_clone()?).stderr(log).spawn()?)
        })
        .collect::<anyhow::Result<Vec<_>>>()?;
    for (mut child, node) in children.into_iter().zip(nodes) {
        if !child.wait()?.success() {
            bail!("mebuku init failed; see {}", node.directory.join("init.log").display());
        }
    }
    Ok(())
}

/// A city's CAs, opened for the founding.
pub struct CityCas {
    certificates: Vec<(CaPurpose, Vec<u8>, std::sync::Arc<dyn Signer>)>,
    authority: Authority,
}

impl CityCas {
    fn issue(
        &self,
        purpose: CaPurpose,
        kind: &LeafKind,
        key: &PublicKey,
        now: Timestamp,
    ) -> anyhow::Result<Vec<Bytes>> {
        let found = self.certificates.iter().find(|(of, ..)| *of == purpose);
        let (_, certificate, signer) = found.context("a city has a CA for each purpose")?;
        let ca = Ca { certificate, signer: &**signer };
        let serial = SystemEntropy.array();
        let pointers = Pointers { crl: None, ocsp: None };
        let der = leaf(&ca, kind, key, serial, years(now, 2), &pointers)?;
        Ok(vec![Bytes(der), Bytes(certificate.clone())])
    }
}

fn years(now: Timestamp, years: u64) -> Validity {
    let not_before = Timestamp::from_secs(now.as_secs().saturating_sub(300));
    Validity { not_before, not_after: not_before.plus_ms(years * 365 * DAY_MS) }
}

/// Opens a city's CA keys and makes its root and the sub-CA of each purpose.
fn found_cas(city: &Founded, now: Timestamp) -> anyhow::Result<CityCas> {
    let (keys, participant) = (city.keys()?, city.participant);
    let organisation = participant.organisation();
    let root_signer = keys.p256(&KeyName::RootCa)?;
    let serial = SystemEntropy.array();
    let root = root_ca(&organisation, participant.name, &*root_signer, serial, years(now, 10))?;
    let ca = Ca { certificate: &root, signer: &*root_signer };
    let mut certificates = Vec::new();
    for (purpose, name) in [
        (CaPurpose::Citizen, KeyName::CitizenCa),
        (CaPurpose::Organisation, KeyName::OrganisationCa),
        (CaPurpose::Credential, KeyName::CredentialCa),
    ] {
        let signer = keys.p256(&name)?;
        let serial = SystemEntropy.array();
        let key = signer.public_key();
        let certificate =
            sub_ca(&ca, purpose, &organisation, participant.name, &key, serial, years(now, 9))?;
        certificates::write(&city.directory.join("data"), &name, &[Bytes(certificate.clone())])?;
        certificates.push((purpose, certificate, signer));
    }
    let authority = Authority {
        organisation,
        anchor: Bytes(root),
        purposes: vec![CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential],
    };
    Ok(CityCas { certificates, authority })
}

/// Every city certifies itself; Maebashi certifies the providers.
fn certify(
    nodes: &[Founded],
    requests: &[CertificationRequest],
    now: Timestamp,
) -> anyhow::Result<Vec<Authority>> {
    let cities = nodes
        .iter()
        .filter(|node| node.participant.is_city())
        .map(|city| found_cas(city, now))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for (index, (node, request)) in nodes.iter().zip(requests).enumerate() {
        let cas = cities.get(index).unwrap_or(&cities[0]);
        for requested in &request.keys {
            let name: KeyName = requested.name.parse()?;
            let key = PublicKey::from_spki(&requested.public_key)?;
            let (purpose, kind) = match &name {
                KeyName::Organisation => (
                    CaPurpose::Organisation,
                    LeafKind::Organisation {
                        organisation: request.organisation.clone(),
                        name: request.name.clone(),
                        services: request.services.clone(),
                    },
                ),
                KeyName::Credential(short) => (
                    CaPurpose::Credential,
                    LeafKind::Credential {
                        organisation: request.organisation.clone(),
                        name: request.name.clone(),
                        service: format!("{}/{short}", request.organisation).parse()?,
                    },
                ),
                _ => continue, // CA keys were certified above
            };
            let chain = cas.issue(purpose, &kind, &key, now)?;
            certificates::write(&node.directory.join("data"), &name, &chain)?;
        }
    }
    let mut authorities: Vec<_> = cities.into_iter().map(|city| city.authority).collect();
    authorities.sort_by(|a, b| a.organisation.cmp(&b.organisation));
    Ok(authorities)
}

/// A certificate for a citizen's service id that a city's CA issues without proofing anybody: what a
/// rogue CA could do.
pub fn rogue_service_chain(
    city: &Founded,
    pair: &wire::ids::Pair,
    key: &PublicKey,
    now: Timestamp,
) -> anyhow::Result<Vec<Bytes>> {
    let chain = certificates::read(&city.directory.join("data"), &KeyName::CitizenCa)?;
    let signer = city.keys()?.p256(&KeyName::CitizenCa)?;
    let ca = Ca { certificate: &chain[0], signer: &*signer };
    let kind = LeafKind::Service { subject: pair.subject, service: pair.source.clone() };
    let pointers = Pointers { crl: None, ocsp: None };
    let der = leaf(&ca, &kind, key, SystemEntropy.array(), years(now, 1), &pointers)?;
    Ok(vec![Bytes(der), chain[0].clone()])
}

impl Network {
    /// What the municipalities decide next, signed by as many people as it takes. The nodes make the
    /// timestamp once it is handed in.
    pub fn decide(&self, change: impl FnOnce(&mut Wanted)) -> anyhow::Result<TrustFile> {
        Ok(self.table(change, false)?.decided(SystemClock.now().wall)?)
    }

    /// The same with the timestamp signed by hand, so that it can be handed to one node alone.
    pub fn govern(&self, change: impl FnOnce(&mut Wanted)) -> anyhow::Result<TrustFile> {
        Ok(self.table(change, true)?.publish(SystemClock.now().wall)?.0)
    }

    fn table(
        &self,
        change: impl FnOnce(&mut Wanted),
        with_timestamp: bool,
    ) -> anyhow::Result<Ceremony> {
        let dir = self.cards.parent().context("the cards lie in the network's directory")?;
        let node = self.nodes.first().context("a network has nodes")?;
        let file = node::run::read_trust(&node.directory.join("trust.cbor"))?;
        let now = SystemClock.now().wall;
        let before = Trust::open(&file, &self.id, now)?;
        let mut wanted = Wanted::of(&before);
        change(&mut wanted);
        let mut ceremony = Ceremony::new(Some(before.clone()));
        for proposal in ceremony::propose(Some(&before), &wanted, Renew::Changed, now)? {
            ceremony.add(proposal)?;
        }
        if with_timestamp {
            ceremony.add(ceremony.draft_timestamp(now, (DAY_MS, 14 * DAY_MS))?)?;
        }
        let passphrase = Passphrase::from_file(&dir.join("passphrase"))?;
        for city in CITIES.iter().take(THRESHOLD as usize) {
            let of_people = ["root", "list"].map(|role| {
                let key = dir.join("ceremony").join(format!("{}-{role}.pem", city.key));
                Ok(P256Signer::new(&KeyFile::open(&key, KeyKind::P256, &passphrase)?)?)
            });
            let of_node = timestamp_key(dir, city, &passphrase);
            for signer in of_people.into_iter().chain([of_node]) {
                let signer = signer?;
                match ceremony.sign(&signer) {
                    // Of a role in which nothing changes.
                    Err(CeremonyError::NoSay(_)) => {}
                    signed => drop(signed?),
                }
            }
        }
        Ok(ceremony)
    }

    /// The trust file as it was founded, with these certificates on the denylist.
    pub fn deny_certificates(&self, certificates: &[Hash]) -> anyhow::Result<TrustFile> {
        let mut denylist: Vec<_> = certificates.iter().copied().map(Denied::Certificate).collect();
        denylist.sort();
        self.with_timestamp(|timestamp| {
            timestamp.version += 1;
            timestamp.denylist = denylist;
        })
    }

    /// The trust file as it was founded, with another timestamp: signed by hand, with the nodes' keys.
    pub fn with_timestamp(
        &self,
        change: impl FnOnce(&mut TrustTimestamp),
    ) -> anyhow::Result<TrustFile> {
        let dir = self.cards.parent().context("the cards lie in the network's directory")?;
        let node = self.nodes.first().context("a network has nodes")?;
        let mut file = node::run::read_trust(&node.directory.join("trust.cbor"))?;
        let before = MultiSigned::<TrustTimestamp>::decode(&file.timestamp)?;
        let mut timestamp = before.unverified().clone();
        change(&mut timestamp);
        let mut timestamp = MultiSigned::new(timestamp);
        let passphrase = Passphrase::from_file(&dir.join("passphrase"))?;
        for city in CITIES.iter().take(THRESHOLD as usize) {
            timestamp.sign(&self.id, &timestamp_key(dir, city, &passphrase)?)?;
        }
        file.timestamp = Bytes(timestamp.bytes());
        Ok(file)
    }
}

/// A make-believe J-LIS, its revocation list, a card for each person of the story, and a crowd's.
fn make_cards(dir: &Path, crowd: u8, now: Timestamp) -> anyhow::Result<PathBuf> {
    let (jlis_dir, cards) = (dir.join("jlis"), dir.join("cards"));
    std::fs::create_dir_all(&jlis_dir)?;
    std::fs::create_dir_all(&cards)?;
    let validity = CardValidity {
        not_before: Timestamp::from_secs(now.as_secs() - 86_400),
        not_after: Timestamp::from_secs(now.as_secs() + 4 * 365 * 86_400),
    };
    let jlis = SyntheticJlis::generate(&[0x01], validity)?;
    std::fs::write(jlis_dir.join("root.der"), jlis.root())?;
    let list = jlis.crl(&[], now, now.plus_ms(9 * DAY_MS))?;
    std::fs::write(jlis_dir.join("sign.crl"), list)?;
    let story = [
        ("hanako", "前橋　花子", 1982, Gender::Female, "群馬県前橋市大手町二丁目１２番１号"),
        ("mallory", "真理　衛", 1985, Gender::Male, "群馬県前橋市本町一丁目１番１号"),
        ("taro", "前橋　太郎", 1972, Gender::Male, "群馬県前橋市千代田町三丁目３番３号"),
        // Somebody whose home is another city.
        ("kenta", "江別　健太", 1979, Gender::Male, "北海道江別市高砂町６番地"),
        // For whom others act: a child, and an adult under guardianship.
        ("akari", "前橋　あかり", 2020, Gender::Female, "群馬県前橋市大手町二丁目１２番１号"),
        ("ken", "利根　健", 1948, Gender::Male, "群馬県前橋市若宮町一丁目２番３号"),
    ];
    let story = story.map(|(key, name, year, gender, address)| {
        (key.to_owned(), name, year, gender, address.to_owned())
    });
    let crowd = (1..=crowd).map(|house| {
        let address = format!("群馬県前橋市荒牧町一丁目{house}番");
        (format!("citizen-{}", house - 1), "芽吹　市民", 1970, Gender::Female, address)
    });
    for (serial, (key, name, year, gender, address)) in (1u8..).zip(story.into_iter().chain(crowd))
    {
        let attributes = CardAttributes {
            name: name.to_owned(),
            birth_date: BirthDate::new(
                if year > 2019 { Era::Reiwa } else { Era::Showa },
                year,
                4,
                1,
            )?,
            gender,
            address: address.clone(),
            name_substituted: vec![false; name.chars().count()],
            address_substituted: vec![false; address.chars().count()],
        };
        let card = jlis.issue_card(&attributes, &[0x10, 0x20, serial], validity)?;
        write_private_bytes(&cards.join(format!("{key}.card")), &card.to_bytes()?)?;
    }
    Ok(cards)
}

/// Three ports that nobody listens on, and that this process gave to no other node. Below those that the
/// system hands out by itself: a node that starts later must not find its port taken by a call that happens
/// to be going out.
fn free_ports() -> anyhow::Result<[u16; 3]> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let mut ports = [0; 3];
    for port in &mut ports {
        *port = (0..1000)
            .map(|_| 10_000 + u16::from_be_bytes(SystemEntropy.array()) % 22_000)
            .find(|port| !given.contains(port) && is_free(*port))
            .context("no free port between 10000 and 32000")?;
        given.insert(*port);
    }
    Ok(ports)
}

/// For TCP and UDP alike.
fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    write_private_bytes(path, text.as_bytes())
}

fn write_private_bytes(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?.write_all(bytes)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
