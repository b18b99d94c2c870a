//! A small test network: four cities with CAs, a trust file, and keys made from numbers. For tests
//! only; everything in it is fixed, so that runs repeat.
//!
//! ```text
//! let network = TestNetwork::new();
//! let phone = TestSigner::new(100);
//! let chain = network.service_certificate(0, subject, &service, &phone.public_key());
//! let verified = trust::verify_chain(&chain, CertificateKind::Service, &network.trust, NOW)?;
//! ```

use p256::ecdsa::{Signature, SigningKey, signature::Signer as _};
use wire::{
    Bytes, Hash, Message, MultiSigned, NetworkId, OrganisationId, PublicKey, ServiceId,
    ServiceName, SignError, SignatureBytes, Signed, Signer, Timestamp, hash_parts,
    membership::{
        Authority, CaPurpose, Committee, Descriptor, Hello, Municipality, NodeIdentity, Role,
        RoleKeys, Root, TrustFile, TrustList, TrustTimestamp,
    },
};

use crate::{Ca, LeafKind, Pointers, Trust, Validity, leaf, network_id, root_ca, sub_ca};

/// 2026-04-01T00:00:00Z: "now" in the test network.
pub const NOW: Timestamp = Timestamp::from_secs(1_775_001_600);
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
const YEAR_MS: u64 = 365 * DAY_MS;

/// The four cities: name and local-government code (the end of their corporate number's base).
const CITIES: [(&str, &str); 4] =
    [("前橋市", "102016"), ("高崎市", "102024"), ("伊勢崎市", "102041"), ("太田市", "102059")];

/// A P-256 key made from a number. Signatures are deterministic (RFC 6979).
#[derive(Clone)]
pub struct TestSigner(SigningKey);

impl TestSigner {
    /// Seeds below 64 are the test network's own keys; use others.
    pub fn new(seed: u8) -> Self {
        Self::from_label(&format!("seed {seed}"))
    }

    /// As many keys as there are labels.
    pub fn from_label(label: &str) -> Self {
        let secret = hash_parts("mebuku/test-key/1", &[label.as_bytes()]);
        Self(SigningKey::from_slice(&secret.0).expect("a hash is a valid scalar, almost surely"))
    }
}

impl Signer for TestSigner {
    fn public_key(&self) -> PublicKey {
        let point = self.0.verifying_key().to_sec1_point(false);
        PublicKey::from_sec1(point.as_bytes()).expect("an uncompressed point")
    }

    fn sign(&self, message: &[u8]) -> Result<SignatureBytes, SignError> {
        let signature: Signature = self.0.sign(message);
        Ok(SignatureBytes(signature.to_bytes().into()))
    }
}

/// A CA certificate with its key.
#[derive(Clone)]
pub struct TestCa {
    pub certificate: Vec<u8>,
    pub signer: TestSigner,
}

impl TestCa {
    pub fn ca(&self) -> Ca<'_> {
        Ca { certificate: &self.certificate, signer: &self.signer }
    }
}

/// A municipality with its root CA and a sub-CA for each purpose.
#[derive(Clone)]
pub struct TestCity {
    pub organisation: OrganisationId,
    pub name: String,
    pub root: TestCa,
    pub citizen: TestCa,
    pub organisation_ca: TestCa,
    pub credential: TestCa,
}

impl TestCity {
    pub fn authority(&self) -> Authority {
        Authority {
            organisation: self.organisation.clone(),
            anchor: self.root.certificate.clone().into(),
            purposes: vec![CaPurpose::Citizen, CaPurpose::Organisation, CaPurpose::Credential],
        }
    }

    pub fn sub_ca(&self, purpose: CaPurpose) -> &TestCa {
        match purpose {
            CaPurpose::Citizen => &self.citizen,
            CaPurpose::Organisation => &self.organisation_ca,
            CaPurpose::Credential => &self.credential,
        }
    }
}

/// A member's node: its organisation key, certificate chain and signed descriptor.
#[derive(Clone)]
pub struct TestOrganisation {
    pub organisation: OrganisationId,
    pub signer: TestSigner,
    pub chain: Vec<Bytes>,
    pub descriptor: Descriptor,
    pub identity: NodeIdentity,
}

impl TestOrganisation {
    pub fn peer_id(&self) -> &str {
        &self.descriptor.peers[0]
    }

    pub fn hello(&self, trust: &Trust) -> Hello {
        let versions = trust.versions();
        Hello {
            identity: self.identity.clone(),
            root_version: versions.root,
            list_version: versions.list,
            timestamp_version: versions.timestamp,
        }
    }
}

#[derive(Clone)]
pub struct TestNetwork {
    pub id: NetworkId,
    /// All roots so far, the first the genesis root.
    pub roots: Vec<MultiSigned<Root>>,
    pub list: TrustList,
    pub timestamp: TrustTimestamp,
    pub file: TrustFile,
    pub trust: Trust,
    pub cities: Vec<TestCity>,
    /// One key for each city in each role: root and list 3 of 4, timestamp 2 of 4.
    pub root_signers: Vec<TestSigner>,
    pub list_signers: Vec<TestSigner>,
    pub timestamp_signers: Vec<TestSigner>,
}

impl Default for TestNetwork {
    fn default() -> Self {
        Self::new()
    }
}

impl TestNetwork {
    /// Four municipalities, each an authority for every purpose, a witness and a committee member.
    pub fn new() -> Self {
        let cities: Vec<_> = (0..CITIES.len()).map(city).collect();
        let signers =
            |role: u8| (0..4u8).map(|i| TestSigner::new(role * 4 + i)).collect::<Vec<_>>();
        let (root_signers, list_signers, timestamp_signers) = (signers(0), signers(1), signers(2));
        let root = Root {
            version: 1,
            testnet: true,
            issued: NOW,
            expires: NOW.plus_ms(10 * YEAR_MS),
            root: role_keys(&root_signers, 3),
            trust_list: role_keys(&list_signers, 3),
            timestamp: role_keys(&timestamp_signers, 3),
        };
        let genesis = MultiSigned::new(root);
        let id = network_id(&genesis);
        let genesis = sign_all(genesis, &id, &root_signers[..3]);
        let organisations: Vec<_> = cities.iter().map(|city| city.organisation.clone()).collect();
        let list = TrustList {
            version: 1,
            issued: NOW,
            expires: NOW.plus_ms(YEAR_MS),
            authorities: cities.iter().map(TestCity::authority).collect(),
            municipalities: cities
                .iter()
                .map(|city| Municipality {
                    organisation: city.organisation.clone(),
                    name: city.name.clone(),
                })
                .collect(),
            witnesses: organisations.clone(),
            committee: Committee {
                members: organisations,
                threshold: 3,
                public_key: compressed(&TestSigner::new(12).public_key()),
            },
            denied: Vec::new(),
        };
        let timestamp = TrustTimestamp {
            version: 1,
            list_version: 1,
            list_hash: Hash([0; 32]),
            issued: NOW,
            soft_expiry: NOW.plus_ms(DAY_MS),
            hard_expiry: NOW.plus_ms(14 * DAY_MS),
            denylist: Vec::new(),
        };
        let (file, timestamp) = assemble(
            &id,
            std::slice::from_ref(&genesis),
            &list,
            timestamp,
            &list_signers,
            &timestamp_signers,
        );
        let trust = Trust::open(&file, &id, NOW).expect("the test network's own file is good");
        Self {
            id,
            roots: vec![genesis],
            list,
            timestamp,
            file,
            trust,
            cities,
            root_signers,
            list_signers,
            timestamp_signers,
        }
    }

    /// The trust file with `change` made to list and timestamp, signed anew by three of each role.
    /// The timestamp's reference to the list is filled in afterwards; versions are `change`'s.
    pub fn file_with(&self, change: impl FnOnce(&mut TrustList, &mut TrustTimestamp)) -> TrustFile {
        let (mut list, mut timestamp) = (self.list.clone(), self.timestamp.clone());
        change(&mut list, &mut timestamp);
        let (lists, timestamps) = (&self.list_signers, &self.timestamp_signers);
        assemble(&self.id, &self.roots, &list, timestamp, lists, timestamps).0
    }

    /// As [`Self::file_with`], opened at [`NOW`].
    pub fn trust_with(&self, change: impl FnOnce(&mut TrustList, &mut TrustTimestamp)) -> Trust {
        Trust::open(&self.file_with(change), &self.id, NOW).expect("a good change")
    }

    /// A leaf under the sub-CA of a city, with the chain above it. Valid from an hour before [`NOW`]
    /// for a year.
    pub fn chain(&self, city: usize, leaf: &LeafKind, key: &PublicKey) -> Vec<Bytes> {
        let ca = self.cities[city].sub_ca(leaf.kind().purpose());
        vec![issue_leaf(ca, leaf, key, a_year()).into(), ca.certificate.clone().into()]
    }

    /// The chain of one phone of a citizen at one service, issued by a city.
    pub fn service_certificate(
        &self,
        city: usize,
        subject: ServiceId,
        service: &ServiceName,
        key: &PublicKey,
    ) -> Vec<Bytes> {
        self.chain(city, &LeafKind::Service { subject, service: service.clone() }, key)
    }

    /// The chain of one phone of a citizen, issued by a city.
    pub fn id_certificate(&self, city: usize, number: &str, key: &PublicKey) -> Vec<Bytes> {
        self.chain(city, &LeafKind::Id { number: number.to_owned() }, key)
    }

    /// The chain of an organisation key, issued by a city.
    pub fn organisation_certificate(
        &self,
        city: usize,
        organisation: &OrganisationId,
        name: &str,
        services: &[ServiceName],
        key: &PublicKey,
    ) -> Vec<Bytes> {
        let leaf = LeafKind::Organisation {
            organisation: organisation.clone(),
            name: name.to_owned(),
            services: services.to_vec(),
        };
        self.chain(city, &leaf, key)
    }

    /// The chain of a key that signs a service's credentials, issued by a city.
    pub fn credential_certificate(
        &self,
        city: usize,
        name: &str,
        service: &ServiceName,
        key: &PublicKey,
    ) -> Vec<Bytes> {
        let leaf = LeafKind::Credential {
            organisation: service.organisation(),
            name: name.to_owned(),
            service: service.clone(),
        };
        self.chain(city, &leaf, key)
    }

    /// A member with a certificate from a city, standing for `services` in `roles`. Its keys are
    /// made from its corporate number.
    pub fn organisation(
        &self,
        city: usize,
        organisation: &OrganisationId,
        name: &str,
        services: &[ServiceName],
        roles: &[Role],
    ) -> TestOrganisation {
        let signer = TestSigner::from_label(organisation.as_str());
        let key = signer.public_key();
        let chain = self.organisation_certificate(city, organisation, name, services, &key);
        let descriptor = descriptor(organisation, name, services, roles);
        self.organisation_from(signer, chain, descriptor)
    }

    /// A city's own node: home, issuer, witness and committee member.
    pub fn city(&self, city: usize) -> TestOrganisation {
        let TestCity { organisation, name, .. } = &self.cities[city];
        let roles = [Role::Home, Role::Issuer, Role::Witness, Role::Committee];
        self.organisation(city, organisation, name, &[], &roles)
    }

    /// Signs a descriptor.
    pub fn organisation_from(
        &self,
        signer: TestSigner,
        chain: Vec<Bytes>,
        descriptor: Descriptor,
    ) -> TestOrganisation {
        let signed = Signed::new(descriptor.clone(), &self.id, &signer).expect("test keys sign");
        let identity =
            NodeIdentity { chain: chain.clone(), descriptor: signed.bytes().to_vec().into() };
        let organisation = descriptor.organisation.clone();
        TestOrganisation { organisation, signer, chain, descriptor, identity }
    }
}

/// Fills in the timestamp's reference to the list, signs both, by three keys each.
pub fn assemble(
    network: &NetworkId,
    roots: &[MultiSigned<Root>],
    list: &TrustList,
    mut timestamp: TrustTimestamp,
    list_signers: &[TestSigner],
    timestamp_signers: &[TestSigner],
) -> (TrustFile, TrustTimestamp) {
    let list = sign_all(MultiSigned::new(list.clone()), network, &list_signers[..3]);
    timestamp.list_version = list.unverified().version;
    timestamp.list_hash = list.payload_hash();
    let signed = sign_all(MultiSigned::new(timestamp.clone()), network, &timestamp_signers[..3]);
    let file = TrustFile {
        roots: roots.iter().map(|root| root.bytes().into()).collect(),
        trust_list: list.bytes().into(),
        timestamp: signed.bytes().into(),
    };
    (file, timestamp)
}

pub fn sign_all<M: Message>(
    mut envelope: MultiSigned<M>,
    network: &NetworkId,
    signers: &[TestSigner],
) -> MultiSigned<M> {
    for signer in signers {
        envelope.sign(network, signer).expect("test keys sign");
    }
    envelope
}

/// The keys of a role, sorted.
pub fn role_keys(signers: &[TestSigner], threshold: u32) -> RoleKeys {
    let mut keys: Vec<_> = signers.iter().map(Signer::public_key).collect();
    keys.sort();
    RoleKeys { keys, threshold }
}

/// From an hour before [`NOW`] for a year.
pub fn a_year() -> Validity {
    Validity { not_before: Timestamp(NOW.0 - HOUR_MS), not_after: NOW.plus_ms(YEAR_MS) }
}

/// Issues a leaf with a serial number made from its key and contents.
pub fn issue_leaf(ca: &TestCa, kind: &LeafKind, key: &PublicKey, validity: Validity) -> Vec<u8> {
    let (subject, alternatives) = kind.names().expect("a good leaf");
    let label = format!("{subject} {alternatives:?} {validity:?}");
    let serial = serial(&[key.sec1(), label.as_bytes()]);
    leaf(&ca.ca(), kind, key, serial, validity, &Pointers::default()).expect("a good leaf")
}

fn serial(parts: &[&[u8]]) -> [u8; 16] {
    let hash = hash_parts("mebuku/test-serial/1", parts);
    let mut serial = [0; 16];
    serial.copy_from_slice(&hash.0[..16]);
    serial
}

fn compressed(key: &PublicKey) -> Bytes {
    let point = key.sec1();
    let mut bytes = vec![2 + (point[64] & 1)];
    bytes.extend_from_slice(&point[1..33]);
    bytes.into()
}

/// A descriptor with one made-up peer id, address and log key.
pub fn descriptor(
    organisation: &OrganisationId,
    name: &str,
    services: &[ServiceName],
    roles: &[Role],
) -> Descriptor {
    let (mut services, mut roles) = (services.to_vec(), roles.to_vec());
    services.sort();
    roles.sort();
    let key = |what: &str| {
        Bytes(
            hash_parts(
                "mebuku/test-ed25519/1",
                &[what.as_bytes(), organisation.as_str().as_bytes()],
            )
            .0
            .to_vec(),
        )
    };
    Descriptor {
        organisation: organisation.clone(),
        name: name.to_owned(),
        version: 1,
        // Not a key's real id, but of its form.
        peers: vec![format!("12D3KooW{}", organisation.as_str().replace('0', "z"))],
        addresses: vec!["/ip4/127.0.0.1/tcp/4001".to_owned()],
        log_key: key("log"),
        witness_key: Some(key("witness")),
        roles,
        services,
        public_url: Some("https://node.example".to_owned()),
        issued: NOW,
    }
}

/// 30 years for the root, 20 for the sub-CAs, from 2025 on: both encodings of time are met.
fn city(index: usize) -> TestCity {
    let (name, code) = CITIES[index];
    let organisation = OrganisationId::from_base(&format!("000020{code}")).expect("twelve digits");
    let start = Timestamp(NOW.0 - YEAR_MS);
    let root_validity = Validity { not_before: start, not_after: start.plus_ms(30 * YEAR_MS) };
    let validity = Validity { not_before: start, not_after: start.plus_ms(20 * YEAR_MS) };
    let signer = |what: &str| TestSigner::from_label(&format!("{code} {what}"));
    let root = signer("root");
    let certificate =
        root_ca(&organisation, name, &root, serial(&[code.as_bytes(), b"root"]), root_validity)
            .expect("a good root CA");
    let root = TestCa { certificate, signer: root };
    let sub = |purpose: CaPurpose| {
        let label = format!("{purpose:?}");
        let signer = signer(&label);
        let serial = serial(&[code.as_bytes(), label.as_bytes()]);
        let key = signer.public_key();
        let certificate = sub_ca(&root.ca(), purpose, &organisation, name, &key, serial, validity)
            .expect("a good sub-CA");
        TestCa { certificate, signer }
    };
    TestCity {
        citizen: sub(CaPurpose::Citizen),
        organisation_ca: sub(CaPurpose::Organisation),
        credential: sub(CaPurpose::Credential),
        organisation,
        name: name.to_owned(),
        root,
    }
}
