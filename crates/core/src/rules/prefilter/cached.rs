//! A prefilter with a cache of its decisions, for the records of one log file.

use super::{
    cache::{Entry, MAX_CACHED, slot},
    index::Prefilter,
};

/// Decides which records of a log file can match a rule.
#[derive(Debug)]
pub struct CachedPrefilter<'p> {
    prefilter: &'p Prefilter,
    table: Vec<Entry>,
    /// Buffer for a record in lower case.
    lower: Vec<u8>,
}

impl<'p> CachedPrefilter<'p> {
    /// A prefilter with the cache of a previous file, if there is one.
    pub fn new(prefilter: &'p Prefilter) -> CachedPrefilter<'p> {
        CachedPrefilter {
            prefilter,
            table: prefilter.caches.take(),
            lower: Vec::new(),
        }
    }

    /// Whether a rule can match this record, whose `eventSource` and `eventName` are these contents of JSON strings
    /// without escapes.
    pub fn includes(&mut self, source: &[u8], name: &[u8], record: &[u8]) -> bool {
        if source.len() + name.len() > MAX_CACHED || source.is_empty() {
            let decision = self.prefilter.decide(source, name);
            return decision.includes(record, &mut self.lower);
        }
        let entry = &mut self.table[slot(source, name)];
        let is_cached = entry.source == source.len()
            && entry.call.len() == source.len() + name.len()
            && entry.call[..source.len()] == *source
            && entry.call[source.len()..] == *name;
        if !is_cached {
            entry.call.clear();
            entry.call.extend_from_slice(source);
            entry.call.extend_from_slice(name);
            entry.source = source.len();
            entry.decision = self.prefilter.decide(source, name);
        }
        entry.decision.includes(record, &mut self.lower)
    }
}

impl Drop for CachedPrefilter<'_> {
    fn drop(&mut self) {
        self.prefilter
            .caches
            .give_back(std::mem::take(&mut self.table));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::prefilter::decision::Decision;

    #[test]
    fn it_decides_as_the_prefilter_does() {
        let yaml = "title: t\nname: n\nid: i\nlogsource: {product: aws}\nlevel: low\ndetection:\n  a:\n    eventSource: [s1, s2, s3]\n    eventName|startswith: [a, b]\n  condition: a";
        let rules = rsigma_parser::parse_sigma_yaml(yaml).unwrap().rules;
        let prefilter = Prefilter::of(&rules);
        let expected =
            |source: &[u8], name: &[u8]| !matches!(prefilter.decide(source, name), Decision::Skip);
        let mut cached = CachedPrefilter::new(&prefilter);
        // Far more calls than slots, several times, in an order in which they replace each other.
        for round in 0..3 {
            // The next file.
            drop(cached);
            cached = CachedPrefilter::new(&prefilter);
            for n in 0..5000_u32 {
                let n = n.wrapping_mul(2_654_435_761) % 5000;
                let (source, name) = (
                    format!("s{}", n % 7),
                    format!("{}{n}", ["a", "b", "c"][n as usize % 3]),
                );
                let (source, name) = (source.as_bytes(), name.as_bytes());
                assert_eq!(
                    cached.includes(source, name, b"{}"),
                    expected(source, name),
                    "{round} {n}"
                );
                assert_eq!(
                    cached.includes(source, name, b"{}"),
                    expected(source, name),
                    "{round} {n}"
                );
            }
        }
        // The boundary between source and name matters.
        assert!(cached.includes(b"s1", b"a", b"{}"));
        assert!(!cached.includes(b"s1a", b"", b"{}"));
        assert!(!cached.includes(b"", b"s1a", b"{}"));
    }
}
