//! The language: what of Sigma the engine does as the specification says, what it is helped with here, and
//! what is refused.
//!
//! The engine takes some documents that it then evaluates otherwise than Sigma means. Nothing of that may
//! pass silently: a detection is looked at before it is compiled, rewritten where the same can be said in
//! a way the engine understands, and refused with its place where it cannot.
//! Source: Sigma Rules Specification and Modifiers Appendix 2.1.

mod items;

use rsigma_parser::{Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaValue};

use super::{
    document::Origin,
    problem::{Problem, Weight, nearest},
    selector,
    watched::Watched,
};

/// Modifiers as rules write them.
const MODIFIERS: &[&str] = &[
    "all",
    "base64",
    "base64offset",
    "cased",
    "cidr",
    "contains",
    "day",
    "dotall",
    "endswith",
    "exists",
    "expand",
    "fieldref",
    "gt",
    "gte",
    "hour",
    "i",
    "ignorecase",
    "lt",
    "lte",
    "m",
    "minute",
    "month",
    "multiline",
    "neq",
    "re",
    "s",
    "startswith",
    "utf16",
    "utf16be",
    "utf16le",
    "week",
    "wide",
    "windash",
    "year",
];

/// Modifiers that do not exist: the parser finds them too, but not where they stand.
pub(super) fn modifiers(origin: &Origin) -> Vec<Problem> {
    let mut problems = Vec::new();
    for section in ["detection", "filter"] {
        for (path, line) in origin.lines.below(&[section]) {
            // Only keys carry modifiers; in `filter.rules` stand no fields.
            let Some((_, modifiers)) = path.last().and_then(|key| key.split_once('|')) else {
                continue;
            };
            for modifier in modifiers.split('|') {
                if modifier.parse::<Modifier>().is_ok() {
                    continue;
                }
                let hint = match nearest(modifier, MODIFIERS.iter().copied()) {
                    _ if modifier == "not" => {
                        "a modifier cannot negate: write `not` in the condition".to_owned()
                    }
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known are {}", MODIFIERS.join(", ")),
                };
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                problems.push(origin.problem_at(
                    Weight::Error,
                    line,
                    &path,
                    format!("expected a modifier of Sigma, found {modifier:?}"),
                    Some(&hint),
                ));
            }
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// Mappings and lists within a field's value: Sigma writes a path with dots, and the engine would compare with
/// the mapping's text.
pub(super) fn nested(origin: &Origin) -> Vec<Problem> {
    let mut problems = Vec::new();
    for section in ["detection", "filter"] {
        for (path, line) in origin.lines.below(&[section]) {
            let is_index = |name: &String| name.bytes().all(|b| b.is_ascii_digit());
            let part = path.get(1).map_or("", String::as_str);
            if matches!(part, "condition" | "timeframe" | "rules") {
                continue;
            }
            // A part is a mapping, or a list of mappings; behind its field come at most the places in a list.
            let mut rest = path[2..].iter().skip_while(|name| is_index(name));
            let Some(field) = rest.next() else { continue };
            let inner: Vec<&String> = rest.collect();
            let is_nested = match inner.as_slice() {
                [] => field == "<<" || origin.lines.is_empty_mapping(path),
                [place] => !is_index(place) || origin.lines.is_structure(path),
                _ => false,
            };
            if is_nested {
                let member = inner.last().map_or("", |name| name.as_str());
                let hint = if field == "<<" {
                    "write the members here; merging is not part of Sigma".to_owned()
                } else if inner.iter().all(|name| is_index(name)) {
                    "write all values in one list".to_owned()
                } else {
                    format!("write a path with dots: `{field}.{member}: ...`")
                };
                problems.push(origin.problem_at(
                    Weight::Error,
                    line,
                    &[section, part, field],
                    if inner.iter().all(|name| is_index(name)) && field != "<<" {
                        "expected a value or a list of values, found a list or a mapping within"
                    } else {
                        "expected a value or a list of values, found a mapping"
                    },
                    Some(&hint),
                ));
            }
        }
    }
    problems.sort_by_key(|problem| problem.line);
    problems
}

/// Makes a detection such as the engine evaluates as Sigma means it; gives what cannot be.
pub(super) fn prepare(
    origin: &Origin,
    section: &str,
    detections: &mut Detections,
    watched: &Watched,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    if detections.timeframe.is_some() {
        problems.push(origin.problem(
            Weight::Error,
            &[section, "timeframe"],
            "counts over time, which Sigma has dropped and this function cannot do",
            Some("write a rule for the single call"),
        ));
    }
    let mut names: Vec<String> = detections.named.keys().cloned().collect();
    names.sort();
    if detections.timeframe.is_none() && origin.lines.has(&[section, "timeframe"]) {
        problems.push(origin.error(
            &[section, "timeframe"],
            "is a part with a name that Sigma keeps for a time",
            Some("give the part another name"),
        ));
    }
    if detections.conditions.is_empty() {
        problems.push(origin.error(
            &[section, "condition"],
            "is an empty list, which nothing can match",
            Some("expected a condition, such as the name of a part"),
        ));
    }
    for condition in &mut detections.conditions {
        match selector::written_out(condition, section, &names) {
            Ok(plain) => *condition = plain,
            Err((message, hint)) => {
                problems.push(origin.error(&[section, "condition"], message, Some(hint)))
            }
        }
    }
    for name in names {
        if let Some(detection) = detections.named.get_mut(&name) {
            let unnamed = unnamed(detection, watched);
            let mut walk = Walk {
                origin,
                part: [section, &name],
                watched,
                problems: &mut problems,
            };
            walk.detection(detection);
            if let Some(never) = unnamed {
                let part = std::mem::replace(detection, Detection::And(Vec::new()));
                *detection = Detection::And(vec![part, Detection::AllOf(vec![never])]);
            }
        }
    }
    problems
}

/// Where a part asks for watched things and not one of its kinds of thing is named here or has usual names:
/// an item that is never met. Without it, the part's branch for records that leave their parameters out
/// would tell of things that nobody asked to watch.
fn unnamed(detection: &Detection, watched: &Watched) -> Option<DetectionItem> {
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
            // Refused.
            Detection::Keywords(_)
            | Detection::ArrayMatch { .. }
            | Detection::Conditional { .. } => {}
        }
    }
    let mut found = Vec::new();
    expands(detection, &mut found);
    let is_unnamed = |value: &SigmaValue| {
        placeholder(value)
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

/// `%name%` → `name`.
fn placeholder(value: &SigmaValue) -> Option<&str> {
    match value {
        SigmaValue::String(text) => text.original.strip_prefix('%')?.strip_suffix('%'),
        _ => None,
    }
}

/// One named part of a detection on its way.
struct Walk<'w> {
    origin: &'w Origin,
    part: [&'w str; 2],
    watched: &'w Watched,
    problems: &'w mut Vec<Problem>,
}

impl Walk<'_> {
    fn refuse(&mut self, field: Option<&str>, message: String, hint: &str) {
        let line = match field {
            Some(field) => self.origin.lines.line_of_field(&self.part, field),
            None => self.origin.lines.line(&self.part),
        };
        let mut path = self.part.to_vec();
        path.extend(field);
        self.problems.push(
            self.origin
                .problem_at(Weight::Error, line, &path, message, Some(hint)),
        );
    }

    fn detection(&mut self, detection: &mut Detection) {
        match detection {
            Detection::AllOf(items) => {
                for item in items.iter_mut() {
                    self.item(item);
                }
                self.encodings(items);
                if let Some(rewritten) = keywords(items) {
                    *detection = rewritten;
                }
            }
            Detection::AnyOf(parts) | Detection::And(parts) => {
                parts.iter_mut().for_each(|part| self.detection(part));
            }
            Detection::Keywords(values) => {
                self.words(values);
            }
            Detection::ArrayMatch { field, .. } => {
                let field = field.clone();
                self.refuse(
                    Some(&field),
                    "uses a selector of list members, which no released Sigma version has".into(),
                    "write the path without brackets: a list on it stands for each of its members",
                );
            }
            Detection::Conditional { .. } => self.refuse(
                None,
                "has a condition within a part".into(),
                "name two parts, and join them in the rule's condition",
            ),
        }
    }
}

/// `'|all': [a, b]` without a field: every word must stand somewhere in the record, not all in one text as
/// the engine has it. The same as one keyword part for each word.
fn keywords(items: &mut Vec<DetectionItem>) -> Option<Detection> {
    let is_keywords = |item: &DetectionItem| item.field.name.is_none();
    if !items.iter().any(is_keywords) {
        return None;
    }
    let (words, fields): (Vec<_>, Vec<_>) =
        std::mem::take(items).into_iter().partition(is_keywords);
    let mut parts = Vec::new();
    for item in words {
        let FieldSpec { modifiers, .. } = &item.field;
        if modifiers.contains(&Modifier::All) {
            parts.extend(
                item.values
                    .into_iter()
                    .map(|word| Detection::Keywords(vec![word])),
            );
        } else if modifiers.is_empty() {
            parts.push(Detection::Keywords(item.values));
        } else {
            parts.push(Detection::AllOf(vec![item]));
        }
    }
    if !fields.is_empty() {
        parts.push(Detection::AllOf(fields));
    }
    Some(Detection::And(parts))
}
