//! What a job of S3 Batch Operations is for, as its user arguments say, and what one log file of it came to,
//! as the job's report says. Without any arguments, its log files are told like those that arrive now: that
//! is what a job made by hand means.

use std::fmt;

use serde_json::Value;

use cloudhsm_alerts_core::text::one_line;

/// Name of the user argument that holds the mode.
pub const BATCH_MODE: &str = "cloudhsm-alerts";
/// Name of the user argument that holds how many messages about the past the job may send.
pub const MAX_MESSAGES: &str = "cloudhsm-alerts-max-messages";
/// How many that are where it does not say: more in one morning than anybody reads.
pub const DEFAULT_MAX_MESSAGES: u64 = 100;

/// A job.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Job {
    /// S3's name for it; all instances that work for it share its allowance.
    pub id: String,
    /// What it is for.
    pub mode: BatchMode,
    /// Messages about the past that it may send in all.
    pub max_messages: u64,
}

/// What the function is to do with what a job's log files hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchMode {
    /// Tell it like any other.
    #[default]
    Live,
    /// Tell it, marked as a backfill, but for what happened just now.
    Backfill,
    /// Count it, and tell nobody.
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
    /// From a payload. A value that is not known is an error: who mistypes `dry-run` must not wake anybody.
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

/// What a log file of a job came to, and the words for it in the job's report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Records in it.
    pub records: u64,
    /// Those that met a rule.
    pub matched: u64,
    /// Calls that a dry run left to be told.
    pub to_tell: u64,
    /// Calls that were not told, because the job had sent all its messages.
    pub untold: u64,
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} records, {} matched", self.records, self.matched)?;
        for (calls, what) in [(self.to_tell, "to tell"), (self.untold, "not told")] {
            if calls > 0 {
                write!(f, ", {calls} {what}")?;
            }
        }
        Ok(())
    }
}

impl Done {
    /// From what [`fmt::Display`] makes of it; `None` for other words.
    pub fn parse(text: &str) -> Option<Done> {
        let mut done = Done::default();
        for part in text.split(", ") {
            let (count, what) = part.split_once(' ')?;
            let place = match what {
                "records" => &mut done.records,
                "matched" => &mut done.matched,
                "to tell" => &mut done.to_tell,
                "not told" => &mut done.untold,
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
    fn a_jobs_arguments_say_what_it_is_for() {
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
    fn the_words_of_a_report_can_be_read_again() {
        for (done, text) in [
            (Done::default(), "0 records, 0 matched"),
            (
                Done {
                    records: 9,
                    matched: 7,
                    to_tell: 5,
                    untold: 2,
                },
                "9 records, 7 matched, 5 to tell, 2 not told",
            ),
        ] {
            assert_eq!(done.to_string(), text);
            assert_eq!(Done::parse(text), Some(done));
        }
        for text in ["", "skipped: empty", "9 records, many matched"] {
            assert_eq!(Done::parse(text), None, "{text}");
        }
    }
}
