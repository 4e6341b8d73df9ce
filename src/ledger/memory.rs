//! The ledger's memory: the calls that this instance of the function has alerted, in whole or in part, or found in the
//! table as alerted.
//!
//! It saves requests to the table for duplicates. Without a table it is the whole ledger.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use cloudhsm_alerts_core::call_id::CallId;

use crate::channel::Delivered;

/// Maximum number of calls. At some 200 bytes each they take a few megabytes.
const CAPACITY: usize = 20_000;

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It was alerted.
    Alerted,
    /// One channel has its message, and the other one not yet.
    Partly(Delivered),
}

/// The calls. Above `CAPACITY` the oldest are removed.
#[derive(Debug, Default)]
pub struct Memory {
    calls: HashMap<CallId, State>,
    /// How many of these calls have each event ID: more than one if a record was forged.
    event_ids: HashMap<String, usize>,
    order: VecDeque<CallId>,
}

impl Memory {
    /// Whether this call was alerted.
    pub fn contains(&self, call: &CallId) -> bool {
        self.calls.get(call) == Some(&State::Alerted)
    }

    /// Which channels have the message about a call that was alerted in part.
    pub fn delivered(&self, call: &CallId) -> Delivered {
        match self.calls.get(call) {
            Some(State::Partly(delivered)) => *delivered,
            Some(State::Alerted) | None => Delivered::default(),
        }
    }

    /// Whether it has another call with the same event ID.
    pub fn contains_other(&self, call: &CallId) -> bool {
        let known = self.event_ids.get(call.event_id()).copied().unwrap_or(0);
        known > usize::from(self.calls.contains_key(call))
    }

    /// Adds a call that was alerted.
    pub fn insert(&mut self, call: &CallId) {
        self.set(call, State::Alerted);
    }

    /// Adds a call that was alerted in part.
    pub fn insert_part(&mut self, call: &CallId, delivered: Delivered) {
        self.set(call, State::Partly(delivered));
    }

    fn set(&mut self, call: &CallId, state: State) {
        if self.calls.insert(call.clone(), state).is_none() {
            self.order.push_back(call.clone());
            *self
                .event_ids
                .entry(call.event_id().to_owned())
                .or_default() += 1;
        }
        while self.order.len() > CAPACITY {
            if let Some(oldest) = self.order.pop_front() {
                self.calls.remove(&oldest);
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
        let other = |n: usize| {
            let fields = [
                ("eventID".to_owned(), n.to_string().into()),
                ("eventName".to_owned(), "DeleteHsm".into()),
            ];
            CallId::of(&Record::new(0, fields.into_iter().collect()))
        };
        assert!(!memory.contains_other(&other(0)) && memory.contains_other(&other(1)));
        assert!(!memory.contains_other(&call(1)));

        let part = Delivered {
            alert: true,
            page: false,
        };
        memory.insert_part(&call(0), part);
        assert!(!memory.contains(&call(0)) && !memory.contains(&call(1)));
        assert_eq!(memory.delivered(&call(0)), part);
        memory.insert(&call(0));
        assert!(memory.contains(&call(0)));
        assert_eq!(memory.delivered(&call(0)), Delivered::default());
    }
}
