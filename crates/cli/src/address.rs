//! An address in S3 as people type it or copy it from an alert: `s3://bucket/key?versionId=ID`.
//!
//! The key is taken as it is: `%20` is three characters, as alerts and `aws s3` have it. What follows the last
//! `?versionId=` is the version, unless it has a slash, which no version has.

use std::path::Path;

use cloudhsm_alerts_core::object::ObjectRef;

use crate::terminal::shown;

const SCHEME: &str = "s3://";
const VERSION: &str = "?versionId=";

/// An object or a prefix in S3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// As it was typed.
    typed: String,
    pub bucket: String,
    /// A key or a prefix.
    pub key: String,
    /// The version, which only an object has.
    pub version: Option<String>,
}

impl Address {
    /// The address in a path. `None`: a path on this machine.
    pub fn parse(path: &Path) -> Option<Address> {
        let typed = path.to_str()?;
        let rest = typed.strip_prefix(SCHEME)?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        let (key, version) = match key.rsplit_once(VERSION) {
            Some((key, version)) if !version.is_empty() && !version.contains('/') => {
                (key, Some(version.to_owned()))
            }
            _ => (key, None),
        };
        Some(Address {
            typed: typed.to_owned(),
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            version,
        })
    }

    /// The object that has this key.
    pub fn object(&self) -> ObjectRef {
        ObjectRef {
            bucket: self.bucket.clone(),
            key: self.key.clone(),
            version_id: self.version.clone(),
        }
    }

    /// As it was typed, for messages.
    pub fn shown(&self) -> String {
        shown(&self.typed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_and_copy() {
        for (typed, expected) in [
            ("s3://b/k.json.gz", Some(("b", "k.json.gz", None))),
            (
                "s3://b/p/k?versionId=3sL4.x_-",
                Some(("b", "p/k", Some("3sL4.x_-"))),
            ),
            (
                "s3://b/a%20b+c?versionId=1",
                Some(("b", "a%20b+c", Some("1"))),
            ),
            (
                "s3://b/k?versionId=a?versionId=1",
                Some(("b", "k?versionId=a", Some("1"))),
            ),
            ("s3://b/k?versionId=", Some(("b", "k?versionId=", None))),
            (
                "s3://b/k?versionId=a/b",
                Some(("b", "k?versionId=a/b", None)),
            ),
            ("s3://b", Some(("b", "", None))),
            ("s3://b/", Some(("b", "", None))),
            ("b/k", None),
        ] {
            let found = Address::parse(Path::new(typed));
            let parts = found
                .as_ref()
                .map(|at| (at.bucket.as_str(), at.key.as_str(), at.version.as_deref()));
            assert_eq!(parts, expected, "{typed}");
            assert!(found.is_none_or(|at| at.shown() == typed), "{typed}");
        }
    }
}
