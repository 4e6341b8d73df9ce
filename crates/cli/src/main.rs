//! The command line: the same core and the same rules as the function, on log files at rest ([`scan`],
//! [`explain`]), the rules themselves ([`rules`]), the function's own pipeline in this process
//! ([`invoke`]), and the deployed function on the past ([`backfill`]).

mod backfill;
mod explain;
mod invoke;
mod rule_files;
mod rules;
mod scan;
mod sdk;
mod terminal;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes:
  0  done
  1  an input could not be read whole, rules could not be used, or the invocation failed; everything else
     was done
  2  wrong usage";

/// CloudHSM management calls in CloudTrail log files, as alerts.
#[derive(Parser)]
#[command(version, after_help = AFTER_HELP, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read log files, in folders or in S3, and print the alerts
    #[command(after_help = AFTER_HELP)]
    Scan(scan::Arguments),
    /// Tell which rules a record of a log file meets, and what keeps it from the others
    #[command(after_help = AFTER_HELP)]
    Explain(explain::Arguments),
    /// List, check and test rules
    #[command(after_help = rules::AFTER_HELP)]
    Rules(rules::Arguments),
    /// Handle one invocation payload as the function does, against the configured AWS endpoint
    #[command(long_about = invoke::LONG_ABOUT, after_help = AFTER_HELP)]
    Invoke(invoke::Arguments),
    /// Put log files of the past through the deployed function, by a job of S3 Batch Operations
    #[command(long_about = backfill::LONG_ABOUT, after_help = AFTER_HELP)]
    Backfill(backfill::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Scan(arguments) => scan::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Rules(arguments) => rules::run(&arguments),
        Command::Invoke(arguments) => invoke::run(&arguments),
        Command::Backfill(arguments) => backfill::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("cloudhsm-alerts: {error}");
        ExitCode::FAILURE
    })
}
