//! The identity of an API call, by which records of the same call are recognized.
//!
//! The same call can be recorded several times: CloudTrail delivers a record again, two trails write it to two log
//! files, and EventBridge sends it, too. One alert is enough. The event ID alone is not a safe key, because a forged
//! record can have any event ID, and the real call would then count as a duplicate. So the identity also includes
//! what the call is: `eventID`, `sharedEventID`, `eventSource`, `eventName`, `eventTime` and the members of
//! `userIdentity` below. These are equal in log files and EventBridge events. Members that differ between those, or
//! between the records in two accounts, are left out: `recipientAccountId`, `eventCategory`, `eventVersion`, and the
//! order of members.
//!
//! For a call that concerns several accounts, each account receives a record with its own `eventID` and a common
//! `sharedEventID`. The called account sees only the account ID of the caller. These records are one call.
//! Source: AWS CloudTrail User Guide, "CloudTrail record contents".

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::{fingerprint::Fingerprint, record::Record, text::hex};

/// Members that identify the caller, in addition to the account ID.
const CALLER: [&str; 4] = [
    "userIdentity.principalId",
    "userIdentity.arn",
    "userIdentity.userName",
    "userIdentity.invokedBy",
];

/// Separates the event ID from the hash.
const SEPARATOR: char = '#';

/// Maximum length of the event ID in a key, in bytes. A longer ID is cut. CloudTrail's have 36 bytes.
const MAX_ID_BYTES: usize = 512;

/// The identity of a call. Two identities are equal if their keys are.
#[derive(Clone, Debug)]
pub struct CallId {
    key: Arc<str>,
    /// The event ID, unless the key starts with it.
    event_id: Option<Arc<str>>,
}

impl CallId {
    /// The identity of the call in a record.
    pub fn of(record: &Record) -> CallId {
        let shared = record.str("sharedEventID");
        let event_id = record.event_id();
        let id = shared.unwrap_or(&event_id);
        let mut hash = Fingerprint::default();
        hash.add(id);
        for member in ["eventSource", "eventName"] {
            hash.add(&record.str(member).unwrap_or_default().to_ascii_lowercase());
        }
        match record.event_time() {
            Some(time) => hash.add(&time.as_second().to_string()),
            None => hash.add(record.str("eventTime").unwrap_or_default()),
        }
        hash.add(
            &record
                .account_id("userIdentity.accountId")
                .unwrap_or_default(),
        );
        if shared.is_none() {
            for member in CALLER {
                hash.add(record.str(member).unwrap_or_default());
            }
        }
        let head = (0..=MAX_ID_BYTES.min(id.len()))
            .rev()
            .find(|at| id.is_char_boundary(*at))
            .map_or("", |end| &id[..end]);
        CallId {
            event_id: (head != event_id).then(|| Arc::from(event_id.as_str())),
            key: format!("{head}{SEPARATOR}{}", hex(&hash.finish())).into(),
        }
    }

    /// The identity of a finding that is not about a call: its code, and what it is about. No record has it, because the
    /// key of a call ends with a `#` and a hash.
    pub fn of_finding(code: &str, subject: &str) -> CallId {
        let mut hash = Fingerprint::default();
        hash.add(code);
        hash.add(subject);
        CallId {
            key: format!("cloudhsm-alerts finding {code} {}", hex(&hash.finish())).into(),
            event_id: None,
        }
    }

    /// CloudTrail's event ID, for people.
    pub fn event_id(&self) -> &str {
        match (&self.event_id, self.key.rsplit_once(SEPARATOR)) {
            (Some(event_id), _) => event_id,
            (None, Some((event_id, _))) => event_id,
            (None, None) => &self.key,
        }
    }

    /// The key in the ledger: never empty, at most 545 bytes.
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl PartialEq for CallId {
    fn eq(&self, other: &CallId) -> bool {
        self.key == other.key
    }
}

impl Eq for CallId {}

impl Hash for CallId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn id(changes: &Value) -> CallId {
        let mut record = json!({
            "eventVersion": "1.11", "eventID": "c9d3b7a1", "eventSource": "cloudhsm.amazonaws.com",
            "eventName": "DeleteBackup", "eventTime": "2026-11-23T03:41:09Z", "recipientAccountId": "111122223333",
            "userIdentity": {"type": "AssumedRole", "accountId": "111122223333", "principalId": "AROAEXAMPLE:alice",
                "arn": "arn:aws:sts::111122223333:assumed-role/AdminRole/alice"},
        });
        for (path, value) in changes.as_object().unwrap() {
            match path.split_once('.') {
                Some((top, name)) => record[top][name] = value.clone(),
                None => record[path] = value.clone(),
            }
        }
        CallId::of(&Record::new(0, record.as_object().unwrap().clone()))
    }

    #[test]
    fn records_of_the_same_call_have_one_identity() {
        let one = id(&json!({}));
        // Keys are stored for 40 days, so every version of this program must compute the same key.
        assert_eq!(one.key(), "c9d3b7a1#b4b438f88a4126a69124bf4e541450a7");
        for same in [
            json!({"recipientAccountId": "444455556666"}),
            json!({"eventVersion": "1.08", "eventCategory": "Management", "readOnly": false}),
            json!({"eventTime": "2026-11-23T03:41:09.000Z"}),
            json!({"userIdentity.accountId": 111_122_223_333_u64}),
            json!({"requestParameters": {"backupId": "b"}, "EventName": "another"}),
        ] {
            assert_eq!(id(&same), one, "{same}");
        }
    }

    #[test]
    fn other_calls_with_the_same_event_id_have_other_identities() {
        let one = id(&json!({}));
        for other in [
            json!({"eventName": "TagResource"}),
            json!({"eventSource": "kms.amazonaws.com"}),
            json!({"eventTime": "2026-11-23T03:41:10Z"}),
            json!({"eventTime": "yesterday"}),
            json!({"eventTime": null}),
            json!({"userIdentity.accountId": "444455556666"}),
            json!({"userIdentity.principalId": "AROAEXAMPLE:bob"}),
            json!({"userIdentity.arn": null}),
            json!({"userIdentity.userName": "alice"}),
            json!({"eventID": "c9d3b7a2"}),
            json!({"sharedEventID": "c9d3b7a1"}),
        ] {
            assert_ne!(id(&other), one, "{other}");
        }
    }

    #[test]
    fn the_records_of_a_call_in_two_accounts_have_one_identity() {
        let callers = id(&json!({"sharedEventID": "shared"}));
        let owners = id(&json!({
            "sharedEventID": "shared", "eventID": "another", "recipientAccountId": "444455556666",
            "userIdentity": {"type": "AWSAccount", "accountId": "111122223333", "principalId": "AROAEXAMPLE"},
        }));
        assert_eq!(owners, callers);
        assert_eq!(
            (owners.event_id(), callers.event_id()),
            ("another", "c9d3b7a1")
        );
        let other = id(&json!({"sharedEventID": "shared", "eventName": "TagResource"}));
        assert_ne!(other, callers);
    }

    #[test]
    fn keys_have_a_bounded_length() {
        let long = "\u{1f511}".repeat(4000);
        let ids = [
            String::new(),
            "x".repeat(512),
            "x".repeat(513),
            format!("x{long}"),
            format!("x{long}y"),
        ];
        let keys: Vec<String> = ids
            .iter()
            .map(|event_id| id(&json!({ "eventID": event_id })).key().to_owned())
            .collect();
        for (n, key) in keys.iter().enumerate() {
            assert!((33..=545).contains(&key.len()), "{key}");
            assert!(!keys[..n].contains(key), "{key}");
        }
    }
}
