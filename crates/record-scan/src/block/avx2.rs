//! AVX2. These are functions and not closures, because they must be inlined into the function for which pulp enables
//! AVX2.

use std::arch::x86_64::__m256i;

use pulp::{
    bytemuck::{bytes_of, cast, pod_read_unaligned},
    x86::V3,
};

use super::{BLOCK, EightBlocks, Kernel, Lanes};

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
    fn add(self, [a, b]: [__m256i; 2], [c, d]: [__m256i; 2]) -> [__m256i; 2] {
        [
            self.avx2._mm256_add_epi64(a, c),
            self.avx2._mm256_add_epi64(b, d),
        ]
    }

    #[inline(always)]
    fn shift_right(self, [a, b]: [__m256i; 2], bits: u8) -> [__m256i; 2] {
        let bits = self.avx._mm256_set1_epi64x(bits.into());
        [
            self.avx2._mm256_srlv_epi64(a, bits),
            self.avx2._mm256_srlv_epi64(b, bits),
        ]
    }

    #[inline(always)]
    fn prev_lane(self, [_, before]: [__m256i; 2], [a, b]: [__m256i; 2]) -> [__m256i; 2] {
        [
            prev_lane_of_four(self, before, a),
            prev_lane_of_four(self, a, b),
        ]
    }

    /// AVX2 makes a bitmask of a vector of 32 bytes by `movemask`, which takes the highest bit of each byte. Instead of
    /// one bitmask for each character, this makes three bitmasks of a code for the character, and combines these, which
    /// is done for eight blocks at a time.
    #[inline(always)]
    fn classify(self, blocks: &[[u8; BLOCK]; 8], masks: &mut EightBlocks) {
        let [mut bracket, mut close_or_comma, mut square_or_quote] = [[0; 8]; 3];
        masks.special = 0;
        for (index, bytes) in blocks.iter().enumerate() {
            let low: __m256i = pod_read_unaligned(&bytes[..32]);
            let high: __m256i = pod_read_unaligned(&bytes[32..]);
            let (low_code, high_code) = (code(self, low), code(self, high));
            bracket[index] = to_bitmask(self, low_code, high_code);
            // The next bit of each byte becomes its highest.
            let (low_code, high_code) = (twice(self, low_code), twice(self, high_code));
            close_or_comma[index] = to_bitmask(self, low_code, high_code);
            let (low_code, high_code) = (twice(self, low_code), twice(self, high_code));
            square_or_quote[index] = to_bitmask(self, low_code, high_code);

            let bit = splat(self, 0x20);
            let (low_lower, high_lower) = (or(self, low, bit), or(self, high, bit));
            masks.m_or_u[index] = to_bitmask(
                self,
                or(self, eq(self, low_lower, b'm'), eq(self, low_lower, b'u')),
                or(self, eq(self, high_lower, b'm'), eq(self, high_lower, b'u')),
            );
            let least = self.avx2._mm256_min_epu8(low, high);
            let control = self
                .avx2
                ._mm256_cmpeq_epi8(self.avx2._mm256_min_epu8(least, splat(self, 0x1f)), least);
            let backslash = or(self, eq(self, low, b'\\'), eq(self, high, b'\\'));
            let special = self.avx2._mm256_movemask_epi8(or(self, control, backslash));
            masks.special |= u8::from(special != 0) << index;
        }
        let (p, q, r) = (
            self.load(&bracket),
            self.load(&close_or_comma),
            self.load(&square_or_quote),
        );
        masks.open = self.store(self.and_not(p, q));
        masks.close = self.store(self.and(p, q));
        masks.square = self.store(self.and(p, r));
        masks.quote = self.store(self.and_not(r, self.or(p, q)));
        masks.comma = self.store(self.and_not(q, self.or(p, r)));
        masks.colon = self.store(self.and_not(self.and(q, r), p));
    }
}

/// The codes of characters, in the three highest bits: bracket; closing bracket, or comma or colon; square bracket, or
/// quote or colon. Other bytes have 0.
const CODES: [(u8, u8); 7] = [
    (b'{', 0b100),
    (b'}', 0b110),
    (b'[', 0b101),
    (b']', 0b111),
    (b'"', 0b001),
    (b',', 0b010),
    (b':', 0b011),
];

/// The slot of a byte in the tables below. It differs for the characters that have a code.
const fn slot(byte: u8) -> usize {
    ((byte as u16 + (byte as u16 >> 2)) & 0xf) as usize
}

/// The character and the code of each slot. AVX2 looks up in each half of a vector by itself, so there are two of each.
const TABLES: ([[u8; 16]; 2], [[u8; 16]; 2]) = {
    let (mut characters, mut codes) = ([0; 16], [0; 16]);
    let mut n = 0;
    while n < CODES.len() {
        let (character, code) = CODES[n];
        assert!(codes[slot(character)] == 0, "two characters in a slot");
        characters[slot(character)] = character;
        codes[slot(character)] = code << 5;
        n += 1;
    }
    ([characters; 2], [codes; 2])
};

/// The codes of 32 bytes.
#[inline(always)]
fn code(v3: V3, bytes: __m256i) -> __m256i {
    let (characters, codes) = (cast(TABLES.0), cast(TABLES.1));
    // There is no shift of bytes. The bits that come from the neighbouring byte are not part of the slot.
    let quarter = v3.avx2._mm256_srli_epi16::<2>(bytes);
    let slot = v3
        .avx2
        ._mm256_and_si256(v3.avx2._mm256_add_epi8(bytes, quarter), splat(v3, 0xf));
    let is_character = v3
        .avx2
        ._mm256_cmpeq_epi8(v3.avx2._mm256_shuffle_epi8(characters, slot), bytes);
    let code = v3.avx2._mm256_shuffle_epi8(codes, slot);
    v3.avx2._mm256_and_si256(code, is_character)
}

/// Each byte shifted left by one.
#[inline(always)]
fn twice(v3: V3, bytes: __m256i) -> __m256i {
    v3.avx2._mm256_add_epi8(bytes, bytes)
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

/// The highest bit of each byte.
#[inline(always)]
fn to_bitmask(v3: V3, low: __m256i, high: __m256i) -> u64 {
    let low = v3.avx2._mm256_movemask_epi8(low).cast_unsigned();
    let high = v3.avx2._mm256_movemask_epi8(high).cast_unsigned();
    u64::from(low) | (u64::from(high) << 32)
}
