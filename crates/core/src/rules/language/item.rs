//! Items of a selection: one field with its modifiers and values, rewritten or rejected.

use std::net::IpAddr;

use rsigma_parser::{Detection, DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue};

use crate::{
    record::is_error,
    rules::{
        diagnostic::{Diagnostic, Kind},
        encoded::{encoded, is_encoding},
        origin::{Origin, Trust},
        watched::{self, Watched},
    },
};

/// Longest regular expression, in characters.
const MAX_PATTERN: usize = 4096;
/// Largest compiled regular expression, in bytes; the function has little memory.
const MAX_COMPILED: usize = 1024 * 1024;

/// A selection that is being rewritten.
pub(super) struct Selection<'s> {
    pub origin: &'s Origin,
    /// Section and name.
    pub path: [&'s str; 2],
    pub watched: &'s Watched,
    pub errors: &'s mut Vec<Diagnostic>,
}

impl Selection<'_> {
    fn reject(&mut self, field: Option<&str>, message: String, hint: &str) {
        let line = match field {
            Some(field) => self.origin.lines.line_of_field(&self.path, field),
            None => self.origin.lines.line(&self.path),
        };
        let mut path = self.path.to_vec();
        path.extend(field);
        self.errors.push(
            self.origin
                .diagnostic_at(Kind::Error, line, &path, message, Some(hint)),
        );
    }

    /// Rewrites the detection of the selection in place and collects errors.
    pub(super) fn rewrite(&mut self, detection: &mut Detection) {
        match detection {
            Detection::AllOf(items) => {
                for item in items.iter_mut() {
                    self.item(item);
                }
                self.encodings(items);
                if let Some(rewritten) = separate_keywords(items) {
                    *detection = rewritten;
                }
            }
            Detection::AnyOf(parts) | Detection::And(parts) => {
                parts.iter_mut().for_each(|part| self.rewrite(part));
            }
            Detection::Keywords(values) => {
                self.keyword_values(values);
            }
            Detection::ArrayMatch { field, .. } => {
                let field = field.clone();
                self.reject(
                    Some(&field),
                    "expected a path without brackets, found a list selector, which Sigma does not have".into(),
                    "remove the brackets; a list on the path stands for each of its items",
                );
            }
            Detection::Conditional { .. } => self.reject(
                None,
                "expected fields or keywords, found a condition in a selection".into(),
                "write two selections, and join them in the condition of the rule",
            ),
        }
    }

    /// Replaces values with modifiers such as `base64` by the encoded values.
    fn encodings(&mut self, items: &mut Vec<DetectionItem>) {
        for item in std::mem::take(items) {
            match encoded(&item) {
                Ok(Some(encoded)) => items.extend(encoded),
                Ok(None) => items.push(item),
                Err(message) => self.reject(
                    item.field.name.as_deref(),
                    message,
                    "see Sigma's Modifiers Appendix",
                ),
            }
        }
    }

    fn item(&mut self, item: &mut DetectionItem) {
        let field = item.field.name.clone();
        let field = field.as_deref();
        // An empty error code or message means that there was no error, so `''` is the same as null.
        if field.is_some_and(is_error) && item.field.modifiers.is_empty() {
            for value in &mut item.values {
                if matches!(value, SigmaValue::String(text) if text.original.is_empty()) {
                    *value = SigmaValue::Null;
                }
            }
        }
        if item.values.contains(&SigmaValue::Null) && item.values.len() > 1 {
            self.reject(
                field,
                "expected null as the only value, found null in a list".into(),
                "make the selection a list of two mappings, one of them with `field: null`",
            );
        } else if item.values == [SigmaValue::Null] && !item.field.modifiers.is_empty() {
            self.reject(
                field,
                "expected null without a modifier".into(),
                "write `field: null` or `field|exists: false`",
            );
        }
        if item.values.is_empty() {
            self.reject(
                field,
                "expected a value, found an empty list".into(),
                "add a value, or remove the field",
            );
        }
        self.types(item);
        self.numbers(item);
        if item.field.name.is_none() {
            self.keyword(item);
        }
        if item.field.has_modifier(Modifier::Exists) {
            if item.field.modifiers.len() > 1 {
                self.reject(
                    field,
                    "expected `exists` without other modifiers".into(),
                    "remove the other modifiers; to negate, use `not` in the condition",
                );
            }
            let is_flag = matches!(item.values.as_slice(), [SigmaValue::Bool(_)]);
            if !is_flag {
                self.reject(
                    field,
                    "expected true or false for `exists`".into(),
                    "true: the field exists and is not null; false: it is missing or null",
                );
            }
        }
        // The parser escapes brackets.
        let bracketed = field
            .filter(|field| field.contains('['))
            .map(|field| field.replace('\\', ""));
        if bracketed.is_some() {
            self.reject(
                bracketed.as_deref(),
                "expected a path without brackets, found a list selector, which Sigma does not have".into(),
                "remove the brackets; a list on the path stands for each of its items",
            );
        }
        if item.field.has_modifier(Modifier::Cidr) {
            self.networks(item);
        }
        if item.field.has_modifier(Modifier::Expand) {
            if item.field.has_modifier(Modifier::All) {
                self.reject(
                    field,
                    "expected `expand` without `all`; the names of a placeholder are alternatives"
                        .into(),
                    "write a selection for each placeholder, and join them in the condition",
                );
            }
            self.expand(item);
        }
        if item.field.has_modifier(Modifier::Re) {
            self.regular_expressions(item);
        }
    }

    /// Rejects numbers that the engine cannot represent, and `hour` and similar modifiers on fields that need not
    /// contain a timestamp.
    fn numbers(&mut self, item: &DetectionItem) {
        /// All integers up to this one are exact as 64-bit floating-point numbers.
        const LARGEST: f64 = 9_007_199_254_740_991.0;
        const SMALLEST: f64 = 1e-9;
        let is_exact = |number: f64| number == 0.0 || (SMALLEST..=LARGEST).contains(&number.abs());
        let is_compared = item.field.modifiers.iter().any(|modifier| {
            matches!(
                modifier,
                Modifier::Gt | Modifier::Gte | Modifier::Lt | Modifier::Lte
            )
        });
        let is_wrong = |value: &SigmaValue| match value {
            SigmaValue::Integer(number) => !is_exact(*number as f64),
            SigmaValue::Float(number) => !is_exact(*number),
            SigmaValue::String(text) => {
                is_compared && text.original.parse().is_ok_and(|number| !is_exact(number))
            }
            _ => false,
        };
        if item.values.iter().any(is_wrong) {
            self.reject(
                item.field.name.as_deref(),
                "expected a number that can be compared exactly".into(),
                "quote it to compare it as a string",
            );
        }
        let reads_time = item.field.modifiers.iter().any(|modifier| {
            matches!(
                modifier,
                Modifier::Minute
                    | Modifier::Hour
                    | Modifier::Day
                    | Modifier::Week
                    | Modifier::Month
                    | Modifier::Year
            )
        });
        let is_time = |name: &str| {
            [
                "eventTime",
                "userIdentity.sessionContext.attributes.creationDate",
            ]
            .iter()
            .any(|known| known.eq_ignore_ascii_case(name))
        };
        if reads_time && !item.field.name.as_deref().is_some_and(is_time) {
            self.reject(
                item.field.name.as_deref(),
                "expected a timestamp field for this modifier".into(),
                "use minute, hour, day, week, month and year with eventTime or with the creationDate of the session",
            );
        }
    }

    /// Rejects values of a type that a modifier is not defined for. The engine would ignore the modifier.
    fn types(&mut self, item: &DetectionItem) {
        let has = |modifiers: &[Modifier]| {
            let mut found = item.field.modifiers.iter();
            found.any(|modifier| modifiers.contains(modifier))
        };
        let for_strings = has(&[
            Modifier::Contains,
            Modifier::StartsWith,
            Modifier::EndsWith,
            Modifier::Cased,
        ]);
        let is_wrong = |value: &SigmaValue| match value {
            // Null is rejected in `item`.
            SigmaValue::String(_) | SigmaValue::Null => false,
            SigmaValue::Integer(_) => has(&[Modifier::FieldRef]),
            _ => for_strings || has(&[Modifier::FieldRef]),
        };
        if item.values.iter().any(is_wrong) {
            self.reject(
                item.field.name.as_deref(),
                "expected a string for this modifier".into(),
                "quote the value, or remove the modifier",
            );
        }
    }

    /// Rejects modifiers that are not defined for keywords.
    fn keyword(&mut self, item: &DetectionItem) {
        let others: Vec<Modifier> = item
            .field
            .modifiers
            .iter()
            .copied()
            .filter(|modifier| !is_encoding(modifier) && *modifier != Modifier::Expand)
            .collect();
        let is_known = matches!(
            others.as_slice(),
            [] | [Modifier::All]
                | [Modifier::Contains]
                | [Modifier::Contains, Modifier::All]
                | [Modifier::All, Modifier::Contains]
        ) || (others.first() == Some(&Modifier::Re)
            && !others.contains(&Modifier::All)
            && item.field.modifiers.len() == others.len());
        if item.field.modifiers.is_empty() {
            self.reject(
                None,
                "expected the name of a field".into(),
                "write the name as a string; keywords are a list without keys, or the value of `'|all'`",
            );
        } else if !is_known {
            self.reject(
                None,
                "expected a modifier that is defined for keywords".into(),
                "use `all`, `contains`, encodings, or `re` without `all`",
            );
        }
        self.keyword_values(&item.values);
    }

    /// Rejects keywords that are not strings.
    fn keyword_values(&mut self, values: &[SigmaValue]) {
        let is_text = |value: &SigmaValue| matches!(value, SigmaValue::String(_));
        if !values.iter().all(is_text) {
            self.reject(None, "expected a string as a keyword".into(), "quote it");
        }
    }

    /// Replaces placeholders by the names of watched resources. The engine would take values from the record.
    fn expand(&mut self, item: &mut DetectionItem) {
        let field = item.field.name.clone();
        let mut values = Vec::new();
        for value in &item.values {
            let text = match value {
                SigmaValue::String(text) => text.original.as_str(),
                _ => "",
            };
            let patterns = placeholder_name(value).and_then(|name| self.watched.patterns(name));
            match patterns {
                Some(patterns) => values.extend(
                    patterns
                        .iter()
                        .map(|pattern| SigmaValue::String(SigmaString::new(pattern))),
                ),
                None => self.reject(
                    field.as_deref(),
                    format!("expected a known placeholder, found {text:?}"),
                    &format!("use one of {}", watched::placeholders()),
                ),
            }
        }
        // The engine requires several values for `all`. Without a value, nothing matches in either case.
        let is_empty = values.is_empty();
        item.values = values;
        item.field.modifiers.retain(|modifier| {
            *modifier != Modifier::Expand && !(is_empty && *modifier == Modifier::All)
        });
    }

    /// Rejects malformed regular expressions. The engine's own error does not name the expression.
    fn regular_expressions(&mut self, item: &DetectionItem) {
        if self.origin.trust != Trust::Checked {
            return;
        }
        for value in &item.values {
            let SigmaValue::String(text) = value else {
                continue;
            };
            if text.original.len() > MAX_PATTERN {
                self.reject(
                    item.field.name.as_deref(),
                    format!("expected a regular expression of at most {MAX_PATTERN} characters"),
                    "split it into several values, or selections joined in the condition",
                );
                continue;
            }
            if let Some(found) = other_flavor(&text.original) {
                self.reject(
                    item.field.name.as_deref(),
                    format!("expected a regular expression that PCRE and the Rust crate regex interpret alike, found {found} in {:?}", text.original),
                    "escape the characters; write flags as modifiers: `re|i`, `re|m`, `re|s`",
                );
                continue;
            }
            let built = regex::RegexBuilder::new(&text.original)
                .size_limit(MAX_COMPILED)
                .build();
            if let Err(error) = built {
                let reason = error
                    .to_string()
                    .lines()
                    .last()
                    .unwrap_or_default()
                    .trim()
                    .trim_start_matches("error: ")
                    .to_owned();
                self.reject(
                    item.field.name.as_deref(),
                    format!("expected a regular expression, found {:?}: {reason}", text.original),
                    "use the syntax of the Rust crate regex, which has no look-around and no backreferences",
                );
            }
        }
    }

    /// Rejects malformed networks. The engine's own error names neither the value nor the line.
    fn networks(&mut self, item: &DetectionItem) {
        for value in &item.values {
            let text = match value {
                SigmaValue::String(text) => text.original.clone(),
                other => format!("{other:?}"),
            };
            let is_network = text.split_once('/').is_some_and(|(address, length)| {
                let most = match address.parse() {
                    Ok(IpAddr::V4(_)) => 32,
                    Ok(IpAddr::V6(_)) => 128,
                    Err(_) => return false,
                };
                length.parse::<u8>().is_ok_and(|length| length <= most)
            });
            if !is_network {
                self.reject(
                    item.field.name.as_deref(),
                    format!(
                        "expected a network such as 10.0.0.0/8 or 2001:db8::/32, found {text:?}"
                    ),
                    "write a single address with /32 or /128",
                );
            }
        }
    }
}

/// The first construct of a regular expression that the Rust crate regex interprets differently from PCRE, which
/// Sigma uses: set operators and nested classes, word boundaries (`\<`), and flags, which the engine applies to the
/// whole expression.
fn other_flavor(expression: &str) -> Option<&'static str> {
    let bytes = expression.as_bytes();
    let (mut at, mut in_class, mut class_start) = (0, false, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest {
            [b'\\', b'<' | b'>', ..] => return Some("a word boundary (`\\<` or `\\>`)"),
            [b'\\', _, ..] => at += 1,
            [b'[', b':', ..] if in_class => {
                // A named class ends with `:]`.
                at += rest.windows(2).position(|two| two == b":]").unwrap_or(0) + 1;
            }
            [b'[', ..] if in_class => return Some("a bracket in a class"),
            [b'[', ..] => {
                in_class = true;
                // As the first character, a bracket is a literal.
                class_start = at + 1 + usize::from(rest.get(1) == Some(&b'^'));
            }
            [b']', ..] if in_class && at > class_start => in_class = false,
            [b'&', b'&', ..] | [b'-', b'-', ..] | [b'~', b'~', ..] if in_class => {
                return Some("`&&`, `--` or `~~` in a class");
            }
            [b'(', b'?', flag, ..]
                if !in_class && (flag.is_ascii_alphabetic() && *flag != b'P' || *flag == b'-') =>
            {
                return Some("flags");
            }
            _ => {}
        }
        at += 1;
    }
    None
}

/// `%name%` → `name`.
pub(super) fn placeholder_name(value: &SigmaValue) -> Option<&str> {
    match value {
        SigmaValue::String(text) => text.original.strip_prefix('%')?.strip_suffix('%'),
        _ => None,
    }
}

/// Separates keywords under `'|all'` into one list for each. Each keyword may be in another value of the record; the
/// engine would look for all of them in the same value.
fn separate_keywords(items: &mut Vec<DetectionItem>) -> Option<Detection> {
    let is_keywords = |item: &DetectionItem| item.field.name.is_none();
    if !items.iter().any(is_keywords) {
        return None;
    }
    let (keywords, fields): (Vec<_>, Vec<_>) =
        std::mem::take(items).into_iter().partition(is_keywords);
    let mut parts = Vec::new();
    for item in keywords {
        let FieldSpec { modifiers, .. } = &item.field;
        if modifiers.contains(&Modifier::All) {
            parts.extend(
                item.values
                    .into_iter()
                    .map(|keyword| Detection::Keywords(vec![keyword])),
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
