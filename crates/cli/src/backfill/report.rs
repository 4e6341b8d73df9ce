//! What a job reported: a line for every log file, with the function's answer, summed up.

use aws_sdk_s3::Client;
use cloudhsm_alerts::{
    payload::{BatchMode, FileResult},
    s3,
};
use cloudhsm_alerts_core::text::one_line;
use percent_encoding::percent_decode_str;

use super::manifest::count;

/// So many failed log files are named; the rest is counted.
const NAMED: usize = 20;

/// The sums of a report, and the log files that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub files: u64,
    /// Of all log files together.
    pub done: FileResult,
    /// Log files with calls that are left to be told: so many messages they will be, or a few more.
    pub messages: u64,
    pub failures: u64,
    /// Address and answer of the first that failed.
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
            .map_err(|error| format!("listing s3://{bucket}/{prefix}: {error}"))?;
        for s3::Listed { object, .. } in &listed.objects {
            if !object.key.ends_with(".csv") {
                continue;
            }
            let read = |error| format!("reading {object}: {error}");
            let mut body = s3::open(client, object).await.map_err(read)?;
            let mut content = Vec::new();
            while let Some(chunk) = s3::next_chunk(&mut body).await.map_err(read)? {
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
    /// Lines of bucket, key, version, status, HTTP status, error code and answer, without a heading.
    fn add(&mut self, content: &[u8]) -> Result<(), csv::Error> {
        let lines = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(content);
        for line in lines.into_byte_records() {
            let line = line?;
            let field = |at| String::from_utf8_lossy(line.get(at).unwrap_or_default()).into_owned();
            let answer = field(6);
            self.files += 1;
            if field(3).eq_ignore_ascii_case("succeeded") {
                // Anything else than a log file that was read says why not: skipped, or empty.
                let done = answer
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
            if self.failed.len() < NAMED {
                let key = field(1);
                let key = percent_decode_str(&key).decode_utf8_lossy();
                let address = format!("s3://{}/{}", field(0), one_line(&key, 1024));
                self.failed.push((address, one_line(&answer, 1000)));
            }
        }
        Ok(())
    }

    /// In words. `counted` is how many failed by the job's own count: without a report there are no names.
    pub fn text(&self, mode: BatchMode, counted: i64) -> String {
        let mut text = format!(
            "{} in the report, {}, {} that met a rule",
            count(self.files, "log file"),
            count(self.done.records, "record"),
            count(self.done.matched, "call"),
        );
        if mode == BatchMode::DryRun {
            text.push_str(&format!(
                "; nobody was told. To tell, unless it was told before: {}, in about {}",
                count(self.done.to_alert, "call"),
                count(self.messages, "message"),
            ));
        }
        if self.done.not_alerted > 0 {
            text.push_str(&format!(
                "\n{} not told, because the job had sent all its messages: another job, with a larger \
                 --max-messages or fewer days, tells them",
                count(self.done.not_alerted, "call"),
            ));
        }
        let failures = u64::try_from(counted).unwrap_or(0).max(self.failures);
        if failures > 0 {
            text.push_str(&format!("\n{} failed", count(failures, "log file")));
        }
        for (address, answer) in &self.failed {
            text.push_str(&format!("\n  {address}: {answer}"));
        }
        let named = self.failed.len() as u64;
        if named > 0 && failures > named {
            text.push_str(&format!("\n  and {} more", failures - named));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_summed_up_and_failures_are_named() {
        let mut report = Report::default();
        let content = "logs,a/x.json.gz,,succeeded,200,,\"9 records, 6 matched, 4 to tell\"\n\
             logs,a%20b/y.json.gz,,failed,200,PermanentFailure,\"LogFile.Truncated: log file \"\"s3://…\"\", cut off\"\n\
             logs,a/w.json.gz,,succeeded,200,,\"3 records, 2 matched, 2 not told\"\n\
             logs,a/z.json.gz,,succeeded,200,,skipped: empty\n";
        report.add(content.as_bytes()).expect("CSV");
        assert_eq!(
            report.text(BatchMode::DryRun, 2),
            "4 log files in the report, 12 records, 8 calls that met a rule; nobody was told. \
             To tell, unless it was told before: 4 calls, in about 1 message\n\
             2 calls not told, because the job had sent all its messages: another job, with a larger \
             --max-messages or fewer days, tells them\n\
             2 log files failed\n  \
             s3://logs/a b/y.json.gz: LogFile.Truncated: log file \"s3[://]…\", cut off\n  \
             and 1 more"
        );
    }
}
