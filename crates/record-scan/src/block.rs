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

/// The bitmasks of a block. They do not show whether a character is inside a string.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct BlockMasks {
    pub(super) quote: u64,
    /// `{` and `[`.
    pub(super) open: u64,
    /// `}` and `]`.
    pub(super) close: u64,
    pub(super) colon: u64,
    pub(super) comma: u64,
    /// Bytes that have the bit 0x20. Among brackets, these are `{` and `}`.
    pub(super) curly: u64,
    /// `m`, `M`, `u` and `U`: the eighth letters of `eventName` and `eventSource`. Few other keys have one of them
    /// there.
    pub(super) m_or_u: u64,
    /// Whether the block has a backslash or a control character. Their positions are in [`EscapeMasks`].
    pub(super) has_special: bool,
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

/// The same bitmask of eight consecutive blocks.
pub(super) type Lanes = [u64; 8];

/// A set of vector instructions: makes the bitmasks of a block, and combines those of eight blocks at a time. The
/// compiler does not vectorize the latter by itself where the program around it is optimized for size.
pub(super) trait Kernel: Copy {
    /// [`Lanes`] in vector registers.
    type Vector: Copy;

    fn classify(self, bytes: &[u8; BLOCK]) -> BlockMasks;
    fn load(self, lanes: &Lanes) -> Self::Vector;
    fn store(self, a: Self::Vector) -> Lanes;
    fn and(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn or(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    fn xor(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a & !b`.
    fn and_not(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// Shift left, per lane.
    fn shift_left(self, a: Self::Vector, bits: u8) -> Self::Vector;
    /// Shift right by 63, per lane: the highest bit becomes the lowest.
    fn top_bit(self, a: Self::Vector) -> Self::Vector;
    /// Moves every lane up by one: each block gets the mask of the block before it. The first lane gets the last lane
    /// of `before`, the eight blocks before these.
    fn prev_lane(self, before: Self::Vector, a: Self::Vector) -> Self::Vector;

    #[inline(always)]
    fn not(self, a: Self::Vector) -> Self::Vector {
        self.and_not(self.load(&[u64::MAX; 8]), a)
    }

    /// The bytes that follow the marked ones: shift left by one, with a carry from each block to the next.
    #[inline(always)]
    fn follows(self, before: Self::Vector, a: Self::Vector) -> Self::Vector {
        self.or(
            self.shift_left(a, 1),
            self.top_bit(self.prev_lane(before, a)),
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
    fn top_bit(self, a: u64x8) -> u64x8 {
        a >> 63_u32
    }

    #[inline(always)]
    fn prev_lane(self, before: u64x8, a: u64x8) -> u64x8 {
        let [.., last] = before.to_array();
        let [a, b, c, d, e, f, g, _] = a.to_array();
        u64x8::new([last, a, b, c, d, e, f, g])
    }

    #[inline(always)]
    fn classify(self, bytes: &[u8; BLOCK]) -> BlockMasks {
        let quarters = quarters(bytes);
        let lower = quarters.map(|quarter| quarter | u8x16::splat(0x20));
        let [a, b, c, d] = quarters;
        let least = a.min(b).min(c.min(d));
        let control = least.min(u8x16::splat(0x1f)).simd_eq(least);
        let [a, b, c, d] = quarters.map(|quarter| quarter.simd_eq(u8x16::splat(b'\\')));
        BlockMasks {
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

    /// The documented content of each field of [`BlockMasks`], byte by byte.
    fn byte_by_byte(bytes: &[u8; BLOCK]) -> BlockMasks {
        let mask = |is: &dyn Fn(u8) -> bool| {
            bytes
                .iter()
                .enumerate()
                .fold(0, |mask, (at, byte)| mask | (u64::from(is(*byte)) << at))
        };
        BlockMasks {
            quote: mask(&|b| b == b'"'),
            open: mask(&|b| matches!(b, b'{' | b'[')),
            close: mask(&|b| matches!(b, b'}' | b']')),
            colon: mask(&|b| b == b':'),
            comma: mask(&|b| b == b','),
            curly: mask(&|b| b & 0x20 != 0),
            m_or_u: mask(&|b| matches!(b, b'm' | b'M' | b'u' | b'U')),
            has_special: bytes.iter().any(|b| *b == b'\\' || *b < 0x20),
        }
    }

    /// Every operation of a kernel on vectors.
    fn combined(kernel: impl Kernel, [before, a, b]: [Lanes; 3], bits: u8) -> [Lanes; 8] {
        let [before, a, b] = [before, a, b].map(|lanes| kernel.load(&lanes));
        [
            kernel.and(a, b),
            kernel.or(a, b),
            kernel.xor(a, b),
            kernel.and_not(a, b),
            kernel.not(a),
            kernel.shift_left(a, bits),
            kernel.follows(before, a),
            kernel.prefix_xor(a),
        ]
        .map(|lanes| kernel.store(lanes))
    }

    /// The same lane by lane and bit by bit.
    fn combined_lane_by_lane([before, a, b]: [Lanes; 3], bits: u8) -> [Lanes; 8] {
        let of = |one: &dyn Fn(usize) -> u64| std::array::from_fn(one);
        [
            of(&|n| a[n] & b[n]),
            of(&|n| a[n] | b[n]),
            of(&|n| a[n] ^ b[n]),
            of(&|n| a[n] & !b[n]),
            of(&|n| !a[n]),
            of(&|n| a[n] << bits),
            of(&|n| {
                let previous = if n == 0 { before[7] } else { a[n - 1] };
                (a[n] << 1) | (previous >> 63)
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
        fn every_kernel_combines_the_same(lanes in any::<[Lanes; 3]>(), bits in 0..64_u8) {
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
        fn every_kernel_classifies_the_same(bytes in prop::array::uniform32(any::<[u8; 2]>())) {
            let bytes = bytes.concat().try_into().unwrap();
            let expected = byte_by_byte(&bytes);
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
