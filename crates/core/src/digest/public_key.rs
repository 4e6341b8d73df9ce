//! A public key with which CloudTrail signs digest files, as `ListPublicKeys` gives it.
//!
//! The value is the DER encoding of an RSA public key: PKCS #1 (RFC 8017, A.1.1), or the same within a
//! SubjectPublicKeyInfo (RFC 5280, 4.1), as one sample of AWS's documentation has it. The fingerprint is the MD5 hash of
//! the value as it is delivered. It only names the key: what makes a key trustworthy is that CloudTrail's API in the
//! digest file's region lists it.

use std::collections::BTreeMap;

use md5::{Digest as _, Md5};
use thiserror::Error;

use crate::text::{hex, one_line};

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// In PKCS #1.
    der: Vec<u8>,
    fingerprint: String,
}

/// Why a value is not a public key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PublicKeyError {
    /// The bytes are no RSA key in DER.
    #[error(
        "expected an RSA public key in DER (PKCS #1 or SubjectPublicKeyInfo), found {length} bytes of something else"
    )]
    Form {
        /// The number of bytes.
        length: usize,
    },
    /// The key is in a SubjectPublicKeyInfo, and is not an RSA key.
    #[error("expected an RSA public key, found a SubjectPublicKeyInfo of another algorithm")]
    Algorithm,
    /// The fingerprint that is listed with it is not its own.
    #[error(
        "the fingerprint listed with this public key is {listed}, and its own is {own}: the list was altered, or the key was copied incompletely"
    )]
    Fingerprint {
        /// As listed.
        listed: String,
        /// The MD5 hash of the key.
        own: String,
    },
}

impl PublicKey {
    /// The key that DER bytes contain.
    ///
    /// # Errors
    /// They contain no RSA key.
    pub fn from_der(value: &[u8]) -> Result<PublicKey, PublicKeyError> {
        Ok(PublicKey {
            der: pkcs1(value)?.to_owned(),
            fingerprint: hex(&Md5::digest(value)),
        })
    }

    /// The key that is listed with a fingerprint.
    ///
    /// # Errors
    /// As [`PublicKey::from_der`], or the fingerprint is another one.
    pub fn listed(value: &[u8], fingerprint: &str) -> Result<PublicKey, PublicKeyError> {
        let key = PublicKey::from_der(value)?;
        if key.fingerprint.eq_ignore_ascii_case(fingerprint) {
            return Ok(key);
        }
        Err(PublicKeyError::Fingerprint {
            listed: one_line(fingerprint, 40),
            own: key.fingerprint,
        })
    }

    /// The MD5 hash of the key as it was delivered, in lower-case hexadecimal digits.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The DER bytes in PKCS #1.
    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }
}

/// The public keys of a region, by fingerprint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicKeys {
    keys: BTreeMap<String, Result<PublicKey, PublicKeyError>>,
}

impl PublicKeys {
    /// Adds a key that is listed with a fingerprint. One that cannot be read is kept as such.
    pub fn add(&mut self, value: &[u8], fingerprint: &str) {
        self.keys.insert(
            fingerprint.to_ascii_lowercase(),
            PublicKey::listed(value, fingerprint),
        );
    }

    /// Adds the keys of another list.
    pub fn extend(&mut self, other: PublicKeys) {
        self.keys.extend(other.keys);
    }

    /// The key of a fingerprint. `None`: it is not listed.
    pub fn find(&self, fingerprint: &str) -> Option<&Result<PublicKey, PublicKeyError>> {
        self.keys.get(&fingerprint.to_ascii_lowercase())
    }

    /// The number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
/// `rsaEncryption` (1.2.840.113549.1.1.1), with its tag and length.
const RSA_ENCRYPTION: [u8; 11] = [
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01,
];

/// The key in PKCS #1, taken out of a SubjectPublicKeyInfo if it is in one.
fn pkcs1(value: &[u8]) -> Result<&[u8], PublicKeyError> {
    let form = PublicKeyError::Form {
        length: value.len(),
    };
    let parse = || {
        let (content, rest) = element(value, SEQUENCE)?;
        rest.is_empty().then_some(content)
    };
    let content = parse().ok_or(form.clone())?;
    if content.first() == Some(&INTEGER) {
        return Ok(value);
    }
    let (algorithm, rest) = element(content, SEQUENCE).ok_or(form.clone())?;
    if !algorithm.starts_with(&RSA_ENCRYPTION) {
        return Err(PublicKeyError::Algorithm);
    }
    let (bits, rest) = element(rest, BIT_STRING).ok_or(form.clone())?;
    match bits {
        // The number of unused bits, and the key.
        [0, key @ ..] if rest.is_empty() && key.first() == Some(&SEQUENCE) => Ok(key),
        _ => Err(form),
    }
}

/// The content of the element with which DER bytes begin, and what follows it. `None`: another tag, or the length is
/// not that of a key.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(*short), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_test_support::digests::SigningKey;

    use super::*;

    #[test]
    fn both_forms_are_the_same_key_with_fingerprints_of_their_own() {
        let key = SigningKey::first();
        let (plain, wrapped) = (key.public_key_der(), key.subject_public_key_info());
        // As AWS's documentation has it.
        assert_eq!(wrapped.len() - plain.len(), 24);
        let [first, second] = [&plain, &wrapped].map(|der| PublicKey::from_der(der).unwrap());
        assert_eq!(first.der(), plain);
        assert_eq!(second.der(), plain);
        assert_eq!(first.fingerprint(), hex(&Md5::digest(&plain)));
        assert_eq!(second.fingerprint(), hex(&Md5::digest(&wrapped)));
    }

    #[test]
    fn what_is_not_a_key() {
        let key = SigningKey::first().subject_public_key_info();
        let form = |bytes: &[u8]| {
            Err(PublicKeyError::Form {
                length: bytes.len(),
            })
        };
        let longer = [&key[..], &[0]].concat();
        for bytes in [
            &b""[..],
            b"x",
            b"-----BEGIN PUBLIC KEY-----",
            &key[..290],
            &longer,
        ] {
            assert_eq!(PublicKey::from_der(bytes), form(bytes));
        }
        let mut other = key.clone();
        other[16] = 0x0a;
        assert_eq!(PublicKey::from_der(&other), Err(PublicKeyError::Algorithm));
    }

    #[test]
    fn a_fingerprint_of_another_key_is_an_error_where_the_key_is_used() {
        let key = SigningKey::first();
        let mut keys = PublicKeys::default();
        keys.add(&key.public_key_der(), &key.fingerprint().to_uppercase());
        keys.add(&key.public_key_der(), "00112233445566778899aabbccddeeff");
        assert_eq!((keys.len(), keys.is_empty()), (2, false));
        assert!(matches!(keys.find(&key.fingerprint()), Some(Ok(_))));
        assert_eq!(
            keys.find("00112233445566778899AABBCCDDEEFF"),
            Some(&Err(PublicKeyError::Fingerprint {
                listed: "00112233445566778899aabbccddeeff".into(),
                own: key.fingerprint(),
            }))
        );
        assert_eq!(keys.find("ff"), None);
    }
}
