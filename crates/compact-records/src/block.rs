//! A block: 64 bytes of JSON, as sets of places.
//!
//! Each set is a number of 64 bits, one for each byte of the block, the lowest for the first. Which
//! instructions make the sets and combine them is decided here and nowhere else: AVX-512 or AVX2 where the
//! processor has it, which is asked once at run time, else what every processor of the target has (SSE2,
//! NEON). What the sets mean together is the business of `grammar`.

use pulp::bytemuck::pod_read_unaligned;
use wide::{u8x16, u64x8};

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
    /// `m`, `M`, `u` and `U`: the eighth letters of `eventName` and `eventSource`, which few other names have
    /// there.
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

/// Sets of eight blocks that follow one another.
pub(super) type EightSets = [u64; 8];

/// A way to take a block apart, and to work on the sets of eight blocks at a time. The compiler would not do the
/// latter by itself where the program around it is optimized for size.
pub(super) trait Way: Copy {
    /// [`EightSets`] in registers.
    type Eight: Copy;

    fn classify(self, bytes: &[u8; BLOCK]) -> Block;
    fn load(self, sets: &EightSets) -> Self::Eight;
    fn store(self, sets: Self::Eight) -> EightSets;
    fn and(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    fn or(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    fn xor(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// What is in the first, and not in the second.
    fn without(self, a: Self::Eight, b: Self::Eight) -> Self::Eight;
    /// So many places later, each set for itself.
    fn later(self, a: Self::Eight, places: u8) -> Self::Eight;
    /// Of each set the last place, as its first.
    fn last(self, a: Self::Eight) -> Self::Eight;
    /// The sets of the blocks one before these; `before` are the eight before.
    fn one_before(self, before: Self::Eight, a: Self::Eight) -> Self::Eight;

    /// What is not in the set.
    #[inline(always)]
    fn not(self, a: Self::Eight) -> Self::Eight {
        self.without(self.load(&[u64::MAX; 8]), a)
    }

    /// The places behind those of the sets, also behind the last of a block.
    #[inline(always)]
    fn behind(self, before: Self::Eight, a: Self::Eight) -> Self::Eight {
        self.or(self.later(a, 1), self.last(self.one_before(before, a)))
    }

    /// Each place is whether the number of places up to it is odd.
    #[inline(always)]
    fn odd(self, mut a: Self::Eight) -> Self::Eight {
        for places in [1, 2, 4, 8, 16, 32] {
            a = self.xor(a, self.later(a, places));
        }
        a
    }
}

/// The way for every processor of the target.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Way for Portable {
    type Eight = u64x8;

    #[inline(always)]
    fn load(self, sets: &EightSets) -> u64x8 {
        u64x8::new(*sets)
    }

    #[inline(always)]
    fn store(self, sets: u64x8) -> EightSets {
        sets.to_array()
    }

    #[inline(always)]
    fn and(self, a: u64x8, b: u64x8) -> u64x8 {
        a & b
    }

    #[inline(always)]
    fn without(self, a: u64x8, b: u64x8) -> u64x8 {
        a & !b
    }

    #[inline(always)]
    fn or(self, a: u64x8, b: u64x8) -> u64x8 {
        a | b
    }

    #[inline(always)]
    fn xor(self, a: u64x8, b: u64x8) -> u64x8 {
        a ^ b
    }

    #[inline(always)]
    fn later(self, a: u64x8, places: u8) -> u64x8 {
        a << places
    }

    #[inline(always)]
    fn last(self, a: u64x8) -> u64x8 {
        a >> 63_u32
    }

    #[inline(always)]
    fn one_before(self, before: u64x8, a: u64x8) -> u64x8 {
        let [.., last] = before.to_array();
        let [a, b, c, d, e, f, g, _] = a.to_array();
        u64x8::new([last, a, b, c, d, e, f, g])
    }

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
            mark: equal(lowered, b'm') | equal(lowered, b'u'),
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

    use pulp::{
        bytemuck::{bytes_of, cast, pod_read_unaligned},
        x86::V3,
    };

    use super::{BLOCK, Block, EightSets, Way};

    impl Way for V3 {
        type Eight = [__m256i; 2];

        #[inline(always)]
        fn load(self, sets: &EightSets) -> [__m256i; 2] {
            pod_read_unaligned(bytes_of(sets))
        }

        #[inline(always)]
        fn store(self, sets: [__m256i; 2]) -> EightSets {
            cast(sets)
        }

        #[inline(always)]
        fn and(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
            [
                self.avx2._mm256_and_si256(a, c),
                self.avx2._mm256_and_si256(b, d),
            ]
        }

        #[inline(always)]
        fn without(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
            [
                self.avx2._mm256_andnot_si256(c, a),
                self.avx2._mm256_andnot_si256(d, b),
            ]
        }

        #[inline(always)]
        fn or(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
            [
                self.avx2._mm256_or_si256(a, c),
                self.avx2._mm256_or_si256(b, d),
            ]
        }

        #[inline(always)]
        fn xor(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
            [
                self.avx2._mm256_xor_si256(a, c),
                self.avx2._mm256_xor_si256(b, d),
            ]
        }

        #[inline(always)]
        fn later(self, [a, b]: [__m256i; 2], places: u8) -> [__m256i; 2] {
            let places = self.avx._mm256_set1_epi64x(places.into());
            [
                self.avx2._mm256_sllv_epi64(a, places),
                self.avx2._mm256_sllv_epi64(b, places),
            ]
        }

        #[inline(always)]
        fn last(self, [a, b]: [__m256i; 2]) -> [__m256i; 2] {
            [
                self.avx2._mm256_srli_epi64::<63>(a),
                self.avx2._mm256_srli_epi64::<63>(b),
            ]
        }

        #[inline(always)]
        fn one_before(self, [_, before]: [__m256i; 2], [a, b]: [__m256i; 2]) -> [__m256i; 2] {
            let one = |before, a| {
                let middle = self.avx2._mm256_permute2x128_si256::<0x21>(before, a);
                self.avx2._mm256_alignr_epi8::<8>(a, middle)
            };
            [one(before, a), one(a, b)]
        }

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
                        equal(self, low_lowered, b'm'),
                        equal(self, low_lowered, b'u'),
                    ),
                    or(
                        self,
                        equal(self, high_lowered, b'm'),
                        equal(self, high_lowered, b'u'),
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

    use pulp::{
        bytemuck::{bytes_of, cast, pod_read_unaligned},
        x86::V4,
    };

    use super::{BLOCK, Block, EightSets, Way};

    impl Way for V4 {
        type Eight = __m512i;

        #[inline(always)]
        fn load(self, sets: &EightSets) -> __m512i {
            pod_read_unaligned(bytes_of(sets))
        }

        #[inline(always)]
        fn store(self, sets: __m512i) -> EightSets {
            cast(sets)
        }

        #[inline(always)]
        fn and(self, a: __m512i, b: __m512i) -> __m512i {
            self.avx512f._mm512_and_si512(a, b)
        }

        #[inline(always)]
        fn without(self, a: __m512i, b: __m512i) -> __m512i {
            self.avx512f._mm512_andnot_si512(b, a)
        }

        #[inline(always)]
        fn or(self, a: __m512i, b: __m512i) -> __m512i {
            self.avx512f._mm512_or_si512(a, b)
        }

        #[inline(always)]
        fn xor(self, a: __m512i, b: __m512i) -> __m512i {
            self.avx512f._mm512_xor_si512(a, b)
        }

        #[inline(always)]
        fn later(self, a: __m512i, places: u8) -> __m512i {
            let places = self.avx512f._mm512_set1_epi64(places.into());
            self.avx512f._mm512_sllv_epi64(a, places)
        }

        #[inline(always)]
        fn last(self, a: __m512i) -> __m512i {
            self.avx512f._mm512_srli_epi64::<63>(a)
        }

        #[inline(always)]
        fn one_before(self, before: __m512i, a: __m512i) -> __m512i {
            self.avx512f._mm512_alignr_epi64::<7>(a, before)
        }

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
                mark: equal(self, lowered, b'm') | equal(self, lowered, b'u'),
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
            mark: set(&|b| matches!(b, b'm' | b'M' | b'u' | b'U')),
            rare: bytes.iter().any(|b| *b == b'\\' || *b < 0x20),
        }
    }

    /// All that a way does with sets.
    fn combined(way: impl Way, [before, a, b]: [EightSets; 3], places: u8) -> [EightSets; 8] {
        let [before, a, b] = [before, a, b].map(|sets| way.load(&sets));
        [
            way.and(a, b),
            way.or(a, b),
            way.xor(a, b),
            way.without(a, b),
            way.not(a),
            way.later(a, places),
            way.behind(before, a),
            way.odd(a),
        ]
        .map(|sets| way.store(sets))
    }

    /// The same set by set, and place by place.
    fn combined_one_by_one([before, a, b]: [EightSets; 3], places: u8) -> [EightSets; 8] {
        let of = |one: &dyn Fn(usize) -> u64| std::array::from_fn(one);
        [
            of(&|n| a[n] & b[n]),
            of(&|n| a[n] | b[n]),
            of(&|n| a[n] ^ b[n]),
            of(&|n| a[n] & !b[n]),
            of(&|n| !a[n]),
            of(&|n| a[n] << places),
            of(&|n| {
                let one_before = if n == 0 { before[7] } else { a[n - 1] };
                (a[n] << 1) | (one_before >> 63)
            }),
            of(&|n| {
                (0..64).fold(0, |odd, place| {
                    let up_to_it = a[n] << (63 - place);
                    odd | (u64::from(up_to_it.count_ones() % 2) << place)
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_way_combines_the_same(sets in any::<[EightSets; 3]>(), places in 0..64_u8) {
            let expected = combined_one_by_one(sets, places);
            prop_assert_eq!(combined(Portable, sets, places), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                prop_assert_eq!(v3.vectorize(|| combined(v3, sets, places)), expected);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(v4) = pulp::x86::V4::try_new() {
                prop_assert_eq!(v4.vectorize(|| combined(v4, sets, places)), expected);
            }
        }

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
