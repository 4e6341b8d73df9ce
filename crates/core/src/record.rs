//! A CloudTrail record: one element of a log file's `Records`, as JSON with accessors by dotted path.
//!
//! A record is untrusted input. Fields can be missing, null, of another type than documented, or (in copies by
//! third parties) spelled in another case. The accessors return `None` for unusable values and find names in any
//! case. What a record means is decided by rules and by [`crate::actor`], not here.
//! Source: AWS CloudTrail User Guide, "CloudTrail record contents".

use jiff::Timestamp;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::{
    redact,
    text::{hex, one_line},
};

/// One element of a log file's `Records`, or the `detail` of an EventBridge event.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    index: u64,
    value: Value,
}

impl Record {
    /// A record with its position in the file, starting at 0.
    pub fn new(index: u64, fields: Map<String, Value>) -> Record {
        Record {
            index,
            value: Value::Object(fields),
        }
    }

    /// Position in the file's `Records`, starting at 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The whole record as JSON.
    pub fn value(&self) -> &Value {
        &self.value
    }

    /// The record without secrets.
    pub fn redacted(mut self) -> Record {
        redact::redact(&mut self.value);
        self
    }

    /// The value at a dotted path such as `userIdentity.sessionContext.sessionIssuer.arn`. An exact name is
    /// preferred to one in another case. `null` counts as absent, and so do values that CloudTrail omitted
    /// ([`is_omitted`]).
    pub fn field(&self, path: &str) -> Option<&Value> {
        let (top, rest) = path.split_once('.').unwrap_or((path, ""));
        let fields = self.value.as_object()?;
        let (name, value) =
            candidates(fields, top).find(|(name, value)| !is_omitted(name, value))?;
        let is_absent = absence_below(name);
        rest.split('.')
            .filter(|name| !name.is_empty())
            .try_fold(value, |value, name| {
                candidates(value.as_object()?, name)
                    .find(|(name, value)| !is_absent(name, value))
                    .map(|(_, value)| value)
            })
    }

    /// The non-empty string at a dotted path.
    pub fn str(&self, path: &str) -> Option<&str> {
        self.field(path)
            .and_then(Value::as_str)
            .filter(|text| !text.is_empty())
    }

    /// The string, number or boolean at a dotted path, as text.
    pub fn scalar(&self, path: &str) -> Option<String> {
        match self.field(path)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(flag) => Some(flag.to_string()),
            _ => None,
        }
    }

    /// A flag. CloudTrail writes some as booleans and others as strings (`mfaAuthenticated`).
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.field(path)? {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
            _ => None,
        }
    }

    /// The first string with this name, at any depth: in the request parameters, or else in the response elements,
    /// or else in the additional event data. Which of them names the cluster depends on the operation.
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

    /// All strings in the request parameters, response elements and additional event data, each with its name.
    /// `documented` returns the documented spelling of a name. If an object has members whose names differ only
    /// in case, the member in the documented spelling is used.
    pub fn parameters(
        &self,
        documented: impl Fn(&str) -> Option<&'static str>,
    ) -> Vec<(&str, &str)> {
        let mut found = Vec::new();
        for part in [
            "requestParameters",
            "responseElements",
            "additionalEventData",
        ] {
            if let Some(value) = self.field(part) {
                collect(value, "", &documented, &mut found);
            }
        }
        found
    }

    /// The name of the operation, or a placeholder.
    pub fn event_name(&self) -> &str {
        self.str("eventName").unwrap_or("(no eventName)")
    }

    /// The called service, or a placeholder.
    pub fn event_source(&self) -> &str {
        self.str("eventSource").unwrap_or("(no eventSource)")
    }

    /// `eventID`, an opaque string. For a record without one, it is derived from the content, so that it is the
    /// same each time the record is read.
    pub fn event_id(&self) -> String {
        self.str("eventID").map_or_else(
            || {
                let content = Sha256::digest(self.value.to_string());
                format!("no-event-id-{}", hex(&content[..16]))
            },
            str::to_owned,
        )
    }

    /// Why the record has no request parameters. `None`: it has them.
    pub fn omitted_parameters(&self) -> Option<Omitted> {
        const MEMBER: &str = "requestParameters";
        if self.field(MEMBER).is_some() {
            return None;
        }
        let found = self.value.as_object().and_then(|fields| {
            candidates(fields, MEMBER)
                .map(|(_, value)| value)
                .find(|value| !value.is_null())
        });
        Some(match found {
            Some(Value::Object(form)) => {
                let member = |name: &str| {
                    candidates(form, name).find_map(|(_, value)| match value {
                        Value::String(text) => Some(text.clone()),
                        Value::Number(number) => Some(number.to_string()),
                        _ => None,
                    })
                };
                Omitted::TooLarge {
                    reason: member("reason"),
                    original_size: member("originalSize"),
                }
            }
            Some(Value::String(text)) => Omitted::Replaced(text.clone()),
            _ => Omitted::Absent,
        })
    }

    /// The time of the call.
    pub fn event_time(&self) -> Option<Timestamp> {
        self.str("eventTime")?.parse().ok()
    }

    /// The account that recorded the call, or else the caller's. A denied cross-account call is recorded in both
    /// accounts.
    pub fn account(&self) -> Option<String> {
        self.account_id("recipientAccountId")
            .or_else(|| self.account_id("userIdentity.accountId"))
    }

    /// The account ID at a dotted path. Tools that convert IDs to numbers drop leading zeros; they are restored
    /// here, because an ID has twelve digits.
    pub fn account_id(&self, path: &str) -> Option<String> {
        match self.field(path)? {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            Value::Number(number) => Some(match number.as_f64() {
                Some(whole) if whole.fract() == 0.0 => format!("{whole:012}"),
                _ => number.to_string(),
            }),
            _ => None,
        }
    }

    /// `awsRegion`, an opaque string.
    pub fn region(&self) -> Option<&str> {
        self.str("awsRegion")
    }

    /// Whether the call succeeded, was denied or failed.
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
        if DENIALS.iter().any(|denial| code.contains(denial)) {
            Outcome::Denied
        } else {
            Outcome::Failed
        }
    }
}

/// Describes an object that is not a CloudTrail record, because it has neither an event source nor an event name.
/// `None`: it is a record.
pub fn not_a_record(fields: &Map<String, Value>) -> Option<String> {
    let has = |name| candidates(fields, name).any(|(_, value)| !value.is_null());
    if has("eventSource") || has("eventName") {
        return None;
    }
    if fields.is_empty() {
        return Some("found an empty object".into());
    }
    let names: Vec<String> = fields
        .keys()
        .take(5)
        .map(|name| one_line(name, 40))
        .collect();
    Some(format!(
        "found an object with neither eventSource nor eventName, but {}{}",
        names.join(", "),
        if fields.len() > names.len() {
            ", …"
        } else {
            ""
        }
    ))
}

/// Why a record has no request parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Omitted {
    /// The member is missing or null, as for most errors.
    Absent,
    /// CloudTrail replaced them by a note that they are too large ([`is_omitted`]).
    TooLarge {
        /// CloudTrail's reason, such as `requestParameters too large`.
        reason: Option<String>,
        /// The size of the parameters in bytes.
        original_size: Option<String>,
    },
    /// A string replaces them, such as `HIDDEN_DUE_TO_SECURITY_REASONS`.
    Replaced(String),
}

/// Members whose content CloudTrail omits if it is larger than 100 KB (28 KB for `additionalEventData`). Source: AWS CloudTrail User Guide, "CloudTrail record contents".
const OMITTABLE: [&str; 4] = [
    "requestParameters",
    "responseElements",
    "serviceEventDetails",
    "additionalEventData",
];

/// Whether CloudTrail can omit this top-level member. Names are case-insensitive.
pub fn is_omittable(name: &str) -> bool {
    OMITTABLE
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Members that describe an error. CloudTrail leaves them out of successful calls; some exports write empty
/// strings.
const ERRORS: [&str; 2] = ["errorCode", "errorMessage"];

/// Whether this top-level member describes an error. Names are case-insensitive.
pub fn is_error(name: &str) -> bool {
    ERRORS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a top-level member counts as absent: it is null, an error without text, or omitted by CloudTrail.
///
/// CloudTrail replaces an object that is too large by `{"reason": …, "omitted": true, "originalSize": N}`, and
/// one that the service hides by a string such as `HIDDEN_DUE_TO_SECURITY_REASONS`. A caller can cause the
/// former, for example by padding a policy with white space.
///
/// An object with any other member is not the omitted form. S3 records the query string of a request as
/// parameters, so a caller could add `omitted` to real parameters.
pub fn is_omitted(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => is_omittable(name) || (is_error(name) && text.trim().is_empty()),
        Value::Object(form) => is_omittable(name) && is_omitted_form(form),
        _ => false,
    }
}

/// The value with which services replace a parameter that they hide from CloudTrail.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// Returns the test for absent values below the top-level member `top`: null, and in a member that CloudTrail can
/// omit also a hidden value.
pub fn absence_below(top: &str) -> fn(&str, &Value) -> bool {
    if is_omittable(top) {
        |_, value| value.is_null() || value == HIDDEN
    } else {
        |_, value| value.is_null()
    }
}

fn is_omitted_form(form: &Map<String, Value>) -> bool {
    let is_of_form = |name: &String| {
        ["omitted", "reason", "originalSize"]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
    };
    let is_true = |value: &Value| match value {
        Value::Bool(flag) => *flag,
        Value::String(text) => text.eq_ignore_ascii_case("true"),
        _ => false,
    };
    form.keys().all(is_of_form) && candidates(form, "omitted").any(|(_, value)| is_true(value))
}

/// What error codes of denied calls contain: `AccessDenied`, `AccessDeniedException`, `VpceAccessDenied`,
/// `CloudHsmAccessDeniedException`, EC2's `Client.UnauthorizedOperation`, SNS's `AuthorizationError`.
const DENIALS: &[&str] = &[
    "AccessDenied",
    "Unauthorized",
    "NotAuthorized",
    "AuthorizationError",
];

/// The outcome of a call, derived from `errorCode` and `errorMessage`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The call succeeded.
    Success,
    /// The caller was not authorized.
    Denied,
    /// The call failed for another reason.
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

    /// A label: `24 DENIED`.
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Success => "SUCCEEDED",
            Outcome::Denied => "DENIED",
            Outcome::Failed => "FAILED",
        }
    }

    /// As part of a sentence: `The call was DENIED`.
    pub fn verb(self) -> &'static str {
        match self {
            Outcome::Success => "SUCCEEDED",
            Outcome::Denied => "was DENIED",
            Outcome::Failed => "FAILED",
        }
    }
}

/// The members of an object with this name: first in the exact spelling, then in other cases.
pub fn candidates<'v>(
    fields: &'v Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let others = fields
        .iter()
        .filter(move |(key, _)| *key != name && key.eq_ignore_ascii_case(name));
    exact(fields, name).into_iter().chain(others)
}

/// The member of an object with exactly this name. Records have few members, and comparing the names of all takes less
/// time than the hash of one.
pub fn exact<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<(&'v String, &'v Value)> {
    fields.iter().find(|(key, _)| *key == name)
}

/// The first member with this name that is not null.
fn member<'v>(value: &'v Value, name: &str) -> Option<&'v Value> {
    candidates(value.as_object()?, name)
        .map(|(_, value)| value)
        .find(|value| !value.is_null())
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

fn collect<'v>(
    value: &'v Value,
    name: &'v str,
    documented: &impl Fn(&str) -> Option<&'static str>,
    found: &mut Vec<(&'v str, &'v str)>,
) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                let is_hidden = documented(name)
                    .is_some_and(|spelling| name != spelling && fields.contains_key(spelling));
                if !is_hidden {
                    collect(inner, name, documented, found);
                }
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|inner| collect(inner, name, documented, found)),
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
    fn fields_are_found_in_any_case() {
        let record = record(json!({
            "RequestParameters": {"ClusterId": "cluster-lk3jhgf4dsa", "empty": "", "n": 1376.0},
            "responseElements": null,
            "userIdentity": {"sessionContext": {"attributes": {"mfaAuthenticated": "false"}}},
        }));
        assert_eq!(
            record.str("requestParameters.clusterId"),
            Some("cluster-lk3jhgf4dsa")
        );
        assert_eq!(record.find("clusterId"), Some("cluster-lk3jhgf4dsa"));
        assert_eq!(record.str("requestParameters.empty"), None);
        assert_eq!(
            record.scalar("requestParameters.n").as_deref(),
            Some("1376.0")
        );
        assert_eq!(record.field("responseElements"), None);
        assert_eq!(record.str("requestParameters.clusterId.deeper"), None);
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
            (
                json!({"errorCode": "", "errorMessage": ""}),
                Outcome::Success,
            ),
            (json!({"errorMessage": " "}), Outcome::Success),
            (
                json!({"errorCode": "", "errorMessage": "no"}),
                Outcome::Failed,
            ),
            (
                json!({"errorCode": "", "ErrorCode": "AccessDenied"}),
                Outcome::Denied,
            ),
        ] {
            assert_eq!(record(error.clone()).outcome(), expected, "{error}");
        }
    }

    #[test]
    fn omitted_members_are_absent() {
        let large = |reason: Option<&str>, size: Option<&str>| Omitted::TooLarge {
            reason: reason.map(str::to_owned),
            original_size: size.map(str::to_owned),
        };
        for (parameters, expected) in [
            (json!(null), Some(Omitted::Absent)),
            (
                json!({"reason": "requestParameters too large", "omitted": true, "originalSize": 108417}),
                Some(large(Some("requestParameters too large"), Some("108417"))),
            ),
            (
                json!({"Reason": "r", "Omitted": "TRUE", "OriginalSize": "7"}),
                Some(large(Some("r"), Some("7"))),
            ),
            (json!({"omitted": true}), Some(large(None, None))),
            (
                json!("HIDDEN_DUE_TO_SECURITY_REASONS"),
                Some(Omitted::Replaced("HIDDEN_DUE_TO_SECURITY_REASONS".into())),
            ),
            (json!(""), Some(Omitted::Replaced(String::new()))),
            (json!({"omitted": false, "reason": "r"}), None),
            (json!({"omitted": "true", "bucketName": "b"}), None),
            (json!({"reason": "a parameter of a call"}), None),
            (json!({}), None),
        ] {
            let record = record(json!({ "requestParameters": parameters }));
            assert_eq!(record.omitted_parameters(), expected, "{parameters}");
        }
        assert_eq!(
            record(json!({})).omitted_parameters(),
            Some(Omitted::Absent)
        );
        let hidden = record(
            json!({"requestParameters": {"policy": HIDDEN}, "userIdentity": {"userName": HIDDEN}}),
        );
        assert_eq!(hidden.str("requestParameters.policy"), None);
        assert_eq!(hidden.str("userIdentity.userName"), Some(HIDDEN));
        let two = record(
            json!({"requestParameters": {"omitted": true}, "RequestParameters": {"a": "b"}}),
        );
        assert_eq!(two.str("requestParameters.a"), Some("b"));
        // In other members, a string is a value.
        assert_eq!(
            record(json!({"eventName": "x"})).str("eventName"),
            Some("x")
        );
    }

    #[test]
    fn an_event_id_is_derived_from_the_content_if_missing() {
        let one = record(json!({"eventName": "DeleteBackup"}));
        let other = record(json!({"eventName": "DeleteHsm"}));
        assert_eq!(one.event_id(), one.clone().event_id());
        assert_ne!(one.event_id(), other.event_id());
    }
}
