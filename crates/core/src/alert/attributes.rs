//! A message's attributes: the values of its calls that a subscription can filter by.
//!
//! Source: Amazon SNS Developer Guide, "Amazon SNS message attributes".

use super::{contents::Alert, message::Attribute};
use crate::text::ascii;

/// The attributes of all these calls, each value once.
pub(super) fn attributes(alerts: &[Alert]) -> Vec<(&'static str, Attribute)> {
    let mut joint: Vec<(&'static str, Vec<String>)> = Vec::new();
    for (name, value) in alerts.iter().flat_map(values) {
        match joint.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) if values.contains(&value) => {}
            Some((_, values)) => values.push(value),
            None => joint.push((name, vec![value])),
        }
    }
    joint
        .into_iter()
        .map(|(name, mut values)| {
            let attribute = match values.len() {
                1 => Attribute::One(values.remove(0)),
                _ => Attribute::Many(values),
            };
            (name, attribute)
        })
        .collect()
}

fn values(alert: &Alert) -> Vec<(&'static str, String)> {
    // SNS refuses an empty value, and its guide refers to ASCII; what a record does not have is "unknown".
    let value = |text: Option<&str>| {
        text.map(|text| ascii(text, 256))
            .filter(|text| !text.trim().is_empty())
            .unwrap_or_else(|| "unknown".into())
    };
    let mut values = vec![
        ("severity", alert.severity.as_str().to_owned()),
        ("event_name", value(Some(&alert.event_name))),
        ("outcome", alert.outcome.as_str().to_owned()),
        ("account", value(alert.account.as_deref())),
        ("region", value(alert.region.as_deref())),
        ("actor_type", value(Some(alert.actor.kind_or_unknown()))),
    ];
    if let Some(cluster) = alert.cluster_id() {
        values.push(("cluster_id", value(Some(cluster))));
    }
    if let Some(rule) = alert.rules.first() {
        values.push(("rule", value(Some(&rule.name))));
    }
    values
}

/// The attribute with each of these texts once, each of at most `limit` characters, at most `most` of them. `None`: there
/// is no text.
pub(super) fn joint<'t>(
    texts: impl Iterator<Item = &'t str>,
    limit: usize,
    most: usize,
) -> Option<Attribute> {
    let mut values: Vec<String> = texts
        .map(|text| ascii(text, limit))
        .filter(|text| !text.trim().is_empty())
        .collect();
    values.sort();
    values.dedup();
    values.truncate(most);
    match values.len() {
        0 | 1 => values.pop().map(Attribute::One),
        _ => Some(Attribute::Many(values)),
    }
}
