//! The list of log files that a job works through: one line for each, its bucket and its key, which S3 Batch
//! Operations wants percent-encoded. What is no log file by its name (digests, Insights) is left out here,
//! where leaving it out costs nothing.

use std::time::Duration;

use aws_config::timeout::TimeoutConfig;
use aws_sdk_s3::Client;
use cloudhsm_alerts::{clock, s3};
use cloudhsm_alerts_core::{object::Skip, text::chain};
use jiff::civil::Date;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// More than that is the business of an S3 Inventory: listing is slow, and the list is held in memory.
const MOST: u64 = 1_000_000;

/// What of a key stays as it is.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/');

/// Which days of log files are wanted, both ends included.
#[derive(Debug, Default)]
pub struct Choice {
    pub from: Option<Date>,
    pub to: Option<Date>,
}

/// What is to become of a key.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Wanted,
    /// It holds no records of management calls.
    NoLogFile,
    OtherDay,
    /// Days were asked for, and the key names none.
    NoDay,
}

impl Choice {
    /// ` from 2026-01-01 to 2026-06-30`, as far as it was asked for.
    pub fn words(&self) -> String {
        let mut words = String::new();
        for (day, name) in [(self.from, "from"), (self.to, "to")] {
            if let Some(day) = day {
                words.push_str(&format!(" {name} {day}"));
            }
        }
        words
    }

    fn verdict(&self, key: &str, size: u64) -> Verdict {
        if size == 0 || Skip::by_name(key).is_some() {
            return Verdict::NoLogFile;
        }
        if self.from.is_none() && self.to.is_none() {
            return Verdict::Wanted;
        }
        match day(key) {
            None => Verdict::NoDay,
            Some(day)
                if self.from.is_some_and(|from| day < from)
                    || self.to.is_some_and(|to| day > to) =>
            {
                Verdict::OtherDay
            }
            Some(_) => Verdict::Wanted,
        }
    }
}

/// The day in `…/CloudTrail/<region>/YYYY/MM/DD/<name>`.
fn day(key: &str) -> Option<Date> {
    let mut segments = key.rsplit('/').skip(1);
    let mut number = || segments.next()?.parse::<i16>().ok();
    let (day, month, year) = (number()?, number()?, number()?);
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

/// The list, with what is said of it.
#[derive(Debug, Default)]
pub struct Manifest {
    csv: Vec<u8>,
    files: u64,
    bytes: u64,
    no_log_file: u64,
    other_day: u64,
    no_day: u64,
}

impl Manifest {
    /// The log files under a prefix.
    pub async fn list(
        client: &Client,
        bucket: &str,
        prefix: &str,
        choice: &Choice,
    ) -> Result<Manifest, Box<dyn std::error::Error>> {
        let mut manifest = Manifest::default();
        let mut page = None;
        loop {
            let listed = s3::list(client, bucket, prefix, page)
                .await
                .map_err(|error| format!("listing s3://{bucket}/{prefix}: {error}"))?;
            for listed in &listed.objects {
                manifest.add(bucket, &listed.object.key, listed.size, choice);
            }
            if manifest.files > MOST {
                return Err(format!(
                    "more than {MOST} log files: choose fewer with --from, --to or a longer prefix, \
                     or give --inventory the manifest.json of an S3 Inventory"
                )
                .into());
            }
            page = listed.next;
            if page.is_none() {
                return Ok(manifest);
            }
        }
    }

    fn add(&mut self, bucket: &str, key: &str, size: u64, choice: &Choice) {
        match choice.verdict(key, size) {
            Verdict::Wanted => {
                let line = format!("{bucket},{}\n", utf8_percent_encode(key, ENCODED));
                self.csv.extend_from_slice(line.as_bytes());
                self.files += 1;
                self.bytes += size;
            }
            Verdict::NoLogFile => self.no_log_file += 1,
            Verdict::OtherDay => self.other_day += 1,
            Verdict::NoDay => self.no_day += 1,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.files == 0
    }

    /// What was chosen and what was left out, each for its reason.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "{}, {:.1} MB compressed",
            count(self.files, "log file"),
            // Rounded for reading; the loss of precision is far beyond the decimal that is shown.
            self.bytes as f64 / 1e6
        );
        for (left_out, what, why) in [
            (
                self.no_log_file,
                "object",
                "without records of management calls",
            ),
            (self.other_day, "log file", "of other days"),
            (self.no_day, "object", "whose key names no day"),
        ] {
            if left_out > 0 {
                text.push_str(&format!("; left out: {} {why}", count(left_out, what)));
            }
        }
        text
    }

    /// Puts the list where the job may read it; gives its key and its entity tag.
    pub async fn put(
        self,
        client: &Client,
        bucket: &str,
    ) -> Result<(String, String), Box<dyn std::error::Error>> {
        let key = format!("manifests/{:016x}.csv", clock::unique());
        // A list of a million log files has some 200 MB, which takes longer than the function may ever wait.
        let patient = TimeoutConfig::builder()
            .operation_timeout(Duration::from_secs(30 * 60))
            .build();
        let output = client
            .put_object()
            .bucket(bucket)
            .key(&key)
            .content_type("text/csv")
            .body(self.csv.into())
            .customize()
            .config_override(aws_sdk_s3::config::Builder::new().timeout_config(patient))
            .send()
            .await
            .map_err(|error| format!("writing s3://{bucket}/{key}: {}", chain(&error)))?;
        let etag = unquoted(output.e_tag(), bucket, &key)?;
        Ok((key, etag))
    }
}

/// `1 log file`, `2 log files`.
pub fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The entity tag by which a job knows that its list has not been changed.
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
        .map_err(|error| format!("looking at s3://{bucket}/{key}: {}", chain(&error)))?;
    Ok(unquoted(head.e_tag(), bucket, key)?)
}

fn unquoted(etag: Option<&str>, bucket: &str, key: &str) -> Result<String, String> {
    etag.map(|etag| etag.trim_matches('"').to_owned())
        .ok_or_else(|| format!("s3://{bucket}/{key} has no entity tag"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOLDER: &str = "AWSLogs/o-exampleorgid/111122223333/CloudTrail/us-west-2/2026/11";

    fn choice(from: &str, to: &str) -> Choice {
        Choice {
            from: from.parse().ok(),
            to: to.parse().ok(),
        }
    }

    #[test]
    fn what_becomes_of_a_key() {
        let all = choice("", "");
        let november = choice("2026-11-02", "2026-11-30");
        for (key, size, choice, expected) in [
            ("x.json.gz".to_owned(), 9, &all, Verdict::Wanted),
            (
                format!("{FOLDER}/02/x.json.gz"),
                9,
                &november,
                Verdict::Wanted,
            ),
            (
                format!("{FOLDER}/30/x.json.gz"),
                9,
                &november,
                Verdict::Wanted,
            ),
            (
                format!("{FOLDER}/01/x.json.gz"),
                9,
                &november,
                Verdict::OtherDay,
            ),
            ("x.json.gz".to_owned(), 9, &november, Verdict::NoDay),
            (
                format!("{FOLDER}/31/x.json.gz"),
                9,
                &november,
                Verdict::NoDay,
            ),
            (
                format!("{FOLDER}/02/x.json.gz"),
                0,
                &all,
                Verdict::NoLogFile,
            ),
            (format!("{FOLDER}/02/"), 9, &all, Verdict::NoLogFile),
            (
                format!("{FOLDER}/02/x.json.gz").replace("/CloudTrail/", "/CloudTrail-Digest/"),
                9,
                &all,
                Verdict::NoLogFile,
            ),
        ] {
            assert_eq!(choice.verdict(&key, size), expected, "{key}");
        }
    }

    #[test]
    fn a_key_is_one_field_of_one_line_whatever_is_in_it() {
        let mut manifest = Manifest::default();
        manifest.add(
            "logs",
            "hsm trail + audit/a,b\"\n%2B/ü.json.gz",
            7,
            &Choice::default(),
        );
        assert_eq!(
            String::from_utf8_lossy(&manifest.csv),
            "logs,hsm%20trail%20%2B%20audit/a%2Cb%22%0A%252B/%C3%BC.json.gz\n"
        );
        assert_eq!(manifest.summary(), "1 log file, 0.0 MB compressed");
    }
}
