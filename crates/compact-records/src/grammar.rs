//! JSON's grammar on sets of places: what may stand next to what, which brackets match, where names must be
//! and have their colons. What breaks it is noted in [`Masks::bad`], at the byte where it shows.

use crate::{
    MOST_ENDS, TOO_DEEP,
    block::{BLOCK, Block, Rare},
    places::{Place, Places, look_at_name},
    scalar::{is_escape, is_scalar},
};

/// The sets of one block, outside strings unless said otherwise.
#[derive(Clone, Copy, Default)]
pub(super) struct Masks {
    open: u64,
    close: u64,
    /// Those of the brackets that are `[` or `]`.
    square: u64,
    comma: u64,
    colon: u64,
    /// All bytes of strings with their quotes.
    string: u64,
    /// Opening quotes.
    begin: u64,
    /// First bytes of values and names.
    starts: u64,
    /// First bytes of numbers and words.
    scalar: u64,
    mark: u64,
    backslash: u64,
    /// Bytes that break the grammar, or that this scan does not understand.
    pub(super) bad: u64,
}

/// What [`Scan::structure`] has found in a batch.
pub(super) struct Structure {
    /// How many elements ended.
    pub(super) ended: usize,
    /// Something else than `,{` stands behind the last one; what follows was not looked at.
    pub(super) behind: bool,
    /// All that is bad, whatever the block.
    pub(super) bad: u64,
}

/// What goes over from one block to the next for [`Scan::tokens`]: of each set the last byte, as the lowest bit.
#[derive(Clone, Copy)]
struct Carry {
    /// All ones inside a string.
    in_string: u64,
    escaped: u64,
    /// A value or a name must follow: behind `{`, `[`, a colon, a comma.
    expecting: u64,
    opened: u64,
    scalar: u64,
}

/// What goes over from one block to the next: of each set the last byte, as its lowest bit.
pub(super) struct Scan {
    /// Where the element starts.
    pub(super) start: usize,
    carry: Carry,
    /// A name must follow: behind `{`, or a comma that is in no list.
    name_expected: u64,
    /// Inside a name, or behind its closing quote.
    in_name: u64,
    /// The whole set: opening quotes of names.
    name_begin: u64,
    /// The brackets that are open, the innermost lowest: 1 for `[`. The highest is that of `Records`.
    stack: u64,
    pub(super) event_source: Place,
    pub(super) event_name: Place,
    pub(super) places: Places,
}

impl Scan {
    pub(super) fn new(from: usize) -> Scan {
        Scan {
            start: from,
            carry: Carry {
                in_string: 0,
                escaped: 0,
                // As behind the `[` of `Records`.
                expecting: 1,
                opened: 0,
                scalar: 0,
            },
            name_expected: 0,
            in_name: 0,
            name_begin: 0,
            stack: 1,
            event_source: Place::Nowhere,
            event_name: Place::Nowhere,
            places: Places::default(),
        }
    }

    /// Strings, and what may stand next to what.
    #[inline(always)]
    pub(super) fn tokens(
        &mut self,
        bytes: &[u8],
        at: usize,
        raw: &[[u8; BLOCK]],
        blocks: &[Block],
        masks: &mut [Masks],
    ) {
        // In variables of their own, which stay in registers.
        let Carry {
            mut in_string,
            escaped: mut escaped_before,
            expecting: mut expecting_before,
            mut opened,
            scalar: mut scalar_before,
        } = self.carry;
        for (index, ((block, raw), masks)) in blocks.iter().zip(raw).zip(masks).enumerate() {
            let (mut quote, mut bad, mut backslash) = (block.quote, 0, 0);
            if block.rare || escaped_before != 0 {
                let rare = Rare::of(raw);
                let escaped = escaped(rare.backslash, &mut escaped_before);
                quote &= !escaped;
                backslash = rare.backslash;
                bad = rare.control | bad_escapes(bytes, at + index * BLOCK, escaped);
            }
            // From an opening quote up to the closing one, which is not in it.
            let inside = prefix_xor(quote) ^ in_string;
            in_string = (inside.cast_signed() >> 63).cast_unsigned();
            let string = inside | quote;
            let outside = !string;
            let begin = quote & inside;
            let open = block.open & outside;
            let close = block.close & outside;
            let colon = block.colon & outside;
            let comma = block.comma & outside;
            let separator = colon | comma;
            let brackets = open | close;
            let scalar = outside & !(brackets | separator);
            let scalar_start = scalar & !((scalar << 1) | scalar_before);
            scalar_before = scalar >> 63;

            // A value or a name stands behind `{`, `[`, a colon or a comma and nowhere else, and all other
            // tokens stand behind a value or a name: but for the end of an empty object or list.
            let expecting = separator | open;
            let expected = (expecting << 1) | expecting_before;
            expecting_before = expecting >> 63;
            let starts = begin | open | scalar_start;
            let tokens = starts | separator | close;
            bad |= ((tokens & expected) ^ starts) & !(close & ((open << 1) | opened));
            opened = open >> 63;

            *masks = Masks {
                open,
                close,
                square: brackets & !block.curly,
                comma,
                colon,
                string,
                begin,
                starts,
                scalar: scalar_start,
                mark: block.mark,
                backslash,
                bad,
            };
        }
        self.carry = Carry {
            in_string,
            escaped: escaped_before,
            expecting: expecting_before,
            opened,
            scalar: scalar_before,
        };
    }

    /// Brackets: that they match, where lists are, and where elements end. Names: that they stand where they
    /// must, with a colon behind them, and which may be those looked for.
    #[inline(always)]
    pub(super) fn structure(
        &mut self,
        bytes: &[u8],
        at: usize,
        masks: &mut [Masks],
        ends: &mut [usize; MOST_ENDS],
    ) -> Structure {
        let mut found = Structure {
            ended: 0,
            behind: false,
            bad: 0,
        };
        let mut stack = self.stack;
        let (mut expected_before, mut in_name, mut begin_before) =
            (self.name_expected, self.in_name, self.name_begin);
        for (index, masks) in masks.iter_mut().enumerate() {
            let closes = masks.close.count_ones();
            // Only `{` and `}` in an object, and no more `}` than objects: their order does not matter. A
            // block of `}` alone has more than there may be.
            let innermost = u64::MAX >> 63_u32.saturating_sub(closes);
            let in_list = if masks.square | (stack & (innermost | TOO_DEEP)) == 0 {
                // JSON has at most 16 `{` in a block, which stay in the number. More are bad, and what
                // becomes of the stack no longer matters.
                stack = stack
                    .wrapping_shl(masks.open.count_ones())
                    .wrapping_shr(closes);
                0
            } else {
                nest(
                    &mut stack,
                    bytes,
                    at + index * BLOCK,
                    masks,
                    ends,
                    &mut found,
                )
            };
            let name_expecting = (masks.comma | masks.open) & !in_list;
            let name_expected = (name_expecting << 1) | expected_before;
            expected_before = name_expecting >> 63;
            let name_begin = masks.begin & name_expected;
            // Added to the string's ones, the name's first bit carries to the byte behind the string, where
            // the colon must be, and a colon may be nowhere else. Other strings stay as they are.
            let (sum, over) = masks.string.overflowing_add(name_begin);
            let (sum, over_too) = sum.overflowing_add(in_name);
            in_name = u64::from(over | over_too);
            masks.bad |= ((masks.starts ^ masks.begin) & name_expected)
                | ((sum & !masks.string) ^ masks.colon)
                // An escape in a name could spell one of those looked for.
                | (masks.backslash & masks.string & !sum);
            found.bad |= masks.bad;

            let marked = ((name_begin << 6) | (begin_before >> 58)) & masks.mark;
            begin_before = name_begin;
            self.places.push(at + index * BLOCK, masks.scalar | marked);
            if found.behind {
                break;
            }
        }
        self.stack = stack;
        (self.name_expected, self.in_name, self.name_begin) =
            (expected_before, in_name, begin_before);
        found
    }

    /// Looks at the places before `end`. Returns whether all numbers and words are such.
    #[inline(always)]
    pub(super) fn settle(&mut self, bytes: &[u8], end: usize) -> bool {
        let mut good = true;
        let (source, name) = (&mut self.event_source, &mut self.event_name);
        self.places.take_before(end, |at| {
            if matches!(bytes[at - 1], b':' | b',' | b'[') {
                // All numbers and words, and no mark of a name that is looked for.
                good &= is_scalar(&bytes[at..]);
            } else {
                look_at_name(bytes, at, source, name);
            }
        });
        good
    }
}

/// The brackets of one block, one by one. Returns where lists are: the innermost bracket is `[`, and a bracket
/// counts for the bytes from itself on.
#[inline(always)]
fn nest(
    stack: &mut u64,
    bytes: &[u8],
    at: usize,
    masks: &mut Masks,
    ends: &mut [usize; MOST_ENDS],
    found: &mut Structure,
) -> u64 {
    let mut in_list = 0_u64.wrapping_sub(*stack & 1);
    let mut brackets = masks.open | masks.close;
    while brackets != 0 {
        let bit = brackets.trailing_zeros();
        let bracket = brackets & brackets.wrapping_neg();
        brackets ^= bracket;
        let square = (masks.square >> bit) & 1;
        let from_here = u64::MAX << bit;
        if masks.open & bracket != 0 {
            if *stack & TOO_DEEP != 0 || (*stack == 1 && square == 1) {
                masks.bad |= bracket;
                break;
            }
            *stack = (*stack << 1) | square;
        } else {
            if *stack == 1 || *stack & 1 != square {
                masks.bad |= bracket;
                break;
            }
            *stack >>= 1;
            if *stack == 1 {
                let end = at + bit as usize + 1;
                ends[found.ended] = end;
                found.ended += 1;
                if bytes[end..end + 2] != *b",{" {
                    found.behind = true;
                    return in_list | from_here;
                }
            }
        }
        in_list = (in_list & !from_here) | (0_u64.wrapping_sub(*stack & 1) & from_here);
    }
    in_list
}

/// Each bit is whether the number of ones up to it is odd.
#[inline(always)]
fn prefix_xor(mut set: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        set ^= set << shift;
    }
    set
}

/// The bytes that stand behind a backslash which is not itself escaped.
#[inline(always)]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslash = backslash & !*carry;
    let follows = (backslash << 1) | *carry;
    // A run of backslashes that starts at an odd place: added to it, the carry says where it ends.
    let odd_starts = backslash & !EVEN & !follows;
    let (sum, over) = odd_starts.overflowing_add(backslash);
    *carry = u64::from(over);
    (EVEN ^ (sum << 1)) & follows
}

#[cold]
fn bad_escapes(bytes: &[u8], at: usize, mut escaped: u64) -> u64 {
    let mut bad = 0;
    while escaped != 0 {
        let bit = escaped.trailing_zeros();
        if !is_escape(&bytes[at + bit as usize..]) {
            bad |= 1 << bit;
        }
        escaped &= escaped - 1;
    }
    bad
}
