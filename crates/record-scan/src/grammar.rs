//! JSON's grammar on sets of places: what may stand next to what, which brackets match, where names must be
//! and have their colons. What breaks it is noted in [`Masks::bad`], at the byte where it shows.

use crate::{
    BATCH, MOST_ENDS, TOO_DEEP,
    block::{BLOCK, EightSets, Rare, Way},
    places::{Place, Places, look_at_name},
    scalar::{is_escape, is_scalar},
};

/// Sets of one kind, block by block.
type Sets = [u64; BATCH];

/// The blocks of a batch, kind by kind, so that eight of a kind are combined at once.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Blocks {
    quote: Sets,
    open: Sets,
    close: Sets,
    colon: Sets,
    comma: Sets,
    curly: Sets,
    mark: Sets,
    /// The blocks that have something rare, the lowest bit for the first.
    rare: u64,
}

impl Blocks {
    /// Takes the batch apart.
    #[inline(always)]
    pub(super) fn take(&mut self, way: impl Way, raw: &[[u8; BLOCK]]) {
        let mut rare = 0;
        for (index, raw) in raw.iter().take(BATCH).enumerate() {
            let block = way.classify(raw);
            self.quote[index] = block.quote;
            self.open[index] = block.open;
            self.close[index] = block.close;
            self.colon[index] = block.colon;
            self.comma[index] = block.comma;
            self.curly[index] = block.curly;
            self.mark[index] = block.mark;
            rare |= u64::from(block.rare) << index;
        }
        self.rare = rare;
    }
}

/// What they mean: the sets of a batch, kind by kind, outside strings unless said otherwise.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Masks {
    open: Sets,
    close: Sets,
    /// Those of the brackets that are `[` or `]`.
    square: Sets,
    comma: Sets,
    colon: Sets,
    /// All bytes of strings with their quotes.
    string: Sets,
    /// Opening quotes.
    begin: Sets,
    /// First bytes of numbers and words.
    scalar: Sets,
    mark: Sets,
    backslash: Sets,
    /// Bytes that break the grammar, or that this scan does not understand.
    pub(super) bad: Sets,
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

/// What goes over from one batch to the next for [`Scan::tokens`].
#[derive(Clone, Copy)]
struct Carry {
    /// All ones inside a string.
    in_string: u64,
    /// Whether the first byte is escaped, as the lowest bit.
    escaped: u64,
    /// The last block's sets. A value or a name must follow: behind `{`, `[`, a colon, a comma.
    expecting: u64,
    open: u64,
    /// All bytes of numbers and words.
    scalar: u64,
}

/// What goes over from one block to the next.
pub(super) struct Scan {
    /// Where the element starts.
    pub(super) start: usize,
    carry: Carry,
    /// A name must follow: behind `{`, or a comma that is in no list. Of the last byte, as the lowest bit, and so
    /// is the next one.
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
                expecting: 1 << 63,
                open: 0,
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
    pub(super) fn tokens<W: Way>(
        &mut self,
        way: W,
        bytes: &[u8],
        at: usize,
        raw: &[[u8; BLOCK]],
        blocks: &mut Blocks,
        masks: &mut Masks,
    ) {
        masks.bad = [0; BATCH];
        masks.backslash = [0; BATCH];
        if blocks.rare != 0 || self.carry.escaped != 0 {
            self.carry.escaped = rare(self.carry.escaped, bytes, at, raw, blocks, masks);
        }
        // From an opening quote up to the closing one, which is not in it.
        let mut inside = [0; BATCH];
        for (quote, inside) in eights(&blocks.quote).iter().zip(eights_mut(&mut inside)) {
            *inside = way.store(way.odd(way.load(quote)));
        }
        let mut in_string = self.carry.in_string;
        for inside in &mut inside {
            *inside ^= in_string;
            in_string = (inside.cast_signed() >> 63).cast_unsigned();
        }
        let last_of = |set| way.load(&[0, 0, 0, 0, 0, 0, 0, set]);
        let mut expecting_before = last_of(self.carry.expecting);
        let mut open_before = last_of(self.carry.open);
        let mut scalar_before = last_of(self.carry.scalar);
        for eight in 0..BATCH / 8 {
            let load = |sets: &Sets| way.load(&eights(sets)[eight]);
            let store =
                |sets: &mut Sets, eight_sets| eights_mut(sets)[eight] = way.store(eight_sets);
            let (inside, quote) = (load(&inside), load(&blocks.quote));
            let string = way.or(inside, quote);
            let begin = way.and(quote, inside);
            let open = way.without(load(&blocks.open), string);
            let close = way.without(load(&blocks.close), string);
            let colon = way.without(load(&blocks.colon), string);
            let comma = way.without(load(&blocks.comma), string);
            let separator = way.or(colon, comma);
            let brackets = way.or(open, close);
            let all = way.or(string, way.or(brackets, separator));
            let scalar = way.not(all);
            let scalar_start = way.without(scalar, way.behind(scalar_before, scalar));
            scalar_before = scalar;

            // A value or a name stands behind `{`, `[`, a colon or a comma and nowhere else, and all other
            // tokens stand behind a value or a name: but for the end of an empty object or list.
            let expecting = way.or(separator, open);
            let expected = way.behind(expecting_before, expecting);
            expecting_before = expecting;
            let starts = way.or(begin, way.or(open, scalar_start));
            let tokens = way.or(starts, way.or(separator, close));
            let opened = way.behind(open_before, open);
            open_before = open;
            let bad = way.without(
                way.xor(way.and(tokens, expected), starts),
                way.and(close, opened),
            );
            let bad = way.or(bad, load(&masks.bad));

            store(&mut masks.open, open);
            store(&mut masks.close, close);
            store(
                &mut masks.square,
                way.without(brackets, load(&blocks.curly)),
            );
            store(&mut masks.comma, comma);
            store(&mut masks.colon, colon);
            store(&mut masks.string, string);
            store(&mut masks.begin, begin);
            store(&mut masks.scalar, scalar_start);
            store(&mut masks.mark, load(&blocks.mark));
            store(&mut masks.bad, bad);
        }
        let last = |eight| way.store(eight)[7];
        self.carry.in_string = in_string;
        self.carry.expecting = last(expecting_before);
        self.carry.open = last(open_before);
        self.carry.scalar = last(scalar_before);
    }

    /// Brackets: that they match, where lists are, and where elements end. Names: that they stand where they
    /// must, with a colon behind them, and which may be those looked for.
    #[inline(always)]
    pub(super) fn structure(
        &mut self,
        bytes: &[u8],
        at: usize,
        count: usize,
        masks: &mut Masks,
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
        for index in 0..count.min(BATCH) {
            let (open, close, square) =
                (masks.open[index], masks.close[index], masks.square[index]);
            // Brackets that are open where the block begins, that of `Records` not counted.
            let level = 63_u32.saturating_sub(stack.leading_zeros());
            let closes = close.count_ones();
            // Only `{` and `}` in an object, and no more `}` than objects: their order does not matter. A
            // block of `}` alone has more than there may be.
            let innermost = u64::MAX >> 63_u32.saturating_sub(closes);
            let in_list = if square | (stack & (innermost | TOO_DEEP)) == 0 {
                // JSON has at most 16 `{` in a block, which stay in the number. More are bad, and what
                // becomes of the stack no longer matters.
                stack = stack.wrapping_shl(open.count_ones()).wrapping_shr(closes);
                0
            } else {
                nest(
                    &mut stack,
                    bytes,
                    at + index * BLOCK,
                    [open, close, square],
                    &mut masks.bad[index],
                    ends,
                    &mut found,
                )
            };
            let (string, begin, scalar) =
                (masks.string[index], masks.begin[index], masks.scalar[index]);
            let name_expecting = (masks.comma[index] | open) & !in_list;
            let name_expected = (name_expecting << 1) | expected_before;
            expected_before = name_expecting >> 63;
            let name_begin = begin & name_expected;
            // Added to the string's ones, the name's first bit carries to the byte behind the string, where
            // the colon must be, and a colon may be nowhere else. Other strings stay as they are.
            let (sum, over) = string.overflowing_add(name_begin);
            let (sum, over_too) = sum.overflowing_add(in_name);
            in_name = u64::from(over | over_too);
            let bad = masks.bad[index]
                | ((open | scalar) & name_expected)
                | ((sum & !string) ^ masks.colon[index])
                // An escape in a name could spell one of those looked for.
                | (masks.backslash[index] & string & !sum);
            masks.bad[index] = bad;
            found.bad |= bad;

            let mut marked = ((name_begin << 8) | (begin_before >> 56)) & masks.mark[index];
            if marked != 0 {
                marked = at_top_level(marked, open, close, level);
            }
            begin_before = name_begin;
            self.places.push(at + index * BLOCK, scalar | marked);
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

/// Of some places in a block, those in the element itself and in no object or list within it: one bracket is
/// open there.
#[inline(always)]
fn at_top_level(mut places: u64, open: u64, close: u64, level: u32) -> u64 {
    let mut kept = 0;
    while places != 0 {
        let place = places & places.wrapping_neg();
        places ^= place;
        let before = place - 1;
        if level + (open & before).count_ones() == 1 + (close & before).count_ones() {
            kept |= place;
        }
    }
    kept
}

/// The brackets of one block, one by one. Returns where lists are: the innermost bracket is `[`, and a bracket
/// counts for the bytes from itself on.
#[inline(always)]
fn nest(
    stack: &mut u64,
    bytes: &[u8],
    at: usize,
    [open, close, square]: [u64; 3],
    bad: &mut u64,
    ends: &mut [usize; MOST_ENDS],
    found: &mut Structure,
) -> u64 {
    let mut in_list = 0_u64.wrapping_sub(*stack & 1);
    let mut brackets = open | close;
    while brackets != 0 {
        let bit = brackets.trailing_zeros();
        let bracket = brackets & brackets.wrapping_neg();
        brackets ^= bracket;
        let square = (square >> bit) & 1;
        let from_here = u64::MAX << bit;
        if open & bracket != 0 {
            if *stack & TOO_DEEP != 0 || (*stack == 1 && square == 1) {
                *bad |= bracket;
                break;
            }
            *stack = (*stack << 1) | square;
        } else {
            if *stack == 1 || *stack & 1 != square {
                *bad |= bracket;
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

fn eights(sets: &Sets) -> &[EightSets] {
    sets.as_chunks().0
}

fn eights_mut(sets: &mut Sets) -> &mut [EightSets] {
    sets.as_chunks_mut().0
}

/// Takes escaped quotes out of the blocks, and finds what is bad about escapes and control characters. Returns
/// whether the first byte behind the batch is escaped.
#[cold]
#[inline(never)]
fn rare(
    mut escaped_before: u64,
    bytes: &[u8],
    at: usize,
    raw: &[[u8; BLOCK]],
    blocks: &mut Blocks,
    masks: &mut Masks,
) -> u64 {
    for (index, raw) in raw.iter().take(BATCH).enumerate() {
        if (blocks.rare >> index) & 1 != 0 || escaped_before != 0 {
            let rare = Rare::of(raw);
            let escaped = escaped(rare.backslash, &mut escaped_before);
            blocks.quote[index] &= !escaped;
            masks.backslash[index] = rare.backslash;
            masks.bad[index] = rare.control | bad_escapes(bytes, at + index * BLOCK, escaped);
        }
    }
    escaped_before
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
