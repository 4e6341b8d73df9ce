//! `explain`: what every rule makes of one record of a log file, and why.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Args;
use cloudhsm_alerts::shell;
use cloudhsm_alerts_core::{
    log_file::{DEFAULT_MAX_UNCOMPRESSED, Entry, LogFile},
    record::Record,
    rules::{RuleSet, explain::Explanation},
    text::one_line,
};

use crate::{rule_files::AddedRules, terminal::print};

#[derive(Args)]
pub struct Arguments {
    /// A log file (JSON, gzip or not); `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The record's eventID
    #[arg(long, value_name = "ID")]
    event_id: String,
    /// Explain this rule only, by its name or id
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    #[command(flatten)]
    added: AddedRules,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let set = arguments.added.load()?;
    let record = record(&arguments.file, &arguments.event_id)?;
    let mut explanations = set.explain(&record, shell::today());
    if let Some(name) = &arguments.rule {
        explanations.retain(|found| found.rule.name == *name || found.rule.id == *name);
        if explanations.is_empty() {
            return Err(no_such_rule(&set, name).into());
        }
    }
    let text = text(&record, &explanations);
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn no_such_rule(set: &RuleSet, name: &str) -> String {
    let near = set
        .rules()
        .into_iter()
        .map(|rule| rule.name.clone())
        .find(|known| known.contains(name));
    match near {
        Some(near) => format!("there is no rule {name:?}; did you mean {near}?"),
        None => format!("there is no rule {name:?}; `cloudhsm-alerts rules list` shows them"),
    }
}

/// The record with this event ID: the first, where the file has it several times.
fn record(path: &Path, event_id: &str) -> Result<Record, Box<dyn std::error::Error>> {
    let shown = one_line(&path.display().to_string(), 500);
    let mut input: Box<dyn Read> = if shown == "-" {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(|error| format!("{shown}: {error}"))?)
    };
    let mut log_file = LogFile::new(DEFAULT_MAX_UNCOMPRESSED);
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
    // A damaged file may still hold the record that is asked about.
    match (found, failure) {
        (Some(record), _) => Ok(record),
        (None, Some(failure)) => Err(format!("{shown}: {failure}").into()),
        (None, None) => Err(format!(
            "{shown}: none of its {records} records ({unreadable} unreadable) has the eventID {:?}",
            one_line(event_id, 256)
        )
        .into()),
    }
}

fn text(record: &Record, explanations: &[Explanation]) -> String {
    let mut text = format!(
        "{} of {}, {}\n",
        one_line(record.event_name(), 128),
        one_line(record.event_source(), 128),
        record.outcome().label()
    );
    let (met, others): (Vec<_>, Vec<_>) = explanations.iter().partition(|found| found.is_match);
    if met.is_empty() {
        text.push_str("\nMeets no rule.\n");
    } else {
        text.push_str("\nMEETS\n");
    }
    for found in met {
        text.push_str(&format!(
            "  {} {}",
            found.rule.level,
            one_line(&found.rule.name, 100)
        ));
        if let Some(filter) = &found.filter {
            text.push_str(&format!(
                ", but the filter {} keeps it back",
                one_line(&filter.name, 100)
            ));
        }
        text.push('\n');
        reasons(&mut text, found);
    }
    if !others.is_empty() {
        text.push_str("\nDOES NOT MEET, nearest first\n");
    }
    for found in others {
        text.push_str(&format!("  {}\n", one_line(&found.rule.name, 100)));
        reasons(&mut text, found);
    }
    text
}

fn reasons(text: &mut String, found: &Explanation) {
    for reason in &found.reasons {
        text.push_str("      ");
        text.push_str(reason);
        text.push('\n');
    }
}
