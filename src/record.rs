//! One CloudTrail record: a JSON object, looked at by path.
//!
//! A record is what somebody else wrote. Fields may be missing, null, of another type than documented,
//! or spelled with another case than documented (seen in third-party copies); every accessor here
//! answers such a field with `None` or finds it all the same. Nothing here judges a record.
//! Source: AWS CloudTrail User Guide, "CloudTrail record contents".

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::redact;

/// One element of a log file's `Records`, or the `detail` of an EventBridge event.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    index: u64,
    value: Value,
}

impl Record {
    /// A record from its fields and its position in the file, from 0.
    pub fn new(index: u64, fields: Map<String, Value>) -> Record {
        Record {
            index,
            value: Value::Object(fields),
        }
    }

    /// Position in the file's `Records`, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The whole record as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The record with every secret taken out.
    pub fn redacted(mut self) -> Record {
        redact::redact(&mut self.value);
        self
    }

    /// The value at a dotted path such as `userIdentity.sessionContext.sessionIssuer.arn`. A name is
    /// looked for as written first, then without regard to case. `null` counts as absent.
    pub fn field(&self, path: &str) -> Option<&Value> {
        path.split('.')
            .try_fold(&self.value, |value, name| member(value, name))
            .filter(|value| !value.is_null())
    }

    /// The text at a dotted path: a string that is not empty.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.field(path)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// Text at a dotted path, numbers and booleans included (`neverExpires` is a boolean).
    pub fn scalar(&self, path: &str) -> Option<String> {
        match self.field(path)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A flag that CloudTrail writes as a string (`mfaAuthenticated`) or as a boolean.
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.field(path)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// The first text that has this name, at any depth, in the request, else in the response, else in
    /// the additional data: a call names its cluster in one or another of them.
    pub fn find(&self, name: &str) -> Option<&str> {
        [
            "requestParameters",
            "responseElements",
            "additionalEventData",
        ]
        .iter()
        .filter_map(|part| self.field(part))
        .find_map(|part| find(part, name))
    }

    /// Every text below the request and the response with the name it stands under.
    pub fn parameters(&self) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for part in [
            "requestParameters",
            "responseElements",
            "additionalEventData",
        ] {
            if let Some(value) = self.field(part) {
                collect(value, "", &mut found);
            }
        }
        found
    }

    /// The call's name.
    pub fn event_name(&self) -> &str {
        self.text("eventName").unwrap_or("(no eventName)")
    }

    /// The called service.
    pub fn event_source(&self) -> &str {
        self.text("eventSource").unwrap_or("(no eventSource)")
    }

    /// What tells this call from every other: `eventID`, an opaque string. A record without one gets
    /// the hash of its content, so that the same record read again is still known as the same.
    pub fn event_id(&self) -> String {
        self.text("eventID").map_or_else(
            || {
                let mut hasher = DefaultHasher::new();
                self.value.to_string().hash(&mut hasher);
                format!("no-event-id-{:016x}", hasher.finish())
            },
            str::to_owned,
        )
    }

    /// Whether CloudTrail left the request's parameters out, as it does on errors and when they are large.
    pub fn parameters_are_omitted(&self) -> bool {
        self.field("requestParameters").is_none()
    }

    /// When the call was made.
    pub fn event_time(&self) -> Option<Timestamp> {
        self.text("eventTime")?.parse().ok()
    }

    /// The account whose trail recorded the call, else the caller's. An access denied across accounts
    /// is recorded in both.
    pub fn account(&self) -> Option<&str> {
        self.text("recipientAccountId")
            .or_else(|| self.text("userIdentity.accountId"))
    }

    /// The region the call went to: an opaque string.
    pub fn region(&self) -> Option<&str> {
        self.text("awsRegion")
    }

    /// What became of the call.
    pub fn outcome(&self) -> Outcome {
        let code = match self.field("errorCode") {
            Some(Value::String(code)) => code.as_str(),
            // An error code of another type is still an error.
            Some(_) => return Outcome::Failed,
            None => "",
        };
        if code.is_empty() {
            return match self.field("errorMessage") {
                Some(_) => Outcome::Failed,
                None => Outcome::Success,
            };
        }
        let is_denial = code.contains("AccessDenied")
            || code.ends_with("UnauthorizedOperation")
            || code.ends_with("NotAuthorizedException");
        if is_denial {
            Outcome::Denied
        } else {
            Outcome::Failed
        }
    }
}

/// What became of a call, as CloudTrail's `errorCode` tells it.
///
/// Denials are `AccessDenied`, `AccessDeniedException`, `VpceAccessDenied`,
/// `CloudHsmAccessDeniedException` and EC2's `Client.UnauthorizedOperation`, whose names overlap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The call did what it says.
    Success,
    /// A policy forbade it.
    Denied,
    /// It went wrong for another reason.
    Failed,
}

impl Outcome {
    /// The value of the message attribute `outcome`.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Success => "success",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }

    /// In a count: `24 DENIED`.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Success => "SUCCEEDED",
            Outcome::Denied => "DENIED",
            Outcome::Failed => "FAILED",
        }
    }

    /// As a person says it.
    pub fn verb(self) -> &'static str {
        match self {
            Outcome::Success => "SUCCEEDED",
            Outcome::Denied => "was DENIED",
            Outcome::Failed => "FAILED",
        }
    }
}

fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    let fields = value.as_object()?;
    fields.get(name).or_else(|| {
        fields
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    })
}

fn find<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    match value {
        Value::Object(fields) => member(value, name)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
            .or_else(|| fields.values().find_map(|inner| find(inner, name))),
        Value::Array(items) => items.iter().find_map(|inner| find(inner, name)),
        _ => None,
    }
}

fn collect<'v>(value: &'v Value, name: &'v str, found: &mut Vec<(&'v str, &'v str)>) {
    match value {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, inner)| collect(inner, name, found)),
        Value::Array(items) => items.iter().for_each(|inner| collect(inner, name, found)),
        Value::String(text) if !text.is_empty() => found.push((name, text)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(value: Value) -> Record {
        match value {
            Value::Object(fields) => Record::new(0, fields),
            _ => unreachable!("the tests below give objects"),
        }
    }

    #[test]
    fn fields_are_found_whatever_their_case() {
        let record = record(json!({
            "RequestParameters": {"ClusterId": "cluster-lk3jhgf4dsa", "empty": "", "n": 1376.0},
            "responseElements": null,
            "userIdentity": {"sessionContext": {"attributes": {"mfaAuthenticated": "false"}}},
        }));
        assert_eq!(
            record.text("requestParameters.clusterId"),
            Some("cluster-lk3jhgf4dsa")
        );
        assert_eq!(record.find("clusterId"), Some("cluster-lk3jhgf4dsa"));
        assert_eq!(record.text("requestParameters.empty"), None);
        assert_eq!(
            record.scalar("requestParameters.n").as_deref(),
            Some("1376.0")
        );
        assert_eq!(record.field("responseElements"), None);
        assert_eq!(record.text("requestParameters.clusterId.deeper"), None);
        assert_eq!(
            record.flag("userIdentity.sessionContext.attributes.mfaAuthenticated"),
            Some(false)
        );
    }

    #[test]
    fn outcomes() {
        for (error, expected) in [
            (json!({}), Outcome::Success),
            (json!({"errorCode": null}), Outcome::Success),
            (json!({"errorCode": ""}), Outcome::Success),
            (json!({"errorCode": "AccessDenied"}), Outcome::Denied),
            (
                json!({"errorCode": "AccessDeniedException"}),
                Outcome::Denied,
            ),
            (json!({"errorCode": "VpceAccessDenied"}), Outcome::Denied),
            (
                json!({"errorCode": "CloudHsmAccessDeniedException"}),
                Outcome::Denied,
            ),
            (
                json!({"errorCode": "Client.UnauthorizedOperation"}),
                Outcome::Denied,
            ),
            (
                json!({"errorCode": "CloudHsmInvalidRequestException"}),
                Outcome::Failed,
            ),
            (json!({"errorCode": 403}), Outcome::Failed),
            (json!({"errorMessage": "no code"}), Outcome::Failed),
        ] {
            assert_eq!(record(error.clone()).outcome(), expected, "{error}");
        }
    }

    #[test]
    fn a_record_without_an_event_id_is_known_by_its_content() {
        let one = record(json!({"eventName": "DeleteBackup"}));
        let other = record(json!({"eventName": "DeleteHsm"}));
        assert_eq!(one.event_id(), one.clone().event_id());
        assert_ne!(one.event_id(), other.event_id());
    }
}
