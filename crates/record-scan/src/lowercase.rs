//! A record in lower case, for searches that ignore case.

use wide::u8x16;

/// Writes the record's bytes in lower case to `lowercase`. Returns false, with nothing useful written, if the record
/// may contain letters that a search in its bytes does not find: it has a `\u` escape, or a character that is not
/// ASCII (some of these fold to an ASCII letter).
// Not inlined: a caller that is optimized for size would apply that to this function, too.
#[inline(never)]
pub fn lowercase_ascii(record: &[u8], lowercase: &mut Vec<u8>) -> bool {
    if memchr::memmem::find(record, b"\\u").is_some() {
        return false;
    }
    lowercase.clear();
    lowercase.extend_from_slice(record);
    // Vectorized by hand, because the compiler does not do it where the program around is optimized for size.
    let (chunks, rest) = lowercase.as_chunks_mut::<16>();
    let mut all = u8x16::splat(0);
    for chunk in chunks {
        let bytes = u8x16::new(*chunk);
        all |= bytes;
        let is_upper = bytes.max(u8x16::splat(b'A')).simd_eq(bytes)
            & bytes.min(u8x16::splat(b'Z')).simd_eq(bytes);
        *chunk = (bytes | (is_upper & u8x16::splat(0x20))).to_array();
    }
    rest.make_ascii_lowercase();
    all.to_bitmask() == 0 && rest.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_plain_ascii_is_lowercased(record in "([ -~]|\\\\u|\\PC){0,40}") {
            let mut lowercase = b"old content".to_vec();
            let is_ascii = lowercase_ascii(record.as_bytes(), &mut lowercase);
            prop_assert_eq!(is_ascii, record.is_ascii() && !record.contains("\\u"));
            if is_ascii {
                prop_assert_eq!(lowercase, record.to_ascii_lowercase().into_bytes());
            }
        }
    }

    #[test]
    fn hidden_letters_are_found_at_every_position() {
        for length in 0..40 {
            let mut lowercase = Vec::new();
            for hidden in ["\\u0044", "\u{212a}"] {
                let record = format!("{}{hidden}", "A".repeat(length));
                assert!(
                    !lowercase_ascii(record.as_bytes(), &mut lowercase),
                    "{record}"
                );
            }
            assert!(lowercase_ascii(
                "AZ[@".repeat(length).as_bytes(),
                &mut lowercase
            ));
            assert_eq!(lowercase, "az[@".repeat(length).as_bytes());
        }
    }
}
