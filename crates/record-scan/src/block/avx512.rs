//! The way for AVX-512, which makes a set with one comparison.

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
