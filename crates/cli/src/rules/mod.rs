//! `rules`: for those who write rules. What is in use ([`list`]), what is wrong with rule files ([`check`]),
//! whether rules do what their tests say ([`test`]), and the rules in words ([`document`]).

mod check;
mod document;
mod list;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use cloudhsm_alerts::rule_source::RulesUri;
use cloudhsm_alerts_core::rules::{RuleFile, builtin_files};

use crate::rule_files;

/// What `--help` says of the exit codes of these commands.
pub const AFTER_HELP: &str = "\
Exit codes:
  0  done: no error (check), every test passed (test)
  1  errors were found, a test failed, or a file could not be read
  2  wrong usage";

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Show the rules in use: level, name, what happened, ATT&CK techniques
    #[command(after_help = AFTER_HELP)]
    List(list::Arguments),
    /// Check rule files: what cannot be used, and what can never be met
    #[command(after_help = AFTER_HELP)]
    Check(check::Arguments),
    /// Run the tests that rules carry
    #[command(after_help = AFTER_HELP)]
    Test(test::Arguments),
    /// Print the rules as a page of documentation (Markdown)
    #[command(after_help = AFTER_HELP)]
    Document(document::Arguments),
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::Document(arguments) => document::run(arguments),
    }
}

/// The files of some places; without a place, those built in.
fn files(places: &[RulesUri]) -> Result<Vec<RuleFile>, Box<dyn std::error::Error>> {
    if places.is_empty() {
        return Ok(builtin_files());
    }
    let files = rule_files::read(places)?;
    if files.is_empty() {
        let places: Vec<String> = places.iter().map(ToString::to_string).collect();
        return Err(format!(
            "{}: no rule file there; expected names ending in .yml or .yaml",
            places.join(", ")
        )
        .into());
    }
    Ok(files)
}
