//! A node's life: open what is on disk, join the network, serve, and stop in order.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, sync::Arc};

use axum::serve::ListenerExt;
use evidence::{log::CheckpointPolicy, note::log_origin};
use identity::{JpkiRoots, Registrar, number::SingleKeyFunction};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use trust::{Freshness, Trust};
use wire::{
    Bytes, Hash, OrganisationId, ServiceName, Signed, cbor,
    membership::{Descriptor, NodeIdentity, Role, TrustFile},
};

use crate::{
    api::{bounds::Bounded, provider, public},
    ca::{CertificationAuthority, SubCa},
    catch_up::catch_up,
    certificates::{self, CertificateError},
    clock::{Clock, SystemClock},
    config::{Config, ConfigError},
    context::{Context, Fault, Parts},
    entropy::{Entropy, SystemEntropy},
    evidence_log,
    home::{Desk, DeskParts, Home},
    inbound::Roles,
    keys::{FileKeyStore, KeyError, KeyName, KeyStore, Passphrase},
    metrics::Metrics,
    net::{self, DirectoryStore, NetError, Network, NetworkConfig},
    recipient::Recipient,
    source::{CredentialKey, Source},
    store::{
        Column, Committer, Key, RocksStore, Store, StoreError, TypedRead, commit::LogParameters,
    },
    timestamper::Timestamper,
    tls::{self, TlsError, TlsFiles},
    trust_keeper::{self, TrustKeeper},
    witness::{OwnLog, Witness},
};

/// Why a node does not start. Nothing was changed but for opening its store.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the public face's certificate and key (`[public_tls]`): {0}")]
    Tls(#[from] TlsError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("{}: the trust list does not hold: {error}", path.display())]
    Trust { path: PathBuf, error: trust::TrustError },
    #[error("this node is no member")]
    Member(#[from] trust::MemberError),
    #[error("the number function: {0}")]
    Number(String),
    #[error("the witnesses of this node's log (`[witnesses]` in the configuration): {0}")]
    Witnesses(String),
    #[error("`[ca] approvals`: only in a testnet may one operator issue certificates alone")]
    Approvals,
    #[error("the roots of J-LIS: {0}")]
    Jpki(String),
    #[error("cannot listen on {address}: {reason}")]
    Listen { address: SocketAddr, reason: String },
    #[error(transparent)]
    Network(#[from] NetError),
    #[error("no metrics")]
    Metrics(#[from] prometheus::Error),
    #[error(transparent)]
    Fault(#[from] Fault),
}

/// A running node. It ends with [`Node::stop`].
pub struct Node {
    pub context: Arc<Context>,
    network: Network,
    servers: Vec<JoinHandle<()>>,
    pub provider_address: SocketAddr,
    pub public_address: Option<SocketAddr>,
}

impl Node {
    /// Opens keys, store and trust list, checks that this node is a member, and joins.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let now = clock.now().wall;
        let passphrase = Passphrase::load(config.passphrase_file.as_deref())?;
        let key_store = FileKeyStore::open(config.keys_dir(), passphrase)?;
        // The store first: a second node on this directory must not get any further.
        let store: Arc<dyn Store> = Arc::new(RocksStore::open(&config.store_dir())?);
        let known = open_trust(&config, &*store)?;
        let signer = key_store.p256(&KeyName::Organisation)?;
        let log_signer = key_store.ed25519(&KeyName::Log)?;
        let city = known.is_municipality(&config.organisation);
        let witness_signer = match own_key(city, &key_store, &KeyName::Witness)? {
            true => Some(key_store.ed25519(&KeyName::Witness)?),
            false => None,
        };
        let timestamp_signer = match own_key(city, &key_store, &KeyName::Timestamp)? {
            true => Some(key_store.p256(&KeyName::Timestamp)?),
            false => None,
        };
        let desk = match config.has_role(Role::Home) {
            true => desk(&config, &key_store, &known)?,
            false => None,
        };
        let credentials = match config.has_role(Role::Source) {
            true => Some(credentials(&config, &key_store)?),
            false => None,
        };
        let tls = match &config.public_tls {
            Some(files) => Some((files.clone(), files.open()?)),
            None => None,
        };
        let api_keys = config.api_keys()?.into_iter().map(|key| key.hash).collect();
        let seed = key_store.transport_seed()?;
        let descriptor = Descriptor {
            organisation: config.organisation.clone(),
            name: config.name.clone(),
            version: now.0,
            peers: vec![net::peer_id(*seed)],
            addresses: config.announced().iter().map(ToString::to_string).collect(),
            log_key: Bytes(log_signer.public_key().to_vec()),
            witness_key: witness_signer.as_ref().map(|key| Bytes(key.public_key().to_vec())),
            roles: config.roles.iter().copied().collect(),
            services: sorted(config.service_names()),
            public_url: config.public_url.clone(),
            issued: now,
        };
        let signed = Signed::new(descriptor, &config.network, &*signer).map_err(Fault::from)?;
        let identity = NodeIdentity {
            chain: certificates::read(&config.data_dir, &KeyName::Organisation)?,
            descriptor: Bytes(signed.bytes().to_vec()),
        };
        let mut network_config = NetworkConfig::new(*seed);
        network_config.listen = config.listen.clone();
        network_config.bootstrap = config.bootstrap.clone();
        let wall_clock = Arc::clone(&clock);
        let wall: net::Clock = Arc::new(move || wall_clock.now().wall);
        let ran_out = known.freshness(now) == Freshness::HardExpired;
        let trust = match ran_out {
            true if config.bootstrap.is_empty() => {
                let error = trust::TrustError::Expired("trust file, and there is nobody to ask");
                return Err(StartError::Trust { path: config.trust_file.clone(), error });
            }
            true => {
                catch_up(network_config.clone(), identity.clone(), &known, Arc::clone(&wall))
                    .await?
            }
            false => known,
        };
        trust::verify_identity(&identity, &trust, clock.now().wall)?;

        // Both, before anything is written or anybody is met. Nobody is answered yet.
        let provider_listener = listen(config.provider_listen).await?;
        let public_listener = match config.public_listen {
            Some(address) => Some(listen(address).await?),
            None => None,
        };

        let log_key = *log_signer.public_key();
        let own_log = own_log(&config, &trust, log_key, &*store)?;
        let parameters = LogParameters {
            origin: log_origin(&config.network, &config.organisation),
            policy: CheckpointPolicy::default(),
            signer: log_signer,
        };
        let committer =
            Committer::start(store, parameters, Arc::clone(&entropy), Arc::clone(&clock))?;
        let context = Context::new(Parts {
            organisation: config.organisation.clone(),
            name: config.name.clone(),
            services: config.service_names(),
            committer,
            clock: Arc::clone(&clock),
            entropy,
            signer,
            identity: identity.clone(),
            metrics: Metrics::new()?,
            trust: trust.clone(),
            own_log: Arc::clone(&own_log),
        });

        let ca = match config.has_role(Role::Issuer) {
            true => Some(ca_of(&config, &key_store, &context)?),
            false => None,
        };
        let home = config
            .has_role(Role::Home)
            .then(|| Home::new(Arc::clone(&context), config.lease_ms, desk));
        let source = credentials.map(|credentials| {
            let status_age_ms = config.source.status_age_s.saturating_mul(1000);
            Source::new(Arc::clone(&context), credentials, status_age_ms)
        });
        let recipient = config
            .has_role(Role::Recipient)
            .then(|| Recipient::new(Arc::clone(&context), config.has_role(Role::Source)));

        network_config.directory =
            Some(Arc::new(StoredDirectory { context: Arc::clone(&context) }));
        let timestamper = Timestamper::new(Arc::clone(&context), timestamp_signer)?;
        let keeper = TrustKeeper::new(Arc::clone(&context), source.clone(), timestamper, ran_out);
        let roles = Roles {
            context: Arc::clone(&context),
            home: home.clone(),
            source: source.clone(),
            recipient: recipient.clone(),
            witness: witness_signer.map(|signer| Witness::new(Arc::clone(&context), signer)),
            trust: Arc::clone(&keeper),
            rates: Arc::default(),
        };
        let (_, identity) = watch::channel(identity);
        let network =
            Network::start(network_config, identity, Arc::new(trust), wall, Arc::new(roles))
                .await?;
        context.set_network(network.clone());
        own_log.start(&context);
        keeper.start();
        let work = Work {
            context: Arc::clone(&context),
            descriptor: signed.id(),
            keeper: Arc::clone(&keeper),
            home: home.clone(),
            source: source.clone(),
            recipient: recipient.clone(),
        };
        if own_log.serving().is_ok() {
            work.take_up().await?;
        } else {
            tokio::spawn(work.take_up_when_allowed());
        }

        let provider = provider::router(provider::Provider {
            context: Arc::clone(&context),
            home: home.clone(),
            source: source.clone(),
            recipient,
            trust: keeper,
            ca,
            api_keys: Arc::new(api_keys),
        });
        let (provider_address, listener) = provider_listener;
        let mut servers = vec![serve(without_delay(listener), provider)];
        let mut public_address = None;
        if let Some((address, listener)) = public_listener {
            let public = public::Public { context: Arc::clone(&context), home, source };
            let router = public::router(public);
            servers.push(match tls {
                Some((files, tls)) => serve_tls(listener, files, tls, router),
                None => serve(Bounded::new(listener), router),
            });
            public_address = Some(address);
        }
        Ok(Self { context, network, servers, provider_address, public_address })
    }

    /// Ends when the commit thread does, which a node cannot go on without.
    pub async fn failed(&self) {
        self.context.committer.ended().await;
    }

    /// Takes no more calls, leaves the network, and writes what is waiting.
    pub async fn stop(self) {
        for server in self.servers {
            server.abort();
        }
        self.network.shutdown().await;
        self.context.committer.close().await;
    }
}

/// What a node does of its own accord once its witnesses have not found it out.
struct Work {
    context: Arc<Context>,
    /// Id of the signed descriptor.
    descriptor: Hash,
    keeper: Arc<TrustKeeper>,
    home: Option<Arc<Home>>,
    source: Option<Arc<Source>>,
    recipient: Option<Arc<Recipient>>,
}

impl Work {
    async fn take_up_when_allowed(self) {
        self.context.own_log().until_serving().await;
        tracing::info!("the witnesses know no longer log than this one: serving");
        if let Err(fault) = self.take_up().await {
            tracing::error!(%fault, "this node did not take up its work; restart it");
        }
    }

    async fn take_up(self) -> Result<(), Fault> {
        let now = self.context.now().wall;
        // The log is not touched before: a log that was put back must not grow another branch.
        let size = evidence_log::size(&*self.context.committer.read())?;
        self.context.log(evidence_log::node_started(self.descriptor, size, now)).await?;
        self.keeper.keep().await?;
        if let Some(home) = &self.home {
            home.start()?;
        }
        if let Some(source) = &self.source {
            source.start(size)?;
        }
        if let Some(recipient) = &self.recipient {
            recipient.start()?;
        }
        Ok(())
    }
}

/// Whether there is a key that needs no certificate: a municipality that has none yet makes one, nobody else
/// has any.
fn own_key(city: bool, key_store: &FileKeyStore, name: &KeyName) -> Result<bool, KeyError> {
    if city && !key_store.contains(name)? {
        key_store.create(name)?;
    }
    Ok(city)
}

fn ca_of(
    config: &Config,
    key_store: &FileKeyStore,
    context: &Arc<Context>,
) -> Result<Arc<CertificationAuthority>, StartError> {
    if config.ca.approvals < 2 && !context.trust().testnet() {
        return Err(StartError::Approvals);
    }
    let sub_ca = |name| -> Result<SubCa, StartError> {
        let chain = certificates::read(&config.data_dir, &name)?;
        Ok(SubCa { certificate: chain[0].clone(), signer: key_store.p256(&name)? })
    };
    let (organisations, credentials) =
        (sub_ca(KeyName::OrganisationCa)?, sub_ca(KeyName::CredentialCa)?);
    let rules = (config.ca.approvals, config.ca.days);
    Ok(CertificationAuthority::new(Arc::clone(context), organisations, credentials, rules))
}

fn own_log(
    config: &Config,
    trust: &Trust,
    log_key: [u8; 32],
    store: &dyn Store,
) -> Result<Arc<OwnLog>, StartError> {
    if config.witnesses.off && !trust.testnet() {
        return Err(StartError::Witnesses("only a testnet may run without them".to_owned()));
    }
    OwnLog::new(trust, &config.organisation, log_key, &config.witnesses, &*store.snapshot())?
        .map_err(|error| StartError::Witnesses(error.to_string()))
}

fn sorted(mut services: Vec<ServiceName>) -> Vec<ServiceName> {
    services.sort();
    services
}

/// What the operator's file says, or what this node went by last; it may have run out.
fn open_trust(config: &Config, store: &dyn Store) -> Result<Trust, StartError> {
    let path = &config.trust_file;
    let failed = |error| StartError::Trust { path: path.clone(), error };
    let beginning = wire::Timestamp(0);
    let trust = Trust::open(&read_trust(path)?, &config.network, beginning).map_err(failed)?;
    trust_keeper::newest(trust, &*store.snapshot(), beginning)?.map_err(failed)
}

pub fn read_trust(path: &std::path::Path) -> Result<TrustFile, StartError> {
    let file = |reason: String| StartError::File { path: path.to_owned(), reason };
    let bytes = std::fs::read(path).map_err(|error| file(error.to_string()))?;
    let limit = 3 * wire::limits::TRUST_OBJECT;
    cbor::from_slice_limited(&bytes, "trust file", limit).map_err(|error| file(error.to_string()))
}

async fn listen(address: SocketAddr) -> Result<(SocketAddr, TcpListener), StartError> {
    let failed = |error: std::io::Error| StartError::Listen { address, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    Ok((listener.local_addr().map_err(failed)?, listener))
}

/// An answer in two packets must not wait for the acknowledgement of the first.
fn without_delay(listener: TcpListener) -> impl axum::serve::Listener<Addr = SocketAddr> {
    listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "an http connection keeps Nagle's delay");
        }
    })
}

fn serve<L>(listener: L, router: axum::Router) -> JoinHandle<()>
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "an http face stopped");
        }
    })
}

fn serve_tls(
    listener: TcpListener,
    files: TlsFiles,
    tls: rustls::ServerConfig,
    router: axum::Router,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        let served = match listener.into_std() {
            Ok(listener) => tls::serve(listener, files, tls, router).await,
            Err(error) => Err(error),
        };
        if let Err(error) = served {
            tracing::error!(%error, "the public face stopped");
        }
    })
}

fn credentials(
    config: &Config,
    key_store: &FileKeyStore,
) -> Result<BTreeMap<ServiceName, CredentialKey>, StartError> {
    config
        .service_names()
        .into_iter()
        .map(|service| {
            let name = KeyName::credential(&service);
            let signer = key_store.p256(&name)?;
            let chain = certificates::read(&config.data_dir, &name)?;
            Ok((service, CredentialKey { signer, chain }))
        })
        .collect()
}

/// The desk of a home that enrols citizens: one with J-LIS roots and a number function.
fn desk(
    config: &Config,
    key_store: &FileKeyStore,
    trust: &Trust,
) -> Result<Option<Desk>, StartError> {
    let (Some(jpki), Some(number_key)) = (&config.jpki, &config.number_key) else {
        return Ok(None);
    };
    let roots = jpki
        .roots
        .iter()
        .map(|path| {
            std::fs::read(path)
                .map_err(|error| StartError::File { path: path.clone(), reason: error.to_string() })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let roots = JpkiRoots::new(roots, trust.testnet())
        .map_err(|error| StartError::Jpki(error.to_string()))?;
    let secret = key_store.shared_number_secret(number_key)?;
    let number_function =
        SingleKeyFunction::from_seed(&secret, b"mebuku/number-key/1", trust.testnet())
            .map_err(|error| StartError::Number(error.to_string()))?;
    let number_public_key = trust.list().committee.public_key.0.clone();
    if number_function.public_key()[..] != number_public_key[..] {
        let reason = "its key is not the one on the trust list".to_owned();
        return Err(StartError::Number(reason));
    }
    let chain = certificates::read(&config.data_dir, &KeyName::CitizenCa)?;
    Ok(Some(Desk::new(DeskParts {
        registrar: Registrar::new(config.organisation.clone(), config.network),
        roots,
        crl_file: jpki.crl_file.clone(),
        crl_max_age_ms: u64::from(jpki.crl_max_age_hours) * 3_600_000,
        number_function,
        number_public_key,
        ca_certificate: chain[0].0.clone(),
        ca_signer: key_store.p256(&KeyName::CitizenCa)?,
        sealing: key_store.proofing()?,
        fresh_proofing_ms: config.home.fresh_proofing_s.saturating_mul(1000),
    })))
}

/// The directory of known nodes, kept over a restart.
struct StoredDirectory {
    context: Arc<Context>,
}

impl DirectoryStore for StoredDirectory {
    fn load(&self) -> Vec<NodeIdentity> {
        let read = self.context.committer.read();
        let scan = crate::store::Scan::prefix(&[], 100_000);
        let rows = read.scan_values::<NodeIdentity>(Column::Directory, &scan);
        // Forgetting it costs a look-up, nothing else.
        rows.map(|rows| rows.into_iter().map(|(_, identity)| identity).collect())
            .unwrap_or_default()
    }

    fn remember(&self, organisation: &OrganisationId, identity: &NodeIdentity) {
        self.change(organisation, Some(identity.clone()));
    }

    fn forget(&self, organisation: &OrganisationId) {
        self.change(organisation, None);
    }
}

impl StoredDirectory {
    fn change(&self, organisation: &OrganisationId, identity: Option<NodeIdentity>) {
        let (context, organisation) = (Arc::clone(&self.context), organisation.clone());
        tokio::spawn(async move {
            let key = Key::new().text(&organisation);
            let saved = context.commit(move |tx| {
                match identity {
                    Some(identity) => tx.write(Column::Directory, key, &identity),
                    None => tx.delete(Column::Directory, key),
                }
                Ok::<_, std::convert::Infallible>(())
            });
            if let Err(fault) = saved.await {
                tracing::warn!(%organisation, %fault, "the directory was not saved");
            }
        });
    }
}
