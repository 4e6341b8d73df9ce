//! The signature of a digest file.
//!
//! CloudTrail signs a text of four lines: the end time as the digest file has it, its bucket and key as it has them, the
//! hash of its content, and the signature of the previous one. The signature is RSASSA-PKCS1-v1_5 with SHA-256. It is
//! stored in the object's metadata, and again in the next digest file, where it is found when the metadata was lost.

use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use thiserror::Error;

use super::{
    document::{Digest, Document, SIGNATURE_ALGORITHM, from_hex},
    public_key::{PublicKey, PublicKeyError, PublicKeys},
};
use crate::text::{hex, one_line};

/// The member of the metadata with the signature.
pub const SIGNATURE_METADATA: &str = "signature";
/// The member of the metadata with its algorithm.
pub const ALGORITHM_METADATA: &str = "signature-algorithm";

/// What is needed to verify the signature of a digest file, without the digest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The text that is signed.
    text: String,
    fingerprint: String,
}

/// Why a signature does not prove a digest file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The metadata has no signature.
    #[error(
        "the object has no signature in its metadata: it was written again by somebody else than CloudTrail, or copied without metadata"
    )]
    Missing,
    /// The signature is no hexadecimal text.
    #[error("the signature in the metadata is not hexadecimal: found \"{0}\"")]
    Form(String),
    /// The metadata names another algorithm.
    #[error(
        "signature-algorithm in the metadata: expected SHA256withRSA, found \"{0}\"; a newer version of this program may know it"
    )]
    Algorithm(String),
    /// The signature is not that of this content by this key.
    #[error(
        "the signature does not belong to this content: the digest file or its metadata was altered"
    )]
    Invalid,
    /// CloudTrail lists no such key.
    #[error(
        "CloudTrail lists no public key with the fingerprint {0} for this region and time: somebody else signed it"
    )]
    ForeignKey(String),
    /// The public keys are not known, so nothing is proved and nothing is wrong.
    #[error("cannot be verified: {0}")]
    NoKeys(String),
    /// The key with this fingerprint cannot be used.
    #[error("cannot be verified: {0}")]
    Key(PublicKeyError),
}

impl SignatureError {
    /// Whether it only shows that something needed for verifying is missing here. Nothing was found to be wrong.
    pub fn is_unknown(&self) -> bool {
        matches!(self, SignatureError::NoKeys(_) | SignatureError::Key(_))
    }
}

/// The public keys for a digest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// All that CloudTrail lists for the region and time. One that is missing is not CloudTrail's.
    Complete(PublicKeys),
    /// Some keys, such as those of a file. The text says where they are from.
    Some(PublicKeys, String),
    /// They could not be fetched. The text is the reason.
    Unknown(String),
}

impl Keys {
    fn find(&self, fingerprint: &str) -> Result<&PublicKey, SignatureError> {
        let found = match self {
            Keys::Complete(keys) | Keys::Some(keys, _) => keys.find(fingerprint),
            Keys::Unknown(reason) => return Err(SignatureError::NoKeys(reason.clone())),
        };
        match (found, self) {
            (Some(Ok(key)), _) => Ok(key),
            (Some(Err(error)), _) => Err(SignatureError::Key(error.clone())),
            (None, Keys::Some(_, source)) => Err(SignatureError::NoKeys(format!(
                "{source} has no public key with the fingerprint {fingerprint}"
            ))),
            (None, _) => Err(SignatureError::ForeignKey(fingerprint.to_owned())),
        }
    }
}

/// The signature in an object's metadata, as hexadecimal digits.
///
/// # Errors
/// There is none, or it is of another form.
pub fn of_metadata(
    signature: Option<&str>,
    algorithm: Option<&str>,
) -> Result<String, SignatureError> {
    let signature = signature.unwrap_or_default();
    if signature.is_empty() {
        return Err(SignatureError::Missing);
    }
    if let Some(other) = algorithm.filter(|algorithm| *algorithm != SIGNATURE_ALGORITHM) {
        return Err(SignatureError::Algorithm(one_line(other, 60)));
    }
    match from_hex(signature) {
        Some(_) => Ok(signature.to_owned()),
        None => Err(SignatureError::Form(one_line(signature, 60))),
    }
}

impl Signed {
    /// What the signature of a digest file must be of.
    pub fn of(document: &Document) -> Signed {
        Signed {
            text: text_to_sign(&document.digest, &hex(&document.sha256)),
            fingerprint: document.digest.fingerprint.clone(),
        }
    }

    /// The fingerprint of the key.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Verifies a signature in hexadecimal digits.
    ///
    /// # Errors
    /// It is not proved that CloudTrail wrote the digest file.
    pub fn verify(&self, signature: &str, keys: &Keys) -> Result<(), SignatureError> {
        let signature =
            from_hex(signature).ok_or_else(|| SignatureError::Form(one_line(signature, 60)))?;
        let key = keys.find(&self.fingerprint)?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.der())
            .verify(self.text.as_bytes(), &signature)
            .map_err(|_| SignatureError::Invalid)
    }
}

/// The text that CloudTrail signs.
fn text_to_sign(digest: &Digest, sha256: &str) -> String {
    let previous = digest
        .previous
        .as_ref()
        .map_or("null", |previous| previous.signature.as_str());
    format!(
        "{}\n{}/{}\n{sha256}\n{previous}",
        digest.end_text, digest.bucket, digest.key
    )
}
