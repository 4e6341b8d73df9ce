//! `audit`: proves with CloudTrail's digest files that log files are complete and unaltered.
//!
//! [`find`] finds the regions of accounts that have digest files or log files, [`source`] reads the objects of a bucket
//! or folder, [`keys`] has the public keys, [`region`] examines all chains of one region and account, and [`stops`] looks
//! for who stopped a trail. The core judges; [`text`] and [`result`] print its verdicts.

mod find;
mod keys;
mod region;
pub(crate) mod result;
mod source;
mod stops;
mod text;

use std::{
    error::Error,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use clap::{Args, ValueEnum, error::ErrorKind};
use cloudhsm_alerts::clock::Clock;
use cloudhsm_alerts_core::digest::chain::Period;
use futures_util::{StreamExt, stream};
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::{
    address::Address,
    filter::{moment::Moment, usage_error},
    output::Output,
    scan::printer::progress_bar,
    sdk,
};
use keys::KeySource;
use region::{Audit, RegionResult};
use result::AuditResult;
use source::Source;

pub(crate) const LONG_ABOUT: &str = "\
Prove with CloudTrail's digest files that log files are complete and unaltered.

Finds all chains of digest files (one for each account, region and trail), verifies
their signatures with CloudTrail's public keys, checks that each names the one before,
and compares every log file with its hash. Reports what is proved, and every gap.";

pub(crate) const AFTER_HELP: &str = "\
Exit codes:
  0  everything that was found is proved
  1  something is wrong, missing, or could not be checked
  2  there is nothing to prove: no digest files; or invalid usage";

/// Number of regions of accounts that are examined side by side.
const REGIONS: usize = 8;

#[derive(Args)]
pub struct Arguments {
    /// The trail's bucket (s3://BUCKET or s3://BUCKET/PREFIX), or a folder with a copy of it
    #[arg(value_name = "PLACE")]
    place: PathBuf,
    /// Beginning: 2026-11-01, 2026-11-01T08:00:00Z, or 90d or 12h before now [default: the first digest file]
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    from: Option<Moment>,
    /// End; a date includes the whole day (UTC) [default: now]
    #[arg(long, value_name = "TIME", value_parser = Moment::parse)]
    to: Option<Moment>,
    /// Only this account (can be repeated)
    #[arg(long, value_name = "ID")]
    account: Vec<String>,
    /// Only this region (can be repeated)
    #[arg(long, value_name = "REGION")]
    region: Vec<String>,
    /// Saved output of `aws cloudtrail list-public-keys`, and not CloudTrail (can be repeated)
    #[arg(long, value_name = "FILE")]
    public_keys: Vec<PathBuf>,
    /// The bucket and prefix that a folder is a copy of
    #[arg(long = "as", value_name = "s3://BUCKET/PREFIX")]
    copy_of: Option<PathBuf>,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file, and not to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON object, which `report --audit` reads
    Json,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let now = Clock::default().now();
    let period = period(arguments, now)?;
    let mut output = Output::open(arguments.output.as_deref())?;
    let runtime = sdk::runtime()?;
    let result = runtime.block_on(audit(arguments, period))?;
    // Reads of files that were given up may still run.
    runtime.shutdown_background();
    let text = match arguments.format {
        Format::Text => text::of(&result),
        Format::Json => result.json(),
    };
    match output
        .write_all(text.as_bytes())
        .and_then(|()| output.complete())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    for error in &result.errors {
        eprintln!("error: {error}");
    }
    eprintln!("{}", text::summary(&result));
    Ok(ExitCode::from(result.verdict().exit_code()))
}

async fn audit(arguments: &Arguments, period: Period) -> Result<AuditResult, Box<dyn Error>> {
    let progress = bar();
    let address = Address::parse(&arguments.place);
    let files = keys::of_files(&arguments.public_keys)
        .map_err(|message| usage_error(ErrorKind::ValueValidation, message))?;
    let (source, keys) = match &address {
        Some(_) if arguments.copy_of.is_some() => {
            return Err(usage_error(
                ErrorKind::ArgumentConflict,
                "--as is for a folder: a bucket has its own name".into(),
            )
            .into());
        }
        Some(address) => {
            let sdk = sdk::config_with_credentials().await?;
            let keys = files.unwrap_or_else(|| KeySource::cloudtrail(&sdk));
            (Source::bucket(&sdk, address), keys)
        }
        None => {
            let source = Source::folder(&arguments.place, arguments.copy_of.as_deref())
                .map_err(|message| usage_error(ErrorKind::ValueValidation, message))?;
            (source, files.unwrap_or(KeySource::None))
        }
    };
    let source = Arc::new(source);
    let mut errors = Vec::new();
    let wanted = |account: &str, region: &str| {
        let has = |wanted: &[String], found: &str| {
            wanted.is_empty() || wanted.iter().any(|name| name == found)
        };
        has(&arguments.account, account) && has(&arguments.region, region)
    };
    let regions = match find::regions(&source, &wanted).await {
        Ok(regions) => regions,
        Err(message) => {
            errors.push(message);
            Vec::new()
        }
    };
    let audit = Audit::new(Arc::clone(&source), keys, period, progress.clone());
    let mut results: Vec<RegionResult> = stream::iter(&regions)
        .map(|region| audit.region(region))
        .buffer_unordered(REGIONS)
        .collect()
        .await;
    progress.finish_and_clear();
    results.sort_by(|a, b| a.place.cmp(&b.place));
    Ok(AuditResult::new(&source, period, results, errors))
}

fn period(arguments: &Arguments, now: Timestamp) -> Result<Period, clap::Error> {
    let out_of_range = |moment: &Moment| {
        usage_error(
            ErrorKind::ValueValidation,
            format!("{moment}: the time is out of range"),
        )
    };
    let from = match &arguments.from {
        Some(moment) => Some(moment.first(now).ok_or_else(|| out_of_range(moment))?),
        None => None,
    };
    let to = match &arguments.to {
        Some(moment) => {
            let last = moment.last(now).ok_or_else(|| out_of_range(moment))?;
            // The last nanosecond of a day, as its end.
            Some(last.round(jiff::Unit::Second).unwrap_or(last))
        }
        None => None,
    };
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(usage_error(
            ErrorKind::ArgumentConflict,
            "--from must be earlier than --to".into(),
        ));
    }
    Ok(Period { from, to, now })
}

/// Like that of a scan, but of digest files.
fn bar() -> ProgressBar {
    let bar = progress_bar();
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} digest files {eta}") {
        bar.set_style(style);
    }
    bar
}
