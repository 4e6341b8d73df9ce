use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::record::not_a_record;

/// The elements of a file as text (`!` before an unreadable one), and how reading ended.
type Read = (Vec<String>, Result<(), LogFileError>);

fn read_in_chunks(bytes: &[u8], chunk: usize, limit: u64) -> Read {
    let mut file = LogFile::new(limit);
    let mut seen = Vec::new();
    let mut sink = |entry: Entry| {
        seen.push(match entry {
            Ok(record) => format!("{}:{}", record.index(), record.value()),
            Err(unreadable) => format!("!{unreadable}"),
        });
    };
    let end = bytes
        .chunks(chunk.max(1))
        .try_for_each(|piece| file.push(piece, &mut sink))
        .and_then(|()| file.finish(&mut sink));
    (seen, end)
}

fn read(bytes: &[u8]) -> Read {
    read_in_chunks(bytes, usize::MAX, DEFAULT_MAX_UNCOMPRESSED)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn syntax(text: &str) -> String {
    match read(text.as_bytes()) {
        (_, Err(error @ LogFileError::Syntax { .. })) => error.to_string(),
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn records_in_order() {
    for text in [
        r#"{"Records":[{"eventName":1},{"eventName":"x]}\"\\"}]}"#,
        " { \"Records\" : [ {\"eventName\":1} ,\n{\"eventName\":\"x]}\\\"\\\\\"} ] }\r\n",
        r#"{"x":{"Records":[{"no":1}]},"Records":[{"eventName":1},{"eventName":"x]}\"\\"}],"y":[1,"}",null],"z":-1.5e3}"#,
        r#"{"Rec\u006frds":[{"eventName":1}],"Records":[{"eventName":"x]}\"\\"}]}"#,
    ] {
        let expected = (
            vec![
                r#"0:{"eventName":1}"#.to_owned(),
                r#"1:{"eventName":"x]}\"\\"}"#.to_owned(),
            ],
            Ok(()),
        );
        assert_eq!(read(text.as_bytes()), expected, "{text}");
        for chunk in 1..text.len() {
            assert_eq!(
                read_in_chunks(text.as_bytes(), chunk, 1000),
                expected,
                "{text} in chunks of {chunk}"
            );
            assert_eq!(
                read_in_chunks(&gzip(text.as_bytes()), chunk, 1000),
                expected,
                "{text}, gzip, in chunks of {chunk}"
            );
        }
    }
}

#[test]
fn no_records_and_no_bytes() {
    assert_eq!(read(br#"{"Records":[]}"#), (vec![], Ok(())));
    assert_eq!(read(b""), (vec![], Ok(())));
}

#[test]
fn an_element_that_is_not_a_record_costs_only_itself() {
    let (seen, end) = read(br#"{"Records":[1,{"eventName":1},"x",null,[{}],{"EventSource":2},{"detail":{"eventName":"x"}},{"eventName":null},{}]}"#);
    assert_eq!(end, Ok(()));
    assert_eq!(
        seen,
        [
            "!record 0 (byte 12) cannot be read: expected a JSON object, found a number",
            r#"1:{"eventName":1}"#,
            "!record 2 (byte 30) cannot be read: expected a JSON object, found a string",
            "!record 3 (byte 34) cannot be read: expected a JSON object, found null",
            "!record 4 (byte 39) cannot be read: expected a JSON object, found a list",
            r#"5:{"EventSource":2}"#,
            "!record 6 (byte 62) cannot be read: expected a CloudTrail record, found an object with neither eventSource nor eventName, but detail",
            "!record 7 (byte 91) cannot be read: expected a CloudTrail record, found an object with neither eventSource nor eventName, but eventName",
            "!record 8 (byte 110) cannot be read: expected a CloudTrail record, found an empty object",
        ]
    );
}

#[test]
fn unusual_but_valid_json_is_a_record() {
    let deep = format!("{}{}", "[".repeat(500), "]".repeat(500));
    let text = format!(
        r#"{{"Records":[{{"d":{deep},"eventName":1}},{{"eventName":1e999}},{{"eventName":"\ud800"}}]}}"#
    );
    let (seen, end) = read(text.as_bytes());
    assert_eq!((seen.len(), end), (3, Ok(())));
    assert!(
        seen.iter().all(|record| !record.starts_with('!')),
        "{seen:?}"
    );
    assert!(seen[0].ends_with(r#","eventName":1}"#), "{seen:?}");
}

#[test]
fn a_record_that_is_too_large_costs_only_itself() {
    let text = format!(
        r#"{{"Records":[{{"a":"{}"}},{{"eventName":2}}]}}"#,
        "x".repeat(split::MAX_ELEMENT)
    );
    let (seen, end) = read(&gzip(text.as_bytes()));
    assert_eq!(end, Ok(()));
    assert_eq!(
        seen,
        [
            "!record 0 (byte 12) cannot be read: it has 1048584 bytes; CloudTrail's limit is 256 KB",
            r#"1:{"eventName":2}"#,
        ]
    );
}

#[test]
fn syntax_errors_cost_the_rest_and_have_a_position() {
    for (text, message) in [
        (
            "x",
            "cannot be read as a log file at byte 0, after 0 records: expected '{', found 'x'",
        ),
        (
            "  ",
            "cannot be read as a log file at byte 2, after 0 records: the file has no content: expected {\"Records\":[…]}",
        ),
        (
            "[]",
            "cannot be read as a log file at byte 0, after 0 records: this is not a CloudTrail log file: expected an object {\"Records\":[…]}, found a list",
        ),
        (
            "{}",
            "cannot be read as a log file at byte 2, after 0 records: this is not a CloudTrail log file: its top level has no member \"Records\"",
        ),
        (
            r#"{"Records":null}"#,
            "cannot be read as a log file at byte 11, after 0 records: the member \"Records\" is not a list: expected '[', found 'n'",
        ),
        (
            r#"{"Records":[{"a":1},{"a":}]}"#,
            "cannot be read as a log file at byte 20, after 1 records: record 1: expected value at line 1 column 6",
        ),
        (
            r#"{"Records":[{"a":1} {"b":2}]}"#,
            "cannot be read as a log file at byte 20, after 1 records: expected ',' or ']', found '{'",
        ),
        (
            r#"{"Records":[{"a":1},]}"#,
            "cannot be read as a log file at byte 20, after 1 records: expected a record, found ']'",
        ),
        (
            r#"{"Records":[{"a":[}]}]}"#,
            "cannot be read as a log file at byte 12, after 0 records: record 0: expected value at line 1 column 7",
        ),
        (
            r#"{"Records":[tru]}"#,
            "cannot be read as a log file at byte 12, after 0 records: record 0: EOF while parsing a value at line 1 column 3",
        ),
        (
            r#"{"Records":[{"a":1}]"#,
            "cannot be read as a log file at byte 20, after 1 records: the JSON ends before its root object is closed",
        ),
        (
            r#"{"Records":[{"a":1}]} x"#,
            "cannot be read as a log file at byte 22, after 1 records: expected the end of the file, found 'x'",
        ),
        (
            r#"{"Records":[{"a":1}],"x":nope}"#,
            "cannot be read as a log file at byte 29, after 1 records: the value of a member is not JSON: expected ident at line 1 column 2",
        ),
        (
            r#"{"Records":[{"a":1}"#,
            "cannot be read as a log file at byte 19, after 1 records: the JSON ends before its root object is closed",
        ),
        (
            r#"{"Records":[{"a":"unfinished"#,
            "cannot be read as a log file at byte 28, after 0 records: the JSON ends before its root object is closed",
        ),
    ] {
        assert_eq!(syntax(text), message, "{text}");
    }
}

#[test]
fn damaged_gzip_costs_what_follows_it() {
    let text = format!(
        r#"{{"Records":[{{"a":1}},{{"pad":"{}"}},{{"b":2}}]}}"#,
        noise(200_000)
    );
    let whole = gzip(text.as_bytes());

    let (seen, end) = read(&whole[..whole.len() / 2]);
    assert_eq!(
        (seen.len(), &end),
        (
            1,
            &Err(LogFileError::Truncated {
                compressed: whole.len() as u64 / 2
            })
        )
    );

    let mut damaged = whole.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 0xff;
    let (seen, end) = read(&damaged);
    assert_eq!(seen.len(), 3);
    assert!(matches!(end, Err(LogFileError::Corrupt { .. })), "{end:?}");

    let mut trailing = whole.clone();
    trailing.extend_from_slice(b"garbage");
    assert!(matches!(
        read(&trailing).1,
        Err(LogFileError::Corrupt { .. })
    ));

    let mut padded = whole.clone();
    padded.extend_from_slice(&[0; 512]);
    assert_eq!(read(&padded).1, Ok(()));

    for cut in [whole.len() - 1, whole.len() - 8, 3, 1] {
        let (_, end) = read(&whole[..cut]);
        assert!(end.is_err(), "cut to {cut} bytes");
    }
}

#[test]
fn exceeding_the_limit_is_an_error_and_never_a_truncation() {
    let text = format!(
        r#"{{"Records":[{{"a":1}},{{"pad":"{}"}}]}}"#,
        "x".repeat(100_000)
    );
    let size = text.len() as u64;
    for bytes in [text.clone().into_bytes(), gzip(text.as_bytes())] {
        let (seen, end) = read_in_chunks(&bytes, 100, size - 1);
        assert_eq!(end, Err(LogFileError::TooLarge { limit: size - 1 }));
        // Only the last byte is missing: both records end before the limit.
        assert_eq!(seen.len(), 2);
        assert_eq!(read_in_chunks(&bytes, 100, size).1, Ok(()));
    }
}

/// Text that does not compress well.
fn noise(length: usize) -> String {
    let mut state = 1_u32;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            char::from(b'a' + (state >> 24) as u8 % 26)
        })
        .collect()
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[\\[\\]{}\",:\\\\ ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(
                (
                    prop_oneof![
                        Just("Records".to_owned()),
                        Just("eventName".to_owned()),
                        any::<String>()
                    ],
                    inner
                ),
                0..4
            )
            .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>(), chunk in 1..9_usize) {
        let _ = read_in_chunks(&bytes, chunk, 1000);
        let _ = read_in_chunks(&gzip(&bytes), chunk, 1000);
    }

    #[test]
    fn json_like_bytes_are_accepted_as_by_a_parser(
        text in "(\\{\"Records\":\\[)?[\\[\\]{}\",:\\\\ 1tn\"au]{0,24}(\\]\\})?",
        chunk in 1..9_usize,
    ) {
        let whole = serde_json::from_str::<Value>(&text).ok();
        let (seen, end) = read_in_chunks(text.as_bytes(), chunk, 1000);
        match whole.as_ref().and_then(|value| value.get("Records")).and_then(Value::as_array) {
            Some(records) => {
                prop_assert_eq!(end, Ok(()));
                prop_assert_eq!(seen.len(), records.len());
            }
            None => prop_assert!(end.is_err() || text.is_empty()),
        }
    }

    #[test]
    fn any_json_has_the_records_that_a_parser_finds(
        records in prop::collection::vec(json_value(), 0..5),
        before in json_value(), after in json_value(),
        pretty in any::<bool>(), chunk in 1..40_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let file = json!({"before": before, "Records": records, "after": after});
        let text = if pretty { format!("{file:#}") } else { file.to_string() };
        let expected: Vec<String> = records.iter().enumerate().filter(|(_, r)| r.as_object().is_some_and(|fields| not_a_record(fields).is_none())).map(|(i, r)| format!("{i}:{r}")).collect();

        // The result is the same for any division into gzip members.
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        cuts.push(text.len());
        cuts.sort_unstable();
        let mut members = Vec::new();
        let mut start = 0;
        for cut in cuts {
            members.extend(gzip(&text.as_bytes()[start..cut]));
            start = cut;
        }
        for bytes in [text.as_bytes(), &members] {
            let (seen, end) = read_in_chunks(bytes, chunk, 1_000_000);
            prop_assert_eq!(end, Ok(()));
            prop_assert_eq!(seen.len(), records.len());
            let read: Vec<String> = seen.into_iter().filter(|s| !s.starts_with('!')).collect();
            prop_assert_eq!(&read, &expected);
        }
    }
}
