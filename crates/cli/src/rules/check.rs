//! `rules check`: problems on standard output, one after another in the form that editors jump from; the sum
//! on standard error.

use std::process::ExitCode;

use clap::Args;
use cloudhsm_alerts::{rule_source::RulesUri, shell};
use cloudhsm_alerts_core::{
    rules::{
        check,
        diagnostic::{Diagnostic, Kind},
    },
    text::one_line,
};

use super::files;
use crate::terminal::{counted, print};

#[derive(Args)]
pub struct Arguments {
    /// Folders, files and s3://bucket/prefix; without any, the built-in rules
    #[arg(value_name = "DIR")]
    places: Vec<RulesUri>,
    /// Take warnings for errors
    #[arg(long)]
    strict: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let files = files(&arguments.places)?;
    let problems = check::check(&files, shell::today());
    let lines: String = problems.iter().map(shown).collect();
    print(&lines)?;
    let count = |weight| {
        problems
            .iter()
            .filter(|problem| problem.kind == weight)
            .count()
    };
    let (errors, warnings) = (count(Kind::Error), count(Kind::Warning));
    eprintln!(
        "{} checked: {}, {}",
        counted(files.len(), "file"),
        counted(errors, "error"),
        counted(warnings, "warning")
    );
    let failed = errors > 0 || (arguments.strict && warnings > 0);
    Ok(if failed {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn shown(problem: &Diagnostic) -> String {
    let field = if problem.field.is_empty() {
        String::new()
    } else {
        format!("{}: ", one_line(&problem.field, 200))
    };
    let mut text = format!(
        "{}: {}: {field}{}",
        problem.place(),
        problem.kind.as_str(),
        one_line(&problem.message, 600)
    );
    if let Some(hint) = &problem.hint {
        text.push_str("\n    ");
        text.push_str(&one_line(hint, 600));
    }
    text.push('\n');
    text
}
