//! Comparisons of two fields (`fieldref`).
//!
//! The engine compares two fields only if both have a single value of the same type. It would not match a list,
//! or an account ID that one log pipeline writes as a number. Here, a comparison becomes a virtual field whose
//! name contains both paths, and [`super::view`] returns true or false as its value.
//! Source: Sigma Modifiers Appendix 2.1, `fieldref`.

use rsigma_eval::event::EventValue;
use rsigma_ir::{IrDetectionItem, IrMatcher, IrStrOp};

/// Separates the parts of a virtual field's name. No member of a record has it in its name.
const SEPARATOR: char = '\u{1f}';

/// Rewrites an item that refers to other fields.
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
    let mut name = format!("{left}{SEPARATOR}{quantifier}");
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
        name.push_str(&format!("{SEPARATOR}{case}{op} {field}"));
    }
    Some(name)
}

/// The compared field, and a description of what it is compared with; `None` if the field is not virtual.
pub(super) fn described(field: &str) -> Option<(&str, String)> {
    let (left, rest) = field.split_once(SEPARATOR)?;
    let (quantifier, rights) = rest.split_once(SEPARATOR)?;
    let joint = if quantifier == "all" { " and " } else { " or " };
    Some((left, rights.replace(SEPARATOR, joint)))
}

/// The value of a virtual field; `None` if the field is not virtual. `values` returns the values of a field, an
/// array if there is a list on its path. One matching pair of values is enough; a field without a value matches
/// nothing.
pub(super) fn value<'v>(
    field: &str,
    values: impl Fn(&str) -> Option<EventValue<'v>>,
) -> Option<bool> {
    let (left, rest) = field.split_once(SEPARATOR)?;
    let mut parts = rest.split(SEPARATOR);
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
        compared.all(|is_match| is_match)
    } else {
        compared.any(|is_match| is_match)
    })
}

/// A single value.
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

    /// Whether it is a number, and the other one is equal or is a string with the same number.
    fn is_number(&self, other: &Scalar) -> bool {
        self.number
            .is_some_and(|number| other.number == Some(number) || other.text.parse() == Ok(number))
    }
}
