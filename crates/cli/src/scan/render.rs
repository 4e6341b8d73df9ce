//! An alert as text, in the format that was chosen.

use cloudhsm_alerts_core::{
    alert::{Alert, email, ocsf, sms},
    text::{escaped_json, one_line},
};

use super::{options::Format, table};

/// What stands before the first alert.
pub(super) fn head(format: Format) -> Option<String> {
    (format == Format::Csv).then(table::csv_head)
}

pub(super) fn render(alert: &Alert, format: Format) -> String {
    match format {
        Format::Text => {
            let rules: Vec<&str> = alert.rules.iter().map(|rule| rule.name.as_str()).collect();
            format!(
                "{} {}\n    {} · event {} · {}\n",
                alert.severity.as_str().to_uppercase(),
                alert.sentence(),
                rules.join(", "),
                one_line(&alert.event_id, 256),
                alert.source,
            )
        }
        Format::Email => format!(
            "Subject: {}\n\n{}\n{}\n",
            email::subject(alert),
            email::body(alert),
            "-".repeat(78)
        ),
        Format::Sms => format!("{}\n", sms::body(alert)),
        Format::Jsonl => table::json_line(alert),
        Format::Csv => table::csv_line(alert),
        Format::Timesketch => table::timesketch_line(alert),
        Format::Ocsf => format!("{}\n", escaped_json(&ocsf::finding(alert, true))),
    }
}
