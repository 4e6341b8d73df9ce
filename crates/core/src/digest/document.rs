//! The content of a digest file, with every member checked.
//!
//! [`read`] takes the bytes of the object and gives a [`Document`]: the digest and the hash of its content. Whether it
//! is authentic is decided with its signature ([`super::signature`]), and whether it is where it says it is, with its
//! place ([`super::place`]).

use jiff::Timestamp;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::{
    json,
    log_file::{ContentError, LogFileError, Sha256, Stored, inflate_all},
    text::one_line,
};

/// The largest uncompressed digest file that is read: 32 MiB. It lists some 80,000 log files.
pub const MAX_UNCOMPRESSED: u64 = 32 * 1024 * 1024;

/// The algorithm of all hashes.
pub const HASH_ALGORITHM: &str = "SHA-256";
/// The algorithm of all signatures.
pub const SIGNATURE_ALGORITHM: &str = "SHA256withRSA";

/// A digest file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// What it says.
    pub digest: Digest,
    /// The hash of its uncompressed content, which its successor names and its signature covers.
    pub sha256: Sha256,
    /// Whether it is stored as gzip, as CloudTrail does.
    pub is_compressed: bool,
}

/// What a digest file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// `awsAccountId`
    pub account: String,
    /// `digestStartTime`: the end of the previous one.
    pub start: Timestamp,
    /// `digestEndTime`
    pub end: Timestamp,
    /// `digestEndTime` as it is written, which the signature covers.
    pub end_text: String,
    /// `digestS3Bucket`
    pub bucket: String,
    /// `digestS3Object`
    pub key: String,
    /// `digestPublicKeyFingerprint`, in lower case.
    pub fingerprint: String,
    /// `newestEventTime`; `None` without log files.
    pub newest_event: Option<Timestamp>,
    /// `oldestEventTime`
    pub oldest_event: Option<Timestamp>,
    /// The previous digest file. `None`: this is the first one after validation was switched on or logging started.
    pub previous: Option<Previous>,
    /// `logFiles`
    pub log_files: Vec<ListedFile>,
}

/// The previous digest file, as its successor names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Previous {
    /// `previousDigestS3Bucket`
    pub bucket: String,
    /// `previousDigestS3Object`
    pub key: String,
    /// `previousDigestHashValue`
    pub sha256: Sha256,
    /// `previousDigestSignature` as it is written, which the signature covers.
    pub signature: String,
}

/// A log file that a digest file lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// `s3Bucket`
    pub bucket: String,
    /// `s3Object`
    pub key: String,
    /// `hashValue`
    pub sha256: Sha256,
    /// `newestEventTime`
    pub newest_event: Option<Timestamp>,
    /// `oldestEventTime`
    pub oldest_event: Option<Timestamp>,
}

/// Why an object cannot be read as a digest file.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DocumentError {
    /// The object is empty.
    #[error("the object is empty: expected a digest file")]
    Empty,
    /// Bytes follow the gzip member.
    #[error(
        "bytes follow the end of the gzip stream: CloudTrail writes one gzip member; something was appended"
    )]
    Trailing,
    /// The gzip stream is damaged, or the content is too large.
    #[error(transparent)]
    Content(LogFileError),
    /// The content is not JSON.
    #[error("the content is not JSON: {0}")]
    NotJson(String),
    /// The content is JSON, but not an object.
    #[error("expected a JSON object with the members of a digest file, found {0}")]
    NotAnObject(&'static str),
    /// A member is missing or of another form.
    #[error("{member}: expected {expected}, found {found}")]
    Member {
        /// Its name, with the position in `logFiles`.
        member: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: String,
    },
    /// An algorithm that this version does not know.
    #[error(
        "{member}: expected {expected}, found {found}; a newer version of this program may know it"
    )]
    Algorithm {
        /// The name of the member.
        member: String,
        /// The algorithm that is known.
        expected: &'static str,
        /// The algorithm that it names.
        found: String,
    },
    /// Some of the five members about the previous digest file are null, and others are not.
    #[error(
        "{null} is null and {set} is not: expected all five members previousDigest… or none of them"
    )]
    HalfPrevious {
        /// One that is null.
        null: &'static str,
        /// One that is not.
        set: &'static str,
    },
}

impl DocumentError {
    /// Whether the object ends too early, as after an upload that broke off.
    pub fn is_truncated(&self) -> bool {
        matches!(self, DocumentError::Content(LogFileError::Truncated { .. }))
    }
}

/// Reads a digest file.
///
/// # Errors
/// It is not one, or was changed.
pub fn read(bytes: &[u8]) -> Result<Document, DocumentError> {
    if bytes.is_empty() {
        return Err(DocumentError::Empty);
    }
    let (text, content) = inflate_all(bytes, MAX_UNCOMPRESSED).map_err(
        |ContentError {
             error,
             is_after_member,
         }| {
            if is_after_member {
                DocumentError::Trailing
            } else {
                DocumentError::Content(error)
            }
        },
    )?;
    let is_compressed = match content.stored {
        Stored::GzipAndMore => return Err(DocumentError::Trailing),
        Stored::Gzip => true,
        Stored::Uncompressed => false,
    };
    let value = json::parse(&text)
        .map_err(|error| DocumentError::NotJson(one_line(&error.to_string(), 200)))?;
    let Value::Object(members) = value else {
        return Err(DocumentError::NotAnObject(json::kind(&value)));
    };
    Ok(Document {
        digest: Members {
            members: &members,
            of: "",
        }
        .digest()?,
        sha256: content.sha256,
        is_compressed,
    })
}

/// The members of an object.
struct Members<'m> {
    members: &'m Map<String, Value>,
    /// What precedes their names in messages.
    of: &'m str,
}

/// The members that a starting digest file has as null.
const PREVIOUS: [&str; 5] = [
    "previousDigestS3Bucket",
    "previousDigestS3Object",
    "previousDigestHashValue",
    "previousDigestHashAlgorithm",
    "previousDigestSignature",
];

impl Members<'_> {
    fn digest(&self) -> Result<Digest, DocumentError> {
        let account = self.text("awsAccountId")?;
        if account.len() != 12 || !account.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(self.wrong("awsAccountId", "an account ID of 12 digits"));
        }
        let (start, end) = (self.time("digestStartTime")?, self.time("digestEndTime")?);
        if start > end {
            return Err(self.wrong("digestStartTime", "a time before digestEndTime"));
        }
        self.algorithm("digestSignatureAlgorithm", SIGNATURE_ALGORITHM)?;
        Ok(Digest {
            account: account.to_owned(),
            start,
            end,
            end_text: self.text("digestEndTime")?.to_owned(),
            bucket: self.text("digestS3Bucket")?.to_owned(),
            key: self.text("digestS3Object")?.to_owned(),
            fingerprint: self.fingerprint()?,
            newest_event: self.optional_time("newestEventTime")?,
            oldest_event: self.optional_time("oldestEventTime")?,
            previous: self.previous()?,
            log_files: self.log_files()?,
        })
    }

    fn previous(&self) -> Result<Option<Previous>, DocumentError> {
        let is_null = |name: &&&str| self.members.get(**name).is_none_or(Value::is_null);
        if let (Some(null), set) = (
            PREVIOUS.iter().find(is_null),
            PREVIOUS.iter().find(|name| !is_null(name)),
        ) {
            return match set {
                None if PREVIOUS.iter().all(|name| self.members.contains_key(*name)) => Ok(None),
                // A member that is missing is not null.
                None => Err(self.wrong(null, "text or null")),
                Some(set) => Err(DocumentError::HalfPrevious { null, set }),
            };
        }
        self.algorithm("previousDigestHashAlgorithm", HASH_ALGORITHM)?;
        Ok(Some(Previous {
            bucket: self.text("previousDigestS3Bucket")?.to_owned(),
            key: self.text("previousDigestS3Object")?.to_owned(),
            sha256: self.hash("previousDigestHashValue")?,
            signature: self.text("previousDigestSignature")?.to_owned(),
        }))
    }

    fn log_files(&self) -> Result<Vec<ListedFile>, DocumentError> {
        let Some(Value::Array(files)) = self.members.get("logFiles") else {
            return Err(self.wrong("logFiles", "a list"));
        };
        let file = |(index, file): (usize, &Value)| {
            let of = format!("logFiles[{index}].");
            let Value::Object(members) = file else {
                return Err(DocumentError::Member {
                    member: format!("logFiles[{index}]"),
                    expected: "an object",
                    found: json::kind(file).to_owned(),
                });
            };
            Members { members, of: &of }.log_file()
        };
        files.iter().enumerate().map(file).collect()
    }

    fn log_file(&self) -> Result<ListedFile, DocumentError> {
        self.algorithm("hashAlgorithm", HASH_ALGORITHM)?;
        Ok(ListedFile {
            bucket: self.text("s3Bucket")?.to_owned(),
            key: self.text("s3Object")?.to_owned(),
            sha256: self.hash("hashValue")?,
            newest_event: self.optional_time("newestEventTime")?,
            oldest_event: self.optional_time("oldestEventTime")?,
        })
    }

    fn text(&self, name: &str) -> Result<&str, DocumentError> {
        match self.members.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(self.wrong(name, "text")),
        }
    }

    fn algorithm(&self, name: &str, expected: &'static str) -> Result<(), DocumentError> {
        let found = self.text(name)?;
        if found == expected {
            return Ok(());
        }
        Err(DocumentError::Algorithm {
            member: self.name(name),
            expected,
            found: one_line(found, 60),
        })
    }

    fn time(&self, name: &str) -> Result<Timestamp, DocumentError> {
        let time = self.text(name)?.parse();
        time.map_err(|_| self.wrong(name, "a time such as 2026-11-23T04:00:00Z"))
    }

    fn optional_time(&self, name: &str) -> Result<Option<Timestamp>, DocumentError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(_) => self.time(name).map(Some),
        }
    }

    fn hash(&self, name: &str) -> Result<Sha256, DocumentError> {
        let bytes = from_hex(self.text(name)?).and_then(|bytes| bytes.try_into().ok());
        bytes.ok_or_else(|| self.wrong(name, "64 hexadecimal digits"))
    }

    fn fingerprint(&self) -> Result<String, DocumentError> {
        let name = "digestPublicKeyFingerprint";
        match from_hex(self.text(name)?) {
            Some(bytes) if bytes.len() == 16 => Ok(crate::text::hex(&bytes)),
            _ => Err(self.wrong(name, "32 hexadecimal digits")),
        }
    }

    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.of)
    }

    fn wrong(&self, name: &str, expected: &'static str) -> DocumentError {
        let found = match self.members.get(name) {
            None => "no such member".to_owned(),
            Some(Value::String(text)) => format!("\"{}\"", one_line(text, 60)),
            Some(Value::Number(number)) => one_line(&number.to_string(), 60),
            Some(other) => json::kind(other).to_owned(),
        };
        DocumentError::Member {
            member: self.name(name),
            expected,
            found,
        }
    }
}

/// The bytes of a text of hexadecimal digits, in any case.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let value = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .map_or(0, |value| value as u8)
    };
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| value(pair[0]) << 4 | value(pair[1]))
            .collect(),
    )
}
