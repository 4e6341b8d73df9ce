//! `deadlines`: the open deadlines of the watch table, and the end of reminders about one that was planned.
//!
//! A call that undoes what was done closes a deadline by itself. Closing one here undoes nothing: it records who decided
//! that nothing is to be undone, and why.

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use cloudhsm_alerts::{
    clock::Clock,
    timing::Timing,
    watch::{PAGED, WatchTable, WatchedDeadline},
};
use cloudhsm_alerts_core::{
    alert::reminder::left, deadline::Deadline, defang::defanged, rules::response::minutes,
    text::one_line,
};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::{sdk, terminal::print};

pub const LONG_ABOUT: &str = "\
List the open deadlines of the function's watch table, or end the reminders about one

A deadline is opened by a call that can be undone for a time, such as DeleteBackup, and closed by the call that
undoes it. Requires AWS credentials with dynamodb:Query, and for close with dynamodb:UpdateItem and
sts:GetCallerIdentity, and the function's region in AWS_REGION or the profile.";

#[derive(Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List open deadlines, the next to end first
    List(ListArguments),
    /// End the reminders about a deadline, because the call was planned. Nothing is undone
    Close(CloseArguments),
}

#[derive(Args)]
struct ListArguments {
    /// The watch table, by name or ARN
    #[arg(long)]
    table: String,
    /// Also list deadlines that are closed or over
    #[arg(long)]
    all: bool,
    /// How to print them
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Args)]
struct CloseArguments {
    /// The deadline: its ID as `deadlines list` prints it, or the ID of its resource if only one deadline has it
    id: String,
    /// The watch table, by name or ARN
    #[arg(long)]
    table: String,
    /// Why; kept in the table
    #[arg(long)]
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// One JSON document
    Json,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let runtime = sdk::runtime()?;
    let now = Clock::default().now();
    match &arguments.command {
        Command::List(arguments) => runtime.block_on(list(arguments, now)),
        Command::Close(arguments) => runtime.block_on(close(arguments, now)),
    }
}

async fn list(
    arguments: &ListArguments,
    now: Timestamp,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let table = table(&sdk::config_with_credentials().await?, &arguments.table);
    let listed = table.list().await?;
    let mut deadlines: Vec<(&WatchedDeadline, &Deadline)> = listed
        .deadlines
        .iter()
        .filter_map(|watched| Some((watched, watched.opened.as_ref()?)))
        .filter(|(watched, opened)| arguments.all || (watched.is_open() && opened.due > now))
        .collect();
    deadlines.sort_by_key(|(_, opened)| (opened.due, opened.key.clone()));
    match arguments.format {
        Format::Json => {
            let all: Vec<Value> = deadlines
                .iter()
                .map(|(watched, opened)| as_json(watched, opened, now))
                .collect();
            let foreign = listed.foreign;
            print(&format!(
                "{:#}\n",
                json!({"deadlines": all, "unreadable_items": foreign})
            ))?;
        }
        Format::Text => {
            for (watched, opened) in &deadlines {
                print(&text(watched, opened, now))?;
            }
            if deadlines.is_empty() {
                eprintln!("no open deadlines");
            }
        }
    }
    if listed.foreign > 0 {
        eprintln!(
            "{} items of the table cannot be read by this version; they were left as they are",
            listed.foreign
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

async fn close(
    arguments: &CloseArguments,
    now: Timestamp,
) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let reason = one_line(arguments.reason.trim(), 500);
    if reason.is_empty() {
        return Err("--reason: expected why nothing is to be undone, found an empty text".into());
    }
    let config = sdk::config_with_credentials().await?;
    let table = table(&config, &arguments.table);
    let listed = table.list().await?;
    let is_meant = |watched: &&WatchedDeadline| {
        let key = &watched.key;
        key.text() == arguments.id || key.resource == arguments.id
    };
    let open: Vec<&Deadline> = listed
        .deadlines
        .iter()
        .filter(is_meant)
        .filter_map(WatchedDeadline::open)
        .collect();
    let [deadline] = open.as_slice() else {
        let id = one_line(&arguments.id, 300);
        return Err(match open.len() {
            0 => format!("no open deadline has the ID or resource {id:?}; `cloudhsm-alerts deadlines list` shows those that are open"),
            count => format!("{count} open deadlines have the resource {id:?}; give the whole ID of one: {}",
                open.iter().map(|deadline| deadline.key.text()).collect::<Vec<_>>().join(", ")),
        }
        .into());
    };
    let by = sdk::caller(&config).await?;
    let is_closed = table
        .dismiss(&deadline.key, deadline.opened, &by, &reason, now)
        .await?;
    if !is_closed {
        return Err(
            "the deadline was opened again a moment ago by another call; nothing was closed".into(),
        );
    }
    print(&format!(
        "No more reminders about {}: closed by {}. Nothing was undone.\n",
        defanged(&deadline.subject, 256),
        one_line(&by, 256)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn table(config: &aws_config::SdkConfig, name: &str) -> WatchTable {
    WatchTable::connect(config, &Timing::default(), name.to_owned())
}

/// What became of a deadline.
fn state(watched: &WatchedDeadline, opened: &Deadline, now: Timestamp) -> String {
    if let Some(dismissed) = watched
        .dismissed
        .as_ref()
        .filter(|it| it.opened == opened.opened)
    {
        return format!(
            "closed by {} on {}: {}",
            one_line(&dismissed.by, 256),
            minutes(dismissed.at),
            one_line(&dismissed.reason, 500)
        );
    }
    if let Some(closed) = watched.closed.as_ref().filter(|_| !watched.is_open()) {
        return format!("{} on {}", defanged(&closed.by, 256), minutes(closed.at));
    }
    let time = opened.due.duration_since(now);
    match time > SignedDuration::ZERO {
        true => format!("open, {} left", left(time)),
        false => "over, and nothing was undone".to_owned(),
    }
}

fn text(watched: &WatchedDeadline, opened: &Deadline, now: Timestamp) -> String {
    let key = &opened.key;
    let mut text = format!(
        "{}  {}, {}\n",
        minutes(opened.due),
        defanged(&opened.subject, 256),
        state(watched, opened, now)
    );
    let cluster = opened
        .cluster
        .as_ref()
        .map_or_else(String::new, |id| format!(", cluster {}", defanged(id, 128)));
    text += &format!(
        "    {} by {} on {}, account {}, {}{cluster}\n",
        one_line(&opened.event_name, 128),
        defanged(&opened.actor, 256),
        minutes(opened.opened),
        one_line(&key.account, 64),
        one_line(&key.region, 64)
    );
    if watched.is_open() {
        text += &format!("    {}\n", one_line(&opened.command, 1024));
    }
    text + &format!("    ID {}\n", one_line(&key.text(), 512))
}

fn as_json(watched: &WatchedDeadline, opened: &Deadline, now: Timestamp) -> Value {
    json!({
        "id": opened.key.text(),
        "is_open": watched.is_open(),
        "state": state(watched, opened, now),
        "resource": opened.key.resource,
        "account": opened.key.account,
        "region": opened.key.region,
        "cluster": opened.cluster,
        "rule": opened.rule_name,
        "opened": opened.opened.to_string(),
        "due": opened.due.to_string(),
        "event_id": opened.event_id,
        "event_name": opened.event_name,
        "actor": opened.actor,
        "command": opened.command,
        "closed_by": watched.closed.as_ref().map(|closed| json!({
            "call": closed.by, "event_id": closed.event_id, "at": closed.at.to_string(),
        })),
        "dismissed": watched.dismissed.as_ref().map(|it| json!({
            "by": it.by, "reason": it.reason, "at": it.at.to_string(),
        })),
        "reminded_hours_before": watched.reminded.keys().filter(|step| **step < PAGED).collect::<Vec<_>>(),
    })
}
