//! Deadlines and reminders, through the whole function: log files with deletions and restores arrive in any order, late
//! and twice, and ticks are missed, doubled and killed. A model that knows the event times alone says which deadlines
//! are open, and each of them must be reminded of once at each step, or once more for each fault.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use cloudhsm_alerts::{
    clock::Clock, context::Context, function::Function, rule_source::RuleSource,
    settings::Settings, timing::Timing,
};
use cloudhsm_alerts_core::rules::{RuleSet, watched::Watched};
use cloudhsm_alerts_test_support::{
    dice::Dice,
    fixtures::{BUCKET, TOPIC_ARN, call, key_named, log_file_of, s3_notification},
    published::Published,
    stub::{ErrorKind, Fault, FaultPlan, Operation, RandomFaults, Stub},
};
use futures_util::{StreamExt, future::join_all};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PAGING_ARN: &str = "arn:aws:sns:us-west-2:111122223333:pages";
const RULE_ARN: &str = "arn:aws:events:us-west-2:111122223333:rule/cloudhsm-alerts-tick";
/// The first event.
const BEGIN: &str = "2027-03-01T00:00:00Z";
const STEPS: [i64; 3] = [72, 24, 4];

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn begin() -> Timestamp {
    BEGIN.parse().expect("a time")
}

/// The event of the schedule, as EventBridge sends it.
fn scheduled(rule: &str) -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": "111122223333", "time": "2027-03-01T00:00:00Z",
        "region": "us-west-2", "resources": [rule], "detail": {},
    })
}

fn at(mut call: Value, backup: usize, time: Timestamp) -> Value {
    let id = format!("backup-{backup}");
    call["eventTime"] = time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into();
    call["requestParameters"] = json!({"backupId": id});
    call["responseElements"] = json!({"backup": {"backupId": id, "clusterId": "cluster-a"}});
    call
}

/// The stub, and instances of the function with its clock.
struct World {
    stub: Stub,
    rules: Arc<RuleSet>,
    clock: Clock,
    functions: Vec<Function>,
    instances: usize,
    watch: bool,
}

impl World {
    async fn start(instances: usize) -> World {
        let rules = RuleSet::builtin(&Watched::default()).expect("the built-in rules are valid");
        let clock = Clock::default();
        let ahead = begin().duration_since(clock.now());
        clock.advance(Duration::try_from(ahead).expect("the events are in the future"));
        let mut world = World {
            stub: Stub::start(FaultPlan::none()).await,
            rules: Arc::new(rules),
            clock,
            functions: Vec::new(),
            instances,
            watch: true,
        };
        world.restart().await;
        world
    }

    async fn sdk(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .http_client(cloudhsm_alerts::roots::http_client())
            .region(Region::new("us-west-2"))
            .credentials_provider(aws_sdk_s3::config::Credentials::new(
                "test", "test", None, None, "test",
            ))
            .endpoint_url(&self.stub.endpoint)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(2)
                    .with_initial_backoff(Duration::from_millis(1)),
            )
            .load()
            .await
    }

    /// New instances, whose memory is empty.
    async fn restart(&mut self) {
        self.stub.drop_connections().await;
        self.functions.clear();
        let sdk = self.sdk().await;
        for _ in 0..self.instances {
            let settings = Settings::from_lookup(|name| {
                match name {
                    "ALERT_TOPIC_ARN" => Some(TOPIC_ARN),
                    "PAGING_TOPIC_ARN" => Some(PAGING_ARN),
                    "LEDGER_TABLE" => Some("ledger"),
                    "WATCH_TABLE" if self.watch => Some("watch"),
                    "TICK_RULE_ARN" => Some(RULE_ARN),
                    _ => None,
                }
                .map(str::to_owned)
            })
            .expect("valid settings");
            let timing = Timing {
                interval: Duration::ZERO,
                settle: Duration::from_secs(5),
                ..Timing::default()
            };
            let rules = RuleSource::fixed(Arc::clone(&self.rules));
            let function =
                Function::with_timing(settings, rules, &sdk, timing, self.clock.clone()).await;
            self.functions.push(function);
        }
    }

    /// Puts a log file and returns its notification.
    fn file(&self, name: &str, records: &[Value]) -> Value {
        let key = key_named(name);
        let object = format!("{BUCKET}/{key}");
        self.stub
            .state()
            .objects
            .insert(object, log_file_of(records));
        s3_notification(&[&key])
    }

    /// Invokes the first `count` instances with a payload at the same time. `None`: they were killed.
    async fn invoke(&mut self, payload: &Value, count: usize) -> Option<Vec<bool>> {
        let context = Context::default();
        let running = self.functions[..count].iter().map(|function| {
            let (payload, context) = (payload.clone(), context.clone());
            async move { function.handle(&payload, &context).await.is_ok() }
        });
        let results = tokio::select! {
            biased;
            () = self.stub.wait_until_held() => None,
            results = join_all(running) => Some(results),
        };
        if results.is_none() {
            self.restart().await;
        }
        results
    }

    /// Invokes with faults a few times, a minute between each, and at last without. Returns how many requests failed.
    async fn invoke_until_done(
        &mut self,
        payload: &Value,
        count: usize,
        faults: Option<RandomFaults>,
    ) -> usize {
        let before = self.stub.state().requests.len();
        for attempt in 0..2 {
            let Some(random) = faults else { break };
            let seed = random.seed ^ (attempt << 40);
            self.stub.set_faults(FaultPlan {
                random: Some(RandomFaults { seed, ..random }),
                ..FaultPlan::default()
            });
            let results = self.invoke(payload, count).await;
            self.clock.advance(Duration::from_secs(60));
            if results.is_some_and(|results| results.iter().all(|is_ok| *is_ok)) {
                break;
            }
        }
        self.stub.set_faults(FaultPlan::none());
        let results = self.invoke(payload, count).await;
        assert_eq!(results, Some(vec![true; count]), "without faults");
        let state = self.stub.state();
        let requests = &state.requests[before..];
        requests
            .iter()
            .filter(|(_, fault)| *fault != Fault::None)
            .count()
    }

    async fn tick(&mut self) -> bool {
        let results = self.invoke(&scheduled(RULE_ARN), 1).await;
        results.expect("not killed")[0]
    }

    fn advance_to(&self, time: Timestamp) {
        let by = time.duration_since(self.clock.now());
        self.clock
            .advance(Duration::try_from(by).unwrap_or_default());
    }

    fn reminders(&self) -> Vec<Published> {
        let state = self.stub.state();
        let reminders = state.messages.iter().filter(|it| it.is_reminder());
        reminders.cloned().collect()
    }

    fn subjects(&self) -> Vec<String> {
        self.reminders()
            .into_iter()
            .map(|message| message.subject)
            .collect()
    }

    /// The pages about deadlines.
    fn pages(&self) -> Vec<String> {
        let state = self.stub.state();
        let is_reminder =
            |page: &&&str| page.starts_with("REMINDER") || page.starts_with("TOO LATE");
        state
            .pages()
            .iter()
            .filter(is_reminder)
            .map(|page| (*page).to_owned())
            .collect()
    }

    /// The e-mail about the call with this event ID.
    fn email_about(&self, event_id: &str) -> String {
        let state = self.stub.state();
        let message = state
            .messages
            .iter()
            .find(|message| message.event_ids().iter().any(|id| id == event_id))
            .unwrap_or_else(|| panic!("no alert about {event_id}"));
        message.text("email").to_owned()
    }
}

#[tokio::test]
async fn a_deletion_is_reminded_of_until_the_backup_is_restored() {
    let mut world = World::start(1).await;
    let deleted = at(call("DeleteBackup", "delete-1"), 1, begin());
    let other = at(call("DeleteBackup", "delete-2"), 2, begin() + hours(12));
    let notification = world.file("deleted", &[deleted, other]);
    assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
    assert!(
        world.email_about("delete-1").contains(
            "Reminders follow 3 days, 1 day and 4 hours before the deadline, until the call that undoes this is seen."
        )
    );
    let mut seen = Vec::new();
    for hour in 0..24 * 9 {
        world.advance_to(begin() + hours(hour) + SignedDuration::from_mins(30));
        if hour == 24 * 6 + 3 {
            let restored = at(call("RestoreBackup", "restore-1"), 1, world.clock.now());
            let notification = world.file("restored", &[restored]);
            assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
        }
        let before = world.subjects().len();
        assert!(world.tick().await);
        for subject in &world.subjects()[before..] {
            seen.push(format!("hour {hour}: {subject}"));
        }
    }
    assert_eq!(
        seen,
        [
            "hour 96: REMINDER, 3 days left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "hour 108: REMINDER, 3 days left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 144: REMINDER, 1 day left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "hour 156: REMINDER, 1 day left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 176: REMINDER, 4 hours left: Backup backup-2 can be restored until 2027-03-08 12:00 UTC",
            "hour 180: DEADLINE PASSED: Backup backup-2 cannot be restored any more",
        ]
    );
    assert_eq!(
        world.pages(),
        [
            "REMINDER 1 day left: Backup backup-1 can be restored until 8 Mar 00:00Z, 111122223333 us-west-2",
            "REMINDER 1 day left: Backup backup-2 can be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
            "REMINDER 4 hours left: Backup backup-2 can be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
            "TOO LATE: Backup backup-2 could be restored until 8 Mar 12:00Z, 111122223333 us-west-2",
        ]
    );
    let email = world.email_about("restore-1");
    assert!(
        email.contains(
            "It undoes DeleteBackup by alice on 2027-03-01 00:00 UTC, 21 hours before the deadline. \
             Still open for this cluster: Backup backup-2 until 2027-03-08 12:00 UTC."
        ),
        "{email}"
    );
}

#[tokio::test]
async fn without_a_watch_table_nothing_is_promised_and_nothing_is_requested() {
    let mut world = World::start(1).await;
    world.watch = false;
    world.restart().await;
    let deleted = at(call("DeleteBackup", "delete-1"), 1, begin());
    let notification = world.file("deleted", &[deleted]);
    assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
    assert!(!world.email_about("delete-1").contains("Reminders follow"));
    let before = world.stub.state().requests.len();
    assert!(world.tick().await);
    assert_eq!(world.stub.state().requests.len(), before);
}

#[tokio::test]
async fn failed_denied_and_late_calls_and_a_wrong_clock() {
    let mut world = World::start(1).await;
    let mut failed = at(call("RestoreBackup", "failed"), 1, begin() + hours(2));
    failed["errorCode"] = "CloudHsmInternalFailureException".into();
    let mut denied = at(call("DeleteBackup", "denied"), 3, begin() + hours(2));
    denied["errorCode"] = "AccessDenied".into();
    let calls = [
        at(call("DeleteBackup", "open"), 1, begin()),
        failed,
        denied,
        // Over before it is read: no reminder.
        at(call("DeleteBackup", "over"), 4, begin() - hours(8 * 24)),
    ];
    let notification = world.file("calls", &calls);
    assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
    world.advance_to(begin() + hours(24));
    // Its clock is a day ahead, then wrong by a month: nothing is closed by it.
    let wrong = world.clock.clone();
    world.clock = Clock::default();
    world.advance_to(begin() + hours(6 * 24 + 12));
    world.restart().await;
    assert!(world.tick().await);
    world.clock = Clock::default();
    world.advance_to(begin() + hours(7 * 24 + 1));
    world.restart().await;
    assert!(world.tick().await);
    world.clock = wrong;
    world.restart().await;
    world.advance_to(begin() + hours(4 * 24 + 1));
    assert!(world.tick().await);
    world.advance_to(begin() + hours(6 * 24 + 21));
    assert!(world.tick().await);
    assert_eq!(
        world.subjects(),
        [
            "REMINDER, 12 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "DEADLINE PASSED: Backup backup-1 cannot be restored any more",
            "REMINDER, 2 days 23 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
            "REMINDER, 3 hours left: Backup backup-1 can be restored until 2027-03-08 00:00 UTC",
        ]
    );
}

#[tokio::test]
async fn only_the_event_of_the_stacks_own_rule_is_a_tick() {
    let mut world = World::start(1).await;
    let other = "arn:aws:events:us-west-2:111122223333:rule/another";
    let in_message = json!({"Records": [{"messageId": "m", "eventSource": "aws:sqs",
        "body": scheduled(RULE_ARN).to_string()}]});
    let in_topic = json!({"Records": [{"EventSource": "aws:sns",
        "Sns": {"Message": scheduled(RULE_ARN).to_string()}}]});
    let mut two_rules = scheduled(RULE_ARN);
    two_rules["resources"] = json!([RULE_ARN, other]);
    for payload in [scheduled(other), two_rules, in_topic] {
        assert_eq!(
            world.invoke(&payload, 1).await,
            Some(vec![false]),
            "{payload}"
        );
    }
    let context = Context::default();
    let reply = world.functions[0].handle(&in_message, &context).await;
    assert_eq!(
        reply.expect("a reply")["batchItemFailures"],
        json!([{"itemIdentifier": "m"}])
    );
    assert_eq!(world.stub.state().requests, []);
}

/// The alert goes out, the invocation fails, and the retry writes the deadline without a second alert.
#[tokio::test]
async fn a_failing_watch_table_stops_no_alert_and_a_retry_writes_the_deadline() {
    let mut world = World::start(1).await;
    let deleted = at(call("DeleteBackup", "delete-1"), 1, begin());
    let notification = world.file("deleted", &[deleted]);
    for kind in [
        ErrorKind::Unavailable,
        ErrorKind::Throttled,
        ErrorKind::Denied,
    ] {
        let fault = Fault::Before(kind);
        world
            .stub
            .set_faults(FaultPlan::always(Operation::OpenDeadline, fault));
        assert_eq!(world.invoke(&notification, 1).await, Some(vec![false]));
        assert_eq!(world.stub.state().alerts_by_event_id()["delete-1"], 1);
    }
    world.stub.set_faults(FaultPlan::none());
    assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
    world.advance_to(begin() + hours(4 * 24 + 1));
    assert!(world.tick().await);
    assert_eq!(world.subjects().len(), 1);
    assert_eq!(world.stub.state().alerts_by_event_id()["delete-1"], 1);
}

#[tokio::test]
async fn a_thousand_deadlines_at_once_are_reminded_of_once() {
    let mut world = World::start(1).await;
    let calls: Vec<Value> = (0..1000)
        .map(|n| at(call("DeleteBackup", &format!("delete-{n}")), n, begin()))
        .collect();
    let notification = world.file("deleted", &calls);
    assert_eq!(world.invoke(&notification, 1).await, Some(vec![true]));
    for _ in 0..2 {
        world.advance_to(begin() + hours(6 * 24 + 1));
        assert!(world.tick().await);
    }
    let mut reminded: Vec<String> = world
        .reminders()
        .iter()
        .flat_map(entries)
        .map(|entry| entry.resource)
        .collect();
    reminded.sort();
    let mut expected: Vec<String> = (0..1000).map(|n| format!("backup-{n}")).collect();
    expected.sort();
    assert_eq!(reminded, expected);
    let messages = world.reminders().len();
    assert!(messages <= 10, "{messages} messages");
    assert_eq!(world.pages().len(), messages);
}

/// A deadline in a reminder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    resource: String,
    opened: Timestamp,
    step: i64,
}

/// The last step that was reached with this time left.
fn step(left: SignedDuration) -> Option<i64> {
    match left <= SignedDuration::ZERO {
        true => Some(0),
        false => STEPS.into_iter().filter(|step| left <= hours(*step)).min(),
    }
}

fn entries(message: &Published) -> Vec<Entry> {
    let finding = message.finding();
    let now = Timestamp::from_millisecond(finding["time"].as_i64().expect("a time"));
    let now = now.expect("a time");
    let deadlines = finding["unmapped"]["deadlines"].as_array().expect("a list");
    let time =
        |value: &Value| -> Timestamp { value.as_str().expect("a time").parse().expect("a time") };
    deadlines
        .iter()
        .map(|deadline| Entry {
            resource: deadline["resource"].as_str().expect("an ID").to_owned(),
            opened: time(&deadline["opened"]),
            step: step(time(&deadline["due"]).duration_since(now)).expect("a step"),
        })
        .collect()
}

/// What is known of a backup from the records that were read.
#[derive(Debug, Default, Clone, Copy)]
struct Model {
    deleted: Option<Timestamp>,
    restored: Option<Timestamp>,
    /// Whether the deletion was read after its deadline.
    is_late: bool,
}

impl Model {
    fn open(&self) -> Option<Timestamp> {
        self.deleted
            .filter(|deleted| self.restored.is_none_or(|restored| restored <= *deleted))
    }
}

/// One delivery of records: at which time, of which backups, deleted or restored, when.
struct Delivery {
    at: Timestamp,
    events: Vec<(usize, bool, Timestamp)>,
}

fn deliveries(dice: &mut Dice) -> Vec<Delivery> {
    let mut events = Vec::new();
    for backup in 0..1 + dice.throw(5) as usize {
        let mut time = begin() + hours(dice.throw(72) as i64);
        let mut is_deleted = true;
        for _ in 0..1 + dice.throw(4) {
            events.push((backup, is_deleted, time));
            is_deleted = !is_deleted;
            // No deadline ends while a tick is tried again.
            time += SignedDuration::from_mins(10 * (1 + dice.throw(5 * 24 * 6) as i64));
        }
    }
    let mut deliveries = Vec::new();
    for event in events {
        for _ in 0..1 + dice.throw(2) {
            let delay = match dice.throw(4) {
                0 => dice.throw(9 * 24 * 60),
                _ => dice.throw(20),
            };
            let at = event.2 + SignedDuration::from_mins(delay as i64);
            match dice.throw(3) {
                0 if !deliveries.is_empty() => {
                    let index = dice.throw(deliveries.len() as u64) as usize;
                    let known: &mut Delivery = &mut deliveries[index];
                    known.at = known.at.max(at);
                    known.events.push(event);
                }
                _ => deliveries.push(Delivery {
                    at,
                    events: vec![event],
                }),
            }
        }
    }
    deliveries.sort_by_key(|delivery| delivery.at);
    deliveries
}

async fn schedule(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::start(2).await;
    let mut deliveries = deliveries(&mut dice).into_iter().enumerate().peekable();
    let mut models: BTreeMap<usize, Model> = BTreeMap::new();
    // What was reminded of, on the alert topic and on the paging topic.
    let (mut alerted, mut paged) = (BTreeSet::new(), BTreeSet::new());
    let faults = |dice: &mut Dice| {
        (dice.throw(3) == 0).then(|| RandomFaults {
            seed: dice.throw(u64::MAX),
            per_mille: 250,
            hangs: false,
            kills: true,
            denies: None,
        })
    };
    let mut now = begin() + SignedDuration::from_mins(3);
    for _ in 0..24 * 13 {
        now += hours(1);
        while let Some((number, delivery)) = deliveries.next_if(|(_, next)| next.at <= now) {
            world.advance_to(delivery.at);
            let records: Vec<Value> = delivery
                .events
                .iter()
                .map(|(backup, is_deleted, time)| {
                    let name = if *is_deleted {
                        "DeleteBackup"
                    } else {
                        "RestoreBackup"
                    };
                    at(
                        call(name, &format!("{name}-{backup}-{time}")),
                        *backup,
                        *time,
                    )
                })
                .collect();
            let notification = world.file(&format!("file-{number}"), &records);
            let read = world.clock.now();
            let faults = faults(&mut dice);
            world.invoke_until_done(&notification, 1, faults).await;
            for (backup, is_deleted, time) in delivery.events {
                let model = models.entry(backup).or_default();
                if !is_deleted {
                    model.restored = model.restored.max(Some(time));
                } else if model.deleted < Some(time) {
                    model.deleted = Some(time);
                    model.is_late = time + hours(7 * 24) <= read;
                }
            }
        }
        if dice.throw(2) == 0 {
            continue;
        }
        world.advance_to(now);
        let time = world.clock.now();
        let due: BTreeSet<Entry> = models
            .iter()
            .filter_map(|(backup, model)| {
                let opened = model.open()?;
                let step = step((opened + hours(7 * 24)).duration_since(time))?;
                (step > 0 || !model.is_late).then(|| Entry {
                    resource: format!("backup-{backup}"),
                    opened,
                    step,
                })
            })
            .collect();
        let before = (world.reminders().len(), world.pages().len());
        let (count, faults) = (1 + usize::from(dice.throw(8) == 0), faults(&mut dice));
        let hits = world
            .invoke_until_done(&scheduled(RULE_ARN), count, faults)
            .await;
        let mut reminded: BTreeMap<Entry, usize> = BTreeMap::new();
        for message in &world.reminders()[before.0..] {
            for entry in entries(message) {
                *reminded.entry(entry).or_default() += 1;
            }
        }
        let expected: BTreeSet<Entry> = due.difference(&alerted).cloned().collect();
        let found: BTreeSet<Entry> = reminded.keys().cloned().collect();
        assert_eq!(found, expected, "seed {seed}, {time}, {models:?}");
        let most = reminded.values().max().copied().unwrap_or(0);
        assert!(
            most <= 1 + hits,
            "seed {seed}, {time}: {reminded:?}, {hits} faults"
        );
        let to_page: BTreeSet<Entry> = due
            .iter()
            .filter(|entry| entry.step <= 24 && !paged.contains(*entry))
            .cloned()
            .collect();
        let stages: BTreeSet<bool> = to_page.iter().map(|entry| entry.step == 0).collect();
        let pages = world.pages().len() - before.1;
        assert!(
            (stages.len()..=stages.len() * (1 + hits)).contains(&pages),
            "seed {seed}, {time}: {pages} pages about {to_page:?}, {hits} faults"
        );
        alerted.extend(due);
        paged.extend(to_page);
    }
    // A restore is alerted once, whatever happened to the table, unless a fault excuses a second alert.
    let alerts = world.stub.state().alerts_by_event_id();
    for (backup, model) in &models {
        for (name, time) in [
            ("DeleteBackup", model.deleted),
            ("RestoreBackup", model.restored),
        ] {
            if let Some(time) = time {
                let id = format!("{name}-{backup}-{time}");
                assert!(
                    alerts.contains_key(&id),
                    "seed {seed}: {id} was not alerted"
                );
            }
        }
    }
}

/// `DEADLINE_SEEDS=7` runs one seed, `DEADLINE_SEEDS=0..1000` a range.
#[tokio::test]
async fn every_open_deadline_is_reminded_of_once_at_each_step() {
    #[expect(clippy::disallowed_methods, reason = "selects the seeds to run")]
    let seeds = std::env::var("DEADLINE_SEEDS").unwrap_or_else(|_| "0..10".into());
    let number = |text: &str| text.parse::<u64>().expect("DEADLINE_SEEDS=7 or 0..1000");
    let seeds = match seeds.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => number(&seeds)..number(&seeds) + 1,
    };
    futures_util::stream::iter(seeds)
        .map(schedule)
        .buffer_unordered(6)
        .collect::<()>()
        .await;
}
