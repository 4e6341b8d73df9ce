//! Errors in the keys of a detection: unknown modifiers and nested values. The parser does not report their lines.

use rsigma_parser::Modifier;

use crate::rules::{
    diagnostic::{Diagnostic, Kind, nearest},
    origin::Origin,
};

/// All modifiers.
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

/// Modifiers that do not exist.
pub(in crate::rules) fn unknown_modifiers(origin: &Origin) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for section in ["detection", "filter"] {
        for (path, line) in origin.lines.below(&[section]) {
            // Only keys have modifiers; the items of `filter.rules` are not keys.
            let Some((_, modifiers)) = path.last().and_then(|key| key.split_once('|')) else {
                continue;
            };
            for modifier in modifiers.split('|') {
                if modifier.parse::<Modifier>().is_ok() {
                    continue;
                }
                let hint = match nearest(modifier, MODIFIERS.iter().copied()) {
                    _ if modifier == "not" => {
                        "Sigma has no modifier that negates; write `not` in the condition"
                            .to_owned()
                    }
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("use one of {}", MODIFIERS.join(", ")),
                };
                let path: Vec<&str> = path.iter().map(String::as_str).collect();
                errors.push(origin.diagnostic_at(
                    Kind::Error,
                    line,
                    &path,
                    format!("expected a Sigma modifier, found {modifier:?}"),
                    Some(&hint),
                ));
            }
        }
    }
    errors.sort_by_key(|error| error.line);
    errors
}

/// Mappings and lists in the value of a field. In Sigma, a path is written with dots; the engine would compare
/// with the text of the mapping.
pub(in crate::rules) fn nested_values(origin: &Origin) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for section in ["detection", "filter"] {
        for (path, line) in origin.lines.below(&[section]) {
            let is_index = |name: &String| name.bytes().all(|b| b.is_ascii_digit());
            let selection = path.get(1).map_or("", String::as_str);
            if matches!(selection, "condition" | "timeframe" | "rules") {
                continue;
            }
            // A selection is a mapping or a list of mappings. After a field, a path has at most a list index.
            let mut rest = path[2..].iter().skip_while(|name| is_index(name));
            let Some(field) = rest.next() else { continue };
            let inner: Vec<&String> = rest.collect();
            let is_nested = match inner.as_slice() {
                [] => field == "<<" || origin.lines.is_empty_mapping(path),
                [inner] => !is_index(inner) || origin.lines.is_structure(path),
                _ => false,
            };
            if is_nested {
                let member = inner.last().map_or("", |name| name.as_str());
                let hint = if field == "<<" {
                    "write the members here; Sigma has no YAML merge keys".to_owned()
                } else if inner.iter().all(|name| is_index(name)) {
                    "write all values in a single list".to_owned()
                } else {
                    format!("write a path with dots: `{field}.{member}: ...`")
                };
                errors.push(origin.diagnostic_at(
                    Kind::Error,
                    line,
                    &[section, selection, field],
                    if inner.iter().all(|name| is_index(name)) && field != "<<" {
                        "expected a value or a list of values, found a list with a list or a mapping in it"
                    } else {
                        "expected a value or a list of values, found a mapping"
                    },
                    Some(&hint),
                ));
            }
        }
    }
    errors.sort_by_key(|error| error.line);
    errors
}
