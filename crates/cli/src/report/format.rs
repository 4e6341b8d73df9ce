//! How a report writes times, numbers and sizes.

use indicatif::{HumanBytes, HumanCount};
use jiff::Timestamp;
use serde::Serializer;

/// A time in JSON.
pub(super) fn json_time<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A time in JSON, or null.
pub(super) fn json_optional<S: Serializer>(
    time: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => serializer.collect_str(time),
        None => serializer.serialize_none(),
    }
}

/// `2026-11-23 03:41:09 UTC`.
pub(super) fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "at a time that the record does not have".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// `2026-11-23 03:41:09`, in columns whose heading says UTC.
pub(super) fn short_time(time: Option<Timestamp>) -> String {
    time.map_or_else(
        || "not recorded".to_owned(),
        |time| time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
    )
}

/// `2026-11-23 03:41 UTC`.
pub(super) fn minute(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// `1,500,000`.
pub(super) fn number(number: u64) -> String {
    HumanCount(number).to_string()
}

/// `2.28 KiB`.
pub(super) fn bytes(count: u64) -> String {
    HumanBytes(count).to_string()
}

/// `1 file`, `1,500 files`.
pub(super) fn counted(count: u64, noun: &str) -> String {
    match (count, noun.ends_with("ch")) {
        (1, _) => format!("1 {noun}"),
        (_, true) => format!("{} {noun}es", number(count)),
        (_, false) => format!("{} {noun}s", number(count)),
    }
}

/// `2 days 3 h`, `5 h 20 min`, `40 min`.
pub(super) fn duration(minutes: i64) -> String {
    let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
    match (days, hours) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {} min", minutes % 60),
        (1, hours) => format!("1 day {hours} h"),
        (days, hours) => format!("{days} days {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (count, expected) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_500_000, "1,500,000"),
        ] {
            assert_eq!(number(count), expected);
        }
        assert_eq!(counted(1, "match"), "1 match");
        assert_eq!(counted(1200, "match"), "1,200 matches");
        assert_eq!(duration(61), "1 h 1 min");
        assert_eq!(duration(2 * 24 * 60), "2 days 0 h");
    }
}
