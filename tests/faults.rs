//! Thousands of fault schedules, each derived from a seed: services that fail before or after a request takes
//! effect, close connections or do not respond, and instances of the function that are killed at any request.
//! After each schedule, every call has been alerted, and only once unless a fault excuses a duplicate. The same holds
//! for pages, and for the reminder of a deleted backup, whose deadline is a day away.
//!
//! A schedule that fails prints the command to run it again.

mod world;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    mem,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{retry::RetryConfig, timeout::TimeoutConfig};
use aws_sdk_s3::config::SharedHttpClient;
use cloudhsm_alerts::{
    clock::Clock, context::Context, metrics::Metrics, roots::http_client, timing::Timing,
};
use cloudhsm_alerts_test_support::{
    dice::{Dice, seeds},
    fixtures::{call, denied, on_cluster},
    stub::{Fault, FaultPlan, Operation, RandomFaults, RequestKey, State},
};
use futures_util::{
    StreamExt,
    future::{join, join_all},
    stream,
};
use jiff::SignedDuration;
use serde_json::{Value, json};

use world::{RULE_ARN, World, scheduled};

const BUCKET: &str = "trail";
/// The calls' event names; call number `n` has name number `n % 4`. Call number 6 is denied.
const NAMES: [&str; 4] = ["DeleteHsm", "CreateHsm", "DeleteBackup", "TagResource"];
/// The call that opens a deadline.
const DELETE_BACKUP: &str = "call-2";
/// Rounds with faults.
const FAULTY_ROUNDS: usize = 3;
/// Rounds without faults after them: enough for claims of killed instances to expire.
const QUIET_ROUNDS: usize = 4;

/// A log file, the event IDs that must be alerted, and whether all of it can be read.
struct LogFile {
    key: String,
    body: Vec<u8>,
    event_ids: Vec<String>,
    is_valid: bool,
}

/// A part of a payload that succeeds or fails on its own: indices of its log files.
type Unit = Vec<usize>;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Whole,
    Sqs,
    Batch,
}

/// What is published to the paging topic.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Paging {
    Nothing,
    /// Calls may be grouped or in summaries.
    Pages,
    /// Each call has a cluster of its own and is alerted alone, so that the text of a page identifies its call.
    PagesPerCall,
}

struct Schedule {
    files: Vec<LogFile>,
    payloads: Vec<(Shape, Vec<Unit>)>,
    instances: usize,
    table: bool,
    watch: bool,
    paging: Paging,
    max_alerts: String,
    attempts: u32,
    /// Whether slots are so rare that instances share summaries.
    shares: bool,
    random: RandomFaults,
}

impl Schedule {
    fn of(seed: u64) -> Schedule {
        let mut dice = Dice(seed);
        let calls = 1 + dice.throw(8);
        let paging = dice.pick(&[Paging::Nothing, Paging::Pages, Paging::PagesPerCall]);
        let files: Vec<LogFile> = (0..1 + dice.throw(4))
            .map(|n| {
                let mut records = Vec::new();
                let mut event_ids = Vec::new();
                for _ in 0..dice.throw(7) {
                    let id = dice.throw(calls);
                    match dice.throw(8) {
                        0 => records.push(call("DescribeClusters", &format!("read-{id}"))),
                        _ => {
                            let mut record = call(NAMES[(id % 4) as usize], &format!("call-{id}"));
                            // Six days ago: a reminder is due at once.
                            let time = Clock::default().now() - SignedDuration::from_hours(6 * 24);
                            record["eventTime"] =
                                time.strftime("%Y-%m-%dT%H:%M:00Z").to_string().into();
                            if id == 6 {
                                record = denied(record);
                            }
                            if paging == Paging::PagesPerCall {
                                record = on_cluster(record, id as usize);
                            }
                            if id == 2 {
                                record["requestParameters"]["backupId"] = "backup-2".into();
                            }
                            records.push(record);
                            event_ids.push(format!("call-{id}"));
                        }
                    }
                }
                let unreadable = dice.throw(12) == 0;
                if unreadable {
                    records.push(json!(7));
                }
                let mut body = json!({ "Records": records }).to_string().into_bytes();
                let cut = dice.throw(12) == 0;
                if cut {
                    body.truncate(body.len() - 2);
                }
                LogFile {
                    key: format!("AWSLogs/111122223333/CloudTrail/us-west-2/file-{n}.json"),
                    body,
                    event_ids,
                    is_valid: !unreadable && !cut,
                }
            })
            .collect();
        let payloads = (0..1 + dice.throw(3))
            .map(|_| {
                let shape = dice.pick(&[Shape::Whole, Shape::Sqs, Shape::Batch]);
                let units = match shape {
                    Shape::Whole => 1,
                    _ => 1 + dice.throw(3),
                };
                let units = (0..units)
                    .map(|_| {
                        let files_of_unit = match shape {
                            Shape::Batch => 1,
                            _ => 1 + dice.throw(3),
                        };
                        (0..files_of_unit)
                            .map(|_| dice.throw(files.len() as u64) as usize)
                            .collect()
                    })
                    .collect();
                (shape, units)
            })
            .collect();
        let table = dice.throw(5) > 0;
        let shares = dice.throw(3) == 0;
        let watch = dice.throw(2) == 0;
        Schedule {
            shares,
            watch,
            files,
            payloads,
            instances: 1 + dice.throw(3) as usize,
            table,
            paging,
            max_alerts: match paging {
                Paging::PagesPerCall => "10",
                _ => dice.pick(&["0", "1", "3", "10"]),
            }
            .into(),
            attempts: dice.pick(&[1, 1, 2, 3]),
            random: RandomFaults {
                seed,
                per_mille: dice.pick(&[0, 30, 100, 100, 250, 500]),
                hangs: dice.throw(12) == 0,
                kills: dice.throw(2) == 0,
                denies: match dice.throw(30) {
                    0 => Some(Operation::GetObject),
                    1 => Some(Operation::Publish),
                    2 => Some(Operation::Claim),
                    3 => Some(Operation::Sent),
                    4 => Some(Operation::Slot),
                    5 => Some(Operation::PublishPage),
                    6 => Some(Operation::Note),
                    7 => Some(Operation::OpenDeadline),
                    8 => Some(Operation::ListDeadlines),
                    9 => Some(Operation::NoteReminded),
                    10 => Some(Operation::Tick),
                    _ => None,
                },
            },
        }
    }

    /// The event IDs that must be alerted when a unit succeeds.
    fn event_ids_of<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = &'a String> {
        unit.iter().flat_map(|file| &self.files[*file].event_ids)
    }

    /// Whether all files of a unit can be read.
    fn is_valid(&self, unit: &Unit) -> bool {
        unit.iter().all(|file| self.files[*file].is_valid)
    }

    fn payload(&self, shape: Shape, units: &[Unit]) -> Value {
        let notification = |unit: &Unit| {
            let records: Vec<Value> = unit
                .iter()
                .map(|file| {
                    let key = &self.files[*file].key;
                    json!({"eventSource": "aws:s3", "eventName": "ObjectCreated:Put",
                        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key, "size": 1}}})
                })
                .collect();
            json!({ "Records": records })
        };
        match shape {
            Shape::Whole => notification(&units[0]),
            Shape::Sqs => {
                let messages: Vec<Value> = units
                    .iter()
                    .enumerate()
                    .map(|(n, unit)| {
                        json!({"messageId": n.to_string(), "eventSource": "aws:sqs", "body": notification(unit).to_string()})
                    })
                    .collect();
                json!({ "Records": messages })
            }
            Shape::Batch => {
                let tasks: Vec<Value> = units
                    .iter()
                    .enumerate()
                    .map(|(n, unit)| {
                        json!({"taskId": n.to_string(), "s3Key": self.files[unit[0]].key, "s3BucketArn": format!("arn:aws:s3:::{BUCKET}")})
                    })
                    .collect();
                json!({"invocationSchemaVersion": "1.0", "invocationId": "i", "tasks": tasks})
            }
        }
    }
}

/// Which units succeeded, according to the reply.
fn succeeded(shape: Shape, units: usize, reply: Option<&Value>) -> Vec<bool> {
    let Some(reply) = reply else {
        return vec![false; units];
    };
    match shape {
        Shape::Whole => vec![true],
        Shape::Sqs => {
            let failed: BTreeSet<&str> = reply["batchItemFailures"]
                .as_array()
                .expect("a list")
                .iter()
                .map(|item| item["itemIdentifier"].as_str().expect("an id"))
                .collect();
            (0..units)
                .map(|n| !failed.contains(n.to_string().as_str()))
                .collect()
        }
        Shape::Batch => reply["results"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|result| result["resultCode"] == "Succeeded")
            .collect(),
    }
}

/// The metrics that the function writes.
#[derive(Clone, Default)]
struct MetricLines(Arc<Mutex<Vec<u8>>>);

impl Write for MetricLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A schedule that is being run.
struct Trial<'s> {
    schedule: &'s Schedule,
    world: World,
    metric_lines: MetricLines,
    kills: usize,
    /// Event IDs that a killed instance had alerted and not marked as sent.
    alerted_before_kill: BTreeSet<String>,
}

impl Trial<'_> {
    /// Starts new instances, whose memory is empty.
    async fn start(&mut self) {
        self.world.restart().await;
        let functions = mem::take(&mut self.world.functions).into_iter();
        let metrics = || Metrics::written_to(self.metric_lines.clone(), "f");
        let measured = functions.map(|function| function.measured(metrics()));
        self.world.functions = measured.collect();
    }

    /// Invokes instances for all open payloads at the same time. Returns what is still open.
    async fn round(
        &mut self,
        round: usize,
        open: Vec<(Shape, Vec<Unit>)>,
    ) -> Result<Vec<(Shape, Vec<Unit>)>, String> {
        let schedule = self.schedule;
        let running = open.iter().enumerate().map(|(n, (shape, units))| {
            let function = &self.world.functions[(n + round) % self.world.functions.len()];
            let payload = schedule.payload(*shape, units);
            async move {
                let context = Context {
                    request_id: format!("request-{n}"),
                    ..Context::default()
                };
                function.handle(&payload, &context).await.ok()
            }
        });
        let tick = self.tick(round);
        let replies = tokio::select! {
            biased;
            () = self.world.stub.wait_until_held() => None,
            replies = join(join_all(running), tick) => Some(replies),
        };
        let Some((replies, tick)) = replies else {
            // All instances die, and with them their memory and the requests that are still on their way.
            self.kills += 1;
            self.start().await;
            let not_marked: Vec<String> = {
                let state = self.world.stub.state();
                let is_marked = |id: &String| {
                    state
                        .items
                        .get(id)
                        .is_some_and(|item| item["status"]["S"] == "sent")
                };
                state
                    .alerts_by_event_id()
                    .into_keys()
                    .filter(|id| !is_marked(id))
                    .collect()
            };
            self.alerted_before_kill.extend(not_marked);
            return Ok(open);
        };
        if !tick && round >= FAULTY_ROUNDS {
            return Err("a tick failed without faults".into());
        }
        let alerts = self.world.stub.state().alerts_by_event_id();
        let pages = self.pages();
        let is_watched = self.is_watched();
        let mut still_open = Vec::new();
        for ((shape, units), reply) in open.into_iter().zip(replies) {
            let succeeded = succeeded(shape, units.len(), reply.as_ref());
            let mut failed = Vec::new();
            for (unit, succeeded) in units.into_iter().zip(succeeded) {
                if !succeeded {
                    failed.push(unit);
                    continue;
                }
                if let Some(lost) = schedule
                    .event_ids_of(&unit)
                    .find(|id| !alerts.contains_key(*id))
                {
                    return Err(format!(
                        "{lost} was not alerted, although its unit succeeded"
                    ));
                }
                if let Some(lost) = schedule
                    .event_ids_of(&unit)
                    .find(|id| pages.get(*id) == Some(&0))
                {
                    return Err(format!("{lost} was not paged, although its unit succeeded"));
                }
                if schedule.watch
                    && !is_watched
                    && schedule.event_ids_of(&unit).any(|id| id == DELETE_BACKUP)
                {
                    return Err("the deadline was not written, although its unit succeeded".into());
                }
                if !schedule.is_valid(&unit) {
                    return Err(format!("{unit:?} succeeded, although it has a broken file"));
                }
            }
            if !failed.is_empty() {
                still_open.push((shape, failed));
            }
        }
        Ok(still_open)
    }

    /// Whether the deadline of the deleted backup is in the watch table.
    fn is_watched(&self) -> bool {
        Trial::is_watched_in(&self.world.stub.state())
    }

    fn is_watched_in(state: &State) -> bool {
        let is_of_backup = |(_, id): &(String, String)| id.ends_with("/backup-2");
        state.watch.keys().any(is_of_backup)
    }

    /// An hourly invocation. Returns whether it succeeded.
    async fn tick(&self, round: usize) -> bool {
        let context = Context {
            request_id: "tick".into(),
            ..Context::default()
        };
        let function = &self.world.functions[round % self.world.functions.len()];
        let reply = function.handle(&scheduled(RULE_ARN), &context).await;
        reply.is_ok()
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut open: Vec<(Shape, Vec<Unit>)> = self.schedule.payloads.clone();
        for round in 0..FAULTY_ROUNDS + QUIET_ROUNDS {
            let random = (round < FAULTY_ROUNDS).then_some(self.schedule.random);
            self.world.stub.set_faults(FaultPlan {
                random,
                ..FaultPlan::default()
            });
            open = self.round(round, open).await?;
            // Lambda retries after a minute.
            self.world.clock.advance(Duration::from_secs(60));
        }
        // Without faults, every unit that can succeed has succeeded.
        for (_, units) in &open {
            if let Some(unit) = units.iter().find(|unit| self.schedule.is_valid(unit)) {
                return Err(format!("{unit:?} still fails without faults"));
            }
        }
        self.check()
    }

    /// How many pages are about each critical call, if their texts identify it.
    fn pages(&self) -> BTreeMap<String, usize> {
        if self.schedule.paging != Paging::PagesPerCall {
            return BTreeMap::new();
        }
        let state = self.world.stub.state();
        let pages = state.pages();
        // Alerts that got no slot are in a summary, whose page names no cluster.
        if pages.iter().any(|page| page.contains(" calls: ")) {
            return BTreeMap::new();
        }
        (0..8)
            .filter(|n| n % 2 == 0)
            .map(|n| {
                let outcome = if n == 6 { "DENIED" } else { "SUCCEEDED" };
                let kind = if n == 2 { "backup" } else { "cluster" };
                let text = format!("CRITICAL {} {outcome}: {kind}-{n}, ", NAMES[n % 4]);
                let times = pages.iter().filter(|page| page.starts_with(&text)).count();
                (format!("call-{n}"), times)
            })
            .collect()
    }

    fn check(&self) -> Result<(), String> {
        let schedule = self.schedule;
        let pages = self.pages();
        let state = self.world.stub.state();
        let alerts = state.alerts_by_event_id();
        let expected: BTreeSet<&String> = schedule
            .payloads
            .iter()
            .flat_map(|(_, units)| units)
            .flat_map(|unit| schedule.event_ids_of(unit))
            .collect();
        if alerts.keys().collect::<BTreeSet<_>>() != expected {
            return Err(format!("alerted {alerts:?}, expected {expected:?}"));
        }
        self.check_reminders(&state)?;

        let sums = self.sums()?;
        let mut excused = self.alerted_before_kill.clone();
        let mut ledger_faults = 0;
        let (mut hides_success, mut page_fails, mut page_hides_success) = (false, false, false);
        for (request, fault) in &state.requests {
            let is_hit = *fault != Fault::None;
            match request.operation {
                Operation::Publish if fault.hides_success() => {
                    hides_success = true;
                    excused.extend(request.target.split(',').map(str::to_owned));
                }
                Operation::PublishPage if is_hit => {
                    page_fails = true;
                    page_hides_success |= fault.hides_success();
                }
                // A release or a note that fails loses what was delivered.
                Operation::Claim
                | Operation::Sent
                | Operation::GetItem
                | Operation::Release
                | Operation::Note
                    if is_hit =>
                {
                    excused.extend(request.target.split(',').map(str::to_owned));
                    ledger_faults += 1;
                }
                Operation::Page if is_hit => {
                    page_hides_success = true;
                    ledger_faults += 1;
                }
                Operation::Slot | Operation::Share if is_hit => ledger_faults += 1,
                _ => {}
            }
        }
        // After repeated ledger faults the circuit breaker skips the ledger, also for other calls. Without a table,
        // instances do not know each other's alerts.
        let deduplicates = match schedule.table {
            true => ledger_faults < 3 && schedule.random.denies.is_none(),
            false => schedule.instances == 1 && self.kills == 0,
        };
        if !deduplicates || !state.abandoned.is_empty() {
            return Ok(());
        }
        if let Some((id, times)) = alerts
            .iter()
            .find(|(id, times)| **times > 1 && !excused.contains(*id))
        {
            return Err(format!(
                "{id} was alerted {times} times, and no fault excuses that"
            ));
        }
        if !page_hides_success
            && self.kills == 0
            && let Some((id, times)) = pages
                .iter()
                .find(|(id, times)| **times > 1 && !excused.contains(*id))
        {
            return Err(format!(
                "{id} was paged {times} times, and no fault excuses that"
            ));
        }
        let total: usize = alerts.values().sum();
        let counted = sums["Published"] + sums["Summarized"] + sums["Grouped"];
        // Of two invocations that alerted a call, the one whose page failed counts it as failed.
        let is_repeated = page_fails && total > alerts.len();
        if self.kills == 0 && !hides_success && !is_repeated && counted != total as u64 {
            return Err(format!("{total} calls alerted, but counted {sums:?}"));
        }
        Ok(())
    }

    /// The deadline of the deleted backup was reminded of once, or again after each fault that hides that it was.
    fn check_reminders(&self, state: &State) -> Result<(), String> {
        let reminders = state.messages.iter().filter(|it| it.is_reminder()).count();
        let is_hit = |(request, fault): &&(RequestKey, Fault)| match request.operation {
            Operation::Publish => fault.hides_success(),
            Operation::NoteReminded => *fault != Fault::None,
            _ => false,
        };
        let hits = state.requests.iter().filter(is_hit).count() + self.kills;
        let is_open = Trial::is_watched_in(state);
        let range = usize::from(is_open)..=usize::from(is_open) * (1 + hits);
        if range.contains(&reminders) || !state.abandoned.is_empty() {
            Ok(())
        } else {
            Err(format!("{reminders} reminders, expected {range:?}"))
        }
    }

    /// The sums of all metrics. The counts of each invocation must add up.
    fn sums(&self) -> Result<BTreeMap<String, u64>, String> {
        let bytes = self
            .metric_lines
            .0
            .lock()
            .expect("no holder panics")
            .clone();
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for line in String::from_utf8(bytes).expect("text").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            // Values that are 0 are left out.
            let count = |name: &str| line[name].as_u64().unwrap_or(0);
            let outcomes = [
                "Published",
                "Summarized",
                "Grouped",
                "Suppressed",
                "BelowMinSeverity",
                "Duplicates",
                "Failed",
            ];
            if count("Records") != count("Evaluated") + count("Unreadable")
                || count("Matched") != outcomes.iter().map(|name| count(name)).sum::<u64>()
            {
                return Err(format!("the counts do not add up: {line}"));
            }
            for name in outcomes {
                *sums.entry(name.into()).or_default() += count(name);
            }
        }
        for name in ["Published", "Summarized", "Grouped"] {
            sums.entry(name.into()).or_default();
        }
        Ok(sums)
    }
}

/// Timeout of one attempt. A busy machine must respond within it.
const ATTEMPT_TIMEOUT: Duration = Duration::from_millis(1500);

/// A world with the log files of a schedule, where waits are shorter. Claims keep their lifetime.
async fn world_of(schedule: &Schedule, http_client: SharedHttpClient) -> World {
    let mut world = World::empty().await;
    for file in &schedule.files {
        let object = format!("{BUCKET}/{}", file.key);
        world.stub.state().objects.insert(object, file.body.clone());
    }
    let max_alerts = schedule.max_alerts.clone();
    world.variables.insert("MAX_ALERTS", max_alerts);
    for (name, is_set) in [
        ("PAGING_TOPIC_ARN", schedule.paging != Paging::Nothing),
        ("LEDGER_TABLE", schedule.table),
        ("WATCH_TABLE", schedule.watch),
    ] {
        if !is_set {
            world.variables.remove(name);
        }
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(schedule.attempts)
        .with_initial_backoff(Duration::from_millis(1));
    let timeouts = TimeoutConfig::builder().read_timeout(ATTEMPT_TIMEOUT);
    let sdk = world.sdk.to_builder().http_client(http_client);
    let sdk = sdk.retry_config(retries).timeout_config(timeouts.build());
    world.sdk = sdk.build();
    let millis = |millis| Duration::from_millis(if schedule.shares { millis } else { 0 });
    world.timing = Timing {
        interval: millis(30),
        crowded: millis(5),
        gather: millis(10),
        summary_interval: millis(20),
        settle: millis(300),
        spread: Duration::ZERO,
        publish_attempt: ATTEMPT_TIMEOUT,
        publish_operation: ATTEMPT_TIMEOUT * 4,
        ledger_attempt: ATTEMPT_TIMEOUT,
        ledger_operation: ATTEMPT_TIMEOUT * 4,
        ..Timing::default()
    };
    world.instances = schedule.instances;
    world
}

async fn run(seed: u64, http_client: SharedHttpClient) -> Result<(), String> {
    let schedule = Schedule::of(seed);
    let mut trial = Trial {
        schedule: &schedule,
        world: world_of(&schedule, http_client).await,
        metric_lines: MetricLines::default(),
        kills: 0,
        alerted_before_kill: BTreeSet::new(),
    };
    trial.start().await;
    trial.run().await.map_err(|error| {
        let state = trial.world.stub.state();
        let requests: Vec<String> = state
            .requests
            .iter()
            .map(|(request, fault)| {
                format!("  {:?} {} #{}: {fault:?}", request.operation, request.target, request.attempt)
            })
            .collect();
        format!(
            "seed {seed}: {error}\nall requests:\n{}\nrun it again with\n  FAULT_SEEDS={seed} cargo test --locked --test faults no_schedule\n",
            requests.join("\n")
        )
    })
}

/// `FAULT_SEEDS=7` runs one seed, `FAULT_SEEDS=0..100000` a range.
#[test]
fn no_schedule_of_faults_loses_an_alert() {
    const THREADS: u64 = 2;
    const AT_A_TIME: usize = 6;
    let seeds = seeds("FAULT_SEEDS", 0..2000);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(async {
                        let client = &http_client();
                        stream::iter(seeds.filter(|seed| seed % THREADS == thread))
                            .map(|seed| run(seed, client.clone()))
                            .buffer_unordered(AT_A_TIME)
                            .filter_map(|result| async { result.err() })
                            .take(3)
                            .collect::<Vec<String>>()
                            .await
                    })
                })
            })
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
