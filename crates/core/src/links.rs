//! Links: what a phone or a mail program would make one of in text that a caller chose, broken so that anyone
//! sees it: `www[.]example[.]com`, `+1[-]900[-]555[-]0100`.
//!
//! A session's name may be an address or a number, and a person who is woken by it taps on what is blue. Text of
//! AWS's own (services, regions, ARNs' accounts) and commands are left alone; so is an e-mail address, because it
//! is how people are named.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::text::one_line;

/// A name with a domain's form: labels and a last one of letters. The dots are those that browsers take for one.
/// Source: Unicode Technical Standard 46, section 4.
static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\bwww[.。．｡]|[\p{L}\p{N}_%+-]+(?:[.。．｡][\p{L}\p{N}_-]+)*[.。．｡]\p{L}{2,}")
});

/// Digits with the form of a phone number: in groups, or seven and more in a row.
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[+(]?[0-9]{1,4}(?:[-. ()/]{1,2}[0-9]{2,5}){2,}|\+?[0-9]{7,}"));

/// The parts of a domain or a number that are put into brackets.
static DOT: LazyLock<Regex> = LazyLock::new(|| pattern("[.。．｡]"));
static BETWEEN: LazyLock<Regex> = LazyLock::new(|| pattern("[-. ()/]+"));

/// An account's ID has so many digits.
const ACCOUNT: usize = 12;
/// Digits in a row that no phone takes for a number.
const ROW: usize = 6;

/// These patterns are constants, which the tests compile.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// `text` as [`one_line`], without what would become a link.
pub fn unlinked(text: &str, limit: usize) -> String {
    let line = one_line(text, limit);
    if !line.contains(['.', '。', '．', '｡']) && !line.bytes().any(|b| b.is_ascii_digit()) {
        return line;
    }
    let broken = DOMAIN.replace_all(&line, |found: &Captures<'_>| {
        let Some(whole) = found.get(0) else {
            return String::new();
        };
        if is_of_email(&line, whole.start(), whole.end()) {
            return whole.as_str().to_owned();
        }
        DOT.replace_all(whole.as_str(), "[$0]").into_owned()
    });
    let numbered = PHONE.replace_all(&broken, |found: &Captures<'_>| {
        found.get(0).map_or_else(String::new, |whole| {
            number(&broken, whole.start(), whole.as_str())
        })
    });
    numbered.into_owned()
}

/// `text` in quotation marks, as [`unlinked`]; quotation marks inside become apostrophes, so that the reader sees
/// where foreign words end.
pub fn quoted(text: &str, limit: usize) -> String {
    format!("\"{}\"", unlinked(text, limit).replace('"', "'"))
}

/// Whether a domain's form belongs to an e-mail address, as either side of it.
fn is_of_email(line: &str, start: usize, end: usize) -> bool {
    let is_local = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
    let domain = line[..start]
        .strip_suffix('@')
        .is_some_and(|before| before.ends_with(is_local));
    let local = line[end..]
        .strip_prefix('@')
        .is_some_and(|behind| behind.starts_with(|c: char| c.is_ascii_alphanumeric()));
    (domain || local) && !line[start..end].to_ascii_lowercase().starts_with("www")
}

/// A phone number in brackets where its groups meet; what is a part of a word, and an account's ID, stays.
fn number(line: &str, start: usize, found: &str) -> String {
    let is_part = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let after = &line[start + found.len()..];
    let digits = found.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = found.len() == digits;
    if is_part(line[..start].chars().next_back()) || is_part(after.chars().next()) || digits <= ROW
    {
        return found.to_owned();
    }
    if is_plain && digits == ACCOUNT {
        return found.to_owned();
    }
    let grouped = BETWEEN.replace_all(found, "[$0]").into_owned();
    let mut broken = String::with_capacity(grouped.len() + 8);
    let mut row = 0;
    for c in grouped.chars() {
        row = if c.is_ascii_digit() { row + 1 } else { 0 };
        if row > ROW {
            broken.extend(['[', c, ']']);
            row = 0;
        } else {
            broken.push(c);
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotation_marks_end_where_the_text_ends() {
        assert_eq!(quoted("x\" OUTCOME \"y", 99), "\"x' OUTCOME 'y\"");
    }

    #[test]
    fn what_would_become_a_link_is_broken_and_the_rest_stays() {
        for (text, expected) in [
            ("www.example-help.com", "www[.]example-help[.]com"),
            ("WWW.evil", "WWW[.]evil"),
            ("see evil.example/login now", "see evil[.]example/login now"),
            ("a.b.evil.co.uk:8080", "a[.]b[.]evil[.]co[.]uk:8080"),
            ("пример.рф и 例え。jp", "пример[.]рф и 例え[。]jp"),
            ("https://evil.example", "https[://]evil[.]example"),
            ("call.+1-900-555-0100", "call.+1[-]900[-]555[-]0100"),
            ("call (900) 555-0100", "call [(]900[) ]555[-]0100"),
            ("tel:+19005550100", "tel:+190055[5]0100"),
            (
                "botocore-session-1733241234",
                "botocore-session-173324[1]234",
            ),
            ("+441632960961", "+441632[9]60961"),
            // People, accounts, versions, identifiers.
            ("alice@example.com", "alice@example.com"),
            ("first.last@mail.example.com", "first.last@mail.example.com"),
            ("AdminRole/alice@example.com", "AdminRole/alice@example.com"),
            ("alice@www.evil.com", "alice@www[.]evil[.]com"),
            (
                "arn:aws:iam::111122223333:user/alice",
                "arn:aws:iam::111122223333:user/alice",
            ),
            (
                "aws-cli/2.31.4 md/awscrt#0.27.2 os/linux#6.8.0-1021-aws",
                "aws-cli/2.31.4 md/awscrt#0.27.2 os/linux#6.8.0-1021-aws",
            ),
            ("i-0123456789abcdef0", "i-0123456789abcdef0"),
            ("cluster-lk3jhgf4dsa", "cluster-lk3jhgf4dsa"),
            ("2026-11-23", "2026[-]11[-]23"),
            ("", ""),
        ] {
            assert_eq!(unlinked(text, 200), expected, "{text}");
        }
    }
}
