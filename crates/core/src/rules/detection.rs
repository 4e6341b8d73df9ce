//! The structure of a parsed detection: its fields, and whether the condition requires or excludes them.
//!
//! Nothing is evaluated here. Which records can match a detection is decided by `prefilter`.

use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections};

/// One field with its values, in a selection that the condition uses.
#[derive(Debug, Clone, Copy)]
pub(super) struct FieldTest<'d> {
    /// The name of the selection.
    pub selection: &'d str,
    /// Field, modifiers and values.
    pub item: &'d DetectionItem,
    /// Whether the condition requires it; under `not`, it excludes it.
    pub positive: bool,
    /// The mapping that contains the item: all of its items must match together.
    pub mapping: &'d [DetectionItem],
}

/// Whether an item tests this member of a record, regardless of case.
pub(super) fn is_about(item: &DetectionItem, member: &str) -> bool {
    item.field
        .name
        .as_deref()
        .is_some_and(|name| name.eq_ignore_ascii_case(member))
}

/// Every field of the selections that a condition uses. A selection that is both required and excluded yields
/// its fields twice.
pub(super) fn field_tests(detections: &Detections) -> Vec<FieldTest<'_>> {
    let mut found = Vec::new();
    for (selection, positive) in used_selections(detections) {
        if let Some((selection, detection)) = detections.named.get_key_value(selection) {
            collect(selection, detection, positive, &mut found);
        }
    }
    found
}

/// The selections that the conditions use, sorted by name, each with whether it is required (or excluded).
pub(super) fn used_selections(detections: &Detections) -> Vec<(&str, bool)> {
    fn walk<'d>(
        condition: &'d ConditionExpr,
        detections: &'d Detections,
        positive: bool,
        found: &mut Vec<(&'d str, bool)>,
    ) {
        match condition {
            ConditionExpr::And(parts) | ConditionExpr::Or(parts) => parts
                .iter()
                .for_each(|part| walk(part, detections, positive, found)),
            ConditionExpr::Not(part) => walk(part, detections, !positive, found),
            ConditionExpr::Identifier(name) => found.push((name, positive)),
            ConditionExpr::Selector { pattern, .. } => found.extend(
                detections
                    .named
                    .keys()
                    .filter(|name| pattern.matches_detection_name(name))
                    .map(|name| (name.as_str(), positive)),
            ),
        }
    }
    let mut found = Vec::new();
    for condition in &detections.conditions {
        walk(condition, detections, true, &mut found);
    }
    found.sort_unstable();
    found.dedup();
    found
}

fn collect<'d>(
    selection: &'d str,
    detection: &'d Detection,
    positive: bool,
    found: &mut Vec<FieldTest<'d>>,
) {
    match detection {
        Detection::AllOf(items) => found.extend(items.iter().map(|item| FieldTest {
            selection,
            item,
            positive,
            mapping: items,
        })),
        Detection::AnyOf(parts) | Detection::And(parts) => parts
            .iter()
            .for_each(|inner| collect(selection, inner, positive, found)),
        Detection::ArrayMatch { body, .. } => collect(selection, body, positive, found),
        Detection::Conditional { named, .. } => named
            .values()
            .for_each(|inner| collect(selection, inner, positive, found)),
        Detection::Keywords(_) => {}
    }
}

/// Whether the detection requires one of at most three event names.
pub(super) fn is_about_one_call(detections: &Detections) -> bool {
    let names: usize = field_tests(detections)
        .iter()
        .filter(|test| test.positive && is_about(test.item, "eventName"))
        .map(|test| test.item.values.len())
        .sum();
    (1..=3).contains(&names)
}
