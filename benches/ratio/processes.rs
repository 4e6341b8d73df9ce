//! `scan` beside inflating alone, as whole processes with their starts: wall time, and processor time of all threads.
//!
//! Processor time is what a machine that does other things as well pays for a scan, and it hardly depends on these.
//! Which vector instructions the processor has decides how fast both are, so they are printed with the result.

use std::{
    env, fs,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloudhsm_alerts_test_support::log_files::LogFiles;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::resource::{UsageWho, getrusage},
    unistd::Pid,
};

const ROUNDS: usize = 21;

/// Measures the generated files on one processor and, if there are more, on all of them.
pub fn measure() {
    let scan = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/release/cloudhsm-alerts");
    if !scan.exists() {
        println!("\nwhole processes are not measured: `make build` builds the program");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut source = LogFiles::new(11);
    for (name, file) in [
        ("typical", source.of_records(300)),
        ("50 MB", source.of_bytes(50_000_000)),
        // Every 50th record matches a rule: far more than in practice.
        ("one in 50", source.with_matches(50, 50_000_000)),
    ] {
        let path = folder.path().join("log.json.gz");
        fs::write(&path, file).unwrap();
        println!(
            "\n{name}, whole processes on {}\n  {:<12} {:<8} {:>9} {:>7} {:>9} {:>7}",
            processor(),
            "processors",
            "",
            "wall ms",
            "ratio",
            "CPU ms",
            "ratio"
        );
        let all = thread::available_parallelism().unwrap().get();
        on_one_processor(|| compare(1, &scan, &path));
        if all > 1 {
            compare(all, &scan, &path);
        }
    }
}

/// The name of the processor, and which of the vector instructions that matter here it has.
fn processor() -> String {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = information
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or(env::consts::ARCH, |(_, name)| name);
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features: [(&str, bool); 0] = [];
    let features = features.map(|(name, has)| format!(", {}{name}", if has { "" } else { "no " }));
    format!("{name}{}", features.concat())
}

/// Runs a task with this thread, and the processes that it starts, limited to one processor.
fn on_one_processor(task: impl FnOnce()) {
    let this = Pid::from_raw(0);
    let all = sched_getaffinity(this).unwrap();
    let first = (0..CpuSet::count()).find(|processor| all.is_set(*processor).unwrap());
    let mut one = CpuSet::new();
    one.set(first.unwrap()).unwrap();
    sched_setaffinity(this, &one).unwrap();
    task();
    sched_setaffinity(this, &all).unwrap();
}

fn compare(processors: usize, scan: &Path, file: &Path) {
    let this = env::current_exe().unwrap();
    let programs = [("inflating", &*this, "limit"), ("scan", scan, "scan")];
    let mut times = [const { Vec::new() }; 2];
    // The first round is not counted: it reads programs and file from the disk.
    for round in 0..=ROUNDS {
        for ((_, program, argument), times) in programs.iter().zip(&mut times) {
            let time = time(Command::new(program).arg(argument).arg(file));
            if round > 0 {
                times.push(time);
            }
        }
    }
    let medians = times.map(|times| {
        let median = |of: fn(&(Duration, Duration)) -> Duration| {
            let mut times: Vec<_> = times.iter().map(of).collect();
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1e3
        };
        [median(|time| time.0), median(|time| time.1)]
    });
    for ((name, ..), [wall, cpu]) in programs.iter().zip(medians) {
        let [limit_wall, limit_cpu] = medians[0];
        println!(
            "  {processors:<12} {name:<8} {wall:>9.1} {:>7.2} {cpu:>9.1} {:>7.2}",
            wall / limit_wall,
            cpu / limit_cpu
        );
    }
}

/// The wall time and the processor time of a process.
#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn time(command: &mut Command) -> (Duration, Duration) {
    let (start, before) = (Instant::now(), processor_time());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.unwrap().success(), "{command:?}");
    (start.elapsed(), processor_time() - before)
}

/// The processor time of all processes that this one has waited for.
fn processor_time() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).unwrap();
    let time = usage.user_time() + usage.system_time();
    Duration::from_micros(u64::try_from(time.num_microseconds()).unwrap())
}
