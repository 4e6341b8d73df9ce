//! The source of a record: the log file or the event that it was read from.
//!
//! People look up the evidence there. A source only names the place; reading it is up to the function and the
//! command line.

use std::{fmt, path::PathBuf};

use jiff::Timestamp;

use crate::{object::ObjectRef, text::one_line};

/// Where a record was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A log file in S3.
    Object(ObjectRef),
    /// A local log file.
    File(PathBuf),
    /// The ID of an EventBridge event that contains the record.
    Event(String),
}

impl Source {
    /// The unescaped address, for machines. [`fmt::Display`] escapes it for people.
    pub fn address(&self) -> String {
        match self {
            Source::Object(object) => {
                let version = object
                    .version_id
                    .as_ref()
                    .map_or_else(String::new, |version| format!("?versionId={version}"));
                format!("s3://{}/{}{version}", object.bucket, object.key)
            }
            Source::File(path) => path.to_string_lossy().into_owned(),
            Source::Event(id) => format!("eventbridge:{id}"),
        }
    }

    /// When CloudTrail delivered the log file, from the timestamp in its name (`_20261123T0355Z_`).
    /// Source: AWS CloudTrail User Guide, "CloudTrail log file name format".
    pub(super) fn delivery_time(&self) -> Option<Timestamp> {
        let address = self.address();
        let name = address.rsplit('/').next()?;
        name.split('_').find_map(|part| {
            let part = part.strip_suffix('Z')?;
            let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M", part).ok()?;
            Some(time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Object(object) => object.fmt(f),
            Source::File(path) => f.write_str(&one_line(&path.to_string_lossy(), 2048)),
            Source::Event(id) => write!(f, "EventBridge event {}", one_line(id, 256)),
        }
    }
}
