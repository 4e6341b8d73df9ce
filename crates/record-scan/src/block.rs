//! A block: 64 bytes of JSON as bitmasks, and the vector instructions that make and combine the bitmasks.
//!
//! A bitmask is a `u64` with one bit for each byte of the block, the lowest bit for the first byte. So "left" in a
//! shift is towards the end of the text. Stage 1 works on eight blocks at a time: a vector has eight lanes of 64 bits,
//! and each lane is the bitmask of one block.
//!
//! The instructions are chosen here and nowhere else, by a [`Kernel`]: AVX-512 or AVX2 where the processor has it,
//! which is detected at run time, otherwise what every processor of the target has (SSE2, NEON).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use pulp::bytemuck::pod_read_unaligned;
use wide::{u8x16, u64x8};

/// Bytes of a block.
pub(super) const BLOCK: usize = 64;

/// The same bitmask of eight consecutive blocks.
pub(super) type Lanes = [u64; 8];

/// The bitmasks of eight consecutive blocks. They do not show whether a character is inside a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct EightBlocks {
    pub(super) quote: Lanes,
    /// `{` and `[`.
    pub(super) open: Lanes,
    /// `}` and `]`.
    pub(super) close: Lanes,
    /// `[` and `]`.
    pub(super) square: Lanes,
    pub(super) colon: Lanes,
    pub(super) comma: Lanes,
    /// `m`, `M`, `u` and `U`: the eighth letters of `eventName` and `eventSource`. Few other keys have one of them
    /// there.
    pub(super) m_or_u: Lanes,
    /// One bit for each block, the lowest for the first: whether it has a backslash or a control character. Their
    /// positions are in [`EscapeMasks`].
    pub(super) special: u8,
}

/// The bitmasks of one block, as in [`EightBlocks`].
struct OneBlock {
    quote: u64,
    open: u64,
    close: u64,
    colon: u64,
    comma: u64,
    /// Bytes that have the bit 0x20. Among brackets, these are `{` and `}`.
    curly: u64,
    m_or_u: u64,
    has_special: bool,
}

impl EightBlocks {
    /// Sets the bitmasks of one block. `special` must be 0 before the first.
    #[inline(always)]
    fn set(&mut self, index: usize, one: OneBlock) {
        self.quote[index] = one.quote;
        self.open[index] = one.open;
        self.close[index] = one.close;
        self.square[index] = (one.open | one.close) & !one.curly;
        self.colon[index] = one.colon;
        self.comma[index] = one.comma;
        self.m_or_u[index] = one.m_or_u;
        self.special |= u8::from(one.has_special) << index;
    }
}

/// Bitmasks that are zero for most blocks, and only made for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EscapeMasks {
    pub(super) backslash: u64,
    /// Below U+0020.
    pub(super) control: u64,
}

impl EscapeMasks {
    #[cold]
    #[inline(never)]
    pub(super) fn of(bytes: &[u8; BLOCK]) -> EscapeMasks {
        let quarters = quarters(bytes);
        let last = u8x16::splat(0x1f);
        EscapeMasks {
            backslash: eq_bitmask(quarters, b'\\'),
            control: to_bitmask(quarters.map(|quarter| quarter.min(last).simd_eq(quarter))),
        }
    }
}

/// A set of vector instructions: makes the bitmasks of a block, and combines those of eight blocks at a time. The
/// compiler does not vectorize the latter by itself where the program around it is optimized for size.
pub(super) trait Kernel: Copy {
    /// [`Lanes`] in vector registers.
    type Vector: Copy;

    fn classify(self, blocks: &[[u8; BLOCK]; 8], masks: &mut EightBlocks);
    fn load(self, lanes: &Lanes) -> Self::Vector;
    fn store(self, a: Self::Vector) -> Lanes;
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a & !b`.
    fn and_not(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Wrapping addition, per lane.
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Shift left, per lane.
    fn shift_left(self, a: Self::Vector, bits: u8) -> Self::Vector;
    /// Shift right, per lane.
    fn shift_right(self, a: Self::Vector, bits: u8) -> Self::Vector;
    /// Moves every lane up by one: each block gets the mask of the block before it. The first lane gets the last lane
    /// of `before`, the eight blocks before these.
    fn prev_lane(self, before: Self::Vector, a: Self::Vector) -> Self::Vector;

    #[inline(always)]
    fn not(self, a: Self::Vector) -> Self::Vector {
        self.and_not(self.load(&[u64::MAX; 8]), a)
    }

    /// The bytes that follow the marked ones at a distance of less than 64: shift left, with a carry from each block to
    /// the next.
    #[inline(always)]
    fn follows(self, distance: u8, before: Self::Vector, a: Self::Vector) -> Self::Vector {
        self.or(
            self.shift_left(a, distance),
            self.shift_right(self.prev_lane(before, a), 64 - distance),
        )
    }

    /// Prefix XOR, per lane: each bit becomes the XOR of itself and all lower bits. Of the quotes it makes the string
    /// mask, because a byte is inside a string if the number of quotes up to it is odd. simdjson uses a carry-less
    /// multiplication, which does one block; these six steps do eight, on every processor.
    #[inline(always)]
    fn prefix_xor(self, mut a: Self::Vector) -> Self::Vector {
        for bits in [1, 2, 4, 8, 16, 32] {
            a = self.xor(a, self.shift_left(a, bits));
        }
        a
    }
}

/// For every processor of the target.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Kernel for Portable {
    type Vector = u64x8;

    #[inline(always)]
    fn load(self, lanes: &Lanes) -> u64x8 {
        u64x8::new(*lanes)
    }

    #[inline(always)]
    fn store(self, a: u64x8) -> Lanes {
        a.to_array()
    }

    #[inline(always)]
    fn and(self, a: u64x8, b: u64x8) -> u64x8 {
        a & b
    }

    #[inline(always)]
    fn and_not(self, a: u64x8, b: u64x8) -> u64x8 {
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
    fn shift_left(self, a: u64x8, bits: u8) -> u64x8 {
        a << bits
    }

    #[inline(always)]
    fn add(self, a: u64x8, b: u64x8) -> u64x8 {
        a + b
    }

    #[inline(always)]
    fn shift_right(self, a: u64x8, bits: u8) -> u64x8 {
        a >> u32::from(bits)
    }

    #[inline(always)]
    fn prev_lane(self, before: u64x8, a: u64x8) -> u64x8 {
        let [.., last] = before.to_array();
        let [a, b, c, d, e, f, g, _] = a.to_array();
        u64x8::new([last, a, b, c, d, e, f, g])
    }

    #[inline(always)]
    fn classify(self, blocks: &[[u8; BLOCK]; 8], masks: &mut EightBlocks) {
        masks.special = 0;
        for (index, bytes) in blocks.iter().enumerate() {
            masks.set(index, classify_one(bytes));
        }
    }
}

#[inline(always)]
fn classify_one(bytes: &[u8; BLOCK]) -> OneBlock {
    let quarters = quarters(bytes);
    let lower = quarters.map(|quarter| quarter | u8x16::splat(0x20));
    let [a, b, c, d] = quarters;
    let least = a.min(b).min(c.min(d));
    let control = least.min(u8x16::splat(0x1f)).simd_eq(least);
    let [a, b, c, d] = quarters.map(|quarter| quarter.simd_eq(u8x16::splat(b'\\')));
    OneBlock {
        quote: eq_bitmask(quarters, b'"'),
        open: eq_bitmask(lower, b'{'),
        close: eq_bitmask(lower, b'}'),
        colon: eq_bitmask(quarters, b':'),
        comma: eq_bitmask(quarters, b','),
        curly: eq_bitmask(quarters.map(|quarter| quarter & u8x16::splat(0x20)), 0x20),
        m_or_u: eq_bitmask(lower, b'm') | eq_bitmask(lower, b'u'),
        has_special: ((a | b) | (c | d) | control).to_bitmask() != 0,
    }
}

#[inline(always)]
fn quarters(bytes: &[u8; BLOCK]) -> [u8x16; 4] {
    [0, 16, 32, 48].map(|at| pod_read_unaligned(&bytes[at..at + 16]))
}

/// The highest bit of each byte.
#[inline(always)]
fn to_bitmask(quarters: [u8x16; 4]) -> u64 {
    let [a, b, c, d] = quarters.map(|quarter| u64::from(quarter.to_bitmask()));
    (a | (b << 16)) | ((c | (d << 16)) << 32)
}

#[inline(always)]
fn eq_bitmask(quarters: [u8x16; 4], byte: u8) -> u64 {
    to_bitmask(quarters.map(|quarter| quarter.simd_eq(u8x16::splat(byte))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The documented content of each field of [`EightBlocks`], byte by byte.
    fn byte_by_byte(blocks: &[[u8; BLOCK]; 8]) -> EightBlocks {
        let mask = |is: &dyn Fn(u8) -> bool| {
            blocks.map(|block| {
                let bytes = block.iter().enumerate();
                bytes.fold(0, |mask, (at, byte)| mask | (u64::from(is(*byte)) << at))
            })
        };
        let special = mask(&|b| b == b'\\' || b < 0x20).into_iter().enumerate();
        EightBlocks {
            quote: mask(&|b| b == b'"'),
            open: mask(&|b| matches!(b, b'{' | b'[')),
            close: mask(&|b| matches!(b, b'}' | b']')),
            colon: mask(&|b| b == b':'),
            comma: mask(&|b| b == b','),
            square: mask(&|b| matches!(b, b'[' | b']')),
            m_or_u: mask(&|b| matches!(b, b'm' | b'M' | b'u' | b'U')),
            special: special.fold(0, |all, (n, mask)| all | (u8::from(mask != 0) << n)),
        }
    }

    /// Every operation of a kernel on vectors.
    fn combined(kernel: impl Kernel, [before, a, b]: [Lanes; 3], bits: u8) -> [Lanes; 10] {
        let [before, a, b] = [before, a, b].map(|lanes| kernel.load(&lanes));
        [
            kernel.and(a, b),
            kernel.or(a, b),
            kernel.xor(a, b),
            kernel.and_not(a, b),
            kernel.not(a),
            kernel.add(a, b),
            kernel.shift_left(a, bits),
            kernel.shift_right(a, bits),
            kernel.follows(bits, before, a),
            kernel.prefix_xor(a),
        ]
        .map(|lanes| kernel.store(lanes))
    }

    /// The same lane by lane and bit by bit.
    fn combined_lane_by_lane([before, a, b]: [Lanes; 3], bits: u8) -> [Lanes; 10] {
        let of = |one: &dyn Fn(usize) -> u64| std::array::from_fn(one);
        [
            of(&|n| a[n] & b[n]),
            of(&|n| a[n] | b[n]),
            of(&|n| a[n] ^ b[n]),
            of(&|n| a[n] & !b[n]),
            of(&|n| !a[n]),
            of(&|n| a[n].wrapping_add(b[n])),
            of(&|n| a[n] << bits),
            of(&|n| a[n] >> bits),
            of(&|n| {
                let previous = if n == 0 { before[7] } else { a[n - 1] };
                (a[n] << bits) | (previous >> (64 - bits))
            }),
            of(&|n| {
                (0..64).fold(0, |odd, bit| {
                    let up_to_it = a[n] << (63 - bit);
                    odd | (u64::from(up_to_it.count_ones() % 2) << bit)
                })
            }),
        ]
    }

    proptest! {
        #[test]
        fn every_kernel_combines_the_same(lanes in any::<[Lanes; 3]>(), bits in 1..64_u8) {
            let expected = combined_lane_by_lane(lanes, bits);
            prop_assert_eq!(combined(Portable, lanes, bits), expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                prop_assert_eq!(v3.vectorize(|| combined(v3, lanes, bits)), expected);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(v4) = pulp::x86::V4::try_new() {
                prop_assert_eq!(v4.vectorize(|| combined(v4, lanes, bits)), expected);
            }
        }

        #[test]
        fn every_kernel_classifies_the_same(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(&b"\"{}[]:,mMuU\\\n"[..])], 8 * BLOCK),
            without_special in any::<u8>(),
        ) {
            let mut blocks: [[u8; BLOCK]; 8] = bytes.as_chunks().0.try_into().unwrap();
            for (n, block) in blocks.iter_mut().enumerate() {
                if (without_special >> n) & 1 != 0 {
                    *block = block.map(|byte| if byte == b'\\' { b'/' } else { byte.max(b' ') });
                }
            }
            let expected = byte_by_byte(&blocks);
            assert_classified(Portable, &blocks, expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                v3.vectorize(|| assert_classified(v3, &blocks, expected));
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(v4) = pulp::x86::V4::try_new() {
                v4.vectorize(|| assert_classified(v4, &blocks, expected));
            }
        }
    }

    /// Every byte is classified as the documentation of [`EightBlocks`] describes it.
    #[test]
    fn every_byte_is_classified() {
        for other in 0..=u8::MAX {
            let mut blocks = [[b' '; BLOCK]; 8];
            for byte in 0..=u8::MAX {
                blocks[usize::from(byte) / 32][usize::from(byte) % 32 * 2] = byte;
                blocks[usize::from(byte) / 32][usize::from(byte) % 32 * 2 + 1] = other;
            }
            let expected = byte_by_byte(&blocks);
            assert_classified(Portable, &blocks, expected);
            #[cfg(target_arch = "x86_64")]
            if let Some(v3) = pulp::x86::V3::try_new() {
                v3.vectorize(|| assert_classified(v3, &blocks, expected));
            }
        }
    }

    fn assert_classified(kernel: impl Kernel, blocks: &[[u8; BLOCK]; 8], expected: EightBlocks) {
        let mut masks = EightBlocks::default();
        kernel.classify(blocks, &mut masks);
        assert_eq!(masks, expected);
    }
}
