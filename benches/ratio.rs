//! The time of each stage relative to inflating the bytes, which is the lower limit.
//!
//! All stages process the same generated files in turn, round after round, so that other load on the machine affects
//! all of them. The result is the ratio of medians, not the time. divan and criterion measure one thing after the
//! other, and on a shared machine, times that are minutes apart cannot be compared.
//!
//! ```text
//! cargo bench --bench ratio                       print a table, and draw target/bench/stages.svg
//! cargo bench --bench ratio -- on FILE…           the same for other files
//! cargo bench --bench ratio -- once STAGE FILE    run one stage once, for a profiler
//! cargo bench --bench ratio -- limit FILE         inflate a file, without loading rules
//! cargo bench --bench ratio -- write FOLDER       write the generated files
//! ```

use std::{
    env,
    fs::{self, File},
    hint::black_box,
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use cloudhsm_alerts_core::{
    finding::{Finding, Scan},
    log_file::{DEFAULT_MAX_UNCOMPRESSED, LogFile},
    record::Record,
    rules::{RuleFile, RuleSet, prefilter::Prefilter, watched::Watched},
};
use cloudhsm_alerts_test_support::log_files::LogFiles;
use jiff::Timestamp;
use serde_json::{Value, json};

mod common;
use common::limit;
#[path = "ratio/with_serde.rs"]
mod with_serde;

const NOW: Timestamp = Timestamp::constant(1_795_392_000, 0);
/// The usual size of a chunk from S3.
const CHUNK: usize = 16 * 1024;

const STAGES: &[&str] = &[
    "inflate",
    "split",
    "look up",
    "whole",
    "serde",
    "parse all",
    "match all",
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    // Without loading rules, so that the whole process can be compared with other programs.
    if let [stage, file] = &arguments[..]
        && stage == "limit"
    {
        println!("{}", limit(File::open(file).unwrap(), 128 * 1024));
        return;
    }
    let rules = RuleSet::builtin(&Watched::default()).unwrap();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            let rows = stages(files(), &rules);
            plot(&rows);
            at_scale();
        }
        ["on", ref paths @ ..] => {
            let own = paths.iter().map(|path| fs::read(path).unwrap()).collect();
            stages(vec![("own", own, 1)], &rules);
        }
        ["once", stage, file] => {
            let file = fs::read(file).unwrap();
            println!("{}", run(stage, &file, &rules));
        }
        ["write", folder] => write(Path::new(folder)),
        _ => panic!(
            "expected nothing, or: on FILE…, or: once STAGE FILE, or: limit FILE, or: write FOLDER; found {arguments:?}"
        ),
    }
}

/// Name, files, and how often they are processed in one round.
type Files = (&'static str, Vec<Vec<u8>>, u32);

fn files() -> Vec<Files> {
    let mut source = LogFiles::new(11);
    let small = (0..1000)
        .map(|n| source.of_records(1 + n * 7 % 50))
        .collect();
    vec![
        ("typical", vec![source.of_records(300)], 40),
        ("large", vec![source.of_bytes(50_000_000)], 1),
        ("small", small, 1),
        // Every 50th record matches a rule: far more than in practice.
        ("calls", vec![source.with_matches(50, 10_000_000)], 1),
        ("largest", vec![source.largest().0], 1),
    ]
}

/// Runs a stage on a file. Returns a number that depends on all of the file.
fn run(stage: &str, file: &[u8], rules: &RuleSet) -> u64 {
    let none = Prefilter::default();
    match stage {
        "nothing" => file.len() as u64,
        "inflate" => inflate(file),
        // No rule at all: every record is validated and skipped.
        "split" => read(
            LogFile::with_prefilter(DEFAULT_MAX_UNCOMPRESSED, &none),
            file,
        ),
        // And looked up in the prefilter; what a rule may match is parsed.
        "look up" => read(
            LogFile::with_prefilter(DEFAULT_MAX_UNCOMPRESSED, rules.prefilter()),
            file,
        ),
        "serde" => with_serde::calls(file),
        "whole" => scan(Scan::new(rules, NOW), file),
        "parse all" => read(LogFile::new(DEFAULT_MAX_UNCOMPRESSED), file),
        "match all" => scan(Scan::without_skipping(rules, NOW), file),
        _ => panic!("expected one of {STAGES:?}, found {stage}"),
    }
}

/// Inflates a file in chunks from S3, and does nothing else.
fn inflate(file: &[u8]) -> u64 {
    limit(file, CHUNK)
}

fn read(mut log_file: LogFile<'_>, file: &[u8]) -> u64 {
    let mut records = 0;
    let mut sink = |entry| {
        black_box(&entry);
        records += 1;
    };
    for chunk in file.chunks(CHUNK) {
        log_file.push(chunk, &mut sink).unwrap();
    }
    log_file.finish(&mut sink).unwrap();
    records + log_file.skipped_records()
}

fn scan(mut scan: Scan<'_>, file: &[u8]) -> u64 {
    let mut sink = |finding: Finding| drop(black_box(finding));
    for chunk in file.chunks(CHUNK) {
        scan.push(chunk, &mut sink).unwrap();
    }
    scan.finish(&mut sink).unwrap();
    scan.counts().records
}

struct Row {
    files: &'static str,
    stage: &'static str,
    ratio: f64,
}

fn stages(all: Vec<Files>, rules: &RuleSet) -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, files, times) in all {
        let compressed: usize = files.iter().map(Vec::len).sum();
        let bytes: u64 = files.iter().map(|file| inflate(file)).sum();
        let records: u64 = files.iter().map(|file| run("split", file, rules)).sum();
        println!(
            "\n{name}: {} file(s), {:.1} MB compressed, {:.1} MB of JSON, {records} records",
            files.len(),
            compressed as f64 / 1e6,
            bytes as f64 / 1e6
        );
        let is_largest = name == "largest";
        // Parsing every record of the largest file gives the same ratio as for the large one.
        let stages = if is_largest { &STAGES[..4] } else { STAGES };
        let rounds = if is_largest { 5 } else { 15 };
        let medians = interleaved(stages.len(), rounds, |stage| {
            for _ in 0..times {
                for file in &files {
                    black_box(run(stages[stage], file, rules));
                }
            }
        });
        println!(
            "  {:<10} {:>10} {:>10} {:>7}",
            "stage", "ms", "MB/s", "ratio"
        );
        for (stage, median) in stages.iter().zip(&medians) {
            let seconds = median.as_secs_f64() / f64::from(times);
            let ratio = median.as_secs_f64() / medians[0].as_secs_f64();
            println!(
                "  {stage:<10} {:>10.3} {:>10.0} {ratio:>7.2}",
                seconds * 1e3,
                bytes as f64 / 1e6 / seconds
            );
            rows.push(Row {
                files: name,
                stage,
                ratio,
            });
        }
    }
    rows
}

/// Median times of several tasks, each run once per round.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn interleaved(tasks: usize, rounds: usize, mut run_task: impl FnMut(usize)) -> Vec<Duration> {
    let mut times = vec![Vec::new(); tasks];
    // The first round warms up caches and is not counted.
    for round in 0..=rounds {
        for (index, times) in times.iter_mut().enumerate() {
            let start = Instant::now();
            run_task(index);
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_unstable();
            times[times.len() / 2]
        })
        .collect()
}

/// The time per record with 10, 100 and 1000 rules, for records that match none and for one that matches one.
fn at_scale() {
    const COUNTS: &[usize] = &[10, 100, 1000];
    let sets: Vec<RuleSet> = COUNTS.iter().map(|count| generated_rules(*count)).collect();
    let file = LogFiles::new(12).file(|records, _, _| records < 20_000).0;
    let records = run("split", &file, &sets[0]);
    let matching_record = match json!({"eventSource": "lambda.amazonaws.com", "eventName": "Delete7", "requestParameters": {"force": true}, "userIdentity": {"type": "Root"}})
    {
        Value::Object(fields) => Record::new(0, fields),
        _ => unreachable!("it is an object"),
    };
    assert!(
        sets.iter()
            .all(|set| set.evaluate(&matching_record, NOW).rules.len() == 1)
    );
    // Task 0 inflates, then each rule set scans the file, then each evaluates the matching record.
    let times = interleaved(1 + 2 * sets.len(), 9, |task| {
        if task == 0 {
            black_box(inflate(&file));
        } else if task <= sets.len() {
            black_box(run("whole", &file, &sets[task - 1]));
        } else {
            for _ in 0..1000 {
                black_box(sets[task - 1 - sets.len()].evaluate(&matching_record, NOW));
            }
        }
    });
    let (limit, whole, matching) = (times[0], &times[1..=sets.len()], &times[1 + sets.len()..]);
    println!(
        "\ngenerated rules for the services of the records\n  {:<8} {:>28} {:>7} {:>28}",
        "rules", "ns per record without match", "ratio", "ns per evaluated match"
    );
    for (index, count) in COUNTS.iter().enumerate() {
        println!(
            "  {count:<8} {:>28.0} {:>7.2} {:>28.0}",
            whole[index].as_nanos() as f64 / records as f64,
            whole[index].as_secs_f64() / limit.as_secs_f64(),
            matching[index].as_nanos() as f64 / 1000.0
        );
    }
}

fn generated_rules(count: usize) -> RuleSet {
    const SERVICES: &[&str] = &[
        "s3",
        "kms",
        "sts",
        "ec2",
        "iam",
        "sns",
        "logs",
        "lambda",
        "dynamodb",
        "cloudtrail",
    ];
    let files: Vec<RuleFile> = (0..count)
        .map(|n| RuleFile {
            name: format!("rule-{n}.yml"),
            text: format!(
                "title: Rule {n}\nid: 00000000-0000-4000-8000-{n:012}\nname: rule-{n}\nlevel: medium\nlogsource:\n  product: aws\n  service: cloudtrail\ndetection:\n  call:\n    eventSource: {}.amazonaws.com\n    eventName:\n      - Delete{n}\n      - Put{n}\n      - Stop{n}\n  forced:\n    requestParameters.force: true\n  by_service:\n    userIdentity.type: AWSService\n  condition: call and forced and not by_service\n",
                SERVICES[n % SERVICES.len()]
            ),
        })
        .collect();
    RuleSet::of(&files, &Watched::default()).unwrap()
}

/// Draws the ratios as a bar chart.
fn plot(rows: &[Row]) {
    const BAR: usize = 18;
    let shown: Vec<&Row> = rows.iter().filter(|row| row.ratio < 20.0).collect();
    let height = shown.len() * BAR + 40;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"720\" height=\"{height}\" font-family=\"sans-serif\" font-size=\"12\">\n<text x=\"10\" y=\"18\">Time of each stage, as a multiple of inflating alone</text>\n"
    );
    let longest = shown.iter().map(|row| row.ratio).fold(1.0, f64::max);
    for (index, row) in shown.iter().enumerate() {
        let y = 30 + index * BAR;
        let width = row.ratio / longest * 480.0;
        svg += &format!(
            "<text x=\"10\" y=\"{}\">{} {}</text><rect x=\"140\" y=\"{y}\" width=\"{width:.1}\" height=\"{}\" fill=\"{}\"/><text x=\"{:.1}\" y=\"{}\">{:.2}</text>\n",
            y + 12,
            row.files,
            row.stage,
            BAR - 4,
            if row.stage == "whole" {
                "#2a6f97"
            } else {
                "#a9c6d9"
            },
            145.0 + width,
            y + 12,
            row.ratio
        );
    }
    svg += "</svg>\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench/stages.svg");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, svg).unwrap();
    println!("\nplot: {}", path.display());
}

fn write(folder: &Path) {
    for (name, files, _) in files() {
        let folder = folder.join(name);
        fs::create_dir_all(&folder).unwrap();
        for (index, file) in files.iter().enumerate() {
            let path = folder.join(format!("{name}-{index:04}.json.gz"));
            fs::File::create(path).unwrap().write_all(file).unwrap();
        }
    }
}
