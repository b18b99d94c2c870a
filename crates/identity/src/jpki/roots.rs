//! The self-signed CA certificates of J-LIS. They come from configuration: a CA certificate read
//! from a card is never an anchor.

use std::fmt;

use der::{Decode, Encode};
use wire::{Hash, Timestamp, crypto::verify_rsa_sha256, limits, sha256};
use x509_cert::{
    TbsCertificate, Version,
    ext::{
        Extensions,
        pkix::{BasicConstraints, KeyUsage, SubjectKeyIdentifier},
    },
    name::Name,
};

use super::{
    oid,
    x509::{self, SHA256_WITH_RSA},
};

/// What a generation of the CA signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RootPurpose {
    /// 署名用.
    Signature,
    /// 利用者証明用: no anchor for proofing.
    Authentication,
}

/// One generation of a J-LIS CA, its self-signature and profile checked. Whether it is one to
/// trust is for [`JpkiRoots`] and the configuration to say.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JpkiRoot {
    pub(super) subject: Vec<u8>,
    pub(super) serial: Vec<u8>,
    pub(super) key_id: Vec<u8>,
    pub(super) public_key: Vec<u8>,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
    purpose: RootPurpose,
    test: bool,
    hash: Hash,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootError {
    #[error("the root certificate is malformed or larger than {} bytes", limits::CERTIFICATE)]
    Malformed,
    #[error("the root certificate is not signed with sha256WithRSAEncryption")]
    Algorithm,
    #[error("the root's key is not RSA-2048 with e = 65537")]
    Key,
    #[error("the root's issuer is not itself")]
    NotSelfIssued,
    #[error("the root's signature is not its own")]
    NotSelfSigned,
    #[error("the root's name is not one of J-LIS")]
    Name,
    #[error("the root lacks {0}, or it is not as in the profile")]
    Extension(&'static str),
    #[error("the root is that of authentication certificates; proofing needs the signature root")]
    WrongPurpose,
    #[error("a JPKI-TEST root is accepted in a testnet only")]
    TestRoot,
    #[error("a root is given twice (key id {0})")]
    Twice(String),
    #[error("no root is given")]
    None,
}

impl JpkiRoot {
    /// Reads and checks a root certificate of either purpose, production or test. Not its validity
    /// period: that is asked when a certificate is checked.
    pub fn from_der(der: &[u8]) -> Result<Self, RootError> {
        if der.len() > limits::CERTIFICATE {
            return Err(RootError::Malformed);
        }
        let parts = x509::split_signed(der).map_err(|_| RootError::Malformed)?;
        let tbs = TbsCertificate::from_der(parts.body).map_err(|_| RootError::Malformed)?;
        let inner = tbs.signature().to_der().map_err(|_| RootError::Malformed)?;
        if parts.algorithm != SHA256_WITH_RSA || inner != SHA256_WITH_RSA {
            return Err(RootError::Algorithm);
        }
        let public_key = x509::rsa_2048(tbs.subject_public_key_info()).ok_or(RootError::Key)?;
        if tbs.version() != Version::V3 || tbs.subject() != tbs.issuer() {
            return Err(RootError::NotSelfIssued);
        }
        verify_rsa_sha256(&public_key, parts.body, parts.signature)
            .map_err(|_| RootError::NotSelfSigned)?;
        let (test, purpose) = ca_name(tbs.subject()).ok_or(RootError::Name)?;
        let key_id = check_extensions(tbs.extensions().unwrap_or(&Extensions::new()))?;
        Ok(Self {
            subject: tbs.subject().to_der().map_err(|_| RootError::Malformed)?,
            serial: x509::serial(tbs.serial_number()).to_vec(),
            key_id,
            public_key,
            not_before: x509::timestamp(&tbs.validity().not_before),
            not_after: x509::timestamp(&tbs.validity().not_after),
            purpose,
            test,
            hash: sha256(der),
        })
    }

    pub fn purpose(&self) -> RootPurpose {
        self.purpose
    }

    /// Whether this is a JPKI-TEST root.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// The subjectKeyIdentifier: what tells the generations apart.
    pub fn key_id(&self) -> &[u8] {
        &self.key_id
    }

    /// SHA-256 of the certificate.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    pub(super) fn covers(&self, at: Timestamp) -> bool {
        self.not_before <= at && at < self.not_after.plus_ms(1000)
    }
}

impl fmt::Debug for JpkiRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let network = if self.test { "JPKI-TEST" } else { "JPKI" };
        write!(f, "JpkiRoot({network}, {:?}, {})", self.purpose, self.hash)
    }
}

/// Whether the name is a test name, and the purpose it states.
fn ca_name(name: &Name) -> Option<(bool, RootPurpose)> {
    let attributes: Vec<(String, &str)> = (name.iter())
        .map(|attribute| {
            let value = std::str::from_utf8(attribute.value.value()).ok()?;
            Some((attribute.oid.to_string(), value))
        })
        .collect::<Option<_>>()?;
    let attributes: Vec<(&str, &str)> =
        attributes.iter().map(|(oid, value)| (oid.as_str(), *value)).collect();
    let [
        ("2.5.4.6", "JP"),
        ("2.5.4.10", organisation),
        ("2.5.4.11", unit),
        ("2.5.4.11", "Japan Agency for Local Authority Information Systems"),
    ] = attributes[..]
    else {
        return None;
    };
    let test = match organisation {
        "JPKI" => false,
        "JPKI-TEST" => true,
        _ => return None,
    };
    let purpose = match unit {
        "JPKI for digital signature" => RootPurpose::Signature,
        "JPKI for user authentication" => RootPurpose::Authentication,
        _ => return None,
    };
    Some((test, purpose))
}

/// Returns the key id.
fn check_extensions(extensions: &Extensions) -> Result<Vec<u8>, RootError> {
    let find = |oid, name| {
        (x509::extension(extensions, oid).ok().flatten()).ok_or(RootError::Extension(name))
    };
    let usage = find(oid::KEY_USAGE, "keyUsage")?;
    let bits = KeyUsage::from_der(usage.extn_value.as_bytes());
    if !usage.critical || !bits.is_ok_and(|bits| bits.key_cert_sign() && bits.crl_sign()) {
        return Err(RootError::Extension("keyUsage"));
    }
    let basic = find(oid::BASIC_CONSTRAINTS, "basicConstraints")?;
    let constraints = BasicConstraints::from_der(basic.extn_value.as_bytes());
    if !basic.critical || !constraints.is_ok_and(|constraints| constraints.ca) {
        return Err(RootError::Extension("basicConstraints"));
    }
    let known = [oid::KEY_USAGE, oid::BASIC_CONSTRAINTS];
    if extensions.iter().any(|other| other.critical && !known.contains(&other.extn_id)) {
        return Err(RootError::Extension("only critical extensions that are known"));
    }
    let key_id = find(oid::SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier")?;
    SubjectKeyIdentifier::from_der(key_id.extn_value.as_bytes())
        .ok()
        .map(|id| id.0.as_bytes().to_vec())
        .filter(|id| id.len() == 20)
        .ok_or(RootError::Extension("subjectKeyIdentifier"))
}

/// The anchors of proofing: signature roots, by configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JpkiRoots {
    roots: Vec<JpkiRoot>,
}

impl JpkiRoots {
    /// `roots` are DER certificates. Test roots are refused unless `testnet`; a testnet takes
    /// production roots too.
    pub fn new(roots: Vec<Vec<u8>>, testnet: bool) -> Result<Self, RootError> {
        let mut accepted: Vec<JpkiRoot> = Vec::with_capacity(roots.len());
        for der in &roots {
            let root = JpkiRoot::from_der(der)?;
            if root.test && !testnet {
                return Err(RootError::TestRoot);
            }
            if root.purpose != RootPurpose::Signature {
                return Err(RootError::WrongPurpose);
            }
            if accepted.iter().any(|other| other.key_id == root.key_id) {
                return Err(RootError::Twice(hex(&root.key_id)));
            }
            accepted.push(root);
        }
        if accepted.is_empty() {
            return Err(RootError::None);
        }
        Ok(Self { roots: accepted })
    }

    pub fn iter(&self) -> impl Iterator<Item = &JpkiRoot> {
        self.roots.iter()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
