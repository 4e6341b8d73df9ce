//! Alerts in order of the time of their calls, whatever the order of the files, in bounded memory.
//!
//! Alerts are collected up to a size, sorted and written to a temporary file: a run. At the end, the runs are merged.
//! Calls of the same time are in order of their identity, and calls without a valid time are last, so that the same
//! records in other files give the same output.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, Write},
};

use jiff::Timestamp;

use super::reader::Rendered;

/// Bytes of alerts that are kept in memory.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// An alert with what it is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    /// Nanoseconds; the largest number if the time is not known.
    time: i128,
    call: String,
    text: String,
}

/// Collects alerts and gives them back in order.
pub(super) struct Sorter {
    max_bytes: usize,
    entries: Vec<Entry>,
    bytes: usize,
    runs: Vec<File>,
}

impl Sorter {
    pub(super) fn new() -> Sorter {
        Sorter::of_size(MAX_BYTES)
    }

    fn of_size(max_bytes: usize) -> Sorter {
        Sorter {
            max_bytes,
            entries: Vec::new(),
            bytes: 0,
            runs: Vec::new(),
        }
    }

    /// Adds an alert.
    ///
    /// # Errors
    /// A temporary file cannot be written.
    pub(super) fn add(&mut self, alert: Rendered) -> io::Result<()> {
        let entry = Entry {
            time: alert.time.map_or(i128::MAX, Timestamp::as_nanosecond),
            call: alert.call.key().to_owned(),
            text: alert.text,
        };
        self.bytes += size_of::<Entry>() + entry.call.len() + entry.text.len();
        self.entries.push(entry);
        if self.bytes >= self.max_bytes {
            self.end_run()?;
        }
        Ok(())
    }

    /// Writes the alerts in memory to a temporary file.
    fn end_run(&mut self) -> io::Result<()> {
        self.entries.sort();
        self.bytes = 0;
        let mut run = BufWriter::new(tempfile::tempfile()?);
        for entry in self.entries.drain(..) {
            write_entry(&entry, &mut run)?;
        }
        let mut file = run.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.rewind()?;
        self.runs.push(file);
        Ok(())
    }

    /// Passes the alerts to `write`, in order.
    ///
    /// # Errors
    /// A temporary file cannot be read, or `write` fails.
    pub(super) fn finish(
        &mut self,
        mut write: impl FnMut(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        self.entries.sort();
        let mut runs: Vec<Box<dyn Iterator<Item = io::Result<Entry>>>> = vec![Box::new(
            std::mem::take(&mut self.entries).into_iter().map(Ok),
        )];
        for run in self.runs.drain(..) {
            let mut run = BufReader::new(run);
            runs.push(Box::new(std::iter::from_fn(move || {
                read_entry(&mut run).transpose()
            })));
        }
        let mut next = BinaryHeap::new();
        for (number, run) in runs.iter_mut().enumerate() {
            if let Some(entry) = run.next() {
                next.push(Reverse((entry?, number)));
            }
        }
        while let Some(Reverse((entry, number))) = next.pop() {
            write(&entry.text)?;
            if let Some(entry) = runs.get_mut(number).and_then(Iterator::next) {
                next.push(Reverse((entry?, number)));
            }
        }
        Ok(())
    }
}

fn write_entry(entry: &Entry, run: &mut impl Write) -> io::Result<()> {
    run.write_all(&entry.time.to_le_bytes())?;
    for text in [&entry.call, &entry.text] {
        run.write_all(&(text.len() as u64).to_le_bytes())?;
        run.write_all(text.as_bytes())?;
    }
    Ok(())
}

/// The next alert of a run; `None` at its end.
fn read_entry(run: &mut impl Read) -> io::Result<Option<Entry>> {
    let mut time = [0; 16];
    match run.read_exact(&mut time) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        result => result?,
    }
    let mut text = || {
        let mut length = [0; 8];
        run.read_exact(&mut length)?;
        let mut bytes =
            vec![0; usize::try_from(u64::from_le_bytes(length)).map_err(io::Error::other)?];
        run.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    };
    Ok(Some(Entry {
        time: i128::from_le_bytes(time),
        call: text()?,
        text: text()?,
    }))
}

#[cfg(test)]
mod tests {
    use cloudhsm_alerts_core::{call_id::CallId, record::Record};
    use serde_json::{Value, json};

    use super::*;

    fn alert(id: &str, time: Option<&str>) -> Rendered {
        let Value::Object(fields) = json!({"eventID": id, "eventName": "A"}) else {
            unreachable!("an object above")
        };
        Rendered {
            call: CallId::of(&Record::new(0, fields)),
            time: time.map(|time| time.parse().unwrap()),
            text: format!("{id}\n"),
        }
    }

    /// The order is the same in memory, and with a temporary file for every alert or few of them.
    #[test]
    fn alerts_are_in_order_of_time_whatever_is_in_memory() {
        let alerts = [
            ("f", None),
            ("d", Some("2026-11-23T03:50:00Z")),
            ("a", Some("2026-11-22T03:50:00Z")),
            ("e", Some("2026-11-23T03:50:00.5Z")),
            ("c", Some("2026-11-23T03:50:00Z")),
            ("b", Some("2026-11-22T03:50:00.000000001Z")),
        ];
        for max_bytes in [1, 300, MAX_BYTES] {
            for reversed in [false, true] {
                let mut sorter = Sorter::of_size(max_bytes);
                let mut alerts: Vec<_> = alerts.iter().collect();
                if reversed {
                    alerts.reverse();
                }
                for (id, time) in alerts {
                    sorter.add(alert(id, *time)).unwrap();
                }
                assert_eq!(sorter.runs.is_empty(), max_bytes == MAX_BYTES);
                let mut found = String::new();
                sorter
                    .finish(|text| {
                        found.push_str(text);
                        Ok(())
                    })
                    .unwrap();
                assert_eq!(found, "a\nb\nc\nd\ne\nf\n", "{max_bytes}");
            }
        }
    }
}
