//! Finds the records of a CloudTrail log file without parsing them.
//!
//! A log file is one JSON object, `{"Records":[{…},{…},…]}`. Most of its records are calls that no rule can match, and
//! parsing a record takes ten times as long as inflating it. [`scan`] goes over the array, validates each record as
//! JSON, and reads two members of it, `eventSource` and `eventName`. With these its caller decides whether to parse the
//! record or to skip it.
//!
//! # What is validated
//!
//! Malformed JSON is reported even if it is in a record that is skipped, so all of JSON's grammar is checked: strings,
//! escapes, which token may follow which, matching brackets, keys and colons, numbers and literals. Only UTF-8 is not,
//! because the parser replaces invalid bytes.
//!
//! The scanner is a fast path for JSON as CloudTrail writes it. It never reports an invalid record, but it does not
//! support every valid one: not white space between tokens, more than 40 levels, an escape in a key, a key that is
//! longer than a block, or a number of 64 characters. There it stops with [`End::Fallback`], and the full parser decides about the record.
//!
//! # The algorithm
//!
//! It is that of [simdjson](https://arxiv.org/abs/1902.08318), adapted to skipping. The text is divided into blocks of
//! 64 bytes. A *bitmask* is a number of 64 bits with one bit for each byte of a block: whether it is, say, a quote. What
//! JSON's grammar says about neighbouring bytes becomes shifts, additions and logical operations on bitmasks, with the
//! result for 64 bytes at once and with hardly any branch that depends on the text.
//!
//! **Stage 1** (`block.rs` and `Scanner::stage1`) makes the bitmasks of a batch of 32 blocks, eight blocks to a vector,
//! and checks which token follows which.
//!
//! **Stage 2** takes three steps over the bitmasks of the batch. `Scanner::match_brackets` goes from block to block and
//! finds arrays and the ends of records. `Scanner::find_keys` checks keys and colons, again eight blocks at a time.
//! `Scanner::queue_positions` puts scalars, and the keys that may be `eventSource` or `eventName`, into a queue
//! (`positions.rs`), which is checked when their record has ended.
//!
//! simdjson's stage 1 ends with a list of the positions of all tokens, and its stage 2 goes over that list and builds
//! the values. Here nothing is built, so there is no list: stage 2 looks at single brackets only in blocks that
//! have a part of an array or the end of a record. There is no bitmask of white space either, because there must not be
//! any.
//!
//! # One block, worked
//!
//! A record starts in this block. The bitmasks are written in the order of the text: the lowest bit is on the left, so
//! that a shift left moves bits to the right. A test computes these lines.
//!
#![doc = include_str!("worked_block.md")]
//!
//! Stage 1:
//! - `escaped` marks the byte after each backslash that is not itself escaped. In a *backslash run* that is every
//!   second backslash, and after a run of odd length the byte that follows it. Escaped quotes are removed from
//!   `quote`.
//! - `in_string` is the *prefix XOR* of `quote`: each bit is the XOR of all quotes up to it, which is 1 from an opening
//!   quote up to, but without, the closing one. `string` adds the closing quotes. If a block ends inside a string, the
//!   next block's mask is inverted: the first of several *carries* from block to block.
//! - `open`, `close`, `comma` and `colon` are the *structural characters*, without those inside strings. All bytes
//!   that are neither structural nor in a string belong to scalars: numbers, `true`, `false` and `null`. `scalar`
//!   marks their first bytes, which simdjson calls *pseudo-structural*.
//! - A value or a key starts directly after a structural character of `value_prefix`, and nowhere else. So
//!   `value_prefix` shifted left by one, with a carry from the previous block (`value_expected`; here the carry comes
//!   from the `[` of `Records`), must be equal to the mask of all starts: opening quotes, opening brackets, `scalar`.
//!   Where the two differ, there is an error. Only `{}` and `[]` are exempt.
//!
//! Stage 2:
//! - The brackets are pushed on a *stack* and popped from it, a `u64` with one bit for each open bracket. `in_array`
//!   marks the bytes whose innermost bracket is `[`.
//! - A key must follow each `{` and each comma that is not in an array (`key_prefix`). `key_quote` marks the opening
//!   quotes in these positions. Anything else there is an error.
//! - The sum `string + key_quote` finds the ends of keys: each string is a run of ones, and adding 1 to its first bit
//!   carries to the byte after it. The bits of the sum outside strings, `key_end`, must be equal to `colon`: a colon
//!   follows each key and nothing else.
//! - `eventName` and `eventSource` have `m` and `u` as their eighth letters. `candidate` marks such a letter eight
//!   bytes after a `key_quote`. Those at the record's top level are compared with the two names when the record has
//!   ended.
//!
//! # Why no library does this
//!
//! serde_json and simd-json parse all that they read. [sonic-rs](https://docs.rs/sonic-rs/0.5.10) can skip values:
//! - `to_array_iter_unchecked` skips a record with the same string mask and a count of brackets, in a fifth to two
//!   thirds of the time that this crate takes. It validates nothing, and is `unsafe` for that reason: "If the json is
//!   invalid, the result is undefined".
//! - `to_array_iter` validates what it skips, token by token. It takes about as long as this crate or half as long
//!   again, and has then read no member of a record. With `eventSource` and `eventName` it takes two to four times as
//!   long.
//! - `get` returns the first member with a key. Whether there is a second one, or one whose key differs in case, takes
//!   a pass over all members.
//! - All of these need the array in one piece; a log file is inflated window by window.
//! - The vector instructions are chosen when the program is compiled. A program for every x86-64 processor has SSE2
//!   only. Here pulp detects AVX-512 and AVX2 at run time, and the crate has no `unsafe` code.
//!
//! (Measured with sonic-rs 0.5.10 and AVX2, on generated log files of 0.4 MB and 50 MB.)

mod block;
mod grammar;
mod lowercase;
mod members;
mod positions;
mod scalar;

use std::ops::ControlFlow;

use block::{BLOCK, Kernel, Portable};
use grammar::{BatchResult, Masks, RawMasks, Scanner};
pub use lowercase::lowercase_ascii;
pub use members::top_level_members;
use positions::MemberPosition;

/// Bytes that must follow those to be scanned: the scanner reads whole blocks, and looks ahead.
pub const PADDING: usize = BLOCK + LOOKAHEAD;
const LOOKAHEAD: usize = scalar::MAX_SCALAR;

/// Blocks of a batch. Stage 2 has branches that the processor cannot predict. With the bitmasks of many blocks computed
/// before it, a misprediction does not delay stage 1.
const BATCH: usize = 32;

/// Maximum number of records that end in a batch: each has at least `{},`.
const MAX_RECORDS: usize = BATCH * BLOCK / 3 + 1;

/// A stack with one of these bits is full. The lower 40 bits hold 40 levels; the rest is for the brackets of one block.
const TOO_DEEP: u64 = 0xffff_ff00_0000_0000;

/// Why a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The scan reached the end of the bytes. The record there, if one has started, needs more of them.
    Incomplete,
    /// The record is not supported by the scanner, or is not valid. The full parser must read it.
    Fallback,
    /// Something other than `,{` follows a record, or the sink stopped the scan.
    AfterRecord,
}

/// A record, validated as a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScannedRecord<'b> {
    /// From `{` to `}`.
    pub bytes: &'b [u8],
    /// Position of the `{`.
    pub start: usize,
    /// The value of `eventSource`, whatever the case of the key. `None` if the top level does not have exactly one
    /// such member, or if it is not a string without escapes.
    pub event_source: Option<&'b [u8]>,
    /// The value of `eventName`, likewise.
    pub event_name: Option<&'b [u8]>,
}

/// Scans records, the first of which starts with the `{` at `from`, and calls `sink` with each. `bytes` are `length`
/// bytes of the file and at least [`PADDING`] more. `last`: the file ends after `length` bytes; then the
/// padding must be zeros.
///
/// Returns the position of the first record that was not given to the sink; with [`End::AfterRecord`], the position
/// after the last one that was.
pub fn scan(
    bytes: &[u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &mut dyn FnMut(ScannedRecord<'_>) -> ControlFlow<()>,
) -> (usize, End) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(v4) = pulp::x86::V4::try_new() {
            return v4.vectorize(Vectorized {
                kernel: v4,
                bytes,
                from,
                length,
                last,
                sink,
            });
        }
        if let Some(v3) = pulp::x86::V3::try_new() {
            return v3.vectorize(Vectorized {
                kernel: v3,
                bytes,
                from,
                length,
                last,
                sink,
            });
        }
    }
    scan_with(Portable, bytes, from, length, last, sink)
}

/// The arguments of [`scan_with`], which pulp calls with AVX2 or AVX-512 enabled. Not a closure, because a closure may
/// not be inlined into the function for which pulp enables them.
#[cfg(target_arch = "x86_64")]
struct Vectorized<'b, 's, K> {
    kernel: K,
    bytes: &'b [u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &'s mut dyn FnMut(ScannedRecord<'_>) -> ControlFlow<()>,
}

#[cfg(target_arch = "x86_64")]
impl<K: Kernel> pulp::NullaryFnOnce for Vectorized<'_, '_, K> {
    type Output = (usize, End);

    #[inline(always)]
    fn call(self) -> (usize, End) {
        scan_with(
            self.kernel,
            self.bytes,
            self.from,
            self.length,
            self.last,
            self.sink,
        )
    }
}

#[inline(always)]
fn scan_with(
    kernel: impl Kernel,
    bytes: &[u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &mut dyn FnMut(ScannedRecord<'_>) -> ControlFlow<()>,
) -> (usize, End) {
    assert!(bytes.len() >= length + PADDING, "the padding is missing");
    let limit = if last {
        length
    } else {
        length.saturating_sub(PADDING)
    };
    let mut scanner = Scanner::new(from);
    let mut raw_masks = RawMasks::default();
    let mut masks = Masks::default();
    let mut ends = [0; MAX_RECORDS];
    let mut at = from;
    while at < limit {
        let count = BATCH.min((limit - at).div_ceil(BLOCK));
        let (raw, _) = bytes[at..at + count * BLOCK].as_chunks::<BLOCK>();
        raw_masks.classify(kernel, raw);
        scanner.stage1(kernel, bytes, at, raw, &mut raw_masks, &mut masks);
        let BatchResult {
            records,
            after_record,
        } = scanner.match_brackets(bytes, at, count, &mut masks, &mut ends);
        let first_error = if scanner.find_keys(kernel, &raw_masks, &mut masks) {
            first_error(at, count, &masks)
        } else {
            usize::MAX
        };
        scanner.queue_positions(at, count, &masks);
        for &end in &ends[..records] {
            if first_error < end || !scanner.check_positions(bytes, end) {
                return (scanner.start, End::Fallback);
            }
            let record = ScannedRecord {
                bytes: &bytes[scanner.start..end],
                start: scanner.start,
                event_source: scanner.event_source.plain_string(bytes),
                event_name: scanner.event_name.plain_string(bytes),
            };
            if sink(record).is_break() {
                return (end, End::AfterRecord);
            }
            scanner.event_source = MemberPosition::Missing;
            scanner.event_name = MemberPosition::Missing;
            // After the comma. If there is none, the branch below corrects this.
            scanner.start = end + 1;
        }
        if after_record {
            return (scanner.start - 1, End::AfterRecord);
        }
        if first_error != usize::MAX
            || (scanner.positions.is_nearly_full()
                && !scanner.check_positions(bytes, at + count * BLOCK))
        {
            return (scanner.start, End::Fallback);
        }
        at += count * BLOCK;
    }
    (scanner.start, End::Incomplete)
}

#[cold]
fn first_error(at: usize, count: usize, masks: &Masks) -> usize {
    masks.error[..count]
        .iter()
        .position(|error| *error != 0)
        .map_or(usize::MAX, |block| {
            at + block * BLOCK + masks.error[block].trailing_zeros() as usize
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Each record, as text, and how the scan ended.
    type Scanned = (Vec<String>, usize, End);

    fn collect(
        padded: &[u8],
        length: usize,
        last: bool,
        scan: impl FnOnce(
            &[u8],
            usize,
            bool,
            &mut dyn FnMut(ScannedRecord<'_>) -> ControlFlow<()>,
        ) -> (usize, End),
    ) -> Scanned {
        let mut records = Vec::new();
        let (at, end) = scan(padded, length, last, &mut |record| {
            records.push(format!("{record:?}"));
            ControlFlow::Continue(())
        });
        (records, at, end)
    }

    fn record() -> impl Strategy<Value = String> {
        let text = "[a-zé{}\\[\\]:, ]{0,9}|\\\\\"|\\\\\\\\|\\\\u0041|event(Name|Source)";
        let value = prop_oneof![
            4 => text.prop_map(|text| format!("\"{text}\"")),
            2 => "-?[0-9]{1,3}(\\.5)?|true|false|null".prop_map(String::from),
            // Not valid, mostly.
            1 => "[{}\\[\\]:,\"1tx\\\\ ]{0,3}".prop_map(String::from),
        ];
        let key = "event(Name|Source|Time)|EVENTNAME|[a-z]{1,12}";
        let value = value.prop_recursive(4, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec((key, inner), 0..5).prop_map(|members| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(key, value)| format!("\"{key}\":{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        prop::collection::vec((key, value), 0..12).prop_map(|members| {
            let members: Vec<_> = members
                .iter()
                .map(|(key, value)| format!("\"{key}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    }

    /// A key of any length, at any position in a block, is found or left to the full parser.
    #[test]
    fn long_keys() {
        for length in 0..300 {
            for before in 0..BLOCK {
                let record = format!(
                    r#"{{"a":"{}","{}":"b","eventName":"c"}}"#,
                    "x".repeat(before),
                    "k".repeat(length)
                );
                let mut padded = record.clone().into_bytes();
                padded.resize(record.len() + PADDING, 0);
                let mut names = Vec::new();
                let (at, end) = scan(&padded, 0, record.len(), true, &mut |found| {
                    names.push(found.event_name == Some(b"c"));
                    ControlFlow::Continue(())
                });
                if end == End::Fallback {
                    assert!(length + 2 > BLOCK, "{record}");
                    assert_eq!((names, at), (vec![], 0), "{record}");
                } else {
                    assert_eq!((names, end), (vec![true], End::AfterRecord), "{record}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn every_kernel_finds_the_same(
            records in prop::collection::vec(record(), 1..16),
            cut in any::<prop::sample::Index>(),
            last in any::<bool>(),
        ) {
            let mut padded = records.join(",").into_bytes();
            let length = if last { padded.len() } else { cut.index(padded.len()) + 1 };
            padded.resize(padded.len() + PADDING, 0);
            let portable = collect(&padded, length, last, |bytes, length, last, sink| {
                scan_with(Portable, bytes, 0, length, last, sink)
            });
            #[cfg(target_arch = "x86_64")]
            if let Some(kernel) = pulp::x86::V3::try_new() {
                let v3 = collect(&padded, length, last, |bytes, length, last, sink| {
                    kernel.vectorize(Vectorized { kernel, bytes, from: 0, length, last, sink })
                });
                prop_assert_eq!(&v3, &portable);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(kernel) = pulp::x86::V4::try_new() {
                let v4 = collect(&padded, length, last, |bytes, length, last, sink| {
                    kernel.vectorize(Vectorized { kernel, bytes, from: 0, length, last, sink })
                });
                prop_assert_eq!(&v4, &portable);
            }
            // All records that are found are JSON, and all records are found if all are JSON.
            let (scanned, at, _) = portable;
            let text = format!("[{}]", String::from_utf8_lossy(&padded[..at]).trim_end_matches(','));
            let values = serde_json::from_str::<Vec<Value>>(&text);
            prop_assert_eq!(values.map(|values| values.len()).ok(), Some(scanned.len()));
            let is_json = |text: &String| serde_json::from_str::<Value>(text).is_ok();
            if last && records.iter().all(is_json) {
                prop_assert_eq!(scanned.len(), records.len());
            }
        }
    }
}
