//! Tests that a scan which skips records and one which parses every record have the same output for any bytes.
//! `fuzz/` compares the two without a time limit.

mod generated;
mod rules;

use std::{
    io::{self, Read},
    sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use proptest::prelude::*;

use super::*;
use crate::{
    log_file::with_read_ahead_of,
    rules::{RuleFile, watched::Watched},
};
use generated::file;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::builtin(&Watched::default()).unwrap());

/// Rules with different conditions on the event source, with and without event names.
static OTHER_RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    let rule = |n: u32, detection: &str| {
        format!(
            "title: t{n}\nname: n{n}\nid: i{n}\nlogsource: {{product: aws, service: cloudtrail}}\nlevel: low\ndetection:\n  a:\n{detection}\n  condition: a\n"
        )
    };
    let yaml = [
        rule(
            1,
            "    eventSource: kms.amazonaws.com\n    eventName: [Disable*, Schedule*]",
        ),
        rule(
            2,
            "    eventSource|startswith: 'lambda'\n    eventName|contains: code",
        ),
        rule(
            4,
            "    eventSource: s3.amazonaws.com\n    requestParameters|contains: 'Stop-it'\n    errorCode|exists: true",
        ),
        rule(
            5,
            "    eventSource: sns.amazonaws.com\n    n: ['1.68e9', 'null', '1376']",
        ),
        rule(
            6,
            "    - eventSource: s3.amazonaws.com\n      requestParameters: null\n      errorCode: null\n    - eventSource: s3.amazonaws.com\n      requestParameters.a: '*stop-it*'",
        ),
        rule(
            3,
            "    - eventSource: '*hsm*'\n    - eventSource: \"\u{212a}ms.amazonaws.com\"\n      eventName: Decrypt",
        ),
    ];
    of(&yaml)
});

fn of(yaml: &[String]) -> RuleSet {
    let files: Vec<_> = yaml
        .iter()
        .map(|text| RuleFile {
            name: "rule.yml".into(),
            text: text.clone(),
        })
        .collect();
    RuleSet::of(&files, &Watched::default()).unwrap()
}

const NOW: Timestamp = Timestamp::constant(1_795_392_000, 0);

/// Findings, counts, unreadable records and the outcome of a scan.
type Output = (
    Vec<Finding>,
    ScanCounts,
    Vec<Unreadable>,
    Result<(), LogFileError>,
);

fn output(mut scan: Scan<'_>, bytes: &[u8], chunk: usize) -> Output {
    let mut findings = Vec::new();
    let mut sink = |finding| findings.push(finding);
    let end = bytes
        .chunks(chunk)
        .try_for_each(|chunk| scan.push(chunk, &mut sink))
        .and_then(|()| scan.finish(&mut sink));
    (findings, scan.counts(), scan.unreadable().to_vec(), end)
}

/// The output with read-ahead.
fn read_ahead_output(mut scan: Scan<'_>, mut bytes: &[u8], chunk: usize) -> Output {
    let mut findings = Vec::new();
    let mut sink = |finding| {
        findings.push(finding);
        ControlFlow::Continue(())
    };
    // A processor is idle from the start, later or never.
    let asked = Cell::new(0);
    let is_idle = || asked.replace(asked.get() + 1) >= [0, 1, 3, usize::MAX][chunk % 4];
    let end = with_read_ahead_of(chunk, &mut bytes, &|_| (), &is_idle, |file| {
        scan.read(file, &mut sink)
    });
    let end = match end {
        Ok(()) => Ok(()),
        Err(ReadError::LogFile(error)) => Err(error),
        Err(ReadError::Source(error)) => panic!("{error}"),
    };
    (findings, scan.counts(), scan.unreadable().to_vec(), end)
}

fn assert_same_output(bytes: &[u8], chunk: usize) {
    for rules in [&*RULES, &*OTHER_RULES] {
        let every = output(Scan::without_skipping(rules, NOW), bytes, chunk);
        let ahead = read_ahead_output(Scan::new(rules, NOW), bytes, chunk);
        assert_eq!(ahead, every, "{}", String::from_utf8_lossy(bytes));
        let relevant = output(Scan::new(rules, NOW), bytes, chunk);
        assert_eq!(relevant, every, "{}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    #![proptest_config(more_cases())]

    #[test]
    fn skipping_records_changes_nothing(bytes in file(), chunk in 1..4000_usize) {
        assert_same_output(&bytes, chunk);
    }
}

/// Four times the number of cases in PROPTEST_CASES or the default.
fn more_cases() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig {
        cases: 4 * default.cases,
        max_global_rejects: 100 * default.cases,
        ..default
    }
}

/// Covers the JSON grammar and all its violations within a few tokens.
#[test]
fn every_sequence_of_tokens_has_the_same_output() {
    const TOKENS: &[&str] = &["{", "}", "[", "]", ":", ",", "\"a\"", "1"];
    const MAX_TOKENS: u32 = 5;
    for length in 1..=MAX_TOKENS {
        for number in 0..TOKENS.len().pow(length) {
            let tokens: String = (0..length)
                .map(|at| TOKENS[number / TOKENS.len().pow(at) % TOKENS.len()])
                .collect();
            for record in [
                format!(
                    r#"{{"eventSource":"s3.amazonaws.com","eventName":"PutObject","x":{tokens}}}"#
                ),
                format!(
                    r#"{{"eventSource":"s3.amazonaws.com","eventName":"PutObject"{tokens},"y":"z"}}"#
                ),
            ] {
                let text = format!(r#"{{"Records":[{record},{{"b":2}}]}}"#);
                let every = output(
                    Scan::without_skipping(&OTHER_RULES, NOW),
                    text.as_bytes(),
                    1000,
                );
                let relevant = output(Scan::new(&OTHER_RULES, NOW), text.as_bytes(), 1000);
                assert_eq!(relevant, every, "{text}");
            }
        }
    }
}

/// The source fails within the first chunk, or later.
#[test]
fn findings_before_a_source_error_are_returned() {
    struct Failing<'b>(&'b [u8]);
    impl Read for Failing<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer) {
                Ok(0) => Err(io::Error::other("gone")),
                other => other,
            }
        }
    }
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"}"#;
    let text = format!("{{\"Records\":[{}", [call; 12_000].join(","));
    for (chunk, is_idle) in [(10_000, true), (10_000, false), (2 * text.len(), true)] {
        let mut scan = Scan::new(&RULES, NOW);
        let mut found = 0;
        let mut sink = |_| {
            found += 1;
            ControlFlow::Continue(())
        };
        let mut source = Failing(text.as_bytes());
        let outcome = with_read_ahead_of(chunk, &mut source, &|_| (), &|| is_idle, |file| {
            scan.read(file, &mut sink)
        });
        assert!(matches!(outcome, Err(ReadError::Source(error)) if error.to_string() == "gone"));
        assert_eq!(found, 12_000, "{chunk}");
    }
}

/// Uses an endless source, so a scan that does not stop would not return.
#[test]
fn reading_stops_when_the_sink_breaks() {
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"},"#;
    let mut source = br#"{"Records":["#.chain(Endless(call.as_bytes().iter().cycle()));
    let length = AtomicU64::new(0);
    let progress = |more| {
        length.fetch_add(more, Ordering::Relaxed);
    };
    for is_idle in [true, false] {
        let mut found = 0;
        let mut scan = Scan::new(&RULES, NOW);
        let outcome = with_read_ahead_of(10_000, &mut source, &progress, &|| is_idle, |file| {
            scan.read(file, &mut |_| {
                found += 1;
                ControlFlow::Break(())
            })
        });
        assert!(matches!(outcome, Ok(())));
        assert_eq!(found, 1);
        source = br#"{"Records":["#.chain(Endless(call.as_bytes().iter().cycle()));
    }
    // It also stops if the file is never read.
    with_read_ahead_of(10_000, &mut source, &progress, &|| true, |_| ());
    // Twice the maximum size of the queue.
    let length = length.into_inner();
    assert!(length < 16 * 1024 * 1024, "{length}");
}

struct Endless<'b>(std::iter::Cycle<std::slice::Iter<'b, u8>>);

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer
            .iter_mut()
            .zip(&mut self.0)
            .map(|(to, from)| *to = *from)
            .count())
    }
}

/// Shifts the records by a few bytes at a time, so that a window ends at each position of a record.
#[test]
fn windows_end_anywhere_in_a_record() {
    let ordinary = r#"{"eventVersion":"1.11","userIdentity":{"type":"AWSService","x":[1,{"y":null}]},"eventSource":"s3.amazonaws.com","eventName":"PutObject","note":"a\\\"b","n":-1.5e3,"last":true}"#;
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"}"#;
    for pad in (0..ordinary.len() + 1).step_by(3) {
        let mut text = format!("{{\"Records\":[{{\"pad\":\"{}\"}}", "x".repeat(pad));
        while text.len() < 300_000 {
            text += ",";
            text += ordinary;
        }
        text += ",";
        text += call;
        text += "]}";
        let mut scan = Scan::new(&RULES, NOW);
        let mut findings = 0;
        scan.push(text.as_bytes(), &mut |_| findings += 1).unwrap();
        scan.finish(&mut |_| findings += 1).unwrap();
        assert_eq!(
            (findings, scan.counts().records),
            (1, text.matches("eventName").count() as u64 + 1)
        );
    }
}

/// A record that is longer than the headroom ends at each of the last positions of a window, and other records
/// follow.
#[test]
fn long_records_end_anywhere_near_the_end_of_a_window() {
    const WINDOW: usize = 256 * 1024;
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"}"#;
    for from_end in 0..200 {
        let start = r#"{"Records":[{"pad":""#;
        let pad = "x".repeat(WINDOW - from_end - start.len() - 2);
        let text = format!("{start}{pad}\"}},{call},{call},{call}]}}");
        let expected = (3, 4, Ok(()));
        let mut scan = Scan::new(&RULES, NOW);
        let mut findings = 0;
        let mut sink = |_| findings += 1;
        let end = scan
            .push(text.as_bytes(), &mut sink)
            .and_then(|()| scan.finish(&mut sink));
        assert_eq!(
            (findings, scan.counts().records, end),
            expected,
            "{from_end}"
        );
    }
}

/// Depths and lengths at the limits of the scanner and the parser, at each position of a block.
#[test]
fn deep_and_long_records_have_the_same_output() {
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"}"#;
    for pad in 0..70 {
        let pad = "x".repeat(pad);
        for levels in [
            38_usize, 39, 40, 41, 62, 63, 64, 65, 126, 127, 128, 129, 200,
        ] {
            for (open, close) in [("{\"a\":", "}"), ("[", "]"), ("[{\"\":", "}]")] {
                for missing in [-64, -1, 0, 1] {
                    let closes = levels.saturating_add_signed(-missing);
                    let (open, close) = (open.repeat(levels), close.repeat(closes));
                    let ordinary = format!(
                        r#"{{"eventSource":"s3.amazonaws.com","eventName":"PutObject","{pad}":{open}1{close}}}"#
                    );
                    let text = format!(r#"{{"Records":[{call},{ordinary},{call}]}}"#);
                    let every = output(
                        Scan::without_skipping(&OTHER_RULES, NOW),
                        text.as_bytes(),
                        5000,
                    );
                    let relevant = output(Scan::new(&OTHER_RULES, NOW), text.as_bytes(), 5000);
                    assert_eq!(relevant, every, "{text}");
                    assert_eq!(every.3.is_ok(), missing == 0, "{text}");
                }
            }
        }
    }
}

/// Sizes close to that of a window and to the maximum size of an element.
#[test]
fn large_records_have_the_same_output() {
    const WINDOW: usize = 256 * 1024;
    const LARGEST: usize = 1024 * 1024;
    for size in [
        WINDOW - 200,
        WINDOW,
        WINDOW + 1,
        LARGEST - 1,
        LARGEST,
        LARGEST + 1,
        3 * LARGEST,
    ] {
        for source in ["s3", "cloudhsm"] {
            let head = format!(
                r#"{{"eventSource":"{source}.amazonaws.com","eventName":"DeleteBackup","n":""#
            );
            let record = format!("{head}{}\"}}", "x".repeat(size - head.len() - 2));
            assert_eq!(record.len(), size);
            let text = format!(r#"{{"Records":[{{"a":1}},{record},{record},{{"b":2}}]}}"#);
            assert_same_output(text.as_bytes(), 16 * 1024);
        }
    }
}

/// Without this, the tests above could compare two scans that both parse every record.
#[test]
fn ordinary_records_are_skipped() {
    let ordinary = r#"{"eventSource":"s3.amazonaws.com","eventName":"GetObject","requestParameters":{"note":"cloudhsm.amazonaws.com é \u003d","empty":{}}}"#;
    let call = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup"}"#;
    let text = format!("{{\"Records\":[{ordinary},{call},{ordinary}]}}");
    let mut log_file = LogFile::with_prefilter(DEFAULT_MAX_UNCOMPRESSED, RULES.prefilter());
    let mut read = Vec::new();
    let mut sink = |entry: Entry| read.push(entry.unwrap().event_name().to_owned());
    log_file.push(text.as_bytes(), &mut sink).unwrap();
    log_file.finish(&mut sink).unwrap();
    assert_eq!(log_file.skipped_records(), 2);
    assert_eq!(read, ["DeleteBackup"]);
}

/// If a rule has no condition on the event source, every record is parsed.
#[test]
fn a_rule_without_event_source_is_evaluated_for_all_records() {
    let yaml = "title: t\nname: n\nid: i\nlogsource: {product: aws, service: cloudtrail}\nlevel: low\ndetection:\n  a:\n    userIdentity.type: Root\n  condition: a\n";
    let rules = of(&[yaml.to_owned()]);
    let text = r#"{"Records":[{"eventSource":"s3.amazonaws.com","eventName":"x","userIdentity":{"type":"Root"}}]}"#;
    let (findings, ..) = output(Scan::new(&rules, NOW), text.as_bytes(), 7);
    assert_eq!(findings.len(), 1);
}

/// Member names that serde_json uses internally are ordinary names.
#[test]
fn internal_names_of_serde_json_are_ordinary_names() {
    for name in [
        "$serde_json::private::Number",
        "$serde_json::private::RawValue",
        "\\u0024serde_json::private::Number",
        "$serde_json::priv\\u0061te::Number",
    ] {
        for value in ["\"x\"", "\"1\"", "{}"] {
            let text = format!(
                r#"{{"Records":[{{"{name}":{value},"eventSource":"s3.amazonaws.com","eventName":"x"}},{{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteBackup","requestParameters":{{"{name}":{value}}}}},{{"{name}":{value}}}]}}"#
            );
            assert_same_output(text.as_bytes(), 1000);
            let (findings, counts, _, end) = output(Scan::new(&RULES, NOW), text.as_bytes(), 1000);
            assert_eq!(
                (findings.len(), counts.records, end),
                (1, 3, Ok(())),
                "{text}"
            );
        }
    }
}
