//! Defanging: changes text so that phones and mail programs do not turn parts of it into links, visibly for the
//! reader: `www[.]example[.]com`, `+1[-]900[-]555[-]0100`.
//!
//! Callers choose text such as session names, and a link in an alert looks trustworthy. Domains and phone numbers
//! are defanged. E-mail addresses are not, because people are identified by them. Text that AWS writes (service
//! names, regions, account IDs in ARNs) and commands are not passed through this module.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use crate::text::one_line;

/// A domain: labels separated by dots, the last one of letters. Includes all characters that browsers treat as dots.
/// Source: Unicode Technical Standard 46, section 4.
static DOMAIN: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\bwww[.。．｡]|[\p{L}\p{N}_%+-]+(?:[.。．｡][\p{L}\p{N}_-]+)*[.。．｡]\p{L}{2,}")
});

/// The same in ASCII text. Unicode's classes take longer to compile than all else about an alert, and are rarely needed.
static DOMAIN_IN_ASCII: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?-u)\b[Ww]{3}\.|[A-Za-z0-9_%+-]+(?:\.[A-Za-z0-9_-]+)*\.[A-Za-z]{2,}")
});

/// A phone number: groups of digits, or at least seven digits in a row.
static PHONE: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[+(]?[0-9]{1,4}(?:[-. ()/]{1,2}[0-9]{2,5}){2,}|\+?[0-9]{7,}"));

/// The characters that are put in brackets.
const DOTS: [char; 4] = ['.', '。', '．', '｡'];
/// The least number of digits in a match of [`PHONE`].
const LEAST_DIGITS: usize = 5;
static SEPARATORS: LazyLock<Regex> = LazyLock::new(|| pattern("[-. ()/]+"));

/// The number of digits in an account ID.
const ACCOUNT_DIGITS: usize = 12;
/// The longest run of digits that is not treated as a phone number.
const MAX_RUN: usize = 6;

/// Compiles a pattern. The patterns are constants, and tests compile each of them.
fn pattern(text: &str) -> Regex {
    Regex::new(text).unwrap_or_else(|error| unreachable!("{text}: {error}"))
}

/// `text` as [`one_line`], with domains and phone numbers defanged.
pub fn defanged(text: &str, limit: usize) -> String {
    let line = one_line(text, limit);
    let digits = line.bytes().filter(u8::is_ascii_digit).count();
    if !line.contains(DOTS) && digits < LEAST_DIGITS {
        return line;
    }
    let domain = if line.is_ascii() {
        &DOMAIN_IN_ASCII
    } else {
        &DOMAIN
    };
    let without_domains = domain.replace_all(&line, |found: &Captures<'_>| {
        let Some(whole) = found.get(0) else {
            return String::new();
        };
        if is_of_email(&line, whole.start(), whole.end()) {
            return whole.as_str().to_owned();
        }
        let mut defanged = String::with_capacity(whole.len() + 8);
        for c in whole.as_str().chars() {
            if DOTS.contains(&c) {
                defanged.extend(['[', c, ']']);
            } else {
                defanged.push(c);
            }
        }
        defanged
    });
    if digits < LEAST_DIGITS {
        return without_domains.into_owned();
    }
    let defanged = PHONE.replace_all(&without_domains, |found: &Captures<'_>| {
        found.get(0).map_or_else(String::new, |whole| {
            defanged_number(&without_domains, whole.start(), whole.as_str())
        })
    });
    defanged.into_owned()
}

/// `text` as [`defanged`], in quotation marks. Quotation marks in it become apostrophes, so that readers see where
/// the quoted text ends.
pub fn quoted(text: &str, limit: usize) -> String {
    format!("\"{}\"", defanged(text, limit).replace('"', "'"))
}

/// Whether the domain is part of an e-mail address, before or after the `@`.
fn is_of_email(line: &str, start: usize, end: usize) -> bool {
    let is_local = |c: char| c.is_ascii_alphanumeric() || "._%+-".contains(c);
    let domain = line[..start]
        .strip_suffix('@')
        .is_some_and(|before| before.ends_with(is_local));
    let local = line[end..]
        .strip_prefix('@')
        .is_some_and(|after| after.starts_with(|c: char| c.is_ascii_alphanumeric()));
    (domain || local) && !line[start..end].to_ascii_lowercase().starts_with("www")
}

/// A phone number with the separators of its groups in brackets. Digits within a word and account IDs are unchanged.
fn defanged_number(line: &str, start: usize, found: &str) -> String {
    let is_in_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
    let after = &line[start + found.len()..];
    let digits = found.bytes().filter(u8::is_ascii_digit).count();
    let is_plain = found.len() == digits;
    if is_in_word(line[..start].chars().next_back())
        || is_in_word(after.chars().next())
        || digits <= MAX_RUN
    {
        return found.to_owned();
    }
    if is_plain && digits == ACCOUNT_DIGITS {
        return found.to_owned();
    }
    let grouped = SEPARATORS.replace_all(found, "[$0]").into_owned();
    let mut broken = String::with_capacity(grouped.len() + 8);
    let mut run = 0;
    for c in grouped.chars() {
        run = if c.is_ascii_digit() { run + 1 } else { 0 };
        if run > MAX_RUN {
            broken.extend(['[', c, ']']);
            run = 0;
        } else {
            broken.push(c);
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotation_marks_end_where_the_text_ends() {
        assert_eq!(quoted("x\" OUTCOME \"y", 99), "\"x' OUTCOME 'y\"");
    }

    #[test]
    fn links_are_defanged_and_other_text_is_unchanged() {
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
            assert_eq!(defanged(text, 200), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn both_expressions_find_the_same_domains(text in r"(www|WwW|[a-cX0-9_%+\-.@ /]|[ -~]){0,20}") {
            let found = |domain: &Regex| -> Vec<_> { domain.find_iter(&text).map(|found| found.range()).collect() };
            prop_assert_eq!(found(&DOMAIN_IN_ASCII), found(&DOMAIN));
        }
    }
}
