//! The two stages: from bytes to bitmasks, and from bitmasks to records. The crate's documentation describes both and
//! works one block through them.
//!
//! A violation of JSON's grammar sets a bit in [`Masks::error`], at the byte that shows it.

use crate::{
    BATCH, MAX_RECORDS, TOO_DEEP,
    block::{BLOCK, EightBlocks, EscapeMasks, Kernel, Lanes},
    positions::{MemberPosition, Positions, match_key},
    scalar::{is_escape, is_scalar},
};

/// One kind of bitmask for each block of a batch.
type BatchMask = [u64; BATCH];

/// Bitmasks of single characters, wherever they stand, of a whole batch.
#[derive(Default)]
#[repr(align(64))]
pub(super) struct RawMasks([EightBlocks; BATCH / 8]);

impl RawMasks {
    /// The first step of stage 1.
    #[inline(always)]
    pub(super) fn classify(&mut self, kernel: impl Kernel, raw: &[[u8; BLOCK]]) {
        let (eights, rest) = raw.as_chunks::<8>();
        for (eight, masks) in eights.iter().zip(&mut self.0) {
            kernel.classify(eight, masks);
        }
        if let Some(masks) = self.0.get_mut(eights.len())
            && !rest.is_empty()
        {
            let mut eight = [[0; BLOCK]; 8];
            eight[..rest.len()].copy_from_slice(rest);
            kernel.classify(&eight, masks);
        }
    }

    #[inline(always)]
    fn has_special(&self) -> bool {
        self.0.iter().any(|eight| eight.special != 0)
    }
}

/// Bitmasks of a batch, from stage 1 unless another is named. Structural characters and scalars inside strings are left
/// out.
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
    /// Stage 2: bytes whose innermost open bracket is `[`.
    in_array: BatchMask,
    /// Stage 2: the stack before the block.
    stack: BatchMask,
    /// Stage 2: letters of keys that may be `eventSource` or `eventName`.
    candidates: BatchMask,
    /// In strings, too.
    backslash: BatchMask,
    /// Bytes that violate the grammar or that the scanner does not support.
    pub(super) error: BatchMask,
}

/// The result of matching brackets.
pub(super) struct BatchResult {
    /// Number of records that end in the batch.
    pub(super) records: usize,
    /// Something other than `,{` follows the last of them; stage 2 has stopped there.
    pub(super) after_record: bool,
}

/// What stage 1 carries from the last block of a batch to the first block of the next.
#[derive(Clone, Copy)]
struct Carry {
    /// All ones if the last block ends inside a string.
    in_string: u64,
    /// 1 if the next byte is escaped.
    escaped: u64,
    /// The last block's mask, and so are the next ones.
    value_prefix: u64,
    open: u64,
    /// All bytes of scalars, not only the first.
    scalar: u64,
    key_prefix: u64,
    key_quote: u64,
    /// Bytes of keys that start in the block.
    key: u64,
}

/// What is carried from one batch to the next.
pub(super) struct Scanner {
    /// Position of the record's `{`.
    pub(super) start: usize,
    carry: Carry,
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
                key_prefix: 0,
                key_quote: 0,
                key: 0,
            },
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
        if raw_masks.has_special() || self.carry.escaped != 0 {
            self.carry.escaped =
                resolve_escapes(self.carry.escaped, bytes, at, raw, raw_masks, masks);
        }
        // The string mask: strings with their opening quotes, without their closing quotes.
        let mut in_string = [0; BATCH];
        for (raw, in_string) in raw_masks.0.iter().zip(lanes_mut(&mut in_string)) {
            *in_string = kernel.store(kernel.prefix_xor(kernel.load(&raw.quote)));
        }
        // A block that starts inside a string has its mask inverted. The highest bit is copied to all bits, for the
        // next block.
        let mut carry = self.carry.in_string;
        for in_string in &mut in_string {
            *in_string ^= carry;
            carry = (in_string.cast_signed() >> 63).cast_unsigned();
        }
        let mut value_prefix_before = in_last_lane(kernel, self.carry.value_prefix);
        let mut open_before = in_last_lane(kernel, self.carry.open);
        let mut scalar_before = in_last_lane(kernel, self.carry.scalar);
        for eight in 0..BATCH / 8 {
            let load = |masks: &BatchMask| kernel.load(&lanes(masks)[eight]);
            let store =
                |masks: &mut BatchMask, vector| lanes_mut(masks)[eight] = kernel.store(vector);
            let raw = &raw_masks.0[eight];
            let (in_string, quote) = (load(&in_string), kernel.load(&raw.quote));
            let string = kernel.or(in_string, quote);
            let open_quote = kernel.and(quote, in_string);
            let open = kernel.and_not(kernel.load(&raw.open), string);
            let close = kernel.and_not(kernel.load(&raw.close), string);
            let colon = kernel.and_not(kernel.load(&raw.colon), string);
            let comma = kernel.and_not(kernel.load(&raw.comma), string);
            let separator = kernel.or(colon, comma);
            let brackets = kernel.or(open, close);
            let not_scalar = kernel.or(string, kernel.or(brackets, separator));
            // White space is taken for a scalar, and fails the check of scalars.
            let scalar = kernel.not(not_scalar);
            let scalar_start = kernel.and_not(scalar, kernel.follows(1, scalar_before, scalar));
            scalar_before = scalar;

            // A value or a key starts directly after `{`, `[`, a colon or a comma (a value prefix) and nowhere else.
            // A colon, a comma or a closing bracket never follows these, except where it closes an empty object or
            // array. So the two masks XORed below must be equal.
            let value_prefix = kernel.or(separator, open);
            let value_expected = kernel.follows(1, value_prefix_before, value_prefix);
            value_prefix_before = value_prefix;
            let starts = kernel.or(open_quote, kernel.or(open, scalar_start));
            let tokens = kernel.or(starts, kernel.or(separator, close));
            let after_open = kernel.follows(1, open_before, open);
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
                kernel.and_not(kernel.load(&raw.square), string),
            );
            store(&mut masks.comma, comma);
            store(&mut masks.colon, colon);
            store(&mut masks.string, string);
            store(&mut masks.open_quote, open_quote);
            store(&mut masks.scalar, scalar_start);
            store(&mut masks.error, error);
        }
        self.carry.in_string = carry;
        self.carry.value_prefix = last_lane(kernel, value_prefix_before);
        self.carry.open = last_lane(kernel, open_before);
        self.carry.scalar = last_lane(kernel, scalar_before);
    }

    /// Stage 2, first step: matches brackets, which shows where arrays are and where records end.
    #[inline(always)]
    pub(super) fn match_brackets(
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
        };
        let mut stack = self.stack;
        for index in 0..count.min(BATCH) {
            let (open, close, square) =
                (masks.open[index], masks.close[index], masks.square[index]);
            masks.stack[index] = stack;
            let closes = close.count_ones();
            // The common case: the block has no `[` or `]`, starts in an object and closes no array. Then only the
            // numbers of `{` and `}` count, not their order. A record must not end in it either: one more bracket
            // than the block closes must be `{`. For 64 closing brackets the mask is the whole stack, which is
            // never 0.
            let innermost = u64::MAX >> 63_u32.saturating_sub(closes);
            masks.in_array[index] = if square | (stack & (innermost | TOO_DEEP)) == 0 {
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
            if found.after_record {
                break;
            }
        }
        self.stack = stack;
        found
    }

    /// Stage 2, second step: finds the keys of objects, each of which must be followed by a colon, and among them those
    /// that may be `eventSource` or `eventName`. Returns whether there may be an error in [`Masks::error`]: there may be
    /// one in blocks after the last block of the batch, too.
    ///
    /// A key prefix is a `{`, or a comma that stands in an object: a key must follow.
    #[inline(always)]
    pub(super) fn find_keys(
        &mut self,
        kernel: impl Kernel,
        raw_masks: &RawMasks,
        masks: &mut Masks,
    ) -> bool {
        let mut key_prefix_before = in_last_lane(kernel, self.carry.key_prefix);
        let mut key_quote_before = in_last_lane(kernel, self.carry.key_quote);
        let mut key_before = in_last_lane(kernel, self.carry.key);
        let mut any_error = in_last_lane(kernel, 0);
        for eight in 0..BATCH / 8 {
            let load = |masks: &BatchMask| kernel.load(&lanes(masks)[eight]);
            let (open, string) = (load(&masks.open), load(&masks.string));
            let key_prefix =
                kernel.and_not(kernel.or(load(&masks.comma), open), load(&masks.in_array));
            let key_expected = kernel.follows(1, key_prefix_before, key_prefix);
            key_prefix_before = key_prefix;
            let key_quote = kernel.and(load(&masks.open_quote), key_expected);
            // A string is a run of ones. Adding the bit of a key's opening quote to its run clears the run and
            // carries to the byte after it, where the colon must be. Strings that are values stay as they are, so
            // that no other bit outside strings is set, and no other colon is allowed.
            let sum = kernel.add(string, key_quote);
            // A run that goes up to the end of the block continues in the next one. A key that continues in a third
            // block is not supported: there its colon is an error.
            let key = kernel.and_not(string, sum);
            let continued = kernel.shift_right(kernel.prev_lane(key_before, key), 63);
            key_before = key;
            let sum = kernel.add(sum, continued);
            let missing_key = kernel.and(kernel.or(open, load(&masks.scalar)), key_expected);
            let wrong_colon = kernel.xor(kernel.and_not(sum, string), load(&masks.colon));
            // An escape in a key may stand for a letter of `eventName`. The scanner does not decode it.
            let escape = kernel.and(load(&masks.backslash), kernel.and_not(string, sum));
            let error = kernel.or(
                kernel.or(load(&masks.error), missing_key),
                kernel.or(wrong_colon, escape),
            );
            any_error = kernel.or(any_error, error);
            lanes_mut(&mut masks.error)[eight] = kernel.store(error);
            // The eighth letter of a key is at its opening quote plus 8.
            let eighth = kernel.follows(8, key_quote_before, key_quote);
            key_quote_before = key_quote;
            lanes_mut(&mut masks.candidates)[eight] =
                kernel.store(kernel.and(eighth, kernel.load(&raw_masks.0[eight].m_or_u)));
        }
        self.carry.key_prefix = last_lane(kernel, key_prefix_before);
        self.carry.key_quote = last_lane(kernel, key_quote_before);
        self.carry.key = last_lane(kernel, key_before);
        kernel.store(any_error) != [0; 8]
    }

    /// Stage 2, third step: queues scalars, and the letters of keys that may be `eventSource` or `eventName`, for
    /// [`Scanner::check_positions`].
    #[inline(always)]
    pub(super) fn queue_positions(&mut self, at: usize, count: usize, masks: &Masks) {
        for index in 0..count.min(BATCH) {
            let mut candidates = masks.candidates[index];
            if candidates != 0 {
                // The depth at the block's first byte: 1 in a record, outside its nested values.
                let depth = 63_u32.saturating_sub(masks.stack[index].leading_zeros());
                candidates = at_top_level(candidates, masks.open[index], masks.close[index], depth);
            }
            self.positions
                .push(at + index * BLOCK, masks.scalar[index] | candidates);
        }
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

/// A vector with the mask of the last of eight blocks, for the carry to the next eight.
#[inline(always)]
fn in_last_lane<K: Kernel>(kernel: K, mask: u64) -> K::Vector {
    kernel.load(&[0, 0, 0, 0, 0, 0, 0, mask])
}

#[inline(always)]
fn last_lane<K: Kernel>(kernel: K, vector: K::Vector) -> u64 {
    kernel.store(vector)[7]
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
        let eight = &mut raw_masks.0[index / 8];
        if (eight.special >> (index % 8)) & 1 != 0 || escaped_before != 0 {
            let special = EscapeMasks::of(raw);
            let escaped = escaped(special.backslash, &mut escaped_before);
            eight.quote[index % 8] &= !escaped;
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
        let found = scanner.match_brackets(&padded, 0, 1, &mut masks, &mut [0; MAX_RECORDS]);
        scanner.find_keys(Portable, &raw_masks, &mut masks);
        assert_eq!((masks.error[0], found.records), (0, 0));

        let in_array = masks.in_array[0];
        let raw = &raw_masks.0[0];
        let in_string = Portable.store(Portable.prefix_xor(Portable.load(&raw.quote)));
        let string = masks.string[0];
        let value_prefix = masks.open[0] | masks.comma[0] | masks.colon[0];
        let key_quote = masks.open_quote[0] & ((masks.comma[0] | masks.open[0]) & !in_array) << 1;
        let candidate = masks.candidates[0];
        assert_eq!(
            at_top_level(candidate, masks.open[0], masks.close[0], 0),
            candidate
        );
        let computed = [
            ("backslash", masks.backslash[0]),
            ("escaped", escaped(masks.backslash[0], &mut 0)),
            ("quote", raw.quote[0]),
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
