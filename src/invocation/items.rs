//! The items of a payload that need work: an object to read, a record to evaluate, or a
//! removal to look at. Everything else in a payload is
//! settled when it is opened ([`super::inbox`]).

use cloudhsm_alerts_core::{object::ObjectRef, record::Record};

use crate::payload::Removal;

/// An object to read.
pub(super) struct ObjectItem {
    pub(super) object: ObjectRef,
    /// The units that name it, each once.
    pub(super) units: Vec<usize>,
    /// Its number among the items of the payload.
    pub(super) item: usize,
}

/// A record that the payload contains.
pub(super) struct RecordItem {
    pub(super) record: Record,
    /// The ID of the event that contains it.
    pub(super) event_id: String,
    pub(super) unit: usize,
    pub(super) item: usize,
}

/// The removal of a log file or a digest file.
pub(super) struct RemovalItem {
    pub(super) removal: Removal,
    pub(super) unit: usize,
    pub(super) item: usize,
}
