//! `report`: reads log files and writes one page that tells what happened, what can still be saved, and where the keys
//! of the clusters are; or the same as JSON. With the result of an [`audit`], also whether the log files are what
//! CloudTrail wrote.
//!
//! [`read`] reads the files and [`collect`] keeps what is needed, whatever the order. The sections are computed by
//! [`coverage`], [`deadlines`], [`lineage`], [`actors`] and [`timeline`]; [`page`] and [`json`] write them. Deadlines
//! and lineage are made of [`fact`]s.

mod actors;
mod audit;
mod call;
mod collect;
mod coverage;
mod deadlines;
mod fact;
mod format;
mod json;
mod lane;
mod lineage;
mod model;
mod page;
mod read;
mod spill;
mod timeline;

use std::{
    error::Error,
    fs,
    io::{self, IsTerminal, Write},
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum, error::ErrorKind};
use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_core::{alert::accounts::Accounts, severity::Severity, text::one_line};

use audit::AuditResult;
use collect::{Collector, MAX_CALLS};
use model::Report;
use read::Reader;

use crate::{
    as_of::AsOf,
    filter::{Filter, FilterOptions, usage_error},
    output::Output,
    rule_files::AddedRules,
    scan::{self, options::account_names},
};

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not), folders, s3://bucket/prefix, s3://bucket/key?versionId=ID, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Html)]
    format: Format,
    /// Count the time left until this day or time in UTC, such as 2026-11-23 or 2026-11-23T14:30:00Z [default: today]
    #[arg(long, value_name = "TIME")]
    as_of: Option<AsOf>,
    /// Lowest severity to list: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    min_severity: Severity,
    /// Names of accounts, such as 111122223333=prod,444455556666=dev, or a CSV file with the columns account and name
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = account_names, hide_default_value = true)]
    account_names: Accounts,
    /// Number of log files to read at a time [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZero<usize>>,
    /// Result of `cloudhsm-alerts audit --format json`, for a section about the log files themselves
    #[arg(long, value_name = "FILE")]
    audit: Option<PathBuf>,
    #[command(flatten)]
    added: AddedRules,
    #[command(flatten)]
    filter: FilterOptions,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One self-contained page
    Html,
    /// The same data as one JSON object
    Json,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    check(&arguments).map_err(|message| usage_error(ErrorKind::ArgumentConflict, message))?;
    let audit = arguments
        .audit
        .as_deref()
        .map(AuditResult::read)
        .transpose();
    let audit = audit.map_err(|message| usage_error(ErrorKind::ValueValidation, message))?;
    let clock = Clock::default();
    let as_of = arguments.as_of.unwrap_or(AsOf::Day(clock.today()));
    let filter = Filter::new(&arguments.filter, &clock)?;
    // Opened first: nobody waits for a report that cannot be written.
    let mut output = Output::open(arguments.output.as_deref())?;
    let rules = arguments.added.load_with(read::added_rule())?;
    filter.check_rules(&rules)?;
    let progress = scan::printer::progress_bar();
    let reader = Reader {
        rules,
        filter,
        now: as_of.start(),
        accounts: arguments.account_names,
        min_severity: arguments.min_severity,
        progress: progress.clone(),
    };
    let found = scan::found_in(arguments.paths, progress.clone());
    let jobs = arguments
        .jobs
        .map_or_else(scan::queue::processors, NonZero::get);
    let collected = read::read_all(found, jobs, &reader, Collector::new(MAX_CALLS)?)?.finish()?;
    progress.finish_and_clear();
    for error in &collected.errors {
        eprintln!("error: {error}");
    }
    let mut report = Report::new(
        collected,
        as_of,
        arguments.min_severity,
        arguments.filter.describe(),
    );
    report.audit = audit;
    match write(&mut report, arguments.format, &mut output).and_then(|()| output.complete()) {
        // The reader of the output is gone, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result?,
    }
    print_counts(&report, arguments.output.as_deref());
    Ok(if report.read.errors.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn write(report: &mut Report, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Html => page::write(report, out),
        Format::Json => json::write(report, out),
    }
}

/// Options that contradict each other.
fn check(arguments: &Arguments) -> Result<(), String> {
    let Some(output) = &arguments.output else {
        if arguments.format == Format::Html && io::stdout().is_terminal() {
            return Err("the report is a page: name a file for it with --output".to_owned());
        }
        return Ok(());
    };
    let same = |path: &&PathBuf| {
        let both = (fs::canonicalize(path), fs::canonicalize(output));
        matches!(both, (Ok(input), Ok(output)) if input == output)
    };
    match arguments.paths.iter().find(same) {
        Some(_) => Err(format!(
            "--output {} would overwrite an input: name another file",
            one_line(&output.to_string_lossy(), 500)
        )),
        None => Ok(()),
    }
}

/// The counts, and where the report is, to standard error.
fn print_counts(report: &Report, output: Option<&Path>) {
    let read = &report.read;
    let mut line = format!(
        "{}, {} of JSON, {}: {} matched; {} listed",
        format::counted(read.files, "file"),
        format::bytes(read.bytes),
        format::counted(read.records, "record"),
        format::counted(read.matched, "call"),
        format::number(read.listed),
    );
    for (count, what) in [
        (read.not_listed, "above the limit of a report".to_owned()),
        (
            read.below_min_severity,
            format!("below --min-severity {}", read.min_severity),
        ),
        (read.filtered_out, "left out by options".to_owned()),
        (
            read.duplicates,
            if read.duplicates == 1 {
                "duplicate".to_owned()
            } else {
                "duplicates".to_owned()
            },
        ),
        (read.suppressed, "suppressed by filters".to_owned()),
        (read.unreadable_records, "unreadable".to_owned()),
    ] {
        if count > 0 {
            line.push_str(&format!("; {} {what}", format::number(count)));
        }
    }
    let errors = format::counted(read.error_count(), "error");
    match (read.errors.len() as u64, read.errors_not_shown) {
        (0, _) => {}
        (_, 0) => line.push_str(&format!("; {errors}, shown above")),
        (shown, _) => line.push_str(&format!(
            "; {errors}, {} shown above",
            format::number(shown)
        )),
    }
    eprintln!("{line}");
    if let Some(path) = output {
        eprintln!("report: {}", one_line(&path.to_string_lossy(), 500));
    }
}
