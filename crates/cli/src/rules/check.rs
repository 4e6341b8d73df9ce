//! `rules check`: finds errors and warnings in rule files. Problems go to standard output as `file:line: …`, which
//! editors understand, the totals to standard error.

use std::process::ExitCode;

use clap::Args;
use cloudhsm_alerts::{clock, files::FilesUri};
use cloudhsm_alerts_core::{
    rules::{
        check,
        diagnostic::{Diagnostic, Kind},
    },
    text::one_line,
};

use crate::{
    rule_files::read_or_builtin,
    terminal::{counted, print},
};

#[derive(Args)]
pub struct Arguments {
    /// Folders, files or s3://bucket/prefix; default: the built-in rules
    #[arg(value_name = "DIR")]
    locations: Vec<FilesUri>,
    /// Treat warnings as errors
    #[arg(long)]
    strict: bool,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let files = read_or_builtin(&arguments.locations)?;
    let problems = check::check(&files, clock::now());
    let lines: String = problems.iter().map(render).collect();
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

fn render(problem: &Diagnostic) -> String {
    let field = if problem.field.is_empty() {
        String::new()
    } else {
        format!("{}: ", one_line(&problem.field, 200))
    };
    let mut output = format!(
        "{}: {}: {field}{}",
        problem.place(),
        problem.kind.as_str(),
        one_line(&problem.message, 600)
    );
    if let Some(hint) = &problem.hint {
        output.push_str("\n    ");
        output.push_str(&one_line(hint, 600));
    }
    output.push('\n');
    output
}
