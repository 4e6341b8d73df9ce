//! The ledger's memory: the calls that this instance of the function has alerted, or found in the table as alerted.
//!
//! It saves requests to the table for duplicates. Without a table it is the whole ledger.

use std::collections::{HashMap, HashSet, VecDeque, hash_map::Entry};

use cloudhsm_alerts_core::call_id::CallId;

/// Maximum number of calls. At some 200 bytes each they take a few megabytes.
const CAPACITY: usize = 20_000;

/// The calls that were alerted. Above `CAPACITY` the oldest are removed.
#[derive(Debug, Default)]
pub struct Memory {
    alerted: HashSet<CallId>,
    /// How many of these calls have each event ID: more than one if a record was forged.
    event_ids: HashMap<String, usize>,
    order: VecDeque<CallId>,
}

impl Memory {
    /// Whether an alert for this call was published.
    pub fn contains(&self, call: &CallId) -> bool {
        self.alerted.contains(call)
    }

    /// Whether an alert was published for any call with this event ID.
    pub fn contains_event_id(&self, event_id: &str) -> bool {
        self.event_ids.contains_key(event_id)
    }

    /// Adds a call whose alert was published.
    pub fn insert(&mut self, call: &CallId) {
        if self.alerted.insert(call.clone()) {
            self.order.push_back(call.clone());
            *self
                .event_ids
                .entry(call.event_id().to_owned())
                .or_default() += 1;
        }
        while self.order.len() > CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.alerted.remove(&oldest);
                if let Entry::Occupied(mut count) =
                    self.event_ids.entry(oldest.event_id().to_owned())
                {
                    *count.get_mut() -= 1;
                    if *count.get() == 0 {
                        count.remove();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cloudhsm_alerts_core::record::Record;

    #[test]
    fn the_oldest_call_is_removed_first() {
        let call = |n: usize| {
            let fields = [("eventID".to_owned(), n.to_string().into())];
            CallId::of(&Record::new(0, fields.into_iter().collect()))
        };
        let mut memory = Memory::default();
        for n in 0..=CAPACITY {
            memory.insert(&call(n));
        }
        assert!(!memory.contains(&call(0)));
        assert!(memory.contains(&call(1)));
        assert!(memory.contains(&call(CAPACITY)));
        assert!(!memory.contains_event_id("0") && memory.contains_event_id("1"));
    }
}
