//! A call as a report lists it: the few values of an alert that the sections need, all of them safe to show.
//!
//! The alert's e-mail and its record are much larger. They are kept in a file until the page is written
//! ([`super::spill`]).

use cloudhsm_alerts_core::{
    alert::{
        Alert, Source, email,
        resource::{Kind, Resource},
    },
    defang::defanged,
    record::Outcome,
    severity::Severity,
    text::one_line,
};
use jiff::Timestamp;
use serde::Serialize;

use super::lane::Lane;

/// Maximum length of a value, in characters.
const MAX: usize = 128;

/// One call that matches a rule.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Call {
    #[serde(serialize_with = "super::format::json_optional")]
    pub time: Option<Timestamp>,
    #[serde(serialize_with = "as_text")]
    pub severity: Severity,
    #[serde(serialize_with = "outcome_as_text")]
    pub outcome: Outcome,
    pub event_name: String,
    pub event_source: String,
    pub headline: String,
    /// The caller in short, and in full.
    pub actor: String,
    pub identity: String,
    pub mfa: Option<bool>,
    pub access_key: Option<String>,
    pub client: String,
    pub address: Option<String>,
    pub account: String,
    pub region: String,
    /// What the call was about, such as `backup backup-zxc7vbn2mas`.
    pub resource: Option<String>,
    pub rules: Vec<String>,
    pub event_id: String,
    /// Where the record was read.
    pub source: String,
    #[serde(skip)]
    pub principal: String,
    #[serde(skip)]
    pub lane: Lane,
}

fn as_text<S: serde::Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}

fn outcome_as_text<S: serde::Serializer>(
    outcome: &Outcome,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(outcome.as_str())
}

impl Call {
    pub(super) fn of(alert: &Alert) -> Call {
        let record = &alert.record;
        Call {
            time: alert.time,
            severity: alert.severity,
            outcome: alert.outcome,
            event_name: one_line(&alert.event_name, MAX),
            event_source: one_line(&alert.event_source, MAX),
            headline: alert.headline(),
            actor: one_line(&alert.actor.short, MAX),
            identity: one_line(&alert.actor.description, 2 * MAX),
            mfa: alert.actor.mfa,
            access_key: record
                .str("userIdentity.accessKeyId")
                .map(|key| one_line(key, MAX)),
            client: alert.actor.client.describe(),
            address: record
                .str("sourceIPAddress")
                .map(|address| one_line(address, MAX)),
            account: alert.account_label(),
            region: alert.region_label(),
            resource: alert.main_resource().map(resource_label),
            rules: alert
                .rules
                .iter()
                .map(|rule| one_line(&rule.name, 100))
                .collect(),
            event_id: one_line(&alert.event_id, MAX),
            source: shown(&alert.source, alert.index),
            principal: one_line(&alert.actor.principal, 2 * MAX),
            lane: lane(alert),
        }
    }

    /// One line about the call, for people who cannot see or point at the picture.
    pub(super) fn label(&self) -> String {
        format!(
            "{}, {}: {} {} by {}{}",
            super::format::time(self.time),
            self.severity,
            self.event_name,
            self.outcome.verb(),
            self.actor,
            self.on_resource(),
        )
    }

    /// ` on backup backup-zxc7vbn2mas`, or nothing.
    pub(super) fn on_resource(&self) -> String {
        self.resource
            .as_ref()
            .map_or_else(String::new, |resource| format!(" on {resource}"))
    }

    pub(super) fn outcome_word(&self) -> &'static str {
        match self.outcome {
            Outcome::Success => "succeeded",
            Outcome::Denied => "denied",
            Outcome::Failed => "failed",
        }
    }
}

/// The e-mail of an alert.
pub(super) fn email_of(alert: &Alert) -> (String, String) {
    (email::subject(alert), email::body(alert))
}

/// `backup backup-zxc7vbn2mas`, also where the record has its ARN.
fn resource_label(resource: &Resource) -> String {
    let id = resource.uid.rsplit('/').next().unwrap_or(&resource.uid);
    format!("{} {}", resource.kind.name(), defanged(id, MAX))
}

fn shown(source: &Source, index: u64) -> String {
    match source {
        Source::Event(_) => source.to_string(),
        _ => format!("{source}, Records[{index}]"),
    }
}

/// The lane of the timeline: the cluster, backup, key store or trail that the call was about, or else its service.
fn lane(alert: &Alert) -> Lane {
    let named = |kind: Kind| {
        let found = alert.resources.iter().find(|found| found.kind == kind)?;
        Some(defanged(
            found.uid.rsplit('/').next().unwrap_or(&found.uid),
            MAX,
        ))
    };
    let place = format!("{} {}", alert.account_label(), alert.region_label());
    let service = alert
        .event_source
        .strip_suffix(".amazonaws.com")
        .unwrap_or(&alert.event_source);
    let trail = || {
        let record = &alert.record;
        let name = ["name", "trailName", "trailARN"]
            .iter()
            .find_map(|name| record.str(&format!("requestParameters.{name}")))?;
        Some(defanged(name.rsplit('/').next().unwrap_or(name), MAX))
    };
    match alert.main_resource().map(|resource| resource.kind) {
        Some(Kind::Backup) => {
            if let Some(backup) = named(Kind::Backup) {
                return Lane::backup(backup, named(Kind::Cluster));
            }
        }
        Some(Kind::KeyStore) => {
            if let Some(store) = named(Kind::KeyStore) {
                return Lane::key_store(store);
            }
        }
        _ if service == "cloudtrail" => {
            if let Some(trail) = trail() {
                return Lane::trail(trail, place);
            }
        }
        _ => {}
    }
    match named(Kind::Cluster) {
        Some(cluster) => Lane::cluster(cluster),
        None if service.starts_with("cloudhsm") => {
            Lane::service("CloudHSM, no resource named".to_owned())
        }
        None => Lane::service(one_line(service, 40)),
    }
}
