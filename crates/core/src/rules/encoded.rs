//! Encodings: the modifiers that transform the values of a rule (`base64`, `base64offset`, `wide`, `utf16`,
//! `utf16be`, `windash`).
//!
//! The engine supports them, but some of its values differ from the specification. Here, the values are encoded and
//! the modifiers removed before the engine compiles the rule. A value that cannot be encoded is rejected.
//! Source: Sigma Modifiers Appendix 2.1, "Value Modifiers"; for base64 offsets and dashes, pySigma, the reference
//! implementation.

use base64::{Engine, engine::general_purpose::STANDARD};
use rsigma_parser::{DetectionItem, FieldSpec, Modifier, SigmaString, SigmaValue, StringPart};

/// The characters with which an option of a Windows program may start.
const DASHES: [char; 5] = ['-', '/', '\u{2013}', '\u{2014}', '\u{2015}'];
/// Maximum number of variants of a value: those of four options.
const MAX_VARIANTS: usize = 625;
/// Minimum length of a base64 substring; shorter ones occur in most texts.
const MIN_BASE64: usize = 3;

/// A value between two modifiers.
enum Value {
    /// Variants of a text, which may have wildcards.
    Text(Vec<Vec<StringPart>>),
    Bytes(Vec<u8>),
}

/// The item with its values encoded, as one item or, with `all`, one for each value. `None` if it has no encodings.
///
/// # Errors
/// The reason why an encoding cannot be applied.
pub(super) fn encoded(item: &DetectionItem) -> Result<Option<Vec<DetectionItem>>, String> {
    let (encodings, others): (Vec<Modifier>, Vec<Modifier>) =
        item.field.modifiers.iter().partition(|it| is_encoding(it));
    if encodings.is_empty() {
        return Ok(None);
    }
    let count = |kinds: &[Modifier]| encodings.iter().filter(|it| kinds.contains(it)).count();
    if count(&[Modifier::Wide, Modifier::Utf16, Modifier::Utf16be]) > 1
        || (count(&[Modifier::Base64]) > 0 && count(&[Modifier::Base64Offset]) > 0)
    {
        return Err("expected one encoding of each kind, found two".into());
    }
    let mut operators = item
        .field
        .modifiers
        .iter()
        .skip_while(|modifier| !is_operator(modifier));
    if let Some(late) = operators.find(|modifier| is_encoding(modifier)) {
        return Err(format!(
            "expected `{}` before `contains`, `startswith` or `endswith`, found it after them",
            name(late)
        ));
    }
    let is_known = |modifier: &Modifier| {
        is_operator(modifier) || matches!(modifier, Modifier::All | Modifier::Cased)
    };
    if let Some(other) = others.iter().find(|modifier| !is_known(modifier)) {
        return Err(format!(
            "expected `{}` without `{}`, which cannot be combined with an encoding",
            name(&encodings[0]),
            format!("{other:?}").to_lowercase()
        ));
    }
    let values = item
        .values
        .iter()
        .map(|value| variants(value, &encodings))
        .collect::<Result<Vec<_>, _>>()?;
    let is_all = others.contains(&Modifier::All);
    let modifiers: Vec<Modifier> = others
        .into_iter()
        .filter(|modifier| *modifier != Modifier::All)
        .collect();
    let with_values = |values: Vec<SigmaString>| DetectionItem {
        field: FieldSpec {
            modifiers: modifiers.clone(),
            ..item.field.clone()
        },
        values: values.into_iter().map(SigmaValue::String).collect(),
    };
    Ok(Some(if is_all {
        values.into_iter().map(with_values).collect()
    } else {
        vec![with_values(values.concat())]
    }))
}

/// Whether a modifier is an encoding.
pub(super) fn is_encoding(modifier: &Modifier) -> bool {
    !name(modifier).is_empty()
}

fn is_operator(modifier: &Modifier) -> bool {
    matches!(
        modifier,
        Modifier::Contains | Modifier::StartsWith | Modifier::EndsWith
    )
}

/// The name of an encoding; empty if the modifier is not one.
fn name(modifier: &Modifier) -> &'static str {
    match modifier {
        Modifier::Base64 => "base64",
        Modifier::Base64Offset => "base64offset",
        Modifier::Wide => "wide",
        Modifier::Utf16 => "utf16",
        Modifier::Utf16be => "utf16be",
        Modifier::WindAsh => "windash",
        _ => "",
    }
}

/// The encoded variants of a value.
fn variants(value: &SigmaValue, encodings: &[Modifier]) -> Result<Vec<SigmaString>, String> {
    let SigmaValue::String(text) = value else {
        return Err(format!(
            "expected a string for `{}`; quote the value",
            name(&encodings[0])
        ));
    };
    let mut state = Value::Text(vec![text.parts.clone()]);
    for encoding in encodings {
        state = step(state, encoding)?;
    }
    let texts = match state {
        Value::Text(texts) => texts,
        Value::Bytes(bytes) => {
            let text = String::from_utf8(bytes).map_err(|_| {
                "expected an encoding that yields text; add `base64` or `base64offset`".to_owned()
            })?;
            vec![vec![StringPart::Plain(text)]]
        }
    };
    Ok(texts
        .into_iter()
        .map(|parts| SigmaString {
            original: parts.iter().map(written).collect(),
            parts,
        })
        .collect())
}

/// A part of a text as it is written in a rule.
fn written(part: &StringPart) -> String {
    match part {
        StringPart::Plain(plain) => plain.replace('*', "\\*").replace('?', "\\?"),
        StringPart::Special(rsigma_parser::SpecialChar::WildcardMulti) => "*".into(),
        StringPart::Special(rsigma_parser::SpecialChar::WildcardSingle) => "?".into(),
    }
}

fn step(state: Value, encoding: &Modifier) -> Result<Value, String> {
    if *encoding == Modifier::WindAsh {
        return match state {
            Value::Text(texts) => {
                let mut all = Vec::new();
                for text in &texts {
                    all.extend(dashes(text));
                }
                if all.len() > MAX_VARIANTS {
                    return Err(format!(
                        "expected a value with at most {MAX_VARIANTS} variants for `windash`, found {}; write several shorter values",
                        all.len()
                    ));
                }
                Ok(Value::Text(all))
            }
            Value::Bytes(_) => Err("expected `windash` before the other encodings".into()),
        };
    }
    let mut all = Vec::new();
    let inputs: Vec<Vec<u8>> = match state {
        Value::Bytes(bytes) => vec![bytes],
        Value::Text(texts) => texts
            .iter()
            .map(|parts| plain(parts, encoding).map(String::into_bytes))
            .collect::<Result<_, _>>()?,
    };
    for input in inputs {
        match encoding {
            Modifier::Base64 => all.push(STANDARD.encode(&input)),
            Modifier::Base64Offset => all.extend(offsets(&input)?),
            _ => {
                let text = String::from_utf8(input).map_err(|_| {
                    format!(
                        "expected `{}` before an encoding that yields bytes",
                        name(encoding)
                    )
                })?;
                let mut units: Vec<u16> = text.encode_utf16().collect();
                if *encoding == Modifier::Utf16 {
                    units.insert(0, 0xfeff);
                }
                let bytes = units.into_iter().flat_map(|unit| match encoding {
                    Modifier::Utf16be => unit.to_be_bytes(),
                    _ => unit.to_le_bytes(),
                });
                return Ok(Value::Bytes(bytes.collect()));
            }
        }
    }
    Ok(Value::Text(
        all.into_iter()
            .map(|text| vec![StringPart::Plain(text)])
            .collect(),
    ))
}

fn plain(parts: &[StringPart], encoding: &Modifier) -> Result<String, String> {
    parts
        .iter()
        .map(|part| match part {
            StringPart::Plain(text) => Ok(text.as_str()),
            StringPart::Special(_) => Err(format!(
                "expected a value without wildcards for `{}`; write \\* for the character `*`",
                name(encoding)
            )),
        })
        .collect()
}

/// The base64 characters that depend only on the value, for each alignment of the value to three bytes.
fn offsets(value: &[u8]) -> Result<Vec<String>, String> {
    const STARTS: [usize; 3] = [0, 2, 3];
    const ENDS: [usize; 3] = [0, 3, 2];
    let too_short = || "expected a value of at least three bytes for `base64offset`";
    (0..3)
        .map(|offset| {
            let mut shifted = vec![b' '; offset];
            shifted.extend(value);
            let text = STANDARD.encode(&shifted);
            let end = text.len() - ENDS[shifted.len() % 3];
            let kept = text.get(STARTS[offset]..end).unwrap_or_default();
            if kept.len() < MIN_BASE64 {
                return Err(too_short().to_owned());
            }
            Ok(kept.to_owned())
        })
        .collect()
}

/// The variants of a text, with each leading dash of an option replaced by each of [`DASHES`].
fn dashes(parts: &[StringPart]) -> Vec<Vec<StringPart>> {
    parts.iter().fold(vec![Vec::new()], |texts, part| {
        let forms: Vec<StringPart> = match part {
            StringPart::Plain(text) => forms(text).into_iter().map(StringPart::Plain).collect(),
            special => vec![special.clone()],
        };
        // One more than the maximum is enough to reject the value.
        texts
            .iter()
            .flat_map(|text| {
                forms
                    .iter()
                    .map(move |form| [text.as_slice(), std::slice::from_ref(form)].concat())
            })
            .take(MAX_VARIANTS + 1)
            .collect()
    })
}

fn forms(text: &str) -> Vec<String> {
    let is_alphanumeric = |c: char| c.is_alphanumeric() || c == '_';
    let mut forms = vec![String::new()];
    let mut before: Option<char> = None;
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let is_dash = matches!(c, '-' | '/')
            && !before.is_some_and(is_alphanumeric)
            && rest.peek().copied().is_some_and(is_alphanumeric);
        if is_dash {
            forms = forms
                .iter()
                .flat_map(|form| DASHES.map(|dash| format!("{form}{dash}")))
                .take(MAX_VARIANTS + 1)
                .collect();
        } else {
            forms.iter_mut().for_each(|form| form.push(c));
        }
        before = Some(c);
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(modifiers: &[Modifier], value: &str) -> Result<Vec<String>, String> {
        let item = DetectionItem {
            field: FieldSpec {
                name: Some("f".into()),
                modifiers: modifiers.to_vec(),
            },
            values: vec![SigmaValue::String(SigmaString::new(value))],
        };
        let texts = |item: &DetectionItem| -> Vec<String> {
            item.values
                .iter()
                .map(|value| match value {
                    SigmaValue::String(text) => text.original.clone(),
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        encoded(&item).map(|items| items.unwrap().iter().flat_map(texts).collect())
    }

    /// The expected values are from pySigma.
    #[test]
    fn values_are_encoded_as_by_pysigma() {
        use Modifier::{Base64, Base64Offset, Contains, Utf16, Utf16be, Wide, WindAsh};
        for (modifiers, value, expected) in [
            (vec![Base64], "foobar", vec!["Zm9vYmFy"]),
            (
                vec![Base64Offset, Contains],
                "foobar",
                vec!["Zm9vYmFy", "Zvb2Jhc", "mb29iYX"],
            ),
            (
                vec![Base64Offset],
                "foobars",
                vec!["Zm9vYmFyc", "Zvb2Jhcn", "mb29iYXJz"],
            ),
            (
                vec![Base64Offset],
                "foobarss",
                vec!["Zm9vYmFyc3", "Zvb2JhcnNz", "mb29iYXJzc"],
            ),
            (vec![Wide, Base64], "ab", vec!["YQBiAA=="]),
            (vec![Utf16be, Base64], "ab", vec!["AGEAYg=="]),
            (vec![Utf16, Base64], "ab", vec!["//5hAGIA"]),
            (vec![Wide], "a\\*", vec!["a\0\\*\0"]),
            (
                vec![WindAsh, Contains],
                " -x",
                vec![" -x", " /x", " \u{2013}x", " \u{2014}x", " \u{2015}x"],
            ),
            (
                vec![WindAsh],
                "*/x?",
                vec!["*-x?", "*/x?", "*\u{2013}x?", "*\u{2014}x?", "*\u{2015}x?"],
            ),
            (vec![WindAsh], "a-b/c -", vec!["a-b/c -"]),
        ] {
            assert_eq!(
                values(&modifiers, value),
                Ok(expected.into_iter().map(str::to_owned).collect()),
                "{modifiers:?} {value}"
            );
        }
        assert_eq!(values(&[WindAsh], "-a -b").unwrap().len(), 25);
        assert_eq!(values(&[WindAsh, Base64], "-a").unwrap()[1], "L2E=");
    }

    #[test]
    fn values_without_an_encoding_are_rejected() {
        use Modifier::{Base64, Base64Offset, Contains, Re, Utf16, Wide, WindAsh};
        for (modifiers, value, expected) in [
            (vec![Base64], "foo*", "without wildcards"),
            (vec![Wide], "foo?", "without wildcards"),
            (vec![Base64Offset], "ab", "at least three bytes"),
            (vec![Contains, Base64], "foobar", "before `contains`"),
            (
                vec![Base64, Re],
                "foobar",
                "cannot be combined with an encoding",
            ),
            (vec![Utf16], "foobar", "add `base64`"),
            (vec![Wide, WindAsh], "-a", "before the other encodings"),
            (vec![WindAsh], "-a -b -c -d -e", "at most 625 variants"),
        ] {
            let error = values(&modifiers, value).unwrap_err();
            assert!(error.contains(expected), "{modifiers:?}: {error}");
        }
    }

    /// One of the three forms is found at every position of the value in the encoded text.
    #[test]
    fn every_alignment_is_found() {
        for value in ["abc", "foobar", "foobars", "12345678"] {
            let forms = values(&[Modifier::Base64Offset, Modifier::Contains], value).unwrap();
            for before in 0..4 {
                for after in 0..4 {
                    let text = STANDARD.encode(format!(
                        "{}{value}{}",
                        "x".repeat(before),
                        "y".repeat(after)
                    ));
                    assert!(
                        forms.iter().any(|form| text.contains(form)),
                        "{text} {forms:?}"
                    );
                }
            }
        }
    }
}
