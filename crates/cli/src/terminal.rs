//! Output helpers that the commands share.

use std::{
    fmt::Display,
    io::{self, Write},
};

use cloudhsm_alerts_core::text::escape_invisible;

/// Writes to standard output. A closed pipe, as with `| head`, is not an error.
///
/// # Errors
/// Standard output cannot be written.
pub fn print(output: &str) -> io::Result<()> {
    match io::stdout().write_all(output.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// What was typed, as it was typed: only characters that a terminal would act on are escaped.
pub fn shown(typed: &str) -> String {
    let mut text = String::with_capacity(typed.len());
    for c in typed.chars() {
        if c.is_control() {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    escape_invisible(&text)
}

/// A count with its noun: `1 file`, `2 files`, `2 matches`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = match noun {
        _ if count == N::from(1) => "",
        noun if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}
