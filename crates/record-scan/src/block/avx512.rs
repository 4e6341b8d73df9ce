//! AVX-512. One comparison of 64 bytes makes a bitmask.

use std::arch::x86_64::__m512i;

use pulp::{
    bytemuck::{bytes_of, cast, pod_read_unaligned},
    x86::V4,
};

use super::{BLOCK, EightBlocks, Kernel, Lanes, OneBlock};

impl Kernel for V4 {
    type Vector = __m512i;

    #[inline(always)]
    fn load(self, lanes: &Lanes) -> __m512i {
        pod_read_unaligned(bytes_of(lanes))
    }

    #[inline(always)]
    fn store(self, a: __m512i) -> Lanes {
        cast(a)
    }

    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_and_si512(a, b)
    }

    #[inline(always)]
    fn and_not(self, a: __m512i, b: __m512i) -> __m512i {
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
    fn shift_left(self, a: __m512i, bits: u8) -> __m512i {
        let bits = self.avx512f._mm512_set1_epi64(bits.into());
        self.avx512f._mm512_sllv_epi64(a, bits)
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        self.avx512f._mm512_add_epi64(a, b)
    }

    #[inline(always)]
    fn shift_right(self, a: __m512i, bits: u8) -> __m512i {
        let bits = self.avx512f._mm512_set1_epi64(bits.into());
        self.avx512f._mm512_srlv_epi64(a, bits)
    }

    #[inline(always)]
    fn prev_lane(self, before: __m512i, a: __m512i) -> __m512i {
        self.avx512f._mm512_alignr_epi64::<7>(a, before)
    }

    #[inline(always)]
    fn classify(self, blocks: &[[u8; BLOCK]; 8], masks: &mut EightBlocks) {
        masks.special = 0;
        for (index, bytes) in blocks.iter().enumerate() {
            masks.set(index, classify_one(self, bytes));
        }
    }
}

#[inline(always)]
fn classify_one(v4: V4, bytes: &[u8; BLOCK]) -> OneBlock {
    let all: __m512i = pod_read_unaligned(bytes);
    let bit = v4.avx512f._mm512_set1_epi8(0x20);
    let lower = v4.avx512f._mm512_or_si512(all, bit);
    let control = v4.avx512bw._mm512_cmplt_epu8_mask(all, bit);
    OneBlock {
        quote: eq_bitmask(v4, all, b'"'),
        open: eq_bitmask(v4, lower, b'{'),
        close: eq_bitmask(v4, lower, b'}'),
        colon: eq_bitmask(v4, all, b':'),
        comma: eq_bitmask(v4, all, b','),
        curly: v4.avx512bw._mm512_test_epi8_mask(all, bit),
        m_or_u: eq_bitmask(v4, lower, b'm') | eq_bitmask(v4, lower, b'u'),
        has_special: (eq_bitmask(v4, all, b'\\') | control) != 0,
    }
}

#[inline(always)]
fn eq_bitmask(v4: V4, all: __m512i, byte: u8) -> u64 {
    let byte = v4.avx512f._mm512_set1_epi8(byte.cast_signed());
    v4.avx512bw._mm512_cmpeq_epi8_mask(all, byte)
}
