//! One CloudTrail record: a JSON object, looked at by path.
//!
//! A record is what somebody else wrote. Fields may be missing, null, of another type than documented,
//! or spelled with another case than documented (seen in third-party copies); every accessor here
//! answers such a field with `None` or finds it all the same. Nothing here judges a record.
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
    /// looked for as written first, then without regard to case. `null` counts as absent, and so does
    /// what CloudTrail omitted ([`is_omitted`]).
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

    /// Every text below the request and the response with the name it stands under. Of members of one object
    /// whose names differ in case alone, the one in the documented spelling counts, for those names that
    /// `documented` gives one for.
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

    /// The call's name.
    pub fn event_name(&self) -> &str {
        self.text("eventName").unwrap_or("(no eventName)")
    }

    /// The called service.
    pub fn event_source(&self) -> &str {
        self.text("eventSource").unwrap_or("(no eventSource)")
    }

    /// `eventID`, an opaque string. A record without one gets the hash of its content, so that the same
    /// record read again is still known as the same.
    pub fn event_id(&self) -> String {
        self.text("eventID").map_or_else(
            || {
                let content = Sha256::digest(self.value.to_string());
                format!("no-event-id-{}", hex(&content[..16]))
            },
            str::to_owned,
        )
    }

    /// Why the record has no request parameters; `None`: it has them.
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
                let text = |name: &str| {
                    candidates(form, name).find_map(|(_, value)| match value {
                        Value::String(text) => Some(text.clone()),
                        Value::Number(number) => Some(number.to_string()),
                        _ => None,
                    })
                };
                Omitted::TooLarge {
                    reason: text("reason"),
                    original_size: text("originalSize"),
                }
            }
            Some(Value::String(text)) => Omitted::Replaced(text.clone()),
            _ => Omitted::Absent,
        })
    }

    /// When the call was made.
    pub fn event_time(&self) -> Option<Timestamp> {
        self.text("eventTime")?.parse().ok()
    }

    /// The account whose trail recorded the call, else the caller's. An access denied across accounts
    /// is recorded in both.
    pub fn account(&self) -> Option<String> {
        self.account_id("recipientAccountId")
            .or_else(|| self.account_id("userIdentity.accountId"))
    }

    /// The account ID at a dotted path. Pipelines that take it for a number lose its leading zeros, which
    /// come back here: an ID has twelve digits.
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

/// What an object is that is no CloudTrail record: every one names the call's event source or event name.
/// `None`: it is one.
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
    /// The member is missing or null, as on most errors.
    Absent,
    /// CloudTrail's omitted form stands in their place.
    TooLarge {
        /// CloudTrail's words, such as `requestParameters too large`.
        reason: Option<String>,
        /// Their size in bytes.
        original_size: Option<String>,
    },
    /// A text stands in their place, such as `HIDDEN_DUE_TO_SECURITY_REASONS`.
    Replaced(String),
}

/// Members of a record that hold an object, and whose content CloudTrail omits above 100 KB (28 KB of
/// `additionalEventData`). Source: AWS CloudTrail User Guide, "CloudTrail record contents".
const OMITTABLE: [&str; 4] = [
    "requestParameters",
    "responseElements",
    "serviceEventDetails",
    "additionalEventData",
];

/// Whether a member of a record's top level can be omitted. Names are the same in any case.
pub fn is_omittable(name: &str) -> bool {
    OMITTABLE
        .iter()
        .any(|known| known.eq_ignore_ascii_case(name))
}

/// Members that tell of an error. Exports write an empty text where CloudTrail leaves them out.
const ERRORS: [&str; 2] = ["errorCode", "errorMessage"];

/// Whether a member of a record's top level tells of an error. Names are the same in any case.
pub fn is_error(name: &str) -> bool {
    ERRORS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether a member of a record's top level holds nothing, because it is null, because it is an error
/// without a text, or because CloudTrail omitted what it held. `{"reason": …, "omitted": true,
/// "originalSize": N}` stands in the place of an object that is too large, and a text such as
/// `HIDDEN_DUE_TO_SECURITY_REASONS` in the place of one that a service keeps to itself. A caller can bring
/// the first about by padding a policy with white space.
///
/// Only an object with no other members is the omitted form: S3 records the query string of a request as
/// parameters, so that anyone can add an `omitted` to those.
pub fn is_omitted(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => is_omittable(name) || (is_error(name) && text.trim().is_empty()),
        Value::Object(form) => is_omittable(name) && is_omitted_form(form),
        _ => false,
    }
}

/// What stands in the place of a value that a service keeps out of CloudTrail.
const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

/// What counts as absent among the members below a member of a record's top level: null, and in an omittable
/// one a value that the service keeps out of CloudTrail.
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

/// The members of an object that have a name: the one in this spelling first, then those in another case.
pub fn candidates<'v>(
    fields: &'v Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'v String, &'v Value)> {
    let others = fields
        .iter()
        .filter(move |(key, _)| *key != name && key.eq_ignore_ascii_case(name));
    fields.get_key_value(name).into_iter().chain(others)
}

/// The member of a value that has a name and is not null.
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
        assert_eq!(hidden.text("requestParameters.policy"), None);
        assert_eq!(hidden.text("userIdentity.userName"), Some(HIDDEN));
        let two = record(
            json!({"requestParameters": {"omitted": true}, "RequestParameters": {"a": "b"}}),
        );
        assert_eq!(two.text("requestParameters.a"), Some("b"));
        // Of other members a text is what it is.
        assert_eq!(
            record(json!({"eventName": "x"})).text("eventName"),
            Some("x")
        );
    }

    #[test]
    fn a_record_without_an_event_id_is_known_by_its_content() {
        let one = record(json!({"eventName": "DeleteBackup"}));
        let other = record(json!({"eventName": "DeleteHsm"}));
        assert_eq!(one.event_id(), one.clone().event_id());
        assert_ne!(one.event_id(), other.event_id());
    }
}
