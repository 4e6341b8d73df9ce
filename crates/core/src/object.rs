//! An S3 object named by a notification, and what its key reveals about its content.
//!
//! The key is the decoded one. It is decoded once, where the notification is parsed, so code that has an
//! [`ObjectRef`] cannot forget it. Downloading the object is up to the function.

use std::fmt;

use crate::text::one_line;

/// Bucket, key and version of one S3 object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// The name of the bucket.
    pub bucket: String,
    /// The decoded key.
    pub key: String,
    /// The version ID, if the notification has one. Without it, the current version is read.
    pub version_id: Option<String>,
}

impl fmt::Display for ObjectRef {
    /// `s3://bucket/key`, with `?versionId=…` if there is a version ID. S3 permits line breaks and other control
    /// characters in keys; they are escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "s3://{}/{}",
            one_line(&self.bucket, 256),
            one_line(&self.key, 2048)
        )?;
        match &self.version_id {
            Some(version) => write!(f, "?versionId={}", one_line(version, 1024)),
            None => Ok(()),
        }
    }
}

impl ObjectRef {
    /// The account and the region in the name of a log file or a digest file of CloudTrail, such as
    /// `111122223333_CloudTrail_us-west-2_20261123T0355Z_….json.gz`. `None`: it has another name.
    pub fn account_and_region(&self) -> Option<(&str, &str)> {
        let mut name = self.key.rsplit('/').next()?.split('_');
        let (account, kind, region) = (name.next()?, name.next()?, name.next()?);
        (is_account(account) && kind.starts_with("CloudTrail")).then_some((account, region))
    }
}

/// Why an object or a payload is skipped: it contains no CloudTrail records of management calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// A CloudTrail digest file.
    Digest,
    /// A CloudTrail Insights file.
    Insight,
    /// A CloudTrail aggregated events file.
    Aggregated,
    /// A log of another AWS service in the same bucket.
    OtherService,
    /// A folder marker, whose key ends with a slash.
    Directory,
    /// An empty object.
    Empty,
    /// The notification is not about the creation of an object, but about its removal, for example.
    NotCreated,
    /// `s3:TestEvent`, which S3 sends when notifications are configured.
    TestEvent,
    /// The message that CloudTrail publishes when a topic is configured for a trail.
    ValidationMessage,
}

/// Folders in `AWSLogs/<account>/` to which other services write.
const OTHER_SERVICES: [&str; 9] = [
    "CloudFront",
    "Config",
    "GuardDuty",
    "WAFLogs",
    "elasticloadbalancing",
    "globalaccelerator",
    "network-firewall",
    "vpcdnsquerylogs",
    "vpcflowlogs",
];

/// Whether the text has the form of an account ID.
fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

impl Skip {
    /// The value used in replies and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Skip::Digest => "digest",
            Skip::Insight => "insight",
            Skip::Aggregated => "aggregated",
            Skip::OtherService => "other_service",
            Skip::Directory => "directory",
            Skip::Empty => "empty",
            Skip::NotCreated => "not_created",
            Skip::TestEvent => "test_event",
            Skip::ValidationMessage => "validation_message",
        }
    }

    /// Why an object with this key is skipped. `None`: it is read. The size in a notification is not considered;
    /// an empty object is recognized when it is read.
    ///
    /// Two parts of the key count: the folder below the account in `[prefix/]AWSLogs/[o-…/]<account>/<folder>/`,
    /// and the file name in CloudTrail's format. The prefix is free text, so a prefix named `CloudTrail-Digest`
    /// must not cause log files to be skipped. Objects with other keys are read, because an unnecessary error is
    /// better than a missed record. Network activity files are read: a call that a VPC endpoint policy denies is
    /// recorded only there.
    ///
    /// Other services can deliver to the same bucket (AWS Control Tower configures AWS Config so). Their folders
    /// are recognized by name, and only directly below an account ID.
    /// Source: AWS CloudTrail User Guide, "CloudTrail log file name format"; for other services, their pages about
    /// delivery to S3.
    pub fn by_name(key: &str) -> Option<Skip> {
        if key.ends_with('/') {
            return Some(Skip::Directory);
        }
        let segments: Vec<&str> = key.split('/').collect();
        let file_name = segments.last().copied().unwrap_or_default();
        let root = segments.iter().rposition(|s| *s == "AWSLogs");
        let below = root.and_then(|at| {
            let has_organization = segments.get(at + 1).is_some_and(|s| s.starts_with("o-"));
            let at = at + 1 + usize::from(has_organization);
            Some((*segments.get(at)?, *segments.get(at + 1)?))
        });
        below
            .and_then(|(account, folder)| {
                Self::by_folder(folder).or_else(|| {
                    let is_other = is_account(account) && OTHER_SERVICES.contains(&folder);
                    is_other.then_some(Skip::OtherService)
                })
            })
            .or_else(|| Self::by_file_name(file_name))
    }

    fn by_folder(folder: &str) -> Option<Skip> {
        match folder {
            "CloudTrail-Digest" => Some(Skip::Digest),
            "CloudTrail-Insight" => Some(Skip::Insight),
            "CloudTrail-Aggregated" => Some(Skip::Aggregated),
            _ => None,
        }
    }

    /// Recognizes `<account ID>_CloudTrail-<type>_…`, the file name that is kept if a file is copied elsewhere.
    fn by_file_name(name: &str) -> Option<Skip> {
        let (account, rest) = name.split_once('_')?;
        let (folder, _) = rest.split_once('_')?;
        if is_account(account) {
            Self::by_folder(folder)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn account_and_region_are_in_the_name() {
        let of = |key: &str| {
            let object = ObjectRef {
                bucket: "b".into(),
                key: key.into(),
                version_id: None,
            };
            let found = object.account_and_region();
            found.map(|(account, region)| format!("{account} {region}"))
        };
        for name in ["CloudTrail", "CloudTrail-Digest"] {
            let key = format!("p/AWSLogs/1/111122223333_{name}_us-west-2_x.json.gz");
            assert_eq!(of(&key).as_deref(), Some("111122223333 us-west-2"));
        }
        for other in [
            "",
            "111122223333_CloudTrail",
            "11112222333_CloudTrail_us-west-2_x.json.gz",
            "111122223333_Config_us-west-2_x.json.gz",
            "111122223333_CloudTrail_us-west-2_x.json.gz/other",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn skip_by_key() {
        let name = "111122223333_CloudTrail_us-west-2_20261123T0355Z_Kd83hFq0aPzW61Lm.json.gz";
        for (key, expected) in [
            (
                format!("AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/{name}"),
                None,
            ),
            (
                format!("AWSLogs/o-exampleorg/111122223333/CloudTrail/us-west-2/2026/11/23/{name}"),
                None,
            ),
            (
                format!(
                    "CloudTrail-Digest/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/{name}"
                ),
                None,
            ),
            (
                format!("AWSLogs/AWSLogs/111122223333/CloudTrail/{name}"),
                None,
            ),
            ("copies/of/anything.json".into(), None),
            ("no_account_CloudTrail-Digest_x.json.gz".into(), None),
            (
                "AWSLogs/111122223333/CloudTrail-Digest/us-west-2/x.json.gz".into(),
                Some(Skip::Digest),
            ),
            (
                "p q/AWSLogs/o-exampleorg/111122223333/CloudTrail-Digest/x.json.gz".into(),
                Some(Skip::Digest),
            ),
            (
                "flat/111122223333_CloudTrail-Digest_us-west-2_t_us-west-2_20261123T0355Z.json.gz"
                    .into(),
                Some(Skip::Digest),
            ),
            (
                "AWSLogs/111122223333/CloudTrail-Insight/us-west-2/x.json.gz".into(),
                Some(Skip::Insight),
            ),
            (
                "AWSLogs/111122223333/CloudTrail-NetworkActivity/x.json.gz".into(),
                None,
            ),
            (
                "AWSLogs/111122223333/CloudTrail-Aggregated/x.json.gz".into(),
                Some(Skip::Aggregated),
            ),
            (
                "AWSLogs/o-exampleorg/111122223333/Config/us-west-2/2026/11/23/ConfigHistory/x.json.gz".into(),
                Some(Skip::OtherService),
            ),
            (
                "AWSLogs/111122223333/Config/AWSLogs/111122223333/CloudTrail/x.json.gz".into(),
                None,
            ),
            ("AWSLogs/team/Config/x.json.gz".into(), None),
            (
                "AWSLogs/111122223333/CloudTrail/us-west-2/".into(),
                Some(Skip::Directory),
            ),
        ] {
            assert_eq!(Skip::by_name(&key), expected, "{key}");
        }
    }

    #[test]
    fn an_address_is_one_line() {
        let object = ObjectRef {
            bucket: "b".into(),
            key: "a\nb c".into(),
            version_id: Some("v1".into()),
        };
        assert_eq!(object.to_string(), "s3://b/a\\nb c?versionId=v1");
    }
}
