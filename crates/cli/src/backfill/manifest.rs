//! The manifest of a job: a CSV file with one line for each log file, its bucket and its percent-encoded key, as
//! S3 Batch Operations requires. Objects that are no log files by their keys (digest files, Insights) are left out,
//! because every task of a job costs money.

use std::{fmt, time::Duration};

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use cloudhsm_alerts::{clock, s3};
use cloudhsm_alerts_core::{object::Skip, text::chain};
use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::terminal::counted;

/// For more log files, an S3 Inventory is required: listing is slow, and the manifest is held in memory.
const MAX_LOG_FILES: u64 = 1_000_000;

/// Characters of a key that are percent-encoded.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// The dates of log files to process, both inclusive.
#[derive(Debug, Default)]
pub struct DateRange {
    pub from: Option<Date>,
    pub to: Option<Date>,
}

/// Whether an object is in the manifest, and if not, why.
#[derive(Debug, PartialEq, Eq)]
enum Selection {
    Included,
    /// It is empty, or its key is not that of a log file with management events.
    NoLogFile,
    OutsideRange,
    /// There is a date range, and no date in the key.
    NoDate,
}

/// ` from 2026-01-01 to 2026-06-30`, or as much of that as is limited.
impl fmt::Display for DateRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (date, name) in [(self.from, "from"), (self.to, "to")] {
            if let Some(date) = date {
                write!(f, " {name} {date}")?;
            }
        }
        Ok(())
    }
}

impl DateRange {
    fn select(&self, key: &str, size: u64) -> Selection {
        if size == 0 || Skip::by_name(key).is_some() {
            return Selection::NoLogFile;
        }
        if self.from.is_none() && self.to.is_none() {
            return Selection::Included;
        }
        match date_in(key) {
            None => Selection::NoDate,
            Some(date)
                if self.from.is_some_and(|from| date < from)
                    || self.to.is_some_and(|to| date > to) =>
            {
                Selection::OutsideRange
            }
            Some(_) => Selection::Included,
        }
    }
}

/// The date in `…/CloudTrail/<region>/YYYY/MM/DD/<name>`.
fn date_in(key: &str) -> Option<Date> {
    let mut segments = key.rsplit('/').skip(1);
    let mut number = || segments.next()?.parse::<i16>().ok();
    let (day, month, year) = (number()?, number()?, number()?);
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

/// The content of a manifest, and counts of what is in it and what was skipped.
#[derive(Debug, Default)]
pub struct Manifest {
    csv: Vec<u8>,
    files: u64,
    bytes: u64,
    no_log_file: u64,
    outside_range: u64,
    no_date: u64,
}

impl Manifest {
    /// A manifest of the log files under a prefix.
    pub async fn list(
        client: &Client,
        bucket: &str,
        prefix: &str,
        range: &DateRange,
    ) -> Result<Manifest, Box<dyn std::error::Error>> {
        let mut manifest = Manifest::default();
        let mut page = None;
        loop {
            let listed = s3::list(client, bucket, prefix, page)
                .await
                .map_err(|error| format!("cannot list s3://{bucket}/{prefix}: {error}"))?;
            for listed in &listed.objects {
                manifest.add(bucket, &listed.object.key, listed.size, range);
            }
            if manifest.files > MAX_LOG_FILES {
                return Err(format!(
                    "more than {MAX_LOG_FILES} log files: select fewer with --from, --to or a longer prefix, or use \
                     --inventory with the manifest.json of an S3 Inventory"
                )
                .into());
            }
            page = listed.next;
            if page.is_none() {
                return Ok(manifest);
            }
        }
    }

    fn add(&mut self, bucket: &str, key: &str, size: u64, range: &DateRange) {
        match range.select(key, size) {
            Selection::Included => {
                let line = format!("{bucket},{}\n", utf8_percent_encode(key, ENCODED));
                self.csv.extend_from_slice(line.as_bytes());
                self.files += 1;
                self.bytes += size;
            }
            Selection::NoLogFile => self.no_log_file += 1,
            Selection::OutsideRange => self.outside_range += 1,
            Selection::NoDate => self.no_date += 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// The number and size of log files, and what was skipped.
    pub fn describe(&self) -> String {
        let mut description = format!(
            "{}, {:.1} MB compressed",
            counted(self.files, "log file"),
            // A float is precise enough for one decimal place.
            self.bytes as f64 / 1e6
        );
        for (skipped, noun, reason) in [
            (self.no_log_file, "object", "without management events"),
            (self.outside_range, "log file", "outside the date range"),
            (self.no_date, "object", "without a date in its key"),
        ] {
            if skipped > 0 {
                description.push_str(&format!("; skipped: {} {reason}", counted(skipped, noun)));
            }
        }
        description
    }

    /// Writes the manifest where the job can read it. Returns its key and ETag.
    pub async fn put(
        self,
        client: &Client,
        bucket: &str,
    ) -> Result<(String, String), Box<dyn std::error::Error>> {
        let key = format!("manifests/{:016x}.csv", clock::unique());
        // A manifest of a million log files has about 200 MB, which the timeouts of the function do not allow for.
        let timeouts = TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(30 * 60))
            .build();
        let output = client
            .put_object()
            .bucket(bucket)
            .key(&key)
            .content_type("text/csv")
            .body(self.csv.into())
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(timeouts))
            .send()
            .await
            .map_err(|error| format!("cannot write s3://{bucket}/{key}: {}", chain(&error)))?;
        let etag = unquoted(output.e_tag(), bucket, &key)?;
        Ok((key, etag))
    }
}

/// The ETag of an object. The job uses it to detect that the manifest has changed.
pub async fn etag(
    client: &Client,
    bucket: &str,
    key: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let head = client
        .head_object()
        .bucket(bucket)
        .key(key)
        .send()
        .await
        .map_err(|error| format!("cannot read s3://{bucket}/{key}: {}", chain(&error)))?;
    Ok(unquoted(head.e_tag(), bucket, key)?)
}

fn unquoted(etag: Option<&str>, bucket: &str, key: &str) -> Result<String, String> {
    etag.map(|etag| etag.trim_matches('"').to_owned())
        .ok_or_else(|| format!("s3://{bucket}/{key} has no ETag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "AWSLogs/o-exampleorgid/111122223333/CloudTrail/us-west-2/2026/11";

    fn range(from: &str, to: &str) -> DateRange {
        DateRange {
            from: from.parse().ok(),
            to: to.parse().ok(),
        }
    }

    #[test]
    fn a_key_is_included_or_skipped_with_a_reason() {
        let all = range("", "");
        let november = range("2026-11-02", "2026-11-30");
        for (key, size, range, expected) in [
            ("x.json.gz".to_owned(), 9, &all, Selection::Included),
            (
                format!("{FOLDER}/02/x.json.gz"),
                9,
                &november,
                Selection::Included,
            ),
            (
                format!("{FOLDER}/30/x.json.gz"),
                9,
                &november,
                Selection::Included,
            ),
            (
                format!("{FOLDER}/01/x.json.gz"),
                9,
                &november,
                Selection::OutsideRange,
            ),
            ("x.json.gz".to_owned(), 9, &november, Selection::NoDate),
            (
                format!("{FOLDER}/31/x.json.gz"),
                9,
                &november,
                Selection::NoDate,
            ),
            (
                format!("{FOLDER}/02/x.json.gz"),
                0,
                &all,
                Selection::NoLogFile,
            ),
            (format!("{FOLDER}/02/"), 9, &all, Selection::NoLogFile),
            (
                format!("{FOLDER}/02/x.json.gz").replace("/CloudTrail/", "/CloudTrail-Digest/"),
                9,
                &all,
                Selection::NoLogFile,
            ),
        ] {
            assert_eq!(range.select(&key, size), expected, "{key}");
        }
    }

    #[test]
    fn any_key_is_one_csv_field() {
        let mut manifest = Manifest::default();
        manifest.add(
            "logs",
            "hsm trail + audit/a,b\"\n%2B/ü.json.gz",
            7,
            &DateRange::default(),
        );
        assert_eq!(
            String::from_utf8_lossy(&manifest.csv),
            "logs,hsm%20trail%20%2B%20audit/a%2Cb%22%0A%252B/%C3%BC.json.gz\n"
        );
        assert_eq!(manifest.describe(), "1 log file, 0.0 MB compressed");
    }
}
