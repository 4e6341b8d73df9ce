//! Two scans get the same bytes: one skips the records that no rule can match, one parses every record. Findings,
//! counts, unreadable records and errors must be the same. The property test in `crates/core/src/finding/tests/` does this for a
//! bounded number of cases.

#![no_main]

use std::sync::LazyLock;

use cloudhsm_alerts_core::{
    finding::{Finding, Scan, ScanCounts},
    log_file::{LogFileError, Unreadable},
    rules::{RuleSet, watched::Watched},
};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::builtin(&Watched::default()).expect("the built-in rules are tested to be sound")
});

const NOW: Timestamp = Timestamp::constant(1_795_392_000, 0);

type Scanned = (
    Vec<Finding>,
    ScanCounts,
    Vec<Unreadable>,
    Result<(), LogFileError>,
);

fn run(mut scan: Scan<'_>, bytes: &[u8], chunk: usize) -> Scanned {
    let mut findings = Vec::new();
    let mut sink = |finding| findings.push(finding);
    let end = bytes
        .chunks(chunk)
        .try_for_each(|chunk| scan.push(chunk, &mut sink))
        .and_then(|()| scan.finish(&mut sink));
    let (counts, unreadable) = (scan.counts(), scan.unreadable().to_vec());
    (findings, counts, unreadable, end)
}

// The first byte is the size of the chunks in which the rest arrives.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let chunk = 1 + usize::from(first) * 16;
    assert_eq!(
        run(Scan::new(&RULES, NOW), bytes, chunk),
        run(Scan::without_skipping(&RULES, NOW), bytes, chunk)
    );
});
