//! As much DER writing as a certificate takes.

use der::{Encode, asn1::ObjectIdentifier};
use wire::Timestamp;
use x509_cert::time::Time;

pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const ENUMERATED: u8 = 0x0a;
pub(super) const UTF8_STRING: u8 = 0x0c;
pub(super) const PRINTABLE_STRING: u8 = 0x13;
pub(super) const IA5_STRING: u8 = 0x16;

/// A context-specific tag, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One tag-length-value of the joined parts.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match content.len() {
        short @ 0..=0x7f => out.push(short as u8),
        long => {
            let length = long.to_be_bytes();
            let significant = &length[length.iter().take_while(|byte| **byte == 0).count()..];
            out.push(0x80 | significant.len() as u8);
            out.extend(significant);
        }
    }
    out.extend(content);
    out
}

pub(super) fn oid(oid: ObjectIdentifier) -> Vec<u8> {
    oid.to_der().expect("a known object identifier encodes")
}

/// A non-negative INTEGER from big-endian bytes.
pub(super) fn integer(bytes: &[u8]) -> Vec<u8> {
    let significant = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
    let sign: &[u8] = if significant.first().is_none_or(|byte| *byte >= 0x80) { &[0] } else { &[] };
    tlv(INTEGER, &[sign, significant])
}

/// UTCTime up to 2049, GeneralizedTime after (RFC 5280 section 4.1.2.5).
pub(super) fn time(at: Timestamp) -> Option<Vec<u8>> {
    let date =
        der::DateTime::from_unix_duration(std::time::Duration::from_secs(at.as_secs())).ok()?;
    let time = match der::asn1::UtcTime::from_date_time(date) {
        Ok(utc) => Time::UtcTime(utc),
        Err(_) => Time::GeneralTime(der::asn1::GeneralizedTime::from_date_time(date)),
    };
    time.to_der().ok()
}

/// One Extension (RFC 5280 section 4.1).
pub(super) fn extension(id: ObjectIdentifier, critical: bool, value: &[u8]) -> Vec<u8> {
    let flag = if critical { tlv(BOOLEAN, &[&[0xff]]) } else { Vec::new() };
    tlv(SEQUENCE, &[&oid(id), &flag, &tlv(OCTET_STRING, &[value])])
}

/// A Name of single-valued RDNs: (type, string tag, text).
pub(super) fn name(attributes: &[(ObjectIdentifier, u8, &str)]) -> Vec<u8> {
    let rdns: Vec<Vec<u8>> = (attributes.iter())
        .map(|(id, tag, text)| {
            tlv(SET, &[&tlv(SEQUENCE, &[&oid(*id), &tlv(*tag, &[text.as_bytes()])])])
        })
        .collect();
    tlv(SEQUENCE, &rdns.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

/// `SEQUENCE { body, sha256WithRSAEncryption, signature }`.
pub(super) fn signed(body: &[u8], algorithm: &[u8], signature: &[u8]) -> Vec<u8> {
    tlv(SEQUENCE, &[body, algorithm, &tlv(BIT_STRING, &[&[0], signature])])
}
