//! Commands that fetch the evidence: the log file with the record, and the rules that the record matches.
//!
//! The names in them are those of an object that anyone who may write to the bucket can choose, and an event ID that a
//! forged file can contain. A value that cannot be quoted exactly is left out together with its command; where the
//! record is, is printed anyway.

use super::source::Source;
use crate::{object::ObjectRef, text::shell_word};

/// The name of the downloaded file, if that of the object is not safe.
const FILE: &str = "log-file.json.gz";

/// Each command with what it is for.
pub(super) fn commands(source: &Source, event_id: &str) -> Vec<(&'static str, String)> {
    let download = match source {
        Source::Object(object) => download(object),
        Source::File(_) | Source::Event(_) => None,
    };
    let explain = || {
        let address = match source {
            // In an address, the version follows the first `?versionId=`.
            Source::Object(object) if object.key.contains("?versionId=") => None,
            Source::Object(_) | Source::File(_) => shell_word(&source.address()),
            Source::Event(_) => None,
        };
        Some(format!(
            "cloudhsm-alerts explain {} --event-id {}",
            address?,
            shell_word(event_id)?
        ))
    };
    [
        ("To download the log file:", download),
        ("To see which rules the record matches, and why:", explain()),
    ]
    .into_iter()
    .filter_map(|(label, command)| Some((label, command?)))
    .collect()
}

fn download(object: &ObjectRef) -> Option<String> {
    let (bucket, key) = (shell_word(&object.bucket)?, shell_word(&object.key)?);
    let version = match &object.version_id {
        Some(version) => format!(" --version-id {}", shell_word(version)?),
        None => String::new(),
    };
    let file = object
        .key
        .rsplit('/')
        .next()
        .filter(|name| shell_word(name).as_deref() == Some(name))
        .unwrap_or(FILE);
    Some(format!(
        "aws s3api get-object --bucket {bucket} --key {key}{version} {file}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: &str, version_id: Option<&str>, event_id: &str) -> Vec<String> {
        let object = ObjectRef {
            bucket: "trail".into(),
            key: key.into(),
            version_id: version_id.map(str::to_owned),
        };
        commands(&Source::Object(object), event_id)
            .into_iter()
            .map(|(_, command)| command)
            .collect()
    }

    #[test]
    fn names_are_quoted_exactly_or_left_out() {
        for (key, version_id, event_id, expected) in [
            (
                "AWSLogs/1/x.json.gz",
                None,
                "e-1",
                vec![
                    "aws s3api get-object --bucket trail --key AWSLogs/1/x.json.gz x.json.gz",
                    "cloudhsm-alerts explain s3://trail/AWSLogs/1/x.json.gz --event-id e-1",
                ],
            ),
            (
                "a/x.json.gz",
                Some("3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY"),
                "e-1",
                vec![
                    "aws s3api get-object --bucket trail --key a/x.json.gz --version-id 3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY x.json.gz",
                    "cloudhsm-alerts explain 's3://trail/a/x.json.gz?versionId=3/L4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY' --event-id e-1",
                ],
            ),
            (
                "a b/it's $(id).gz",
                None,
                "no; id",
                vec![
                    r"aws s3api get-object --bucket trail --key 'a b/it'\''s $(id).gz' log-file.json.gz",
                    r"cloudhsm-alerts explain 's3://trail/a b/it'\''s $(id).gz' --event-id 'no; id'",
                ],
            ),
            // The AWS CLI would read the file, or take it for an option; an unseen character cannot be copied.
            ("file://etc/passwd", None, "e", vec![]),
            ("-x", None, "-e", vec![]),
            ("a\nb", None, "e", vec![]),
            ("a\u{202e}b", None, "e", vec![]),
            (
                "a?versionId=1",
                None,
                "e",
                vec!["aws s3api get-object --bucket trail --key 'a?versionId=1' log-file.json.gz"],
            ),
        ] {
            assert_eq!(of(key, version_id, event_id), expected, "{key}");
        }
    }
}
