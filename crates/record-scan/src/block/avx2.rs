//! AVX2. These are functions and not closures, because they must be inlined into the function for which pulp enables
//! AVX2.

use std::arch::x86_64::__m256i;

use pulp::{
    bytemuck::{bytes_of, cast, pod_read_unaligned},
    x86::V3,
};

use super::{BLOCK, BlockMasks, Kernel, Lanes};

impl Kernel for V3 {
    type Vector = [__m256i; 2];

    #[inline(always)]
    fn load(self, lanes: &Lanes) -> [__m256i; 2] {
        pod_read_unaligned(bytes_of(lanes))
    }

    #[inline(always)]
    fn store(self, a: [__m256i; 2]) -> Lanes {
        cast(a)
    }

    #[inline(always)]
    fn and(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
        [
            self.avx2._mm256_and_si256(a, c),
            self.avx2._mm256_and_si256(b, d),
        ]
    }

    #[inline(always)]
    fn and_not(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
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
    fn shift_left(self, [a, b]: [__m256i; 2], bits: u8) -> [__m256i; 2] {
        let bits = self.avx._mm256_set1_epi64x(bits.into());
        [
            self.avx2._mm256_sllv_epi64(a, bits),
            self.avx2._mm256_sllv_epi64(b, bits),
        ]
    }

    #[inline(always)]
    fn top_bit(self, [a, b]: [__m256i; 2]) -> [__m256i; 2] {
        [
            self.avx2._mm256_srli_epi64::<63>(a),
            self.avx2._mm256_srli_epi64::<63>(b),
        ]
    }

    #[inline(always)]
    fn prev_lane(self, [_, before]: [__m256i; 2], [a, b]: [__m256i; 2]) -> [__m256i; 2] {
        [
            prev_lane_of_four(self, before, a),
            prev_lane_of_four(self, a, b),
        ]
    }

    #[inline(always)]
    fn classify(self, bytes: &[u8; BLOCK]) -> BlockMasks {
        let low: __m256i = pod_read_unaligned(&bytes[..32]);
        let high: __m256i = pod_read_unaligned(&bytes[32..]);
        let bit = splat(self, 0x20);
        let (low_lower, high_lower) = (or(self, low, bit), or(self, high, bit));
        let least = self.avx2._mm256_min_epu8(low, high);
        let control = self
            .avx2
            ._mm256_cmpeq_epi8(self.avx2._mm256_min_epu8(least, splat(self, 0x1f)), least);
        let backslash = or(self, eq(self, low, b'\\'), eq(self, high, b'\\'));
        let special = or(self, control, backslash);
        BlockMasks {
            quote: eq_bitmask(self, low, high, b'"'),
            open: eq_bitmask(self, low_lower, high_lower, b'{'),
            close: eq_bitmask(self, low_lower, high_lower, b'}'),
            colon: eq_bitmask(self, low, high, b':'),
            comma: eq_bitmask(self, low, high, b','),
            // Shifted so that 0x20 becomes the top bit.
            curly: to_bitmask(
                self,
                self.avx2._mm256_slli_epi16::<2>(low),
                self.avx2._mm256_slli_epi16::<2>(high),
            ),
            m_or_u: to_bitmask(
                self,
                or(self, eq(self, low_lower, b'm'), eq(self, low_lower, b'u')),
                or(self, eq(self, high_lower, b'm'), eq(self, high_lower, b'u')),
            ),
            has_special: self.avx2._mm256_movemask_epi8(special) != 0,
        }
    }
}

/// [`Kernel::prev_lane`] of four lanes.
#[inline(always)]
fn prev_lane_of_four(v3: V3, before: __m256i, a: __m256i) -> __m256i {
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
fn eq(v3: V3, half: __m256i, byte: u8) -> __m256i {
    v3.avx2._mm256_cmpeq_epi8(half, splat(v3, byte))
}

#[inline(always)]
fn eq_bitmask(v3: V3, low: __m256i, high: __m256i, byte: u8) -> u64 {
    to_bitmask(v3, eq(v3, low, byte), eq(v3, high, byte))
}

/// The highest bit of each byte.
#[inline(always)]
fn to_bitmask(v3: V3, low: __m256i, high: __m256i) -> u64 {
    let low = v3.avx2._mm256_movemask_epi8(low).cast_unsigned();
    let high = v3.avx2._mm256_movemask_epi8(high).cast_unsigned();
    u64::from(low) | (u64::from(high) << 32)
}
