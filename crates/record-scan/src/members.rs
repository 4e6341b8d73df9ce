//! The members of a record's top level.

use memchr::memchr2;

/// Calls `sink` for each member of a JSON object's top level with its key, as written, and the position of its value.
/// The result for bytes that are not a JSON object is unspecified.
pub fn top_level_members<'r>(object: &'r [u8], sink: &mut impl FnMut(&'r [u8], usize)) {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = object.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let start = at + 1;
                let Some(end) = end_of_string(object, start) else {
                    return;
                };
                at = end;
                if depth == 1
                    && let Some(colon) = skip_white_space(object, end + 1)
                    && object[colon] == b':'
                    && let Some(value) = skip_white_space(object, colon + 1)
                {
                    sink(&object[start..end], value);
                    at = colon;
                }
            }
            _ => {}
        }
        at += 1;
    }
}

/// Position of the quote that ends the string whose content starts at `at`.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// Position of the next byte that is not white space.
fn skip_white_space(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let length = rest
        .iter()
        .position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))?;
    Some(from + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn read(object: &[u8]) -> Vec<(String, u8)> {
        let mut found = Vec::new();
        top_level_members(object, &mut |key, value| {
            found.push((String::from_utf8_lossy(key).into_owned(), object[value]));
        });
        found
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = || "[a\"\\\\{}\\[\\]:, é]{0,6}";
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 20, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text(), inner), 0..4)
                    .prop_map(|all| Value::Object(all.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_top_level_member_is_found(values in prop::collection::vec(value(), 0..6), wide in any::<bool>()) {
            let object: Value = values
                .into_iter()
                .enumerate()
                .map(|(n, value)| (format!("n{n}"), value))
                .collect();
            let text = if wide { format!("{object:#}") } else { object.to_string() };
            let expected: Vec<_> = object
                .as_object()
                .unwrap()
                .iter()
                .map(|(name, value)| (name.clone(), value.to_string().as_bytes()[0]))
                .collect();
            prop_assert_eq!(read(text.as_bytes()), expected);
        }

        #[test]
        fn no_bytes_panic(bytes in "[{}\\[\\]:,\"\\\\ a]{0,20}") {
            read(bytes.as_bytes());
        }
    }

    #[test]
    fn a_duplicate_key_is_found_twice() {
        let object = br#"{"a":null,"b":{"a":1},"a":"x"}"#;
        let expected = [("a", b'n'), ("b", b'{'), ("a", b'"')];
        assert_eq!(
            read(object),
            expected.map(|(name, first)| (name.to_owned(), first))
        );
        assert_eq!(read(json!([{"a": 1}]).to_string().as_bytes()), []);
    }
}
