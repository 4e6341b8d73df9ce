//! The forms in which people have records, apart from CloudTrail's log file: the output of AWS's tools, JSON Lines, a
//! list, or one record.
//!
//! The function reads log files only: what else is in its bucket is an error there. A reader that accepts every form
//! still counts each element, and says which of them is not a record, so that no record is lost silently.

use serde_json::{Map, Value};

use crate::{json, record::not_a_record, text::one_line};

/// Which list an element is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum List {
    /// Of records: `Records` of a log file, a bare list, or documents one after another.
    Records,
    /// `Events` in the output of `aws cloudtrail lookup-events`.
    Events,
    /// `QueryResultRows` in the output of `aws cloudtrail get-query-results`, for CloudTrail Lake.
    Rows,
}

impl List {
    /// The list that a member of the top level has, by its name.
    pub(super) fn of_member(name: &str, any_form: bool) -> Option<List> {
        match name {
            "Records" => Some(List::Records),
            "Events" if any_form => Some(List::Events),
            "QueryResultRows" if any_form => Some(List::Rows),
            _ => None,
        }
    }

    /// The name of the member.
    pub(super) fn member(self) -> &'static str {
        match self {
            List::Records => "Records",
            List::Events => "Events",
            List::Rows => "QueryResultRows",
        }
    }

    /// The record in an element.
    ///
    /// # Errors
    /// There is none: what was found and what was expected.
    pub(super) fn record(self, element: Value) -> Result<Map<String, Value>, String> {
        let record = match self {
            List::Records => element,
            List::Events => embedded(&element, &[element.as_object()], "CloudTrailEvent")?,
            List::Rows => {
                let cells: Vec<_> = element
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(Value::as_object)
                    .collect();
                embedded(&element, &cells, "eventJson")?
            }
        };
        let fields = match record {
            Value::Object(fields) => fields,
            other => {
                return Err(format!(
                    "expected a JSON object, found {}",
                    json::kind(&other)
                ));
            }
        };
        match not_a_record(&fields) {
            None => Ok(fields),
            Some(found) => {
                let hint = fields.keys().find_map(|name| hint(name));
                let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
                Err(format!("expected a CloudTrail record, {found}{hint}"))
            }
        }
    }
}

/// What an object with such a member seems to be, and what to do.
pub(super) fn hint(member: &str) -> Option<&'static str> {
    match member {
        "ResultSet" => Some(
            "this seems to be the output of `aws athena get-query-results`, whose rows are not whole records: read the log files that the table is made of",
        ),
        "QueryStatus" | "QueryStatistics" => Some(
            "this seems to be the output of `aws cloudtrail get-query-results` without rows: see its QueryStatus and ErrorMessage",
        ),
        _ => None,
    }
}

/// The record that is JSON text in the member `name` of one of the objects.
fn embedded(
    element: &Value,
    objects: &[Option<&Map<String, Value>>],
    name: &str,
) -> Result<Value, String> {
    let fields = || objects.iter().copied().flatten().flatten();
    let Some((_, text)) = fields().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
        let names: Vec<String> = fields()
            .take(5)
            .map(|(known, _)| one_line(known, 40))
            .collect();
        let found = if names.is_empty() {
            json::kind(element).to_owned()
        } else {
            names.join(", ")
        };
        let hint = match name {
            "eventJson" => "; select the column eventJson in the query",
            _ => "",
        };
        return Err(format!(
            "expected {name} with the record as JSON text, found {found}{hint}"
        ));
    };
    match text {
        Value::String(text) => {
            json::parse(text.as_bytes()).map_err(|error| format!("{name} is not JSON: {error}"))
        }
        other => Err(format!(
            "expected {name} with the record as JSON text, found {}",
            json::kind(other)
        )),
    }
}

/// What a byte says about a file in which JSON was expected to begin; `None`: nothing known.
pub(super) fn known_file(first: u8, any_form: bool) -> Option<&'static str> {
    match first {
        0x1f => Some(
            "the content is compressed twice: expected JSON, found a gzip file in the gzip file; decompress it once with gunzip",
        ),
        0 => Some(
            "expected JSON in UTF-8, found a zero byte: the text is UTF-16, or the file is damaged; convert UTF-16 with `iconv -f UTF-16 -t UTF-8`",
        ),
        0xff | 0xfe => Some(
            "the text is UTF-16, as PowerShell writes it: expected UTF-8; convert it, for example with `iconv -f UTF-16 -t UTF-8`",
        ),
        b'P' => Some("expected JSON, found 'P': a ZIP or Parquet file, or text"),
        b'O' => Some("expected JSON, found 'O': an ORC or Avro file, or text"),
        b'"' | b'-' | b'A'..=b'Z' | b'a'..=b'z' if any_form => Some(
            "expected JSON, found text such as CSV: of the console's event history, download JSON; of CloudTrail Lake, save the output of `aws cloudtrail get-query-results` for a query that selects eventJson; instead of Athena's results, read the log files that the table is made of; of the AWS CLI, use --output json",
        ),
        b'e' | b'"' => Some("expected JSON, found text such as CSV"),
        _ => None,
    }
}
