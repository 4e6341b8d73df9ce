//! What a job of S3 Batch Operations is for, as its user arguments say. Without any, its log files are told
//! like those that arrive now: that is what a job made by hand means.

use serde_json::Value;

use crate::text::one_line;

/// Name of the user argument that holds the mode.
pub const BATCH_MODE: &str = "cloudhsm-alerts";

/// What the function is to do with what a job's log files hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BatchMode {
    /// Tell it like any other.
    #[default]
    Live,
    /// Tell it, marked as a backfill.
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

    /// From a payload. A value that is not known is an error: who mistypes `dry-run` must not wake anybody.
    pub(super) fn of(payload: &Value) -> Result<BatchMode, String> {
        let modes = [BatchMode::Live, BatchMode::Backfill, BatchMode::DryRun];
        match payload
            .pointer("/job/userArguments")
            .and_then(|arguments| arguments.get(BATCH_MODE))
        {
            None => Ok(BatchMode::Live),
            Some(value) => modes
                .into_iter()
                .find(|mode| value.as_str() == Some(mode.as_str()))
                .ok_or_else(|| {
                    format!(
                        "{BATCH_MODE} is {}; expected \"live\", \"backfill\" or \"dry-run\"",
                        one_line(&value.to_string(), 60)
                    )
                }),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_jobs_arguments_say_what_it_is_for() {
        for (arguments, expected) in [
            (json!(null), Ok(BatchMode::Live)),
            (json!({}), Ok(BatchMode::Live)),
            (json!({"reason": "replay"}), Ok(BatchMode::Live)),
            (json!({"cloudhsm-alerts": "live"}), Ok(BatchMode::Live)),
            (
                json!({"cloudhsm-alerts": "backfill"}),
                Ok(BatchMode::Backfill),
            ),
            (json!({"cloudhsm-alerts": "dry-run"}), Ok(BatchMode::DryRun)),
            (
                json!({"cloudhsm-alerts": "dryrun"}),
                Err(
                    r#"cloudhsm-alerts is "dryrun"; expected "live", "backfill" or "dry-run""#
                        .to_owned(),
                ),
            ),
        ] {
            let payload = json!({"job": {"id": "x", "userArguments": arguments}});
            assert_eq!(BatchMode::of(&payload), expected, "{payload}");
        }
    }
}
