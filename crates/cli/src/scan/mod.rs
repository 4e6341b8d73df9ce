//! `scan`: reads log files and prints alerts. [`local`] finds log files in folders, [`bucket`] in S3, [`session`]
//! reads them one by one, and [`totals`] counts.

mod bucket;
mod local;
mod session;
mod totals;

use std::{cell::OnceCell, error::Error, mem::ManuallyDrop, path::PathBuf, process::ExitCode};

use clap::Args;

use session::{Options, Session};

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not), folders, or s3://bucket/prefix
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    options: Options,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn Error>> {
    // Dropping the rules takes as long as reading a small file, and the process ends after this function.
    let rules = ManuallyDrop::new(OnceCell::new());
    let progress = session::progress_bar();
    let mut session = Session::new(&arguments.options, &rules, &progress);
    for path in &arguments.paths {
        match path.to_str().and_then(|path| path.strip_prefix("s3://")) {
            Some(address) => bucket::scan(address, &mut session)?,
            None => local::scan(path, &mut session)?,
        }
    }
    let totals = session.finish()?;
    progress.finish_and_clear();
    totals.print(arguments.options.min_severity);
    Ok(if totals.errors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
