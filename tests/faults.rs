//! Thousands of schedules of faults, each made from a seed: services that fail before or after they have done
//! what they were asked, that cut and hang, and instances of the function that are killed at any request.
//! After each of them every call was told, none silently dropped, and once where nothing came in between.
//!
//! A schedule that breaks a promise prints the command that runs it again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    sync::{Arc, Mutex},
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig, timeout::TimeoutConfig};
use cloudhsm_alerts::{
    clock::Clock, context::Context, function::Function, metrics::Metrics, rule_source::RuleSource,
    settings::Settings, timing::Timing,
};
use cloudhsm_alerts_core::rules::{RuleSet, watched::Watched};
use cloudhsm_alerts_test_support::stub::{Fault, Operation, Plan, Stub, call, plan::Random};
use futures_util::{StreamExt, future::join_all, stream};
use serde_json::{Value, json};

const TOPIC: &str = "arn:aws:sns:us-west-2:111122223333:alerts";
const BUCKET: &str = "trail";
/// Schedules of the test command. `FAULT_SEEDS=7` runs the one with that seed, `FAULT_SEEDS=0..100000` more.
const SEEDS: std::ops::Range<u64> = 0..2000;
/// Rounds with faults, then as many as it takes without.
const BAD_ROUNDS: usize = 3;
const GOOD_ROUNDS: usize = 4;

/// Numbers from a seed (SplitMix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.throw(from.len() as u64)).expect("small")]
    }
}

/// A log file: what must be told of it, and whether it can ever be read without failure.
struct LogFile {
    key: String,
    body: Vec<u8>,
    told: Vec<String>,
    is_sound: bool,
}

/// Part of a payload with an answer of its own: places of its log files.
type Unit = Vec<usize>;

#[derive(Clone, Copy, Debug)]
enum Shape {
    Whole,
    Sqs,
    Batch,
}

struct Schedule {
    files: Vec<LogFile>,
    payloads: Vec<(Shape, Vec<Unit>)>,
    instances: usize,
    table: bool,
    max_alerts: String,
    attempts: u32,
    random: Random,
}

impl Schedule {
    fn of(seed: u64) -> Schedule {
        let mut dice = Dice(seed);
        let calls = 1 + dice.throw(8);
        let names = ["DeleteHsm", "CreateHsm", "DeleteBackup", "TagResource"];
        let files: Vec<LogFile> = (0..1 + dice.throw(4))
            .map(|n| {
                let mut records = Vec::new();
                let mut told = Vec::new();
                for _ in 0..dice.throw(7) {
                    let id = dice.throw(calls);
                    match dice.throw(8) {
                        0 => records.push(call("DescribeClusters", &format!("read-{id}"))),
                        _ => {
                            let name = names[(id % 4) as usize];
                            records.push(call(name, &format!("call-{id}")));
                            told.push(format!("call-{id}"));
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
                    told,
                    is_sound: !unreadable && !cut,
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
                        let some = match shape {
                            Shape::Batch => 1,
                            _ => 1 + dice.throw(3),
                        };
                        (0..some)
                            .map(|_| dice.throw(files.len() as u64) as usize)
                            .collect()
                    })
                    .collect();
                (shape, units)
            })
            .collect();
        let table = dice.throw(5) > 0;
        Schedule {
            files,
            payloads,
            instances: 1 + dice.throw(3) as usize,
            table,
            max_alerts: dice.pick(&["0", "1", "3", "10"]).into(),
            attempts: dice.pick(&[1, 1, 2, 3]),
            random: Random {
                seed,
                per_mille: dice.pick(&[0, 30, 100, 100, 250, 500]),
                hangs: dice.throw(12) == 0,
                kills: dice.throw(2) == 0,
                denies: match dice.throw(30) {
                    0 => Some(Operation::GetObject),
                    1 => Some(Operation::Publish),
                    2 => Some(Operation::Claim),
                    3 => Some(Operation::Sent),
                    4 => Some(Operation::Turn),
                    _ => None,
                },
            },
        }
    }

    /// What a unit must have told when it is answered with success.
    fn told_by<'a>(&'a self, unit: &'a Unit) -> impl Iterator<Item = &'a String> {
        unit.iter().flat_map(|file| &self.files[*file].told)
    }

    /// Whether nothing in it fails for good.
    fn is_sound(&self, unit: &Unit) -> bool {
        unit.iter().all(|file| self.files[*file].is_sound)
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

/// Which units a reply says are done.
fn done(shape: Shape, units: usize, reply: Option<&Value>) -> Vec<bool> {
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

/// What the function writes as metrics.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no holder panics").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One schedule on its way.
struct Trial<'s> {
    schedule: &'s Schedule,
    stub: Stub,
    sdk: SdkConfig,
    rules: Arc<RuleSet>,
    clock: Clock,
    lines: Lines,
    functions: Vec<Function>,
    kills: usize,
    /// Calls told when an instance was killed before it could note that.
    told_by_the_dead: BTreeSet<String>,
}

impl Trial<'_> {
    async fn function(&self) -> Function {
        let settings = Settings::from_lookup(|name| {
            match name {
                "ALERT_TOPIC_ARN" => Some(TOPIC),
                "LEDGER_TABLE" if self.schedule.table => Some("ledger"),
                "MAX_ALERTS" => Some(self.schedule.max_alerts.as_str()),
                _ => None,
            }
            .map(str::to_owned)
        })
        .expect("they are valid");
        let rules = RuleSource::fixed(Arc::clone(&self.rules), aws_sdk_s3::Client::new(&self.sdk));
        // Claims last as long as they do; what is waited for is shorter.
        let timing = Timing {
            interval: Duration::ZERO,
            settle: Duration::ZERO,
            publish_attempt: PATIENCE,
            publish_operation: PATIENCE * 4,
            ledger_attempt: PATIENCE,
            ledger_operation: PATIENCE * 4,
            ..Timing::default()
        };
        let metrics = Metrics::written_to(self.lines.clone(), "f");
        Function::with_timing(settings, rules, &self.sdk, timing, self.clock.clone())
            .await
            .measured(metrics)
    }

    /// New instances, which remember nothing.
    async fn start(&mut self) {
        self.functions.clear();
        for _ in 0..self.schedule.instances {
            let function = self.function().await;
            self.functions.push(function);
        }
    }

    /// One round: every payload that is not done, on some instance, all at the same time.
    async fn round(
        &mut self,
        round: usize,
        open: Vec<(Shape, Vec<Unit>)>,
    ) -> Result<Vec<(Shape, Vec<Unit>)>, String> {
        let schedule = self.schedule;
        let running = open.iter().enumerate().map(|(n, (shape, units))| {
            let function = &self.functions[(n + round) % self.functions.len()];
            let payload = schedule.payload(*shape, units);
            async move {
                let context = Context {
                    request_id: format!("request-{n}"),
                    ..Context::default()
                };
                function.handle(&payload, &context).await.ok()
            }
        });
        let replies = tokio::select! {
            biased;
            () = self.stub.held() => None,
            replies = join_all(running) => Some(replies),
        };
        let Some(replies) = replies else {
            // Everything that ran is dead, and what it remembered with it.
            self.kills += 1;
            let unnoted: Vec<String> = {
                let world = self.stub.world();
                let is_noted = |id: &String| {
                    world
                        .items
                        .get(id)
                        .is_some_and(|item| item["status"]["S"] == "sent")
                };
                world
                    .told()
                    .into_keys()
                    .filter(|id| !is_noted(id))
                    .collect()
            };
            self.told_by_the_dead.extend(unnoted);
            self.start().await;
            return Ok(open);
        };
        let told = self.stub.world().told();
        let mut still_open = Vec::new();
        for ((shape, units), reply) in open.into_iter().zip(replies) {
            let done = done(shape, units.len(), reply.as_ref());
            let mut failed = Vec::new();
            for (unit, done) in units.into_iter().zip(done) {
                if !done {
                    failed.push(unit);
                    continue;
                }
                if let Some(lost) = schedule.told_by(&unit).find(|id| !told.contains_key(*id)) {
                    return Err(format!("{lost} was not told, and its unit succeeded"));
                }
                if !schedule.is_sound(&unit) {
                    return Err(format!("{unit:?} has a broken file, and succeeded"));
                }
            }
            if !failed.is_empty() {
                still_open.push((shape, failed));
            }
        }
        Ok(still_open)
    }

    async fn run(&mut self) -> Result<(), String> {
        let mut open: Vec<(Shape, Vec<Unit>)> = self.schedule.payloads.clone();
        for round in 0..BAD_ROUNDS + GOOD_ROUNDS {
            let random = (round < BAD_ROUNDS).then_some(self.schedule.random);
            self.stub.plan(Plan {
                random,
                ..Plan::default()
            });
            open = self.round(round, open).await?;
            // Lambda waits a minute before it tries again.
            self.clock.advance(Duration::from_secs(60));
        }
        // Whoever could succeed has.
        for (_, units) in &open {
            if let Some(unit) = units.iter().find(|unit| self.schedule.is_sound(unit)) {
                return Err(format!(
                    "{unit:?} still fails when nothing goes wrong any more"
                ));
            }
        }
        self.check()
    }

    fn check(&self) -> Result<(), String> {
        let schedule = self.schedule;
        let world = self.stub.world();
        let told = world.told();
        let expected: BTreeSet<&String> = schedule
            .payloads
            .iter()
            .flat_map(|(_, units)| units)
            .flat_map(|unit| schedule.told_by(unit))
            .collect();
        if told.keys().collect::<BTreeSet<_>>() != expected {
            return Err(format!("told {told:?}, expected {expected:?}"));
        }

        let sums = self.sums()?;
        let mut may_repeat = self.told_by_the_dead.clone();
        let mut ledger_faults = 0;
        let mut unheard = false;
        for (call, fault) in &world.calls {
            let is_hit = *fault != Fault::None;
            match call.operation {
                Operation::Publish if fault.is_done_unheard() => {
                    unheard = true;
                    may_repeat.extend(call.about.split(',').map(str::to_owned));
                }
                Operation::Claim | Operation::Sent | Operation::GetItem if is_hit => {
                    may_repeat.insert(call.about.clone());
                    ledger_faults += 1;
                }
                Operation::Release | Operation::Turn | Operation::Page if is_hit => {
                    ledger_faults += 1
                }
                _ => {}
            }
        }
        // A table that fails again and again is left alone, for calls that it would have answered for too,
        // and without one, two instances know nothing of each other.
        let knows = match schedule.table {
            true => ledger_faults < 3 && schedule.random.denies.is_none(),
            false => schedule.instances == 1 && self.kills == 0,
        };
        if !knows || !world.late.is_empty() {
            return Ok(());
        }
        if let Some((id, times)) = told
            .iter()
            .find(|(id, times)| **times > 1 && !may_repeat.contains(*id))
        {
            return Err(format!(
                "{id} was told {times} times, and nothing came in between"
            ));
        }
        let total: usize = told.values().sum();
        let counted = sums["Published"] + sums["Summarized"] + sums["Grouped"];
        if self.kills == 0 && !unheard && counted != total as u64 {
            return Err(format!("{total} told, and counted {sums:?}"));
        }
        Ok(())
    }

    /// The counts of all invocations that ended, each of which must add up.
    fn sums(&self) -> Result<BTreeMap<String, u64>, String> {
        let bytes = self.lines.0.lock().expect("no holder panics").clone();
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for line in String::from_utf8(bytes).expect("text").lines() {
            let line: Value = serde_json::from_str(line).expect("JSON");
            let count = |name: &str| line[name].as_u64().expect("a count");
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
                return Err(format!("the sums do not hold: {line}"));
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

/// How long one attempt waits for an answer. Longer than a busy machine takes to give one.
const PATIENCE: Duration = Duration::from_millis(1500);

async fn base() -> SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(cloudhsm_alerts::sdk::http_client())
        .region(Region::new("us-west-2"))
        .credentials_provider(aws_sdk_s3::config::Credentials::new(
            "test", "test", None, None, "test",
        ))
        .timeout_config(TimeoutConfig::builder().read_timeout(PATIENCE).build())
        .load()
        .await
}

async fn run(seed: u64, base: &SdkConfig, rules: &Arc<RuleSet>) -> Result<(), String> {
    let schedule = Schedule::of(seed);
    let stub = Stub::start(Plan::quiet()).await;
    for file in &schedule.files {
        let object = format!("{BUCKET}/{}", file.key);
        stub.world().objects.insert(object, file.body.clone());
    }
    let retries = RetryConfig::standard()
        .with_max_attempts(schedule.attempts)
        .with_initial_backoff(Duration::from_millis(1));
    let sdk = base
        .to_builder()
        .endpoint_url(&stub.endpoint)
        .retry_config(retries)
        .build();
    let mut trial = Trial {
        schedule: &schedule,
        stub,
        sdk,
        rules: Arc::clone(rules),
        clock: Clock::default(),
        lines: Lines::default(),
        functions: Vec::new(),
        kills: 0,
        told_by_the_dead: BTreeSet::new(),
    };
    trial.start().await;
    trial.run().await.map_err(|broken| {
        let world = trial.stub.world();
        let calls: Vec<String> = world
            .calls
            .iter()
            .map(|(call, fault)| {
                format!("  {:?} {} #{}: {fault:?}", call.operation, call.about, call.time)
            })
            .collect();
        format!(
            "seed {seed}: {broken}\nall requests:\n{}\nrun it again with\n  FAULT_SEEDS={seed} cargo test --locked --test faults every_schedule\n",
            calls.join("\n")
        )
    })
}

fn seeds() -> std::ops::Range<u64> {
    #[expect(clippy::disallowed_methods, reason = "for whoever runs one seed again")]
    let Ok(text) = std::env::var("FAULT_SEEDS") else {
        return SEEDS;
    };
    let number = |text: &str| text.parse::<u64>().expect("FAULT_SEEDS=7 or 0..5000");
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&text)..number(&text) + 1,
    }
}

#[test]
fn every_schedule_of_faults_keeps_the_promises() {
    const THREADS: u64 = 2;
    const AT_A_TIME: usize = 6;
    let seeds = seeds();
    let rules = &Arc::new(RuleSet::builtin(&Watched::default()).expect("they are valid"));
    let broken: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(async {
                        let base = &base().await;
                        stream::iter(seeds.filter(|seed| seed % THREADS == thread))
                            .map(|seed| run(seed, base, rules))
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
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}
