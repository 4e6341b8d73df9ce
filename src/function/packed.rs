//! A finding while it waits: its record as text, which takes a fifth of the memory of the tree that it is
//! parsed into. So the calls of a storm can all wait until the most severe of them is known.

use std::sync::Arc;

use serde_json::{Map, Value};

use crate::{
    alert::{Alert, Source, accounts::Accounts},
    call_id::CallId,
    finding::Finding,
    json,
    record::{Outcome, Record},
    severity::Severity,
};

/// One finding, and what its order among others depends on.
pub(super) struct Packed {
    pub(super) call_id: CallId,
    pub(super) severity: Severity,
    pub(super) outcome: Outcome,
    source: Arc<Source>,
    /// The finding without the content of its record,
    finding: Finding,
    /// which is here.
    record: Box<str>,
}

impl Packed {
    pub(super) fn pack(mut finding: Finding, source: &Arc<Source>) -> Packed {
        let (call_id, severity) = (CallId::of(&finding.record), finding.severity());
        let emptied = Record::new(finding.record.index(), Map::new());
        let record = std::mem::replace(&mut finding.record, emptied);
        Packed {
            call_id,
            severity,
            outcome: record.outcome(),
            source: Arc::clone(source),
            finding,
            record: record.value().to_string().into(),
        }
    }

    /// The alert for it.
    ///
    /// # Panics
    /// Where a fault in this program makes one; the caller keeps it to this call.
    pub(super) fn alert(mut self, accounts: &Accounts) -> Alert {
        let index = self.finding.record.index();
        // What was written from a value can be read as one, and a record is an object.
        match json::parse(self.record.as_bytes()) {
            Ok(Value::Object(fields)) => self.finding.record = Record::new(index, fields),
            other => unreachable!("a record became {other:?}"),
        }
        Alert::new(self.finding, &self.source, accounts)
    }

    /// Bytes that it takes, its place in the queue included.
    pub(super) fn weight(&self) -> usize {
        const FIXED: usize = 512;
        FIXED + 3 * self.call_id.key().len() + self.record.len()
    }
}
