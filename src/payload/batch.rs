//! Jobs of S3 Batch Operations: the mode of a job, from its user arguments, and the result of one log file, in the
//! job's report. Without arguments, the log files of a job are alerted like those that arrive now: a job that was
//! made by hand has none.

use std::fmt;

use serde_json::Value;

use cloudhsm_alerts_core::text::one_line;

/// Name of the user argument that holds the mode.
pub const BATCH_MODE: &str = "cloudhsm-alerts";
/// Name of the user argument that holds how many messages about the past the job may send.
pub const MAX_MESSAGES: &str = "cloudhsm-alerts-max-messages";
/// The default of that: more than anybody reads in one morning.
pub const DEFAULT_MAX_MESSAGES: u64 = 100;

/// One job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// S3's ID of the job; all instances that work on it share its limit of messages.
    pub id: String,
    /// Its mode.
    pub mode: BatchMode,
    /// Most messages about old calls that it may publish.
    pub max_messages: u64,
}

/// What the function does with the calls in a job's log files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchMode {
    /// Alert them like any other.
    #[default]
    Live,
    /// Alert them, marked as a backfill unless they are recent.
    Backfill,
    /// Count them only.
    DryRun,
}

impl BatchMode {
    /// The user argument's value.
    pub fn as_str(self) -> &'static str {
        match self {
            BatchMode::Live => "live",
            BatchMode::Backfill => "backfill",
            BatchMode::DryRun => "dry-run",
        }
    }
}

impl Job {
    /// From a payload. An unknown value is an error: a mistyped `dry-run` must not wake anybody.
    pub(super) fn of(payload: &Value) -> Result<Job, String> {
        let argument = |name: &str| payload.pointer("/job/userArguments")?.get(name);
        let modes = [BatchMode::Live, BatchMode::Backfill, BatchMode::DryRun];
        let mode = match argument(BATCH_MODE) {
            None => BatchMode::Live,
            Some(value) => modes
                .into_iter()
                .find(|mode| value.as_str() == Some(mode.as_str()))
                .ok_or_else(|| {
                    format!(
                        "{BATCH_MODE} is {}; expected \"live\", \"backfill\" or \"dry-run\"",
                        one_line(&value.to_string(), 60)
                    )
                })?,
        };
        let max_messages = match argument(MAX_MESSAGES) {
            None => DEFAULT_MAX_MESSAGES,
            Some(value) => value
                .as_str()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| {
                    format!(
                        "{MAX_MESSAGES} is {}; expected a whole number, as text",
                        one_line(&value.to_string(), 60)
                    )
                })?,
        };
        let id = payload.pointer("/job/id").and_then(Value::as_str);
        Ok(Job {
            id: one_line(id.unwrap_or("(no id)"), 128),
            mode,
            max_messages,
        })
    }
}

/// The result of one log file of a job, as it is in the job's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileResult {
    /// Its records.
    pub records: u64,
    /// Records that matched a rule.
    pub matched: u64,
    /// Calls that a dry run counted.
    pub to_alert: u64,
    /// Calls that were not alerted, because the job had published all its messages.
    pub not_alerted: u64,
}

impl fmt::Display for FileResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} matched", self.records, self.matched)?;
        for (calls, what) in [
            (self.to_alert, "to alert"),
            (self.not_alerted, "not alerted"),
        ] {
            if calls > 0 {
                write!(f, ", {calls} {what}")?;
            }
        }
        Ok(())
    }
}

impl FileResult {
    /// Parses the output of [`fmt::Display`]; `None` for other texts.
    pub fn parse(text: &str) -> Option<FileResult> {
        let mut done = FileResult::default();
        for part in text.split(", ") {
            let (count, what) = part.split_once(' ')?;
            let place = match what {
                "records" => &mut done.records,
                "matched" => &mut done.matched,
                "to alert" => &mut done.to_alert,
                "not alerted" => &mut done.not_alerted,
                _ => return None,
            };
            *place = count.parse().ok()?;
        }
        Some(done)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_arguments_of_a_job_are_its_mode() {
        let job = |mode, max_messages| {
            Ok(Job {
                id: "x".into(),
                mode,
                max_messages,
            })
        };
        for (arguments, expected) in [
            (json!(null), job(BatchMode::Live, 100)),
            (json!({}), job(BatchMode::Live, 100)),
            (json!({"reason": "replay"}), job(BatchMode::Live, 100)),
            (
                json!({"cloudhsm-alerts": "live"}),
                job(BatchMode::Live, 100),
            ),
            (
                json!({"cloudhsm-alerts": "backfill", "cloudhsm-alerts-max-messages": "7"}),
                job(BatchMode::Backfill, 7),
            ),
            (
                json!({"cloudhsm-alerts": "dry-run"}),
                job(BatchMode::DryRun, 100),
            ),
            (
                json!({"cloudhsm-alerts": "dryrun"}),
                Err(
                    r#"cloudhsm-alerts is "dryrun"; expected "live", "backfill" or "dry-run""#
                        .to_owned(),
                ),
            ),
            (
                json!({"cloudhsm-alerts": "backfill", "cloudhsm-alerts-max-messages": "many"}),
                Err(
                    r#"cloudhsm-alerts-max-messages is "many"; expected a whole number, as text"#
                        .to_owned(),
                ),
            ),
        ] {
            let payload = json!({"job": {"id": "x", "userArguments": arguments}});
            assert_eq!(Job::of(&payload), expected, "{payload}");
        }
    }

    #[test]
    fn a_result_in_a_report_can_be_parsed() {
        for (done, text) in [
            (FileResult::default(), "0 records, 0 matched"),
            (
                FileResult {
                    records: 9,
                    matched: 7,
                    to_alert: 5,
                    not_alerted: 2,
                },
                "9 records, 7 matched, 5 to alert, 2 not alerted",
            ),
        ] {
            assert_eq!(done.to_string(), text);
            assert_eq!(FileResult::parse(text), Some(done));
        }
        for text in ["", "skipped: empty", "9 records, many matched"] {
            assert_eq!(FileResult::parse(text), None, "{text}");
        }
    }
}
