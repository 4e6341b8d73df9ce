//! Secrets, taken out of a record before any of it leaves this program.
//!
//! Names of members whose values never go into an alert: passwords and credentials, the certificates
//! of a cluster's trust ceremony, and the text of a resource policy. Source: AWS CloudHSM API
//! Reference (`PreCoPassword`, `SignedCert`, `TrustAnchor`, `Policy`), CloudHSM Classic API Reference
//! (`ConfigCred`), AWS KMS API Reference (`KeyStorePassword`).

use std::sync::LazyLock;

use regex::Regex;
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
    "password",
    "secretAccessKey",
    "sessionToken",
];

/// What stands in place of a secret.
pub const REDACTED: &str = "[redacted]";

/// A validation error quotes the refused value: `Value '…' at 'trustAnchor' failed to satisfy …`.
static QUOTED_VALUE: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?is)value\s*'.*'\s*at\s*'([A-Za-z0-9.]+)'").ok());

/// A copy of `value` without secrets, at any depth.
pub fn redacted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, inner)| {
                    let clean = if is_secret(name) && !inner.is_null() {
                        Value::from(REDACTED)
                    } else if let Some(message) = inner.as_str().filter(|_| is_message(name)) {
                        Value::from(message_without_secrets(message))
                    } else {
                        redacted(inner)
                    };
                    (name.clone(), clean)
                })
                .collect(),
        ),
        Value::Array(items) => Value::Array(items.iter().map(redacted).collect()),
        other => other.clone(),
    }
}

/// An error message without the refused value, where the message quotes that of a secret member.
pub fn message_without_secrets(message: &str) -> String {
    let lower = message.to_ascii_lowercase();
    let names_secret = SECRET_NAMES
        .iter()
        .any(|name| lower.contains(&name.to_ascii_lowercase()));
    match &*QUOTED_VALUE {
        Some(quoted) if names_secret => quoted
            .replace_all(message, format!("Value '{REDACTED}' at '$1'"))
            .into_owned(),
        // The pattern is a constant and a test compiles it; without it, nothing of the message stays.
        None if names_secret => REDACTED.to_owned(),
        _ => message.to_owned(),
    }
}

fn is_secret(name: &str) -> bool {
    SECRET_NAMES
        .iter()
        .any(|secret| secret.eq_ignore_ascii_case(name))
}

fn is_message(name: &str) -> bool {
    name.eq_ignore_ascii_case("errorMessage") || name.eq_ignore_ascii_case("message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn secrets_go_at_any_depth_and_in_any_case() {
        let record = json!({
            "requestParameters": {"clusterId": "c", "SignedCert": "S3CRET", "trustAnchor": ["S3CRET"], "policy": "{\"S3CRET\":1}"},
            "responseElements": {"cluster": {"preCoPassword": "S3CRET", "hsms": [{"configCred": "S3CRET", "hsmId": "h"}]}},
            "errorMessage": "1 validation error detected: Value 'S3CRET it's long' at 'keyStorePassword' failed to satisfy constraint",
            "nothing": null, "password": null,
        });
        assert_eq!(
            redacted(&record),
            json!({
                "requestParameters": {"clusterId": "c", "SignedCert": REDACTED, "trustAnchor": REDACTED, "policy": REDACTED},
                "responseElements": {"cluster": {"preCoPassword": REDACTED, "hsms": [{"configCred": REDACTED, "hsmId": "h"}]}},
                "errorMessage": "1 validation error detected: Value '[redacted]' at 'keyStorePassword' failed to satisfy constraint",
                "nothing": null, "password": null,
            })
        );
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        let message = "Value 'x' at 'clusterId' failed to satisfy constraint";
        assert_eq!(message_without_secrets(message), message);
    }
}
