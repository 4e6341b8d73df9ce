//! A block: 64 bytes of JSON, as sets of places.
//!
//! Each set is a number of 64 bits, one for each byte of the block, the lowest for the first. Which
//! instructions make the sets and combine them is decided here and nowhere else: AVX-512 or AVX2 where the
//! processor has it, which is asked once at run time, else what every processor of the target has (SSE2,
//! NEON). What the sets mean together is the business of `grammar`.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

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
