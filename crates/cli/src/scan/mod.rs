//! `scan`: reads log files and prints alerts.
//!
//! [`local`] finds log files in folders and [`bucket`] in S3. [`queue`] reads several of them at a time and prints
//! the results in the order in which the files were found. [`reader`] reads one file, [`render`] formats an alert,
//! [`printer`] prints a result, and [`totals`] counts.

mod bucket;
pub(crate) mod found;
mod local;
pub(crate) mod options;
pub(crate) mod printer;
pub(crate) mod queue;
mod reader;
mod render;
mod totals;

use std::{error::Error, io, iter, num::NonZero, path::PathBuf, process::ExitCode};

use clap::Args;
use cloudhsm_alerts_core::text::one_line;
use indicatif::ProgressBar;

use bucket::Requests;
use found::{AllFound, Found};
use options::Options;
use printer::Printer;
use reader::Reader;

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not), folders, or s3://bucket/prefix
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Number of log files to read at a time [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZero<usize>>,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    let min_severity = arguments.options.min_severity;
    let progress = printer::progress_bar();
    // Never dropped: dropping the rules takes as long as reading a small file, and the process ends after this
    // function, even if a thread still waits for a source.
    let reader = Reader::new(arguments.options, progress.clone())?;
    let reader: &Reader = Box::leak(Box::new(reader));
    let found = found_in(arguments.paths, progress.clone());
    let jobs = arguments.jobs.map_or_else(queue::processors, NonZero::get);
    let (totals, ended) = queue::read_all(found, jobs, reader, Printer::new(progress));
    match ended {
        // The reader of the output is gone, as with `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        ended => ended?,
    }
    // Reports invalid rules even if there was no log file.
    reader.rules()?;
    totals.print(min_severity);
    Ok(if totals.errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What is found in all paths, in their order.
pub(crate) fn found_in(paths: Vec<PathBuf>, progress: ProgressBar) -> AllFound {
    let mut requests = None;
    Box::new(paths.into_iter().flat_map(move |path| {
        let Some(address) = path.to_str().and_then(|path| path.strip_prefix("s3://")) else {
            return local::find(path, progress.clone());
        };
        // Made with the first path in S3.
        let requests = requests.get_or_insert_with(Requests::start);
        match requests {
            Ok(requests) => bucket::find(address, requests, progress.clone()),
            Err(error) => {
                let message = format!("{}: {error}", one_line(&path.to_string_lossy(), 500));
                Box::new(iter::once(Found::Error(message)))
            }
        }
    }))
}
