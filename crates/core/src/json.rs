//! JSON, read as tolerantly as it is legal.
//!
//! A record that a strict reader refuses is a call that nobody hears of, and what a record says is partly
//! in the caller's hands. JSON allows what Rust's strings and a recursive parser do not take: half a
//! surrogate pair (CloudTrail cuts long fields, and may cut a pair in two) and any depth of nesting; numbers
//! of any size are kept as written (serde_json's `arbitrary_precision`). Here these are mended, as are bytes
//! that are not UTF-8, and what is not JSON stays an error.
//!
//! With `arbitrary_precision` and `raw_value`, serde_json takes an object with a certain name in it for a
//! number or for JSON in a text, and refuses what is neither. Such a name, which a caller may choose, is a
//! name here like any other.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The name under which serde_json hands a number over.
const NUMBER: &str = "$serde_json::private::Number";

/// Deeper values than this become [`TOO_DEEP`]. serde_json stops at 128; records go 11 deep.
const MAX_DEPTH: usize = 120;
const TOO_DEEP: &[u8] = b"\"[nested too deeply]\"";

/// The value of a JSON text.
///
/// # Errors
/// The text is not JSON; the error is that of the text as it came.
pub fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    strict(text).or_else(|error| {
        let text = String::from_utf8_lossy(text);
        let mended = mend_surrogates(text.as_bytes());
        // What is replaced for its depth must be JSON, too: whether a text is does not depend on how deep it is.
        // To ignore a value takes serde_json no recursion.
        if serde_json::from_slice::<IgnoredAny>(&mended).is_err() {
            return Err(error);
        }
        strict(&mend_depth(&mended)).map_err(|_| error)
    })
}

/// The value, as serde_json reads it but for that name.
fn strict(text: &[u8]) -> Result<Value, serde_json::Error> {
    // All of it at once: otherwise serde_json looks at the bytes of each text.
    match str::from_utf8(text) {
        Ok(text) => read(serde_json::Deserializer::from_str(text)),
        Err(_) => read(serde_json::Deserializer::from_slice(text)),
    }
}

fn read<'de, R: serde_json::de::Read<'de>>(
    mut json: serde_json::Deserializer<R>,
) -> Result<Value, serde_json::Error> {
    let value = Reader(&mut Vec::new()).deserialize(&mut json)?;
    json.end()?;
    Ok(value)
}

/// Reads a value. The members of an object are gathered behind those of the objects around it, until it is known
/// how many they are: to make room for them again and again takes a fifth of the time of a record.
struct Reader<'m>(&'m mut Vec<(String, Value)>);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
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
        while let Some(item) = items.next_element_seed(Reader(self.0))? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let before = self.0.len();
        while let Some(name) = members.next_key()? {
            let value = members.next_value_seed(Reader(self.0))?;
            self.0.push((name, value));
        }
        let object: Map<String, Value> = self.0.drain(before..).collect();
        // A number comes as an object of one member, a text that is a number. A record may say the same,
        // and that is then taken for the number.
        if object.len() == 1
            && let Some(Value::String(text)) = object.get(NUMBER)
            && let Ok(number) = text.parse::<Number>()
        {
            return Ok(Value::Number(number));
        }
        Ok(Value::Object(object))
    }
}

/// What sort of JSON a value is, for messages that say what was found.
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

/// The same JSON with every lone `\ud800`–`\udfff` escape replaced by `\ufffd`.
fn mend_surrogates(json: &[u8]) -> Vec<u8> {
    let mut mended = json.to_vec();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &json[at..]) {
        at += found;
        match surrogate(json, at) {
            Some(0xd800..=0xdbff) if matches!(surrogate(json, at + 6), Some(0xdc00..=0xdfff)) => {
                at += 12;
            }
            Some(_) => {
                mended[at..at + 6].copy_from_slice(b"\\ufffd");
                at += 6;
            }
            // Any other escape: two bytes, so that the second of `\\` starts nothing.
            None => at = (at + 2).min(json.len()),
        }
    }
    mended
}

/// The value of a `\uXXXX` escape of a surrogate at this place.
fn surrogate(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    let code = u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    (0xd800..=0xdfff).contains(&code).then_some(code)
}

/// The same JSON with every object and list below [`MAX_DEPTH`] replaced.
fn mend_depth(json: &[u8]) -> Vec<u8> {
    let mut mended = Vec::with_capacity(json.len());
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
                        mended.extend_from_slice(TOO_DEEP);
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
            mended.push(byte);
        }
    }
    mended
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
    fn what_is_legal_is_read() {
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
    fn what_is_not_json_is_an_error() {
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
        fn no_bytes_panic_and_strict_json_is_read_as_it_is(bytes in any::<Vec<u8>>(), text in "[\\[\\]{}\",:\\\\ 1ud8]{0,30}") {
            let _ = parse(&bytes);
            if let Ok(strict) = serde_json::from_str::<Value>(&text) {
                prop_assert_eq!(parse(text.as_bytes()).ok(), Some(strict));
            }
        }
    }
}
