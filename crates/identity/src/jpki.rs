//! The signing certificate (署名用電子証明書) of a My Number Card, checked against its profile, and
//! its revocation lists. The profile was read off the bytes of JPKI-TEST certificates; it stands in
//! `specs/07-identity.md`, section 1.
//!
//! What is particular to JPKI: `certificatePolicies` is critical, several generations of the CA
//! share one distinguished name, serials are short (unique only together with the generation), and
//! what is known about the person stands in six otherNames of the subjectAltName.

mod attributes;
mod certificate;
mod roots;
mod status;
mod x509;

pub use attributes::{BadAttribute, BirthDate, CardAttributes, Era, Gender};
pub use certificate::{CardError, CheckedCard, check_certificate};
pub use roots::{JpkiRoot, JpkiRoots, RootError, RootPurpose};
pub use status::{CouldNotCheck, Reason, StatusError, check_status};

/// Object identifiers of the profile.
pub mod oid {
    use der::asn1::ObjectIdentifier;

    /// Certificate policy of production signing certificates.
    pub const POLICY_PRODUCTION: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.1.1.20");
    /// Certificate policy of JPKI-TEST signing certificates.
    pub const POLICY_TEST: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.1.0.20");
    /// otherName: 氏名.
    pub const NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.1");
    /// otherName: which characters of the name are substitutes.
    pub const NAME_SUBSTITUTED: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.2");
    /// otherName: 性別.
    pub const GENDER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.3");
    /// otherName: 生年月日.
    pub const BIRTH_DATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.4");
    /// otherName: 住所.
    pub const ADDRESS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.5");
    /// otherName: which characters of the address are substitutes.
    pub const ADDRESS_SUBSTITUTED: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("1.2.392.200149.8.5.5.6");
    /// The six, in the order in which they stand.
    pub const OTHER_NAMES: [ObjectIdentifier; 6] =
        [NAME, BIRTH_DATE, GENDER, ADDRESS, NAME_SUBSTITUTED, ADDRESS_SUBSTITUTED];

    pub(crate) const KEY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.15");
    pub(crate) const SUBJECT_ALT_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.17");
    pub(crate) const BASIC_CONSTRAINTS: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.19");
    pub(crate) const CRL_NUMBER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.20");
    pub(crate) const CRL_REASON: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.21");
    pub(crate) const ISSUING_DISTRIBUTION_POINT: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.28");
    pub(crate) const CRL_DISTRIBUTION_POINTS: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.31");
    pub(crate) const CERTIFICATE_POLICIES: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.32");
    pub(crate) const AUTHORITY_KEY_IDENTIFIER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.35");
    pub(crate) const EXTENDED_KEY_USAGE: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.37");
    pub(crate) const SUBJECT_KEY_IDENTIFIER: ObjectIdentifier =
        ObjectIdentifier::new_unwrap("2.5.29.14");
}

#[cfg(test)]
pub(crate) mod tests;
