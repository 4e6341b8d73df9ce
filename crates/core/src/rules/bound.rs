//! What a detection asks of a record: its items, each with the sense in which the condition uses it. Nothing
//! is evaluated here. Which records can meet a detection at all is the business of `relevance`.

use rsigma_parser::{ConditionExpr, Detection, DetectionItem, Detections};

/// A field with its values, where it stands, and in which sense the condition uses it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Item<'d> {
    /// The named part of the detection.
    pub part: &'d str,
    /// Field, modifiers and values.
    pub item: &'d DetectionItem,
    /// Whether the condition asks for it (or, under `not`, excludes it).
    pub positive: bool,
    /// The mapping that it stands in, itself included: what must hold together with it.
    pub mapping: &'d [DetectionItem],
}

/// Whether an item is about this member of a record; names are the same in any case.
pub(super) fn is_about(item: &DetectionItem, member: &str) -> bool {
    item.field
        .name
        .as_deref()
        .is_some_and(|name| name.eq_ignore_ascii_case(member))
}

/// Every item that some condition uses. Those of a part used in both senses come twice.
pub(super) fn items(detections: &Detections) -> Vec<Item<'_>> {
    let mut found = Vec::new();
    for (part, positive) in uses(detections) {
        if let Some((part, detection)) = detections.named.get_key_value(part) {
            collect(part, detection, positive, &mut found);
        }
    }
    found
}

/// The parts that the conditions use, each with its sense; in order of names.
pub(super) fn uses(detections: &Detections) -> Vec<(&str, bool)> {
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

fn collect<'d>(part: &'d str, detection: &'d Detection, positive: bool, found: &mut Vec<Item<'d>>) {
    match detection {
        Detection::AllOf(items) => found.extend(items.iter().map(|item| Item {
            part,
            item,
            positive,
            mapping: items,
        })),
        Detection::AnyOf(parts) | Detection::And(parts) => parts
            .iter()
            .for_each(|inner| collect(part, inner, positive, found)),
        Detection::ArrayMatch { body, .. } => collect(part, body, positive, found),
        Detection::Conditional { named, .. } => named
            .values()
            .for_each(|inner| collect(part, inner, positive, found)),
        Detection::Keywords(_) => {}
    }
}

/// Whether the detection asks for an event name, or one of two or three.
pub(super) fn is_about_one_call(detections: &Detections) -> bool {
    let names: usize = items(detections)
        .iter()
        .filter(|item| item.positive && is_about(item.item, "eventName"))
        .map(|item| item.item.values.len())
        .sum();
    (1..=3).contains(&names)
}
