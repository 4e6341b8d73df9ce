//! The two stages: from bytes to bitmasks, and from bitmasks to records. The crate's documentation describes both and
//! works one block through them.
//!
//! A violation of JSON's grammar sets a bit in [`Masks::error`], at the byte that shows it.

use crate::{
    BATCH, MAX_RECORDS, TOO_DEEP,
    block::{BLOCK, EscapeMasks, Kernel, Lanes},
    positions::{MemberPosition, Positions, match_key},
    scalar::{is_escape, is_scalar},
};

/// One kind of bitmask for each block of a batch.
type BatchMask = [u64; BATCH];

/// Bitmasks of single characters, wherever they stand: [`BlockMasks`](crate::block::BlockMasks) of a whole batch. Each
/// kind has its own array, so that one vector holds the masks of eight consecutive blocks.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct RawMasks {
    quote: BatchMask,
    open: BatchMask,
    close: BatchMask,
    colon: BatchMask,
    comma: BatchMask,
    curly: BatchMask,
    m_or_u: BatchMask,
    /// One bit for each block, the lowest for the first: whether it has a backslash or a control character.
    special: u64,
}

impl RawMasks {
    /// The first step of stage 1.
    #[inline(always)]
    pub(super) fn classify(&mut self, kernel: impl Kernel, raw: &[[u8; BLOCK]]) {
        let mut special = 0;
        for (index, raw) in raw.iter().take(BATCH).enumerate() {
            let block = kernel.classify(raw);
            self.quote[index] = block.quote;
            self.open[index] = block.open;
            self.close[index] = block.close;
            self.colon[index] = block.colon;
            self.comma[index] = block.comma;
            self.curly[index] = block.curly;
            self.m_or_u[index] = block.m_or_u;
            special |= u64::from(block.has_special) << index;
        }
        self.special = special;
    }
}

/// The result of stage 1: bitmasks of a batch. Structural characters and scalars inside strings are left out.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct Masks {
    open: BatchMask,
    close: BatchMask,
    /// `[` and `]`, out of `open` and `close`.
    square: BatchMask,
    comma: BatchMask,
    colon: BatchMask,
    /// Strings with both their quotes.
    string: BatchMask,
    /// Opening quotes.
    open_quote: BatchMask,
    /// First bytes of scalars (numbers, `true`, `false`, `null`): simdjson's pseudo-structural characters.
    scalar: BatchMask,
    /// In strings, too.
    m_or_u: BatchMask,
    /// In strings, too.
    backslash: BatchMask,
    /// Bytes that violate the grammar or that the scanner does not support.
    pub(super) error: BatchMask,
}

/// The result of stage 2.
pub(super) struct BatchResult {
    /// Number of records that end in the batch.
    pub(super) records: usize,
    /// Something other than `,{` follows the last of them; stage 2 has stopped there.
    pub(super) after_record: bool,
    /// [`Masks::error`] of all blocks, combined by OR: zero if there is no error.
    pub(super) error: u64,
}

/// What stage 1 carries from the last block of a batch to the first block of the next.
#[derive(Clone, Copy)]
struct Carry {
    /// All ones if the last block ends inside a string.
    in_string: u64,
    /// 1 if the next byte is escaped.
    escaped: u64,
    /// The last block's mask, and so are the next two.
    value_prefix: u64,
    open: u64,
    /// All bytes of scalars, not only the first.
    scalar: u64,
}

/// What is carried from one batch to the next.
pub(super) struct Scanner {
    /// Position of the record's `{`.
    pub(super) start: usize,
    carry: Carry,
    /// 1 if the last byte is a [key prefix](Scanner::stage2).
    key_prefix: u64,
    /// 1 if the addition that finds the ends of keys carries out of the last block.
    key_overflow: u64,
    /// The last block's mask of the opening quotes of keys.
    key_quote: u64,
    /// Open brackets, one bit each: 0 for `{`, 1 for `[`, the innermost in the lowest bit. The highest bit set is the
    /// `[` of `Records`.
    stack: u64,
    pub(super) event_source: MemberPosition,
    pub(super) event_name: MemberPosition,
    pub(super) positions: Positions,
}

impl Scanner {
    pub(super) fn new(from: usize) -> Scanner {
        Scanner {
            start: from,
            carry: Carry {
                in_string: 0,
                escaped: 0,
                // As after the `[` of `Records`.
                value_prefix: 1 << 63,
                open: 0,
                scalar: 0,
            },
            key_prefix: 0,
            key_overflow: 0,
            key_quote: 0,
            stack: 1,
            event_source: MemberPosition::Missing,
            event_name: MemberPosition::Missing,
            positions: Positions::default(),
        }
    }

    /// Stage 1: finds strings, structural characters and scalars, and checks which token follows which. There is no
    /// branch on the content of a block, except for escapes.
    #[inline(always)]
    pub(super) fn stage1<W: Kernel>(
        &mut self,
        kernel: W,
        bytes: &[u8],
        at: usize,
        raw: &[[u8; BLOCK]],
        raw_masks: &mut RawMasks,
        masks: &mut Masks,
    ) {
        masks.error = [0; BATCH];
        masks.backslash = [0; BATCH];
        if raw_masks.special != 0 || self.carry.escaped != 0 {
            self.carry.escaped =
                resolve_escapes(self.carry.escaped, bytes, at, raw, raw_masks, masks);
        }
        // The string mask: strings with their opening quotes, without their closing quotes.
        let mut in_string = [0; BATCH];
        for (quote, in_string) in lanes(&raw_masks.quote)
            .iter()
            .zip(lanes_mut(&mut in_string))
        {
            *in_string = kernel.store(kernel.prefix_xor(kernel.load(quote)));
        }
        // A block that starts inside a string has its mask inverted. The highest bit is copied to all bits, for the
        // next block.
        let mut carry = self.carry.in_string;
        for in_string in &mut in_string {
            *in_string ^= carry;
            carry = (in_string.cast_signed() >> 63).cast_unsigned();
        }
        let in_last_lane = |mask| kernel.load(&[0, 0, 0, 0, 0, 0, 0, mask]);
        let mut value_prefix_before = in_last_lane(self.carry.value_prefix);
        let mut open_before = in_last_lane(self.carry.open);
        let mut scalar_before = in_last_lane(self.carry.scalar);
        for eight in 0..BATCH / 8 {
            let load = |masks: &BatchMask| kernel.load(&lanes(masks)[eight]);
            let store =
                |masks: &mut BatchMask, vector| lanes_mut(masks)[eight] = kernel.store(vector);
            let (in_string, quote) = (load(&in_string), load(&raw_masks.quote));
            let string = kernel.or(in_string, quote);
            let open_quote = kernel.and(quote, in_string);
            let open = kernel.and_not(load(&raw_masks.open), string);
            let close = kernel.and_not(load(&raw_masks.close), string);
            let colon = kernel.and_not(load(&raw_masks.colon), string);
            let comma = kernel.and_not(load(&raw_masks.comma), string);
            let separator = kernel.or(colon, comma);
            let brackets = kernel.or(open, close);
            let not_scalar = kernel.or(string, kernel.or(brackets, separator));
            // White space is taken for a scalar, and fails the check of scalars.
            let scalar = kernel.not(not_scalar);
            let scalar_start = kernel.and_not(scalar, kernel.follows(scalar_before, scalar));
            scalar_before = scalar;

            // A value or a key starts directly after `{`, `[`, a colon or a comma (a value prefix) and nowhere else.
            // A colon, a comma or a closing bracket never follows these, except where it closes an empty object or
            // array. So the two masks XORed below must be equal.
            let value_prefix = kernel.or(separator, open);
            let value_expected = kernel.follows(value_prefix_before, value_prefix);
            value_prefix_before = value_prefix;
            let starts = kernel.or(open_quote, kernel.or(open, scalar_start));
            let tokens = kernel.or(starts, kernel.or(separator, close));
            let after_open = kernel.follows(open_before, open);
            open_before = open;
            let error = kernel.and_not(
                kernel.xor(kernel.and(tokens, value_expected), starts),
                kernel.and(close, after_open),
            );
            let error = kernel.or(error, load(&masks.error));

            store(&mut masks.open, open);
            store(&mut masks.close, close);
            store(
                &mut masks.square,
                kernel.and_not(brackets, load(&raw_masks.curly)),
            );
            store(&mut masks.comma, comma);
            store(&mut masks.colon, colon);
            store(&mut masks.string, string);
            store(&mut masks.open_quote, open_quote);
            store(&mut masks.scalar, scalar_start);
            store(&mut masks.m_or_u, load(&raw_masks.m_or_u));
            store(&mut masks.error, error);
        }
        let last_lane = |vector| kernel.store(vector)[7];
        self.carry.in_string = carry;
        self.carry.value_prefix = last_lane(value_prefix_before);
        self.carry.open = last_lane(open_before);
        self.carry.scalar = last_lane(scalar_before);
    }

    /// Stage 2: matches brackets, which shows where arrays are and where records end; finds the keys of objects, each
    /// of which must be followed by a colon; queues scalars, and keys that may be `eventSource` or `eventName`, for
    /// [`Scanner::check_positions`].
    ///
    /// A key prefix is a `{`, or a comma that stands in an object: a key must follow.
    #[inline(always)]
    pub(super) fn stage2(
        &mut self,
        bytes: &[u8],
        at: usize,
        count: usize,
        masks: &mut Masks,
        ends: &mut [usize; MAX_RECORDS],
    ) -> BatchResult {
        let mut found = BatchResult {
            records: 0,
            after_record: false,
            error: 0,
        };
        let mut stack = self.stack;
        let (mut key_prefix_before, mut key_overflow, mut key_quote_before) =
            (self.key_prefix, self.key_overflow, self.key_quote);
        for index in 0..count.min(BATCH) {
            let (open, close, square) =
                (masks.open[index], masks.close[index], masks.square[index]);
            // Depth at the block's first byte: 1 in a record, outside its nested values.
            let depth = 63_u32.saturating_sub(stack.leading_zeros());
            let closes = close.count_ones();
            // The common case: the block has no `[` or `]`, starts in an object and closes no array. Then only the
            // numbers of `{` and `}` count, not their order. A record must not end in it either: one more bracket
            // than the block closes must be `{`. For 64 closing brackets the mask is the whole stack, which is
            // never 0.
            let innermost = u64::MAX >> 63_u32.saturating_sub(closes);
            let in_array = if square | (stack & (innermost | TOO_DEEP)) == 0 {
                // Valid JSON has at most 16 `{` in a block of this kind, and the stack's free bits hold these. More
                // are an error found elsewhere, and then the stack is not used any more.
                stack = stack.wrapping_shl(open.count_ones()).wrapping_shr(closes);
                0
            } else {
                walk_brackets(
                    &mut stack,
                    bytes,
                    at + index * BLOCK,
                    [open, close, square],
                    &mut masks.error[index],
                    ends,
                    &mut found,
                )
            };
            let (string, open_quote, scalar) = (
                masks.string[index],
                masks.open_quote[index],
                masks.scalar[index],
            );
            let key_prefix = (masks.comma[index] | open) & !in_array;
            let key_expected = (key_prefix << 1) | key_prefix_before;
            key_prefix_before = key_prefix >> 63;
            let key_quote = open_quote & key_expected;
            // A string is a run of ones. Adding the bit of a key's opening quote to its run clears the run and
            // carries to the byte after it, where the colon must be. Strings that are values stay as they are, so
            // that no other bit outside strings is set, and no other colon is allowed.
            let (sum, over) = string.overflowing_add(key_quote);
            let (sum, over_carry) = sum.overflowing_add(key_overflow);
            key_overflow = u64::from(over | over_carry);
            let error = masks.error[index]
                | ((open | scalar) & key_expected)
                | ((sum & !string) ^ masks.colon[index])
                // An escape in a key may stand for a letter of `eventName`. The scanner does not decode it.
                | (masks.backslash[index] & string & !sum);
            masks.error[index] = error;
            found.error |= error;

            // The eighth letter of a key is at its opening quote plus 8.
            let mut candidates =
                ((key_quote << 8) | (key_quote_before >> 56)) & masks.m_or_u[index];
            if candidates != 0 {
                candidates = at_top_level(candidates, open, close, depth);
            }
            key_quote_before = key_quote;
            self.positions.push(at + index * BLOCK, scalar | candidates);
            if found.after_record {
                break;
            }
        }
        self.stack = stack;
        (self.key_prefix, self.key_overflow, self.key_quote) =
            (key_prefix_before, key_overflow, key_quote_before);
        found
    }

    /// Checks the queued positions before `end`. Returns whether all scalars are valid; keys are compared with
    /// `eventSource` and `eventName`.
    #[inline(always)]
    pub(super) fn check_positions(&mut self, bytes: &[u8], end: usize) -> bool {
        let mut valid = true;
        let (source, name) = (&mut self.event_source, &mut self.event_name);
        self.positions.drain_before(end, |at| {
            if matches!(bytes[at - 1], b':' | b',' | b'[') {
                // A scalar. In the keys that are searched for, the eighth letter follows a letter.
                valid &= is_scalar(&bytes[at..]);
            } else {
                match_key(bytes, at, source, name);
            }
        });
        valid
    }
}

/// The candidates that are not in a nested object or array of the record: those at depth 1. `depth` is that of the
/// block's first byte.
#[inline(always)]
fn at_top_level(mut candidates: u64, open: u64, close: u64, depth: u32) -> u64 {
    let mut kept = 0;
    while candidates != 0 {
        let bit = candidates & candidates.wrapping_neg();
        candidates ^= bit;
        let before = bit - 1;
        if depth + (open & before).count_ones() == 1 + (close & before).count_ones() {
            kept |= bit;
        }
    }
    kept
}

/// Pushes and pops the brackets of one block, one by one. Returns the mask of bytes whose innermost open bracket is
/// `[`. An opening bracket counts as open at its own byte, a closing bracket does not.
#[inline(always)]
fn walk_brackets(
    stack: &mut u64,
    bytes: &[u8],
    at: usize,
    [open, close, square]: [u64; 3],
    error: &mut u64,
    ends: &mut [usize; MAX_RECORDS],
    found: &mut BatchResult,
) -> u64 {
    let mut in_array = 0_u64.wrapping_sub(*stack & 1);
    let mut brackets = open | close;
    while brackets != 0 {
        let bit = brackets.trailing_zeros();
        let bracket = brackets & brackets.wrapping_neg();
        brackets ^= bracket;
        let square = (square >> bit) & 1;
        let from_here = u64::MAX << bit;
        if open & bracket != 0 {
            if *stack & TOO_DEEP != 0 || (*stack == 1 && square == 1) {
                *error |= bracket;
                break;
            }
            *stack = (*stack << 1) | square;
        } else {
            if *stack == 1 || *stack & 1 != square {
                *error |= bracket;
                break;
            }
            *stack >>= 1;
            if *stack == 1 {
                let end = at + bit as usize + 1;
                ends[found.records] = end;
                found.records += 1;
                if bytes[end..end + 2] != *b",{" {
                    found.after_record = true;
                    return in_array | from_here;
                }
            }
        }
        in_array = (in_array & !from_here) | (0_u64.wrapping_sub(*stack & 1) & from_here);
    }
    in_array
}

fn lanes(masks: &BatchMask) -> &[Lanes] {
    masks.as_chunks().0
}

fn lanes_mut(masks: &mut BatchMask) -> &mut [Lanes] {
    masks.as_chunks_mut().0
}

/// Removes escaped quotes from the quote masks, and marks invalid escapes and control characters as errors. Returns 1
/// if the first byte after the batch is escaped. Most batches do not come here.
#[cold]
#[inline(never)]
fn resolve_escapes(
    mut escaped_before: u64,
    bytes: &[u8],
    at: usize,
    raw: &[[u8; BLOCK]],
    raw_masks: &mut RawMasks,
    masks: &mut Masks,
) -> u64 {
    for (index, raw) in raw.iter().take(BATCH).enumerate() {
        if (raw_masks.special >> index) & 1 != 0 || escaped_before != 0 {
            let special = EscapeMasks::of(raw);
            let escaped = escaped(special.backslash, &mut escaped_before);
            raw_masks.quote[index] &= !escaped;
            masks.backslash[index] = special.backslash;
            masks.error[index] =
                special.control | invalid_escapes(bytes, at + index * BLOCK, escaped);
        }
    }
    escaped_before
}

/// Escaped characters: the bytes after a backslash that is not itself escaped. `carry` is 1 if the last block ends with
/// such a backslash.
#[inline(always)]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    const EVEN: u64 = 0x5555_5555_5555_5555;
    let backslash = backslash & !*carry;
    let follows = (backslash << 1) | *carry;
    // The first backslash of a run escapes the byte after it, which escapes nothing, and so on: in a run that starts at
    // an even position the escaped bytes are at odd positions, and the other way round. Adding the first bit of a run
    // that starts at an odd position clears this run in the sum, which selects the even positions for it. If the sum
    // overflows, the run goes up to the end of the block and escapes the next byte.
    let odd_starts = backslash & !EVEN & !follows;
    let (sum, over) = odd_starts.overflowing_add(backslash);
    *carry = u64::from(over);
    (EVEN ^ (sum << 1)) & follows
}

#[cold]
fn invalid_escapes(bytes: &[u8], at: usize, mut escaped: u64) -> u64 {
    let mut invalid = 0;
    while escaped != 0 {
        let bit = escaped.trailing_zeros();
        if !is_escape(&bytes[at + bit as usize..]) {
            invalid |= 1 << bit;
        }
        escaped &= escaped - 1;
    }
    invalid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Portable;

    /// The lines of the crate's documentation are what the two stages compute.
    #[test]
    fn the_worked_block_is_computed() {
        let mut lines = include_str!("worked_block.md")
            .lines()
            .filter(|line| !line.starts_with("```"));
        let text = lines.next().unwrap().trim_start();
        let documented: Vec<_> = lines
            .map(|line| {
                let (name, bits) = line.split_once(' ').unwrap();
                (name, bits.trim_start())
            })
            .collect();

        let mut padded = text.as_bytes().to_vec();
        assert_eq!(padded.len(), BLOCK);
        padded.resize(BLOCK + crate::PADDING, 0);
        let (raw, _) = padded[..BLOCK].as_chunks::<BLOCK>();
        let (mut scanner, mut raw_masks, mut masks) =
            (Scanner::new(0), RawMasks::default(), Masks::default());
        raw_masks.classify(Portable, raw);
        scanner.stage1(Portable, &padded, 0, raw, &mut raw_masks, &mut masks);
        let found = scanner.stage2(&padded, 0, 1, &mut masks, &mut [0; MAX_RECORDS]);
        assert_eq!((found.error, found.records), (0, 0));

        let (mut stack, mut error) = (1, 0);
        let in_array = walk_brackets(
            &mut stack,
            &padded,
            0,
            [masks.open[0], masks.close[0], masks.square[0]],
            &mut error,
            &mut [0; MAX_RECORDS],
            &mut BatchResult {
                records: 0,
                after_record: false,
                error: 0,
            },
        );
        let quote = Portable.load(&lanes(&raw_masks.quote)[0]);
        let in_string = Portable.store(Portable.prefix_xor(quote));
        let string = masks.string[0];
        let value_prefix = masks.open[0] | masks.comma[0] | masks.colon[0];
        let key_quote = scanner.key_quote;
        let candidate = (key_quote << 8) & masks.m_or_u[0];
        assert_eq!(
            at_top_level(candidate, masks.open[0], masks.close[0], 0),
            candidate
        );
        let computed = [
            ("backslash", masks.backslash[0]),
            ("escaped", escaped(masks.backslash[0], &mut 0)),
            ("quote", raw_masks.quote[0]),
            ("in_string", in_string[0]),
            ("string", string),
            ("open", masks.open[0]),
            ("close", masks.close[0]),
            ("comma", masks.comma[0]),
            ("colon", masks.colon[0]),
            ("scalar", masks.scalar[0]),
            ("value_prefix", value_prefix),
            ("value_expected", (value_prefix << 1) | 1),
            (
                "value_start",
                masks.open_quote[0] | masks.open[0] | masks.scalar[0],
            ),
            ("in_array", in_array),
            ("key_prefix", (masks.comma[0] | masks.open[0]) & !in_array),
            ("key_quote", key_quote),
            ("key_end", (string + key_quote) & !string),
            ("candidate", candidate),
        ];
        let computed = computed.map(|(name, mask)| {
            let bits = (0..BLOCK).map(|bit| if (mask >> bit) & 1 == 1 { '1' } else { '.' });
            (name, bits.collect::<String>())
        });
        for ((name, bits), documented) in computed.iter().zip(&documented) {
            assert_eq!((*name, &**bits), *documented);
        }
        assert_eq!(computed.len(), documented.len());
    }
}
