//! A report as JSON: one object, the same data as the page.

use std::io::{self, Write};

use cloudhsm_alerts_core::text::escaped_json;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{call::Call, model::Report};

/// A call with its number, e-mail and record.
#[derive(Serialize)]
struct Full<'c> {
    number: usize,
    #[serde(flatten)]
    call: &'c Call,
    subject: &'c str,
    email: &'c str,
    record: Box<RawValue>,
}

/// Writes a report. Calls are written one by one, because all of them may not fit into memory.
///
/// # Errors
/// The output cannot be written, or the temporary file not be read.
pub(super) fn write(report: &mut Report, out: &mut impl Write) -> io::Result<()> {
    write!(out, "{{\"read\":")?;
    serde_json::to_writer(&mut *out, &report.read)?;
    if let Some(audit) = &report.audit {
        write!(out, ",\n\"audit\":")?;
        serde_json::to_writer(&mut *out, audit)?;
    }
    write!(out, ",\n\"time_left_as_of\":")?;
    let as_of = (!report.deadlines.is_empty()).then(|| report.as_of.label());
    serde_json::to_writer(&mut *out, &as_of)?;
    write!(out, ",\n\"deadlines\":")?;
    serde_json::to_writer(&mut *out, &report.deadlines)?;
    write!(out, ",\n\"lineage\":")?;
    serde_json::to_writer(&mut *out, &report.lineage)?;
    write!(out, ",\n\"actors\":")?;
    serde_json::to_writer(&mut *out, &report.actors)?;
    write!(out, ",\n\"calls\":[")?;
    for position in 0..report.calls.len() {
        let text = report.text(position)?;
        let call = &report.calls[position];
        write!(out, "{}", if position == 0 { "\n" } else { ",\n" })?;
        let full = Full {
            number: position + 1,
            call,
            subject: &text.subject,
            email: &text.email,
            // Characters that reorder or hide text are escaped.
            record: RawValue::from_string(escaped_json(&text.record))?,
        };
        serde_json::to_writer(&mut *out, &full)?;
    }
    writeln!(out, "]}}")
}
