//! `scan`: log files of this machine through the core, alerts on standard output, talk on standard error.
//!
//! A file named on the command line is always read; in a folder, files ending in `.json` and `.json.gz`
//! are, but for those whose names say that they hold no management calls (digest files and the like).

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::{self, BufWriter, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use cloudhsm_alerts::{
    alert::{Alert, Source, accounts::Accounts, email, ocsf, sms},
    finding::{Finding, Scan},
    object::Skip,
    rules::RuleSet,
    severity::Severity,
    text::one_line,
};
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use walkdir::WalkDir;

const CHUNK: usize = 128 * 1024;

#[derive(Args)]
pub struct Arguments {
    /// Log files (JSON, gzip or not) and folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// What to print of each alert
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Lowest severity to print: informational, low, medium, high or critical
    #[arg(long, value_name = "SEVERITY", default_value_t = Severity::Low)]
    min_severity: Severity,
    /// Names of accounts, such as 111122223333=prod,444455556666=dev
    #[arg(long, value_name = "NAMES", default_value = "", value_parser = Accounts::parse, hide_default_value = true)]
    account_names: Accounts,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A line or two for a reader
    Text,
    /// The e-mail a subscriber gets, with its subject
    Email,
    /// The SMS a subscriber gets
    Sms,
    /// The OCSF Detection Finding, one JSON object a line
    Ocsf,
}

pub fn run(arguments: &Arguments) -> Result<ExitCode, Box<dyn std::error::Error>> {
    let rules = RuleSet::builtin()?;
    let mut report = Report::default();
    let files = files(&arguments.paths, &mut report);
    let progress = progress(files.iter().map(|file| file.size).sum());
    let mut session = Session {
        arguments,
        rules: &rules,
        output: BufWriter::new(io::stdout().lock()),
        progress: &progress,
        told: HashSet::new(),
        report,
        broken_pipe: false,
    };
    for file in &files {
        session.scan(&file.path)?;
        if session.broken_pipe {
            break;
        }
    }
    session.flush()?;
    let report = session.report;
    progress.finish_and_clear();
    report.print(arguments.min_severity);
    Ok(if report.problems == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

struct LogFilePath {
    path: PathBuf,
    size: u64,
}

/// What there is to read, in the order given; folders in order of their names.
fn files(paths: &[PathBuf], report: &mut Report) -> Vec<LogFilePath> {
    let mut files = Vec::new();
    for path in paths {
        for entry in WalkDir::new(path).sort_by_file_name() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => {
                    let at = error.path().unwrap_or(path).display().to_string();
                    let reason = error
                        .io_error()
                        .map_or_else(|| "a loop of links".to_owned(), ToString::to_string);
                    report.problem(&format!("{}: {reason}", one_line(&at, 500)));
                    continue;
                }
            };
            let metadata = std::fs::metadata(entry.path());
            if metadata.as_ref().is_ok_and(std::fs::Metadata::is_dir) {
                continue;
            }
            let size = metadata.map_or(0, |metadata| metadata.len());
            if entry.depth() > 0 {
                let name = entry.path().to_string_lossy().replace('\\', "/");
                let is_json = name.ends_with(".json") || name.ends_with(".json.gz");
                let reason = if is_json {
                    Skip::by_name(&name, None).map(Skip::as_str)
                } else {
                    Some("neither .json nor .json.gz")
                };
                if let Some(reason) = reason {
                    *report.skipped.entry(reason).or_default() += 1;
                    continue;
                }
            }
            files.push(LogFilePath {
                path: entry.into_path(),
                size,
            });
        }
    }
    files
}

struct Session<'a, W: Write> {
    arguments: &'a Arguments,
    rules: &'a RuleSet,
    output: W,
    progress: &'a ProgressBar,
    told: HashSet<String>,
    report: Report,
    broken_pipe: bool,
}

impl<W: Write> Session<'_, W> {
    fn scan(&mut self, path: &Path) -> io::Result<()> {
        let source = Source::File(path.to_owned());
        let mut file = match File::open(path) {
            Ok(file) => file,
            Err(error) => {
                self.report.problem(&format!("{source}: {error}"));
                return Ok(());
            }
        };
        let mut scan = Scan::new(self.rules);
        let mut chunk = vec![0; CHUNK];
        let mut written = Ok(());
        let failure = loop {
            let length = match file.read(&mut chunk) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => break Some(error.to_string()),
            };
            self.progress.inc(length as u64);
            let mut take = |finding: Finding| {
                if written.is_ok() {
                    written = self.take(&finding, &source);
                }
            };
            let step = if length == 0 {
                scan.finish(&mut take)
            } else {
                scan.push(&chunk[..length], &mut take)
            };
            if let Err(error) = step {
                break Some(error.to_string());
            }
            if length == 0 || written.is_err() {
                break None;
            }
        };
        let counts = scan.counts().clone();
        let (compressed, uncompressed) = scan.bytes();
        if compressed == 0 && failure.is_none() {
            *self.report.skipped.entry(Skip::Empty.as_str()).or_default() += 1;
            return Ok(());
        }
        self.report.files += 1;
        self.report.records += counts.records;
        self.report.unreadable += counts.unreadable;
        self.report.matched += counts.matched;
        self.report.bytes += uncompressed;
        let problems: Vec<String> = scan
            .unreadable()
            .iter()
            .map(ToString::to_string)
            .chain(failure)
            .collect();
        for problem in problems {
            self.progress
                .suspend(|| self.report.problem(&format!("{source}: {problem}")));
        }
        self.end_of(written)
    }

    fn take(&mut self, finding: &Finding, source: &Source) -> io::Result<()> {
        if finding.severity() < self.arguments.min_severity {
            self.report.below_minimum += 1;
            return Ok(());
        }
        if !self.told.insert(finding.record.event_id()) {
            self.report.already_told += 1;
            return Ok(());
        }
        let alert = Alert::new(finding, source, &self.arguments.account_names);
        let text = match self.arguments.format {
            Format::Text => text(&alert),
            Format::Email => format!(
                "Subject: {}\n\n{}\n{}\n",
                email::subject(&alert),
                email::text(&alert),
                "-".repeat(78)
            ),
            Format::Sms => format!("{}\n", sms::text(&alert)),
            Format::Ocsf => format!("{}\n", ocsf::finding(&alert, true)),
        };
        self.report.printed += 1;
        let output = &mut self.output;
        self.progress.suspend(|| output.write_all(text.as_bytes()))
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.output.flush();
        self.end_of(flushed)
    }

    /// A reader that has seen enough (`| head`) ends the scan without an error.
    fn end_of(&mut self, written: io::Result<()>) -> io::Result<()> {
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.broken_pipe = true;
                Ok(())
            }
            other => other,
        }
    }
}

fn text(alert: &Alert) -> String {
    let rules: Vec<&str> = alert.rules.iter().map(|rule| rule.name.as_str()).collect();
    format!(
        "{} {}\n    {} · event {} · {}\n",
        alert.severity.as_str().to_uppercase(),
        alert.sentence(),
        rules.join(", "),
        one_line(&alert.event_id, 256),
        alert.source,
    )
}

fn progress(bytes: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(bytes);
    // The template is a constant; were it wrong, the default style would do.
    if let Ok(style) =
        ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
    {
        bar.set_style(style);
    }
    bar
}

/// What is said on standard error at the end.
#[derive(Default)]
struct Report {
    files: u64,
    bytes: u64,
    records: u64,
    unreadable: u64,
    matched: u64,
    printed: u64,
    below_minimum: u64,
    already_told: u64,
    skipped: BTreeMap<&'static str, u64>,
    problems: u64,
}

impl Report {
    fn problem(&mut self, message: &str) {
        self.problems += 1;
        eprintln!("error: {message}");
    }

    fn print(&self, min_severity: Severity) {
        let mut line = format!(
            "{}, {} of JSON, {}: {} met a rule, {} told",
            counted(self.files, "file"),
            HumanBytes(self.bytes),
            counted(self.records, "record"),
            counted(self.matched, "call"),
            self.printed
        );
        for (count, what) in [
            (
                self.below_minimum,
                format!("{} below {min_severity}", self.below_minimum),
            ),
            (
                self.already_told,
                format!("{} recorded more than once", self.already_told),
            ),
            (
                self.unreadable,
                format!("{} unreadable", counted(self.unreadable, "record")),
            ),
            (
                self.problems,
                format!("{}, shown above", counted(self.problems, "problem")),
            ),
        ] {
            if count > 0 {
                line.push_str(&format!(", {what}"));
            }
        }
        eprintln!("{line}");
        for (reason, count) in &self.skipped {
            eprintln!("skipped: {}, {reason}", counted(*count, "file"));
        }
    }
}

/// `1 file`, `2 files`.
fn counted(count: u64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
