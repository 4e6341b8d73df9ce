//! Compact records: elements of `Records` that are proved to be JSON objects without being parsed.
//!
//! [`scan`] goes over the elements in blocks of 64 bytes and checks JSON's whole grammar with a few
//! operations on sets of places (`block.rs`): strings and their escapes, what may stand next to what, keys
//! and colons, brackets that match, numbers and words. It proves and never judges: an element that is
//! written in another way than CloudTrail writes it (white space, deep nesting, an escape in a name), or
//! that is no JSON, is [`End::Odd`] and left to the parser, whose word counts.
//!
//! Of each element it gives the texts of `eventSource` and `eventName`, whatever the case of these names, where
//! the element itself has each exactly once; what stands in an object or a list within it does not count. So an
//! element that no rule can match need not be parsed.

mod block;
mod grammar;
mod lower;
mod members;
mod places;
mod scalar;

use std::ops::ControlFlow;

use block::{BLOCK, Portable, Way};
use grammar::{Blocks, Masks, Scan, Structure};
pub use lower::lower_plain;
pub use members::members;
use places::Place;

/// Behind the bytes that a scan is given, so many more must stand: it looks ahead.
pub const SLACK: usize = BLOCK + LOOKAHEAD;
const LOOKAHEAD: usize = scalar::LONGEST;

/// Blocks whose sets are made before they are looked at. What the sets say decides branches that a
/// processor cannot foresee; made ahead, they are at hand when it has guessed wrong.
const BATCH: usize = 32;

/// Most record ends that a batch can hold: `{},`.
const MOST_ENDS: usize = BATCH * BLOCK / 3 + 1;

/// Deeper nesting, which is one bit a level in a number of 64 bits, is left to the parser.
const TOO_DEEP: u64 = 0xffff_ff00_0000_0000;

/// Why a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The bytes are used up: the element needs more of them.
    More,
    /// The element is not compact; it may be JSON all the same.
    Odd,
    /// Behind an element stands something else than `,{`, or the sink wants no more.
    Behind,
}

/// An element, proved to be a JSON object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compact<'b> {
    /// From `{` to `}`.
    pub bytes: &'b [u8],
    /// Where it starts.
    pub start: usize,
    /// `None` where there is no `eventSource`, or two, or it is no text without escapes.
    pub event_source: Option<&'b [u8]>,
    /// Likewise.
    pub event_name: Option<&'b [u8]>,
}

/// Goes over elements from the `{` at `from` on, and hands each compact one to the sink. `bytes` are
/// `length` bytes of the file and [`SLACK`] more, which with `last` are zeros. Returns where the first
/// element starts that was not handed on; with [`End::Behind`], where the last one ended.
pub fn scan(
    bytes: &[u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &mut dyn FnMut(Compact<'_>) -> ControlFlow<()>,
) -> (usize, End) {
    #[cfg(target_arch = "x86_64")]
    {
        if let Some(v4) = pulp::x86::V4::try_new() {
            return v4.vectorize(Vectorized {
                way: v4,
                bytes,
                from,
                length,
                last,
                sink,
            });
        }
        if let Some(v3) = pulp::x86::V3::try_new() {
            return v3.vectorize(Vectorized {
                way: v3,
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

/// The arguments of [`scan_with`], for pulp, which calls it with the instructions switched on. It is no closure because
/// a closure would not be sure to be inlined there.
#[cfg(target_arch = "x86_64")]
struct Vectorized<'b, 's, W> {
    way: W,
    bytes: &'b [u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &'s mut dyn FnMut(Compact<'_>) -> ControlFlow<()>,
}

#[cfg(target_arch = "x86_64")]
impl<W: Way> pulp::NullaryFnOnce for Vectorized<'_, '_, W> {
    type Output = (usize, End);

    #[inline(always)]
    fn call(self) -> (usize, End) {
        scan_with(
            self.way,
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
    way: impl Way,
    bytes: &[u8],
    from: usize,
    length: usize,
    last: bool,
    sink: &mut dyn FnMut(Compact<'_>) -> ControlFlow<()>,
) -> (usize, End) {
    assert!(bytes.len() >= length + SLACK, "there must be slack");
    let limit = if last {
        length
    } else {
        length.saturating_sub(SLACK)
    };
    let mut scan = Scan::new(from);
    let mut blocks = Blocks::default();
    let mut masks = Masks::default();
    let mut ends = [0; MOST_ENDS];
    let mut at = from;
    while at < limit {
        let count = BATCH.min((limit - at).div_ceil(BLOCK));
        let (raw, _) = bytes[at..at + count * BLOCK].as_chunks::<BLOCK>();
        blocks.take(way, raw);
        scan.tokens(way, bytes, at, raw, &mut blocks, &mut masks);
        let Structure { ended, behind, bad } =
            scan.structure(bytes, at, count, &mut masks, &mut ends);
        let first_bad = if bad == 0 {
            usize::MAX
        } else {
            first_bad(at, count, &masks)
        };
        for &end in &ends[..ended] {
            if first_bad < end || !scan.settle(bytes, end) {
                return (scan.start, End::Odd);
            }
            let compact = Compact {
                bytes: &bytes[scan.start..end],
                start: scan.start,
                event_source: scan.event_source.text(bytes),
                event_name: scan.event_name.text(bytes),
            };
            if sink(compact).is_break() {
                return (end, End::Behind);
            }
            scan.event_source = Place::Nowhere;
            scan.event_name = Place::Nowhere;
            // Behind the comma; where there is none, this is undone below.
            scan.start = end + 1;
        }
        if behind {
            return (scan.start - 1, End::Behind);
        }
        if bad != 0 || (scan.places.many() && !scan.settle(bytes, at + count * BLOCK)) {
            return (scan.start, End::Odd);
        }
        at += count * BLOCK;
    }
    (scan.start, End::More)
}

#[cold]
fn first_bad(at: usize, count: usize, masks: &Masks) -> usize {
    masks.bad[..count]
        .iter()
        .position(|bad| *bad != 0)
        .map_or(usize::MAX, |block| {
            at + block * BLOCK + masks.bad[block].trailing_zeros() as usize
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    /// Each element that was told, as text, and how the scan ended.
    type Told = (Vec<String>, usize, End);

    fn told(
        padded: &[u8],
        length: usize,
        last: bool,
        scan: impl FnOnce(
            &[u8],
            usize,
            bool,
            &mut dyn FnMut(Compact<'_>) -> ControlFlow<()>,
        ) -> (usize, End),
    ) -> Told {
        let mut elements = Vec::new();
        let (at, end) = scan(padded, length, last, &mut |compact| {
            elements.push(format!("{compact:?}"));
            ControlFlow::Continue(())
        });
        (elements, at, end)
    }

    fn element() -> impl Strategy<Value = String> {
        let text = "[a-zé{}\\[\\]:, ]{0,9}|\\\\\"|\\\\\\\\|\\\\u0041|event(Name|Source)";
        let value = prop_oneof![
            4 => text.prop_map(|text| format!("\"{text}\"")),
            2 => "-?[0-9]{1,3}(\\.5)?|true|false|null".prop_map(String::from),
            // Broken.
            1 => "[{}\\[\\]:,\"1tx\\\\ ]{0,3}".prop_map(String::from),
        ];
        let name = "event(Name|Source|Time)|EVENTNAME|[a-z]{1,12}";
        let value = value.prop_recursive(4, 24, 5, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5)
                    .prop_map(|items| format!("[{}]", items.join(","))),
                prop::collection::vec((name, inner), 0..5).prop_map(|members| {
                    let members: Vec<_> = members
                        .iter()
                        .map(|(name, value)| format!("\"{name}\":{value}"))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        });
        prop::collection::vec((name, value), 0..12).prop_map(|members| {
            let members: Vec<_> = members
                .iter()
                .map(|(name, value)| format!("\"{name}\":{value}"))
                .collect();
            format!("{{{}}}", members.join(","))
        })
    }

    proptest! {
        #[test]
        fn every_way_finds_the_same(
            elements in prop::collection::vec(element(), 1..16),
            more in any::<prop::sample::Index>(),
            last in any::<bool>(),
        ) {
            let mut padded = elements.join(",").into_bytes();
            let length = if last { padded.len() } else { more.index(padded.len()) + 1 };
            padded.resize(padded.len() + SLACK, 0);
            let portable = told(&padded, length, last, |bytes, length, last, sink| {
                scan_with(Portable, bytes, 0, length, last, sink)
            });
            #[cfg(target_arch = "x86_64")]
            if let Some(way) = pulp::x86::V3::try_new() {
                let v3 = told(&padded, length, last, |bytes, length, last, sink| {
                    way.vectorize(Vectorized { way, bytes, from: 0, length, last, sink })
                });
                prop_assert_eq!(&v3, &portable);
            }
            #[cfg(target_arch = "x86_64")]
            if let Some(way) = pulp::x86::V4::try_new() {
                let v4 = told(&padded, length, last, |bytes, length, last, sink| {
                    way.vectorize(Vectorized { way, bytes, from: 0, length, last, sink })
                });
                prop_assert_eq!(&v4, &portable);
            }
            // What is told is JSON, and, where every element is, all of it.
            let (told, at, _) = portable;
            let text = format!("[{}]", String::from_utf8_lossy(&padded[..at]).trim_end_matches(','));
            let values = serde_json::from_str::<Vec<Value>>(&text);
            prop_assert_eq!(values.map(|values| values.len()).ok(), Some(told.len()));
            let is_json = |text: &String| serde_json::from_str::<Value>(text).is_ok();
            if last && elements.iter().all(is_json) {
                prop_assert_eq!(told.len(), elements.len());
            }
        }
    }
}
