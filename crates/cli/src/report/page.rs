//! A report as one HTML page, which loads nothing and runs nothing.
//!
//! Templates escape every value. The policy in the page forbids scripts, pictures, frames and requests; it permits
//! the one style sheet, by its hash. So nothing that a record contains can become more than text.

use std::io::{self, Write};

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use cloudhsm_alerts_core::{
    record::Outcome,
    severity::Severity,
    text::{escape_invisible, escaped_json},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{
    call::Call,
    format,
    lineage::{KeyStore, Node, State},
    model::{Report, Text},
    timeline::{self, Timeline},
};

const STYLE: &str = include_str!("../../templates/report/style.css");

/// Everything before the alerts in full.
#[derive(Template)]
#[template(path = "report/page.html")]
struct Page<'r> {
    style: &'static str,
    style_hash: String,
    report: &'r Report,
    timeline: Timeline,
    rows: Vec<Row<'r>>,
}

/// One alert in full.
#[derive(Template)]
#[template(path = "report/alert.html")]
struct Alert<'r> {
    number: usize,
    call: &'r Call,
    text: &'r Text,
    record: String,
}

/// Everything after them.
#[derive(Template)]
#[template(path = "report/end.html")]
struct End;

/// A cluster or backup as an element of nested lists.
struct Row<'r> {
    node: &'r Node,
    has_children: bool,
    /// How many lists end after it.
    closes: usize,
}

/// Writes a report. Alerts are written one by one, because all of them may not fit into memory.
///
/// # Errors
/// The output cannot be written, or the temporary file not be read.
pub(super) fn write(report: &mut Report, out: &mut impl Write) -> io::Result<()> {
    {
        let calls: Vec<&Call> = report.calls.iter().collect();
        let mut rows = Vec::new();
        add_rows(&report.lineage.clusters_and_backups, 0, &mut rows);
        let page = Page {
            style: STYLE,
            style_hash: STANDARD.encode(Sha256::digest(STYLE)),
            timeline: timeline::of(&calls, &report.clusters),
            rows,
            report,
        };
        render(&page, out)?;
    }
    for position in 0..report.calls.len() {
        let text = report.text(position)?;
        let record = pretty(&text.record);
        let call = &report.calls[position];
        render(
            &Alert {
                number: position + 1,
                call,
                text: &text,
                record,
            },
            out,
        )?;
    }
    render(&End, out)
}

fn render(template: &impl Template, out: &mut impl Write) -> io::Result<()> {
    Template::write_into(template, out).map_err(io::Error::other)
}

/// A record on several lines. Characters that reorder or hide text become escapes.
fn pretty(record: &Value) -> String {
    let escaped = escaped_json(record);
    // Laid out anew without unescaping: only white space between values is added.
    let mut out = String::with_capacity(escaped.len() * 2);
    let (mut depth, mut is_string, mut is_escape) = (0_usize, false, false);
    let line = |out: &mut String, depth: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    let mut before = ' ';
    for c in escaped.chars() {
        if is_string {
            out.push(c);
            is_string = is_escape || c != '"';
            is_escape = !is_escape && c == '\\';
            before = '"';
            continue;
        }
        match c {
            '{' | '[' => {
                if before == '{' || before == '[' {
                    line(&mut out, depth);
                }
                out.push(c);
                depth += 1;
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                if before != '{' && before != '[' {
                    line(&mut out, depth);
                }
                out.push(c);
            }
            ',' => {
                out.push(c);
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            c => {
                if before == '{' || before == '[' {
                    line(&mut out, depth);
                }
                out.push(c);
                is_string = c == '"';
            }
        }
        before = c;
    }
    out
}

fn add_rows<'r>(nodes: &'r [Node], ancestors: usize, rows: &mut Vec<Row<'r>>) {
    let count = nodes.len();
    for (position, node) in nodes.iter().enumerate() {
        let has_children = !node.children.is_empty();
        rows.push(Row {
            node,
            has_children,
            closes: 0,
        });
        if has_children {
            add_rows(&node.children, ancestors + 1, rows);
        }
        if position + 1 == count
            && ancestors > 0
            && let Some(last) = rows.last_mut()
        {
            last.closes += 1;
        }
    }
}

impl Page<'_> {
    fn title(&self) -> String {
        match self.period() {
            Some(period) => format!("CloudHSM report, {period}"),
            None => "CloudHSM report".to_owned(),
        }
    }

    /// The days of the listed calls.
    fn period(&self) -> Option<String> {
        let day = |time: jiff::Timestamp| time.strftime("%-d %B %Y").to_string();
        let (first, last) = (
            day(self.report.read.first_call?),
            day(self.report.read.last_call?),
        );
        Some(if first == last {
            first
        } else {
            format!("{first} to {last}")
        })
    }

    /// `2 critical`, for each severity that occurs.
    fn tally(&self) -> Vec<(Severity, String)> {
        Severity::ALL
            .into_iter()
            .rev()
            .map(|severity| (severity, self.report.with_severity(severity)))
            .filter(|(_, count)| *count > 0)
            .map(|(severity, count)| (severity, format::number(count as u64)))
            .collect()
    }

    /// `12 succeeded, 3 denied`.
    fn outcomes(&self) -> String {
        [Outcome::Success, Outcome::Denied, Outcome::Failed]
            .into_iter()
            .zip(["succeeded", "denied", "failed"])
            .map(|(outcome, word)| (self.report.with_outcome(outcome), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{} {word}", format::number(count as u64)))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn open_count(&self) -> usize {
        self.report.open_deadlines().count()
    }

    /// The first deadline to end, for the top of the page.
    fn next_deadline(&self) -> Option<&super::deadlines::Deadline> {
        self.report.open_deadlines().next()
    }

    fn number(&self, number: &u64) -> String {
        format::number(*number)
    }

    fn count(&self, count: &u64, noun: &str) -> String {
        format::counted(*count, noun)
    }

    fn len(&self, length: usize, noun: &str) -> String {
        format::counted(length as u64, noun)
    }

    fn size(&self, bytes: &u64) -> String {
        format::bytes(*bytes)
    }

    fn minute(&self, time: &jiff::Timestamp) -> String {
        format::minute(*time)
    }

    fn time(&self, time: &Option<jiff::Timestamp>) -> String {
        format::time(*time)
    }

    fn short_time(&self, time: &Option<jiff::Timestamp>) -> String {
        format::short_time(*time)
    }

    fn duration(&self, minutes: &i64) -> String {
        format::duration(*minutes)
    }

    fn call(&self, position: &usize) -> &Call {
        &self.report.calls[*position]
    }

    fn state(&self, node: &Node) -> &'static str {
        match node.state {
            State::Exists => "exists",
            State::Restorable => "restorable",
            State::Deleted => "deleted",
        }
    }

    fn place(&self, account: &Option<String>, region: &Option<String>) -> String {
        [account, region]
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn store_place(&self, store: &KeyStore) -> String {
        self.place(&store.account, &store.region)
    }

    fn width(&self) -> f64 {
        timeline::WIDTH
    }

    fn left(&self) -> f64 {
        timeline::LEFT
    }

    /// Text of an error or a path, in which a file's name may be anything.
    fn plain(&self, text: &str) -> String {
        escape_invisible(text)
    }
}

impl Alert<'_> {
    fn time(&self) -> String {
        format::time(self.call.time)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_laid_out_as_serde_does() {
        for value in [
            json!({"a": "x", "b": [], "c": {}, "d": [1, {"e": null}, [true]], "f": {"g\"\\": "\\\"{[,:]}"}}),
            json!([]),
            json!({"a": {"b": {"c": []}}}),
        ] {
            assert_eq!(
                pretty(&value),
                serde_json::to_string_pretty(&value).unwrap()
            );
        }
        let text = pretty(&json!({"a": "\u{202e}\u{200b}"}));
        assert_eq!(text, "{\n  \"a\": \"\\u202e\\u200b\"\n}");
    }
}
