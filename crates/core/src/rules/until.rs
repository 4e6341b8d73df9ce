//! Until when something can be undone: one entry of a deadline's `until`, as an expression over the record.
//!
//! | expression | the time |
//! |---|---|
//! | `{responseElements.deletionDate}` | that the record has there |
//! | `{responseElements.deletionDate>1d}` | the same, if it is more than a day after the call |
//! | `{eventTime+7d}`, `{eventTime+12h}` | so long after the call |
//! | `{eventTime+{requestParameters.pendingWindowInDays}d}` | as many days after the call as the record says |
//!
//! A time that is not after the call is none: a response may have the time of the call there.

use jiff::{SignedDuration, Timestamp};

use super::response;
use crate::{record::Record, response_time};

/// Longest duration that a record may give, in hours: a year.
const MAX_HOURS: i64 = 365 * 24;

/// A checked expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Until {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    /// The time that a member has, if it is more than so many hours after the call.
    At { member: String, more_than: i64 },
    /// Hours after the call.
    After(i64),
    /// After the call, by a number that a member has, times so many hours.
    By { member: String, hours: i64 },
}

impl Until {
    /// Reads an expression.
    ///
    /// # Errors
    /// It is malformed: what was expected and found.
    pub fn parse(text: &str) -> Result<Until, String> {
        let text = text.trim();
        let form = form(text).ok_or_else(|| {
            format!(
                "expected a time such as {{responseElements.deletionDate}} or {{eventTime+7d}}, found {text:?}"
            )
        })?;
        Ok(Until {
            text: text.to_owned(),
            form,
        })
    }

    /// The expression as it is written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The member of the record that it reads, except for the time of the call.
    pub(super) fn member(&self) -> Option<&str> {
        match &self.form {
            Form::At { member, .. } | Form::By { member, .. } => Some(member),
            Form::After(_) => None,
        }
    }

    /// The time. `None`: the record does not give one that is after the call.
    pub fn time(&self, record: &Record) -> Option<Timestamp> {
        let call = record.event_time();
        let after = |hours: i64| call?.checked_add(SignedDuration::from_hours(hours)).ok();
        match &self.form {
            Form::At { member, more_than } => {
                let time = response_time::parse(&response::member(record, member)?)?;
                after(*more_than)
                    .is_none_or(|least| time > least)
                    .then_some(time)
            }
            Form::After(hours) => after(*hours),
            Form::By { member, hours } => {
                let count: i64 = response::member(record, member)?.parse().ok()?;
                let total = count.checked_mul(*hours)?;
                (1..=MAX_HOURS).contains(&total).then(|| after(total))?
            }
        }
    }
}

fn form(text: &str) -> Option<Form> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if let Some(duration) = inner.strip_prefix("eventTime+") {
        if let Some(member) = duration.strip_prefix('{') {
            let (member, unit) = member.split_once('}')?;
            return response::is_member_name(member).then_some(Form::By {
                member: member.to_owned(),
                hours: unit_hours(unit)?,
            });
        }
        return hours(duration).map(Form::After);
    }
    let (member, more_than) = match inner.split_once('>') {
        Some((member, least)) => (member, hours(least)?),
        None => (inner, 0),
    };
    let is_member = response::is_member_name(member) && !response::COMPUTED.contains(&member);
    is_member.then(|| Form::At {
        member: member.to_owned(),
        more_than,
    })
}

/// `7d` or `12h` in hours.
fn hours(text: &str) -> Option<i64> {
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_count = (1..=4).contains(&count.len()) && count.bytes().all(|b| b.is_ascii_digit());
    let count: i64 = is_count.then(|| count.parse().ok())??;
    (count > 0).then_some(count * unit_hours(unit)?)
}

fn unit_hours(unit: &str) -> Option<i64> {
    match unit {
        "d" => Some(24),
        "h" => Some(1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_an_expression_yields() {
        let fields = json!({
            "eventTime": "2026-11-23T03:41:07Z",
            "requestParameters": {"window": 9, "text": "7", "odd": "7 days", "none": 0, "long": 366},
            "responseElements": {
                "t": {"deleteTimestamp": "Nov 30, 2026, 3:41:09 AM"},
                "call": "2026-11-23T03:41:07Z", "before": 1, "soon": "2026-11-23T12:00:00Z",
            },
        });
        let record = Record::new(0, fields.as_object().unwrap().clone());
        for (text, expected) in [
            (
                "{responseElements.t.deleteTimestamp}",
                Some("2026-11-30T03:41:09Z"),
            ),
            ("{deleteTimestamp}", Some("2026-11-30T03:41:09Z")),
            ("{deleteTimestamp>1d}", Some("2026-11-30T03:41:09Z")),
            ("{deleteTimestamp>7d}", Some("2026-11-30T03:41:09Z")),
            ("{deleteTimestamp>8d}", None),
            ("{responseElements.call}", None),
            ("{responseElements.before}", None),
            ("{responseElements.soon}", Some("2026-11-23T12:00:00Z")),
            ("{responseElements.soon>1d}", None),
            ("{responseElements.missing}", None),
            ("{eventTime+7d}", Some("2026-11-30T03:41:07Z")),
            ("{eventTime+12h}", Some("2026-11-23T15:41:07Z")),
            ("{eventTime+9999d}", Some("2054-04-09T03:41:07Z")),
            (
                "{eventTime+{requestParameters.window}d}",
                Some("2026-12-02T03:41:07Z"),
            ),
            ("{eventTime+{text}h}", Some("2026-11-23T10:41:07Z")),
            ("{eventTime+{requestParameters.odd}d}", None),
            ("{eventTime+{requestParameters.none}d}", None),
            ("{eventTime+{requestParameters.long}d}", None),
            ("{eventTime+{requestParameters.missing}d}", None),
        ] {
            let until = Until::parse(text).unwrap();
            let expected: Option<Timestamp> = expected.map(|time| time.parse().unwrap());
            assert_eq!(until.time(&record), expected, "{text}");
            assert_eq!(until.text(), text);
        }
    }

    #[test]
    fn malformed_expressions_are_rejected() {
        for text in [
            "",
            "7d",
            "{eventTime}",
            "{region}",
            "{eventTime+7}",
            "{eventTime+7w}",
            "{eventTime+0d}",
            "{eventTime+12345d}",
            "{eventTime+-1d}",
            "{eventTime+d}",
            "{eventTime+é}",
            "{eventTime-7d}",
            "{eventTime+{window}}",
            "{eventTime+{a b}d}",
            "{a>}",
            "{a>1}",
            "{a|b}",
            "{a?b}",
            "{a.b",
            "a {eventTime+7d}",
            "{eventTime+7d} {eventTime+8d}",
        ] {
            assert_eq!(
                Until::parse(text),
                Err(format!(
                    "expected a time such as {{responseElements.deletionDate}} or {{eventTime+7d}}, found {text:?}"
                ))
            );
        }
    }
}
