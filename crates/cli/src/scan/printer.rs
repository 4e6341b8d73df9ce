//! Prints the results of a scan in order: alerts of calls that are new to the output, errors to standard error.

use std::{
    collections::HashSet,
    io::Write as _,
    io::{self, IsTerminal},
};

use cloudhsm_alerts_core::call_id::CallId;
use indicatif::{ProgressBar, ProgressStyle};

use crate::output::Output;

use super::{
    options::{Options, Order},
    reader::{FileResult, Rendered},
    render::head,
    sorter::Sorter,
    totals::Totals,
};

pub(super) struct Printer {
    output: Output,
    /// Collects the alerts, if they are printed in order of time.
    sorter: Option<Sorter>,
    /// What is printed before the first alert.
    head: Option<String>,
    with_duplicates: bool,
    progress: ProgressBar,
    alerted: HashSet<CallId>,
    pub(super) totals: Totals,
}

impl Printer {
    pub(super) fn new(progress: ProgressBar, output: Output, options: &Options) -> Printer {
        Printer {
            output,
            sorter: (options.sort == Order::Time).then(Sorter::new),
            head: head(options.format),
            with_duplicates: options.duplicates,
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
        !self.with_duplicates && self.alerted.contains(call)
    }

    /// Prints the alerts of calls that were not alerted before.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn print_alerts(&mut self, alerts: Vec<Rendered>) -> io::Result<()> {
        for alert in alerts {
            if !self.with_duplicates && !self.alerted.insert(alert.call.clone()) {
                self.totals.duplicates += 1;
                continue;
            }
            self.totals.alerts += 1;
            match &mut self.sorter {
                Some(sorter) => sorter.add(alert)?,
                None => self.write(&alert.text)?,
            }
        }
        Ok(())
    }

    fn write(&mut self, text: &str) -> io::Result<()> {
        let (output, head) = (&mut self.output, self.head.take());
        self.progress.suspend(|| {
            if let Some(head) = head {
                output.write_all(head.as_bytes())?;
            }
            output.write_all(text.as_bytes())
        })
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

    /// Removes the progress bar, and writes what is left of the output; if all was read, also its end.
    ///
    /// # Errors
    /// The output cannot be written.
    pub(super) fn finish(&mut self, is_complete: bool) -> io::Result<()> {
        self.progress.finish_and_clear();
        if !is_complete {
            return self.output.abandon();
        }
        // Also without an alert: a table has its head.
        self.write("")?;
        if let Some(mut sorter) = self.sorter.take() {
            sorter.finish(|text| self.output.write_all(text.as_bytes()))?;
        }
        self.output.complete()
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
