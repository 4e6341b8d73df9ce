//! Text: escaping and shortening of text for people, and small conversions to text.
//!
//! User agents, names, error messages and object keys are chosen by the caller. [`one_line`] turns them into
//! one line of bounded length, without characters that hide, reorder or imitate other text. How the lines are
//! arranged in a message is decided in [`crate::alert`].

use std::fmt::Write;

use serde_json::Value;

/// `text` on one line of at most `limit` characters. Longer text ends with `…`.
///
/// - Control characters, line and paragraph separators, and characters that reorder or hide text
///   (bidirectional controls, zero-width characters, tags) become escapes. They are kept as evidence.
/// - A run of white space becomes one space, so that padding cannot move text to a new line on the screen.
/// - `://` becomes `[://]`, so that mail programs do not turn a caller's text into a link.
pub fn one_line(text: &str, limit: usize) -> String {
    // Most texts stay as they are, and to see that takes a fraction of the time.
    let is_plain = text.bytes().all(|b| matches!(b, b' '..=b'~'));
    if is_plain && text.len() <= limit && !text.contains("  ") && !text.contains("://") {
        return text.to_owned();
    }
    let mut line = String::with_capacity(text.len().min(limit) + 8);
    let mut length = 0;
    let mut last_was_space = false;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
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
            chars.next();
            chars.next();
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

/// Characters that can break a line, hide text or reorder it, and characters that a receiver may reject.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || is_invisible(c)
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{61c}' | '\u{fff9}'..='\u{fffb}')
}

/// Invisible characters, with which one name can imitate another, and noncharacters: SQS rejects a message with
/// U+FFFE or U+FFFF. Bidirectional marks are not included, because they are legitimate in some scripts.
/// Source: Unicode Standard Annex 44, `Default_Ignorable_Code_Point` and `Noncharacter_Code_Point`. Added are the
/// blank Braille pattern U+2800 and the format controls U+13430 to U+1343F and U+1BCA0 to U+1BCA3.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fdd0}'..='\u{fdef}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
        || (u32::from(c) & 0xfffe) == 0xfffe
}

/// `text` with invisible characters replaced by escapes such as `\u{3164}`.
pub fn escape_invisible(text: &str) -> String {
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

/// `value` as JSON, with unsafe characters as `\uXXXX` escapes. The value is the same, it can be printed to any
/// terminal, and SQS accepts it.
pub fn escaped_json(value: &Value) -> String {
    let text = value.to_string();
    if text.is_ascii() {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        // In JSON, such characters occur only in strings, where an escape is valid.
        if !c.is_ascii() && is_unsafe(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String cannot fail.
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
            // Writing to a String cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", c as u32);
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An error and its sources on one line, separated by colons. An AWS SDK error alone prints only
/// "service error".
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        // Some errors already include the message of their source.
        if !text.contains(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        source = error.source();
    }
    one_line(&text, 500)
}

/// `text` in printable ASCII on one line of at most `limit` characters. Other scripts are transliterated. Longer
/// text ends with `..`.
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

/// Whether `value` may be part of a command that people paste into a shell: only letters, digits and
/// `. _ : / @ + -`, starting with a letter, a digit or a slash, without `//`, at most 512 characters.
///
/// The identifier in a failed call can be any text. `$(…)` would be executed by the shell, `file://…` would make
/// the AWS CLI read that file, `https://…` would be a link, and a comma or an equals sign would add a member to
/// a CLI filter.
pub fn is_shell_safe(value: &str) -> bool {
    let mut bytes = value.bytes();
    value.len() <= 512
        && !value.contains("//")
        && bytes
            .next()
            .is_some_and(|b| b.is_ascii_alphanumeric() || b == b'/')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"._:/@+-".contains(&b))
}

/// `value` as one word of a command that people paste into a shell: as it is, or in single quotes. `None` if it cannot be
/// copied from a text exactly (control and invisible characters, several spaces), if a program would take it for an
/// option, or if the AWS CLI would read the file that it names.
pub fn shell_word(value: &str) -> Option<String> {
    if value.is_empty() || value.starts_with('-') || value.len() > 4096 {
        return None;
    }
    if is_shell_safe(value) {
        return Some(value.to_owned());
    }
    let (scheme, rest) = value
        .strip_prefix("s3://")
        .map_or(("", value), |rest| ("s3://", rest));
    if one_line(rest, 4096) != rest {
        return None;
    }
    let is_plain = rest
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"._/@+-".contains(&b));
    if !scheme.is_empty() && is_plain {
        return Some(value.to_owned());
    }
    Some(format!("'{}'", value.replace('\'', r"'\''")))
}

/// The first few of any number of lines, and how many follow: a file may have an error in every line.
#[derive(Debug, Default)]
pub struct FirstLines {
    lines: Vec<String>,
    more: usize,
}

impl FirstLines {
    /// How many lines are kept.
    const MAX: usize = 5;

    /// Adds a line.
    pub fn push(&mut self, line: String) {
        if self.lines.len() < Self::MAX {
            self.lines.push(line);
        } else {
            self.more += 1;
        }
    }

    /// The lines, and a last one with the number of those that were left out.
    pub fn into_lines(mut self) -> Vec<String> {
        if self.more > 0 {
            self.lines.push(format!("and {} more", self.more));
        }
        self.lines
    }
}

impl FromIterator<String> for FirstLines {
    fn from_iter<T: IntoIterator<Item = String>>(all: T) -> FirstLines {
        let mut first = FirstLines::default();
        all.into_iter().for_each(|line| first.push(line));
        first
    }
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

    #[test]
    fn invisible_characters_are_escaped_everywhere() {
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
            let json = escaped_json(&record);
            assert!(json.is_ascii(), "{json:?}");
            assert_eq!(serde_json::from_str::<Value>(&json).unwrap(), record);
        }
        assert_eq!(
            escape_invisible("a\u{3164}\u{202e}é"),
            "a\\u{3164}\u{202e}é"
        );
        assert_eq!(
            escaped_json(&"é\n日\u{1f511}".into()),
            "\"é\\n日\u{1f511}\""
        );
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
