//! Output helpers that the commands share.

use std::{
    fmt::Display,
    io::{self, Write},
};

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

/// A count with its noun: `1 file`, `2 files`, `2 matches`.
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let plural = match noun {
        _ if count == N::from(1) => "",
        noun if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}
