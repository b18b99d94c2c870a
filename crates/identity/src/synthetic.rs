//! A make-believe J-LIS and its cards, to the profile of JPKI-TEST, for testnets, demos and tests:
//! public fixtures of real cards hold no private key. Behind the feature `synthetic`; outside a
//! testnet nothing it makes is accepted, because its roots are test roots.
//!
//! RSA keys are drawn by aws-lc-rs from its own randomness: the one place under `crates/` where
//! randomness does not come in from outside. Signing is PKCS#1 v1.5, which draws none.

mod der;

use std::fmt;

use ::der::asn1::ObjectIdentifier;
use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use serde::{Deserialize, Serialize};
use wire::{Bytes, Timestamp, cbor, sha256};

use self::der::{
    BIT_STRING, BOOLEAN, ENUMERATED, IA5_STRING, OCTET_STRING, PRINTABLE_STRING, SEQUENCE,
    UTF8_STRING, context, extension, integer, name, signed, time, tlv,
};
use crate::jpki::{CardAttributes, Reason, oid};

const COUNTRY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.6");
const LOCALITY: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.7");
const ORGANISATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const UNIT: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.11");
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ISSUER_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.18");
const CPS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.2.1");
const SHA256_WITH_RSA: [u8; 15] =
    [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b, 0x05, 0x00];
/// Prefecture and city of every synthetic card.
const MUNICIPALITY: (&str, &str) = ("Gunma-ken", "Maebashi-shi");

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntheticError {
    #[error("the RSA key could not be generated, read or used")]
    Key,
    #[error("a time is outside the years 1970 to 9999")]
    Time,
    #[error("not the content of a synthetic card or J-LIS file")]
    File,
}

/// From when until when a synthetic certificate holds, both inclusive, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CardValidity {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// One generation of a make-believe CA. All generations share one name, as the real ones do.
pub struct SyntheticJlis {
    key: KeyPair,
    root: Vec<u8>,
    serial: Vec<u8>,
    key_id: Vec<u8>,
}

impl fmt::Debug for SyntheticJlis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyntheticJlis(..)")
    }
}

/// What a file of a synthetic J-LIS or card holds, in deterministic CBOR.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    certificate: Bytes,
    /// PKCS#8 DER.
    key: Bytes,
    serial: Bytes,
}

const JLIS_FORMAT: &str = "mebuku-synthetic-jlis/1";
const CARD_FORMAT: &str = "mebuku-synthetic-card/1";

fn generate() -> Result<KeyPair, SyntheticError> {
    KeyPair::generate(KeySize::Rsa2048).map_err(|_| SyntheticError::Key)
}

fn pkcs8(key: &KeyPair) -> Result<Vec<u8>, SyntheticError> {
    let der: Pkcs8V1Der<'static> = key.as_der().map_err(|_| SyntheticError::Key)?;
    Ok(der.as_ref().to_vec())
}

fn spki(key: &KeyPair) -> Result<Vec<u8>, SyntheticError> {
    let der: PublicKeyX509Der<'static> =
        key.public_key().as_der().map_err(|_| SyntheticError::Key)?;
    Ok(der.as_ref().to_vec())
}

fn sign(key: &KeyPair, message: &[u8]) -> Result<Vec<u8>, SyntheticError> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .map_err(|_| SyntheticError::Key)?;
    Ok(signature)
}

fn read_file(bytes: &[u8], format: &str) -> Result<(File, KeyPair), SyntheticError> {
    let file: File = cbor::from_slice(bytes).map_err(|_| SyntheticError::File)?;
    if file.format != format {
        return Err(SyntheticError::File);
    }
    let key = KeyPair::from_pkcs8(&file.key).map_err(|_| SyntheticError::Key)?;
    Ok((file, key))
}

/// 160 bits of SHA-256 of the SubjectPublicKeyInfo (RFC 7093 section 2).
fn key_id(spki: &[u8]) -> Vec<u8> {
    sha256(spki).0[..20].to_vec()
}

fn ca_name() -> Vec<u8> {
    name(&[
        (COUNTRY, PRINTABLE_STRING, "JP"),
        (ORGANISATION, UTF8_STRING, "JPKI-TEST"),
        (UNIT, UTF8_STRING, "JPKI for digital signature"),
        (UNIT, UTF8_STRING, "Japan Agency for Local Authority Information Systems"),
    ])
}

/// GeneralNames with one directoryName.
fn directory_names(tag: u8, name: &[u8]) -> Vec<u8> {
    tlv(tag, &[&tlv(context(4), &[name])])
}

/// The DistributionPointName of one municipality's part of the list.
fn distribution_point(municipality: (&str, &str)) -> Vec<u8> {
    let point = name(&[
        (COUNTRY, PRINTABLE_STRING, "JP"),
        (ORGANISATION, UTF8_STRING, "JPKI-TEST"),
        (UNIT, UTF8_STRING, "JPKI for digital signature"),
        (UNIT, UTF8_STRING, "CRL Distribution Points"),
        (UNIT, UTF8_STRING, municipality.0),
        (COMMON_NAME, UTF8_STRING, &format!("{} CRLDP", municipality.1)),
    ]);
    directory_names(context(0), &point)
}

/// The parts of a TBSCertificate, to be altered by tests before they are signed.
#[derive(Clone)]
pub(crate) struct Draft {
    pub(crate) version: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) algorithm: Vec<u8>,
    pub(crate) issuer: Vec<u8>,
    pub(crate) validity: CardValidity,
    pub(crate) subject: Vec<u8>,
    pub(crate) spki: Vec<u8>,
    /// OID, critical, value.
    pub(crate) extensions: Vec<(ObjectIdentifier, bool, Vec<u8>)>,
}

impl Draft {
    fn to_der(&self) -> Result<Vec<u8>, SyntheticError> {
        let not_before = time(self.validity.not_before).ok_or(SyntheticError::Time)?;
        let not_after = time(self.validity.not_after).ok_or(SyntheticError::Time)?;
        let extensions: Vec<u8> = (self.extensions.iter())
            .flat_map(|(id, critical, value)| extension(*id, *critical, value))
            .collect();
        Ok(tlv(
            SEQUENCE,
            &[
                &self.version,
                &integer(&self.serial),
                &self.algorithm,
                &self.issuer,
                &tlv(SEQUENCE, &[&not_before, &not_after]),
                &self.subject,
                &self.spki,
                &tlv(context(3), &[&tlv(SEQUENCE, &[&extensions])]),
            ],
        ))
    }
}

/// `[0] EXPLICIT Version v3`.
fn version_3() -> Vec<u8> {
    tlv(context(0), &[&integer(&[2])])
}

/// One otherName of the subjectAltName.
pub(crate) fn other_name(id: ObjectIdentifier, text: &str) -> Vec<u8> {
    let value = tlv(context(0), &[&tlv(UTF8_STRING, &[text.as_bytes()])]);
    tlv(context(0), &[&der::oid(id), &value])
}

/// The subjectAltName of a card from its otherNames.
pub(crate) fn subject_alt_name(other_names: &[Vec<u8>]) -> Vec<u8> {
    tlv(SEQUENCE, &other_names.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn flags(flags: &[bool]) -> String {
    flags.iter().map(|flag| if *flag { '1' } else { '0' }).collect()
}

/// The six otherNames, in their order.
pub(crate) fn other_names(attributes: &CardAttributes) -> Vec<Vec<u8>> {
    vec![
        other_name(oid::NAME, &attributes.name),
        other_name(oid::BIRTH_DATE, &attributes.birth_date.card_text()),
        other_name(oid::GENDER, &attributes.gender.code().to_string()),
        other_name(oid::ADDRESS, &attributes.address),
        other_name(oid::NAME_SUBSTITUTED, &flags(&attributes.name_substituted)),
        other_name(oid::ADDRESS_SUBSTITUTED, &flags(&attributes.address_substituted)),
    ]
}

/// certificatePolicies with one policy and a CPS URI.
pub(crate) fn policies(policy: ObjectIdentifier) -> Vec<u8> {
    let uri = tlv(IA5_STRING, &[b"http://www.jpki.go.jp/cps.html"]);
    let qualifier = tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&der::oid(CPS), &uri])]);
    tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&der::oid(policy), &qualifier])])
}

impl SyntheticJlis {
    /// Draws a key and signs its root. `serial` is big-endian.
    pub fn generate(serial: &[u8], validity: CardValidity) -> Result<Self, SyntheticError> {
        let key = generate()?;
        let spki = spki(&key)?;
        let key_id = key_id(&spki);
        let point = tlv(SEQUENCE, &[&tlv(context(0), &[&directory_names(context(0), &ca_name())])]);
        let draft = Draft {
            version: version_3(),
            serial: serial.to_vec(),
            algorithm: SHA256_WITH_RSA.to_vec(),
            issuer: ca_name(),
            validity,
            subject: ca_name(),
            spki,
            extensions: vec![
                (oid::KEY_USAGE, true, tlv(BIT_STRING, &[&[1, 0x06]])),
                (oid::BASIC_CONSTRAINTS, true, tlv(SEQUENCE, &[&tlv(BOOLEAN, &[&[0xff]])])),
                (oid::CRL_DISTRIBUTION_POINTS, false, tlv(SEQUENCE, &[&point])),
                (oid::SUBJECT_KEY_IDENTIFIER, false, tlv(OCTET_STRING, &[&key_id])),
            ],
        };
        let body = draft.to_der()?;
        let root = signed(&body, &SHA256_WITH_RSA, &sign(&key, &body)?);
        Ok(Self { key, root, serial: serial.to_vec(), key_id })
    }

    /// The self-signed root, DER.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// Issues a card with a key of its own. `serial` is big-endian; real ones have three bytes.
    pub fn issue_card(
        &self,
        attributes: &CardAttributes,
        serial: &[u8],
        validity: CardValidity,
    ) -> Result<SyntheticCard, SyntheticError> {
        let key = generate()?;
        let draft = self.draft(attributes, serial, validity, &spki(&key)?);
        Ok(SyntheticCard { certificate: self.sign_draft(&draft)?, key })
    }

    pub(crate) fn draft(
        &self,
        attributes: &CardAttributes,
        serial: &[u8],
        validity: CardValidity,
        spki: &[u8],
    ) -> Draft {
        let (prefecture, city) = MUNICIPALITY;
        let common_name = format!("{:014}{:013}A", validity.not_before.0, validity.not_after.0);
        let subject = name(&[
            (COUNTRY, PRINTABLE_STRING, "JP"),
            (LOCALITY, UTF8_STRING, prefecture),
            (LOCALITY, UTF8_STRING, city),
            (COMMON_NAME, UTF8_STRING, &common_name),
        ]);
        let issuer_alternative = name(&[
            (COUNTRY, PRINTABLE_STRING, "JP"),
            (ORGANISATION, UTF8_STRING, "公的個人認証サービス"),
        ]);
        let point = tlv(SEQUENCE, &[&tlv(context(0), &[&distribution_point(MUNICIPALITY)])]);
        let authority = tlv(
            SEQUENCE,
            &[
                &tlv(0x80, &[&self.key_id]),
                &directory_names(context(1), &ca_name()),
                // [2] IMPLICIT INTEGER: the INTEGER's content under another tag.
                &[&[0x82][..], &integer(&self.serial)[1..]].concat(),
            ],
        );
        Draft {
            version: version_3(),
            serial: serial.to_vec(),
            algorithm: SHA256_WITH_RSA.to_vec(),
            issuer: ca_name(),
            validity,
            subject,
            spki: spki.to_vec(),
            extensions: vec![
                (oid::KEY_USAGE, true, tlv(BIT_STRING, &[&[6, 0xc0]])),
                (oid::SUBJECT_ALT_NAME, false, subject_alt_name(&other_names(attributes))),
                (oid::CERTIFICATE_POLICIES, true, policies(oid::POLICY_TEST)),
                (ISSUER_ALT_NAME, false, directory_names(SEQUENCE, &issuer_alternative)),
                (oid::CRL_DISTRIBUTION_POINTS, false, tlv(SEQUENCE, &[&point])),
                (oid::AUTHORITY_KEY_IDENTIFIER, false, authority),
                (oid::SUBJECT_KEY_IDENTIFIER, false, tlv(OCTET_STRING, &[&key_id(spki)])),
            ],
        }
    }

    pub(crate) fn sign_draft(&self, draft: &Draft) -> Result<Vec<u8>, SyntheticError> {
        let body = draft.to_der()?;
        Ok(signed(&body, &SHA256_WITH_RSA, &sign(&self.key, &body)?))
    }

    /// A full revocation list: serials (big-endian) with their reasons.
    pub fn crl(
        &self,
        revoked: &[(Vec<u8>, Reason)],
        this_update: Timestamp,
        next_update: Timestamp,
    ) -> Result<Vec<u8>, SyntheticError> {
        self.crl_with(revoked, this_update, Some(next_update), (&[], &[]))
    }

    /// A list with further extensions, of its own and of each entry, and maybe no nextUpdate.
    pub(crate) fn crl_with(
        &self,
        revoked: &[(Vec<u8>, Reason)],
        this_update: Timestamp,
        next_update: Option<Timestamp>,
        (more, of_entries): (&[MoreOf], &[MoreOf]),
    ) -> Result<Vec<u8>, SyntheticError> {
        let this_update = time(this_update).ok_or(SyntheticError::Time)?;
        let next_update = match next_update {
            Some(at) => time(at).ok_or(SyntheticError::Time)?,
            None => Vec::new(),
        };
        let entries: Vec<u8> = (revoked.iter())
            .flat_map(|(serial, reason)| {
                let code = tlv(ENUMERATED, &[&[reason.code()]]);
                let mut extensions = extension(oid::CRL_REASON, false, &code);
                extensions.extend(of_entries.iter().flat_map(|(id, c, v)| extension(*id, *c, v)));
                let extensions = tlv(SEQUENCE, &[&extensions]);
                tlv(SEQUENCE, &[&integer(serial), &this_update, &extensions])
            })
            .collect();
        // An empty list is left out altogether (RFC 5280 section 5.1.2.6).
        let entries = if revoked.is_empty() { entries } else { tlv(SEQUENCE, &[&entries]) };
        let authority = tlv(SEQUENCE, &[&tlv(0x80, &[&self.key_id])]);
        let mut extensions = extension(oid::AUTHORITY_KEY_IDENTIFIER, false, &authority);
        extensions.extend(extension(oid::CRL_NUMBER, false, &integer(&[1])));
        extensions.extend(more.iter().flat_map(|(id, critical, v)| extension(*id, *critical, v)));
        let body = tlv(
            SEQUENCE,
            &[
                &integer(&[1]),
                &SHA256_WITH_RSA,
                &ca_name(),
                &this_update,
                &next_update,
                &entries,
                &tlv(context(0), &[&tlv(SEQUENCE, &[&extensions])]),
            ],
        );
        Ok(signed(&body, &SHA256_WITH_RSA, &sign(&self.key, &body)?))
    }

    /// The content of a file that keeps this CA.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SyntheticError> {
        Ok(cbor::to_vec(&File {
            format: JLIS_FORMAT.to_owned(),
            certificate: self.root.clone().into(),
            key: pkcs8(&self.key)?.into(),
            serial: self.serial.clone().into(),
        }))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SyntheticError> {
        let (file, key) = read_file(bytes, JLIS_FORMAT)?;
        let key_id = key_id(&spki(&key)?);
        Ok(Self { key, root: file.certificate.0, serial: file.serial.0, key_id })
    }
}

/// One more extension: whether it is critical, and its value.
pub(crate) type MoreOf = (ObjectIdentifier, bool, Vec<u8>);

/// The issuing distribution point of one municipality's part, as a critical extension.
#[cfg(test)]
pub(crate) fn part(municipality: (&str, &str)) -> (ObjectIdentifier, bool, Vec<u8>) {
    let value = tlv(SEQUENCE, &[&tlv(context(0), &[&distribution_point(municipality)])]);
    (oid::ISSUING_DISTRIBUTION_POINT, true, value)
}

/// A make-believe card: certificate and key. `Debug` shows nothing.
pub struct SyntheticCard {
    certificate: Vec<u8>,
    key: KeyPair,
}

impl fmt::Debug for SyntheticCard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyntheticCard(..)")
    }
}

impl SyntheticCard {
    /// The signing certificate, DER.
    pub fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256, as a card signs.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SyntheticError> {
        sign(&self.key, message)
    }

    /// The content of a file that keeps this card.
    pub fn to_bytes(&self) -> Result<Vec<u8>, SyntheticError> {
        Ok(cbor::to_vec(&File {
            format: CARD_FORMAT.to_owned(),
            certificate: self.certificate.clone().into(),
            key: pkcs8(&self.key)?.into(),
            serial: Bytes::default(),
        }))
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SyntheticError> {
        let (file, key) = read_file(bytes, CARD_FORMAT)?;
        Ok(Self { certificate: file.certificate.0, key })
    }

    #[cfg(test)]
    pub(crate) fn spki(&self) -> Vec<u8> {
        spki(&self.key).unwrap()
    }
}
