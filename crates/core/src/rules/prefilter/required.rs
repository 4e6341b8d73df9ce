//! Requirements on the text of a record: required literals, and members that must be null.
//!
//! A rule that tests a parameter for `*cloudhsm-alerts*` only matches records that contain this literal. A literal of
//! letters, digits, `_` and `-` is contiguous in JSON, in one string or one name, and in the value of the member that the
//! rule tests: a user agent that contains it does not make it a parameter. Numbers, `true`, `false` and `null`
//! can be written in several ways, so a literal that may be part of one is not used. A record with `\u` escapes or
//! non-ASCII characters may contain a literal in another form; the caller parses every such record.
//!
//! Many rules also match records whose parameters CloudTrail omitted, by testing a member for null. A record in which
//! this member is an object or a string does not match, unless the value may stand for omitted parameters.

use std::cell::OnceCell;

use memchr::memmem::{self, Finder};
use record_scan::top_level_members;
use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue, StringPart};

use crate::record::{is_error, is_omittable};

/// Minimum length of a literal; shorter ones occur in most records.
const MIN_LITERAL: usize = 4;

/// A requirement on a record.
#[derive(Debug, Clone)]
pub(super) enum Required {
    /// The record contains one of these literals, in lower case.
    Literal(Vec<Finder<'static>>),
    /// So does the value of this field.
    LiteralIn(String, Vec<Finder<'static>>),
    /// This member of the top level is null or missing.
    Null(String),
}

impl Required {
    /// The requirement of an item, if it has one.
    pub(super) fn of(item: &DetectionItem) -> Option<Required> {
        let name = item.field.name.as_ref()?;
        if item.field.modifiers == [Modifier::Exists] {
            let must_exist = item.values == [SigmaValue::Bool(true)];
            let member = name.rsplit('.').next()?;
            let is_literal = member.bytes().all(is_literal_byte) && member.len() >= MIN_LITERAL;
            return (must_exist && is_literal).then(|| Required::Literal(vec![finder(member)]));
        }
        if item.field.modifiers.is_empty() && item.values == [SigmaValue::Null] {
            return (!name.contains('.')).then(|| Required::Null(name.clone()));
        }
        let is_for_strings = |modifier: &Modifier| {
            matches!(
                modifier,
                Modifier::Contains
                    | Modifier::StartsWith
                    | Modifier::EndsWith
                    | Modifier::Cased
                    | Modifier::All
            )
        };
        if !item.field.modifiers.iter().all(is_for_strings) {
            return None;
        }
        let literals = item.values.iter().map(|value| match value {
            SigmaValue::String(text) => literal(text).map(finder),
            _ => None,
        });
        let literals = literals.collect::<Option<Vec<_>>>()?;
        (!literals.is_empty()).then(|| Required::LiteralIn(name.clone(), literals))
    }

    pub(super) fn is_met_by(&self, text: &RecordText<'_>) -> bool {
        match self {
            Required::Literal(literals) => literals
                .iter()
                .any(|literal| literal.find(text.lower).is_some()),
            // Most records do not contain it anywhere, and their members need not be listed.
            Required::LiteralIn(field, literals) => literals.iter().any(|literal| {
                literal.find(text.lower).is_some() && text.has_literal(field, literal)
            }),
            Required::Null(name) => !text.has_value(name),
        }
    }
}

/// The JSON text of a record without escapes in its names, as written and in lower case. Its members are listed on
/// first use.
pub(super) struct RecordText<'t> {
    written: &'t [u8],
    lower: &'t [u8],
    /// Members of the top level: name and position of the value.
    members: OnceCell<Vec<(&'t [u8], usize)>>,
}

impl<'t> RecordText<'t> {
    pub(super) fn of(written: &'t [u8], lower: &'t [u8]) -> RecordText<'t> {
        RecordText {
            written,
            lower,
            members: OnceCell::new(),
        }
    }

    /// Whether the top level has exactly one member of this name, and it is an object or a string that cannot stand
    /// for omitted parameters. Two such members, or a list, are left to the engine.
    fn has_value(&self, name: &str) -> bool {
        let is_value = |at: usize| match self.written[at] {
            b'{' => !is_omittable(name) || memmem::find(self.lower, b"\"omitted\"").is_none(),
            b'"' if is_error(name) => !self.may_be_blank(name),
            b'"' => !is_omittable(name),
            _ => false,
        };
        let mut found = self
            .members()
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        matches!((found.next(), found.next()), (Some((_, at)), None) if is_value(*at))
    }

    /// Whether a member of the top level in which the engine looks for this field contains the literal: the first name of
    /// the path, or a name with dots, regardless of case. A name with an escape may be any name.
    fn has_literal(&self, field: &str, literal: &Finder<'_>) -> bool {
        let first = field.split('.').next().unwrap_or(field);
        let is_looked_in = |name: &[u8]| {
            name.eq_ignore_ascii_case(first.as_bytes())
                || name.eq_ignore_ascii_case(field.as_bytes())
                || name.contains(&b'\\')
        };
        let members = self.members();
        // A value goes up to the next one: the name between them does not matter.
        let ends = members.iter().skip(1).map(|(_, at)| *at);
        members
            .iter()
            .zip(ends.chain([self.lower.len()]))
            .any(|((name, at), end)| {
                is_looked_in(name) && literal.find(&self.lower[*at..end]).is_some()
            })
    }

    fn members(&self) -> &[(&'t [u8], usize)] {
        self.members.get_or_init(|| {
            let mut all = Vec::new();
            top_level_members(self.written, &mut |name, value| all.push((name, value)));
            all
        })
    }

    /// Whether a string with this name, at any depth, may be blank.
    fn may_be_blank(&self, name: &str) -> bool {
        let start = format!("\"{}\":\"", name.to_ascii_lowercase());
        memmem::find_iter(self.lower, &start).any(|at| {
            self.lower
                .get(at + start.len())
                .is_none_or(|byte| matches!(byte, b'"' | b' ' | b'\\'))
        })
    }
}

fn finder(literal: &str) -> Finder<'static> {
    Finder::new(&literal.to_ascii_lowercase()).into_owned()
}

/// The longest literal of a text.
fn literal(text: &SigmaString) -> Option<&str> {
    text.parts
        .iter()
        .filter_map(|part| match part {
            StringPart::Plain(plain) => Some(plain),
            StringPart::Special(_) => None,
        })
        .flat_map(|plain| plain.split(|c: char| !u8::try_from(c).is_ok_and(is_literal_byte)))
        .filter(|literal| literal.len() >= MIN_LITERAL && !may_be_a_scalar(literal))
        .max_by_key(|literal| literal.len())
}

fn is_literal_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether the literal may be part of a number or of `true`, `false` or `null`.
fn may_be_a_scalar(literal: &str) -> bool {
    let lower = literal.to_ascii_lowercase();
    let is_of_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'e' | b'-');
    lower.bytes().all(is_of_number)
        || ["true", "false", "null"]
            .iter()
            .any(|keyword| keyword.contains(&lower))
}
