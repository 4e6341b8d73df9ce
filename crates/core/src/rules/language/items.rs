//! Items of a detection: one field with its modifiers and values.
//!
//! Each is looked at by itself: what its values are made of, and whether the engine compares them as Sigma
//! means it. How parts and conditions are put together is the business of [`super`].

use std::net::IpAddr;

use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue};

use super::{Walk, placeholder};
use crate::{
    record::is_error,
    rules::{
        document::Trust,
        encoded::{encoded, is_encoding},
        watched,
    },
};

/// Longest regular expression, in characters, and the most memory that one may take once compiled: a record
/// is matched in a function with little of it.
const MAX_PATTERN: usize = 4096;
const MAX_COMPILED: usize = 1024 * 1024;

impl Walk<'_> {
    /// Puts values as encodings make them in the place of items that have some.
    pub(super) fn encodings(&mut self, items: &mut Vec<DetectionItem>) {
        for item in std::mem::take(items) {
            match encoded(&item) {
                Ok(Some(made)) => items.extend(made),
                Ok(None) => items.push(item),
                Err(message) => self.refuse(
                    item.field.name.as_deref(),
                    message,
                    "see Sigma's page on modifiers for what they can be applied to",
                ),
            }
        }
    }

    pub(super) fn item(&mut self, item: &mut DetectionItem) {
        let field = item.field.name.clone();
        let field = field.as_deref();
        // An error without a text is no error: the two are one for a rule, too.
        if field.is_some_and(is_error) && item.field.modifiers.is_empty() {
            for value in &mut item.values {
                if matches!(value, SigmaValue::String(text) if text.original.is_empty()) {
                    *value = SigmaValue::Null;
                }
            }
        }
        if item.values.contains(&SigmaValue::Null) && item.values.len() > 1 {
            self.refuse(
                field,
                "has null in a list of values, which is never compared with a missing member"
                    .into(),
                "make the part a list of two mappings, one of which has this field with null alone",
            );
        } else if item.values == [SigmaValue::Null] && !item.field.modifiers.is_empty() {
            self.refuse(
                field,
                "has null with a modifier".into(),
                "null stands alone: `field: null`; or use `field|exists: false`",
            );
        }
        if item.values.is_empty() {
            self.refuse(
                field,
                "has an empty list, which nothing can match".into(),
                "give a value, or leave the field out",
            );
        }
        self.types(item);
        self.numbers(item);
        if item.field.name.is_none() {
            self.keyword(item);
        }
        if item.field.has_modifier(Modifier::Exists) {
            if item.field.modifiers.len() > 1 {
                self.refuse(
                    field,
                    "has another modifier with `exists`".into(),
                    "use `exists` alone, and `not` in the condition",
                );
            }
            let is_flag = matches!(item.values.as_slice(), [SigmaValue::Bool(_)]);
            if !is_flag {
                self.refuse(
                    field,
                    "expected true or false for `exists`".into(),
                    "true: the field is there and not null; false: it is missing or null",
                );
            }
        }
        // The parser has escaped them.
        let bracketed = field
            .filter(|field| field.contains('['))
            .map(|field| field.replace('\\', ""));
        if bracketed.is_some() {
            self.refuse(
                bracketed.as_deref(),
                "has brackets; lists of a record have no selectors in Sigma".into(),
                "write the path without brackets: a list on it stands for each of its members",
            );
        }
        if item.field.has_modifier(Modifier::Cidr) {
            self.networks(item);
        }
        if item.field.has_modifier(Modifier::Expand) {
            if item.field.has_modifier(Modifier::All) {
                self.refuse(
                    field,
                    "has `all` with `expand`, whose names are alternatives".into(),
                    "write a part for each placeholder, and join them in the condition",
                );
            }
            self.expand(item);
        }
        if item.field.has_modifier(Modifier::Re) {
            self.regular_expressions(item);
        }
    }

    /// Numbers that the engine's own cannot hold, and parts of times that are not written as CloudTrail writes
    /// them.
    fn numbers(&mut self, item: &DetectionItem) {
        /// All whole numbers up to this are numbers of 64 bits with a fraction, too.
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
            self.refuse(
                item.field.name.as_deref(),
                "has a number that cannot be compared exactly".into(),
                "put it into quotation marks, to compare it as text",
            );
        }
        let takes_a_time_apart = item.field.modifiers.iter().any(|modifier| {
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
        if takes_a_time_apart && !item.field.name.as_deref().is_some_and(is_time) {
            self.refuse(
                item.field.name.as_deref(),
                "takes a time apart that may be written in any way".into(),
                "minute, hour, day, week, month and year are for eventTime, and for the session's creationDate",
            );
        }
    }

    /// Values that a modifier of texts or of fields has no meaning for: the engine compares them otherwise.
    fn types(&mut self, item: &DetectionItem) {
        let has = |modifiers: &[Modifier]| {
            let mut found = item.field.modifiers.iter();
            found.any(|modifier| modifiers.contains(modifier))
        };
        let of_text = has(&[
            Modifier::Contains,
            Modifier::StartsWith,
            Modifier::EndsWith,
            Modifier::Cased,
        ]);
        let is_wrong = |value: &SigmaValue| match value {
            // Null has a refusal of its own.
            SigmaValue::String(_) | SigmaValue::Null => false,
            SigmaValue::Integer(_) => has(&[Modifier::FieldRef]),
            _ => of_text || has(&[Modifier::FieldRef]),
        };
        if item.values.iter().any(is_wrong) {
            self.refuse(
                item.field.name.as_deref(),
                "has a value that is no text, with a modifier of texts".into(),
                "put the value into quotation marks, or leave the modifier out",
            );
        }
    }

    /// Keywords under modifiers: only some of them have a meaning for texts of any field.
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
            self.refuse(
                None,
                "has a key that is no field's name".into(),
                "write the name as text; keywords are a list without keys, or stand under `'|all'`",
            );
        } else if !is_known {
            self.refuse(
                None,
                "has a modifier that keywords cannot have".into(),
                "keywords may have `all`, `contains`, encodings, or `re` without `all`",
            );
        }
        self.words(&item.values);
    }

    /// Keywords are looked for in texts.
    pub(super) fn words(&mut self, values: &[SigmaValue]) {
        let is_text = |value: &SigmaValue| matches!(value, SigmaValue::String(_));
        if !values.iter().all(is_text) {
            self.refuse(
                None,
                "has a keyword that is no text; keywords are looked for in texts".into(),
                "put it into quotation marks",
            );
        }
    }

    /// The engine would fill a placeholder from the record; here the deployment's names take its place.
    fn expand(&mut self, item: &mut DetectionItem) {
        let field = item.field.name.clone();
        let mut values = Vec::new();
        for value in &item.values {
            let text = match value {
                SigmaValue::String(text) => text.original.as_str(),
                _ => "",
            };
            let patterns = placeholder(value).and_then(|name| self.watched.patterns(name));
            match patterns {
                Some(patterns) => values.extend(
                    patterns
                        .iter()
                        .map(|pattern| SigmaValue::String(SigmaString::new(pattern))),
                ),
                None => self.refuse(
                    field.as_deref(),
                    format!("expected a placeholder that is known here, found {text:?}"),
                    &format!("known are {}", watched::placeholders()),
                ),
            }
        }
        // The engine wants several values for `all`; without any, nothing is met either way.
        let is_unnamed = values.is_empty();
        item.values = values;
        item.field.modifiers.retain(|modifier| {
            *modifier != Modifier::Expand && !(is_unnamed && *modifier == Modifier::All)
        });
    }

    /// The engine's own error for these does not say which.
    fn regular_expressions(&mut self, item: &DetectionItem) {
        if self.origin.trust != Trust::Checked {
            return;
        }
        for value in &item.values {
            let SigmaValue::String(text) = value else {
                continue;
            };
            if text.original.len() > MAX_PATTERN {
                self.refuse(
                    item.field.name.as_deref(),
                    format!("has a regular expression of more than {MAX_PATTERN} characters"),
                    "write several values, or parts joined in the condition",
                );
                continue;
            }
            if let Some(found) = other_flavor(&text.original) {
                self.refuse(
                    item.field.name.as_deref(),
                    format!("has {found} in the regular expression {:?}, which Rust's crate regex reads otherwise than PCRE", text.original),
                    "escape the characters, and write flags as modifiers: `re|i`, `re|m`, `re|s`",
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
                self.refuse(
                    item.field.name.as_deref(),
                    format!("expected a regular expression, found {:?}: {reason}", text.original),
                    "the syntax is that of Rust's crate regex: no look-around and no back-references",
                );
            }
        }
    }

    /// The engine's own error says neither which value nor where.
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
                self.refuse(
                    item.field.name.as_deref(),
                    format!(
                        "expected a network such as 10.0.0.0/8 or 2001:db8::/32, found {text:?}"
                    ),
                    "a single address is written with /32, or /128",
                );
            }
        }
    }
}

/// What a regular expression has that Rust's crate regex takes for something else than PCRE, the flavor of Sigma:
/// operators and classes within a class, marks of words, and flags, which the engine takes for those of the whole
/// expression.
fn other_flavor(expression: &str) -> Option<&'static str> {
    let bytes = expression.as_bytes();
    let (mut at, mut in_class, mut class_start) = (0, false, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        match rest {
            [b'\\', b'<' | b'>', ..] => return Some("a mark of words (`\\<` or `\\>`)"),
            [b'\\', _, ..] => at += 1,
            [b'[', b':', ..] if in_class => {
                // A class by name ends with `:]`.
                at += rest.windows(2).position(|two| two == b":]").unwrap_or(0) + 1;
            }
            [b'[', ..] if in_class => return Some("a bracket within a class"),
            [b'[', ..] => {
                in_class = true;
                // A bracket that comes first is the character itself.
                class_start = at + 1 + usize::from(rest.get(1) == Some(&b'^'));
            }
            [b']', ..] if in_class && at > class_start => in_class = false,
            [b'&', b'&', ..] | [b'-', b'-', ..] | [b'~', b'~', ..] if in_class => {
                return Some("two of `&`, `-` or `~` in a row within a class");
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
