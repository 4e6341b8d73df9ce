//! The forms that [`LogFile::of_any_form`] accepts, and that the strict reader of the function does not.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;
use crate::rules::{RuleSet, watched::Watched};

type Read = (Vec<String>, Result<(), String>);

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn read_with(mut file: LogFile<'_>, bytes: &[u8], chunk: usize) -> Read {
    let mut seen = Vec::new();
    let mut sink = |entry: Entry| {
        seen.push(match entry {
            Ok(record) => format!("{}:{}", record.index(), record.event_name()),
            Err(unreadable) => format!("!{unreadable}"),
        });
    };
    let end = bytes
        .chunks(chunk.max(1))
        .try_for_each(|piece| file.push(piece, &mut sink))
        .and_then(|()| file.finish(&mut sink));
    (seen, end.map_err(|error| error.to_string()))
}

fn any_form(bytes: &[u8], chunk: usize) -> Read {
    read_with(LogFile::new(1 << 20).of_any_form(), bytes, chunk)
}

fn strict(bytes: &[u8]) -> Read {
    read_with(LogFile::new(1 << 20), bytes, usize::MAX)
}

/// Each form has the records A and B. It is read in every chunk size, compressed or not, with and without the
/// prefilter, and refused by the strict reader.
#[test]
fn each_form_gives_its_records() {
    let a = r#"{"eventName":"A","eventSource":"s","x":{"Records":[{"no":1}]}}"#;
    let b = r#"{"eventSource":"s","eventName":"B","y":"}\"{"}"#;
    let event = |record: &str| json!({"EventId": "1", "CloudTrailEvent": record}).to_string();
    let row = |record: &str| json!([{"eventID": "1"}, {"eventJson": record}]).to_string();
    for (what, text) in [
        ("lines", format!("{a}\n{b}\n")),
        ("documents", format!("{a}{b}")),
        (
            "log files",
            format!("{{\"Records\":[{a}]}}\n{{\"Records\":[{b}]}}"),
        ),
        ("list", format!("[{a}, {b}]")),
        ("lists", format!("[{a}][] [{b}]\n")),
        ("mixed", format!("{{\"z\":1,\"Records\":[{a}]}}{b}")),
        ("mark", format!("\u{feff}{{\"Records\":[{a},{b}]}}")),
        ("marks", format!("\u{feff}{a}\n\u{feff}[{b}]")),
        (
            "lookup-events",
            format!(
                "{{\"NextToken\":null,\"Events\":[{},{}]}}",
                event(a),
                event(b)
            ),
        ),
        (
            "Lake",
            format!(
                "{{\"QueryStatus\":\"FINISHED\",\"QueryResultRows\":[{},{}],\"z\":{{}}}}",
                row(a),
                row(b)
            ),
        ),
    ] {
        let expected = (vec!["0:A".to_owned(), "1:B".to_owned()], Ok(()));
        for chunk in (1..text.len()).chain([usize::MAX]) {
            assert_eq!(
                any_form(text.as_bytes(), chunk),
                expected,
                "{what}, {chunk}"
            );
            assert_eq!(
                any_form(&gzip(text.as_bytes()), chunk),
                expected,
                "{what}, {chunk}"
            );
        }
        let members = [gzip(&text.as_bytes()[..5]), gzip(&text.as_bytes()[5..])].concat();
        assert_eq!(
            any_form(&members, usize::MAX),
            expected,
            "{what}, gzip members"
        );
        assert!(strict(text.as_bytes()).1.is_err(), "{what}");
    }
    assert_eq!(
        any_form(a.as_bytes(), usize::MAX),
        (vec!["0:A".to_owned()], Ok(()))
    );
    assert!(strict(a.as_bytes()).1.is_err());
}

/// With the prefilter of the built-in rules, no form loses a record that a rule can match.
#[test]
fn skipping_counts_the_same_in_every_form() {
    let set = RuleSet::builtin(&Watched::default()).unwrap();
    let wanted = r#"{"eventSource":"cloudhsm.amazonaws.com","eventName":"DeleteHsm"}"#;
    let other = r#"{"eventSource":"ec2.amazonaws.com","eventName":"RunInstances"}"#;
    for text in [
        format!("{{\"Records\":[{other},{wanted}]}}"),
        format!("[{other},{wanted}]"),
        format!("{other}\n{wanted}\n"),
        json!({"Events": [{"CloudTrailEvent": other}, {"CloudTrailEvent": wanted}]}).to_string(),
    ] {
        for chunk in [1, 7, usize::MAX] {
            let mut file = LogFile::with_prefilter(1 << 20, set.prefilter()).of_any_form();
            let mut names = Vec::new();
            let mut sink = |entry: Entry| names.push(entry.unwrap().event_name().to_owned());
            for piece in text.as_bytes().chunks(chunk) {
                file.push(piece, &mut sink).unwrap();
            }
            file.finish(&mut sink).unwrap();
            let parsed = names.len() as u64;
            assert_eq!(parsed + file.skipped_records(), 2, "{text}");
            assert!(names.contains(&"DeleteHsm".to_owned()), "{text}");
        }
    }
}

/// What is not a record is counted and named, and costs only itself.
#[test]
fn what_is_not_a_record_is_unreadable() {
    let expected_record = "expected a CloudTrail record, found";
    for (text, expected) in [
        (
            r#"{"version":"0","detail":{"eventName":"A"}}{"eventName":"B"}"#,
            vec![
                format!("!record 0 (byte 0) cannot be read: {expected_record} an object with neither eventSource nor eventName, but version, detail"),
                "1:B".into(),
            ],
        ),
        ("{}", vec![format!("!record 0 (byte 0) cannot be read: {expected_record} an empty object")]),
        (
            r#"[1,{"eventName":"B"}]"#,
            vec!["!record 0 (byte 1) cannot be read: expected a JSON object, found a number".into(), "1:B".into()],
        ),
        (
            r#"{"Events":[{"EventId":"1"},{"CloudTrailEvent":"{"},{"CloudTrailEvent":"1"},{"CloudTrailEvent":{}},7]}"#,
            vec![
                "!record 0 (byte 11) cannot be read: expected CloudTrailEvent with the record as JSON text, found EventId".into(),
                "!record 1 (byte 27) cannot be read: CloudTrailEvent is not JSON: EOF while parsing an object at line 1 column 1".into(),
                "!record 2 (byte 51) cannot be read: expected a JSON object, found a number".into(),
                "!record 3 (byte 75) cannot be read: expected CloudTrailEvent with the record as JSON text, found an object".into(),
                "!record 4 (byte 98) cannot be read: expected CloudTrailEvent with the record as JSON text, found a number".into(),
            ],
        ),
        (
            r#"{"QueryResultRows":[[{"eventName":"A"},{"eventTime":"x"}]]}"#,
            vec!["!record 0 (byte 20) cannot be read: expected eventJson with the record as JSON text, found eventName, eventTime; select the column eventJson in the query".into()],
        ),
    ] {
        assert_eq!(any_form(text.as_bytes(), usize::MAX), (expected, Ok(())), "{text}");
    }
    let large = format!(
        r#"{{"eventName":"A","x":"{}"}}{{"eventName":"B"}}"#,
        "x".repeat(600_000)
    );
    assert_eq!(any_form(large.as_bytes(), 4096).0, ["0:A", "1:B"]);
}

#[test]
fn what_cannot_be_read_is_named() {
    let utf_16: Vec<u8> = "\u{feff}{\"Records\":[]}"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let log_file = br#"{"Records":[{"eventName":"A"}]}"#;
    for (bytes, expected) in [
        (utf_16.clone(), "the text is UTF-16"),
        (
            utf_16[2..].to_vec(),
            "the text is UTF-16, or the file is damaged",
        ),
        (gzip(&gzip(log_file)), "the content is compressed twice"),
        (b"eventJson\n\"{}\"".to_vec(), "found text such as CSV"),
        (
            b"\xef\xbb\xbf\"eventversion\"\n".to_vec(),
            "found text such as CSV",
        ),
        (
            b"Event name,Event time\n".to_vec(),
            "of the console's event history, download JSON",
        ),
        (
            b"----\n|LookupEvents|".to_vec(),
            "of the AWS CLI, use --output json",
        ),
        (b"ORC".to_vec(), "an ORC or Avro file"),
        (
            br#"{"eventName":"A"}"#[..10].to_vec(),
            "the JSON ends before its root object is closed",
        ),
        (
            b"\xef\xbb{}".to_vec(),
            "expected the rest of a byte order mark",
        ),
        (
            b"[{\"eventName\":1}] x".to_vec(),
            "expected the end of the file or another document, found 'x'",
        ),
        (b" \n".to_vec(), "the file has no content"),
        (
            b"{\"Events\":{}}".to_vec(),
            "the member \"Events\" is not a list",
        ),
    ] {
        let (_, end) = any_form(&bytes, usize::MAX);
        let message = end.unwrap_err();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    for bytes in [utf_16, gzip(&gzip(log_file))] {
        assert_eq!(strict(&bytes).1, any_form(&bytes, 1).1);
    }
}

/// The output of a command of the AWS CLI that answers in pages.
fn page(list: &str, name: &str, more: &Value) -> String {
    let record = json!({"eventName": name}).to_string();
    let element = match list {
        "Events" => json!({"CloudTrailEvent": record}),
        _ => json!([{"eventJson": record}]),
    };
    let mut page = json!({ list: [element] });
    for (key, value) in more.as_object().into_iter().flatten() {
        page[key] = value.clone();
    }
    page.to_string()
}

/// The records before it are read, and it is said that there are more.
#[test]
fn a_file_without_the_last_page_is_incomplete() {
    let (token, last) = (json!({"NextToken": "t"}), json!({"NextToken": null}));
    let events = |name: &str, more: &Value| page("Events", name, more);
    let rows = |name: &str, more: &Value| page("QueryResultRows", name, more);
    let finished = json!({"QueryStatus": "FINISHED"});
    let incomplete = |found: Incomplete| Err(found.to_string());
    for (text, expected) in [
        (events("A", &last), Ok(())),
        (events("A", &json!({"NextToken": ""})), Ok(())),
        (events("A", &token), incomplete(Incomplete::Events)),
        (
            events("A", &token)
                .replacen('{', "{\"NextToken\":\"t\",", 1)
                .replace(",\"NextToken\":\"t\"}", "}"),
            incomplete(Incomplete::Events),
        ),
        // The following pages are in the same file, or not.
        (
            format!("{}\n{}", events("A", &token), events("B", &json!({}))),
            Ok(()),
        ),
        (
            format!("{}{}", events("A", &token), events("B", &token)),
            incomplete(Incomplete::Events),
        ),
        (
            format!("{}{}", events("A", &json!({})), events("B", &token)),
            incomplete(Incomplete::Events),
        ),
        // What continues nothing.
        (
            format!(
                "{}{{\"Records\":[{{\"eventName\":\"B\"}}]}}",
                events("A", &token)
            ),
            incomplete(Incomplete::Events),
        ),
        (
            format!("{}{{\"eventName\":\"B\"}}", events("A", &token)),
            incomplete(Incomplete::Events),
        ),
        (
            format!("{}{}", events("A", &token), rows("B", &finished)),
            incomplete(Incomplete::Events),
        ),
        (rows("A", &finished), Ok(())),
        (rows("A", &token), incomplete(Incomplete::Rows)),
        (
            format!("{}{}", rows("A", &token), rows("B", &finished)),
            Ok(()),
        ),
        (
            rows("A", &json!({"QueryStatus": "RUNNING"})),
            incomplete(Incomplete::Query {
                status: "RUNNING".into(),
            }),
        ),
        // A member of a record, or beside `Records`, is no page.
        (r#"{"eventName":"A","NextToken":"t"}"#.into(), Ok(())),
        (
            r#"{"Records":[{"eventName":"A","NextToken":"t"}],"NextToken":"t"}"#.into(),
            Ok(()),
        ),
        (r#"[{"eventName":"A","NextToken":"t"}]"#.into(), Ok(())),
    ] {
        let mut records = vec!["0:A".to_owned()];
        if text.contains("B") && !text.contains("QueryStatus\":\"R") {
            records.push("1:B".to_owned());
        }
        for chunk in [1, 7, usize::MAX] {
            assert_eq!(
                any_form(text.as_bytes(), chunk),
                (records.clone(), expected.clone()),
                "{text}"
            );
        }
    }
    // A log file is not read otherwise than before.
    let text = br#"{"NextToken":"t","Records":[{"eventName":"A"}]}"#;
    assert_eq!(strict(text), (vec!["0:A".to_owned()], Ok(())));
}

#[test]
fn results_of_athena_are_named() {
    let small = r#"{"UpdateCount":0,"ResultSet":{"Rows":[]}}"#;
    assert_eq!(
        any_form(small.as_bytes(), usize::MAX),
        (
            vec![format!(
                "!record 0 (byte 0) cannot be read: expected a CloudTrail record, found an object with neither eventSource nor eventName, but UpdateCount, ResultSet; {}",
                form::hint("ResultSet").unwrap()
            )],
            Ok(())
        )
    );
    let large = format!(
        r#"{{"UpdateCount":0,"ResultSet":"{}"}}"#,
        "x".repeat(1 << 20)
    );
    let (entries, end) = read_with(LogFile::new(1 << 22).of_any_form(), large.as_bytes(), 4096);
    assert_eq!(entries, Vec::<String>::new());
    let message = end.unwrap_err();
    assert!(
        message.ends_with(form::hint("ResultSet").unwrap()),
        "{message}"
    );
}
