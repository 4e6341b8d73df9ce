//! Randomly generated log files: mostly as CloudTrail writes them, some with unusual JSON, some with invalid JSON.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn source_name() -> impl Strategy<Value = &'static str> {
    prop_oneof![
        8 => Just("eventSource"),
        1 => prop::sample::select(vec![
            "EventSource", "EVENTSOURCE", "eventsource", "event\\u0053ource", "\\u0065ventSource",
            "event\\Source", "eventSourc\u{212a}", "eventSource ",
        ]),
    ]
}

fn source() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\"s3.amazonaws.com\"",
        "\"s3.amazonaws.com\"",
        "\"kms.amazonaws.com\"",
        "\"\u{212a}ms.amazonaws.com\"",
        "\"km\u{17f}.amazonaws.com\"",
        "\"lambda.amazonaws.com\"",
        "\"sns.amazonaws.com\"",
        "\"cloudhsm.amazonaws.com\"",
        "\"CloudHSM.amazonaws.com\"",
        "\"\\u0063loudhsm.amazonaws.com\"",
        "\"cloudhsm\\u002eamazonaws.com\"",
        "\"cloudhsmv2.amazonaws.com\"",
        "\"cloudhsm.amazonaws.com \"",
        "[\"cloudhsm.amazonaws.com\"]",
        "{\"a\":\"cloudhsm.amazonaws.com\"}",
        "null",
        "5",
        "\"\"",
        "\"cloudhsm.amazonaws.com\\\"\"",
    ])
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "\"DeleteBackup\"",
        "\"deletebackup\"",
        "\"InitializeCluster\"",
        "\"DescribeClusters\"",
        "\"DisableKey\"",
        "\"Decrypt\"",
        "\"UpdateFunctionCode20150331v2\"",
        "\"\\u0044eleteBackup\"",
        "\"D\u{e9}crypt\"",
        "null",
        "[\"DeleteBackup\"]",
    ])
}

/// Nested objects and lists. Some have more levels than the scanner tracks, than 64 bits, or than serde_json permits.
/// Some have missing or extra closing brackets, up to whole blocks of them.
fn deep() -> impl Strategy<Value = String> {
    let levels = prop::sample::select(vec![1, 15, 16, 38, 39, 40, 41, 63, 64, 65, 119, 120, 200]);
    let brackets = prop::sample::select(vec![
        ("[", "]"),
        ("{\"\":", "}"),
        ("[{\"a\":", "}]"),
        ("{\"a\":[", "]}"),
        ("{\"a\":{\"b\":[1,", "]}}"),
        ("{", "}"),
    ]);
    let leaf = prop::sample::select(vec!["1", "\"x\"", "{}", "[]", ""]);
    let more = prop_oneof![12 => Just(0), 1 => Just(-1), 1 => Just(1), 1 => 50..200_i32];
    (levels, brackets, leaf, more).prop_map(|(levels, (open, close), leaf, more)| {
        let opened = (levels / open.matches(['[', '{']).count()).max(1);
        let closed = opened.saturating_add_signed(more as isize);
        format!("{}{leaf}{}", open.repeat(opened), close.repeat(closed))
    })
}

/// Runs of backslashes, some longer than a block.
fn backslashes() -> impl Strategy<Value = String> {
    (
        0..140_usize,
        "[a-z ]{0,70}",
        prop::sample::select(vec!["", "\\", "\"", "n", "u00e9", "q"]),
    )
        .prop_map(|(count, before, end)| format!("\"{before}{}{end}\"", "\\".repeat(count)))
}

/// Keys, some of them longer than a block.
fn key() -> impl Strategy<Value = String> {
    prop_oneof![20 => "[a-zA-Z]{0,12}", 1 => "[a-z ]{50,200}"]
}

fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(vec![
            "true",
            "false",
            "null",
            "0",
            "-1",
            "1376.0",
            "1.68E9",
            "-0.5e-7",
            "1e999",
            "{}",
            "[]",
            "tru",
            "01",
            "1.",
            "-",
            "nul",
            "\"\\ud800\"",
            "\"\\ud83d\\ude00\"",
            "\"\\u12\"",
            "\"\\x\"",
            "\"a\\\\\"",
            "\"\\\"}]\"",
            "\"stop-IT\"",
            "\"st\\u006fp-it\"",
            "\"\u{17f}top-it\"",
            "{\"a\":\"x Stop-it x\"}",
            "\"cloudhsm.amazonaws.com\"",
            "\"\u{e9}\u{1f600}\"",
            "\"a\tb\"",
            "{\"eventSource\":\"cloudhsm.amazonaws.com\"}",
            "123456789012345678901234567890123456789012345678901234567890123456789",
        ])
        .prop_map(str::to_owned),
        "\"[a-zA-Z0-9 {}\\[\\]:,.]{0,80}\"",
    ];
    let leaf = prop_oneof![30 => leaf, 1 => deep(), 1 => backslashes()];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|values| format!("[{}]", values.join(","))),
            prop::collection::vec((key(), inner), 0..4).prop_map(|members| {
                let members: Vec<_> = members
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\":{value}"))
                    .collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

/// Valid values, so that generated records are mostly valid.
fn valid_value() -> impl Strategy<Value = String> {
    value().prop_map(|text| {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)
            .map_or_else(|_| "\"was invalid\"".to_owned(), |_| text)
    })
}

/// Values that rules often test for.
fn tested_value() -> impl Strategy<Value = String> {
    let common = prop::sample::select(vec![
        "null",
        "null",
        "{}",
        "{\"a\":null}",
        "\"stop-IT\"",
        "{\"a\":\"x Stop-it x\"}",
        "{\"a\":[\"st\\u006fp-it\"]}",
        "[null]",
        "{\"omitted\":true}",
        "\"\"",
        "\" \"",
        "{\"reason\":\"r\",\"Omitted\":\"True\",\"originalSize\":7}",
        "{\"omi\\u0074ted\":true}",
        "{\"omitted\":false}",
        "{\"omitted\":true,\"a\":1}",
    ]);
    prop_oneof![common.prop_map(str::to_owned), valid_value()]
}

fn record() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        3 => (source_name(), source()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        4 => (prop::sample::select(vec!["requestParameters", "requestParameters", "errorCode", "ErrorCode", "n"]), tested_value())
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
        3 => (prop::sample::select(vec!["eventName", "eventName", "eventName", "EventName"]), name())
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
        6 => ("[a-zA-Z]{1,14}", valid_value()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        1 => ("[a-zA-Z\\\\u04]{1,14}", value()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        1 => Just("\"$serde_json::private::Number\":\"x\"".to_owned()),
    ];
    (prop::collection::vec(member, 0..9), any::<bool>()).prop_map(|(members, ordinary)| {
        let text = members.join(",");
        if ordinary {
            format!("{{\"eventVersion\":\"1.11\",\"eventSource\":\"s3.amazonaws.com\",\"eventName\":\"PutObject\",{}}}", text)
                .replace(",}", "}")
        } else {
            format!("{{{text}}}")
        }
    })
}

/// A valid record, usually of S3.
fn valid_record() -> impl Strategy<Value = String> {
    let member = prop_oneof![
        1 => (source_name(), source()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
        6 => (prop::sample::select(vec!["requestParameters", "requestParameters", "errorCode", "ErrorCode", "n"]), tested_value())
            .prop_map(|(name, value)| format!("\"{name}\":{value}")),
        1 => ("[a-zA-Z]{1,14}", valid_value()).prop_map(|(name, value)| format!("\"{name}\":{value}")),
    ];
    let source = prop_oneof![2 => Just("\"s3.amazonaws.com\""), 1 => source()];
    let name = prop_oneof![1 => Just("\"PutObject\""), 1 => name()];
    (
        source,
        name,
        prop::collection::vec(member, 0..5),
        any::<prop::sample::Index>(),
    )
        .prop_map(|(source, name, mut members, at)| {
            let call = format!("\"eventSource\":{source},\"eventName\":{name}");
            members.insert(at.index(members.len() + 1), call);
            format!("{{{}}}", members.join(","))
        })
}

/// A log file of valid records.
pub(super) fn valid_file() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(valid_record(), 1..12)
        .prop_map(|records| format!("{{\"Records\":[{}]}}", records.join(",")).into_bytes())
}

/// The text of a log file. Start, separators and end are sometimes unusual, and sometimes one byte is changed.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let between = prop_oneof![
        12 => Just(","),
        1 => prop::sample::select(vec![" ,", ", ", ",\n", ",,", "", ",1,", ",\"x\",", ",[],", ",null,", "],\"Records\":["]),
    ];
    let start = prop_oneof![
        8 => Just("{\"Records\":[".to_owned()),
        2 => prop::sample::select(vec![
            "\u{feff}{\"Records\":[", "{ \"Records\" : [ ", "{\"R\\u0065cords\":[", "{\"records\":[", "{\"Records\":[],\"Records\":[",
            "{\"x\":{\"Records\":[{\"eventSource\":\"cloudhsm.amazonaws.com\"}]},\"Records\":[", "[", "",
            "{\"Records\":[{\"Records\":[{\"eventSource\":\"cloudhsm.amazonaws.com\",\"eventName\":\"DeleteBackup\"}]},",
        ]).prop_map(str::to_owned),
        1 => value().prop_map(|value| format!("{{\"x\":{value},\"Records\":[")),
    ];
    let end = prop_oneof![
        6 => Just("]}".to_owned()),
        3 => prop::sample::select(vec!["]}\n", "] }", "],\"x\":{\"y\":[1]}}", "]", "", "]}{}", "]}{\"Records\":[]}", "]}\0", "}]"])
            .prop_map(str::to_owned),
        1 => value().prop_map(|value| format!("],\"x\":{value}}}")),
    ];
    let change = prop_oneof![
        3 => Just(None),
        2 => (any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"\"\\{}[]:, \x00\n\xffen1-".to_vec())).prop_map(Some),
    ];
    let records = prop::collection::vec((record(), between), 1..12);
    (start, records, end, change).prop_map(|(start, records, end, change)| {
        let mut text = start.into_bytes();
        for (index, (record, between)) in records.iter().enumerate() {
            text.extend(record.bytes());
            if index + 1 < records.len() {
                text.extend(between.bytes());
            }
        }
        text.extend(end.bytes());
        if let Some((at, how, byte)) = change {
            let at = at.index(text.len());
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        text
    })
}

/// How the text is stored.
#[derive(Debug, Clone)]
enum Stored {
    Plain,
    /// One or two gzip members, optionally followed by other bytes or truncated.
    Gzip {
        cut: Option<prop::sample::Index>,
        trailing: &'static [u8],
        missing: usize,
    },
    Utf16,
}

/// A log file.
pub(super) fn file() -> impl Strategy<Value = Vec<u8>> {
    let trailing: Vec<&'static [u8]> = vec![b"", b"\0\0\0", b"x", b"\x1f", b"\x1f\x8b"];
    let stored = prop_oneof![
        12 => Just(Stored::Plain),
        6 => (any::<Option<prop::sample::Index>>(), prop::sample::select(trailing), prop_oneof![4 => Just(0), 1 => 1..30_usize])
            .prop_map(|(cut, trailing, missing)| Stored::Gzip { cut, trailing, missing }),
        1 => Just(Stored::Utf16),
    ];
    (text(), stored).prop_map(|(text, stored)| match stored {
        Stored::Plain => text,
        Stored::Utf16 => text.iter().flat_map(|byte| [*byte, 0]).collect(),
        Stored::Gzip {
            cut,
            trailing,
            missing,
        } => {
            let at = cut.map_or(text.len(), |cut| cut.index(text.len() + 1));
            let mut bytes = gzip(&text[..at]);
            if at < text.len() {
                bytes.extend(gzip(&text[at..]));
            }
            bytes.extend(trailing);
            bytes.truncate(bytes.len().saturating_sub(missing));
            bytes
        }
    })
}
