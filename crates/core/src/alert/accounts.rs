//! Account names: people know `prod`, not `111122223333`. The operator gives them as a list (`ACCOUNT_NAMES`) or as a
//! CSV file; this file parses both.
//!
//! The names of an organization's accounts are chosen in those accounts, so a name is shown defanged and on one line.

use std::collections::HashMap;

use crate::{
    defang::defanged,
    text::{FirstLines, one_line},
};

/// Longest name, in characters. AWS Organizations allows 50.
const MAX_NAME: usize = 64;

/// A map from account ID to name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(HashMap<String, String>);

impl Accounts {
    /// Parses `111122223333=prod,444455556666=dev`. An empty string is valid and names no account.
    ///
    /// # Errors
    /// An entry is not twelve digits, an equals sign and a name, or an account has two names.
    pub fn parse(text: &str) -> Result<Accounts, String> {
        let mut accounts = Accounts::default();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (id, name) = part.split_once('=').unwrap_or((part, ""));
            if !is_id(id.trim()) || name.trim().is_empty() {
                return Err(format!(
                    "expected twelve digits, '=' and a name, such as 111122223333=prod, found {part:?}"
                ));
            }
            accounts.add(id.trim(), name.trim())?;
        }
        Ok(accounts)
    }

    /// Parses a CSV file (RFC 4180) whose first line names the columns `account` and `name`, in any order and among
    /// others.
    ///
    /// # Errors
    /// A line for each of the first errors, with the line of the file: a column is missing, a value is not an account
    /// ID, a name is missing or not one line of UTF-8, or an account has two names.
    pub fn parse_csv(text: &str) -> Result<Accounts, Vec<String>> {
        // Excel begins UTF-8 files with a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::All)
            .flexible(true)
            .from_reader(text.as_bytes());
        let columns = reader
            .headers()
            .map_err(|error| vec![format!("line 1: {}", one_line(&error.to_string(), 200))])?;
        let column = |wanted: &str| {
            columns
                .iter()
                .position(|name| name.eq_ignore_ascii_case(wanted))
        };
        let (Some(id), Some(name)) = (column("account"), column("name")) else {
            let found: Vec<&str> = columns.iter().collect();
            return Err(vec![format!(
                "line 1: expected the columns account and name, found {:?}",
                defanged(&found.join(","), 200)
            )]);
        };
        let mut accounts = Accounts::default();
        let mut errors = FirstLines::default();
        for row in reader.records() {
            let row = match row {
                Ok(row) => row,
                Err(error) => {
                    errors.push(one_line(&error.to_string(), 200));
                    break;
                }
            };
            let added = accounts.add_row(
                row.get(id).unwrap_or_default(),
                row.get(name).unwrap_or_default(),
            );
            if let Err(error) = added {
                let begin = row.position().map_or(0, csv::Position::byte);
                errors.push(format!("line {}: {error}", line_at(text, begin)));
            }
        }
        let errors = errors.into_lines();
        if errors.is_empty() {
            Ok(accounts)
        } else {
            Err(errors)
        }
    }

    fn add_row(&mut self, id: &str, name: &str) -> Result<(), String> {
        if !is_id(id) {
            return Err(format!(
                "expected an account ID of twelve digits, found {:?}",
                defanged(id, MAX_NAME)
            ));
        }
        if name.is_empty() {
            return Err(format!("account {id} has no name"));
        }
        if name.contains(['\n', '\r']) {
            return Err(format!(
                "the name of account {id} has a line break; expected one line, and a closing quotation mark"
            ));
        }
        if name.contains('\u{fffd}') {
            return Err(format!(
                "the name of account {id} is not UTF-8; save the file as UTF-8"
            ));
        }
        self.add(id, name)
    }

    fn add(&mut self, id: &str, name: &str) -> Result<(), String> {
        let name = defanged(name, MAX_NAME);
        match self.0.insert(id.to_owned(), name.clone()) {
            Some(other) if other != name => Err(format!(
                "account {id} has two names, {other:?} and {name:?}; expected one"
            )),
            _ => Ok(()),
        }
    }

    /// The name of an account.
    pub fn name(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }

    /// How many accounts have a name.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no account has a name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The line of the row that begins at a byte. The CSV reader counts line breaks before a row as part of it.
fn line_at(text: &str, begin: u64) -> usize {
    let begin = usize::try_from(begin).unwrap_or(usize::MAX).min(text.len());
    let (before, row) = text.as_bytes().split_at(begin);
    let breaks = row.iter().take_while(|byte| b"\r\n".contains(byte));
    let lines = before.iter().chain(breaks).filter(|byte| **byte == b'\n');
    1 + lines.count()
}

fn is_id(text: &str) -> bool {
    text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let accounts = Accounts::parse(" 111122223333=prod , 444455556666=dev east,").unwrap();
        assert_eq!(accounts.name("111122223333"), Some("prod"));
        assert_eq!(accounts.name("444455556666"), Some("dev east"));
        assert_eq!(accounts.name("777788889999"), None);
        assert_eq!(Accounts::parse("").unwrap(), Accounts::default());
        assert_eq!(
            Accounts::parse("111122223333=a,111122223333=b").unwrap_err(),
            "account 111122223333 has two names, \"a\" and \"b\"; expected one"
        );
        for wrong in [
            "prod",
            "1=prod",
            "111122223333",
            "111122223333=",
            "11112222333x=prod",
        ] {
            assert_eq!(
                Accounts::parse(wrong).unwrap_err(),
                format!(
                    "expected twelve digits, '=' and a name, such as 111122223333=prod, found {wrong:?}"
                )
            );
        }
    }

    #[test]
    fn names_in_csv() {
        let expected = Accounts::parse("111122223333=prod,444455556666=dev").unwrap();
        for text in [
            "account,name\n111122223333,prod\n444455556666,dev\n",
            "\u{feff}Account, Name\r\n111122223333 , prod\r\n\r\n444455556666,\"dev\"\r\n",
            "email,name,account\na@example.com,prod,111122223333\n,dev,444455556666",
            "account,name\n111122223333,prod\n111122223333,prod\n444455556666,dev",
        ] {
            assert_eq!(
                Accounts::parse_csv(text).as_ref(),
                Ok(&expected),
                "{text:?}"
            );
        }
        let quoted = Accounts::parse_csv("account,name\n111122223333,\"a, \"\"b\"\"\"\n").unwrap();
        assert_eq!(quoted.name("111122223333"), Some("a, \"b\""));
        let link = Accounts::parse_csv("account,name\n111122223333,see evil.example\n").unwrap();
        assert_eq!(link.name("111122223333"), Some("see evil[.]example"));
        assert_eq!(
            Accounts::parse_csv("account,name\n"),
            Ok(Accounts::default())
        );
    }

    #[test]
    fn errors_in_csv_have_their_line() {
        for (text, expected) in [
            (
                "",
                vec!["line 1: expected the columns account and name, found \"\""],
            ),
            (
                "111122223333,prod\n",
                vec!["line 1: expected the columns account and name, found \"111122223333,prod\""],
            ),
            (
                "account,name\nprod,111122223333\n11112222333,x\n111122223333\n444455556666,a\n444455556666,b\n",
                vec![
                    "line 2: expected an account ID of twelve digits, found \"prod\"",
                    "line 3: expected an account ID of twelve digits, found \"111122[2]2333\"",
                    "line 4: account 111122223333 has no name",
                    "line 6: account 444455556666 has two names, \"a\" and \"b\"; expected one",
                ],
            ),
            (
                "account,name\r\n\r\nprod,1\r\n\r\n\r\n111122223333,\r\n",
                vec![
                    "line 3: expected an account ID of twelve digits, found \"prod\"",
                    "line 6: account 111122223333 has no name",
                ],
            ),
            (
                "name,account\nx,see evil.example,111122223333\nZ\u{fffd}rich,111122223333\n\"a,444455556666\nb,777788889999\n",
                vec![
                    "line 2: expected an account ID of twelve digits, found \"see evil[.]example\"",
                    "line 3: the name of account 111122223333 is not UTF-8; save the file as UTF-8",
                    "line 4: expected an account ID of twelve digits, found \"\"",
                ],
            ),
            (
                "account,name\n111122223333,\"a\n444455556666,b\n",
                vec![
                    "line 2: the name of account 111122223333 has a line break; expected one line, and a closing quotation mark",
                ],
            ),
        ] {
            let expected: Vec<String> = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(Accounts::parse_csv(text), Err(expected), "{text:?}");
        }
        let many = format!("account,name\n{}", "x,y\n".repeat(30));
        let errors = Accounts::parse_csv(&many).unwrap_err();
        assert_eq!((errors.len(), errors[5].as_str()), (6, "and 25 more"));
    }
}
