//! The account names in use: a list, or a CSV file that is read again when it changes.

use std::sync::{Arc, LazyLock};

use aws_sdk_s3::Client;
use cloudhsm_alerts_core::alert::accounts::Accounts;

use crate::files::{self, File, FilesUri, Loaded, Source};

/// The value of `ACCOUNT_NAMES`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccountNames {
    /// `111122223333=prod,444455556666=dev`.
    List(Accounts),
    /// The address of a CSV file with the columns `account` and `name`.
    File(FilesUri),
}

impl AccountNames {
    /// Parses a list, the address of a CSV file in S3, or the path of one.
    ///
    /// # Errors
    /// It is neither.
    pub fn parse(text: &str) -> Result<AccountNames, String> {
        let is_list = !text.starts_with("s3://") && (text.contains('=') || text.is_empty());
        if is_list {
            return Accounts::parse(text).map(AccountNames::List);
        }
        if !files::ACCOUNT_NAMES.has(text) {
            return Err(format!(
                "expected 111122223333=prod,…, s3://bucket/key.csv or the path of a .csv file, found {text:?}"
            ));
        }
        text.parse().map(AccountNames::File)
    }
}

/// The names in use, and the file that they come from.
pub type AccountSource = Loaded<Accounts, Result<Accounts, Vec<String>>>;

impl AccountSource {
    /// The names of a list, or those of a file, from which nothing has been read yet.
    pub fn new(names: AccountNames, client: Client) -> AccountSource {
        let (list, source) = match names {
            AccountNames::List(list) => (list, None),
            AccountNames::File(uri) => (Accounts::default(), Some(source(uri, client))),
        };
        Loaded::of(LazyLock::new(Box::new(|| Arc::new(list))), source)
    }
}

fn source(uri: FilesUri, client: Client) -> Source<Accounts, Result<Accounts, Vec<String>>> {
    let parse = |file: File| {
        Accounts::parse_csv(&file.text).map_err(|lines| {
            let at = |line: String| format!("{}: {line}", file.name);
            lines.into_iter().map(at).collect::<Vec<_>>()
        })
    };
    let name = uri.to_string();
    Source::new(files::ACCOUNT_NAMES, uri, client, parse, move |files| {
        let Some(file) = files.into_iter().next() else {
            return Err(vec![format!("{name}: expected a CSV file, found none")]);
        };
        let accounts = file.clone()?;
        tracing::info!(uri = %name, accounts = accounts.len(), "account names loaded");
        Ok(accounts)
    })
}
