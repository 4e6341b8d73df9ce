//! The SMS: the few facts that decide whether someone must act now, in one message part.
//!
//! Longer texts are sent in several parts, which may arrive separately and are billed separately.
//! Source: Amazon SNS Developer Guide, "Publishing to a mobile phone"; 3GPP TS 23.038 for the alphabet.

use super::{
    contents::Alert,
    resource::{Kind, short_id},
};
use crate::{actor::UNNAMED, defang::defanged, text::ascii};

/// Maximum length of an SMS, in characters of the GSM-7 basic set.
pub const MAX_SMS: usize = 140;

/// The text of the SMS.
///
/// Operation, outcome, resource, account, region and time always fit. The rule's short instruction comes next
/// if it fits, and the caller gets the characters that remain.
pub fn body(alert: &Alert) -> String {
    let outcome = alert.outcome.label();
    let mut base = format!(
        "{} {} {outcome}",
        alert.severity.as_str().to_uppercase(),
        gsm7(&alert.event_name, 30)
    );
    if alert.count() > 1 {
        base.push_str(&format!(" x{}", alert.count()));
    }
    if let Some(resource) = alert.main_resource() {
        let id = |uid: &str| gsm7(&defanged(short_id(uid), 256), 24);
        base.push_str(&format!(": {}", id(&resource.uid)));
        // The ID of an HSM says little to a person.
        if let (Kind::Hsm, Some(cluster)) = (resource.kind, alert.cluster_id()) {
            base.push_str(&format!(" of {}", id(cluster)));
        }
    }
    base.push_str(&shared_with(alert));
    let account = alert
        .account_name
        .as_deref()
        .or(alert.account.as_deref())
        .unwrap_or("unknown account");
    base.push_str(&format!(
        ", {} {}",
        gsm7(account, 16),
        gsm7(alert.region.as_deref().unwrap_or("unknown region"), 16)
    ));
    if let Some(time) = alert.time {
        base.push_str(&format!(", {}", time.strftime("%-d %b %H:%MZ")));
    }

    let hint = alert
        .advice()
        .response_sms
        .as_deref()
        .map(|hint| format!(". {}", gsm7(hint, 60)))
        .filter(|hint| base.len() + hint.len() <= MAX_SMS)
        .unwrap_or_default();
    let left = MAX_SMS - base.len() - hint.len();
    const BY: &str = ", by ";
    // A name cut to fewer than eight characters is of no use.
    if left >= BY.len() + 8 && !alert.actor.short.starts_with(UNNAMED) {
        base.push_str(BY);
        base.push_str(&actor(&alert.actor.short, left - BY.len()));
    }
    base.push_str(&hint);
    base
}

/// The first account or principal that a backup was shared with, and the number of others.
fn shared_with(alert: &Alert) -> String {
    let Some(first) = alert.sharing.principals.first() else {
        return String::new();
    };
    // An ARN names its account; the rest does not fit.
    let account = first.split(':').nth(4).filter(|id| !id.is_empty());
    let shown = gsm7(&defanged(account.unwrap_or(first), 256), 16);
    match alert.sharing.principals.len() - 1 {
        0 => format!(" to {shown}"),
        more => format!(" to {shown} +{more}"),
    }
}

/// The actor in at most `limit` characters. If `role/session` does not fit, the session alone: it usually
/// identifies the person.
fn actor(short: &str, limit: usize) -> String {
    let session = short.rsplit('/').next().unwrap_or(short);
    let fits = short.chars().count() <= limit;
    gsm7(if fits { short } else { session }, limit)
}

/// `text` in the GSM-7 basic set. ASCII characters that are missing there, or that GSM-7 encodes as two, are
/// replaced by similar ones.
pub(super) fn gsm7(text: &str, limit: usize) -> String {
    ascii(text, limit)
        .chars()
        .map(|c| match c {
            '[' | '{' => '(',
            ']' | '}' => ')',
            '\\' | '|' => '/',
            '^' | '~' => '-',
            '`' => '\'',
            other => other,
        })
        .collect()
}
