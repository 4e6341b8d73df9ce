//! Places in an element that are looked at when the element has ended, and the two members that are looked
//! for among them. To look at each at once would make the processor guess wrong time and again.

use crate::{BATCH, block::BLOCK};

/// Where a member's value stands.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Nowhere,
    At(usize),
    /// There are two members of this name.
    Twice,
}

impl Place {
    pub(super) fn found(&mut self, at: usize) {
        *self = match self {
            Place::Nowhere => Place::At(at),
            Place::At(_) | Place::Twice => Place::Twice,
        };
    }

    /// The value, if it is a string without escapes.
    #[inline(always)]
    pub(super) fn text(self, bytes: &[u8]) -> Option<&[u8]> {
        let Place::At(at) = self else { return None };
        let rest = bytes[at..].strip_prefix(b"\"")?;
        let end = memchr::memchr2(b'"', b'\\', rest)?;
        (rest[end] == b'"').then(|| &rest[..end])
    }
}

/// Places to be looked at when the element has ended: starts of numbers and words, and marks in names.
pub(super) struct Places {
    at: [u32; Places::ROOM],
    count: usize,
}

impl Places {
    const ROOM: usize = 4096;

    #[inline(always)]
    pub(super) fn push(&mut self, at: usize, set: u64) {
        // Written before it is known whether there is one: nearly all blocks have none or one.
        self.at[self.count % Places::ROOM] = at as u32 + set.trailing_zeros();
        let rest = set & set.wrapping_sub(1);
        if rest != 0 {
            self.push_more(at, rest);
        }
        self.count += set.count_ones() as usize;
    }

    #[inline(never)]
    fn push_more(&mut self, at: usize, mut set: u64) {
        let mut count = self.count;
        while set != 0 {
            count += 1;
            self.at[count % Places::ROOM] = at as u32 + set.trailing_zeros();
            set &= set - 1;
        }
    }

    /// Takes out the places before `end`, in order.
    #[inline(always)]
    pub(super) fn take_before(&mut self, end: usize, mut look: impl FnMut(usize)) {
        let mut kept = 0;
        for index in 0..self.count.min(Places::ROOM) {
            let place = self.at[index];
            if place as usize >= end {
                self.at[kept] = place;
                kept += 1;
            } else {
                look(place as usize);
            }
        }
        self.count = kept;
    }

    /// So many that another batch, of at most 64 places a block, might not find room.
    #[inline(always)]
    pub(super) fn many(&self) -> bool {
        self.count >= Places::ROOM - BATCH * BLOCK
    }
}

impl Default for Places {
    fn default() -> Places {
        Places {
            at: [0; Places::ROOM],
            count: 0,
        }
    }
}

/// Looks at the name whose eighth letter is here.
#[inline(always)]
pub(super) fn look_at_name(bytes: &[u8], at: usize, source: &mut Place, name_found: &mut Place) {
    const NAME: u64 = u64::from_le_bytes(*b"eventnam");
    const SOURCE: u64 = u64::from_le_bytes(*b"eventsou");
    const LOWER: u8 = 0x20;
    let Some(name) = bytes[at - 7..].first_chunk::<12>() else {
        return;
    };
    let [a, b, c, d, e, f, g, h, ref rest @ ..] = *name;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]) | 0x2020_2020_2020_2020;
    // Behind the name stand its quote and its colon.
    if first == NAME && rest[0] | LOWER == b'e' && rest[1] == b'"' {
        name_found.found(at + 4);
    } else if first == SOURCE
        && [rest[0] | LOWER, rest[1] | LOWER, rest[2] | LOWER, rest[3]] == *b"rce\""
    {
        source.found(at + 6);
    }
}
