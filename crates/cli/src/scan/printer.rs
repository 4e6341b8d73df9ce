//! Prints the results of a scan in order: alerts of calls that are new to standard output, errors to standard error.

use std::{
    collections::HashSet,
    io::{self, BufWriter, IsTerminal, Stdout, Write},
};

use cloudhsm_alerts_core::call_id::CallId;
use indicatif::{ProgressBar, ProgressStyle};

use super::{reader::FileResult, totals::Totals};

pub(super) struct Printer {
    output: BufWriter<Stdout>,
    progress: ProgressBar,
    alerted: HashSet<CallId>,
    pub(super) totals: Totals,
}

impl Printer {
    pub(super) fn new(progress: ProgressBar) -> Printer {
        Printer {
            output: BufWriter::new(io::stdout()),
            progress,
            alerted: HashSet::new(),
            totals: Totals::default(),
        }
    }

    /// Prints the result of a file.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print(&mut self, result: FileResult) -> io::Result<()> {
        self.print_alerts(result.alerts)?;
        self.totals.add(result.totals);
        for error in result.errors {
            self.print_error(&error)?;
        }
        Ok(())
    }

    pub(super) fn is_alerted(&self, call: &CallId) -> bool {
        self.alerted.contains(call)
    }

    /// Prints the alerts of calls that were not alerted before.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print_alerts(&mut self, alerts: Vec<(CallId, String)>) -> io::Result<()> {
        for (call, alert) in alerts {
            if self.alerted.insert(call) {
                self.totals.alerts += 1;
                let output = &mut self.output;
                self.progress
                    .suspend(|| output.write_all(alert.as_bytes()))?;
            } else {
                self.totals.duplicates += 1;
            }
        }
        Ok(())
    }

    /// Prints and counts an error, after the alerts before it.
    fn print_error(&mut self, message: &str) -> io::Result<()> {
        let (output, totals) = (&mut self.output, &mut self.totals);
        self.progress.suspend(|| {
            output.flush()?;
            totals.error(message);
            Ok(())
        })
    }

    /// Writes what is left of the output, and removes the progress bar.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.progress.finish_and_clear();
        self.output.flush()
    }
}

/// A progress bar on standard error, hidden unless that is a terminal.
pub(crate) fn progress_bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
