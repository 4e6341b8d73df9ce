//! Metrics: for each invocation, one line in CloudWatch's embedded metric format on standard output, which is also the
//! invocation's summary in the log. CloudWatch Logs extracts the values. Every custom metric costs money, so each of
//! them is used by an alarm, by the dashboard or in one of the two sums of [`Counts`]. Every byte of log costs money,
//! too, and most log files match nothing: values that are 0 are left out, which alarms and sums take for 0.
//!
//! Source: Amazon CloudWatch User Guide, "Specification: Embedded metric format". A line has at most 100 metrics, and
//! at most 100 values of each.

use std::{
    fmt,
    io::Write,
    sync::{Mutex, PoisonError},
};

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{context::Context, counts::Counts};

/// The namespace of all metrics.
pub const NAMESPACE: &str = "CloudHsmAlerts";
/// Maximum number of values of one metric in one line.
const MAX_VALUES: usize = 100;

/// Measurements of an invocation that are not in its counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Measures {
    /// Newly delivered log files that were read: none of a job or of the failure queue.
    pub live_objects: u64,
    /// Messages published.
    pub messages: u64,
    /// Failures. Each failed one or more units.
    pub failures: u64,
    /// For each message, milliseconds from its earliest call until it was published.
    pub latencies_millis: Vec<i128>,
}

/// The metrics of one function.
pub struct Metrics {
    function_name: String,
    out: Mutex<Box<dyn Write + Send>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics")
            .field("function_name", &self.function_name)
            .finish_non_exhaustive()
    }
}

impl Metrics {
    /// Metrics on standard output, with the function's name as their dimension.
    pub fn new(function_name: impl Into<String>) -> Metrics {
        Metrics::written_to(std::io::stdout(), function_name)
    }

    /// Metrics written to `out`.
    pub fn written_to(
        out: impl Write + Send + 'static,
        function_name: impl Into<String>,
    ) -> Metrics {
        Metrics {
            function_name: function_name.into(),
            out: Mutex::new(Box::new(out)),
        }
    }

    /// Writes the lines of one invocation.
    pub(crate) fn emit(
        &self,
        now: Timestamp,
        context: &Context,
        counts: &Counts,
        measures: &Measures,
    ) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        for line in self.lines(now, context, counts, measures) {
            // If the log cannot be written, the error cannot be reported either.
            let _ = writeln!(out, "{line}");
        }
    }

    fn lines(
        &self,
        now: Timestamp,
        context: &Context,
        counts: &Counts,
        measures: &Measures,
    ) -> Vec<Value> {
        let sums = [
            ("LiveObjects", "Count", measures.live_objects),
            ("Records", "Count", counts.records),
            ("Evaluated", "Count", counts.evaluated),
            ("Unreadable", "Count", counts.unreadable),
            ("Matched", "Count", counts.matched),
            ("Published", "Count", counts.published),
            ("Summarized", "Count", counts.summarized),
            ("Grouped", "Count", counts.grouped),
            ("Suppressed", "Count", counts.suppressed),
            ("BelowMinSeverity", "Count", counts.below_min_severity),
            ("Duplicates", "Count", counts.duplicates),
            ("Failed", "Count", counts.failed),
            ("OnlyCounted", "Count", counts.only_counted),
            ("CaughtUp", "Count", counts.caught_up),
            ("TrailFindings", "Count", counts.trail_findings),
            ("Failures", "Count", measures.failures),
            ("InternalErrors", "Count", counts.internal_errors()),
        ];
        let mut chunks = measures.latencies_millis.chunks(MAX_VALUES);
        let mut first: Vec<(&str, &str, Value)> = sums
            .into_iter()
            .filter(|(_, _, value)| *value > 0)
            .map(|(name, unit, value)| (name, unit, value.into()))
            .collect();
        first.extend(chunks.next().map(latency));
        let mut summary = self.line(now, context, first);
        summary["level"] = "INFO".into();
        summary["message"] = "invocation done".into();
        summary["counts"] = counts.without_zeros();
        let mut lines = vec![summary];
        lines.extend(chunks.map(|chunk| self.line(now, context, vec![latency(chunk)])));
        lines
    }

    fn line(&self, now: Timestamp, context: &Context, metrics: Vec<(&str, &str, Value)>) -> Value {
        let names: Vec<Value> = metrics
            .iter()
            .map(|(name, unit, _)| json!({"Name": name, "Unit": unit}))
            .collect();
        let mut line = Map::new();
        // A line without metrics, such as for a test event, is only a log line.
        if !names.is_empty() {
            line.insert(
                "_aws".into(),
                json!({
                    "Timestamp": now.as_millisecond(),
                    "CloudWatchMetrics": [{
                        "Namespace": NAMESPACE,
                        "Dimensions": [["FunctionName"]],
                        "Metrics": names,
                    }],
                }),
            );
        }
        line.insert("FunctionName".into(), self.function_name.clone().into());
        line.insert("requestId".into(), context.request_id.clone().into());
        if let Some(trace_id) = &context.trace_id {
            line.insert("xrayTraceId".into(), trace_id.clone().into());
        }
        for (name, _, value) in metrics {
            line.insert(name.into(), value);
        }
        Value::Object(line)
    }
}

fn latency(millis: &[i128]) -> (&'static str, &'static str, Value) {
    let values: Vec<Value> = millis
        .iter()
        .map(|millis| i64::try_from(*millis).unwrap_or(i64::MAX).into())
        .collect();
    ("AlertLatency", "Milliseconds", values.into())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_line_declares_its_metrics_and_long_lists_are_split() {
        let counts = Counts {
            objects: 2,
            matched: 201,
            summarized: 201,
            ledger_errors: 3,
            rule_load_errors: 1,
            ..Counts::default()
        };
        let measures = Measures {
            messages: 201,
            latencies_millis: (0..201).collect(),
            ..Measures::default()
        };
        let context = Context {
            request_id: "r".into(),
            trace_id: Some("Root=1-2-3".into()),
            deadline: None,
        };
        let now = Timestamp::from_millisecond(1_764_000_000_123).unwrap();
        let lines = Metrics::new("f").lines(now, &context, &counts, &measures);
        assert_eq!(lines.len(), 3);
        for line in &lines {
            let directive = &line["_aws"]["CloudWatchMetrics"][0];
            assert_eq!(line["_aws"]["Timestamp"], json!(1_764_000_000_123_u64));
            assert_eq!(directive["Namespace"], "CloudHsmAlerts");
            assert_eq!(directive["Dimensions"], json!([["FunctionName"]]));
            assert_eq!(
                (&line["FunctionName"], &line["requestId"]),
                (&json!("f"), &json!("r"))
            );
            assert_eq!(line["xrayTraceId"], "Root=1-2-3");
            for metric in directive["Metrics"].as_array().unwrap() {
                let value = &line[metric["Name"].as_str().unwrap()];
                let values = value.as_array().map_or(1, Vec::len);
                assert!((1..=100).contains(&values), "{metric}: {value}");
                assert!(!value.is_null(), "{metric}");
            }
        }
        let latencies: usize = lines
            .iter()
            .map(|line| line["AlertLatency"].as_array().unwrap().len())
            .sum();
        assert_eq!(latencies, 201);
        assert_eq!(
            [&lines[0]["Matched"], &lines[0]["InternalErrors"],],
            [&json!(201), &json!(4)]
        );
        assert_eq!(lines[1].get("Matched"), None);
    }

    /// The tables of docs/configuration.md are what operators read, and what the template's tests compare alarms with.
    #[test]
    fn the_documented_metrics_are_those_emitted() {
        let page = include_str!("../docs/configuration.md");
        let (_, section) = page.split_once("\n## Reply\n").unwrap();
        let (section, _) = section.split_once("\n## Error types\n").unwrap();
        let documented: BTreeSet<&str> = section
            .lines()
            .filter(|line| line.starts_with('|'))
            .flat_map(|line| line.split('|').skip(1).take(2))
            .filter_map(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'))
            .filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase()))
            .collect();
        let measures = Measures {
            live_objects: 1,
            messages: 1,
            failures: 1,
            latencies_millis: vec![1],
        };
        let counts = Counts {
            records: 1,
            evaluated: 1,
            unreadable: 1,
            matched: 1,
            published: 1,
            summarized: 1,
            grouped: 1,
            suppressed: 1,
            below_min_severity: 1,
            duplicates: 1,
            failed: 1,
            only_counted: 1,
            caught_up: 1,
            trail_findings: 1,
            ..Counts::default()
        };
        let context = Context::default();
        let lines = Metrics::new("f").lines(Timestamp::UNIX_EPOCH, &context, &counts, &measures);
        let emitted: BTreeSet<&str> = lines[0]["_aws"]["CloudWatchMetrics"][0]["Metrics"]
            .as_array()
            .unwrap()
            .iter()
            .map(|metric| metric["Name"].as_str().unwrap())
            .collect();
        assert_eq!(documented, emitted);
    }

    /// Most log files match nothing, and what is written about them is most of the bill.
    #[test]
    fn an_invocation_without_a_match_is_a_short_line() {
        let counts = Counts {
            objects: 1,
            records: 10,
            evaluated: 10,
            ..Counts::default()
        };
        let measures = Measures {
            live_objects: 1,
            ..Measures::default()
        };
        let context = Context {
            request_id: "2d7a1d0b-8e02-4b7e-9c1e-64f8c9d3b7a1".into(),
            trace_id: None,
            deadline: None,
        };
        let now = Timestamp::from_millisecond(1_764_000_000_123).unwrap();
        let lines = Metrics::new("cloudhsm-alerts").lines(now, &context, &counts, &measures);
        assert_eq!(
            lines,
            [json!({
                "_aws": {
                    "Timestamp": 1_764_000_000_123_u64,
                    "CloudWatchMetrics": [{
                        "Namespace": "CloudHsmAlerts",
                        "Dimensions": [["FunctionName"]],
                        "Metrics": [
                            {"Name": "LiveObjects", "Unit": "Count"},
                            {"Name": "Records", "Unit": "Count"},
                            {"Name": "Evaluated", "Unit": "Count"},
                        ],
                    }],
                },
                "FunctionName": "cloudhsm-alerts",
                "requestId": "2d7a1d0b-8e02-4b7e-9c1e-64f8c9d3b7a1",
                "LiveObjects": 1,
                "Records": 10,
                "Evaluated": 10,
                "level": "INFO",
                "message": "invocation done",
                "counts": {"objects": 1, "records": 10, "evaluated": 10},
            })]
        );
        let line = lines[0].to_string();
        assert!(line.len() <= 500);
        // The bill is calculated with its bytes.
        assert!(include_str!("../docs/operations.md").contains(&line));
    }

    #[test]
    fn counts_that_do_not_add_up_are_an_internal_error() {
        let context = Context {
            request_id: "r".into(),
            trace_id: None,
            deadline: None,
        };
        let now = Timestamp::from_millisecond(1_764_000_000_123).unwrap();
        for (counts, broken) in [
            (Counts::default(), 0),
            (
                Counts {
                    records: 3,
                    evaluated: 2,
                    unreadable: 1,
                    matched: 2,
                    published: 1,
                    only_counted: 1,
                    ..Counts::default()
                },
                0,
            ),
            (
                Counts {
                    records: 1,
                    ..Counts::default()
                },
                1,
            ),
            (
                Counts {
                    matched: 2,
                    duplicates: 1,
                    ..Counts::default()
                },
                1,
            ),
        ] {
            let lines = Metrics::new("f").lines(now, &context, &counts, &Measures::default());
            let unreadable = counts.unreadable;
            let found = lines[0]["InternalErrors"].as_u64().unwrap_or(0);
            assert_eq!(found, broken + unreadable, "{counts:?}");
        }
    }
}
