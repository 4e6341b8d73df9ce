//! Comparisons of two fields (`fieldref`).
//!
//! The engine compares what stands in two fields only if both are single values of one type. A list on the way,
//! or an account that one pipeline writes as a number, would pass by. So a comparison becomes a field of its
//! own, whose name holds both paths and which the record's view answers with true or false.
//! Source: Sigma Modifiers Appendix 2.1, `fieldref`.

use rsigma_eval::event::EventValue;
use rsigma_ir::{IrDetectionItem, IrMatcher, IrStrOp};

/// Stands between the parts of such a field's name; no rule can have it in a path that finds something.
const MARK: char = '\u{1f}';

/// Makes a comparison of an item that refers to other fields.
pub(super) fn rewrite(item: &mut IrDetectionItem) {
    let Some(left) = &item.field else { return };
    if let Some(name) = name(left, &item.matcher) {
        item.field = Some(name);
        item.matcher = IrMatcher::BoolEq(true);
    } else if let IrMatcher::Not(inner) = &item.matcher
        && let Some(name) = name(left, inner)
    {
        item.field = Some(name);
        item.matcher = IrMatcher::BoolEq(false);
    }
}

fn name(left: &str, matcher: &IrMatcher) -> Option<String> {
    let (quantifier, all) = match matcher {
        IrMatcher::AllOf(all) => ("all", all.as_slice()),
        IrMatcher::AnyOf(all) => ("any", all.as_slice()),
        single => ("any", std::slice::from_ref(single)),
    };
    let mut name = format!("{left}{MARK}{quantifier}");
    for matcher in all {
        let IrMatcher::FieldRef {
            field,
            op,
            case_insensitive,
        } = matcher
        else {
            return None;
        };
        let op = match op {
            IrStrOp::Exact => "is",
            IrStrOp::Contains => "contains",
            IrStrOp::StartsWith => "startswith",
            IrStrOp::EndsWith => "endswith",
        };
        let case = if *case_insensitive { "" } else { "cased " };
        name.push_str(&format!("{MARK}{case}{op} {field}"));
    }
    Some(name)
}

/// The field that is compared, and what it is compared with, in words; `None`: it is no comparison.
pub(super) fn described(field: &str) -> Option<(&str, String)> {
    let (left, rest) = field.split_once(MARK)?;
    let (quantifier, rights) = rest.split_once(MARK)?;
    let joint = if quantifier == "all" { " and " } else { " or " };
    Some((left, rights.replace(MARK, joint)))
}

/// Whether the comparison holds that this is the name of; `None`: it is none. The values of a field are given by
/// `values`: several where a list is on the way. One of them is enough, and of a field without any value
/// nothing holds.
pub(super) fn holds<'v>(
    field: &str,
    values: impl Fn(&str) -> Option<EventValue<'v>>,
) -> Option<bool> {
    let (left, rest) = field.split_once(MARK)?;
    let mut parts = rest.split(MARK);
    let quantifier = parts.next()?;
    let found = |path: &str| {
        let mut scalars = Vec::new();
        if let Some(value) = values(path) {
            scalars_of(&value, &mut scalars);
        }
        scalars
    };
    let lefts = found(left);
    let mut compared = parts.map(|part| {
        let (case_insensitive, part) = match part.strip_prefix("cased ") {
            Some(part) => (false, part),
            None => (true, part),
        };
        let (op, right) = part.split_once(' ').unwrap_or(("is", part));
        let rights = found(right);
        lefts.iter().any(|left| {
            rights
                .iter()
                .any(|right| left.compare(right, op, case_insensitive))
        })
    });
    Some(if quantifier == "all" {
        compared.all(|holds| holds)
    } else {
        compared.any(|holds| holds)
    })
}

/// A value as it is compared.
struct Scalar {
    text: String,
    number: Option<f64>,
}

fn scalars_of(value: &EventValue<'_>, found: &mut Vec<Scalar>) {
    let (text, number) = match value {
        EventValue::Array(items) => {
            items.iter().for_each(|item| scalars_of(item, found));
            return;
        }
        EventValue::Str(text) => (text.to_string(), None),
        EventValue::Int(number) => (number.to_string(), Some(*number as f64)),
        EventValue::Float(number) => (number.to_string(), Some(*number)),
        EventValue::Bool(flag) => (flag.to_string(), None),
        _ => return,
    };
    found.push(Scalar { text, number });
}

impl Scalar {
    fn compare(&self, other: &Scalar, op: &str, case_insensitive: bool) -> bool {
        let fold = |text: &str| {
            if case_insensitive {
                text.to_lowercase()
            } else {
                text.to_owned()
            }
        };
        let (left, right) = (fold(&self.text), fold(&other.text));
        match op {
            "contains" => left.contains(&right),
            "startswith" => left.starts_with(&right),
            "endswith" => left.ends_with(&right),
            _ => left == right || self.is_number(other) || other.is_number(self),
        }
    }

    /// Whether it is a number, and the other one the same, be it written as text.
    fn is_number(&self, other: &Scalar) -> bool {
        self.number
            .is_some_and(|number| other.number == Some(number) || other.text.parse() == Ok(number))
    }
}
