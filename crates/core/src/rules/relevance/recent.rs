//! Calls seen of late, and whether they are relevant.
//!
//! Files hold few different calls many times over. What the rules can meet is worked out once for each, and
//! remembered in a table of fixed size: a call whose place another one has taken is worked out again. A table
//! goes from one file to the next; files that are read at the same time have one each.

use std::sync::{Mutex, PoisonError};

use record_scan::lowercase_ascii;

use super::{Answer, Relevance, needed::RecordText};

/// Places in the table: more than an ordinary file has different calls.
const PLACES: usize = 2048;

/// Longer texts are asked for every time, so that memory stays bounded.
const LONGEST: usize = 256;

/// Tables that no file uses at the moment.
#[derive(Debug, Default)]
pub(super) struct Tables(Mutex<Vec<Vec<Call>>>);

/// Whether rules can meet records, with a memory, for one file.
#[derive(Debug)]
pub struct Recent<'r> {
    relevance: &'r Relevance,
    calls: Vec<Call>,
    /// A record's text in lower case.
    lower: Vec<u8>,
}

/// Two texts one behind the other, the first one's length, and the answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Call {
    text: Vec<u8>,
    source: usize,
    answer: Answer,
}

impl<'r> Recent<'r> {
    pub(super) fn new(relevance: &'r Relevance) -> Recent<'r> {
        let tables = &relevance.tables.0;
        let used = tables.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Recent {
            relevance,
            calls: used.unwrap_or_else(|| vec![Call::default(); PLACES]),
            lower: Vec::new(),
        }
    }

    /// Whether a rule can meet this record, whose `eventSource` and `eventName` are these JSON strings without
    /// escapes.
    pub fn includes(&mut self, source: &[u8], name: &[u8], record: &[u8]) -> bool {
        if source.len() + name.len() > LONGEST || source.is_empty() {
            let answer = self.relevance.answer(source, name);
            return has_needed(&answer, record, &mut self.lower);
        }
        let call = &mut self.calls[place(source, name)];
        let is_known = call.source == source.len()
            && call.text.len() == source.len() + name.len()
            && call.text[..source.len()] == *source
            && call.text[source.len()..] == *name;
        if !is_known {
            call.text.clear();
            call.text.extend_from_slice(source);
            call.text.extend_from_slice(name);
            call.source = source.len();
            call.answer = self.relevance.answer(source, name);
        }
        has_needed(&call.answer, record, &mut self.lower)
    }
}

fn has_needed(answer: &Answer, record: &[u8], lower: &mut Vec<u8>) -> bool {
    match answer {
        Answer::No => false,
        Answer::Yes => true,
        Answer::WithText(alternatives) => {
            if !lowercase_ascii(record, lower) {
                return true;
            }
            let text = RecordText::of(record, lower);
            alternatives
                .iter()
                .any(|needed| needed.iter().all(|needed| needed.is_met_by(&text)))
        }
    }
}

impl Drop for Recent<'_> {
    fn drop(&mut self) {
        let mut tables = self
            .relevance
            .tables
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        tables.push(std::mem::take(&mut self.calls));
    }
}

/// The place of a call, by the ends of its texts: cheap, and good enough for a table that forgets.
#[inline(always)]
fn place(source: &[u8], name: &[u8]) -> usize {
    let word = |text: &[u8]| {
        let first = text
            .first_chunk::<4>()
            .map_or(0, |w| u32::from_le_bytes(*w));
        let last = text.last_chunk::<8>().map_or(0, |w| u64::from_le_bytes(*w));
        u64::from(first).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            ^ last.wrapping_mul(0xff51_afd7_ed55_8ccd)
    };
    let mixed = word(source).rotate_left(23)
        ^ word(name)
        ^ (name.len() as u64).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    // The upper bits are the best mixed ones.
    (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_answers_as_the_relevance_does() {
        let yaml = "title: t\nname: n\nid: i\nlogsource: {product: aws}\nlevel: low\ndetection:\n  a:\n    eventSource: [s1, s2, s3]\n    eventName|startswith: [a, b]\n  condition: a";
        let rules = rsigma_parser::parse_sigma_yaml(yaml).unwrap().rules;
        let relevance = Relevance::of(&rules);
        let mut recent = Recent::new(&relevance);
        // Far more calls than places, several times, in an order that lets them push each other out.
        for round in 0..3 {
            // The next file.
            drop(recent);
            recent = Recent::new(&relevance);
            for n in 0..5000_u32 {
                let n = n.wrapping_mul(2_654_435_761) % 5000;
                let (source, name) = (
                    format!("s{}", n % 7),
                    format!("{}{n}", ["a", "b", "c"][n as usize % 3]),
                );
                let (source, name) = (source.as_bytes(), name.as_bytes());
                assert_eq!(
                    recent.includes(source, name, b"{}"),
                    relevance.includes(source, name),
                    "{round} {n}"
                );
                assert_eq!(
                    recent.includes(source, name, b"{}"),
                    relevance.includes(source, name),
                    "{round} {n}"
                );
            }
        }
        // The border between the two texts counts.
        assert!(recent.includes(b"s1", b"a", b"{}"));
        assert!(!recent.includes(b"s1a", b"", b"{}"));
        assert!(!recent.includes(b"", b"s1a", b"{}"));
    }
}
