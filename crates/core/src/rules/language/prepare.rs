//! Rewrites a detection so that the engine evaluates it as Sigma defines it.

use rsigma_parser::{Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaValue};

use super::item::{Selection, placeholder_name};
use crate::rules::{diagnostic::Diagnostic, origin::Origin, selector, watched::Watched};

/// Rewrites the detection of a section (`detection`, `filter`) in place. Returns the errors of what cannot be
/// evaluated.
pub(in crate::rules) fn prepare(
    origin: &Origin,
    section: &str,
    detections: &mut Detections,
    watched: &Watched,
) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    if detections.timeframe.is_some() {
        errors.push(origin.error(
            &[section, "timeframe"],
            "expected a detection without a timeframe; counts over time are not supported",
            Some("write a rule that matches a single call"),
        ));
    }
    let mut names: Vec<String> = detections.named.keys().cloned().collect();
    names.sort();
    if detections.timeframe.is_none() && origin.lines.has(&[section, "timeframe"]) {
        errors.push(origin.error(
            &[section, "timeframe"],
            "expected the name of a selection, found the reserved name timeframe",
            Some("rename the selection"),
        ));
    }
    if detections.conditions.is_empty() {
        errors.push(origin.error(
            &[section, "condition"],
            "expected a condition, found an empty list",
            Some("write a condition, such as the name of a selection"),
        ));
    }
    for condition in &mut detections.conditions {
        match selector::expanded(condition, section, &names) {
            Ok(expanded) => *condition = expanded,
            Err((message, hint)) => {
                errors.push(origin.error(&[section, "condition"], message, Some(hint)))
            }
        }
    }
    for name in names {
        if let Some(detection) = detections.named.get_mut(&name) {
            let never = never_matching_item(detection, watched);
            let mut selection = Selection {
                origin,
                path: [section, &name],
                watched,
                errors: &mut errors,
            };
            selection.rewrite(detection);
            if let Some(never) = never {
                let original = std::mem::replace(detection, Detection::And(Vec::new()));
                *detection = Detection::And(vec![original, Detection::AllOf(vec![never])]);
            }
        }
    }
    errors
}

/// An item that never matches, for a selection whose `expand` placeholders have no names and no default patterns.
/// Without it, the alternative for records with omitted parameters would match calls about resources that are not
/// watched.
fn never_matching_item(detection: &Detection, watched: &Watched) -> Option<DetectionItem> {
    fn expands<'d>(detection: &'d Detection, found: &mut Vec<&'d DetectionItem>) {
        match detection {
            Detection::AllOf(items) => found.extend(
                items
                    .iter()
                    .filter(|item| item.field.has_modifier(Modifier::Expand)),
            ),
            Detection::AnyOf(parts) | Detection::And(parts) => {
                parts.iter().for_each(|part| expands(part, found));
            }
            // Rejected by `Selection::rewrite`.
            Detection::Keywords(_)
            | Detection::ArrayMatch { .. }
            | Detection::Conditional { .. } => {}
        }
    }
    let mut found = Vec::new();
    expands(detection, &mut found);
    let is_unnamed = |value: &SigmaValue| {
        placeholder_name(value)
            .and_then(|name| watched.patterns(name))
            .is_some_and(|patterns| patterns.is_empty())
    };
    let first = *found.first()?;
    found
        .iter()
        .all(|item| item.values.iter().all(is_unnamed))
        .then(|| DetectionItem {
            field: FieldSpec {
                modifiers: Vec::new(),
                ..first.field.clone()
            },
            values: Vec::new(),
        })
}
