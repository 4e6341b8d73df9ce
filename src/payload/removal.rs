//! The removal of an object, as S3 notifies of it.
//!
//! Only a notification that S3 itself sent is evidence of who removed something, so those in messages, which anyone who
//! may send them can have written, are not read here.
//!
//! Source: Amazon S3 User Guide, "Event message structure"; for events from EventBridge, "Amazon EventBridge event
//! structure".

use cloudhsm_alerts_core::object::ObjectRef;
use jiff::Timestamp;
use serde_json::Value;

/// The removal of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    /// The object. Its version is the one that was removed, or the delete marker that hides the others.
    pub object: ObjectRef,
    /// Whether a delete marker hides it now. Otherwise a version of it was deleted.
    pub is_hidden: bool,
    /// When it was removed.
    pub time: Option<Timestamp>,
    /// The caller as S3 writes it, such as `AWS:AIDA…` or an account ID; empty if S3 does not name one.
    pub caller: String,
    /// The IP address of the caller; empty if S3 does not name one.
    pub source_ip: String,
}

impl Removal {
    /// The removal of a record of an S3 notification with this event name; `None`: it is about something else.
    pub(super) fn of_record(
        event_name: &str,
        record: &Value,
        object: &ObjectRef,
    ) -> Option<Removal> {
        let what = event_name.strip_prefix("ObjectRemoved:")?;
        Some(Removal {
            object: object.clone(),
            is_hidden: what.starts_with("DeleteMarker"),
            time: time(record, "/eventTime"),
            caller: text(record, "/userIdentity/principalId"),
            source_ip: text(record, "/requestParameters/sourceIPAddress"),
        })
    }

    /// The removal of an event from EventBridge; `None`: it is about something else, or a lifecycle rule removed it.
    pub(super) fn of_event(
        detail_type: &str,
        event: &Value,
        object: &ObjectRef,
    ) -> Option<Removal> {
        let is_removal = detail_type == "Object Deleted"
            && text(event, "/detail/reason") != "Lifecycle Expiration";
        is_removal.then(|| Removal {
            object: object.clone(),
            is_hidden: text(event, "/detail/deletion-type") == "Delete Marker Created",
            time: time(event, "/time"),
            caller: text(event, "/detail/requester"),
            source_ip: text(event, "/detail/source-ip-address"),
        })
    }
}

fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn time(value: &Value, pointer: &str) -> Option<Timestamp> {
    text(value, pointer).parse().ok()
}
