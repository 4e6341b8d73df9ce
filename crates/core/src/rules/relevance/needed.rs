//! What a rule needs to find somewhere in the text of a record.
//!
//! A rule that asks for `*cloudhsm-alerts*` in a parameter can only meet a record that has these letters. A
//! piece of letters, digits, `_` and `-` stands in JSON within one string or one name, however the engine
//! renders what is around it; only a number or a word may be written in more ways than one, so a piece that
//! could be of one is not looked for. Escapes by number and characters beyond ASCII are for the caller to look
//! for: with any of them, a record may have the text without showing it.
//!
//! Many rules are met where CloudTrail has omitted the parameters, too: they ask for a member that is null,
//! and a record where it is an object or a text does not meet that, unless it can stand for omitted ones.

use std::cell::OnceCell;

use memchr::memmem::{self, Finder};
use record_scan::top_level_members;
use rsigma_parser::{DetectionItem, Modifier, SigmaString, SigmaValue, StringPart};

use crate::record::{is_error, is_omittable};

/// Shorter pieces are found in any record.
const SHORTEST: usize = 4;

/// What must be so of a record.
#[derive(Debug, Clone)]
pub enum Needed {
    /// One of these, in lower case, must stand in it.
    Piece(Vec<Finder<'static>>),
    /// A member of its top level must be null or missing.
    Null(String),
}

impl Needed {
    /// What an item needs; `None`: that cannot be said.
    pub(super) fn of(item: &DetectionItem) -> Option<Needed> {
        let name = item.field.name.as_ref()?;
        if item.field.modifiers == [Modifier::Exists] {
            let wants_it = item.values == [SigmaValue::Bool(true)];
            let member = name.rsplit('.').next()?;
            let is_piece = member.bytes().all(is_of_piece) && member.len() >= SHORTEST;
            return (wants_it && is_piece).then(|| Needed::Piece(vec![finder(member)]));
        }
        if item.field.modifiers.is_empty() && item.values == [SigmaValue::Null] {
            return (!name.contains('.')).then(|| Needed::Null(name.clone()));
        }
        let is_of_text = |modifier: &Modifier| {
            matches!(
                modifier,
                Modifier::Contains
                    | Modifier::StartsWith
                    | Modifier::EndsWith
                    | Modifier::Cased
                    | Modifier::All
            )
        };
        if !item.field.modifiers.iter().all(is_of_text) {
            return None;
        }
        let pieces = item.values.iter().map(|value| match value {
            SigmaValue::String(text) => piece(text).map(finder),
            _ => None,
        });
        let pieces = pieces.collect::<Option<Vec<_>>>()?;
        (!pieces.is_empty()).then_some(Needed::Piece(pieces))
    }

    pub(super) fn is_met_by(&self, text: &RecordText<'_>) -> bool {
        match self {
            Needed::Piece(pieces) => pieces.iter().any(|piece| piece.find(text.lower).is_some()),
            Needed::Null(name) => !text.has_value(name),
        }
    }
}

/// A record as it is written, a JSON object without escapes in its names, in lower case, and as members when
/// these are needed.
pub(super) struct RecordText<'t> {
    written: &'t [u8],
    lower: &'t [u8],
    /// Names of the top level, each with the first byte of its value.
    members: OnceCell<Vec<(&'t [u8], u8)>>,
}

impl<'t> RecordText<'t> {
    pub(super) fn of(written: &'t [u8], lower: &'t [u8]) -> RecordText<'t> {
        RecordText {
            written,
            lower,
            members: OnceCell::new(),
        }
    }

    /// Whether the top level has one member of this name, and that is an object or a text that cannot stand for
    /// omitted parameters. With two of them, or a list, it is for the engine to say.
    fn has_value(&self, name: &str) -> bool {
        let is_value = |first: &u8| match first {
            b'{' => !is_omittable(name) || memmem::find(self.lower, b"\"omitted\"").is_none(),
            b'"' if is_error(name) => !self.may_be_blank(name),
            b'"' => !is_omittable(name),
            _ => false,
        };
        let all = self.members.get_or_init(|| {
            let mut all = Vec::new();
            top_level_members(self.written, &mut |name, first| all.push((name, first)));
            all
        });
        let mut found = all
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name.as_bytes()));
        matches!((found.next(), found.next()), (Some((_, first)), None) if is_value(first))
    }
}

impl RecordText<'_> {
    /// Whether a text that stands somewhere under this name may be blank.
    fn may_be_blank(&self, name: &str) -> bool {
        let start = format!("\"{}\":\"", name.to_ascii_lowercase());
        memmem::find_iter(self.lower, &start).any(|at| {
            self.lower
                .get(at + start.len())
                .is_none_or(|byte| matches!(byte, b'"' | b' ' | b'\\'))
        })
    }
}

fn finder(piece: &str) -> Finder<'static> {
    Finder::new(&piece.to_ascii_lowercase()).into_owned()
}

/// The longest piece of a text.
fn piece(text: &SigmaString) -> Option<&str> {
    text.parts
        .iter()
        .filter_map(|part| match part {
            StringPart::Plain(plain) => Some(plain),
            StringPart::Special(_) => None,
        })
        .flat_map(|plain| plain.split(|c: char| !u8::try_from(c).is_ok_and(is_of_piece)))
        .filter(|piece| piece.len() >= SHORTEST && !may_be_a_scalar(piece))
        .max_by_key(|piece| piece.len())
}

fn is_of_piece(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

/// Whether the piece may be a part of a number or of a word.
fn may_be_a_scalar(piece: &str) -> bool {
    let lower = piece.to_ascii_lowercase();
    let of_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'e' | b'-');
    lower.bytes().all(of_number)
        || ["true", "false", "null"]
            .iter()
            .any(|word| word.contains(&lower))
}
