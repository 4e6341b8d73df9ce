//! Jobs of S3 Batch Operations: a job's mode and limit, from its user arguments, and the result of one log file, in
//! the job's completion report. A job that was created by hand has no user arguments; the calls in its log files are
//! alerted like those in newly delivered ones.

use std::fmt;

use serde_json::Value;

use cloudhsm_alerts_core::text::one_line;

/// Name of the user argument for the mode.
pub const BATCH_MODE: &str = "cloudhsm-alerts";
/// Name of the user argument for the maximum number of messages about old calls.
pub const MAX_MESSAGES: &str = "cloudhsm-alerts-max-messages";
/// Default of [`MAX_MESSAGES`]: more than a person can read at once.
pub const DEFAULT_MAX_MESSAGES: u64 = 100;

/// A job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// The job ID of S3. All instances that process the job share its message limit.
    pub id: String,
    /// Its mode.
    pub mode: BatchMode,
    /// Maximum number of messages about old calls.
    pub max_messages: u64,
}

/// What the function does with the calls in a job's log files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchMode {
    /// Alert them like newly delivered ones.
    #[default]
    Live,
    /// Alert them. Alerts about old calls are marked as a backfill.
    Backfill,
    /// Only count them.
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
    /// The job of a payload. An unknown value is an error: a mistyped `dry-run` must not publish alerts.
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
                        "{MAX_MESSAGES} is {}; expected a whole number in quotation marks",
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

/// The result of one log file, as the job's completion report shows it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FileResult {
    /// Its records.
    pub records: u64,
    /// Records that matched a rule.
    pub matched: u64,
    /// Calls that a dry run counted.
    pub to_alert: u64,
    /// Calls that were not alerted, because the message limit was reached.
    pub not_alerted: u64,
}

impl fmt::Display for FileResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} matched", self.records, self.matched)?;
        for (calls, label) in [
            (self.to_alert, "to alert"),
            (self.not_alerted, "not alerted"),
        ] {
            if calls > 0 {
                write!(f, ", {calls} {label}")?;
            }
        }
        Ok(())
    }
}

impl FileResult {
    /// Parses the output of [`fmt::Display`]; `None` for other texts.
    pub fn parse(text: &str) -> Option<FileResult> {
        let mut result = FileResult::default();
        for part in text.split(", ") {
            let (count, label) = part.split_once(' ')?;
            let member = match label {
                "records" => &mut result.records,
                "matched" => &mut result.matched,
                "to alert" => &mut result.to_alert,
                "not alerted" => &mut result.not_alerted,
                _ => return None,
            };
            *member = count.parse().ok()?;
        }
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn user_arguments_set_mode_and_limit() {
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
                    r#"cloudhsm-alerts-max-messages is "many"; expected a whole number in quotation marks"#
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
        for (result, text) in [
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
            assert_eq!(result.to_string(), text);
            assert_eq!(FileResult::parse(text), Some(result));
        }
        for text in ["", "skipped: empty", "9 records, many matched"] {
            assert_eq!(FileResult::parse(text), None, "{text}");
        }
    }
}
