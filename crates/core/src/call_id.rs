//! A call's identity: by what two records are known to be of the same API call.
//!
//! CloudTrail delivers a record again, two trails write it into two files, and EventBridge carries it, too;
//! one alert is enough. The event ID alone does not tell the records of one call from others, because a
//! record that somebody made up may have any ID, and would then have the real call taken for a duplicate. So
//! the ID counts together with what the call is. These members are the same in the log file and in
//! EventBridge's event: `eventID`, `sharedEventID`, `eventSource`, `eventName`, `eventTime` and those of
//! `userIdentity` below. What differs between the two, and between the records that two accounts get of one
//! call, is not looked at: `recipientAccountId`, `eventCategory`, `eventVersion`, the order of members.
//!
//! Of an action that several accounts see, CloudTrail gives each a record with an event ID of its own and one
//! `sharedEventID`; the account that was called sees of the caller only the account. These are one call.
//! Source: AWS CloudTrail User Guide, "CloudTrail record contents".

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use crate::{fingerprint::Fingerprint, record::Record, text::hex};

/// Members that name the caller, beside the account.
const CALLER: [&str; 4] = [
    "userIdentity.principalId",
    "userIdentity.arn",
    "userIdentity.userName",
    "userIdentity.invokedBy",
];

/// Stands between the ID and the hash.
const MARK: char = '#';

/// Longest ID that stands in a key as it is, in bytes. CloudTrail's have 36.
const LONGEST_ID: usize = 512;

/// The identity of one call. Two are equal if their keys are.
#[derive(Clone, Debug)]
pub struct CallId {
    key: Arc<str>,
    /// Where the key does not begin with it.
    event_id: Option<Arc<str>>,
}

impl CallId {
    /// The call that a record is of.
    pub fn of(record: &Record) -> CallId {
        let shared = record.text("sharedEventID");
        let event_id = record.event_id();
        let id = shared.unwrap_or(&event_id);
        let mut hash = Fingerprint::default();
        hash.add(id);
        for member in ["eventSource", "eventName"] {
            hash.add(&record.text(member).unwrap_or_default().to_ascii_lowercase());
        }
        match record.event_time() {
            Some(time) => hash.add(&time.as_second().to_string()),
            None => hash.add(record.text("eventTime").unwrap_or_default()),
        }
        hash.add(
            &record
                .account_id("userIdentity.accountId")
                .unwrap_or_default(),
        );
        if shared.is_none() {
            for member in CALLER {
                hash.add(record.text(member).unwrap_or_default());
            }
        }
        let head = (0..=LONGEST_ID.min(id.len()))
            .rev()
            .find(|at| id.is_char_boundary(*at))
            .map_or("", |end| &id[..end]);
        CallId {
            event_id: (head != event_id).then(|| Arc::from(event_id.as_str())),
            key: format!("{head}{MARK}{}", hex(&hash.finish())).into(),
        }
    }

    /// CloudTrail's event ID, for people.
    pub fn event_id(&self) -> &str {
        match (&self.event_id, self.key.rsplit_once(MARK)) {
            (Some(event_id), _) => event_id,
            (None, Some((event_id, _))) => event_id,
            (None, None) => &self.key,
        }
    }

    /// What the ledger knows the call by: never empty, and of at most 545 bytes.
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
    fn the_same_call_has_one_identity_whoever_recorded_it() {
        let one = id(&json!({}));
        // The key is stored for 40 days: another version of this program must make the same one.
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
    fn other_calls_under_one_event_id_have_others() {
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
    fn the_records_that_two_accounts_get_of_one_call_are_one() {
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
    fn every_event_id_makes_a_key_that_fits() {
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
