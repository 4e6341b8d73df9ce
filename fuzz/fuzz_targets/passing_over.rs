//! A scan that passes over records which no rule can meet, and one that parses every record, told the same
//! bytes: findings, counts, unreadable records and errors must be the same. `crates/core/src/finding/tests/` holds
//! them against each other in a bounded way.

#![no_main]

use std::sync::LazyLock;

use cloudhsm_alerts_core::{
    finding::{Counts, Finding, Scan},
    log_file::{LogFileError, Unreadable},
    rules::{RuleSet, watched::Watched},
};
use jiff::civil::Date;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| {
    RuleSet::builtin(&Watched::default()).expect("the built-in rules are tested to be sound")
});

const TODAY: Date = Date::constant(2026, 11, 23);

type Told = (
    Vec<Finding>,
    Counts,
    Vec<Unreadable>,
    Result<(), LogFileError>,
);

fn told(mut scan: Scan<'_>, bytes: &[u8], chunk: usize) -> Told {
    let mut findings = Vec::new();
    let mut sink = |finding| findings.push(finding);
    let end = bytes
        .chunks(chunk)
        .try_for_each(|chunk| scan.push(chunk, &mut sink))
        .and_then(|()| scan.finish(&mut sink));
    let (counts, unreadable) = (scan.counts(), scan.unreadable().to_vec());
    (findings, counts, unreadable, end)
}

// The first byte says in how large chunks the rest arrives.
fuzz_target!(|bytes: &[u8]| {
    let Some((&first, bytes)) = bytes.split_first() else {
        return;
    };
    let chunk = 1 + usize::from(first) * 16;
    assert_eq!(
        told(Scan::new(&RULES, TODAY), bytes, chunk),
        told(Scan::of_every_record(&RULES, TODAY), bytes, chunk)
    );
});
