//! The way for AVX2. These are functions and not closures, because they must be inlined to where pulp has
//! switched AVX2 on.

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
        [before_each(self, before, a), before_each(self, a, b)]
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

/// Of four blocks, the sets of the ones before each; `before` are the four before.
#[inline(always)]
fn before_each(v3: V3, before: __m256i, a: __m256i) -> __m256i {
    let middle = v3.avx2._mm256_permute2x128_si256::<0x21>(before, a);
    v3.avx2._mm256_alignr_epi8::<8>(a, middle)
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
