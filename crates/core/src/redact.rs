//! Secrets, taken out of a record before any of it leaves this program.
//!
//! Names of members whose values never go into an alert: passwords, keys and credentials, the certificates
//! of a cluster's trust ceremony, and the text of a resource policy. Source: AWS CloudHSM API
//! Reference (`PreCoPassword`, `SignedCert`, `TrustAnchor`, `Policy`), CloudHSM Classic API Reference
//! (`ConfigCred`), AWS KMS API Reference (`KeyStorePassword`, `RawSecretAccessKey`).
//!
//! It fails closed. A text that begins like JSON and cannot be read is removed as a whole, and so is one that
//! mentions such a name with something behind it, however it is escaped: what such a text says about a secret
//! cannot be told from the secret. Only error messages are taken apart, because a person needs them.

use std::sync::LazyLock;

use base64::{
    Engine,
    alphabet::{STANDARD, URL_SAFE},
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use percent_encoding::percent_decode_str;
use regex::{Captures, Regex};
use serde_json::{Map, Value};

use crate::json;

/// Names, compared without regard to case and to what is neither a letter nor a digit.
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

/// Endings of such names: `keyStorePassword`, `rawSecretAccessKey`.
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

/// Members whose value names another member's.
const NAMING: &[&str] = &[
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

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Texts are decoded so often: escapes may be escaped again.
const MOST_DECODINGS: usize = 3;
/// The shortest text that is tried as base64. A secret with its name is longer.
const SHORTEST_BASE64: usize = 16;

/// The patterns below are constants, which the tests compile: none can fail. They are compiled with the first
/// alert, because that takes five milliseconds, which most starts can do without.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// The name of a secret in a text.
const NAME: &str = r"(?:pass[_-]?(?:words?|wd|phrase|code)|secret[\s_-]*(?:access[\s_-]*)?key|private[\s_-]*key|(?:access|auth|authorization|bearer|\bid|refresh|security|session)[_-]?token|client[\s_-]*secret|trust[\s_-]*anchor(?:[\s_-]*certificate)?|signed[\s_-]*cert|config[\s_-]*(?:cred|file))";

/// Such a name with something behind it. What follows an identifier (`password-rotator`) is a part of it. A
/// policy is meant only as the name of a member: the word is a common one.
static MENTION: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?is)(?:{NAME}[\s:=,;|&<>(\[{{"'\\]|policy(?:[\s_-]*document)?[\\"']+\s*[:=,]).*\S"#
    ))
});

/// Such a name in an error message, or the mark of a document.
static IN_MESSAGE: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r"(?i){NAME}")));

/// What of an error message is cut: from a quoted value (`Value '…' at 'trustAnchor' failed to satisfy …`)
/// to the name of its member, or to the end where the message was cut off before it; and from where a PEM
/// block, a policy or another document begins.
static QUOTED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?is)(?<value>\bvalue\s*['\x22])(?:.*['\x22](?<member>\s*at\s*['\x22][A-Za-z0-9.]+['\x22])|.*)|-----BEGIN.*|\{.*",
    )
});

/// The member of a quoted value.
static MEMBER: LazyLock<Regex> = LazyLock::new(|| pattern(r"\s*at\s*['\x22][A-Za-z0-9.]+['\x22]"));

/// An action of IAM, such as `cloudhsm:PutResourcePolicy`.
static ACTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b[a-z][a-z0-9-]+:[A-Z][A-Za-z]+\b"));

/// Takes the secrets out of a value, at any depth, and out of the texts in it.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => object(fields),
        Value::Array(items) => {
            // A list may be a name and its value.
            let is_pair = items.iter().any(is_name);
            for item in items {
                if is_pair && !is_name(item) {
                    hide(item);
                } else {
                    redact(item);
                }
            }
        }
        Value::String(text) => {
            if let Some(clean) = clean(text) {
                *text = clean;
            }
        }
        _ => {}
    }
}

fn object(fields: &mut Map<String, Value>) {
    // `{"name": "keyStorePassword", "value": …}`
    let is_pair = fields
        .iter()
        .any(|(name, value)| NAMING.contains(&normal(name).as_str()) && is_name(value));
    for (name, inner) in fields {
        if is_secret(name) || (is_pair && !is_name(inner)) {
            hide(inner);
        } else if let (true, Value::String(message)) = (is_message(name), &mut *inner) {
            *message = message_without_secrets(message);
        } else {
            redact(inner);
        }
    }
}

fn hide(value: &mut Value) {
    if !value.is_null() {
        *value = Value::from(REDACTED);
    }
}

/// Whether a value is the name of a secret. Attributes of queues and topics are called `Policy`, too, and what
/// stands beside that is needed.
fn is_name(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|text| text.len() <= 64 && is_secret(text) && !normal(text).contains("policy"))
}

/// A text without secrets; `None`: it has none.
fn clean(text: &str) -> Option<String> {
    let start =
        text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == '\u{feff}');
    if begins_like_json(start) {
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
        let before = clean(before).unwrap_or_else(|| before.to_owned());
        return Some(format!("{before}{REDACTED}"));
    }
    // A member that stands in it twice is there once in what was parsed.
    mentions_a_secret(text).then(|| REDACTED.to_owned())
}

/// A text in brackets, such as the user agents of S3, is JSON only with something quoted in it.
fn begins_like_json(text: &str) -> bool {
    match text.as_bytes().first() {
        Some(b'{' | b'"') => true,
        Some(b'[') => text.contains(['"', '{', '\\', '\'']),
        _ => false,
    }
}

/// Whether a text has the name of a secret with something behind it, as it stands or with its escapes decoded.
fn mentions_a_secret(text: &str) -> bool {
    let mut decoded = text.to_owned();
    for _ in 0..=MOST_DECODINGS {
        if MENTION.is_match(&decoded) {
            return true;
        }
        match decode(&decoded) {
            Some(further) => decoded = further,
            None => break,
        }
    }
    from_base64(text).is_some_and(|inner| clean(&inner).is_some())
}

/// The text with one layer of escapes decoded: of JSON, of addresses, of HTML; and without the zero bytes of
/// UTF-16. `None`: it has none.
fn decode(text: &str) -> Option<String> {
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
            // A backslash escapes what stands behind it, and is not needed to read it.
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

/// The text that a text stands for in base64, of either alphabet.
fn from_base64(text: &str) -> Option<String> {
    let text: String = text.split_whitespace().collect();
    if text.len() < SHORTEST_BASE64 {
        return None;
    }
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    [STANDARD, URL_SAFE].iter().find_map(|alphabet| {
        let bytes = GeneralPurpose::new(alphabet, config).decode(&text).ok()?;
        String::from_utf8(bytes).ok()
    })
}

/// An error message without secrets. Where it names a member that holds one, or looks like a document, the
/// quoted part goes; where such a name stands anywhere else, the whole message does.
pub fn message_without_secrets(message: &str) -> String {
    if begins_like_json(message.trim_start()) {
        return clean(message).unwrap_or_else(|| message.to_owned());
    }
    // `cloudhsm:PutResourcePolicy` names a permission.
    let words = ACTION.replace_all(message, " ");
    let lower = words.to_ascii_lowercase();
    let is_suspicious = IN_MESSAGE.is_match(&words)
        || mentions_a_secret(&words)
        || ["policy", "value '", "value \"", "-----begin"]
            .iter()
            .any(|mark| lower.contains(mark));
    if !is_suspicious {
        return message.to_owned();
    }
    let cut = QUOTED.replace_all(message, |found: &Captures<'_>| {
        let text = |name| found.name(name).map_or("", |part| part.as_str());
        let member = text("member");
        let lower = found[0].to_ascii_lowercase();
        let names_harmless = !member.is_empty()
            && !lower.contains("policy")
            && !IN_MESSAGE.is_match(&lower)
            && !mentions_a_secret(&lower);
        if names_harmless {
            return found[0].to_owned();
        }
        let end = if member.is_empty() { "" } else { "'" };
        format!("{}{REDACTED}{end}{member}", text("value"))
    });
    // What is left may name the member of a value that was cut, and no other secret.
    let left = MEMBER.replace_all(&cut, " ");
    let left = ACTION.replace_all(&left, " ");
    if IN_MESSAGE.is_match(&left) || mentions_a_secret(&left) {
        return REDACTED.to_owned();
    }
    cut.into_owned()
}

/// A text from outside a record, such as a payload that cannot be read, without secrets.
pub fn text_without_secrets(text: &str) -> String {
    clean(text).unwrap_or_else(|| text.to_owned())
}

/// A name in small letters and digits alone: `trust_anchor` and `Trust-Anchor` are spellings of the same.
fn normal(name: &str) -> String {
    let mut name: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    name.make_ascii_lowercase();
    name
}

fn is_secret(name: &str) -> bool {
    let name = normal(name);
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn is_message(name: &str) -> bool {
    name.eq_ignore_ascii_case("errorMessage") || name.eq_ignore_ascii_case("message")
}

#[cfg(test)]
mod tests;
