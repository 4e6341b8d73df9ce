//! The time and the allocations of single stages: `cargo bench --bench stages`. `benches/ratio.rs` compares the
//! stages with each other.

use std::sync::LazyLock;

use cloudhsm_alerts_core::{
    finding::Scan,
    json,
    log_file::{DEFAULT_MAX_UNCOMPRESSED, LogFile},
    record::Record,
    rules::{RuleSet, prefilter::Prefilter, watched::Watched},
};
use cloudhsm_alerts_test_support::log_files::LogFiles;
use divan::{AllocProfiler, Bencher, black_box, counter::BytesCount};
use jiff::Timestamp;
use serde_json::Value;

#[global_allocator]
static ALLOCATIONS: AllocProfiler = AllocProfiler::system();

const NOW: Timestamp = Timestamp::constant(1_795_392_000, 0);

static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::builtin(&Watched::default()).unwrap());
/// A typical file, 300 records.
static FILE: LazyLock<Vec<u8>> = LazyLock::new(|| LogFiles::new(11).of_records(300));
/// A record that matches a rule.
static CALL: LazyLock<String> = LazyLock::new(|| LogFiles::new(11).record(true));

fn main() {
    divan::main();
}

fn bench_log_file(
    bencher: Bencher<'_, '_>,
    mut log_file: impl FnMut() -> LogFile<'static> + Sync + Send,
) {
    bencher
        .counter(BytesCount::of_slice(&**FILE))
        .bench_local(|| {
            let mut log_file = log_file();
            log_file
                .push(&FILE, &mut |entry| drop(black_box(entry)))
                .unwrap();
            log_file
                .finish(&mut |entry| drop(black_box(entry)))
                .unwrap();
        });
}

#[divan::bench]
fn split(bencher: Bencher<'_, '_>) {
    static NONE: LazyLock<Prefilter> = LazyLock::new(Prefilter::default);
    bench_log_file(bencher, || {
        LogFile::with_prefilter(DEFAULT_MAX_UNCOMPRESSED, &NONE)
    });
}

#[divan::bench]
fn look_up(bencher: Bencher<'_, '_>) {
    bench_log_file(bencher, || {
        LogFile::with_prefilter(DEFAULT_MAX_UNCOMPRESSED, RULES.prefilter())
    });
}

#[divan::bench]
fn parse_all(bencher: Bencher<'_, '_>) {
    bench_log_file(bencher, || LogFile::new(DEFAULT_MAX_UNCOMPRESSED));
}

#[divan::bench]
fn whole(bencher: Bencher<'_, '_>) {
    bench_scan(bencher, || Scan::new(&RULES, NOW));
}

/// With the hash for the audit of digest files.
#[divan::bench]
fn whole_hashing(bencher: Bencher<'_, '_>) {
    bench_scan(bencher, || Scan::new(&RULES, NOW).hashing());
}

fn bench_scan(bencher: Bencher<'_, '_>, scan: impl Fn() -> Scan<'static> + Sync + Send) {
    bencher
        .counter(BytesCount::of_slice(&**FILE))
        .bench_local(|| {
            let mut scan = scan();
            scan.push(&FILE, &mut |finding| drop(black_box(finding)))
                .unwrap();
            scan.finish(&mut |finding| drop(black_box(finding)))
                .unwrap();
        });
}

#[divan::bench]
fn parse_one(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| json::parse(black_box(CALL.as_bytes())).unwrap());
}

#[divan::bench]
fn match_one(bencher: Bencher<'_, '_>) {
    let record = match json::parse(CALL.as_bytes()) {
        Ok(Value::Object(fields)) => Record::new(0, fields),
        other => panic!("{other:?}"),
    };
    bencher.bench_local(|| RULES.evaluate(black_box(&record), NOW));
}

#[divan::bench(sample_count = 20, sample_size = 1)]
fn load_rules() -> RuleSet {
    RuleSet::builtin(&Watched::default()).unwrap()
}
