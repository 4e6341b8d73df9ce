//! A time in a response. Services write it in several formats, and CloudTrail changes some of them.

use jiff::{Timestamp, civil::DateTime, tz::TimeZone};

use crate::record::Record;

/// The time at a dotted path of a record.
pub fn time_at(record: &Record, path: &str) -> Option<Timestamp> {
    parse(&record.scalar(path)?)
}

/// Reads a time. CloudTrail writes `Nov 30, 2026, 3:41:09 AM`, with or without the second comma and with special
/// spaces; some services write ISO 8601 or seconds since 1970.
pub fn parse(text: &str) -> Option<Timestamp> {
    if let Ok(seconds) = text.parse::<f64>() {
        // Milliseconds from the year 2286 on in seconds.
        let seconds = if seconds.abs() >= 1e10 {
            seconds / 1000.0
        } else {
            seconds
        };
        return Timestamp::from_second(seconds as i64).ok();
    }
    if let Ok(time) = text.parse() {
        return Some(time);
    }
    let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
    [
        "%b %d, %Y, %I:%M:%S %p",
        "%b %d, %Y %I:%M:%S %p",
        "%Y-%m-%d %H:%M:%S",
    ]
    .iter()
    .find_map(|format| DateTime::strptime(format, &plain).ok())
    .and_then(|time| Some(time.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn times_in_responses() {
        for (value, expected) in [
            (
                json!("Nov 30, 2026, 3:41:09 AM"),
                Some("2026-11-30T03:41:09Z"),
            ),
            (
                json!("Nov 30, 2026 3:41:09 PM"),
                Some("2026-11-30T15:41:09Z"),
            ),
            (
                json!("Nov 30, 2026, 12:41:09\u{202f}AM"),
                Some("2026-11-30T00:41:09Z"),
            ),
            (json!("2026-11-30T03:41:09Z"), Some("2026-11-30T03:41:09Z")),
            (json!(1_796_010_069), Some("2026-11-30T03:41:09Z")),
            (json!(1_796_010_069.25), Some("2026-11-30T03:41:09Z")),
            (json!(1_796_010_069_000_i64), Some("2026-11-30T03:41:09Z")),
            (json!("soon"), None),
            (json!("NaN"), Some("1970-01-01T00:00:00Z")),
            (json!("inf"), None),
            (json!(null), None),
            (json!({"a": 1}), None),
        ] {
            let fields = json!({"responseElements": {"t": value}});
            let record = Record::new(0, fields.as_object().unwrap().clone());
            let expected: Option<Timestamp> = expected.map(|time| time.parse().unwrap());
            assert_eq!(time_at(&record, "responseElements.t"), expected, "{value}");
        }
    }
}
