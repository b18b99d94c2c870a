//! Our certificate policies and extended key usages: one of each per kind of leaf, so that a
//! certificate of one kind passes for no other.
//!
//! The arc is the enterprise number that RFC 5612 reserves for documentation
//! (1.3.6.1.4.1.32473). It belongs to nobody and must be replaced by an enterprise number assigned
//! to the operator of the network before production.

use der::asn1::ObjectIdentifier;
use wire::membership::CaPurpose;

use crate::chain::CertificateKind;

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

pub const POLICY_CITIZEN_ID: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.1.1");
pub const POLICY_CITIZEN_SERVICE: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.1.2");
pub const POLICY_ORGANISATION: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.1.3");
pub const POLICY_CREDENTIAL: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.1.4");

pub const EKU_CITIZEN_ID: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.2.1");
pub const EKU_CITIZEN_SERVICE: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.2.2");
pub const EKU_ORGANISATION: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.2.3");
pub const EKU_CREDENTIAL: ObjectIdentifier = oid("1.3.6.1.4.1.32473.1.2.4");

/// organizationIdentifier (X.520 section 6.4.4; ETSI EN 319 412-1 section 5.1.4).
pub const ORGANISATION_IDENTIFIER: ObjectIdentifier = oid("2.5.4.97");

/// The policy of a leaf of this kind.
pub const fn policy(kind: CertificateKind) -> ObjectIdentifier {
    match kind {
        CertificateKind::Id => POLICY_CITIZEN_ID,
        CertificateKind::Service => POLICY_CITIZEN_SERVICE,
        CertificateKind::Organisation => POLICY_ORGANISATION,
        CertificateKind::Credential => POLICY_CREDENTIAL,
    }
}

/// The extended key usage of a leaf of this kind.
pub const fn extended_key_usage(kind: CertificateKind) -> ObjectIdentifier {
    match kind {
        CertificateKind::Id => EKU_CITIZEN_ID,
        CertificateKind::Service => EKU_CITIZEN_SERVICE,
        CertificateKind::Organisation => EKU_ORGANISATION,
        CertificateKind::Credential => EKU_CREDENTIAL,
    }
}

/// The kinds of leaf that a CA of this purpose may issue: disjoint between purposes.
pub const fn kinds(purpose: CaPurpose) -> &'static [CertificateKind] {
    match purpose {
        CaPurpose::Citizen => &[CertificateKind::Id, CertificateKind::Service],
        CaPurpose::Organisation => &[CertificateKind::Organisation],
        CaPurpose::Credential => &[CertificateKind::Credential],
    }
}
