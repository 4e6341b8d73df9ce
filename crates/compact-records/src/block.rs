//! A block: 64 bytes of JSON, as sets of places.
//!
//! Each set is a number of 64 bits, one for each byte of the block, the lowest for the first. Which
//! instructions make the sets is decided here and nowhere else: AVX-512 or AVX2 where the processor has it,
//! which is asked once at run time, else what every processor of the target has (SSE2, NEON). What the sets
//! mean together is the business of `compact`.

use pulp::bytemuck::pod_read_unaligned;
use wide::u8x16;

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// Where in a block the bytes stand that JSON's grammar is made of, in strings or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) quote: u64,
    /// `{` and `[`.
    pub(super) open: u64,
    /// `}` and `]`.
    pub(super) close: u64,
    pub(super) colon: u64,
    pub(super) comma: u64,
    /// Bytes that have the bit 0x20: of the brackets, `{` and `}`.
    pub(super) curly: u64,
    /// `n`, `N`, `s` and `S`: the sixth letters of `eventName` and `eventSource`.
    pub(super) mark: u64,
    /// Whether there is a backslash or a control character: [`Rare`] says where.
    pub(super) rare: bool,
}

/// What most blocks do not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rare {
    pub(super) backslash: u64,
    /// Below U+0020.
    pub(super) control: u64,
}

impl Rare {
    #[cold]
    #[inline(never)]
    pub(super) fn of(bytes: &[u8; BLOCK]) -> Rare {
        let quarters = quarters(bytes);
        let last = u8x16::splat(0x1f);
        Rare {
            backslash: equal(quarters, b'\\'),
            control: set(quarters.map(|quarter| quarter.min(last).simd_eq(quarter))),
        }
    }
}

/// A way to take a block apart.
pub(super) trait Classify: Copy {
    fn classify(self, bytes: &[u8; BLOCK]) -> Block;
}

/// The way for every processor of the target.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Classify for Portable {
    #[inline(always)]
    fn classify(self, bytes: &[u8; BLOCK]) -> Block {
        let quarters = quarters(bytes);
        let lowered = quarters.map(|quarter| quarter | u8x16::splat(0x20));
        let [a, b, c, d] = quarters;
        let least = a.min(b).min(c.min(d));
        let control = least.min(u8x16::splat(0x1f)).simd_eq(least);
        let [a, b, c, d] = quarters.map(|quarter| quarter.simd_eq(u8x16::splat(b'\\')));
        Block {
            quote: equal(quarters, b'"'),
            open: equal(lowered, b'{'),
            close: equal(lowered, b'}'),
            colon: equal(quarters, b':'),
            comma: equal(quarters, b','),
            curly: equal(quarters.map(|quarter| quarter & u8x16::splat(0x20)), 0x20),
            mark: equal(lowered, b'n') | equal(lowered, b's'),
            rare: ((a | b) | (c | d) | control).to_bitmask() != 0,
        }
    }
}

#[inline(always)]
fn quarters(bytes: &[u8; BLOCK]) -> [u8x16; 4] {
    [0, 16, 32, 48].map(|at| pod_read_unaligned(&bytes[at..at + 16]))
}

/// The places of bytes whose top bit is set.
#[inline(always)]
fn set(quarters: [u8x16; 4]) -> u64 {
    let [a, b, c, d] = quarters.map(|quarter| u64::from(quarter.to_bitmask()));
    (a | (b << 16)) | ((c | (d << 16)) << 32)
}

#[inline(always)]
fn equal(quarters: [u8x16; 4], byte: u8) -> u64 {
    set(quarters.map(|quarter| quarter.simd_eq(u8x16::splat(byte))))
}

/// The way for AVX2. These are functions and not closures, because they must be inlined to where pulp has
/// switched AVX2 on.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::__m256i;

    use pulp::{bytemuck::pod_read_unaligned, x86::V3};

    use super::{BLOCK, Block, Classify};

    impl Classify for V3 {
        #[inline(always)]
        fn classify(self, bytes: &[u8; BLOCK]) -> Block {
            let low: __m256i = pod_read_unaligned(&bytes[..32]);
            let high: __m256i = pod_read_unaligned(&bytes[32..]);
            let bit = splat(self, 0x20);
            let (low_lowered, high_lowered) = (or(self, low, bit), or(self, high, bit));
            let least = self.avx2._mm256_min_epu8(low, high);
            let control = self
                .avx2
                ._mm256_cmpeq_epi8(self.avx2._mm256_min_epu8(least, splat(self, 0x1f)), least);
            let backslash = or(self, equal(self, low, b'\\'), equal(self, high, b'\\'));
            let rare = or(self, control, backslash);
            Block {
                quote: both(self, low, high, b'"'),
                open: both(self, low_lowered, high_lowered, b'{'),
                close: both(self, low_lowered, high_lowered, b'}'),
                colon: both(self, low, high, b':'),
                comma: both(self, low, high, b','),
                // Shifted so that 0x20 becomes the top bit.
                curly: set(
                    self,
                    self.avx2._mm256_slli_epi16::<2>(low),
                    self.avx2._mm256_slli_epi16::<2>(high),
                ),
                mark: set(
                    self,
                    or(
                        self,
                        equal(self, low_lowered, b'n'),
                        equal(self, low_lowered, b's'),
                    ),
                    or(
                        self,
                        equal(self, high_lowered, b'n'),
                        equal(self, high_lowered, b's'),
                    ),
                ),
                rare: self.avx2._mm256_movemask_epi8(rare) != 0,
            }
        }
    }

    #[inline(always)]
    fn splat(v3: V3, byte: u8) -> __m256i {
        v3.avx._mm256_set1_epi8(byte.cast_signed())
    }

    #[inline(always)]
    fn or(v3: V3, a: __m256i, b: __m256i) -> __m256i {
        v3.avx2._mm256_or_si256(a, b)
    }

    #[inline(always)]
    fn equal(v3: V3, half: __m256i, byte: u8) -> __m256i {
        v3.avx2._mm256_cmpeq_epi8(half, splat(v3, byte))
    }

    #[inline(always)]
    fn both(v3: V3, low: __m256i, high: __m256i, byte: u8) -> u64 {
        set(v3, equal(v3, low, byte), equal(v3, high, byte))
    }

    /// The places of bytes whose top bit is set.
    #[inline(always)]
    fn set(v3: V3, low: __m256i, high: __m256i) -> u64 {
        let low = v3.avx2._mm256_movemask_epi8(low).cast_unsigned();
        let high = v3.avx2._mm256_movemask_epi8(high).cast_unsigned();
        u64::from(low) | (u64::from(high) << 32)
    }
}

/// The way for AVX-512, which makes a set with one comparison.
#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::__m512i;

    use pulp::{bytemuck::pod_read_unaligned, x86::V4};

    use super::{BLOCK, Block, Classify};

    impl Classify for V4 {
        #[inline(always)]
        fn classify(self, bytes: &[u8; BLOCK]) -> Block {
            let all: __m512i = pod_read_unaligned(bytes);
            let bit = self.avx512f._mm512_set1_epi8(0x20);
            let lowered = self.avx512f._mm512_or_si512(all, bit);
            let control = self.avx512bw._mm512_cmplt_epu8_mask(all, bit);
            Block {
                quote: equal(self, all, b'"'),
                open: equal(self, lowered, b'{'),
                close: equal(self, lowered, b'}'),
                colon: equal(self, all, b':'),
                comma: equal(self, all, b','),
                curly: self.avx512bw._mm512_test_epi8_mask(all, bit),
                mark: equal(self, lowered, b'n') | equal(self, lowered, b's'),
                rare: (equal(self, all, b'\\') | control) != 0,
            }
        }
    }

    #[inline(always)]
    fn equal(v4: V4, all: __m512i, byte: u8) -> u64 {
        let byte = v4.avx512f._mm512_set1_epi8(byte.cast_signed());
        v4.avx512bw._mm512_cmpeq_epi8_mask(all, byte)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Byte by byte, as the fields of [`Block`] are described.
    fn one_by_one(bytes: &[u8; BLOCK]) -> Block {
        let set = |is: &dyn Fn(u8) -> bool| {
            bytes
                .iter()
                .enumerate()
                .fold(0, |set, (at, byte)| set | (u64::from(is(*byte)) << at))
        };
        Block {
            quote: set(&|b| b == b'"'),
            open: set(&|b| matches!(b, b'{' | b'[')),
            close: set(&|b| matches!(b, b'}' | b']')),
            colon: set(&|b| b == b':'),
            comma: set(&|b| b == b','),
            curly: set(&|b| b & 0x20 != 0),
            mark: set(&|b| matches!(b, b'n' | b'N' | b's' | b'S')),
            rare: bytes.iter().any(|b| *b == b'\\' || *b < 0x20),
        }
    }

    proptest! {
        #[test]
        fn every_way_sees_the_same(bytes in prop::array::uniform32(any::<[u8; 2]>())) {
            let bytes = bytes.concat().try_into().unwrap();
            let expected = one_by_one(&bytes);
            prop_assert_eq!(Portable.classify(&bytes), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                prop_assert_eq!(v3.vectorize(|| v3.classify(&bytes)), expected);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(v4) = pulp::x86::V4::try_new() {
                prop_assert_eq!(v4.vectorize(|| v4.classify(&bytes)), expected);
            }
        }
    }
}
