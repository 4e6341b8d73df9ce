//! What one instance of the function remembers by itself: the calls it told, or saw told.
//!
//! It spares the table a question for calls that are met again, and where there is no table it is the whole
//! ledger.

use std::collections::{HashSet, VecDeque};

/// Calls remembered. At some 50 bytes each this is a few megabytes at the most.
const CAPACITY: usize = 20_000;

/// Event IDs of the calls told, the oldest forgotten first.
#[derive(Debug, Default)]
pub struct Memory {
    told: HashSet<String>,
    order: VecDeque<String>,
}

impl Memory {
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
        let mut memory = Memory::default();
        for n in 0..=CAPACITY {
            memory.insert(&n.to_string());
        }
        assert!(!memory.contains("0"));
        assert!(memory.contains("1"));
        assert!(memory.contains(&CAPACITY.to_string()));
    }
}
