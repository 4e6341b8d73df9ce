//! The OCSF Detection Finding: the alert as JSON, for other programs.
//!
//! Texts are as recorded, except that secrets are removed, long texts are cut, and invisible characters are
//! escaped. Links are not defanged, because programs compare these values.
//! Source: OCSF 1.5.0, class Detection Finding (2004) with the profile `cloud`.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{attack::attack, contents::Alert, resource::Resource, source::Source};
use crate::{
    actor,
    record::{Outcome, Record},
    rules::Rule,
    severity::Severity,
    text::{escape_invisible, escaped_json},
};

/// The product in `metadata.product`: the name of the function, not of this crate.
const PRODUCT: &str = "cloudhsm-alerts";
/// The OCSF schema version, in `metadata.version`.
pub const SCHEMA_VERSION: &str = "1.5.0";
/// Maximum length of a text from the record, in characters. CloudTrail cuts most texts at 1 to 2 KB.
const MAX_TEXT: usize = 1024;
/// Maximum number of rules listed.
const RULES_LISTED: usize = 20;

/// The finding. Without `with_record`, it gives a reason in place of the record in `raw_data`.
pub fn finding(alert: &Alert, with_record: bool) -> Value {
    let mut finding = call_finding(alert, &alert.headline(), &alert.sentence());
    let record = escaped_json(alert.record.value());
    let mut unmapped = json!({
        "object": clip(&alert.source.address(), 4 * MAX_TEXT),
        "record_index": record_index(alert),
        "outcome": alert.outcome.as_str(),
        "shared_with": alert.sharing.principals,
        "shared_with_unreadable": alert.sharing.is_unreadable.then_some(true),
        "parameters_omitted": alert.omission(),
        "rules_assumed": alert
            .rules
            .iter()
            .filter(|rule| alert.is_assumed(rule))
            .take(RULES_LISTED)
            .map(|rule| clip(&rule.name, 100))
            .collect::<Vec<_>>(),
        "rules_suppressed": alert
            .suppressed
            .iter()
            .take(RULES_LISTED)
            .map(|(rule, filter)| json!({ "rule": clip(rule, 100), "filter": clip(filter, 100) }))
            .collect::<Vec<_>>(),
    });
    if with_record {
        finding["raw_data"] = Value::from(record.as_str());
    } else {
        unmapped["raw_data_omitted"] = Value::from(
            "the record is too large for an SNS message: read it in the object, by its event ID",
        );
    }
    if alert.count() > 1 {
        let millis = |time: Option<Timestamp>| time.map(|time| time.as_millisecond());
        finding["count"] = alert.count().into();
        finding["start_time"] = millis(alert.repeats.first).into();
        finding["end_time"] = millis(alert.repeats.last).into();
        unmapped["repeated_event_ids"] = repeated_event_ids(alert);
    }
    finding["raw_data_size"] = Value::from(record.len());
    finding["cloud"] = cloud(alert);
    finding["resources"] = alert.resources.iter().map(|r| resource(r, alert)).collect();
    finding["evidences"] = json!([evidence(alert)]);
    // How to stop the caller follows the first step, so it is complete.
    finding["remediation"] =
        json!({ "desc": clip(&alert.instructions(4 * MAX_TEXT), 4 * MAX_TEXT) });
    if let Some(deadline) = &alert.deadline {
        unmapped["deadline"] = Value::from(deadline.as_str());
    }
    finding["unmapped"] = unmapped;
    pruned(finding)
}

/// The event IDs of the calls that were grouped into the alert.
fn repeated_event_ids(alert: &Alert) -> Value {
    alert
        .repeats
        .calls
        .iter()
        .map(|call| clip(call.event_id(), 64))
        .collect()
}

/// The members that a finding about one call and a finding about several calls have in common. The values are
/// those of `alert`, the most severe one of several.
pub(super) fn call_finding(alert: &Alert, title: &str, sentence: &str) -> Value {
    let time = alert.sort_time().map_or(0, |time| time.as_millisecond());
    let uid = clip(&alert.event_id, 256);
    let mut finding = base_finding(alert.severity, time, &uid, title, sentence);
    finding["status_detail"] = format!("The call {}", alert.outcome.verb()).into();
    let metadata = &mut finding["metadata"];
    metadata["profiles"] = json!(["cloud"]);
    metadata["log_name"] = "AWS CloudTrail".into();
    metadata["log_provider"] = "AWS".into();
    metadata["original_time"] = alert.record.str("eventTime").map(|t| clip(t, 64)).into();
    let info = &mut finding["finding_info"];
    info["analytic"] = alert.rules.first().map(|rule| analytic(rule)).into();
    info["related_analytics"] = alert
        .rules
        .iter()
        .skip(1)
        .take(RULES_LISTED)
        .map(|rule| analytic(rule))
        .collect();
    info["attacks"] = techniques(alert).into();
    info["data_sources"] = json!(["AWS CloudTrail"]);
    finding
}

/// The members that every finding has, also one about this program itself. `time` is in milliseconds.
pub(super) fn base_finding(
    severity: Severity,
    time: i64,
    uid: &str,
    title: &str,
    sentence: &str,
) -> Value {
    json!({
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": 1,
        "activity_name": "Create",
        "type_uid": 200401,
        "type_name": "Detection Finding: Create",
        "severity_id": severity.ocsf_id(),
        "severity": severity.ocsf_caption(),
        "status_id": 1,
        "status": "New",
        "is_alert": true,
        "time": time,
        "message": sentence,
        "metadata": {
            "version": SCHEMA_VERSION,
            "product": {
                "name": PRODUCT,
                "vendor_name": PRODUCT,
                "version": env!("CARGO_PKG_VERSION"),
            },
            "uid": uid,
        },
        "finding_info": {
            "uid": uid,
            "title": clip(title, 256),
            "desc": sentence,
            "created_time": time,
        },
    })
}

/// The provider, account and region.
pub(super) fn cloud(alert: &Alert) -> Value {
    json!({
        "provider": "AWS",
        "account": alert.account.as_deref().map(|id| account(id, alert.account_name.as_deref())),
        "region": alert.region.as_deref().map(|region| clip(region, 64)),
    })
}

/// One call: the operation, the actor and the source.
pub(super) fn evidence(alert: &Alert) -> Value {
    let record = &alert.record;
    let field = |path: &str| record.str(path).map(|text| clip(text, MAX_TEXT));
    let response = alert.error.as_ref().map(|(code, message)| {
        json!({
            "error": non_empty(code),
            "error_message": non_empty(message),
        })
    });
    json!({
        "api": {
            "operation": clip(&alert.event_name, 128),
            "service": { "name": clip(&alert.event_source, 256) },
            "version": field("apiVersion"),
            "request": field("requestID").map(|uid| json!({ "uid": uid })),
            "response": response,
        },
        "actor": actor_of(record, alert),
        "src_endpoint": field("sourceIPAddress").map(|source| source_endpoint(&source)),
        "http_request": field("userAgent").map(|agent| json!({ "user_agent": agent })),
    })
}

/// The evidence of one of several calls, with the values that a finding about one call has at its top level.
pub(super) fn detailed_evidence(alert: &Alert) -> Value {
    let mut evidence = evidence(alert);
    evidence["uid"] = Value::from(clip(&alert.event_id, 256));
    evidence["name"] = alert
        .rules
        .first()
        .map_or(Value::Null, |rule| clip(&rule.name, 100).into());
    evidence["resources"] = alert
        .resources
        .iter()
        .take(3)
        .map(|r| resource(r, alert))
        .collect();
    evidence["data"] = json!({
        "severity": alert.severity.as_str(),
        "outcome": alert.outcome.as_str(),
        "time": alert.time.map(|time| time.as_millisecond()),
        "account": alert.account.as_deref().map(|id| clip(id, 64)),
        "region": alert.region.as_deref().map(|region| clip(region, 64)),
        "object": clip(&alert.source.address(), 4 * MAX_TEXT),
        "record_index": record_index(alert),
        "count": (alert.count() > 1).then(|| alert.count()),
        "repeated_event_ids": repeated_event_ids(alert),
        "shared_with": alert.sharing.principals,
        "shared_with_unreadable": alert.sharing.is_unreadable.then_some(true),
    });
    evidence
}

/// The position in the log file. An EventBridge event contains a single record.
fn record_index(alert: &Alert) -> Option<u64> {
    (!matches!(alert.source, Source::Event(_))).then_some(alert.index)
}

fn actor_of(record: &Record, alert: &Alert) -> Value {
    let field = |path: &str| {
        record
            .str(&format!("userIdentity.{path}"))
            .map(|text| clip(text, MAX_TEXT))
    };
    let kind = alert.actor.kind_or_unknown();
    let (type_id, caption) = match kind {
        "Root" => (2, "Admin"),
        "IAMUser" => (1, "User"),
        "AWSService" => (3, "System"),
        "Unknown" => (0, "Unknown"),
        other => (99, other),
    };
    let members = |path: &str| actor::members(record, path).map(|text| clip(&text, MAX_TEXT));
    // Who uses a role by temporary delegation, and what the credentials were issued to. OCSF has no members of its
    // own for them.
    let app_name = field("invokedBy").or_else(|| {
        members("userIdentity.invokedByDelegate").map(|delegate| format!("delegate ({delegate})"))
    });
    let app_uid = ["inScopeOf.credentialsIssuedTo", "inScopeOf.sourceArn"]
        .into_iter()
        .find_map(field)
        .or_else(|| members("userIdentity.inScopeOf"));
    json!({
        "user": {
            "name": field("userName").or_else(|| non_empty(&alert.actor.short)),
            "uid": field("arn").or_else(|| field("principalId")),
            "uid_alt": field("arn").and_then(|_| field("principalId")),
            "type_id": type_id,
            "type": caption,
            "credential_uid": field("accessKeyId"),
            "account": record
                .account_id("userIdentity.accountId")
                .map(|id| account(&id, alert.caller_account_name.as_deref())),
        },
        "session": {
            "uid": alert.actor.session.as_deref().map(|name| clip(name, 256)),
            "issuer": field("sessionContext.sessionIssuer.arn"),
            "created_time": field("sessionContext.attributes.creationDate")
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map(|time| time.as_millisecond()),
            "is_mfa": alert.actor.known_mfa(),
            "credential_uid": field("accessKeyId"),
        },
        "idp": field("identityProvider")
            .or_else(|| field("sessionContext.webIdFederationData.federatedProvider"))
            .map(|name| json!({ "name": name })),
        "app_name": app_name,
        "app_uid": app_uid,
    })
}

/// `sourceIPAddress` is an IP address, the DNS name of a service, or `AWS Internal`.
fn source_endpoint(source: &str) -> Value {
    match source.parse::<IpAddr>() {
        Ok(address) => json!({ "ip": address.to_string() }),
        Err(_) if source.ends_with(".amazonaws.com") => json!({ "svc_name": source }),
        Err(_) => json!({ "name": source }),
    }
}

fn resource(resource: &Resource, alert: &Alert) -> Value {
    json!({
        "uid": clip(&resource.uid, 256),
        "type": resource.kind.ocsf_type(),
        "region": alert.region.as_deref().map(|region| clip(region, 64)),
    })
}

/// OCSF's account type 10 is "AWS Account".
fn account(id: &str, name: Option<&str>) -> Value {
    json!({
        "uid": clip(id, 64),
        "name": name.map(|name| clip(name, 64)),
        "type_id": 10,
        "type": "AWS Account",
    })
}

/// OCSF's analytic type 1 is "Rule".
fn analytic(rule: &Rule) -> Value {
    json!({
        "uid": clip(&rule.id, 64),
        "name": clip(&rule.name, 100),
        "desc": clip(rule.description().trim(), MAX_TEXT),
        "type_id": 1,
        "type": "Rule",
    })
}

/// The distinct ATT&CK techniques of the rules.
fn techniques(alert: &Alert) -> Vec<Value> {
    let mut ids: Vec<&str> = Vec::new();
    for id in alert.rules.iter().flat_map(|rule| &rule.techniques) {
        if !ids.contains(&id.as_str()) && ids.len() < RULES_LISTED {
            ids.push(id);
        }
    }
    ids.into_iter().map(|id| attack(&clip(id, 16))).collect()
}

/// The outcome of several calls together: success if any call succeeded, else denied if any was denied.
pub(super) fn joint_outcome(alerts: &[Alert]) -> Outcome {
    alerts
        .iter()
        .map(|alert| alert.outcome)
        .min()
        .unwrap_or(Outcome::Success)
}

fn non_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| clip(text, MAX_TEXT))
}

/// The text with invisible characters escaped, at most `limit` characters long.
pub(super) fn clip(text: &str, limit: usize) -> String {
    let text = escape_invisible(text);
    if text.chars().count() <= limit {
        return text;
    }
    text.chars()
        .take(limit.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// Removes nulls, and objects and lists that are then empty. OCSF leaves out members without a value.
pub(super) fn pruned(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .into_iter()
                .map(|(name, inner)| (name, pruned(inner)))
                .filter(|(_, inner)| !is_empty(inner))
                .collect::<Map<_, _>>(),
        ),
        Value::Array(items) => items
            .into_iter()
            .map(pruned)
            .filter(|item| !is_empty(item))
            .collect(),
        other => other,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
