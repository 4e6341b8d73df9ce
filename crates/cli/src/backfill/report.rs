//! The report of a job: a CSV file with the function's result for every log file, added up here.

use aws_sdk_s3::Client;
use cloudhsm_alerts::{
    payload::{BatchMode, FileResult},
    s3,
};
use cloudhsm_alerts_core::text::one_line;
use percent_encoding::percent_decode_str;

use crate::terminal::counted;

/// How many failed log files are listed by name.
const MAX_LISTED_FAILURES: usize = 20;

/// The totals of a report, and its failed log files.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub files: u64,
    /// Totals of all log files.
    pub done: FileResult,
    /// Log files with calls to alert, each of which takes about one message.
    pub messages: u64,
    pub failures: u64,
    /// Address and result of the first failures.
    failed: Vec<(String, String)>,
}

/// Reads a job's report.
pub async fn read(
    client: &Client,
    bucket: &str,
    job: &str,
) -> Result<Report, Box<dyn std::error::Error>> {
    let mut report = Report::default();
    let prefix = format!("reports/job-{job}/");
    let mut page = None;
    loop {
        let listed = s3::list(client, bucket, &prefix, page)
            .await
            .map_err(|error| format!("cannot list s3://{bucket}/{prefix}: {error}"))?;
        for s3::Listed { object, .. } in &listed.objects {
            if !object.key.ends_with(".csv") {
                continue;
            }
            let describe = |error| format!("cannot read {object}: {error}");
            let mut body = s3::open(client, object).await.map_err(describe)?;
            let mut content = Vec::new();
            while let Some(chunk) = s3::next_chunk(&mut body).await.map_err(describe)? {
                content.extend_from_slice(chunk.as_ref());
            }
            report.add(&content)?;
        }
        page = listed.next;
        if page.is_none() {
            return Ok(report);
        }
    }
}

impl Report {
    /// Adds a CSV file without a header: bucket, key, version, status, HTTP status, error code, result.
    fn add(&mut self, content: &[u8]) -> Result<(), csv::Error> {
        let lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(content);
        for line in lines.into_byte_records() {
            let line = line?;
            let field =
                |index| String::from_utf8_lossy(line.get(index).unwrap_or_default()).into_owned();
            let result = field(6);
            self.files += 1;
            if field(3).eq_ignore_ascii_case("succeeded") {
                // The result of a skipped object has no counts.
                let done = result
                    .split("; ")
                    .find_map(FileResult::parse)
                    .unwrap_or_default();
                self.done.records += done.records;
                self.done.matched += done.matched;
                self.done.to_alert += done.to_alert;
                self.done.not_alerted += done.not_alerted;
                self.messages += u64::from(done.to_alert > 0);
                continue;
            }
            self.failures += 1;
            if self.failed.len() < MAX_LISTED_FAILURES {
                let key = field(1);
                let key = percent_decode_str(&key).decode_utf8_lossy();
                let address = format!("s3://{}/{}", field(0), one_line(&key, 1024));
                self.failed.push((address, one_line(&result, 1000)));
            }
        }
        Ok(())
    }

    /// The totals as text. `failed_tasks` is the count of the job, which may have failed before it wrote a report.
    pub fn render(&self, mode: BatchMode, failed_tasks: i64) -> String {
        let mut output = format!(
            "{} in the report, {}, {} matched",
            counted(self.files, "log file"),
            counted(self.done.records, "record"),
            counted(self.done.matched, "call"),
        );
        if mode == BatchMode::DryRun {
            output.push_str(&format!(
                "; dry run, no alerts were published. A backfill would alert at most {}, in about {}",
                counted(self.done.to_alert, "call"),
                counted(self.messages, "message"),
            ));
        }
        if self.done.not_alerted > 0 {
            output.push_str(&format!(
                "\n{} not alerted, because the job reached --max-messages: run another job with a larger \
                 --max-messages or a shorter date range",
                counted(self.done.not_alerted, "call"),
            ));
        }
        let failures = u64::try_from(failed_tasks).unwrap_or(0).max(self.failures);
        if failures > 0 {
            output.push_str(&format!("\n{} failed", counted(failures, "log file")));
        }
        for (address, result) in &self.failed {
            output.push_str(&format!("\n  {address}: {result}"));
        }
        let listed = self.failed.len() as u64;
        if listed > 0 && failures > listed {
            output.push_str(&format!("\n  and {} more", failures - listed));
        }
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_added_up_and_failures_are_listed() {
        let mut report = Report::default();
        let content = "logs,a/x.json.gz,,succeeded,200,,\"9 records, 6 matched, 4 to alert\"\n\
             logs,a%20b/y.json.gz,,failed,200,PermanentFailure,\"LogFile.Truncated: log file \"\"s3://…\"\", cut off\"\n\
             logs,a/w.json.gz,,succeeded,200,,\"3 records, 2 matched, 2 not alerted\"\n\
             logs,a/z.json.gz,,succeeded,200,,skipped: empty\n";
        report.add(content.as_bytes()).expect("CSV");
        assert_eq!(
            report.render(BatchMode::DryRun, 2),
            "4 log files in the report, 12 records, 8 calls matched; dry run, no alerts were \
             published. A backfill would alert at most 4 calls, in about 1 message\n\
             2 calls not alerted, because the job reached --max-messages: run another job with a larger \
             --max-messages or a shorter date range\n\
             2 log files failed\n  \
             s3://logs/a b/y.json.gz: LogFile.Truncated: log file \"s3[://]…\", cut off\n  \
             and 1 more"
        );
    }
}
