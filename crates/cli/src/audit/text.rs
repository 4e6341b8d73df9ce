//! The result of an audit for people: what is wrong first, in as few lines as it takes.

use std::fmt::Write;

use cloudhsm_alerts_core::{
    digest::{
        finding::{Problem, Weight},
        verdict::{Gap, GapReason, Interval},
    },
    text::one_line,
};
use jiff::{Timestamp, tz::TimeZone};

use super::result::{AuditResult, ChainResult, Conclusion};
use crate::terminal::counted;

/// How many findings, periods and hours of one chain are printed.
const MAX_LINES: usize = 30;
const MAX_HOURS: usize = 24;

/// The chains, those with something wrong first.
pub(super) fn of(result: &AuditResult) -> String {
    let mut text = String::new();
    for wanted in [Conclusion::Wrong, Conclusion::NotProved, Conclusion::Proved] {
        for chain in &result.chains {
            if chain.conclusion() == wanted {
                add_chain(&mut text, chain);
            }
        }
    }
    for (folder, files) in &result.without_digests {
        add(
            &mut text,
            format_args!(
                "NOT PROVED  {folder}: {} and no digest file: log file validation is off, or all digest files were deleted",
                counted(*files, "log file")
            ),
        );
    }
    text
}

/// The last line, for standard error.
pub(super) fn summary(result: &AuditResult) -> String {
    let count = |conclusion| {
        let chains = result.chains.iter();
        chains
            .filter(|chain| chain.conclusion() == conclusion)
            .count() as u64
    };
    if result.verdict() == Conclusion::NothingToProve {
        let files: u64 = result.without_digests.iter().map(|(_, files)| files).sum();
        return format!(
            "NOTHING TO PROVE: no digest files in this period under {}{}",
            result.place,
            if files > 0 {
                format!(
                    ", although it has {}: log file validation is off, or the digest files were deleted",
                    counted(files, "log file")
                )
            } else {
                "; expected keys such as AWSLogs/ACCOUNT/CloudTrail-Digest/REGION/…".to_owned()
            }
        );
    }
    let mut line = format!(
        "{}: {}: {} proved",
        result.verdict().label(),
        counted(result.chains.len() as u64, "chain"),
        count(Conclusion::Proved)
    );
    for (count, what) in [
        (count(Conclusion::Wrong), "with something wrong"),
        (count(Conclusion::NotProved), "not proved"),
    ] {
        if count > 0 {
            add_to(&mut line, format_args!("; {count} {what}"));
        }
    }
    if !result.without_digests.is_empty() {
        let regions = counted(result.without_digests.len() as u64, "region");
        add_to(&mut line, format_args!("; {regions} without digest files"));
    }
    if !result.errors.is_empty() {
        let errors = counted(result.errors.len() as u64, "error");
        add_to(&mut line, format_args!("; {errors}, shown above"));
    }
    line
}

fn add_chain(text: &mut String, result: &ChainResult) {
    let verdict = &result.verdict;
    add(
        text,
        format_args!("{}  {}", result.conclusion().label(), verdict.chain),
    );
    for proved in limited(text, &verdict.proved, "periods") {
        add(text, format_args!("  proved      {}", shown(proved)));
    }
    for gap in limited(text, &verdict.gaps, "gaps") {
        add_gap(text, gap);
    }
    let digests = &verdict.digests;
    let mut line = format!("{} of {} proved", digests.proved, digests.found);
    if digests.missing > 0 {
        add_to(&mut line, format_args!("; {} missing", digests.missing));
    }
    add(text, format_args!("  digest files  {line}"));
    let files = &verdict.files;
    let mut line = format!("{} of {} proved", files.proved, files.listed);
    for (count, what) in [
        (
            files.same_unproved,
            "as listed by a digest file that is not proved",
        ),
        (files.not_checked, "not checked"),
        (files.unlisted, "that no digest file lists"),
        (files.pending, "newer than the newest digest file"),
    ] {
        if count > 0 {
            add_to(&mut line, format_args!("; {count} {what}"));
        }
    }
    add(text, format_args!("  log files     {line}"));
    add_findings(text, result);
}

fn add_gap(text: &mut String, gap: &Gap) {
    let mut line = format!(
        "  not proved  {}: {}",
        shown(&gap.interval),
        gap.reason.describe()
    );
    let is_missing = matches!(
        gap.reason,
        GapReason::DigestsMissing | GapReason::DigestsSilent
    );
    if is_missing {
        let hours: Vec<String> = gap
            .hours()
            .iter()
            .take(MAX_HOURS)
            .map(|hour| time(hour.to))
            .collect();
        let more = gap.count.saturating_sub(hours.len() as u64);
        add_to(
            &mut line,
            format_args!(" ({}, ending {}", gap.count, hours.join(", ")),
        );
        if more > 0 {
            add_to(&mut line, format_args!(" and {more} more"));
        }
        line.push(')');
    }
    if let GapReason::LoggingStopped(Some(stop)) = &gap.reason {
        add_to(
            &mut line,
            format_args!(
                ": {} at {} by {}",
                one_line(&stop.event_name, 60),
                time(stop.time),
                one_line(&stop.actor, 200)
            ),
        );
    }
    add(text, format_args!("{line}"));
}

fn add_findings(text: &mut String, result: &ChainResult) {
    let findings = &result.verdict.findings;
    let mut printed = 0;
    let shown = findings.kept().iter().zip(&result.objects);
    for (finding, object) in shown {
        // The lines above say the same.
        let is_said = matches!(
            finding.problem,
            Problem::DigestsMissing { .. } | Problem::LoggingStopped { .. }
        );
        if is_said {
            continue;
        }
        if printed == MAX_LINES {
            break;
        }
        printed += 1;
        let weight = match finding.problem.weight() {
            Weight::Wrong => "wrong:",
            Weight::NotChecked => "not checked:",
            Weight::Notice => "note:",
        };
        let object = object
            .as_ref()
            .map_or_else(String::new, |object| format!("\n    {object}"));
        add(
            text,
            format_args!(
                "  {weight} {} ({}){object}",
                finding.problem,
                finding.problem.code()
            ),
        );
    }
    let all: u64 = findings.counts().values().sum();
    let said = findings
        .kept()
        .iter()
        .filter(|finding| {
            matches!(
                finding.problem,
                Problem::DigestsMissing { .. } | Problem::LoggingStopped { .. }
            )
        })
        .count() as u64;
    let more = all.saturating_sub(said + printed as u64);
    if more > 0 {
        add(
            text,
            format_args!("  … and {more} more findings: --format json has them"),
        );
    }
}

/// The first of many, and how many are left out.
fn limited<'l, T>(text: &mut String, list: &'l [T], what: &str) -> &'l [T] {
    let more = list.len().saturating_sub(MAX_LINES);
    if more > 0 {
        add(
            text,
            format_args!("  {} {what}, of which the first {MAX_LINES}:", list.len()),
        );
    }
    &list[..list.len() - more]
}

fn shown(interval: &Interval) -> String {
    format!("{} to {}", time(interval.from), time(interval.to))
}

/// A time in UTC without seconds, if there are none.
fn time(time: Timestamp) -> String {
    let zoned = time.to_zoned(TimeZone::UTC);
    if zoned.second() == 0 && zoned.subsec_nanosecond() == 0 {
        zoned.strftime("%Y-%m-%dT%H:%MZ").to_string()
    } else {
        zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }
}

fn add(text: &mut String, line: std::fmt::Arguments<'_>) {
    add_to(text, line);
    text.push('\n');
}

fn add_to(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(part);
}
