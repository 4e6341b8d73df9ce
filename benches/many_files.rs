//! `scan` of 2,000 typical files: in a folder, and in S3 with a stand-in that takes 25 milliseconds for each request.
//!
//! Whole processes of the release build are measured, in turn with a process that only inflates the same files on one
//! thread. The results are medians.
//!
//! ```text
//! cargo bench --bench many_files -- PROGRAM           print the results for this `cloudhsm-alerts`
//! cargo bench --bench many_files -- inflate FOLDER    inflate the files of a folder on one thread
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

mod common;
use common::limit;

const FILES: u32 = 2000;
/// A typical file.
const RECORDS: u64 = 300;
const LATENCY: Duration = Duration::from_millis(25);
const ROUNDS: usize = 7;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).filter(|a| a != "--bench").collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["inflate", folder] => inflate(Path::new(folder)),
        [program] => measure(Path::new(program)),
        _ => panic!("expected PROGRAM, or: inflate FOLDER; found {arguments:?}"),
    }
}

fn inflate(folder: &Path) {
    let mut bytes = 0;
    for entry in fs::read_dir(folder).unwrap() {
        bytes += limit(File::open(entry.unwrap().path()).unwrap(), 128 * 1024);
    }
    println!("{bytes}");
}

fn measure(program: &Path) {
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
        "\n{FILES} files of {RECORDS} records, {:.0} KB each; {}",
        compressed as f64 / 1e3 / f64::from(FILES),
        processor()
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
    let mut inflating = Command::new(env::current_exe().unwrap());
    inflating.args(["inflate", folder]);
    let mut commands = [
        inflating,
        scan(folder),
        scan(&format!("s3://{BUCKET}/logs/")),
    ];
    let mut times = [const { Vec::new() }; 3];
    // The first round warms up caches and is not counted.
    for round in 0..=ROUNDS {
        for (command, times) in commands.iter_mut().zip(&mut times) {
            let time = run(command);
            if round > 0 {
                times.push(time);
            }
        }
    }
    let [inflate, scan, bucket] = &times;
    let median = |of: &dyn Fn(usize) -> f64| {
        let mut values: Vec<f64> = (0..ROUNDS).map(of).collect();
        values.sort_by(f64::total_cmp);
        values[ROUNDS / 2]
    };
    println!(
        "  in a folder, relative to inflating them on one thread: {:.2} wall time, {:.2} processor time",
        median(&|round| scan[round].wall / inflate[round].wall),
        median(&|round| scan[round].processor / inflate[round].processor),
    );
    println!(
        "  in S3, {} ms a request: {:.0} objects a second",
        LATENCY.as_millis(),
        median(&|round| f64::from(FILES) / bucket[round].wall),
    );
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
