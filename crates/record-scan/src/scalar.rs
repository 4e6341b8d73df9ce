//! Scalars (numbers, `true`, `false`, `null`) and escapes: the parts of JSON's grammar that bitmasks do not check. Each
//! function looks at the beginning of the bytes, and rejects what it does not support.

/// Maximum length of a scalar and the byte after it. JSON has no limit, and CloudTrail's numbers are far shorter.
pub(super) const MAX_SCALAR: usize = 64;

/// Whether the bytes start with a scalar, followed directly by a comma or a closing bracket.
#[inline(always)]
pub(super) fn is_scalar(bytes: &[u8]) -> bool {
    const TRUE: [u8; 4] = *b"true";
    const FALS: [u8; 4] = *b"fals";
    const NULL: [u8; 4] = *b"null";
    let Some(bytes) = bytes.first_chunk::<MAX_SCALAR>() else {
        return false;
    };
    let start = [bytes[0], bytes[1], bytes[2], bytes[3]];
    let is_false = start == FALS && bytes[4] == b'e';
    let length = if start == TRUE || start == NULL || is_false {
        Some(4 + usize::from(is_false))
    } else {
        number_length(bytes)
    };
    length.is_some_and(|length| matches!(bytes.get(length), Some(b',' | b'}' | b']')))
}

/// The length of the number that the bytes start with.
fn number_length(bytes: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let count = bytes
            .get(from..)?
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        (count > 0).then_some(from + count)
    };
    let mut at = usize::from(bytes.first() == Some(&b'-'));
    at = if bytes.get(at) == Some(&b'0') {
        at + 1
    } else {
        digits(at)?
    };
    if bytes.get(at) == Some(&b'.') {
        at = digits(at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1;
        at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        at = digits(at)?;
    }
    Some(at)
}

/// Whether the bytes after a backslash are an escape. Half a surrogate pair is accepted; the parser replaces it.
pub(super) fn is_escape(bytes: &[u8]) -> bool {
    match bytes.first() {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => true,
        Some(b'u') => bytes
            .get(1..5)
            .is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn padded(text: &str) -> Vec<u8> {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(MAX_SCALAR + text.len(), 0);
        bytes
    }

    proptest! {
        #[test]
        fn scalars_are_those_of_serde_json(text in "(true|false|null|-?[0-9.eE+-]{0,8}|[a-z0-9.]{0,6})[,}\\]x]") {
            let expected = !text.ends_with('x')
                && matches!(
                    serde_json::from_str(&text[..text.len() - 1]),
                    Ok(Value::Null | Value::Bool(_) | Value::Number(_))
                )
                && !text[..text.len() - 1].contains([',', '}', ']']);
            prop_assert_eq!(is_scalar(&padded(&text)), expected);
        }

        #[test]
        fn escapes_are_those_of_serde_json(text in "[a-z/\\\\]|u[0-9a-gA-G]{0,4}|.") {
            let whole = serde_json::from_str::<String>(&format!("\"\\{text}xxxx\""));
            // serde_json rejects half a surrogate pair.
            let is_half = u16::from_str_radix(text.get(1..).unwrap_or_default(), 16)
                .is_ok_and(|unit| text.len() == 5 && (0xd800..0xe000).contains(&unit));
            prop_assert_eq!(is_escape(&padded(&format!("{text}xxxx"))), whole.is_ok() || is_half);
        }
    }
}
