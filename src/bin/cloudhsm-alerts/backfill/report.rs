//! What a job reported: a line for every log file, with the function's answer, summed up.

use aws_sdk_s3::Client;
use cloudhsm_alerts::{s3, text::one_line};
use percent_encoding::percent_decode_str;

use super::{job::Mode, manifest::count};

/// So many failed log files are named; the rest is counted.
const NAMED: usize = 20;

/// The sums of a report, and the log files that failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub files: u64,
    pub records: u64,
    pub matched: u64,
    /// Address and answer of each.
    pub failed: Vec<(String, String)>,
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
                for part in answer.split([',', ';']) {
                    let mut words = part.split_whitespace();
                    let count = words.next().and_then(|word| word.parse::<u64>().ok());
                    match (count, words.next()) {
                        (Some(count), Some("records")) => self.records += count,
                        (Some(count), Some("matched")) => self.matched += count,
                        _ => {}
                    }
                }
            } else {
                let key = field(1);
                let key = percent_decode_str(&key).decode_utf8_lossy();
                let address = format!("s3://{}/{}", field(0), one_line(&key, 1024));
                self.failed.push((address, one_line(&answer, 1000)));
            }
        }
        Ok(())
    }

    /// `counted` is how many failed by the job's own count: without a report there are no names.
    pub fn text(&self, mode: Mode, counted: i64) -> String {
        let mut text = format!(
            "{} in the report, {}, {} that met a rule{}",
            count(self.files, "log file"),
            count(self.records, "record"),
            count(self.matched, "call"),
            match mode {
                Mode::Backfill => "",
                Mode::DryRun => "; nobody was told",
            }
        );
        if counted > 0 || !self.failed.is_empty() {
            let failed = u64::try_from(counted)
                .unwrap_or(0)
                .max(self.failed.len() as u64);
            text.push_str(&format!("\n{} failed", count(failed, "log file")));
        }
        for (address, answer) in self.failed.iter().take(NAMED) {
            text.push_str(&format!("\n  {address}: {answer}"));
        }
        if self.failed.len() > NAMED {
            text.push_str(&format!("\n  and {} more", self.failed.len() - NAMED));
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
        let content = "logs,a/x.json.gz,,succeeded,200,,\"9 records, 6 matched\"\n\
             logs,a%20b/y.json.gz,,failed,200,PermanentFailure,\"LogFile.Truncated: log file \"\"s3://…\"\", cut off\"\n\
             logs,a/z.json.gz,,succeeded,200,,skipped: empty\n";
        report.add(content.as_bytes()).expect("CSV");
        assert_eq!(
            report.text(Mode::DryRun, 1),
            "3 log files in the report, 9 records, 6 calls that met a rule; nobody was told\n\
             1 log file failed\n  \
             s3://logs/a b/y.json.gz: LogFile.Truncated: log file \"s3[://]…\", cut off"
        );
    }
}
