//! Every kind of finding is valid OCSF 1.5.0: no unknown attribute, no missing required one, and the right type
//! for each. `data/ocsf_1_5_0.json` is an extract of the schema.

use cloudhsm_alerts_core::{
    alert::{
        Alert, Source,
        accounts::Accounts,
        compose::{self, Age},
        message::Message,
        ocsf,
        operator::{self, NotLoaded},
        summary,
    },
    finding::Finding,
    record::Record,
    rules::{RuleSet, watched::Watched},
};
use cloudhsm_alerts_test_support::{fixtures::call, process::project_folder};
use jiff::Timestamp;
use serde_json::{Value, json};

struct Schema(Value);

impl Schema {
    fn load() -> Schema {
        let text =
            std::fs::read_to_string(project_folder().join("tests/data/ocsf_1_5_0.json")).unwrap();
        Schema(serde_json::from_str(&text).unwrap())
    }

    /// Appends what makes a value invalid as the named object, with the path of each attribute.
    fn check(&self, value: &Value, object: &str, at: &str, errors: &mut Vec<String>) {
        let attributes = self.0["objects"][object].as_object().unwrap();
        let Some(fields) = value.as_object() else {
            return errors.push(format!("{at}: expected {object}, found {value}"));
        };
        for (name, facts) in attributes {
            let kind = facts.as_str().or(facts[0].as_str()).unwrap();
            if kind.ends_with('*') && !fields.contains_key(name) && name != "osint" {
                errors.push(format!("{at}.{name}: required and missing"));
            }
        }
        if let Some(any) = self.0["at_least_one"][object].as_array()
            && !any
                .iter()
                .any(|name| fields.contains_key(name.as_str().unwrap()))
        {
            errors.push(format!("{at}: has none of {any:?}"));
        }
        for (name, inner) in fields {
            let at = format!("{at}.{name}");
            let Some(facts) = attributes.get(name) else {
                errors.push(format!("{at}: unknown"));
                continue;
            };
            let kind = facts
                .as_str()
                .or(facts[0].as_str())
                .unwrap()
                .trim_end_matches('*');
            let allowed = facts.as_array().map(|list| &list[1..]);
            match (kind.strip_suffix("[]"), inner) {
                (Some(_), Value::Array(items)) if items.is_empty() => {
                    errors.push(format!("{at}: empty"))
                }
                (Some(kind), Value::Array(items)) => {
                    for (n, item) in items.iter().enumerate() {
                        self.check_one(item, kind, allowed, &format!("{at}[{n}]"), errors);
                    }
                }
                (None, inner) => self.check_one(inner, kind, allowed, &at, errors),
                (Some(_), _) => errors.push(format!("{at}: expected a list")),
            }
        }
    }

    fn check_one(
        &self,
        value: &Value,
        kind: &str,
        allowed: Option<&[Value]>,
        at: &str,
        errors: &mut Vec<String>,
    ) {
        let fits = match kind {
            "integer_t" | "long_t" | "timestamp_t" | "port_t" => value.is_i64() || value.is_u64(),
            "boolean_t" => value.is_boolean(),
            "float_t" => value.is_number(),
            "object" => value.is_object(),
            "json_t" => true,
            "ip_t" => value
                .as_str()
                .is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
            kind if kind.ends_with("_t") => value.is_string(),
            object => return self.check(value, object, at, errors),
        };
        if !fits {
            errors.push(format!("{at}: expected {kind}, found {value}"));
        }
        if allowed.is_some_and(|allowed| !allowed.contains(value)) {
            errors.push(format!("{at}: {value} is not one of its values"));
        }
    }
}

fn identities() -> Vec<Value> {
    let session = json!({"attributes": {"mfaAuthenticated": "true", "creationDate": "2026-11-23T03:00:00Z"},
        "sessionIssuer": {"type": "Role", "userName": "R", "arn": "arn:aws:iam::1:role/R"}, "webIdFederationData": {"federatedProvider": "p"}});
    let mut all: Vec<Value> = [
        "Root", "IAMUser", "AssumedRole", "Role", "FederatedUser", "Directory", "AWSAccount", "AWSService",
        "IdentityCenterUser", "SAMLUser", "WebIdentityUser", "Unknown", "Other",
    ]
    .iter()
    .map(|kind| json!({"type": kind, "accountId": "111122223333", "arn": "arn:aws:sts::1:assumed-role/R/s", "principalId": "p:s",
        "accessKeyId": "ASIA", "invokedBy": "cloudhsm.amazonaws.com", "identityProvider": "idp", "sessionContext": session}))
    .collect();
    all.extend([
        json!({"type": "AWSService", "invokedBy": "x.amazonaws.com"}),
        json!({}),
        Value::Null,
    ]);
    all
}

#[test]
fn every_kind_of_finding_is_valid() {
    let schema = Schema::load();
    let rules = RuleSet::builtin(&Watched::default()).unwrap();
    let names = [
        "DeleteBackup",
        "CreateCluster",
        "TagResource",
        "PutResourcePolicy",
        "DeleteHapg",
        "ModifyHsm",
    ];
    let errors = [
        json!({}),
        json!({"errorCode": "AccessDenied", "errorMessage": "no"}),
        json!({"errorCode": "X"}),
    ];
    let sources = [
        json!("203.0.113.7"),
        json!("2001:db8::1"),
        json!("cloudformation.amazonaws.com"),
        json!("AWS Internal"),
        Value::Null,
    ];
    let mut alerts = Vec::new();
    for identity in identities() {
        for (n, name) in names.iter().enumerate() {
            let mut record = call(name, &format!("{n}"));
            record["userIdentity"] = identity.clone();
            record["sourceIPAddress"] = sources[n % sources.len()].clone();
            record["requestID"] = "r".into();
            record["requestParameters"] = json!({"clusterId": "cluster-a", "backupId": "backup-b", "sourceBackupId": "backup-c", "hapgArn": "arn:x"});
            for (field, value) in errors[n % errors.len()].as_object().unwrap() {
                record[field] = value.clone();
            }
            alerts.push(record);
        }
    }
    // A record with no more than the members that make a rule match.
    alerts.push(json!({"eventSource": "cloudhsm.amazonaws.com", "eventName": "DeleteHsm"}));

    let alerts: Vec<Alert> = alerts
        .into_iter()
        .map(|record| {
            let Value::Object(fields) = record else {
                unreachable!("objects above")
            };
            let finding = Finding::of(
                Record::new(0, fields),
                &rules,
                Timestamp::constant(1_795_564_800, 0),
            )
            .expect("it matches a rule");
            Alert::new(
                finding,
                &Source::Event("e".into()),
                &Accounts::parse("111122223333=prod").unwrap(),
            )
        })
        .collect();
    let mut findings: Vec<Value> = alerts
        .iter()
        .flat_map(|alert| [ocsf::finding(alert, true), ocsf::finding(alert, false)])
        .collect();
    let about = |alerts: &[Alert]| {
        default_finding(&compose::message(alerts, Age::Old).expect("there are alerts"))
    };
    findings.extend(
        summary::split(alerts.clone())
            .iter()
            .map(|alerts| about(alerts)),
    );
    findings.extend(
        alerts
            .iter()
            .take(3)
            .map(|alert| about(std::slice::from_ref(alert))),
    );
    let error = "rules/x.yml:3: level: is missing".to_owned();
    for what in [NotLoaded::Rules(94), NotLoaded::AccountNames] {
        let problems = std::slice::from_ref(&error);
        let notice = operator::not_loaded(what, "rules", problems, Timestamp::UNIX_EPOCH);
        findings.push(default_finding(&notice.message));
    }
    for finding in findings {
        let mut errors = Vec::new();
        schema.check(&finding, "detection_finding", "", &mut errors);
        assert!(errors.is_empty(), "{errors:#?}\n{finding:#}");
    }
}

fn default_finding(message: &Message) -> Value {
    let body: Value = serde_json::from_str(&message.body).unwrap();
    serde_json::from_str(body["default"].as_str().unwrap()).unwrap()
}

#[test]
fn the_check_rejects_invalid_findings() {
    let schema = Schema::load();
    let mut errors = Vec::new();
    let invalid = json!({"class_uid": "2004", "severity_id": 7, "nonsense": 1, "metadata": {"version": "1.5.0"},
        "evidences": [{"src_endpoint": {"ip": "AWS Internal"}}, {"http_request": {"user_agent": "x"}}], "resources": []});
    schema.check(&invalid, "detection_finding", "", &mut errors);
    for expected in [
        ".time: required and missing",
        ".cloud: required and missing",
        ".metadata.product: required and missing",
        ".class_uid: expected integer_t, found \"2004\"",
        ".severity_id: 7 is not one of its values",
        ".nonsense: unknown",
        ".evidences[0].src_endpoint.ip: expected ip_t, found \"AWS Internal\"",
        ".resources: empty",
    ] {
        assert!(
            errors.iter().any(|line| line == expected),
            "{expected} is not in {errors:#?}"
        );
    }
    assert!(
        errors
            .iter()
            .any(|line| line.starts_with(".evidences[1]: has none of")),
        "{errors:#?}"
    );
}
