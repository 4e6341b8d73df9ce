//! `scan`: reads log files and prints alerts.
//!
//! [`local`] finds log files in folders and [`bucket`] in S3. [`queue`] reads several of them at a time and prints
//! the results in the order in which the files were found. [`reader`] reads one file, [`render`] formats an alert,
//! [`printer`] prints a result, in order of time with [`sorter`], and [`totals`] counts.

pub(crate) mod bucket;
pub(crate) mod found;
mod local;
pub(crate) mod options;
pub(crate) mod printer;
pub(crate) mod queue;
mod reader;
mod render;
mod sorter;
mod table;
mod totals;

use std::{
    error::Error,
    io, iter,
    num::NonZero,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, error::ErrorKind};
use indicatif::ProgressBar;

use crate::output::Output;
use bucket::Requests;
use found::{AllFound, Found, LogFile};
use options::Options;
use printer::Printer;
use reader::Reader;

use crate::{address::Address, filter::usage_error};

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not), folders, s3://bucket/prefix, s3://bucket/key?versionId=ID, or - for standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Number of log files to read at a time [default: one for each processor]
    #[arg(long, value_name = "NUMBER")]
    jobs: Option<NonZero<usize>>,
    /// Write to this file, which is replaced when the scan has ended, and not to standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: Arguments) -> Result<ExitCode, Box<dyn Error>> {
    if arguments.paths.iter().filter(|path| is_input(path)).count() > 1 {
        return Err(usage_error(
            ErrorKind::ArgumentConflict,
            "standard input (-) is named twice, and can be read only once".into(),
        )
        .into());
    }
    let output = Output::open(arguments.output.as_deref())?;
    let min_severity = arguments.options.min_severity;
    let progress = printer::progress_bar();
    // Never dropped: dropping the rules takes as long as reading a small file, and the process ends after this
    // function, even if a thread still waits for a source.
    let reader = Reader::new(arguments.options, progress.clone())?;
    let reader: &Reader = Box::leak(Box::new(reader));
    let printer = Printer::new(progress.clone(), output, &reader.options);
    let found = found_in(arguments.paths, progress.clone());
    let jobs = arguments.jobs.map_or_else(queue::processors, NonZero::get);
    let (totals, ended) = queue::read_all(found, jobs, reader, printer);
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

/// Whether a path stands for standard input.
fn is_input(path: &Path) -> bool {
    path == Path::new("-")
}

/// What is found in all paths, in their order.
pub(crate) fn found_in(paths: Vec<PathBuf>, progress: ProgressBar) -> AllFound {
    let mut requests = None;
    Box::new(paths.into_iter().flat_map(move |path| {
        if is_input(&path) {
            return Box::new(iter::once(Found::LogFile(LogFile::Input))) as AllFound;
        }
        let Some(address) = Address::parse(&path) else {
            return local::find(path, progress.clone());
        };
        // Made with the first path in S3.
        let requests = requests.get_or_insert_with(Requests::start);
        match requests {
            Ok(requests) => bucket::find(&address, requests, progress.clone()),
            Err(error) => {
                let message = format!("{}: {error}", address.shown());
                Box::new(iter::once(Found::Error(message)))
            }
        }
    }))
}
