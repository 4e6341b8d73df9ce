//! Positions that are checked when the record has ended: scalars, and keys that may be `eventSource` or `eventName`.
//! Checking each one when it is found would be a branch in every block that the processor mispredicts often.

use wide::u8x16;

use crate::{BATCH, block::BLOCK};

/// Position of a member's value.
#[derive(Clone, Copy)]
pub(super) enum MemberPosition {
    Missing,
    At(usize),
    /// The record has several members with this key.
    Duplicate,
}

impl MemberPosition {
    pub(super) fn add(&mut self, at: usize) {
        *self = match self {
            MemberPosition::Missing => MemberPosition::At(at),
            MemberPosition::At(_) | MemberPosition::Duplicate => MemberPosition::Duplicate,
        };
    }

    /// The content of the value, if it is a string without escapes.
    #[inline(always)]
    pub(super) fn plain_string(self, bytes: &[u8]) -> Option<&[u8]> {
        let MemberPosition::At(at) = self else {
            return None;
        };
        let rest = bytes[at..].strip_prefix(b"\"")?;
        // These strings are short: most end within the first two vectors. memchr would have to be called.
        for (index, piece) in rest.as_chunks::<16>().0.iter().enumerate() {
            let piece = u8x16::new(*piece);
            let special = piece.simd_eq(u8x16::splat(b'"')) | piece.simd_eq(u8x16::splat(b'\\'));
            let special = special.to_bitmask();
            if special != 0 {
                let end = 16 * index + special.trailing_zeros() as usize;
                return (rest[end] == b'"').then(|| &rest[..end]);
            }
        }
        None
    }
}

/// The queue: first bytes of scalars, and eighth letters of keys.
pub(super) struct Positions {
    at: [u32; Positions::CAPACITY],
    /// Positions before this one in the queue were checked.
    first: usize,
    count: usize,
}

impl Positions {
    /// A power of two. The remainders below spare the bounds checks; [`Positions::is_nearly_full`] prevents an
    /// overflow.
    const CAPACITY: usize = 4096;

    /// Adds the positions of a mask whose lowest bit is the byte `at`.
    #[inline(always)]
    pub(super) fn push(&mut self, at: usize, mask: u64) {
        // The first one is written even if the mask is empty: nearly all blocks have none or one, and so there is
        // no branch for these.
        self.at[self.count % Positions::CAPACITY] = at as u32 + mask.trailing_zeros();
        let rest = mask & mask.wrapping_sub(1);
        if rest != 0 {
            self.push_more(at, rest);
        }
        self.count += mask.count_ones() as usize;
    }

    #[inline(never)]
    fn push_more(&mut self, at: usize, mut mask: u64) {
        let mut count = self.count;
        while mask != 0 {
            count += 1;
            self.at[count % Positions::CAPACITY] = at as u32 + mask.trailing_zeros();
            mask &= mask - 1;
        }
    }

    /// Removes the positions before `end` and calls `check` with each, in order.
    #[inline(always)]
    pub(super) fn drain_before(&mut self, end: usize, mut check: impl FnMut(usize)) {
        while self.first < self.count {
            let position = self.at[self.first % Positions::CAPACITY] as usize;
            if position >= end {
                return;
            }
            check(position);
            self.first += 1;
        }
        (self.first, self.count) = (0, 0);
    }

    /// Whether another batch, with at most 64 positions a block, may not fit.
    #[inline(always)]
    pub(super) fn is_nearly_full(&self) -> bool {
        self.count >= Positions::CAPACITY - BATCH * BLOCK
    }
}

impl Default for Positions {
    fn default() -> Positions {
        Positions {
            at: [0; Positions::CAPACITY],
            first: 0,
            count: 0,
        }
    }
}

/// Compares the key whose eighth letter is at `at` with `eventName` and `eventSource`, in any case. The position of its
/// value goes to `name` or `source`.
#[inline(always)]
pub(super) fn match_key(
    bytes: &[u8],
    at: usize,
    source: &mut MemberPosition,
    name: &mut MemberPosition,
) {
    const NAME: u64 = u64::from_le_bytes(*b"eventnam");
    const SOURCE: u64 = u64::from_le_bytes(*b"eventsou");
    const TO_LOWER: u8 = 0x20;
    let Some(key) = bytes[at - 7..].first_chunk::<12>() else {
        return;
    };
    let [a, b, c, d, e, f, g, h, ref rest @ ..] = *key;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]) | 0x2020_2020_2020_2020;
    // The value comes after the closing quote and the colon.
    if first == NAME && rest[0] | TO_LOWER == b'e' && rest[1] == b'"' {
        name.add(at + 4);
    } else if first == SOURCE
        && [
            rest[0] | TO_LOWER,
            rest[1] | TO_LOWER,
            rest[2] | TO_LOWER,
            rest[3],
        ] == *b"rce\""
    {
        source.add(at + 6);
    }
}
