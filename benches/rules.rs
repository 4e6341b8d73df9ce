//! Loading 2,000 rule files from S3 with what Lambda gives a function of 128 MB: how many looks at the bucket it takes,
//! and how long, until the rules are in use: `cargo bench --bench rules`.
//!
//! It runs `bootstrap`, as cargo builds it for benches, with the stand-in for S3 of the tests, each of whose responses
//! waits 25 ms. The limits are a cgroup's. Where none can be made (version 1, as root), it says so and runs without.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, key_named, log_file_of, s3_notification},
    runtime_api::Bootstrap,
    stub::{FaultPlan, Operation, Stub},
};

const FILES: usize = 2000;
const LATENCY: Duration = Duration::from_millis(25);
/// With 1,769 MB, a function has one processor (AWS Lambda Developer Guide, "Configure Lambda function memory").
const MEGABYTES: u64 = 128;
const PERIOD_MICROS: u64 = 100_000;
const QUOTA_MICROS: u64 = PERIOD_MICROS * MEGABYTES / 1769;
/// After this many invocations without the rules, something is broken.
const MAX_INVOCATIONS: usize = 20;

#[tokio::main]
async fn main() {
    let stub = Stub::start(FaultPlan::none()).await;
    {
        let mut state = stub.state();
        for n in 0..FILES {
            let key = format!("{BUCKET}/rules/rule-{n}.yml");
            state.objects.insert(key, rule_file(n).into_bytes());
        }
        let log_file = format!("{BUCKET}/{}", key_named("a"));
        state.objects.insert(log_file, log_file_of(&[]));
    }
    stub.set_latency(LATENCY);
    let uri = format!("s3://{BUCKET}/rules/");
    let limits = Limits::new();
    let start = now();
    let mut function = Bootstrap::start(
        &stub.endpoint,
        &[("ALERT_TOPIC_ARN", TOPIC_ARN), ("RULES_URI", &uri)],
    )
    .await;
    let limits = limits.and_then(|limits| limits.apply_to(function.id()).map(|()| limits));
    println!("{FILES} rule files below RULES_URI, {LATENCY:?} for each request");
    match &limits {
        Ok(_) => println!(
            "  with {MEGABYTES} MB and {:.1} % of a processor",
            QUOTA_MICROS as f64 * 100.0 / PERIOD_MICROS as f64
        ),
        Err(error) => println!("  without limits, because no cgroup could be made: {error}"),
    }
    let is_loaded = |function: &Bootstrap| function.log().contains("\"message\":\"rules loaded\"");
    let mut invocations = 0;
    loop {
        function.invoke(&s3_notification(&[&key_named("a")])).await;
        invocations += 1;
        if is_loaded(&function) {
            break;
        }
        assert!(invocations < MAX_INVOCATIONS, "{}", function.log());
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = |wanted| {
        let state = stub.state();
        let of = |(request, _): &&(cloudhsm_alerts_test_support::stub::RequestKey, _)| {
            request.operation == wanted
        };
        state.requests.iter().filter(of).count()
    };
    // Each look lists two pages.
    println!(
        "  looks                {}\n  in use after         {seconds:.1} s\n  processor time       {:.2} s\n  peak resident        {} KiB\n  objects fetched      {}",
        count(Operation::ListObjects).div_ceil(2),
        processor_time(function.id()),
        function.peak_resident_kib(),
        count(Operation::GetObject) - invocations,
    );
    function.kill().await;
}

#[expect(clippy::disallowed_methods, reason = "a bench measures time")]
fn now() -> Instant {
    Instant::now()
}

/// User and system time of a process, in seconds. Source: proc(5); a tick is a hundredth of a second.
fn processor_time(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is running");
    // The name of the program, in parentheses, may contain spaces.
    let (_, rest) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks: u64 = rest
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|ticks| ticks.parse::<u64>().expect("a number"))
        .sum();
    ticks as f64 / 100.0
}

/// Two cgroups, one for each controller. Dropping it removes them; the process must have ended.
struct Limits([PathBuf; 2]);

impl Limits {
    fn new() -> io::Result<Limits> {
        let folder = |controller| {
            let name = format!("cloudhsm-alerts-bench-{}", std::process::id());
            Path::new("/sys/fs/cgroup").join(controller).join(name)
        };
        let limits = Limits([folder("cpu"), folder("memory")]);
        let Limits([cpu, memory]) = &limits;
        fs::create_dir(cpu)?;
        fs::create_dir(memory)?;
        fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_MICROS.to_string())?;
        fs::write(cpu.join("cpu.cfs_quota_us"), QUOTA_MICROS.to_string())?;
        let bytes = MEGABYTES * 1024 * 1024;
        fs::write(memory.join("memory.limit_in_bytes"), bytes.to_string())?;
        Ok(limits)
    }

    fn apply_to(&self, pid: u32) -> io::Result<()> {
        for folder in &self.0 {
            fs::write(folder.join("cgroup.procs"), pid.to_string())?;
        }
        Ok(())
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        for folder in &self.0 {
            // A folder that could not be made cannot be removed, either.
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A rule of usual length, with texts and tests.
fn rule_file(n: usize) -> String {
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
    let service = SERVICES[n % SERVICES.len()];
    format!(
        "title: Deletion number {n} of a resource that the team watches
id: 00000000-0000-4000-8000-{n:012}
name: team-rule-{n}
status: test
description: |
  Detects calls that delete or stop resource {n} of the service {service}, when they are forced
  and are not made by a service of AWS on behalf of the account.
references:
  - https://docs.aws.amazon.com/{service}/latest/APIReference/API_Delete{n}.html
author: Security team
date: 2026-01-12
tags:
  - attack.impact
  - attack.t1485
logsource:
  product: aws
  service: cloudtrail
detection:
  call:
    eventSource: {service}.amazonaws.com
    eventName:
      - Delete{n}
      - Put{n}
      - Stop{n}
  forced:
    requestParameters.force: true
  resource:
    requestParameters.resourceName|contains:
      - production-{n}
      - staging-{n}
  by_service:
    userIdentity.type: AWSService
  condition: call and (forced or resource) and not by_service
falsepositives:
  - Planned maintenance
level: medium
response: |
  Resource {{requestParameters.resourceName|the resource}} was deleted.
  1. Ask {{actor}} whether this was planned.
tests:
  - matches: a forced deletion
    record: {{eventSource: {service}.amazonaws.com, eventName: Delete{n}, requestParameters: {{force: true}}}}
  - misses: another service
    record: {{eventSource: other.amazonaws.com, eventName: Delete{n}, requestParameters: {{force: true}}}}
"
    )
}
