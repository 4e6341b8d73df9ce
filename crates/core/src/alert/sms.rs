//! The SMS: one part of GSM-7, at most 140 characters, with what a person needs to decide whether to
//! get up.
//!
//! Source: Amazon SNS Developer Guide, "Publishing to a mobile phone"; 3GPP TS 23.038 for the alphabet.

use crate::{
    alert::{Alert, email::tail},
    links::unlinked,
    text::ascii,
};

/// Longest SMS, in characters of the GSM-7 basic set.
pub const MAX_SMS: usize = 140;

/// The text of the SMS.
///
/// What, what became of it, on what, where and when always fit; then comes what to do, if the rule
/// says it in few words, and who, in the room that is left.
pub fn text(alert: &Alert) -> String {
    let verb = alert.outcome.word();
    let mut base = format!(
        "{} {} {verb}",
        alert.severity.as_str().to_uppercase(),
        gsm7(&alert.event_name, 30)
    );
    if alert.count() > 1 {
        base.push_str(&format!(" x{}", alert.count()));
    }
    if let Some(thing) = alert.main_resource() {
        base.push_str(&format!(": {}", gsm7(&unlinked(tail(&thing.uid), 256), 24)));
    }
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
        .response_sms
        .as_deref()
        .map(|hint| format!(". {}", gsm7(hint, 60)))
        .filter(|hint| base.len() + hint.len() <= MAX_SMS)
        .unwrap_or_default();
    let room = MAX_SMS - base.len() - hint.len();
    const BY: &str = ", by ";
    // Less than a few letters of a name tell nothing.
    if room >= BY.len() + 8 {
        base.push_str(BY);
        base.push_str(&actor(&alert.actor.short, room - BY.len()));
    }
    base.push_str(&hint);
    base
}

/// The actor in so many characters: of a role and a session that do not fit both, the session, which is
/// the person's.
pub(super) fn actor(short: &str, limit: usize) -> String {
    let person = short.rsplit('/').next().unwrap_or(short);
    let fits = short.chars().count() <= limit;
    gsm7(if fits { short } else { person }, limit)
}

/// `text` in characters that GSM-7 has in its basic set, each of which counts as one: printable ASCII
/// but for those that need an escape or are missing.
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
