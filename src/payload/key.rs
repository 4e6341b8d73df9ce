//! An object's key as S3 writes it in notifications: form-url-encoded, with a space as `+` and a plus as `%2B`.
//! Source: Amazon S3 User Guide, "Event message structure".

use percent_encoding::percent_decode_str;

/// The decoded key.
///
/// # Errors
/// The decoded bytes are not UTF-8. S3's keys always are.
pub(super) fn decode(encoded: &str) -> Result<String, String> {
    let with_spaces = encoded.replace('+', " ");
    percent_decode_str(&with_spaces)
        .decode_utf8()
        .map(|key| key.into_owned())
        .map_err(|error| format!("the decoded object key {encoded:?} is not UTF-8: {error}"))
}

#[cfg(test)]
mod tests {
    use super::decode;
    use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    #[test]
    fn plus_is_a_space_and_percent_2b_a_plus() {
        for (encoded, key) in [
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("a%20b", "a b"),
            ("AWSLogs%2F1%2Fx.json.gz", "AWSLogs/1/x.json.gz"),
            ("100%25", "100%"),
            ("50%", "50%"),
            ("%E6%97%A5", "日"),
            ("日", "日"),
        ] {
            assert_eq!(decode(encoded).as_deref(), Ok(key), "{encoded}");
        }
        assert!(decode("%FF").is_err());
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(key in "\\PC{0,60}") {
            // As S3 does: percent-encoding, then a plus for each space.
            let encoded = utf8_percent_encode(&key, NON_ALPHANUMERIC).to_string().replace("%20", "+");
            prop_assert_eq!(decode(&encoded), Ok(key));
        }

        #[test]
        fn no_input_panics(encoded in any::<String>()) {
            let _ = decode(&encoded);
        }
    }
}
