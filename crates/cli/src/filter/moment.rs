//! A time as it is typed: a date, a time, or how long before now.
//!
//! Times without an offset are UTC, as in CloudTrail's records. A date is a whole day. Which day or hour "now" is, the
//! caller says.

use std::fmt;

use jiff::{
    SignedDuration, Span, SpanRelativeTo, Timestamp,
    civil::{Date, DateTime},
    tz::TimeZone,
};

const EXPECTED: &str = "expected a date such as 2026-11-01, a time such as 2026-11-01T08:00:00Z, or how long before now, such as 90d or 12h";

/// A time in one of its forms, with the text as it was typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    text: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Day(Date),
    At(Timestamp),
    BeforeNow(SignedDuration),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Moment {
    pub(crate) fn parse(text: &str) -> Result<Moment, String> {
        let form = form(text.trim()).ok_or(EXPECTED)?;
        Ok(Moment {
            text: text.to_owned(),
            form,
        })
    }

    /// Its first instant. `None`: out of range.
    pub(crate) fn first(&self, now: Timestamp) -> Option<Timestamp> {
        match self.form {
            Form::Day(date) => Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp()),
            Form::At(time) => Some(time),
            Form::BeforeNow(duration) => now.checked_sub(duration).ok(),
        }
    }

    /// Its last instant. `None`: out of range.
    pub(crate) fn last(&self, now: Timestamp) -> Option<Timestamp> {
        match self.form {
            Form::Day(date) => {
                let next = date.tomorrow().ok()?.to_zoned(TimeZone::UTC).ok()?;
                next.timestamp()
                    .checked_sub(SignedDuration::from_nanos(1))
                    .ok()
            }
            Form::At(_) | Form::BeforeNow(_) => self.first(now),
        }
    }
}

fn form(text: &str) -> Option<Form> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(Form::At(time));
    }
    // A date parses as a time at midnight, too.
    if text.len() == "2026-11-01".len()
        && let Ok(date) = text.parse::<Date>()
    {
        return Some(Form::Day(date));
    }
    if text.starts_with(|first: char| first.is_ascii_digit())
        && text.contains(['T', 't', ' '])
        && let Ok(time) = text.parse::<DateTime>()
    {
        return Some(Form::At(time.to_zoned(TimeZone::UTC).ok()?.timestamp()));
    }
    // Months and years have no fixed length.
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!duration.is_negative()).then_some(Form::BeforeNow(duration))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type() {
        let now: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            (
                "2026-11-01",
                Some(("2026-11-01T00:00:00Z", "2026-11-01T23:59:59.999999999Z")),
            ),
            (
                "2026-11-01T08:00:00Z",
                Some(("2026-11-01T08:00:00Z", "2026-11-01T08:00:00Z")),
            ),
            (
                "2026-11-01T08:00:00+02:00",
                Some(("2026-11-01T06:00:00Z", "2026-11-01T06:00:00Z")),
            ),
            (
                "2026-11-01T08:00",
                Some(("2026-11-01T08:00:00Z", "2026-11-01T08:00:00Z")),
            ),
            (
                "2026-11-01 08:00:30",
                Some(("2026-11-01T08:00:30Z", "2026-11-01T08:00:30Z")),
            ),
            (
                "90d",
                Some(("2026-09-01T12:00:00Z", "2026-09-01T12:00:00Z")),
            ),
            ("2w", Some(("2026-11-16T12:00:00Z", "2026-11-16T12:00:00Z"))),
            (
                "12h",
                Some(("2026-11-30T00:00:00Z", "2026-11-30T00:00:00Z")),
            ),
            (
                "1d12h",
                Some(("2026-11-29T00:00:00Z", "2026-11-29T00:00:00Z")),
            ),
            ("90", None),
            ("-90d", None),
            ("3mo", None),
            ("yesterday", None),
            ("2026-13-01", None),
            ("2026-11-31", None),
            ("01.11.2026", None),
            ("", None),
        ] {
            let found = Moment::parse(text).ok().map(|moment| {
                let shown = |time: Option<Timestamp>| time.unwrap().to_string();
                (shown(moment.first(now)), shown(moment.last(now)))
            });
            let expected = expected.map(|(first, last)| (first.to_owned(), last.to_owned()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
