//! `rules document`: the rules in words, for people who get their alerts. docs/rules.md is made with it.

use std::process::ExitCode;

use clap::Args;
use cloudhsm_alerts::rule_source::RulesUri;
use cloudhsm_alerts_core::rules::{reference, watched::Watched};

use super::files;
use crate::{rule_files::lines, terminal::print};

#[derive(Args)]
pub struct Arguments {
    /// Folders, files and s3://bucket/prefix; without any, the built-in rules
    #[arg(value_name = "DIR")]
    places: Vec<RulesUri>,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let files = files(&arguments.places)?;
    let page = reference::page(&files, &Watched::default()).map_err(|problems| lines(&problems))?;
    print(&page)?;
    Ok(ExitCode::SUCCESS)
}
