//! `rules list`: lists the rules and filters in use, as a table or as JSON.

use std::process::ExitCode;

use clap::{Args, ValueEnum};
use cloudhsm_alerts::clock;
use cloudhsm_alerts_core::{rules::RuleSet, text::one_line};
use comfy_table::{ContentArrangement, Table, presets::NOTHING};
use serde_json::{Value, json};

use crate::{rule_files::AddedRules, terminal::print};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    added: AddedRules,
    /// Output format
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One line per rule
    Table,
    /// One JSON object with rules and filters
    Json,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let set = arguments.added.load()?;
    let output = match arguments.format {
        Format::Table => table(&set),
        Format::Json => format!("{:#}\n", as_json(&set)),
    };
    print(&output)?;
    Ok(ExitCode::SUCCESS)
}

fn table(set: &RuleSet) -> String {
    let mut table = Table::new();
    table
        .load_style(NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(["LEVEL", "NAME", "TITLE", "ATT&CK"]);
    for rule in set.rules() {
        table.add_row([
            rule.level.as_str().to_owned(),
            one_line(&rule.name, 80),
            one_line(&rule.title, 80),
            rule.techniques.join(" "),
        ]);
    }
    let mut output = String::new();
    for line in table.lines() {
        output.push_str(line.trim_end());
        output.push('\n');
    }
    for filter in set.filters() {
        let rules = if filter.rules.is_empty() {
            "every rule".to_owned()
        } else {
            one_line(&filter.rules.join(", "), 200)
        };
        let until = filter.expires.map_or_else(String::new, |last| {
            let verb = if filter.is_expired(clock::now()) {
                "EXPIRED on"
            } else {
                "until"
            };
            format!(", {verb} {last}")
        });
        output.push_str(&format!(
            "filter {} ({}): suppresses matches of {rules}{until}\n",
            one_line(&filter.name, 80),
            one_line(&filter.title, 80)
        ));
    }
    output
}

fn as_json(set: &RuleSet) -> Value {
    let rules: Vec<Value> = set
        .rules()
        .iter()
        .map(|rule| {
            json!({
                "id": rule.id,
                "name": rule.name,
                "level": rule.level.as_str(),
                "title": rule.title,
                "description": rule.description().trim_end(),
                "attack": rule.techniques,
            })
        })
        .collect();
    let filters: Vec<Value> = set
        .filters()
        .iter()
        .map(|filter| {
            json!({
                "id": filter.id,
                "name": filter.name,
                "title": filter.title,
                "rules": filter.rules,
                "expires": filter.expires.map(|date| date.to_string()),
                "expired": filter.is_expired(clock::now()),
            })
        })
        .collect();
    json!({ "rules": rules, "filters": filters })
}
