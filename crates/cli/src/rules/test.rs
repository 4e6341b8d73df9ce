//! `rules test`: runs the tests in rule files. Failures go to standard output with an explanation, the totals to
//! standard error, and all results to a JUnit XML file if one is named.

use std::{fs, path::PathBuf, process::ExitCode};

use clap::Args;
use cloudhsm_alerts::files::FilesUri;
use cloudhsm_alerts_core::{
    rules::{
        cases::{self, Tested},
        watched::Watched,
    },
    text::one_line,
};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::{
    rule_files::{lines, read_or_builtin},
    terminal::{counted, print},
};

#[derive(Args)]
pub struct Arguments {
    /// Folders, files or s3://bucket/prefix; default: the built-in rules
    #[arg(value_name = "DIR")]
    locations: Vec<FilesUri>,
    /// Also write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Names of the resources that rules watch, such as trail_bucket=NAME
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = Watched::parse, hide_default_value = true)]
    watched: Watched,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let files = read_or_builtin(&arguments.locations)?;
    let tested = cases::run(&files, &arguments.watched).map_err(|problems| lines(&problems))?;
    let mut failures = String::new();
    let (mut passed, mut failed) = (0, 0);
    for rule in &tested {
        for (case, outcome) in &rule.cases {
            let Err(reason) = outcome else {
                passed += 1;
                continue;
            };
            failed += 1;
            failures.push_str(&format!(
                "{}:{}: FAILED: {} {} \"{}\"\n    {}\n",
                rule.file,
                case.line,
                one_line(&rule.rule, 100),
                case.expected.as_str(),
                one_line(&case.name, 200),
                one_line(reason, 1000)
            ));
        }
    }
    print(&failures)?;
    if let Some(path) = &arguments.junit {
        fs::write(path, junit(&tested)?).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let untested = tested.iter().filter(|rule| rule.cases.is_empty()).count();
    let mut totals = format!(
        "{}: {passed} passed, {failed} failed",
        counted(tested.len(), "rule")
    );
    if untested > 0 {
        totals.push_str(&format!("; {} without a test", counted(untested, "rule")));
    }
    eprintln!("{totals}");
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// JUnit XML with one suite per rule.
fn junit(tested: &[Tested]) -> Result<String, Box<dyn std::error::Error>> {
    let mut report = Report::new("cloudhsm-alerts rules");
    for rule in tested {
        let mut suite = TestSuite::new(rule.rule.as_str());
        for (case, outcome) in &rule.cases {
            let status = match outcome {
                Ok(()) => TestCaseStatus::success(),
                Err(reason) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(reason.as_str());
                    status
                }
            };
            let name = format!("{} {}", case.expected.as_str(), case.name);
            let mut test = TestCase::new(name, status);
            test.set_classname(rule.rule.as_str());
            test.extra.insert("file".into(), rule.file.as_str().into());
            test.extra
                .insert("line".into(), case.line.to_string().into());
            suite.add_test_case(test);
        }
        report.add_test_suite(suite);
    }
    Ok(report.to_string()?)
}
