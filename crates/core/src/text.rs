//! Text from a record, made safe to show to a person.
//!
//! User agents, names, error messages and object keys are written by whoever made the call. Here they
//! become plain data: one line, of bounded length, without characters that hide, reorder or forge.
//! What a message is made of (e-mail, SMS, subject) is decided in [`crate::alert`].

use std::fmt::Write;

use serde_json::Value;

/// `text` on one line of at most `limit` characters, longer text ending with `…`.
///
/// Control characters, line and paragraph separators, and characters that reorder or hide text
/// (bidirectional controls, zero-width ones, tags) are shown as escapes, so that the evidence stays;
/// a run of white space becomes one space, so that padding cannot push text onto a line of its own;
/// `://` becomes `[://]`, so that no mail program offers an attacker's link for a click.
pub fn one_line(text: &str, limit: usize) -> String {
    let mut line = String::with_capacity(text.len().min(limit) + 8);
    let mut length = 0;
    let mut last_was_space = false;
    let mut rest = text.char_indices();
    while let Some((at, c)) = rest.next() {
        let before = line.len();
        if c == ' ' || (c.is_whitespace() && !is_unsafe(c)) {
            if last_was_space {
                continue;
            }
            line.push(' ');
        } else if is_unsafe(c) {
            escape(c, &mut line);
        } else if c == ':' && text[at..].starts_with("://") {
            line.push_str("[://]");
            rest.next();
            rest.next();
        } else {
            line.push(c);
        }
        last_was_space = c.is_whitespace() && !is_unsafe(c);
        length += line[before..].chars().count();
        if length > limit {
            let keep = limit.saturating_sub(1);
            let end = line.char_indices().nth(keep).map_or(line.len(), |(i, _)| i);
            line.truncate(end);
            line.push('…');
            return line;
        }
    }
    line
}

/// Characters that may break a line, hide text, change its order, or that no receiver need take.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || is_invisible(c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{fff9}'..='\u{fffb}')
}

/// Characters that show nothing, by which a name can look like another one, and those that are none: SQS takes
/// no message with U+FFFE or U+FFFF. Marks that order text are not among them.
/// Source: Unicode Standard Annex 44, `Default_Ignorable_Code_Point` and `Noncharacter_Code_Point`; the Braille
/// pattern U+2800 is blank, too, and U+13430 to U+1343F and U+1BCA0 to U+1BCA3 format scripts.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || (u32::from(c) & 0xfffe) == 0xfffe
}

/// `text` with what shows nothing made visible: `\u{3164}`.
pub fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_invisible(c) {
            escape(c, &mut out);
        } else {
            out.push(c);
        }
    }
    out
}

/// JSON in which control characters, marks that order text and what shows nothing are JSON's own escapes: it is
/// the same value, and any terminal and any queue takes it.
pub fn json(value: &Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // Only strings of a JSON text hold such characters.
        if !c.is_ascii() && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(c);
        }
    }
    out
}

fn escape(c: char, out: &mut String) {
    match c {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c => {
            // Writing into a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
    }
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An error with its causes, `this: because of that: because of …`, on one line. The SDK's outermost error
/// says only "service error".
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let message = error.to_string();
        // Some errors repeat their cause's words.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        cause = error.source();
    }
    one_line(&text, 500)
}

/// `text` in printable ASCII (letters of other scripts transliterated), one line, at most `limit`
/// characters, longer text ending with `..`.
pub fn ascii(text: &str, limit: usize) -> String {
    let line = one_line(text, limit.saturating_mul(2)).replace('…', "..");
    let mut plain: String = deunicode::deunicode_with_tofu(&line, "?")
        .chars()
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect();
    if plain.len() > limit {
        plain.truncate(limit.saturating_sub(2));
        plain.truncate(plain.trim_end().len());
        plain.push_str("..");
    }
    plain
}

/// Whether `value` can stand in a command that a person will paste into a shell: letters, digits and
/// `. _ : / @ + -` only, starting with a letter, a digit or a slash, without `//`, at most 512 characters.
///
/// An identifier of a failed call is whatever the caller sent. `$(…)` in it must not reach a prompt, nor
/// `https://…` a reader, nor `file://…` the AWS CLI, which would read that file; a comma or an equals sign
/// would begin another member of a CLI filter.
pub fn is_shell_safe(value: &str) -> bool {
    let mut bytes = value.bytes();
    value.len() <= 512
        && !value.contains("//")
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'/')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_table() {
        for (input, limit, expected) in [
            ("plain", 10, "plain"),
            ("a  \u{a0}  b", 10, "a b"),
            ("a\r\nOutcome: denied", 40, "a\\r\\nOutcome: denied"),
            ("a\u{2028}b", 40, "a\\u{2028}b"),
            ("\u{202e}evil", 40, "\\u{202e}evil"),
            ("\u{1b}[31mred", 40, "\\u{1b}[31mred"),
            (
                "see https://evil.example/x",
                40,
                "see https[://]evil.example/x",
            ),
            ("exactly ten", 11, "exactly ten"),
            ("one too many", 11, "one too ma…"),
            ("日本語のテキスト", 5, "日本語の…"),
            ("", 5, ""),
            ("a\u{3164}b\u{ffff}", 40, "a\\u{3164}b\\u{ffff}"),
            ("://", 40, "[://]"),
        ] {
            assert_eq!(one_line(input, limit), expected, "{input:?}");
        }
    }

    /// Each of them, by which a name can look like another or a queue refuses a message.
    #[test]
    fn what_shows_nothing_leaves_every_text() {
        let invisible: Vec<char> = (0..=0x10_ffff)
            .filter_map(char::from_u32)
            .filter(|c| is_invisible(*c))
            .collect();
        for c in "\u{fffe}\u{ffff}\u{1fffe}\u{fdd0}\u{3164}\u{115f}\u{1160}\u{ffa0}\u{2800}\u{34f}\u{17b4}\u{17b5}\u{1d173}\u{200b}\u{e0041}".chars() {
            assert!(invisible.contains(&c), "{c:?}");
        }
        for c in invisible
            .into_iter()
            .chain("\u{80}\u{9b}\u{202e}\u{2066}\u{200e}".chars())
        {
            let text = format!("a{c}b");
            let line = one_line(&text, 40);
            assert!(line.is_ascii(), "{line:?}");
            let record = serde_json::json!({ &text: [text] });
            let json = json(&record);
            assert!(json.is_ascii(), "{json:?}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), record);
        }
        assert_eq!(visible("a\u{3164}\u{202e}é"), "a\\u{3164}\u{202e}é");
        assert_eq!(json(&"é\n日\u{1f511}".into()), "\"é\\n日\u{1f511}\"");
    }

    #[test]
    fn ascii_table() {
        for (input, limit, expected) in [
            ("Zoë", 10, "Zoe"),
            ("日本", 20, "Ri Ben"),
            ("a\nb", 10, "a\\nb"),
            ("abcdefghij", 6, "abcd.."),
            ("\u{e000}", 6, "?"),
        ] {
            assert_eq!(ascii(input, limit), expected, "{input:?}");
        }
    }

    #[test]
    fn shell_safety() {
        for safe in [
            "backup-zxc7vbn2mas",
            "us-west-2",
            "arn:aws:iam::111122223333:role/A+b.c_d@e",
            "/aws/x",
        ] {
            assert!(is_shell_safe(safe), "{safe}");
        }
        for unsafe_ in [
            "",
            "-x",
            "~root",
            "a b",
            "$(id)",
            "a;b",
            "a\nb",
            "`id`",
            "a'b",
            "é",
            "a|b",
            "a>b",
            "*",
            "https://evil.example/x",
            "file:///etc/passwd",
            "backup-x,states=READY",
        ] {
            assert!(!is_shell_safe(unsafe_), "{unsafe_}");
        }
    }
}
