//! Expectations: what an item of a rule expects of a record, in the words of an explanation.
//!
//! The compiled form of an item has its patterns in lower case and joined into sets, and no longer knows whether all of
//! them or none must match. So an expectation is made from the parsed item, with the patterns as the rule file writes
//! them. What a record has instead is in [`super::explain`].

use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue, SpecialChar, StringPart};

use crate::text::one_line;

/// Maximum length of the values of an item, in characters.
const MAX_VALUES: usize = 120;

/// What an item expects of its field, after "expected".
pub(super) fn of_field(item: &DetectionItem) -> String {
    let has = |modifier| item.field.has_modifier(modifier);
    if has(Modifier::Exists) {
        return match item.values.as_slice() {
            [SigmaValue::Bool(false)] => "it not to exist".into(),
            _ => "it to exist".into(),
        };
    }
    if item.values == [SigmaValue::Null] {
        return "null or a missing member".into();
    }
    // The names of watched resources replace a placeholder, and there are none.
    if item.values.is_empty() {
        return "the name of a watched resource, and no name is configured".into();
    }
    let is_negated = is_negated(item);
    let values = values(item);
    if let Some(verb) = verb(item) {
        let to = if is_negated { "it not to" } else { "it to" };
        return format!("{to} {verb} {values}");
    }
    let of = item
        .field
        .modifiers
        .iter()
        .find_map(|modifier| part_of_time(*modifier));
    let expected = match (comparison(item), of) {
        (Some(sign), Some(part)) => format!("its {part} to be {sign} {values}"),
        (None, Some(part)) => format!("its {part} to be {values}"),
        (Some(sign), None) => format!("a number {sign} {values}"),
        (None, None) if has(Modifier::Cidr) => format!("an address in {values}"),
        (None, None) => values,
    };
    if is_negated {
        format!("anything but {expected}")
    } else {
        expected
    }
}

/// What an item expects of the texts of a record, after "text".
pub(super) fn of_text(item: &DetectionItem) -> String {
    match verb(item) {
        Some("match") => format!("that matches {}", values(item)),
        _ => format!("with {}", values(item)),
    }
}

/// What a list of keywords expects of the texts of a record, after "text".
pub(super) fn of_keywords(keywords: &[SigmaValue]) -> String {
    let all: Vec<String> = keywords.iter().map(quoted).collect();
    format!("with {}", joined(&all, "one of "))
}

/// Whether an item is fulfilled by what it names, or by anything else.
pub(super) fn is_negated(item: &DetectionItem) -> bool {
    item.field.has_modifier(Modifier::Neq)
}

fn verb(item: &DetectionItem) -> Option<&'static str> {
    item.field.modifiers.iter().find_map(|modifier| {
        Some(match modifier {
            Modifier::Contains => "contain",
            Modifier::StartsWith => "start with",
            Modifier::EndsWith => "end with",
            Modifier::Re => "match",
            _ => return None,
        })
    })
}

fn comparison(item: &DetectionItem) -> Option<&'static str> {
    item.field.modifiers.iter().find_map(|modifier| {
        Some(match modifier {
            Modifier::Gt => ">",
            Modifier::Gte => ">=",
            Modifier::Lt => "<",
            Modifier::Lte => "<=",
            _ => return None,
        })
    })
}

fn part_of_time(modifier: Modifier) -> Option<&'static str> {
    Some(match modifier {
        Modifier::Minute => "minute",
        Modifier::Hour => "hour",
        Modifier::Day => "day",
        Modifier::Week => "week",
        Modifier::Month => "month",
        Modifier::Year => "year",
        _ => return None,
    })
}

/// The values of an item, and how many of them must match.
fn values(item: &DetectionItem) -> String {
    let is_bare = [Modifier::Re, Modifier::Cidr]
        .into_iter()
        .any(|modifier| item.field.has_modifier(modifier))
        || comparison(item).is_some();
    let all: Vec<String> = item
        .values
        .iter()
        .map(|value| match value {
            SigmaValue::String(text) if is_bare => text.original.clone(),
            other => quoted(other),
        })
        .collect();
    let quantifier = match (is_negated(item), verb(item)) {
        _ if item.field.has_modifier(Modifier::All) => "all of ",
        (true, Some(_)) => "any of ",
        (true, None) => "",
        (false, _) => "one of ",
    };
    joined(&all, quantifier)
}

fn joined(all: &[String], quantifier: &str) -> String {
    let values = one_line(&all.join(", "), MAX_VALUES);
    match all {
        [_] => values,
        _ => format!("{quantifier}{values}"),
    }
}

fn quoted(value: &SigmaValue) -> String {
    match value {
        SigmaValue::String(text) => format!("{:?}", one_line(&pattern(text), MAX_VALUES)),
        SigmaValue::Integer(number) => number.to_string(),
        SigmaValue::Float(number) => number.to_string(),
        SigmaValue::Bool(flag) => flag.to_string(),
        SigmaValue::Null => "null".into(),
    }
}

/// A pattern with the escapes that tell its characters from wildcards. The built-in rules are not embedded with them.
fn pattern(text: &SigmaString) -> String {
    let mut pattern = String::new();
    for part in &text.parts {
        match part {
            StringPart::Plain(plain) => {
                pattern.push_str(&plain.replace('*', "\\*").replace('?', "\\?"));
            }
            StringPart::Special(SpecialChar::WildcardMulti) => pattern.push('*'),
            StringPart::Special(SpecialChar::WildcardSingle) => pattern.push('?'),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use rsigma_parser::FieldSpec;

    use super::*;

    fn item(modifiers: &[Modifier], values: &[SigmaValue]) -> DetectionItem {
        DetectionItem {
            field: FieldSpec::new(Some("f".into()), modifiers.to_vec()),
            values: values.to_vec(),
        }
    }

    fn text(text: &str) -> SigmaValue {
        SigmaValue::String(SigmaString::new(text))
    }

    #[test]
    fn a_field_is_expected_as_the_rule_file_writes_it() {
        use Modifier::{All, Cidr, Contains, EndsWith, Exists, Gte, Hour, Lt, Neq, Re, StartsWith};
        let (a, b) = (text("DeleteHsm"), text("Delete*"));
        for (modifiers, values, expected) in [
            (&[][..], vec![a.clone()], "\"DeleteHsm\""),
            (
                &[],
                vec![a.clone(), b.clone()],
                "one of \"DeleteHsm\", \"Delete*\"",
            ),
            (
                &[],
                vec![text("a\\*b?\\?"), SigmaValue::Integer(5)],
                "one of \"a\\\\*b?\\\\?\", 5",
            ),
            (&[], vec![SigmaValue::Bool(true)], "true"),
            (&[], vec![SigmaValue::Null], "null or a missing member"),
            (
                &[],
                vec![],
                "the name of a watched resource, and no name is configured",
            ),
            (&[Neq], vec![a.clone()], "anything but \"DeleteHsm\""),
            (
                &[Neq],
                vec![a.clone(), b.clone()],
                "anything but \"DeleteHsm\", \"Delete*\"",
            ),
            (&[Contains], vec![a.clone()], "it to contain \"DeleteHsm\""),
            (
                &[Contains, All],
                vec![a.clone(), text("HSM")],
                "it to contain all of \"DeleteHsm\", \"HSM\"",
            ),
            (
                &[StartsWith, Neq],
                vec![a.clone(), text("HSM")],
                "it not to start with any of \"DeleteHsm\", \"HSM\"",
            ),
            (&[EndsWith], vec![text("Hsm")], "it to end with \"Hsm\""),
            (
                &[Re],
                vec![text("^Delete\\w+$")],
                "it to match ^Delete\\w+$",
            ),
            (
                &[Cidr],
                vec![text("10.0.0.0/8"), text("2001:db8::/32")],
                "an address in one of 10.0.0.0/8, 2001:db8::/32",
            ),
            (&[Lt], vec![SigmaValue::Integer(7)], "a number < 7"),
            (&[Lt], vec![text("7")], "a number < 7"),
            (
                &[Hour, Gte],
                vec![SigmaValue::Integer(22)],
                "its hour to be >= 22",
            ),
            (&[Hour], vec![SigmaValue::Integer(3)], "its hour to be 3"),
            (&[Exists], vec![SigmaValue::Bool(true)], "it to exist"),
            (&[Exists], vec![SigmaValue::Bool(false)], "it not to exist"),
        ] {
            assert_eq!(
                of_field(&item(modifiers, &values)),
                expected,
                "{modifiers:?}"
            );
        }
        let many = vec![text("abcdefghij"); 20];
        assert_eq!(of_field(&item(&[], &many)).chars().count(), 7 + MAX_VALUES);
    }

    #[test]
    fn texts_are_expected_as_the_rule_file_writes_them() {
        let keywords = [text("AdminUser"), text("a*")];
        assert_eq!(of_keywords(&keywords), "with one of \"AdminUser\", \"a*\"");
        assert_eq!(of_keywords(&keywords[..1]), "with \"AdminUser\"");
        let of = |modifier| of_text(&item(&[modifier], &keywords[..1]));
        assert_eq!(of(Modifier::Re), "that matches AdminUser");
        assert_eq!(of(Modifier::Contains), "with \"AdminUser\"");
    }
}
