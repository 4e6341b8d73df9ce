//! Where files are: a folder of this machine, or a prefix in a bucket.

use std::{fmt, path::PathBuf, str::FromStr};

use cloudhsm_alerts_core::text::one_line;

use super::kind::{ACCOUNT_NAMES, RULES};

/// The value of `RULES_URI`, and of `ACCOUNT_NAMES` if that is not a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilesUri {
    /// A folder with its subfolders; in Lambda, of the deployment package or a layer.
    Folder(PathBuf),
    /// Objects whose keys begin with a prefix.
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The prefix. It is empty, ends with a slash, or is the key of one file.
        prefix: String,
    },
}

impl FromStr for FilesUri {
    type Err = String;

    fn from_str(text: &str) -> Result<FilesUri, String> {
        let Some(address) = text.strip_prefix("s3://") else {
            return match text.split_once("://") {
                Some((scheme, _)) => Err(format!(
                    "expected a folder or s3://bucket/prefix, found {scheme}://…"
                )),
                None if text.is_empty() => Err("expected a folder or s3://bucket/prefix".into()),
                None => Ok(FilesUri::Folder(text.into())),
            };
        };
        let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
        if bucket.is_empty() {
            return Err(format!("expected s3://bucket/prefix, found {text:?}"));
        }
        let mut prefix = prefix.to_owned();
        if !prefix.is_empty()
            && !prefix.ends_with('/')
            && !RULES.has(&prefix)
            && !ACCOUNT_NAMES.has(&prefix)
        {
            prefix.push('/');
        }
        Ok(FilesUri::Bucket {
            bucket: bucket.to_owned(),
            prefix,
        })
    }
}

impl fmt::Display for FilesUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilesUri::Folder(path) => f.write_str(&one_line(&path.to_string_lossy(), 1024)),
            FilesUri::Bucket { bucket, prefix } => {
                write!(
                    f,
                    "s3://{}/{}",
                    one_line(bucket, 256),
                    one_line(prefix, 1024)
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_and_prefixes() {
        let bucket = |prefix: &str| {
            Ok(FilesUri::Bucket {
                bucket: "b".into(),
                prefix: prefix.into(),
            })
        };
        for (text, expected) in [
            ("rules", Ok(FilesUri::Folder("rules".into()))),
            ("/opt/rules", Ok(FilesUri::Folder("/opt/rules".into()))),
            ("s3://b", bucket("")),
            ("s3://b/", bucket("")),
            ("s3://b/hsm/rules", bucket("hsm/rules/")),
            ("s3://b/hsm/", bucket("hsm/")),
            ("s3://b/one.yml", bucket("one.yml")),
            ("s3://b/hsm/accounts.csv", bucket("hsm/accounts.csv")),
            (
                "s3:///x",
                Err("expected s3://bucket/prefix, found \"s3:///x\"".to_owned()),
            ),
            (
                "https://example.com/x",
                Err("expected a folder or s3://bucket/prefix, found https://…".to_owned()),
            ),
            (
                "",
                Err("expected a folder or s3://bucket/prefix".to_owned()),
            ),
        ] {
            assert_eq!(text.parse(), expected, "{text}");
        }
    }
}
