//! The time with which deadlines are compared: `--as-of`.
//!
//! A day stands for its start, 00:00 UTC. It is the only thing in a report that does not come from the log files.
//! Without `--as-of`, a report takes today's date in UTC, and not the time: two reports of the same files on one day
//! have the same bytes. `scan` takes the time.

use std::str::FromStr;

use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// A day or a time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AsOf {
    Day(Date),
    Time(Timestamp),
}

/// How long something can still be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// `6 days left`.
    Open(String),
    /// It is over.
    Past,
}

impl AsOf {
    /// The time; of a day, its start.
    pub(crate) fn start(self) -> Timestamp {
        match self {
            // Every day that can be typed has a start: see `from_str`.
            AsOf::Day(day) => start_of(day).unwrap_or(Timestamp::MAX),
            AsOf::Time(time) => time,
        }
    }

    /// The time left until `due`.
    pub(crate) fn left(self, due: Timestamp) -> Left {
        match self {
            AsOf::Day(day) => {
                let due_day = due.to_zoned(TimeZone::UTC).date();
                match day.duration_until(due_day).as_hours() / 24 {
                    days if days < 0 => Left::Past,
                    0 => Left::Open("ends today".to_owned()),
                    1 => Left::Open("1 day left".to_owned()),
                    days => Left::Open(format!("{days} days left")),
                }
            }
            AsOf::Time(time) => {
                let minutes = due.duration_since(time).as_mins();
                if due <= time {
                    return Left::Past;
                }
                let (days, hours) = (minutes / (24 * 60), minutes / 60 % 24);
                Left::Open(match (days, hours) {
                    (0, 0) => format!("{} min left", minutes.max(1)),
                    (0, hours) => format!("{hours} h {} min left", minutes % 60),
                    (1, hours) => format!("1 day {hours} h left"),
                    (days, hours) => format!("{days} days {hours} h left"),
                })
            }
        }
    }

    /// As people write it.
    pub(crate) fn label(self) -> String {
        match self {
            AsOf::Day(day) => day.to_string(),
            AsOf::Time(time) => time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
        }
    }
}

/// 00:00 UTC. `None`: later than any time that there is.
fn start_of(day: Date) -> Option<Timestamp> {
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

impl FromStr for AsOf {
    type Err = String;

    fn from_str(text: &str) -> Result<AsOf, String> {
        if let Ok(time) = text.parse() {
            return Ok(AsOf::Time(time));
        }
        let day: Result<Date, _> = text.parse();
        day.ok()
            .filter(|day| text.len() == "2026-11-23".len() && start_of(*day).is_some())
            .map(AsOf::Day)
            .ok_or_else(|| format!("expected 2026-11-23 or 2026-11-23T14:30:00Z, found {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left() {
        let open = |text: &str| Left::Open(text.to_owned());
        for (as_of, due, expected) in [
            ("2026-11-23", "2026-11-30T03:41:09Z", open("7 days left")),
            ("2026-11-29", "2026-11-30T03:41:09Z", open("1 day left")),
            ("2026-11-30", "2026-11-30T03:41:09Z", open("ends today")),
            ("2026-12-01", "2026-11-30T23:59:59Z", Left::Past),
            (
                "2026-11-23T04:00:00Z",
                "2026-11-30T03:41:09Z",
                open("6 days 23 h left"),
            ),
            (
                "2026-11-28T22:00:00Z",
                "2026-11-30T03:41:09Z",
                open("1 day 5 h left"),
            ),
            (
                "2026-11-30T00:00:00Z",
                "2026-11-30T03:41:09Z",
                open("3 h 41 min left"),
            ),
            (
                "2026-11-30T03:41:00Z",
                "2026-11-30T03:41:09Z",
                open("1 min left"),
            ),
            ("2026-11-30T03:41:09Z", "2026-11-30T03:41:09Z", Left::Past),
            (
                "2026-11-30T05:00:00+01:00",
                "2026-11-30T03:41:09Z",
                Left::Past,
            ),
        ] {
            let as_of: AsOf = as_of.parse().unwrap();
            assert_eq!(
                as_of.left(due.parse().unwrap()),
                expected,
                "{as_of:?} {due}"
            );
        }
        for (text, expected) in [
            ("2026-11-23", "2026-11-23T00:00:00Z"),
            ("2026-11-23T08:20Z", "2026-11-23T08:20:00Z"),
            ("2026-11-23T08:20:30+01:00", "2026-11-23T07:20:30Z"),
        ] {
            let as_of: AsOf = text.parse().unwrap();
            assert_eq!(as_of.start().to_string(), expected, "{text}");
        }
        for invalid in [
            "",
            "yesterday",
            "2026-11-31",
            "2026-11",
            "14:30",
            "9999-12-31",
        ] {
            assert!(invalid.parse::<AsOf>().is_err(), "{invalid}");
        }
    }
}
