//! The cache of decisions by call, a table of fixed size.
//!
//! Log files contain few different calls, each many times. A decision is made once for each call, unless another
//! call has taken its slot. A table is reused for the next file; files that are read concurrently have one each.

use std::sync::{Mutex, PoisonError};

use super::decision::Decision;

/// Number of slots: more than there are different calls in an ordinary file.
const SLOTS: usize = 2048;

/// Longest event source and event name, in bytes, that are cached; memory stays bounded.
pub(super) const MAX_CACHED: usize = 256;

/// The decision for a call.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Event source and event name, concatenated.
    pub call: Vec<u8>,
    /// Length of the event source.
    pub source: usize,
    pub decision: Decision,
}

/// Tables that are not in use.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Vec<Entry>>>);

impl Pool {
    pub(super) fn take(&self) -> Vec<Entry> {
        let table = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        table.unwrap_or_else(|| vec![Entry::default(); SLOTS])
    }

    pub(super) fn give_back(&self, table: Vec<Entry>) {
        let mut tables = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        tables.push(table);
    }
}

/// The slot of a call, a hash of the ends of its two names. A collision only costs another decision.
#[inline(always)]
pub(super) fn slot(source: &[u8], name: &[u8]) -> usize {
    let ends = |text: &[u8]| {
        let first = text
            .first_chunk::<4>()
            .map_or(0, |w| u32::from_le_bytes(*w));
        let last = text.last_chunk::<8>().map_or(0, |w| u64::from_le_bytes(*w));
        u64::from(first).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ last.wrapping_mul(0xff51_afd7_ed55_8ccd)
    };
    let mixed = ends(source).rotate_left(23)
        ^ ends(name)
        ^ (name.len() as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    // The upper bits are the best mixed ones.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % SLOTS
}
