//! A record in lower case, for whoever looks for a text whatever its case.

use wide::u8x16;

/// Writes the record's bytes in lower case to `lower`, unless a text may stand in it without showing: an escape
/// by number may hide a letter, and so may a character beyond ASCII that folds to one.
// Inlined into what is optimized for size, it would be, too.
#[inline(never)]
pub fn lower_plain(record: &[u8], lower: &mut Vec<u8>) -> bool {
    if memchr::memmem::find(record, b"\\u").is_some() {
        return false;
    }
    lower.clear();
    lower.extend_from_slice(record);
    // By hand, because the compiler makes vectors of no loop where the program around it is optimized for size.
    let (pieces, rest) = lower.as_chunks_mut::<16>();
    let mut all = u8x16::splat(0);
    for piece in pieces {
        let bytes = u8x16::new(*piece);
        all |= bytes;
        let is_upper = bytes.max(u8x16::splat(b'A')).simd_eq(bytes)
            & bytes.min(u8x16::splat(b'Z')).simd_eq(bytes);
        *piece = (bytes | (is_upper & u8x16::splat(0x20))).to_array();
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
        fn only_what_shows_every_letter_is_lowered(record in "([ -~]|\\\\u|\\PC){0,40}") {
            let mut lower = b"left".to_vec();
            let is_plain = lower_plain(record.as_bytes(), &mut lower);
            prop_assert_eq!(is_plain, record.is_ascii() && !record.contains("\\u"));
            if is_plain {
                prop_assert_eq!(lower, record.to_ascii_lowercase().into_bytes());
            }
        }
    }

    #[test]
    fn what_hides_a_letter_is_seen_anywhere() {
        for length in 0..40 {
            let mut lower = Vec::new();
            for hiding in ["\\u0044", "\u{212a}"] {
                let record = format!("{}{hiding}", "A".repeat(length));
                assert!(!lower_plain(record.as_bytes(), &mut lower), "{record}");
            }
            assert!(lower_plain("AZ[@".repeat(length).as_bytes(), &mut lower));
            assert_eq!(lower, "az[@".repeat(length).as_bytes());
        }
    }
}
