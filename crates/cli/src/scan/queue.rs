//! Reads several log files at a time, each on a thread of its own, and prints the results in the order in which the
//! files were found.
//!
//! Files are numbered when they are taken. The thread that reads the file at the front prints its alerts while it reads.
//! The result of a file behind it is kept until its turn, and is then printed by the thread that ends the file before it,
//! so that threads need not wake each other for each file. Memory is bounded: a thread waits for its turn if it has too
//! many alerts or if too many results are kept. The file at the front is always being read, so this wait ends.

use std::{
    collections::BTreeMap,
    io, mem,
    num::NonZero,
    ops::ControlFlow,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use cloudhsm_alerts_core::call_id::CallId;

use super::{
    found::{AllFound, Found},
    printer::Printer,
    reader::{FileResult, Reader, Rendered},
    totals::Totals,
};

/// Maximum number of results that are kept until their turn.
const MAX_KEPT: usize = 64;

/// Reads all that is found, `jobs` files at a time. Returns the totals, and why it ended early.
///
/// Threads are not joined, because one may be waiting for a source after an error. They end with the process.
pub(super) fn read_all(
    found: AllFound,
    jobs: usize,
    reader: &'static Reader,
    printer: Printer,
) -> (Totals, io::Result<()>) {
    let queue = Arc::new(Queue {
        found: Mutex::new((0, found)),
        output: Mutex::new(Output {
            printer,
            front: 0,
            kept: BTreeMap::new(),
            count: None,
            end: None,
        }),
        turn: Condvar::new(),
        ended: Condvar::new(),
        reader,
        processors: processors(),
        reading: AtomicUsize::new(0),
    });
    start_thread(Arc::clone(&queue), jobs);
    let mut output = wait(&queue.ended, queue.output(), |output| output.end.is_some());
    // The end stays set: threads that still run must not print after this.
    let end = output.end.replace(Ok(())).unwrap_or(Ok(()));
    let flushed = output.printer.finish(end.is_ok());
    (mem::take(&mut output.printer.totals), end.and(flushed))
}

/// What the threads share.
struct Queue {
    /// The number of files that were taken, and the rest of what is found.
    found: Mutex<(u64, AllFound)>,
    output: Mutex<Output>,
    /// Notified when it is another file's turn, and at the end.
    turn: Condvar,
    /// Notified at the end. The thread that waits for it would otherwise wake for each file.
    ended: Condvar,
    reader: &'static Reader,
    processors: usize,
    /// How many files are being read.
    reading: AtomicUsize,
}

struct Output {
    printer: Printer,
    /// The number of the file whose turn it is.
    front: u64,
    /// Results of files behind the front.
    kept: BTreeMap<u64, FileResult>,
    /// How many files there are, once this is known.
    count: Option<u64>,
    /// Set when everything is printed, or nothing more can be.
    end: Option<io::Result<()>>,
}

/// The number of processors that this process may use.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get)
}

/// Starts a thread that reads files. With its first file, it starts the next thread, so that a single file does not
/// start as many threads as there are processors.
fn start_thread(queue: Arc<Queue>, jobs: usize) {
    thread::spawn(move || {
        let _guard = EndOnPanic(&queue);
        let mut next_thread = jobs.checked_sub(1).filter(|jobs| *jobs > 0);
        while let Some((turn, found)) = queue.next() {
            let result = match found {
                Found::Skipped(reason) => Ok(FileResult::skipped(reason)),
                Found::Error(message) => Ok(FileResult::failed(message)),
                Found::LogFile(file) => {
                    if let Some(jobs) = next_thread.take() {
                        start_thread(Arc::clone(&queue), jobs);
                    }
                    queue.reading.fetch_add(1, Ordering::Relaxed);
                    let result = queue.reader.read(file, &turn);
                    queue.reading.fetch_sub(1, Ordering::Relaxed);
                    result
                }
            };
            match result {
                Ok(result) => turn.end(result),
                Err(invalid_rules) => queue.fail(io::Error::other(invalid_rules)),
            }
        }
    });
}

/// Ends the scan if a thread panics. The others would wait for its turn.
struct EndOnPanic<'q>(&'q Queue);

impl Drop for EndOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail(io::Error::other("a log file was not read"));
        }
    }
}

/// Waits until the condition holds.
fn wait<'q>(
    condvar: &Condvar,
    output: MutexGuard<'q, Output>,
    condition: impl Fn(&Output) -> bool,
) -> MutexGuard<'q, Output> {
    condvar
        .wait_while(output, |output| !condition(output))
        .unwrap_or_else(PoisonError::into_inner)
}

impl Queue {
    fn output(&self) -> MutexGuard<'_, Output> {
        self.output.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the condition holds, or until the end.
    fn wait_for_turn(&self, condition: impl Fn(&Output) -> bool) -> MutexGuard<'_, Output> {
        wait(&self.turn, self.output(), |output| {
            output.end.is_some() || condition(output)
        })
    }

    /// Ends the scan early.
    fn fail(&self, error: io::Error) {
        self.output().end.get_or_insert(Err(error));
        self.notify();
    }

    /// To be called after the front or the end has changed.
    fn notify(&self) {
        self.turn.notify_all();
        if self.output().end.is_some() {
            self.ended.notify_all();
        }
    }

    /// Takes what is found next. `None`: nothing is left, or nothing more can be printed.
    fn next(&self) -> Option<(Turn<'_>, Found)> {
        if self.output().end.is_some() {
            return None;
        }
        let (number, found) = {
            let mut rest = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            let (number, found) = (rest.0, rest.1.next());
            rest.0 += u64::from(found.is_some());
            (number, found)
        };
        if found.is_none() {
            let mut output = self.output();
            output.count = Some(number);
            output.end_if_complete();
            drop(output);
            self.notify();
        }
        let turn = Turn {
            queue: self,
            number,
        };
        Some((turn, found?))
    }
}

impl Output {
    /// Prints all results whose turn it is.
    fn print_kept(&mut self) {
        while let Some(result) = self.kept.remove(&self.front) {
            if let Err(error) = self.printer.print(result) {
                self.end.get_or_insert(Err(error));
                return;
            }
            self.front += 1;
        }
    }

    fn end_if_complete(&mut self) {
        if self.count == Some(self.front) {
            self.end.get_or_insert(Ok(()));
        }
    }
}

/// The turn of a file to be printed.
pub(super) struct Turn<'q> {
    queue: &'q Queue,
    number: u64,
}

impl Turn<'_> {
    /// Whether there are more processors than files being read.
    pub(super) fn is_processor_idle(&self) -> bool {
        self.queue.reading.load(Ordering::Relaxed) < self.queue.processors
    }

    /// Whether an alert of this call was printed. If not, a file in front of this one may still have one.
    pub(super) fn is_alerted(&self, call: &CallId) -> bool {
        self.queue.output().printer.is_alerted(call)
    }

    /// Waits for the turn and prints some of the alerts. Breaks if no more can be printed.
    pub(super) fn print(&self, alerts: Vec<Rendered>) -> ControlFlow<()> {
        let mut output = self
            .queue
            .wait_for_turn(|output| output.front == self.number);
        if output.end.is_some() {
            return ControlFlow::Break(());
        }
        match output.printer.print_alerts(alerts) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                drop(output);
                self.queue.fail(error);
                ControlFlow::Break(())
            }
        }
    }

    /// Keeps the rest of the result, and prints all results whose turn it is.
    fn end(self, result: FileResult) {
        let mut output = self
            .queue
            .wait_for_turn(|output| output.front == self.number || output.kept.len() < MAX_KEPT);
        if output.end.is_some() {
            return;
        }
        output.kept.insert(self.number, result);
        output.print_kept();
        output.end_if_complete();
        drop(output);
        self.queue.notify();
    }
}
