//! `rules document`: prints rules as a Markdown page for people who receive alerts. It generates docs/rules.md.

use std::process::ExitCode;

use clap::Args;
use cloudhsm_alerts::files::FilesUri;
use cloudhsm_alerts_core::rules::{reference, watched::Watched};

use crate::{
    rule_files::{lines, read_or_builtin},
    terminal::print,
};

#[derive(Args)]
pub struct Arguments {
    /// Folders, files or s3://bucket/prefix; default: the built-in rules
    #[arg(value_name = "DIR")]
    locations: Vec<FilesUri>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let files = read_or_builtin(&arguments.locations)?;
    let page = reference::page(&files, &Watched::default()).map_err(|problems| lines(&problems))?;
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}
