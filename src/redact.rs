//! Secrets, taken out of a record before any of it leaves this program.
//!
//! Names of members whose values never go into an alert: passwords and credentials, the certificates
//! of a cluster's trust ceremony, and the text of a resource policy. Source: AWS CloudHSM API
//! Reference (`PreCoPassword`, `SignedCert`, `TrustAnchor`, `Policy`), CloudHSM Classic API Reference
//! (`ConfigCred`), AWS KMS API Reference (`KeyStorePassword`).

use std::sync::LazyLock;

use regex::{Captures, Regex};
use serde_json::Value;

/// Compared without regard to case.
const SECRET_NAMES: &[&str] = &[
    "preCoPassword",
    "signedCert",
    "trustAnchor",
    "policy",
    "resourcePolicy",
    "configCred",
    "configFile",
    "keyStorePassword",
    "trustAnchorCertificate",
];

/// Endings of such names, in small letters: `keyStorePassword`, `rawSecretAccessKey`.
const SECRET_ENDINGS: &[&str] = &["password", "secretaccesskey", "sessiontoken"];

/// Names that are ordinary words of error messages, too.
const WORDS: &[&str] = &["policy"];

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// What of an error message is cut: from a quoted value (`Value '…' at 'trustAnchor' failed to satisfy …`)
/// to the name of its member, or to the end where the message was cut off before it; and from where a PEM
/// block, a policy or another document begins.
static QUOTED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?is)(?<value>\bvalue\s*['\x22])(?:.*['\x22](?<member>\s*at\s*['\x22][A-Za-z0-9.]+['\x22])|.*)|-----BEGIN.*|\{.*",
    )
    .ok()
});

/// An action of IAM, such as `cloudhsm:PutResourcePolicy`.
static ACTION: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b[a-z][a-z0-9-]+:[A-Z][A-Za-z]+\b").ok());

/// Takes the secrets out of a value, at any depth, and out of JSON that stands in it as text.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, inner) in fields {
                if is_secret(name) && !inner.is_null() {
                    *inner = Value::from(REDACTED);
                } else if let (true, Value::String(message)) = (is_message(name), &mut *inner) {
                    *message = message_without_secrets(message);
                } else {
                    redact(inner);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        Value::String(text) if text.starts_with(['{', '[']) => {
            if let Ok(mut document) = serde_json::from_str(text) {
                redact(&mut document);
                let clean = document.to_string();
                // Only a text that held a secret is written anew.
                if clean.contains(REDACTED) {
                    *text = clean;
                }
            }
        }
        _ => {}
    }
}

/// An error message without secrets. Where it names a member that holds one, or looks like a document, the
/// quoted part goes; where nothing is quoted behind such a name, the whole message does: what it says about
/// a secret cannot be told from the secret.
pub fn message_without_secrets(message: &str) -> String {
    // `cloudhsm:PutResourcePolicy` names a permission.
    let lower = ACTION.as_ref().map_or_else(
        || message.to_ascii_lowercase(),
        |action| action.replace_all(message, " ").to_ascii_lowercase(),
    );
    let names_secret = SECRET_NAMES
        .iter()
        .filter(|name| !WORDS.contains(name))
        .any(|name| lower.contains(&name.to_ascii_lowercase()));
    let is_suspicious = names_secret
        || WORDS.iter().any(|word| lower.contains(word))
        || lower.contains("value '")
        || lower.contains("-----begin");
    // The pattern is a constant that the tests compile.
    let Some(quoted) = QUOTED.as_ref().filter(|_| is_suspicious) else {
        return message.to_owned();
    };
    let cut = quoted.replace_all(message, |found: &Captures<'_>| {
        let text = |name| found.name(name).map_or("", |part| part.as_str());
        let member = text("member");
        let names_harmless = !member.is_empty()
            && !SECRET_NAMES.iter().any(|name| {
                found[0]
                    .to_ascii_lowercase()
                    .contains(&name.to_ascii_lowercase())
            });
        if names_harmless {
            return found[0].to_owned();
        }
        let end = if member.is_empty() { "" } else { "'" };
        format!("{}{REDACTED}{end}{member}", text("value"))
    });
    if names_secret && cut == message {
        return REDACTED.to_owned();
    }
    cut.into_owned()
}

fn is_secret(name: &str) -> bool {
    // `trust_anchor` and `Trust-Anchor` are spellings of the same name.
    let mut name: Vec<u8> = name.bytes().filter(u8::is_ascii_alphanumeric).collect();
    name.make_ascii_lowercase();
    SECRET_NAMES
        .iter()
        .any(|secret| secret.as_bytes().eq_ignore_ascii_case(&name))
        || SECRET_ENDINGS
            .iter()
            .any(|ending| name.ends_with(ending.as_bytes()))
}

fn is_message(name: &str) -> bool {
    name.eq_ignore_ascii_case("errorMessage") || name.eq_ignore_ascii_case("message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn redacted(value: &Value) -> Value {
        let mut value = value.clone();
        redact(&mut value);
        value
    }

    #[test]
    fn secrets_go_at_any_depth_and_in_any_case() {
        let record = json!({
            "requestParameters": {"clusterId": "c", "SignedCert": "S3CRET", "trustAnchor": ["S3CRET"], "policy": "{\"S3CRET\":1}"},
            "responseElements": {"cluster": {"preCoPassword": "S3CRET", "hsms": [{"configCred": "S3CRET", "hsmId": "h"}]}},
            "errorMessage": "1 validation error detected: Value 'S3CRET it's long' at 'keyStorePassword' failed to satisfy constraint",
            "trust_anchor": "S3CRET", "text": "{\"a\":[{\"signedCert\":\"S3CRET\"}]}", "other": "{ \"a\": 1 }",
            "nothing": null, "password": null,
        });
        assert_eq!(
            redacted(&record),
            json!({
                "requestParameters": {"clusterId": "c", "SignedCert": REDACTED, "trustAnchor": REDACTED, "policy": REDACTED},
                "responseElements": {"cluster": {"preCoPassword": REDACTED, "hsms": [{"configCred": REDACTED, "hsmId": "h"}]}},
                "errorMessage": "1 validation error detected: Value '[redacted]' at 'keyStorePassword' failed to satisfy constraint",
                "trust_anchor": REDACTED, "text": "{\"a\":[{\"signedCert\":\"[redacted]\"}]}", "other": "{ \"a\": 1 }",
                "nothing": null, "password": null,
            })
        );
    }

    #[test]
    fn secrets_in_messages_go_however_they_are_quoted() {
        for (message, expected) in [
            (
                "2 validation errors detected: Value 'a' at 'clusterId' failed; Value 'S3CRET' at 'trustAnchor' failed",
                "2 validation errors detected: Value '[redacted]' at 'trustAnchor' failed",
            ),
            (
                "1 validation error detected: Value '-----BEGIN CERTIFICATE-----\nS3CRET",
                "1 validation error detected: Value '[redacted]",
            ),
            (
                "Bad certificate -----BEGIN CERTIFICATE-----\nS3CRET\n-----END CERTIFICATE----- here",
                "Bad certificate [redacted]",
            ),
            (
                "The trustAnchor is not a valid certificate: S3CRET",
                "[redacted]",
            ),
            ("keyStorePassword S3CRET is too short", "[redacted]"),
            (
                "Invalid policy: {\"Statement\":[\"S3CRET\"]}",
                "Invalid policy: [redacted]",
            ),
        ] {
            assert_eq!(message_without_secrets(message), expected, "{message}");
        }
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        for message in [
            "Value 'x' at 'clusterId' failed to satisfy constraint",
            "User: arn:aws:iam::1:user/a is not authorized to perform: cloudhsm:DeleteBackup because no identity-based policy allows the cloudhsm:DeleteBackup action",
            "User: arn:aws:iam::1:user/a is not authorized to perform: cloudhsm:PutResourcePolicy on resource: arn:aws:cloudhsm:us-west-2:1:backup/backup-a",
            "Rate exceeded",
            "",
        ] {
            assert_eq!(message_without_secrets(message), message);
        }
    }
}
