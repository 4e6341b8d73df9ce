//! Account names, as configured by the operator (`ACCOUNT_NAMES`): people know `prod`, not `111122223333`.

use std::collections::HashMap;

/// A map from account ID to name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accounts(HashMap<String, String>);

impl Accounts {
    /// Parses `111122223333=prod,444455556666=dev`. An empty string is valid and names no account.
    ///
    /// # Errors
    /// An entry is not twelve digits, an equals sign and a name, or an account has two names.
    pub fn parse(text: &str) -> Result<Accounts, String> {
        let mut names = HashMap::new();
        for part in text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty())
        {
            let (id, name) = part.split_once('=').unwrap_or((part, ""));
            let (id, name) = (id.trim(), name.trim());
            let is_id = id.len() == 12 && id.bytes().all(|b| b.is_ascii_digit());
            if !is_id || name.is_empty() {
                return Err(format!(
                    "expected twelve digits, '=' and a name, such as 111122223333=prod, found {part:?}"
                ));
            }
            if let Some(other) = names.insert(id.to_owned(), name.to_owned()) {
                return Err(format!(
                    "account {id} has two names, {other:?} and {name:?}; expected one"
                ));
            }
        }
        Ok(Accounts(names))
    }

    /// The name of an account.
    pub fn name(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
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
}
