//! `rules`: commands for rule authors. [`list`] shows the rules in use, [`check`] finds errors in rule files,
//! [`mod@test`] runs the tests in rule files, [`new`] writes one to start from, and [`document`] prints rules as a page.

mod check;
mod document;
mod list;
mod new;
mod test;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub const AFTER_HELP: &str = "\
Exit codes:
  0  success: no error (check), every test passed (test)
  1  an error was found, a test failed, or a file could not be read
  2  invalid usage";

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the rules in use with level, name, title and ATT&CK techniques
    #[command(after_help = AFTER_HELP)]
    List(list::Arguments),
    /// Check rule files for errors, and for rules that can never match
    #[command(after_help = AFTER_HELP)]
    Check(check::Arguments),
    /// Run the tests in rule files
    #[command(after_help = AFTER_HELP)]
    Test(test::Arguments),
    /// Write a rule with its tests, to start from
    #[command(after_help = AFTER_HELP)]
    New(new::Arguments),
    /// Print the rules as a Markdown page
    #[command(after_help = AFTER_HELP)]
    Document(document::Arguments),
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    match &arguments.command {
        Command::List(arguments) => list::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::New(arguments) => new::run(arguments),
        Command::Document(arguments) => document::run(arguments),
    }
}
