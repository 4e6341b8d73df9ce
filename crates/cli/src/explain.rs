//! `explain`: which rules one record of a log file matches, and why the others do not match.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use cloudhsm_alerts::clock;
use cloudhsm_alerts_core::{
    log_file::{DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile},
    record::Record,
    rules::{RuleSet, explain::Explanation},
    text::one_line,
};

use crate::{
    address::Address,
    rule_files::AddedRules,
    scan::bucket::{self, Requests},
    terminal::{counted, print, shown},
};

/// Maximum number of rules shown that nearly match.
const MAX_NEAR: usize = 5;

#[derive(Args)]
pub struct Arguments {
    /// A log file (JSON, gzip or not), or s3://bucket/key, with ?versionId=ID as alerts print it; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The record's eventID
    #[arg(long, value_name = "ID")]
    event_id: String,
    /// Explain every rule, with all conditions that decide
    #[arg(long)]
    all: bool,
    /// Explain only the rule with this name or ID, with all conditions
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    #[command(flatten)]
    added: AddedRules,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let set = arguments.added.load()?;
    let record = find_record(&arguments.file, &arguments.event_id)?;
    let mut explanations = set.explain(&record, clock::now());
    if let Some(name) = &arguments.rule {
        explanations.retain(|explanation| {
            explanation.rule.name == *name || explanation.rule.id.eq_ignore_ascii_case(name)
        });
        if explanations.is_empty() {
            return Err(unknown_rule(&set, name).into());
        }
    }
    if arguments.all || arguments.rule.is_some() {
        print(&render(&record, &explanations))?;
    } else {
        let (output, left_out) = render_short(&record, &explanations);
        print(&output)?;
        eprintln!("{left_out}");
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown_rule(set: &RuleSet, name: &str) -> String {
    let similar = set
        .rules()
        .into_iter()
        .map(|rule| rule.name.clone())
        .find(|known| known.contains(name));
    match similar {
        Some(similar) => format!("there is no rule {name:?}; did you mean {similar}?"),
        None => format!("there is no rule {name:?}; `cloudhsm-alerts rules list` shows all rules"),
    }
}

/// The first record of a log file with this event ID.
fn find_record(path: &Path, event_id: &str) -> Result<Record, Box<dyn std::error::Error>> {
    let name = shown(&path.to_string_lossy());
    let mut input: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else if let Some(address) = Address::parse(path) {
        Box::new(bucket::open(&address, &Requests::start()?)?)
    } else {
        Box::new(File::open(path).map_err(|error| format!("{name}: {error}"))?)
    };
    let mut log_file = LogFile::new(DEFAULT_MAX_UNCOMPRESSED).of_any_form();
    let (mut found, mut records, mut unreadable) = (None, 0_u64, 0_u64);
    let mut take = |entry: Entry| {
        records += 1;
        match entry {
            Ok(record) if found.is_none() && record.event_id() == event_id => found = Some(record),
            Ok(_) => {}
            Err(_) => unreadable += 1,
        }
    };
    let mut chunk = vec![0; 128 * 1024];
    let failure = loop {
        let length = match input.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => break Some(error.to_string()),
        };
        let step = if length == 0 {
            log_file.finish(&mut take)
        } else {
            log_file.push(&chunk[..length], &mut take)
        };
        match step {
            Err(error) => break Some(error.to_string()),
            Ok(()) if length == 0 => break None,
            Ok(()) => {}
        }
    };
    // The record may come before the damage in a damaged file.
    if let Some(record) = found {
        return Ok(record);
    }
    let failure = failure.map_or_else(String::new, |failure| format!(", and {failure}"));
    Err(format!(
        "{name}: none of {records} records ({unreadable} unreadable) has the eventID {:?}{failure}",
        one_line(event_id, 256)
    )
    .into())
}

fn headline(record: &Record) -> String {
    format!(
        "{} of {}, {}\n",
        one_line(record.event_name(), 128),
        one_line(record.event_source(), 128),
        record.outcome().label()
    )
}

/// The name of a rule that matches, and the filter that suppresses the match.
fn push_match(output: &mut String, explanation: &Explanation) {
    output.push_str(&format!(
        "  {} {}",
        explanation.rule.level,
        one_line(&explanation.rule.name, 100)
    ));
    if let Some(filter) = &explanation.filter {
        output.push_str(&format!(
            ", suppressed by filter {}",
            one_line(&filter.name, 100)
        ));
    }
    output.push('\n');
}

/// The rules that match, and those that one condition keeps from matching. The second text says what is left out.
fn render_short(record: &Record, explanations: &[Explanation]) -> (String, String) {
    let mut output = headline(record);
    let (matching, others): (Vec<_>, Vec<_>) = explanations
        .iter()
        .partition(|explanation| explanation.is_match);
    output.push_str(if matching.is_empty() {
        "\nMatches no rule.\n"
    } else {
        "\nMATCHES\n"
    });
    for explanation in matching {
        push_match(&mut output, explanation);
    }
    let near: Vec<_> = others
        .iter()
        .filter_map(|explanation| match explanation.reasons.as_slice() {
            [reason] => Some((explanation, reason)),
            _ => None,
        })
        .take(MAX_NEAR)
        .collect();
    if !near.is_empty() {
        output.push_str("\nNEAREST MISSES, each by one condition\n");
    }
    for (explanation, reason) in &near {
        output.push_str(&format!(
            "  {}\n      {reason}\n",
            one_line(&explanation.rule.name, 100)
        ));
    }
    let left_out = format!(
        "{} not shown; --all shows every rule and condition, --rule NAME one rule",
        counted(others.len() - near.len(), "other rule")
    );
    (output, left_out)
}

fn render(record: &Record, explanations: &[Explanation]) -> String {
    let mut output = headline(record);
    let (matching, others): (Vec<_>, Vec<_>) = explanations
        .iter()
        .partition(|explanation| explanation.is_match);
    if matching.is_empty() {
        output.push_str("\nMatches no rule.\n");
    } else {
        output.push_str("\nMATCHES\n");
    }
    for explanation in matching {
        push_match(&mut output, explanation);
        push_reasons(&mut output, explanation);
    }
    if !others.is_empty() {
        output.push_str("\nDOES NOT MATCH, nearest first\n");
    }
    for explanation in others {
        output.push_str(&format!("  {}\n", one_line(&explanation.rule.name, 100)));
        push_reasons(&mut output, explanation);
    }
    output
}

fn push_reasons(output: &mut String, explanation: &Explanation) {
    for reason in &explanation.reasons {
        output.push_str("      ");
        output.push_str(reason);
        output.push('\n');
    }
}
