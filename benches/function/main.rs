//! The function as Lambda runs it: the program `bootstrap`, over HTTP, with the stub of AWS
//! (`crates/test-support/src/stub/`), under quotas like those of Lambda (`crates/test-support/src/quota.rs`). A quota
//! begins with the first request for an invocation, because Lambda gives a start more. Where control groups cannot be
//! used, there is no quota, and the output states it.
//!
//! ```text
//! make bench                                                          this and the other benches
//! cargo bench --bench function                                        the program as the bench profile builds it
//! cargo bench --bench function -- target/release/bootstrap            as it is deployed
//! cargo bench --bench function -- target/release/bootstrap cold log   only these parts
//! ```
//!
//! The parts, each a table of medians:
//!
//! - `start`: from the start of the process to its first request for an invocation.
//! - `cold`: the first alert of an instance, in milliseconds from handing over its first invocation, which is about one
//!   log file with one call: the request for the object arrived, the object was sent, the request to claim the call
//!   arrived, that for a slot to publish in, and the message.
//! - `storm`: one log file with 5,000 calls that match rules, on as many resources. Seconds from handing over the
//!   invocation to the first message and to the last; requests to DynamoDB; processor time.
//! - `instances`: 64 instances that have handled an invocation, all invoked at once, each with a log file with one
//!   call, without quota. The billed time is that of all invocations, each from handing it over to its reply. `throttled`:
//!   DynamoDB throttles every request for a slot.
//! - `rules`: loading 2,000 rule files from S3 at 128 MB: how many looks at the bucket it takes, and how long, until they
//!   are in use. The quota begins with the start.
//! - `log`: bytes that an instance logs for an invocation whose log file has no call that matches a rule.
//!
//! Latencies in one region: 25 ms for S3 and SNS, 5 ms for DynamoDB.

mod rules;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, Instant},
};

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, call, gzip, key_named, log_file_of, s3_notification},
    log_files::LogFiles,
    quota::Quota,
    runtime_api::Bootstrap,
    stub::{ErrorKind, Fault, FaultPlan, Operation, Stub},
};
use futures_util::future::join_all;

const VARIABLES: [(&str, &str); 2] = [("ALERT_TOPIC_ARN", TOPIC_ARN), ("LEDGER_TABLE", "ledger")];
const CALLS: usize = 5000;
const INSTANCES: usize = 64;
/// Of what takes milliseconds.
const ROUNDS: usize = 31;
/// Of what takes half a minute.
const LONG_ROUNDS: usize = 3;
/// Longer than any invocation takes here.
const TIMEOUT: Duration = Duration::from_secs(300);

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    let bench = Bench {
        program: arguments
            .next()
            .map_or(env!("CARGO_BIN_EXE_bootstrap").into(), PathBuf::from),
    };
    let chosen: Vec<String> = arguments.collect();
    let is_chosen = |part: &str| chosen.is_empty() || chosen.iter().any(|name| name == part);
    print_machine(&bench.program);
    if is_chosen("start") {
        bench.start().await;
    }
    if is_chosen("cold") {
        bench.cold().await;
    }
    if is_chosen("log") {
        bench.log().await;
    }
    if is_chosen("instances") {
        bench.instances().await;
    }
    if is_chosen("rules") {
        bench.rules().await;
    }
    if is_chosen("storm") {
        bench.storm().await;
    }
}

/// The machine that the figures are of.
fn print_machine(program: &Path) {
    let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = information.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(": "))
            .map_or("", |(_, value)| value)
    };
    let vectors = ["sse4_2", "avx2", "avx512bw", "asimd", "sve"];
    let features: Vec<&str> = [field("flags"), field("Features")]
        .iter()
        .flat_map(|features| features.split(' '))
        .filter(|feature| vectors.contains(feature))
        .collect();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "{}, {processors} processors ({}), load of other programs {}\n{}",
        field("model name"),
        features.join(" "),
        load.split(' ').next().unwrap_or_default(),
        program.display()
    );
}

/// Limits a program as Lambda limits a function with this memory, if that is possible here.
fn limit(bootstrap: &Bootstrap, megabytes: u64) -> Option<Quota> {
    static REPORTED: Once = Once::new();
    Quota::apply(bootstrap.id(), megabytes)
        .map_err(|error| {
            REPORTED.call_once(|| {
                println!("\nWITHOUT QUOTAS: control groups cannot be used here: {error}");
            });
        })
        .ok()
}

/// Prints a table whose first column names the rows.
fn print_table(title: &str, head: &[&str], rows: &[(String, Vec<String>)]) {
    println!("\n{title}\n\n| {} |", head.join(" | "));
    println!("|---{}|", "|---:".repeat(head.len() - 1));
    for (name, values) in rows {
        println!("| {name} | {} |", values.join(" | "));
    }
}

/// The median of each column, as text with this many decimals.
fn medians<const N: usize>(rounds: &[[f64; N]], decimals: usize) -> Vec<String> {
    (0..N)
        .map(|column| {
            let mut values: Vec<f64> = rounds.iter().map(|round| round[column]).collect();
            values.sort_by(f64::total_cmp);
            format!("{:.decimals$}", values[values.len() / 2])
        })
        .collect()
}

/// No latency but that of this machine.
fn none(_: Operation) -> Duration {
    Duration::ZERO
}

/// Latencies in one region.
fn in_region(operation: Operation) -> Duration {
    Duration::from_millis(match operation {
        Operation::GetObject
        | Operation::ListObjects
        | Operation::Publish
        | Operation::PublishPage => 25,
        _ => 5,
    })
}

/// Puts a log file, and returns its key.
fn put(stub: &Stub, name: &str, log_file: Vec<u8>) -> String {
    let key = key_named(name);
    let object = format!("{BUCKET}/{key}");
    stub.state().objects.insert(object, log_file);
    key
}

/// A log file with one call that matches a rule.
fn one_call(event_id: &str) -> Vec<u8> {
    gzip(&log_file_of(&[call("DeleteCluster", event_id)]))
}

/// A typical log file. No call in it matches a rule.
fn no_calls() -> Vec<u8> {
    let mut source = LogFiles::new(11);
    let records: Vec<String> = (0..300).map(|_| source.record(false)).collect();
    gzip(format!("{{\"Records\":[{}]}}", records.join(",")).as_bytes())
}

/// When the requests of an operation arrived, in order.
fn arrivals(stub: &Stub, operation: Operation) -> Vec<Instant> {
    let state = stub.state();
    let requests = state.requests.iter().zip(&state.arrivals);
    let mut arrivals: Vec<Instant> = requests
        .filter(|((request, _), _)| request.operation == operation)
        .map(|(_, arrival)| *arrival)
        .collect();
    arrivals.sort();
    arrivals
}

/// How many requests to DynamoDB there were, by operation.
fn ledger_requests(stub: &Stub) -> BTreeMap<Operation, usize> {
    let mut counts = BTreeMap::new();
    for (request, _) in &stub.state().requests {
        *counts.entry(request.operation).or_default() += 1;
    }
    for other in [
        Operation::GetObject,
        Operation::Publish,
        Operation::PublishPage,
    ] {
        counts.remove(&other);
    }
    counts
}

/// Most messages in any second.
fn most_in_a_second(messages: &[Instant]) -> usize {
    let second = Duration::from_secs(1);
    let from = |at: usize| {
        let after = messages[at..].iter();
        after
            .take_while(|time| **time - messages[at] < second)
            .count()
    };
    (0..messages.len()).map(from).max().unwrap_or_default()
}

/// What is measured.
struct Bench {
    program: PathBuf,
}

impl Bench {
    /// A program that has just requested its first invocation.
    async fn started(&self, stub: &Stub) -> Bootstrap {
        let mut bootstrap =
            Bootstrap::start_program(&self.program, &stub.endpoint, &VARIABLES).await;
        bootstrap.wait_until_idle().await;
        bootstrap
    }

    async fn start(&self) {
        let stub = Stub::start(FaultPlan::none()).await;
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let bootstrap = self.started(&stub).await;
            let times = bootstrap.times();
            rounds.push([(times.polls[0] - times.start).as_secs_f64() * 1e3]);
            bootstrap.kill().await;
        }
        print_table(
            &format!("Start, {ROUNDS} rounds"),
            &["", "to the first request for an invocation, ms"],
            &[("start".into(), medians(&rounds, 1))],
        );
    }

    async fn cold(&self) {
        let mut rows = Vec::new();
        for megabytes in [512, 256, 128] {
            for (name, latency) in [("none", none as fn(_) -> _), ("in a region", in_region)] {
                let mut rounds = Vec::new();
                for _ in 0..ROUNDS {
                    rounds.push(self.cold_alert(megabytes, latency).await);
                }
                rows.push((
                    format!("{megabytes} MB, latency {name}"),
                    medians(&rounds, 1),
                ));
            }
        }
        print_table(
            &format!("First alert of an instance, ms from its first invocation, {ROUNDS} rounds"),
            &["", "object requested", "sent", "claim", "slot", "message"],
            &rows,
        );
    }

    async fn cold_alert(&self, megabytes: u64, latency: fn(Operation) -> Duration) -> [f64; 5] {
        let stub = Stub::start(FaultPlan::none()).await;
        stub.set_latency(latency);
        let key = put(&stub, "one", one_call("call"));
        let mut bootstrap = self.started(&stub).await;
        let quota = limit(&bootstrap, megabytes);
        let reply = bootstrap.invoke(&s3_notification(&[&key])).await;
        assert_eq!(reply["published"], 1, "{reply}");
        let begin = bootstrap.times().invocations[0];
        let sent = stub.state().responses[0].expect("an object");
        let arrival = |operation| arrivals(&stub, operation)[0];
        let steps = [
            arrival(Operation::GetObject),
            sent,
            arrival(Operation::Claim),
            arrival(Operation::Slot),
            arrival(Operation::Publish),
        ];
        bootstrap.kill().await;
        drop(quota);
        steps.map(|step| (step - begin).as_secs_f64() * 1e3)
    }

    async fn log(&self) {
        let (one, eleven) = (self.log_of(1).await, self.log_of(11).await);
        let bytes = (eleven - one) / 10;
        print_table(
            "Log of an invocation without a match",
            &["", "bytes"],
            &[("log".into(), vec![bytes.to_string()])],
        );
    }

    /// Bytes that are logged with this many invocations without a match.
    async fn log_of(&self, invocations: usize) -> usize {
        let stub = Stub::start(FaultPlan::none()).await;
        let key = put(&stub, "none", no_calls());
        let mut bootstrap = self.started(&stub).await;
        for _ in 0..invocations {
            let reply = bootstrap.invoke(&s3_notification(&[&key])).await;
            assert!(reply["errorType"].is_null(), "{reply}");
        }
        bootstrap.wait_until_idle().await;
        bootstrap.into_log().await.len()
    }

    async fn storm(&self) {
        let log_file = LogFiles::new(11).of_calls(CALLS);
        let mut rows = Vec::new();
        for megabytes in [256, 128] {
            let (mut rounds, mut requests) = (Vec::new(), BTreeMap::new());
            for _ in 0..LONG_ROUNDS {
                let round;
                (round, requests) = self.storm_once(megabytes, &log_file).await;
                rounds.push(round);
            }
            let mut values = medians(&rounds, 2);
            let by_operation: Vec<String> = requests
                .iter()
                .map(|(operation, count)| format!("{operation:?} {count}"))
                .collect();
            values.push(format!("{:?}", requests.values().sum::<usize>()));
            values.push(by_operation.join(", "));
            rows.push((format!("{megabytes} MB"), values));
        }
        print_table(
            &format!(
                "{CALLS} calls in one log file, latency in a region, {LONG_ROUNDS} rounds; seconds from the invocation"
            ),
            &[
                "",
                "first message",
                "last message",
                "reply",
                "processor time",
                "messages",
                "requests to DynamoDB",
                "by operation, in the last round",
            ],
            &rows,
        );
    }

    async fn storm_once(
        &self,
        megabytes: u64,
        log_file: &[u8],
    ) -> ([f64; 5], BTreeMap<Operation, usize>) {
        let stub = Stub::start(FaultPlan::none()).await;
        stub.set_latency(in_region);
        let key = put(&stub, "storm", log_file.to_vec());
        let mut bootstrap = self.started(&stub).await;
        let quota = limit(&bootstrap, megabytes);
        let before = bootstrap.processor_time();
        let reply = bootstrap.invoke(&s3_notification(&[&key])).await;
        let processor = bootstrap.processor_time() - before;
        assert!(reply["errorType"].is_null(), "{reply}");
        assert_eq!(stub.state().alerts_by_event_id().len(), CALLS);
        let times = bootstrap.times();
        let since = |time: Instant| (time - times.invocations[0]).as_secs_f64();
        let messages = arrivals(&stub, Operation::Publish);
        bootstrap.kill().await;
        drop(quota);
        let figures = [
            since(messages[0]),
            since(messages[messages.len() - 1]),
            since(times.replies[0]),
            processor.as_secs_f64(),
            messages.len() as f64,
        ];
        (figures, ledger_requests(&stub))
    }

    async fn instances(&self) {
        let throttled = Fault::Before(ErrorKind::Throttled);
        let mut rows = Vec::new();
        for (name, faults) in [
            ("no faults", FaultPlan::none()),
            ("throttled", FaultPlan::always(Operation::Slot, throttled)),
        ] {
            let mut rounds = Vec::new();
            for _ in 0..LONG_ROUNDS {
                rounds.push(self.instances_once(faults.clone()).await);
            }
            rows.push((name.to_owned(), medians(&rounds, 1)));
        }
        print_table(
            &format!(
                "{INSTANCES} instances with one alert each, latency in a region, {LONG_ROUNDS} rounds"
            ),
            &[
                "",
                "billed, s",
                "last message, s",
                "last reply, s",
                "messages",
                "most in a second",
                "failed invocations",
            ],
            &rows,
        );
    }

    async fn instances_once(&self, faults: FaultPlan) -> [f64; 6] {
        let stub = Stub::start(FaultPlan::none()).await;
        let idle = put(&stub, "none", no_calls());
        let mut bootstraps = Vec::new();
        for _ in 0..INSTANCES {
            let mut bootstrap = self.started(&stub).await;
            bootstrap.invoke(&s3_notification(&[&idle])).await;
            bootstrap.wait_until_idle().await;
            bootstraps.push(bootstrap);
        }
        stub.set_latency(in_region);
        stub.set_faults(faults);
        let keys: Vec<String> = (0..INSTANCES)
            .map(|n| {
                let name = format!("call-{n}");
                put(&stub, &name, one_call(&name))
            })
            .collect();
        let invoked = bootstraps
            .iter_mut()
            .zip(&keys)
            .map(|(bootstrap, key)| async {
                bootstrap
                    .start_invocation(&s3_notification(&[key]), TIMEOUT)
                    .await;
                let reply = bootstrap.reply().await;
                let times = bootstrap.times();
                (reply, times.invocations[1], times.replies[1])
            });
        let invoked = join_all(invoked).await;
        let begin = invoked.iter().map(|(_, begin, _)| *begin).min();
        let begin = begin.expect("there are instances");
        let billed: f64 = invoked
            .iter()
            .map(|(_, begin, end)| (*end - *begin).as_secs_f64())
            .sum();
        let end = invoked.iter().map(|(.., end)| *end).max();
        let failed = invoked
            .iter()
            .filter(|(reply, ..)| !reply["errorType"].is_null())
            .count();
        let messages = arrivals(&stub, Operation::Publish);
        join_all(bootstraps.into_iter().map(Bootstrap::kill)).await;
        [
            billed,
            messages
                .last()
                .map_or(0.0, |last| (*last - begin).as_secs_f64()),
            end.map_or(0.0, |end| (end - begin).as_secs_f64()),
            messages.len() as f64,
            most_in_a_second(&messages) as f64,
            failed as f64,
        ]
    }
}
