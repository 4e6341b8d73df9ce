//! A lenient JSON parser for records, on top of serde_json.
//!
//! A record that cannot be parsed cannot raise an alert, and callers control part of its content. So this parser
//! accepts valid JSON that serde_json rejects, and input that is not quite valid UTF-8:
//!
//! - Lone surrogates are replaced by U+FFFD. CloudTrail cuts long fields, possibly within a surrogate pair.
//! - Values nested too deeply are replaced by a placeholder. serde_json limits the depth of its recursion.
//! - Bytes that are not UTF-8 are replaced by U+FFFD.
//! - Numbers of any size are kept as written (serde_json's `arbitrary_precision`).
//! - A member with a name that serde_json uses internally is an ordinary member. With `arbitrary_precision` and
//!   `raw_value`, serde_json interprets such an object as a number or as raw JSON, and rejects the document if it
//!   is neither.
//!
//! Any other syntax error is an error here, too.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The member name by which serde_json represents a number (private to serde_json).
const NUMBER: &str = "$serde_json::private::Number";

/// Objects and lists below this depth are replaced by [`TOO_DEEP`]. serde_json's limit is 128. Records have about
/// 11 levels.
const MAX_DEPTH: usize = 120;
const TOO_DEEP: &[u8] = b"\"[nested too deeply]\"";

/// Parses a JSON document.
///
/// # Errors
/// The document is not JSON. Positions in the error refer to the original text.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    strict(text).or_else(|error| {
        let text = String::from_utf8_lossy(text);
        let text = replace_lone_surrogates(text.as_bytes());
        // Validates the values that limit_depth removes. serde_json does not recurse to ignore a value, so its depth
        // limit does not apply.
        if serde_json::from_slice::<IgnoredAny>(&text).is_err() {
            return Err(error);
        }
        strict(&limit_depth(&text)).map_err(|_| error)
    })
}

/// Parses JSON as serde_json does, except for its internal names.
fn strict(text: &[u8]) -> Result<Value, serde_json::Error> {
    // One UTF-8 check of the whole text. From a slice, serde_json checks each string.
    match str::from_utf8(text) {
        Ok(text) => parse_all(serde_json::Deserializer::from_str(text)),
        Err(_) => parse_all(serde_json::Deserializer::from_slice(text)),
    }
}

fn parse_all<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
) -> Result<Value, serde_json::Error> {
    let value = ValueSeed(&mut Vec::new()).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Builds a value. The vector is a stack: members of an object are pushed after those of the enclosing objects and
/// moved to a map of the right size at the end. Growing a map for each object would take a fifth of the time that
/// parsing a record takes.
struct ValueSeed<'m>(&'m mut Vec<(String, Value)>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(ValueSeed(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let start = self.0.len();
        while let Some(name) = members.next_key()? {
            let value = members.next_value_seed(ValueSeed(self.0))?;
            self.0.push((name, value));
        }
        let object: Map<String, Value> = self.0.drain(start..).collect();
        // serde_json passes a number as an object with this one member. An object in the record that looks the same
        // becomes a number.
        if object.len() == 1
            && let Some(Value::String(text)) = object.get(NUMBER)
            && let Ok(number) = text.parse::<Number>()
        {
            return Ok(Value::Number(number));
        }
        Ok(Value::Object(object))
    }
}

/// The JSON type of a value, for error messages.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Replaces each lone `\ud800`–`\udfff` escape by `\ufffd`.
fn replace_lone_surrogates(json: &[u8]) -> Vec<u8> {
    let mut replaced = json.to_vec();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json[at..]) {
        at += found;
        match surrogate(json, at) {
            Some(0xd800..=0xdbff) if matches!(surrogate(json, at + 6), Some(0xdc00..=0xdfff)) => {
                at += 12;
            }
            Some(_) => {
                replaced[at..at + 6].copy_from_slice(b"\\ufffd");
                at += 6;
            }
            // Another escape. Both bytes are skipped, so that the second `\` of `\\` does not start an escape.
            None => at = (at + 2).min(json.len()),
        }
    }
    replaced
}

/// The code unit of a `\uXXXX` escape at this position, if it is a surrogate.
fn surrogate(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

/// Replaces each object and list below [`MAX_DEPTH`] by [`TOO_DEEP`].
fn limit_depth(json: &[u8]) -> Vec<u8> {
    let mut limited = Vec::with_capacity(json.len());
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for &byte in json {
        if in_string {
            in_string = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
        } else {
            match byte {
                b'"' => in_string = true,
                b'{' | b'[' => {
                    depth += 1;
                    if depth == MAX_DEPTH + 1 {
                        limited.extend_from_slice(TOO_DEEP);
                    }
                }
                b'}' | b']' => {
                    depth = depth.saturating_sub(1);
                    if depth == MAX_DEPTH {
                        continue;
                    }
                }
                _ => {}
            }
        }
        if depth <= MAX_DEPTH {
            limited.push(byte);
        }
    }
    limited
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn read(text: &[u8]) -> String {
        parse(text).map_or_else(|error| format!("error: {error}"), |value| value.to_string())
    }

    #[test]
    fn valid_json_is_parsed() {
        let deep = |depth: usize| {
            format!(
                "{{\"d\":{}1{},\"x\":\"a]\\\"b\"}}",
                "[".repeat(depth),
                "]".repeat(depth)
            )
        };
        for (text, expected) in [
            (
                r#"{"a":"\ud83d\ude00 \ud83d \\ud83d \ude00"}"#,
                json!({"a": "\u{1f600} \u{fffd} \\ud83d \u{fffd}"}).to_string(),
            ),
            (
                "{\"n\":1e400,\"m\":1.68E9,\"k\":1376.0}",
                "{\"n\":1e+400,\"m\":1.68e+9,\"k\":1376.0}".to_owned(),
            ),
            (&deep(119), deep(119)),
            (
                &deep(5000),
                format!(
                    "{{\"d\":{}\"[nested too deeply]\"{},\"x\":\"a]\\\"b\"}}",
                    "[".repeat(119),
                    "]".repeat(119)
                ),
            ),
        ] {
            assert_eq!(read(text.as_bytes()), expected);
        }
        assert_eq!(read(b"{\"a\":\"x\xffy\"}"), "{\"a\":\"x\u{fffd}y\"}");
    }

    #[test]
    fn invalid_json_is_an_error() {
        for text in ["", "{", "{\"a\":}", "[1,]", "\"\\x\"", "nul", "{\"a\":1}}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text}");
        }
        let unbalanced = "[".repeat(5000);
        assert!(parse(unbalanced.as_bytes()).is_err());
        for inner in [
            "1",
            "1 1",
            "{]",
            "\"\\x\"",
            "nul",
            "1,",
            "{\"a\" 1}",
            "tru",
            "01",
        ] {
            for depth in [1, 100, 119, 120, 121, 127, 128, 129, 200, 5000] {
                let text = format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
                assert_eq!(
                    parse(text.as_bytes()).is_ok(),
                    inner == "1",
                    "{inner} at {depth}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_strict_json_is_unchanged(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}\",:\\\\ 1ud8]{0,30}") {
            let _ = parse(&bytes);
            if let Ok(strict) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(parse(text.as_bytes()).ok(), Some(strict));
            }
        }
    }
}
