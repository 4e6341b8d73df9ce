//! An S3 object that a notification names, and what its key says it holds.
//!
//! The key here is the real one: decoding happens where a notification is read ([`crate::payload`]),
//! once, and nowhere past that edge. Reading the object is the business of [`crate::s3`].

use std::fmt;

use crate::text::one_line;

/// Bucket, key and version of one S3 object.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectRef {
    /// Name of the bucket.
    pub bucket: String,
    /// Key, decoded.
    pub key: String,
    /// Version, where the notification names one; without it the newest is read.
    pub version_id: Option<String>,
}

impl fmt::Display for ObjectRef {
    /// `s3://bucket/key`, with `?versionId=…` where there is one. What S3 lets a key contain (line
    /// breaks among it) is shown escaped, so that the address stays one line wherever it is printed.
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

/// Why an object, or a whole payload, holds no CloudTrail records of management calls and is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Skip {
    /// A CloudTrail digest file.
    Digest,
    /// A CloudTrail Insights file.
    Insight,
    /// A CloudTrail aggregated events file.
    Aggregated,
    /// A log of another service, which delivers below the same account.
    OtherService,
    /// A folder marker: a key that ends with a slash.
    Directory,
    /// An object without a byte in it.
    Empty,
    /// The notification says that the object was removed, or anything else but created.
    NotCreated,
    /// S3's `s3:TestEvent`, sent when a notification is set up.
    TestEvent,
    /// The text CloudTrail publishes to a topic when it is set up.
    ValidationMessage,
}

/// Folders below `AWSLogs/<account>/` that other services than CloudTrail write into.
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

/// Whether it is an account's number.
fn is_account(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

impl Skip {
    /// The word used in replies and logs.
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

    /// What the key says against reading the object as a log file; `None` means: read it. A size that a
    /// notification gives does not count: whether the object is empty is seen when it is read.
    ///
    /// Only the folder below the account in `[prefix/]AWSLogs/[o-…/]<account>/<folder>/`, or the file
    /// name CloudTrail itself gives, counts. A prefix is free text, and a log file must not be
    /// passed over because somebody named a prefix `CloudTrail-Digest`. A key of any other form is
    /// read: an unnecessary error is better than a silent gap. Network activity files hold records like
    /// others: a call that the policy of a VPC endpoint denies is recorded in no other file.
    ///
    /// Other services deliver into the same bucket (AWS Control Tower has AWS Config do so); their folders
    /// are known by name, and only below an account's number.
    /// Source: AWS CloudTrail User Guide, "CloudTrail log file name format"; for the others, the page of each
    /// on delivering its logs to S3.
    pub fn by_name(key: &str) -> Option<Skip> {
        if key.ends_with('/') {
            return Some(Skip::Directory);
        }
        let segments: Vec<&str> = key.split('/').collect();
        let file_name = segments.last().copied().unwrap_or_default();
        let root = segments.iter().rposition(|s| *s == "AWSLogs");
        let below = root.and_then(|at| {
            let organization = segments.get(at + 1).is_some_and(|s| s.starts_with("o-"));
            let at = at + 1 + usize::from(organization);
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

    /// `<12 digits>_CloudTrail-<what>_…`: the name a file keeps when it is copied out of its folder.
    fn by_file_name(name: &str) -> Option<Skip> {
        let (account, rest) = name.split_once('_')?;
        let (what, _) = rest.split_once('_')?;
        if is_account(account) {
            Self::by_folder(what)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_key_says() {
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
