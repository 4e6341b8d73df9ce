//! The program `cloudhsm-alerts`. It runs the core and the rules of the function on log files ([`scan`],
//! [`mod@report`], [`explain`]), checks CloudTrail's digest files ([`audit`]), lists and tests rules ([`rules`]), shows
//! and closes deadlines ([`deadlines`]), runs the function in this process ([`invoke`]), and puts past
//! log files through the deployed function ([`backfill`]).
//!
//! Data goes to standard output, messages to standard error.

mod address;
mod as_of;
mod audit;
mod backfill;
mod completions;
mod deadlines;
mod explain;
mod filter;
mod invoke;
mod output;
mod report;
mod rule_files;
mod rules;
mod scan;
mod sdk;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0  success
  1  an input could not be read completely, rules are invalid, or the
     invocation failed; all other input was processed
  2  invalid usage";

/// Alerts for CloudHSM management calls in CloudTrail log files.
#[derive(Parser)]
#[command(name = "cloudhsm-alerts", version, after_help = AFTER_HELP, max_term_width = 100)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read log files from folders or S3 and print the alerts
    #[command(after_help = AFTER_HELP)]
    Scan(Box<scan::Arguments>),
    /// Read log files and write one page: what happened, what can still be saved, where the keys are
    #[command(after_help = AFTER_HELP)]
    Report(Box<report::Arguments>),
    /// Prove with CloudTrail's digest files that log files are complete and unaltered
    #[command(long_about = audit::LONG_ABOUT, after_help = audit::AFTER_HELP)]
    Audit(audit::Arguments),
    /// Show which rules a record matches, and why it does not match the others
    #[command(after_help = AFTER_HELP)]
    Explain(explain::Arguments),
    /// List, check, test and document rules
    #[command(after_help = rules::AFTER_HELP)]
    Rules(rules::Arguments),
    /// List open deadlines, or end the reminders about one
    #[command(long_about = deadlines::LONG_ABOUT, after_help = AFTER_HELP)]
    Deadlines(deadlines::Arguments),
    /// Print the completions of a shell, or write the manual pages
    Completions(completions::Arguments),
    /// Run the function in this process with one invocation payload, and publish its alerts
    #[command(long_about = invoke::LONG_ABOUT, after_help = AFTER_HELP)]
    Invoke(invoke::Arguments),
    /// Put past log files through the deployed function with an S3 Batch Operations job
    #[command(long_about = backfill::LONG_ABOUT, after_help = AFTER_HELP)]
    Backfill(backfill::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Scan(arguments) => scan::run(*arguments),
        Command::Report(arguments) => report::run(*arguments),
        Command::Audit(arguments) => audit::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Deadlines(arguments) => deadlines::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Invoke(arguments) => invoke::run(&arguments),
        Command::Backfill(arguments) => backfill::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        // Contradictory options, which only the command can see.
        if let Some(usage) = error.downcast_ref::<clap::Error>() {
            usage.exit();
        }
        eprintln!("cloudhsm-alerts: {error}");
        ExitCode::FAILURE
    })
}
