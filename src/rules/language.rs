//! The language: what of Sigma the engine does as the specification says, what it is helped with here, and
//! what is refused.
//!
//! The engine takes some documents that it then evaluates otherwise than Sigma means. Nothing of that may
//! pass silently: a detection is looked at before it is compiled, rewritten where the same can be said in
//! a way the engine understands, and refused with its place where it cannot.
//! Source: Sigma Rules Specification and Modifiers Appendix 2.1.

use std::net::IpAddr;

use rsigma_parser::{
    Detection, DetectionItem, Detections, FieldSpec, Modifier, SigmaString, SigmaValue,
};

use super::{
    document::{Origin, Trust},
    encoded::encoded,
    problem::{Problem, Weight, nearest},
    selector,
    watched::{self, Watched},
};
use crate::record::is_error;

/// Longest regular expression, in characters, and the most memory that one may take once compiled: a record
/// is matched in a function with little of it.
const MAX_PATTERN: usize = 4096;
const MAX_COMPILED: usize = 1024 * 1024;

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
        match selector::written_out(condition, &names) {
            Ok(plain) => *condition = plain,
            Err((message, hint)) => problems.push(origin.error(
                &[section, "condition"],
                message.replace("no part", &format!("no part of the {section}")),
                Some(hint),
            )),
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
                if values
                    .iter()
                    .any(|value| !matches!(value, SigmaValue::String(_)))
                {
                    self.refuse(
                        None,
                        "has a keyword that is no text; keywords are looked for in texts".into(),
                        "put it into quotation marks",
                    );
                }
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

    /// Puts values as encodings make them in the place of items that have some.
    fn encodings(&mut self, items: &mut Vec<DetectionItem>) {
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

    fn item(&mut self, item: &mut DetectionItem) {
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
        let is_encoding = |modifier: &Modifier| {
            matches!(
                modifier,
                Modifier::Base64
                    | Modifier::Base64Offset
                    | Modifier::Wide
                    | Modifier::Utf16
                    | Modifier::Utf16be
                    | Modifier::WindAsh
            )
        };
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
        if item
            .values
            .iter()
            .any(|value| !matches!(value, SigmaValue::String(_)))
        {
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
