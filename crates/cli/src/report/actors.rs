//! Who made the calls: one entry for each caller, with all calls that match a rule, listed or not.

use std::collections::{BTreeMap, BTreeSet};

use cloudhsm_alerts_core::{record::Outcome, severity::Severity};
use jiff::Timestamp;
use serde::Serialize;

use super::call::Call;

/// Maximum number of addresses, clients, regions and so on of one caller.
const MAX_VALUES: usize = 20;

/// A caller: an identity with its session.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Actor {
    pub identity: String,
    #[serde(serialize_with = "super::format::json_optional")]
    pub first_seen: Option<Timestamp>,
    #[serde(serialize_with = "super::format::json_optional")]
    pub last_seen: Option<Timestamp>,
    pub calls: u64,
    pub succeeded: u64,
    pub denied: u64,
    pub failed: u64,
    /// The calls of these that are below the minimum severity, and not listed.
    pub below_min_severity: u64,
    pub highest_severity: String,
    pub event_names: BTreeMap<String, u64>,
    pub addresses: Values,
    pub clients: Values,
    pub accounts: Values,
    pub regions: Values,
    pub access_keys: Values,
    pub mfa: &'static str,
    #[serde(skip)]
    severity: Option<Severity>,
    #[serde(skip)]
    mfa_seen: BTreeSet<Option<bool>>,
}

/// Different values, up to a limit.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Values {
    pub values: BTreeSet<String>,
    pub has_more: bool,
}

impl Values {
    fn add(&mut self, value: &str) {
        if !self.values.contains(value) {
            self.values.insert(value.to_owned());
        }
        if self.values.len() > MAX_VALUES {
            self.values.pop_last();
            self.has_more = true;
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = self.values.iter().cloned().collect::<Vec<_>>().join(", ");
        if self.has_more {
            text.push_str(" and more");
        }
        if text.is_empty() {
            text.push_str("not recorded");
        }
        text
    }
}

/// The callers of listed and other calls, those with the most severe calls first.
pub(super) fn of<'c>(
    listed: impl Iterator<Item = &'c Call>,
    below: impl Iterator<Item = &'c Call>,
) -> Vec<Actor> {
    let mut actors: BTreeMap<(&str, &str), Actor> = BTreeMap::new();
    let all = listed
        .map(|call| (call, 0))
        .chain(below.map(|call| (call, 1)));
    for (call, below) in all {
        let actor = actors.entry((&call.principal, &call.identity)).or_default();
        actor.add(call);
        actor.below_min_severity += below;
    }
    let mut actors: Vec<Actor> = actors
        .into_iter()
        .map(|((_, identity), mut actor)| {
            actor.identity = identity.to_owned();
            actor.highest_severity = actor.severity.map_or_else(String::new, |it| it.to_string());
            actor.mfa = actor.mfa_text();
            actor
        })
        .collect();
    actors.sort_by(|a, b| {
        (b.severity, b.succeeded, b.calls)
            .cmp(&(a.severity, a.succeeded, a.calls))
            .then_with(|| a.identity.cmp(&b.identity))
    });
    actors
}

impl Actor {
    fn add(&mut self, call: &Call) {
        self.calls += 1;
        *match call.outcome {
            Outcome::Success => &mut self.succeeded,
            Outcome::Denied => &mut self.denied,
            Outcome::Failed => &mut self.failed,
        } += 1;
        self.severity = self.severity.max(Some(call.severity));
        if let Some(time) = call.time {
            self.first_seen = Some(self.first_seen.map_or(time, |first| first.min(time)));
            self.last_seen = self.last_seen.max(Some(time));
        }
        *self.event_names.entry(call.event_name.clone()).or_default() += 1;
        if self.event_names.len() > 2 * MAX_VALUES {
            self.event_names.pop_last();
        }
        for (values, value) in [
            (&mut self.addresses, call.address.as_ref()),
            (&mut self.clients, Some(&call.client)),
            (&mut self.accounts, Some(&call.account)),
            (&mut self.regions, Some(&call.region)),
            (&mut self.access_keys, call.access_key.as_ref()),
        ] {
            if let Some(value) = value {
                values.add(value);
            }
        }
        self.mfa_seen.insert(call.mfa);
    }

    fn mfa_text(&self) -> &'static str {
        let saw = |mfa| self.mfa_seen.contains(&mfa);
        match (saw(Some(true)), saw(Some(false)), saw(None)) {
            (true, false, false) => "yes",
            (false, true, false) => "no",
            (false, false, _) => "not recorded",
            (true, true, _) => "for some calls",
            (true, false, true) => "yes, where recorded",
            (false, true, true) => "no, where recorded",
        }
    }

    /// `DeleteBackup × 3, CreateHsm`.
    pub(super) fn event_names_text(&self) -> String {
        let mut names: Vec<(&String, &u64)> = self.event_names.iter().collect();
        names.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
        names
            .into_iter()
            .map(|(name, count)| match count {
                1 => name.clone(),
                count => format!("{name} × {count}"),
            })
            .collect::<Vec<_>>()
            .join(", ")
    }
}
