//! Who was already told: the calls for which an alert has been published, by event ID.
//!
//! CloudTrail delivers a record again, S3 notifies again, two trails write the same call into two files,
//! and Lambda repeats a failed invocation; a person is told once. This ledger is the memory of one
//! instance of the function, so it covers what one instance sees.

use std::collections::{HashSet, VecDeque};

/// Calls remembered. At some 50 bytes each this is a few megabytes at the most.
const CAPACITY: usize = 20_000;

/// Event IDs of the calls told, the oldest forgotten first.
#[derive(Debug, Default)]
pub struct Ledger {
    told: HashSet<String>,
    order: VecDeque<String>,
}

impl Ledger {
    /// Whether an alert for this call was published.
    pub fn contains(&self, event_id: &str) -> bool {
        self.told.contains(event_id)
    }

    /// Notes that an alert for this call was published.
    pub fn insert(&mut self, event_id: &str) {
        if self.told.insert(event_id.to_owned()) {
            self.order.push_back(event_id.to_owned());
        }
        while self.order.len() > CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.told.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_first() {
        let mut ledger = Ledger::default();
        for n in 0..=CAPACITY {
            ledger.insert(&n.to_string());
        }
        assert!(!ledger.contains("0"));
        assert!(ledger.contains("1"));
        assert!(ledger.contains(&CAPACITY.to_string()));
    }
}
