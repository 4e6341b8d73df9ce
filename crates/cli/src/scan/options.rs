//! The options of `scan`, apart from what it reads.

use clap::{Args, ValueEnum};
use cloudhsm_alerts_core::{alert::accounts::Accounts, severity::Severity};

use crate::{as_of::AsOf, filter::FilterOptions, rule_files::AddedRules};

#[derive(Args)]
pub(super) struct Options {
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// Order of the alerts
    #[arg(long, value_enum, default_value_t = Order::Files, value_name = "ORDER")]
    pub sort: Order,
    /// Print a call once for each record of it, and not once
    #[arg(long)]
    pub duplicates: bool,
    /// Lowest severity to print: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    pub min_severity: Severity,
    /// Names of accounts, such as 111122223333=prod,444455556666=dev, or a CSV file with the columns account and name
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = account_names, hide_default_value = true)]
    pub account_names: Accounts,
    /// Time (UTC) with which deadlines are compared, such as 2026-11-23T08:20Z; a day means 00:00 [default: now]
    #[arg(long, value_name = "TIME")]
    pub as_of: Option<AsOf>,
    #[command(flatten)]
    pub added: AddedRules,
    #[command(flatten)]
    pub filter: FilterOptions,
}

/// Account names: a list, or the path of a CSV file.
pub(crate) fn account_names(text: &str) -> Result<Accounts, String> {
    if text.is_empty() || text.contains('=') {
        return Accounts::parse(text);
    }
    let file = std::fs::read_to_string(text).map_err(|error| {
        format!("expected 111122223333=prod,… or a CSV file, which cannot be read: {error}")
    })?;
    Accounts::parse_csv(&file).map_err(|errors| errors.join("; "))
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Two lines per alert
    Text,
    /// The e-mail with its subject
    Email,
    /// The SMS
    Sms,
    /// The OCSF Detection Finding, one JSON object per line
    Ocsf,
    /// One JSON object per line, with the record without secrets
    Jsonl,
    /// A table for spreadsheets
    Csv,
    /// JSON Lines for Timesketch
    Timesketch,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Order {
    /// As found: files in order of their names, calls as they are in the file
    Files,
    /// By the time of the call, over all files; printed when all is read
    Time,
}
