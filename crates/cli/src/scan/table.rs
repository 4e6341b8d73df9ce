//! Alerts as rows: JSON Lines, CSV and Timesketch. docs/command-line.md describes the columns.
//!
//! All three have the same members, and the record is only in JSON Lines. Texts of callers are data in each of them: JSON
//! has escapes, and a CSV cell that a spreadsheet would run as a formula begins with an apostrophe.

use cloudhsm_alerts_core::{
    alert::Alert,
    text::{escaped_json, one_line},
};
use serde_json::{Map, Value, json};

/// Maximum length of a cell, in characters. A spreadsheet's limit is 32,767.
const MAX_CELL: usize = 8000;

/// The columns, in order.
const COLUMNS: [&str; 21] = [
    "time",
    "severity",
    "outcome",
    "event_name",
    "event_source",
    "account",
    "account_name",
    "region",
    "actor",
    "actor_type",
    "mfa",
    "source_ip",
    "user_agent",
    "resources",
    "rules",
    "error_code",
    "error_message",
    "event_id",
    "source",
    "record_index",
    "message",
];

/// The values of the columns. `null`: not known from the record.
fn values(alert: &Alert) -> [Value; COLUMNS.len()] {
    let text = |path: &str| alert.record.str(path).map_or(Value::Null, Value::from);
    let (code, message) = alert.error.clone().unzip();
    let resources: Vec<&str> = alert
        .resources
        .iter()
        .map(|resource| resource.uid.as_str())
        .collect();
    let rules: Vec<&str> = alert.rules.iter().map(|rule| rule.name.as_str()).collect();
    [
        json!(alert.time.map(|time| time.to_string())),
        json!(alert.severity.as_str()),
        json!(alert.outcome.label()),
        json!(alert.event_name),
        json!(alert.event_source),
        json!(alert.account),
        json!(alert.account_name),
        json!(alert.region),
        json!(alert.actor.description),
        json!(alert.actor.kind),
        json!(alert.actor.mfa),
        text("sourceIPAddress"),
        text("userAgent"),
        json!(resources),
        json!(rules),
        json!(code),
        json!(message),
        json!(alert.event_id),
        json!(alert.source.address()),
        json!(alert.index),
        json!(alert.sentence()),
    ]
}

fn members(alert: &Alert) -> Map<String, Value> {
    COLUMNS
        .iter()
        .map(|name| (*name).to_owned())
        .zip(values(alert))
        .collect()
}

pub(super) fn json_line(alert: &Alert) -> String {
    let mut members = members(alert);
    members.insert("record".into(), alert.record.value().clone());
    line(members)
}

/// A row for Timesketch, which needs `message`, `datetime` and `timestamp_desc`, and refuses a file with a row that has no
/// time. A call without a valid time is at the beginning of 1970, and says so.
pub(super) fn timesketch_line(alert: &Alert) -> String {
    let mut members = members(alert);
    let time = alert.time.unwrap_or_default();
    let what = match alert.time {
        Some(_) => "API call",
        None => "API call, time not known",
    };
    members.insert(
        "datetime".into(),
        time.to_string().replace('Z', "+00:00").into(),
    );
    members.insert("timestamp".into(), time.as_microsecond().into());
    members.insert("timestamp_desc".into(), what.into());
    line(members)
}

fn line(members: Map<String, Value>) -> String {
    format!("{}\n", escaped_json(&Value::Object(members)))
}

pub(super) fn csv_head() -> String {
    csv_row(COLUMNS.iter().map(|name| (*name).to_owned()))
}

pub(super) fn csv_line(alert: &Alert) -> String {
    csv_row(values(alert).iter().map(cell))
}

fn csv_row(cells: impl Iterator<Item = String>) -> String {
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = writer.write_record(cells);
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A value as text that no spreadsheet runs as a formula.
fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return String::new(),
        Value::String(text) => one_line(text, MAX_CELL),
        Value::Array(items) => {
            let items: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
            one_line(&items.join("; "), MAX_CELL)
        }
        other => other.to_string(),
    };
    harmless(text)
}

/// Text that begins with a character that starts a formula is preceded by an apostrophe. Source: OWASP, "CSV Injection".
/// The full-width forms count, because some spreadsheets read them as the same character.
fn harmless(text: String) -> String {
    let starts_formula = |c: char| {
        matches!(
            c,
            '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠'
        )
    };
    // A leading space does not stop a spreadsheet that trims cells.
    if text.trim_start_matches(' ').starts_with(starts_formula) {
        format!("'{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_never_a_formula() {
        for (value, expected) in [
            (json!("alice"), "alice"),
            (json!("=cmd|' /C calc'!A0"), "'=cmd|' /C calc'!A0"),
            (json!("+1"), "'+1"),
            (json!("-1"), "'-1"),
            (json!("@SUM(1)"), "'@SUM(1)"),
            (json!("\t=1"), "\\t=1"),
            (json!("\r=1"), "\\r=1"),
            (json!("  =1"), "' =1"),
            (json!("＝1"), "'＝1"),
            (json!(["=1", "b"]), "'=1; b"),
            (json!(["a", "=1"]), "a; =1"),
            (json!(null), ""),
            (json!(true), "true"),
            (json!(7), "7"),
        ] {
            assert_eq!(cell(&value), expected, "{value}");
        }
        assert_eq!(
            csv_row(["a,b".to_owned(), "c\"d".to_owned()].into_iter()),
            "\"a,b\",\"c\"\"d\"\n"
        );
    }
}
