//! The OCSF Detection Finding: the alert for machines.
//!
//! Source: OCSF 1.5.0, class Detection Finding (2004) with the profile `cloud`. Text stays as recorded
//! here, but for secrets, for length and for what shows nothing: JSON has its own way of keeping data data.

use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{
    actor,
    alert::{Alert, Source, resource::Resource},
    record::{Outcome, Record},
    rules::Rule,
    severity::Severity,
    text::{json as json_text, visible},
};

/// OCSF's schema version, `metadata.version`.
pub const SCHEMA_VERSION: &str = "1.5.0";
/// Longest text of a field from the record, in characters. CloudTrail itself cuts most at 1 to 2 KB.
const MAX_TEXT: usize = 1024;
const RULES_LISTED: usize = 20;

/// The finding, with the record in `raw_data` where `with_record`, else the reason why not.
pub fn finding(alert: &Alert, with_record: bool) -> Value {
    let mut finding = frame(alert, &alert.headline(), &alert.sentence());
    let record = json_text(alert.record.value());
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
        "rules_filtered": alert
            .filtered
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
    finding["remediation"] = json!({ "desc": clip(&alert.response, 4 * MAX_TEXT) });
    finding["unmapped"] = unmapped;
    pruned(finding)
}

/// The event IDs of the calls that repeat the alert's.
fn repeated_event_ids(alert: &Alert) -> Value {
    alert
        .repeats
        .calls
        .iter()
        .map(|call| clip(call.event_id(), 64))
        .collect()
}

/// What every finding of this program has, in the order a reader looks for it. The values are those of
/// `alert`, the most severe one where there are several.
pub(super) fn frame(alert: &Alert, title: &str, sentence: &str) -> Value {
    let time = alert.sort_time().map_or(0, |time| time.as_millisecond());
    let uid = clip(&alert.event_id, 256);
    let mut finding = bare(alert.severity, time, &uid, title, sentence);
    let metadata = &mut finding["metadata"];
    metadata["profiles"] = json!(["cloud"]);
    metadata["log_name"] = "AWS CloudTrail".into();
    metadata["log_provider"] = "AWS".into();
    metadata["original_time"] = alert.record.text("eventTime").map(|t| clip(t, 64)).into();
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

/// What a finding of any kind has, at a time in milliseconds.
pub(super) fn bare(severity: Severity, time: i64, uid: &str, title: &str, sentence: &str) -> Value {
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
                "name": env!("CARGO_PKG_NAME"),
                "vendor_name": env!("CARGO_PKG_NAME"),
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

/// Account, region and provider.
pub(super) fn cloud(alert: &Alert) -> Value {
    json!({
        "provider": "AWS",
        "account": alert.account.as_deref().map(|id| account(id, alert.account_name.as_deref())),
        "region": alert.region.as_deref().map(|region| clip(region, 64)),
    })
}

/// One call: what, by whom, from where.
pub(super) fn evidence(alert: &Alert) -> Value {
    let record = &alert.record;
    let text = |path: &str| record.text(path).map(|text| clip(text, MAX_TEXT));
    let response = alert.error.as_ref().map(|(code, message)| {
        json!({
            "error": some_text(code),
            "error_message": some_text(message),
        })
    });
    json!({
        "api": {
            "operation": clip(&alert.event_name, 128),
            "service": { "name": clip(&alert.event_source, 256) },
            "version": text("apiVersion"),
            "request": text("requestID").map(|uid| json!({ "uid": uid })),
            "response": response,
        },
        "actor": actor_of(record, alert),
        "src_endpoint": text("sourceIPAddress").map(|source| source_endpoint(&source)),
        "http_request": text("userAgent").map(|agent| json!({ "user_agent": agent })),
    })
}

/// [`evidence`] with what the finding itself says when it is about one call: for a digest.
pub(super) fn numbered_evidence(alert: &Alert) -> Value {
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

/// Position in the log file; an EventBridge event has none.
fn record_index(alert: &Alert) -> Option<u64> {
    (!matches!(alert.source, Source::Event(_))).then_some(alert.index)
}

fn actor_of(record: &Record, alert: &Alert) -> Value {
    let text = |path: &str| {
        record
            .text(&format!("userIdentity.{path}"))
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
    // Who acts with a role under temporary delegation, and what held the credentials: OCSF has no place of its own
    // for either.
    let app_name = text("invokedBy").or_else(|| {
        members("userIdentity.invokedByDelegate").map(|delegate| format!("delegate ({delegate})"))
    });
    let app_uid = ["inScopeOf.credentialsIssuedTo", "inScopeOf.sourceArn"]
        .into_iter()
        .find_map(text)
        .or_else(|| members("userIdentity.inScopeOf"));
    json!({
        "user": {
            "name": text("userName").or_else(|| some_text(&alert.actor.short)),
            "uid": text("arn").or_else(|| text("principalId")),
            "uid_alt": text("arn").and_then(|_| text("principalId")),
            "type_id": type_id,
            "type": caption,
            "credential_uid": text("accessKeyId"),
            "account": record
                .account_id("userIdentity.accountId")
                .map(|id| account(&id, alert.caller_account_name.as_deref())),
        },
        "session": {
            "uid": alert.actor.session.as_deref().map(|name| clip(name, 256)),
            "issuer": text("sessionContext.sessionIssuer.arn"),
            "created_time": text("sessionContext.attributes.creationDate")
                .and_then(|time| time.parse::<jiff::Timestamp>().ok())
                .map(|time| time.as_millisecond()),
            "is_mfa": alert.actor.mfa,
            "credential_uid": text("accessKeyId"),
        },
        "idp": text("identityProvider")
            .or_else(|| text("sessionContext.webIdFederationData.federatedProvider"))
            .map(|name| json!({ "name": name })),
        "app_name": app_name,
        "app_uid": app_uid,
    })
}

/// CloudTrail writes an address, a service's DNS name, or `AWS Internal`.
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

/// Each ATT&CK technique of the rules, once.
fn techniques(alert: &Alert) -> Vec<Value> {
    let mut ids: Vec<&str> = Vec::new();
    for id in alert.rules.iter().flat_map(|rule| &rule.techniques) {
        if !ids.contains(&id.as_str()) && ids.len() < RULES_LISTED {
            ids.push(id);
        }
    }
    ids.into_iter()
        .map(|id| match id.split_once('.') {
            Some((technique, _)) => json!({
                "technique": { "uid": clip(technique, 16) },
                "sub_technique": { "uid": clip(id, 16) },
            }),
            None => json!({ "technique": { "uid": clip(id, 16) } }),
        })
        .collect()
}

/// The outcome that stands for several calls: the one that did most.
pub(super) fn joint_outcome(alerts: &[Alert]) -> Outcome {
    alerts
        .iter()
        .map(|alert| alert.outcome)
        .min()
        .unwrap_or(Outcome::Success)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| clip(text, MAX_TEXT))
}

/// As recorded but for what shows nothing, at most so many characters.
pub(super) fn clip(text: &str, limit: usize) -> String {
    let text = visible(text);
    if text.chars().count() <= limit {
        return text;
    }
    text.chars()
        .take(limit.saturating_sub(1))
        .chain(['…'])
        .collect()
}

/// The same without nulls, and without the objects and lists that held nothing else: OCSF knows absent
/// members, not empty ones.
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
