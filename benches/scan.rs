//! `scan` of one large file, of which one call in 1,000 matches a rule, or one in 50; and of 2,000 typical files, in a
//! folder, and in S3 with a stand-in that takes 25 milliseconds for each request.
//!
//! Whole processes of the release build are measured, with their starts, in turn with a process that only inflates the
//! same files on one thread. The results are medians of the ratios. Processor time is that of all threads: what a machine
//! that also does other work pays for a scan.
//!
//! ```text
//! cargo bench --bench scan -- PROGRAM         print the results for this `cloudhsm-alerts`
//! cargo bench --bench scan -- inflate PATH    inflate a file, or the files of a folder, on one thread
//! ```

use std::{
    env,
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, REGION},
    log_files::LogFiles,
    stub::{FaultPlan, Stub},
};
use walkdir::WalkDir;

mod common;
use common::limit;

/// Bytes of the large file before compression.
const LARGE: usize = 370_000_000;
/// A rule that may match a call of any service, and matches none.
const UNBOUND: &str = "title: A name of our own
id: 00000000-0000-4000-8000-000000000000
name: own-name
level: low
logsource: {product: aws, service: cloudtrail}
detection:
  named:
    requestParameters.name: a-name-of-our-own
  condition: named
";
const FILES: u32 = 2000;
/// A typical file.
const RECORDS: u64 = 300;
const LATENCY: Duration = Duration::from_millis(25);
const ROUNDS: usize = 9;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["inflate", path] => inflate(Path::new(path)),
        [program] => {
            println!("\n{}", processor());
            large_file(Path::new(program));
            many_files(Path::new(program));
        }
        _ => panic!("expected PROGRAM, or: inflate PATH; found {arguments:?}"),
    }
}

fn inflate(path: &Path) {
    let mut bytes = 0;
    for entry in WalkDir::new(path) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            bytes += limit(File::open(entry.path()).unwrap(), 128 * 1024);
        }
    }
    println!("{bytes}");
}

/// The program that only inflates a file or the files of a folder.
fn inflating(path: &str) -> Command {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["inflate", path]);
    command
}

fn large_file(program: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let unbound = folder.path().join("unbound.yml");
    fs::write(&unbound, UNBOUND).unwrap();
    let mut source = LogFiles::new(11);
    for (name, content) in [
        ("one call in 1,000 matches a rule", source.of_bytes(LARGE)),
        // Far more than in practice.
        (
            "one call in 50 matches a rule",
            source.with_matches(50, LARGE),
        ),
    ] {
        println!(
            "\none file of {:.0} MB, {name}, relative to inflating it",
            content.len() as f64 / 1e6
        );
        let path = folder.path().join("log.json.gz");
        fs::write(&path, content).unwrap();
        let path = path.to_str().unwrap();
        let scan = |processors: &str| {
            let mut command = Command::new("taskset");
            command
                .args(["--cpu-list", processors])
                .arg(program)
                .args(["scan", path]);
            command
        };
        let all = format!(
            "0-{}",
            thread::available_parallelism().map_or(1, usize::from) - 1
        );
        let mut with_unbound_rule = scan("0");
        with_unbound_rule.arg("--rules").arg(&unbound);
        let [inflating, on_all, on_one, with_unbound_rule] =
            in_turn([inflating(path), scan(&all), scan("0"), with_unbound_rule]);
        for (name, times) in [
            ("all processors", &on_all),
            ("one processor", &on_one),
            (
                "one processor, with a rule without eventSource",
                &with_unbound_rule,
            ),
        ] {
            println!(
                "  {name}: {:.2} processor time, {:.2} wall time",
                ratio(times, &inflating, |time| time.processor),
                ratio(times, &inflating, |time| time.wall),
            );
        }
        println!(
            "  that rule costs {:.1} times the processor time",
            ratio(&with_unbound_rule, &on_one, |time| time.processor)
        );
    }
}

fn many_files(program: &Path) {
    let mut source = LogFiles::new(13);
    let files: Vec<(String, Vec<u8>)> = (0..FILES)
        .map(|n| (format!("{n:04}.json.gz"), source.of_records(RECORDS)))
        .collect();
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in &files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let compressed: usize = files.iter().map(|(_, content)| content.len()).sum();
    println!(
        "\n{FILES} files of {RECORDS} records, {:.0} KB each",
        compressed as f64 / 1e3 / f64::from(FILES),
    );

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stub = runtime.block_on(Stub::start(FaultPlan::none()));
    stub.set_latency(|_| LATENCY);
    {
        let mut state = stub.state();
        for (name, content) in files {
            state
                .objects
                .insert(format!("{BUCKET}/logs/{name}"), content);
        }
    }
    let scan = |path: &str| {
        let mut command = Command::new(program);
        command
            .args(["scan", path])
            .env_clear()
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_ENDPOINT_URL", &stub.endpoint);
        command
    };
    let folder = folder.path().to_str().unwrap();
    let [inflating, scan, bucket] = in_turn([
        inflating(folder),
        scan(folder),
        scan(&format!("s3://{BUCKET}/logs/")),
    ]);
    println!(
        "  in a folder, relative to inflating them on one thread: {:.2} processor time, {:.2} wall time",
        ratio(&scan, &inflating, |time| time.processor),
        ratio(&scan, &inflating, |time| time.wall),
    );
    println!(
        "  in S3, {} ms a request: {:.0} objects a second",
        LATENCY.as_millis(),
        f64::from(FILES) / median(bucket.iter().map(|time| time.wall)),
    );
}

/// The times of commands that run in turn, round after round.
fn in_turn<const N: usize>(mut commands: [Command; N]) -> [Vec<Time>; N] {
    let mut times = [const { Vec::new() }; N];
    // The first round warms up caches and is not counted.
    for round in 0..=ROUNDS {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let time = run(command);
            if round > 0 {
                times.push(time);
            }
        }
    }
    times
}

/// The median of the ratios in each round.
fn ratio(times: &[Time], limit: &[Time], of: fn(&Time) -> f64) -> f64 {
    median(
        times
            .iter()
            .zip(limit)
            .map(|(time, limit)| of(time) / of(limit)),
    )
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Seconds.
struct Time {
    wall: f64,
    processor: f64,
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn run(command: &mut Command) -> Time {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let (start, before) = (Instant::now(), processor_time_of_children());
    assert!(command.status().unwrap().success(), "{command:?}");
    Time {
        wall: start.elapsed().as_secs_f64(),
        processor: processor_time_of_children() - before,
    }
}

/// User and system time of the processes that have ended, in steps of a hundredth of a second.
fn processor_time_of_children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    // The second field is the name of the program, which may contain spaces. See proc_pid_stat(5).
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<&str> = fields.split(' ').collect();
    let ticks = |index: usize| fields[index].parse::<f64>().unwrap();
    (ticks(13) + ticks(14)) / 100.0
}

/// What the result holds for: the processor, what the scanner uses of it, and how many there are.
fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|line| Some(line.strip_prefix("model name")?.split_once(": ")?.1))
        .unwrap_or(env::consts::ARCH);
    #[cfg(target_arch = "x86_64")]
    let features = match () {
        () if std::arch::is_x86_feature_detected!("avx512bw") => "AVX-512",
        () if std::arch::is_x86_feature_detected!("avx2") => "AVX2",
        () => "neither AVX-512 nor AVX2",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let features = "no AVX";
    let count = thread::available_parallelism().map_or(1, usize::from);
    format!("{count} x {model}, {features}")
}
