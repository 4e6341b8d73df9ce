//! Redaction: removes secrets from a record before any of it leaves this program.
//!
//! Secrets are recognized by the names of their members: passwords, keys and credentials, the certificates with
//! which a cluster is initialized, and the text of a resource policy. Sources: AWS CloudHSM API Reference
//! (`PreCoPassword`, `SignedCert`, `TrustAnchor`, `Policy`), CloudHSM Classic API Reference (`ConfigCred`), AWS
//! KMS API Reference (`KeyStorePassword`, `RawSecretAccessKey`).
//!
//! Redaction fails closed. A string that looks like JSON but cannot be parsed is removed as a whole, and so is a
//! string that contains the name of a secret followed by other text, in any encoding that is decoded here: the
//! secret cannot be separated reliably from the rest. Only in error messages are parts removed, because people
//! need the remainder.

use std::{
    borrow::Cow,
    sync::{LazyLock, OnceLock},
};

use base64::{
    Engine,
    alphabet::{Alphabet, STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;
use regex::{Captures, Regex, bytes};
use serde_json::{Map, Value};

use crate::json;

/// Names of secrets. Only letters and digits are compared, without case.
const SECRET_NAMES: &[&str] = &[
    "precopassword",
    "signedcert",
    "trustanchor",
    "trustanchorcertificate",
    "policy",
    "policydocument",
    "resourcepolicy",
    "configcred",
    "configfile",
];

/// Name endings of secrets: `keyStorePassword`, `rawSecretAccessKey`.
const SECRET_ENDINGS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "passcode",
    "clientsecret",
    "secretaccesskey",
    "secretkey",
    "privatekey",
    "accesstoken",
    "authtoken",
    "authorizationtoken",
    "bearertoken",
    "idtoken",
    "refreshtoken",
    "securitytoken",
    "sessiontoken",
];

/// Members whose value can be the name of another member, as in `{"name": …, "value": …}`.
const NAME_MEMBERS: &[&str] = &[
    "name",
    "key",
    "field",
    "id",
    "attribute",
    "attributename",
    "option",
    "optionname",
    "parameter",
    "parameterkey",
    "parametername",
    "property",
    "propertyname",
    "type",
];

/// The replacement for a secret.
pub const REDACTED: &str = "[redacted]";

/// Maximum number of decoding passes. Escaped text can be escaped again.
const MAX_DECODINGS: usize = 3;
/// Minimum length of text that is decoded as base64. A secret together with its name is longer.
const MIN_BASE64: usize = 16;

/// Decoders of base64 in the standard and in the URL-safe alphabet. Their tables are not made again for each text.
static BASE64_DECODERS: [GeneralPurpose; 2] =
    [base64_decoder(&STANDARD), base64_decoder(&URL_SAFE)];

const fn base64_decoder(alphabet: &Alphabet) -> GeneralPurpose {
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(alphabet, config)
}

/// Compiles a pattern. The patterns are constants, and a test compiles each of them. They are compiled on first use,
/// because that takes five milliseconds and most cold starts send no alert.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// The name of a secret within text.
const SECRET_NAME: &str = r"(?:pass[_-]?(?:words?|wd|phrase|code)|secret[\s_-]*(?:access[\s_-]*)?key|private[\s_-]*key|(?:access|auth|authorization|bearer|\bid|refresh|security|session)[_-]?token|client[\s_-]*secret|trust[\s_-]*anchor(?:[\s_-]*certificate)?|signed[\s_-]*cert|config[\s_-]*(?:cred|file))";

/// The name of a secret followed by other text. `password-rotator` does not match, because it is one identifier.
/// `policy` matches only as the name of a member, because it is a common word.
static MENTION: Search = Search::new(|| {
    format!(
        r#"(?s)(?:{SECRET_NAME}[\s:=,;|&<>(\[{{"'\\]|policy(?:[\s_-]*document)?[\\"']+\s*[:=,]).*\S"#
    )
});

/// The name of a secret in an error message.
static IN_MESSAGE: Search = Search::new(|| SECRET_NAME.to_owned());

/// An expression in lower case, to search for in any case. With Unicode's classes and letter cases, compiling it takes
/// longer than composing an alert. So text in ASCII, which nearly all is, is searched in lower case and without them.
struct Search {
    pattern: fn() -> String,
    in_ascii: OnceLock<bytes::Regex>,
    in_unicode: OnceLock<Regex>,
}

impl Search {
    const fn new(pattern: fn() -> String) -> Search {
        Search {
            pattern,
            in_ascii: OnceLock::new(),
            in_unicode: OnceLock::new(),
        }
    }

    fn is_match(&self, text: &str) -> bool {
        if text.is_ascii() {
            self.is_match_in_ascii(text)
        } else {
            self.is_match_in_unicode(text)
        }
    }

    fn is_match_in_ascii(&self, text: &str) -> bool {
        let search = self.in_ascii.get_or_init(|| {
            let pattern = (self.pattern)();
            bytes::RegexBuilder::new(&pattern)
                .unicode(false)
                .build()
                .unwrap_or_else(|error| unreachable!("{pattern}: {error}"))
        });
        search.is_match(text.to_ascii_lowercase().as_bytes())
    }

    fn is_match_in_unicode(&self, text: &str) -> bool {
        self.in_unicode
            .get_or_init(|| pattern(&format!("(?i:{})", (self.pattern)())))
            .is_match(text)
    }
}

/// The part of an error message to remove: a quoted value (`Value '…' at 'trustAnchor' failed to satisfy …`) up to
/// the name of its member, or up to the end if the message was cut before the name; and everything from the start of
/// a PEM block or a JSON document.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?is)(?<value>\bvalue\s*['\x22])(?:.*['\x22](?<member>\s*at\s*['\x22][A-Za-z0-9.]+['\x22])|.*)|-----BEGIN.*|\{.*",
    )
});

/// The name of the member that a quoted value belongs to.
static MEMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s*at\s*['\x22][A-Za-z0-9.]+['\x22]"));

/// An IAM action, such as `cloudhsm:PutResourcePolicy`.
static ACTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[a-z][a-z0-9-]+:[A-Z][A-Za-z]+\b"));

/// Removes the secrets from a value, at any depth, including JSON within strings.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => redact_object(fields),
        Value::Array(items) => {
            // A list can be a name and its value.
            let is_pair = items.iter().any(is_name);
            for item in items {
                if is_pair && !is_name(item) {
                    replace(item);
                } else {
                    redact(item);
                }
            }
        }
        Value::String(text) => {
            if let Some(redacted) = redacted_text(text) {
                *text = redacted;
            }
        }
        _ => {}
    }
}

fn redact_object(fields: &mut Map<String, Value>) {
    // `{"name": "keyStorePassword", "value": …}`
    let is_pair = fields
        .iter()
        .any(|(name, value)| NameEnd::of(name).is_one_of(NAME_MEMBERS) && is_name(value));
    for (name, inner) in fields {
        if is_secret(name) || (is_pair && !is_name(inner)) {
            replace(inner);
        } else if let (true, Value::String(message)) = (is_message(name), &mut *inner) {
            *message = message_without_secrets(message);
        } else {
            redact(inner);
        }
    }
}

fn replace(value: &mut Value) {
    if !value.is_null() {
        *value = Value::from(REDACTED);
    }
}

/// Whether a value is the name of a secret. `Policy` does not count: it is also an attribute of queues and topics,
/// and the values next to it are needed.
fn is_name(value: &Value) -> bool {
    value.as_str().is_some_and(|text| {
        text.len() <= 64 && is_secret(text) && !normalized(text).contains("policy")
    })
}

/// The text without secrets. `None`: it has none.
fn redacted_text(text: &str) -> Option<String> {
    let start =
        text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    if looks_like_json(start) {
        match json::parse(start.as_bytes()) {
            Ok(mut document) => {
                let before = document.clone();
                redact(&mut document);
                if document != before {
                    return Some(document.to_string());
                }
            }
            Err(_) if start.starts_with('"') => {}
            Err(_) => return Some(REDACTED.to_owned()),
        }
    }
    if let Some((before, _)) = text.split_once("-----BEGIN") {
        let before = redacted_text(before).unwrap_or_else(|| before.to_owned());
        return Some(format!("{before}{REDACTED}"));
    }
    // Also checked after JSON was parsed, which keeps only one of two members with the same name.
    mentions_a_secret(text).then(|| REDACTED.to_owned())
}

/// Whether a text looks like JSON. Text in brackets without quotation marks is not JSON: S3 writes such user agents.
fn looks_like_json(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'{' | b'"') => true,
        Some(b'[') => text.contains(['"', '{', '\\', '\'']),
        _ => false,
    }
}

/// Whether a text contains the name of a secret followed by other text, as it is or after decoding.
fn mentions_a_secret(text: &str) -> bool {
    let (any, all) = kinds(text);
    if any & FOLLOWS_NAME != 0 && MENTION.is_match(text) {
        return true;
    }
    if any & ESCAPE != 0 {
        let mut decoded = Cow::Borrowed(text);
        for _ in 0..MAX_DECODINGS {
            match decode(&decoded) {
                Some(further) => decoded = Cow::Owned(further),
                None => break,
            }
            if MENTION.is_match(&decoded) {
                return true;
            }
        }
    }
    all & BASE64 != 0 && from_base64(text).is_some_and(|inner| redacted_text(&inner).is_some())
}

/// What a byte may be part of, each a bit.
const FOLLOWS_NAME: u8 = 1;
const ESCAPE: u8 = 2;
const BASE64: u8 = 4;

/// The bits of each byte. Most texts of a record have no byte of one kind or another, and one look at each byte spares
/// the searches and copies that would find nothing.
const KINDS: [u8; 256] = {
    let mut kinds = [FOLLOWS_NAME | BASE64; 256];
    let mut byte = 0;
    while byte < 128 {
        let one = byte as u8;
        // As in `MENTION`.
        let follows_name = matches!(
            one,
            b'\t'
                ..=b'\r'
                    | b' '
                    | b':'
                    | b'='
                    | b','
                    | b';'
                    | b'|'
                    | b'&'
                    | b'<'
                    | b'>'
                    | b'('
                    | b'['
                    | b'{'
                    | b'"'
                    | b'\''
                    | b'\\'
        );
        let is_escape = matches!(one, b'\\' | b'&' | b'\0' | b'%');
        let is_base64 = one.is_ascii_alphanumeric()
            || matches!(one, b'+' | b'/' | b'-' | b'_' | b'=' | b'\t'..=b'\r' | b' ');
        kinds[byte] = (FOLLOWS_NAME * follows_name as u8)
            | (ESCAPE * is_escape as u8)
            | (BASE64 * is_base64 as u8);
        byte += 1;
    }
    kinds
};

/// The kinds that a byte of the text has, and those that each byte has.
fn kinds(text: &str) -> (u8, u8) {
    text.bytes().fold((0, u8::MAX), |(any, all), byte| {
        let kind = KINDS[usize::from(byte)];
        (any | kind, all & kind)
    })
}

/// Decodes one layer of JSON, percent and HTML escapes, and removes the zero bytes of UTF-16. `None`: no change.
fn decode(text: &str) -> Option<String> {
    if !text.contains(['\\', '&', '\0', '%']) {
        return None;
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['\\', '&', '\0']) {
        let (before, from) = rest.split_at(at);
        decoded.push_str(before);
        let number = |digits: &str, radix| u32::from_str_radix(digits, radix).ok();
        let escape = if let Some(digits) = from.strip_prefix("\\u").and_then(|it| it.get(..4)) {
            number(digits, 16).map(|code| (code, 6))
        } else if let Some(digits) = from.strip_prefix("\\x").and_then(|it| it.get(..2)) {
            number(digits, 16).map(|code| (code, 4))
        } else if let Some((digits, _)) = from.strip_prefix("&#x").and_then(|it| it.split_once(';'))
        {
            number(digits, 16).map(|code| (code, digits.len() + 4))
        } else if let Some((digits, _)) = from.strip_prefix("&#").and_then(|it| it.split_once(';'))
        {
            number(digits, 10).map(|code| (code, digits.len() + 3))
        } else if from.starts_with("&quot;") {
            Some((u32::from('"'), 6))
        } else {
            None
        };
        match escape {
            Some((code, length)) => {
                decoded.extend(char::from_u32(code));
                rest = &from[length..];
            }
            // Another escape, such as `\"`: only the backslash is removed.
            None => {
                if from.starts_with('&') {
                    decoded.push('&');
                }
                rest = &from[1..];
            }
        }
    }
    decoded.push_str(rest);
    let decoded = percent_decode_str(&decoded)
        .decode_utf8_lossy()
        .into_owned();
    (decoded != text).then_some(decoded)
}

/// Decodes base64 in the standard or URL-safe alphabet.
fn from_base64(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    if text.len() < MIN_BASE64 {
        return None;
    }
    BASE64_DECODERS
        .iter()
        .find_map(|decoder| String::from_utf8(decoder.decode(&text).ok()?).ok())
}

/// An error message without secrets. If the quoted value of a secret can be separated, only that value is replaced.
/// If the name of a secret occurs elsewhere in the message, the whole message is.
pub fn message_without_secrets(message: &str) -> String {
    if looks_like_json(message.trim_start()) {
        return redacted_text(message).unwrap_or_else(|| message.to_owned());
    }
    // Without IAM actions: `cloudhsm:PutResourcePolicy` is a permission and not a policy.
    let stripped = ACTION.replace_all(message, " ");
    let lower = stripped.to_ascii_lowercase();
    let is_suspicious = IN_MESSAGE.is_match(&stripped)
        || mentions_a_secret(&stripped)
        || ["policy", "value '", "value \"", "-----begin"]
            .iter()
            .any(|part| lower.contains(part));
    if !is_suspicious {
        return message.to_owned();
    }
    let cut = QUOTED.replace_all(message, |found: &Captures<'_>| {
        let group = |name| found.name(name).map_or("", |part| part.as_str());
        let member = group("member");
        let lower = found[0].to_ascii_lowercase();
        let is_harmless = !member.is_empty()
            && !lower.contains("policy")
            && !IN_MESSAGE.is_match(&lower)
            && !mentions_a_secret(&lower);
        if is_harmless {
            return found[0].to_owned();
        }
        let end = if member.is_empty() { "" } else { "'" };
        format!("{}{REDACTED}{end}{member}", group("value"))
    });
    // The remainder may contain the names of members whose values were removed, but no other name of a secret.
    let left = MEMBER.replace_all(&cut, " ");
    let left = ACTION.replace_all(&left, " ");
    if IN_MESSAGE.is_match(&left) || mentions_a_secret(&left) {
        return REDACTED.to_owned();
    }
    cut.into_owned()
}

/// A text that is not from a record, such as an unreadable payload, without secrets.
pub fn text_without_secrets(text: &str) -> String {
    redacted_text(text).unwrap_or_else(|| text.to_owned())
}

/// The letters and digits of a name in lower case: `trust_anchor` and `Trust-Anchor` become `trustanchor`.
fn normalized(name: &str) -> String {
    let mut normalized = String::with_capacity(name.len());
    let kept = name.bytes().filter(u8::is_ascii_alphanumeric);
    normalized.extend(kept.map(|byte| char::from(byte.to_ascii_lowercase())));
    normalized
}

/// The end of a name as in [`normalized`], without a copy on the heap. No known name is as long.
struct NameEnd {
    bytes: [u8; NameEnd::LENGTH],
    start: usize,
}

impl NameEnd {
    const LENGTH: usize = 32;

    fn of(name: &str) -> NameEnd {
        let mut end = NameEnd {
            bytes: [0; NameEnd::LENGTH],
            start: NameEnd::LENGTH,
        };
        let kept = name.bytes().rev().filter(u8::is_ascii_alphanumeric);
        for byte in kept.take(NameEnd::LENGTH) {
            end.start -= 1;
            end.bytes[end.start] = byte.to_ascii_lowercase();
        }
        end
    }

    fn is_one_of(&self, names: &[&str]) -> bool {
        let end = &self.bytes[self.start..];
        names.iter().any(|name| name.as_bytes() == end)
    }

    fn ends_with_one_of(&self, names: &[&str]) -> bool {
        let end = &self.bytes[self.start..];
        names.iter().any(|name| end.ends_with(name.as_bytes()))
    }
}

fn is_secret(name: &str) -> bool {
    let end = NameEnd::of(name);
    end.is_one_of(SECRET_NAMES) || end.ends_with_one_of(SECRET_ENDINGS)
}

fn is_message(name: &str) -> bool {
    name.eq_ignore_ascii_case("errorMessage") || name.eq_ignore_ascii_case("message")
}

#[cfg(test)]
mod tests;
