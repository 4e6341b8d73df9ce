//! Names and ids of rules and filters.

use super::{diagnostic::Diagnostic, origin::Origin};

/// An id in the form in which ids are compared: a UUID may be written in upper case. Source: RFC 9562, 4.
pub(super) fn normalized_id(id: &str) -> String {
    id.trim().to_ascii_lowercase()
}

/// A `name` that message attributes, metrics and terminals can show.
///
/// # Errors
/// The name is empty, longer than 100 characters, or has other characters.
pub(super) fn checked_name(origin: &Origin, name: &str) -> Result<String, Diagnostic> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 100 && name.chars().all(is_plain) {
        return Ok(name.to_owned());
    }
    Err(origin.error(
        &["name"],
        format!("expected up to 100 letters, digits and hyphens, found {name:?}"),
        Some("use a short name in kebab-case, such as hsm-backup-deleted"),
    ))
}

/// `rules/aws_delete_identity.yml` → `aws_delete_identity`.
pub(super) fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// `Another rule (2)` → `another-rule-2`.
pub(super) fn kebab_case(text: &str) -> String {
    let parts: Vec<String> = text
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|part| !part.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    parts.join("-")
}
