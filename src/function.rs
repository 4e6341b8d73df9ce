//! The function: one invocation, from payload to reply.
//!
//! Every object is read, every finding told, and only then is failure reported: nothing of a batch is
//! lost because of something else in it. An alert belongs to the units (SQS messages, batch tasks, or the
//! whole invocation) whose objects held its call; if it cannot be published, they fail.

use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Arc, PoisonError},
};

use jiff::civil::Date;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{error, info};

use crate::{
    alert::{Alert, Source, digest, message::Message, operator},
    finding::{Finding, Scan},
    json,
    ledger::Ledger,
    object::{ObjectRef, Skip},
    outcome::{self, Counts, Failed, Failure},
    payload::{self, Invocation, Item, PayloadError, Unit},
    rule_source::{RuleSource, Trouble},
    rules::{RuleSet, problem::Problem},
    s3,
    settings::Settings,
    severity::Severity,
    shell,
    sns::{PublishError, Publisher},
    text::one_line,
};

/// Memory for alerts that wait to be published, in bytes. When it is used up they go out at once, most
/// severe first, and reading goes on: memory stays bounded whatever a file holds.
const WAITING: usize = 24 * 1024 * 1024;

/// The function with all it keeps between invocations.
#[derive(Debug)]
pub struct Function {
    settings: Settings,
    rules: RuleSource,
    s3: aws_sdk_s3::Client,
    /// Trouble with rules found at the start, for the first invocation to tell.
    at_start: std::sync::Mutex<Option<Trouble>>,
    /// What one invocation leaves to the next. Lambda runs one at a time in an instance.
    kept: Mutex<Kept>,
}

#[derive(Debug)]
struct Kept {
    ledger: Ledger,
    publisher: Publisher,
    /// Trouble with rules that an operator alert has told.
    told_trouble: Option<Trouble>,
}

impl Function {
    /// A function with its clients made from the SDK's configuration; SNS is called in the topic's region.
    /// The rules of `RULES_URI` are in use from the first invocation on, if they can be read in time;
    /// otherwise the built-in ones are, and the first invocation tells why.
    ///
    /// # Errors
    /// A built-in rule is malformed: a mistake in the program.
    pub async fn new(
        settings: Settings,
        sdk: &aws_config::SdkConfig,
    ) -> Result<Function, Vec<Problem>> {
        let s3 = s3::client(sdk);
        let rules = RuleSource::new(
            settings.rules_uri.clone(),
            settings.watched.clone(),
            s3.clone(),
        )?;
        // What is wrong is told after the first invocation, when the same look is taken again.
        let at_start = rules.refresh().await.err();
        let sns = aws_sdk_sns::config::Builder::from(sdk)
            .region(aws_sdk_sns::config::Region::new(
                settings.topic.region.clone(),
            ))
            .build();
        Ok(Function {
            s3,
            kept: Mutex::new(Kept {
                ledger: Ledger::default(),
                publisher: Publisher::new(
                    aws_sdk_sns::Client::from_conf(sns),
                    settings.topic.clone(),
                ),
                told_trouble: None,
            }),
            at_start: std::sync::Mutex::new(at_start),
            settings,
            rules,
        })
    }

    /// Handles one invocation whose payload has not been parsed.
    ///
    /// # Errors
    /// As [`Function::handle`], or the text is not JSON.
    pub async fn handle_text(&self, payload: &str) -> Result<Value, Failed> {
        match json::parse(payload.as_bytes()) {
            Ok(payload) => self.handle(&payload).await,
            Err(error) => Err(outcome::failed(&[Failure::Payload(PayloadError {
                at: "payload".into(),
                message: format!("expected JSON: {error}"),
            })])),
        }
    }

    /// Handles one invocation.
    ///
    /// # Errors
    /// What makes Lambda count the invocation as failed, with a stable `errorType`.
    pub async fn handle(&self, payload: &Value) -> Result<Value, Failed> {
        let mut kept = self.kept.lock().await;
        let mut run = Run::new(self, &mut kept);
        match payload::read(payload) {
            Invocation::Whole(unit) => {
                let results = run.units(vec![unit]).await;
                let failures: Vec<Failure> = results
                    .into_iter()
                    .flat_map(|(_, failures)| failures)
                    .collect();
                run.look_for_rules().await;
                run.log();
                if failures.is_empty() {
                    outcome::json(&run.counts)
                } else {
                    Err(outcome::failed(&failures))
                }
            }
            Invocation::Sqs(units) => {
                let results = run.units(units).await;
                run.look_for_rules().await;
                run.log();
                outcome::sqs_reply(&results)
            }
            Invocation::Batch {
                schema_version,
                invocation_id,
                tasks,
            } => {
                let results = run.units(tasks).await;
                run.look_for_rules().await;
                run.log();
                let results: Vec<_> = results
                    .into_iter()
                    .enumerate()
                    .map(|(unit, (id, failures))| (id, failures, run.done(unit)))
                    .collect();
                outcome::batch_reply(&schema_version, &invocation_id, &results)
            }
        }
    }
}

/// One invocation on its way.
struct Run<'f> {
    function: &'f Function,
    /// The rules in use when the invocation began, for all of it.
    rules: Arc<RuleSet>,
    today: Date,
    kept: &'f mut Kept,
    counts: Counts,
    /// Single alerts that may still be sent.
    singles: usize,
    waiting: Vec<Waiting>,
    /// Event ID to place in `waiting`.
    places: HashMap<String, usize>,
    weight: usize,
    /// Objects of this invocation that were read, with the unit that read them.
    read: HashMap<ObjectRef, usize>,
    /// Failures by unit.
    failures: Vec<Vec<Failure>>,
    /// What to say of a batch task that succeeded.
    notes: Vec<Vec<String>>,
}

/// An alert that waits to be published, and the units that fail if it is not.
struct Waiting {
    alert: Alert,
    units: Vec<usize>,
}

impl<'f> Run<'f> {
    fn new(function: &'f Function, kept: &'f mut Kept) -> Run<'f> {
        Run {
            counts: Counts::default(),
            singles: function.settings.max_alerts,
            waiting: Vec::new(),
            places: HashMap::new(),
            weight: 0,
            read: HashMap::new(),
            failures: Vec::new(),
            notes: Vec::new(),
            rules: function.rules.current(),
            today: shell::today(),
            function,
            kept,
        }
    }

    /// Does what the units ask for; gives each one's id and failures, in order.
    async fn units(&mut self, units: Vec<Unit>) -> Vec<(String, Vec<Failure>)> {
        self.failures = vec![Vec::new(); units.len()];
        self.notes = vec![Vec::new(); units.len()];
        let mut repeats = Vec::new();
        let mut ids = Vec::with_capacity(units.len());
        for (number, unit) in units.into_iter().enumerate() {
            ids.push(unit.id);
            for item in unit.items {
                match item {
                    Item::Object(object) => match self.read.get(&object) {
                        Some(&first) if first == number => {}
                        Some(&first) => repeats.push((number, first)),
                        None => {
                            self.read.insert(object.clone(), number);
                            self.object(object, number).await;
                        }
                    },
                    Item::Record(record, event) => {
                        self.counts.records += 1;
                        self.counts.evaluated += 1;
                        if let Some(finding) = Finding::of(record, &self.rules, self.today) {
                            self.take(finding, &Source::Event(event), number);
                        }
                    }
                    Item::Skipped(skip, what) => self.skip(skip, &what, number),
                    Item::Bad(error) => self.fail(Failure::Payload(error), &[number]),
                }
            }
        }
        self.publish(true).await;
        // The same object named twice was read once: whoever named it again shares the result.
        for (number, first) in repeats {
            let shared = self.failures[first].clone();
            self.failures[number].extend(shared);
            self.notes[number].push("the same object as another task".into());
        }
        ids.into_iter()
            .zip(std::mem::take(&mut self.failures))
            .collect()
    }

    async fn object(&mut self, object: ObjectRef, unit: usize) {
        let mut body = match s3::open(&self.function.s3, &object).await {
            Ok(body) => body,
            Err(error) => return self.fail(Failure::Object { object, error }, &[unit]),
        };
        let rules = Arc::clone(&self.rules);
        let source = Source::Object(object.clone());
        let mut scan = Scan::new(&rules, self.today);
        let failure = loop {
            let chunk = match s3::next_chunk(&mut body).await {
                Ok(chunk) => chunk,
                Err(error) => {
                    break Some(Failure::Object {
                        object: object.clone(),
                        error,
                    });
                }
            };
            let mut take = |finding: Finding| self.take(finding, &source, unit);
            let step = match &chunk {
                Some(chunk) => scan.push(chunk.as_ref(), &mut take),
                None => scan.finish(&mut take),
            };
            if let Err(error) = step {
                break Some(Failure::LogFile {
                    object: object.clone(),
                    error,
                });
            }
            if chunk.is_none() {
                break None;
            }
            if self.weight > WAITING {
                self.publish(false).await;
            }
        };

        let counts = scan.counts();
        let (compressed, uncompressed) = scan.bytes();
        if compressed == 0 && failure.is_none() {
            return self.skip(Skip::Empty, &object.to_string(), unit);
        }
        self.counts.objects += 1;
        self.counts.records += counts.records;
        self.counts.evaluated += counts.evaluated;
        self.counts.unreadable += counts.unreadable;
        for unreadable in scan.unreadable() {
            error!(object = %object, record = unreadable.index, "{unreadable}");
        }
        info!(
            object = %object,
            compressed, uncompressed,
            records = counts.records,
            evaluated = counts.evaluated,
            unreadable = counts.unreadable,
            matched = counts.matched,
            "log file read"
        );
        self.notes[unit].push(format!(
            "{} records, {} matched",
            counts.records, counts.matched
        ));
        if let Some(failure) = failure {
            self.fail(failure, &[unit]);
        }
        // Whatever it was, it may have been a call: nobody would look at a line in a log.
        if let Some(first) = scan.unreadable().first() {
            let (count, first) = (counts.unreadable, first.clone());
            self.fail(
                Failure::Unreadable {
                    object,
                    count,
                    first,
                },
                &[unit],
            );
        }
    }

    /// Decides what becomes of a finding.
    fn take(&mut self, finding: Finding, source: &Source, unit: usize) {
        let settings = &self.function.settings;
        self.counts.matched += 1;
        self.counts.note_filtered(&finding.filtered);
        if finding.is_filtered() {
            self.counts.filtered += 1;
            return;
        }
        if finding.severity() < settings.min_severity {
            self.counts.below_minimum += 1;
            return;
        }
        let event_id = finding.record.event_id();
        if self.kept.ledger.contains(&event_id) {
            self.counts.already_told += 1;
            return;
        }
        if let Some(&place) = self.places.get(&event_id) {
            self.counts.already_told += 1;
            let units = &mut self.waiting[place].units;
            if !units.contains(&unit) {
                units.push(unit);
            }
            return;
        }
        let alert = Alert::new(finding, source, &settings.accounts);
        self.weight += alert.weight();
        self.places.insert(event_id, self.waiting.len());
        self.waiting.push(Waiting {
            alert,
            units: vec![unit],
        });
    }

    /// Publishes what waits: the most severe one by one, the rest in digests. Of equals, a call that
    /// succeeded goes before refused ones, which anybody without permissions can make in any number. While
    /// there is more to read, only critical calls may use up the single messages.
    async fn publish(&mut self, all_is_read: bool) {
        let mut waiting = std::mem::take(&mut self.waiting);
        self.places.clear();
        self.weight = 0;
        waiting.sort_by_key(|waiting| (Reverse(waiting.alert.severity), waiting.alert.outcome));
        let eligible = waiting
            .iter()
            .take_while(|waiting| all_is_read || waiting.alert.severity == Severity::Critical)
            .count();
        let rest = waiting.split_off(self.singles.min(eligible));
        self.singles -= waiting.len();
        for waiting in waiting {
            self.publish_single(&waiting.alert, &waiting.units).await;
        }

        let units_of: HashMap<String, Vec<usize>> = rest
            .iter()
            .map(|waiting| (waiting.alert.event_id.clone(), waiting.units.clone()))
            .collect();
        let units_of = |alert: &Alert| units_of.get(&alert.event_id).cloned().unwrap_or_default();
        let rest = rest.into_iter().map(|waiting| waiting.alert).collect();
        for (message, alerts) in digest::digests(rest) {
            if let [alone] = alerts.as_slice() {
                self.publish_single(alone, &units_of(alone)).await;
                continue;
            }
            match self.kept.publisher.publish(&message).await {
                Ok(()) => {
                    for alert in &alerts {
                        self.counts.digested += 1;
                        self.told(alert, true);
                    }
                }
                // What SNS refuses it refuses again: one call in it may be the reason, so each goes alone.
                Err(PublishError::Refused(_)) => {
                    for alert in &alerts {
                        self.publish_single(alert, &units_of(alert)).await;
                    }
                }
                Err(error) => {
                    for alert in &alerts {
                        self.not_told(alert, &units_of(alert), error.clone());
                    }
                }
            }
        }
    }

    async fn publish_single(&mut self, alert: &Alert, units: &[usize]) {
        match self.kept.publisher.publish(&Message::of(alert)).await {
            Ok(()) => {
                self.counts.published += 1;
                self.told(alert, false);
            }
            Err(error) => self.not_told(alert, units, error),
        }
    }

    fn told(&mut self, alert: &Alert, digest: bool) {
        self.kept.ledger.insert(&alert.event_id);
        info!(
            event_id = one_line(&alert.event_id, 256),
            event_name = one_line(&alert.event_name, 128),
            severity = alert.severity.as_str(),
            outcome = alert.outcome.as_str(),
            rule = alert.rules.first().map(|rule| rule.name.as_str()),
            source = %alert.source,
            digest,
            "alert published"
        );
    }

    fn not_told(&mut self, alert: &Alert, units: &[usize], error: PublishError) {
        self.counts.failed += 1;
        let event_id = one_line(&alert.event_id, 256);
        self.fail(Failure::Publish { event_id, error }, units);
    }

    fn skip(&mut self, skip: Skip, what: &str, unit: usize) {
        *self.counts.skipped.entry(skip.as_str()).or_default() += 1;
        info!(
            what,
            reason = skip.as_str(),
            "skipped: holds no records of management calls"
        );
        self.notes[unit].push(format!("skipped: {}", skip.as_str()));
    }

    fn fail(&mut self, failure: Failure, units: &[usize]) {
        error!(error_type = failure.error_type(), "{failure}");
        for &unit in units {
            self.failures[unit].push(failure.clone());
        }
    }

    /// Looks for changed rules, now that the alerts are out. Trouble is counted each time and told once; it
    /// fails nothing, because alerting goes on with the rules that were good.
    async fn look_for_rules(&mut self) {
        let at_start = self
            .function
            .at_start
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let found = match at_start {
            Some(trouble) => Err(trouble),
            None => self.function.rules.refresh().await,
        };
        let trouble = match found {
            Ok(()) => return,
            Err(trouble) => trouble,
        };
        self.counts.rules_trouble += 1;
        let lines = trouble.lines();
        for line in &lines {
            error!(
                error_type = trouble.error_type(),
                "rules not loaded: {line}"
            );
        }
        if self.kept.told_trouble.as_ref() == Some(&trouble) {
            return;
        }
        let uri = self
            .function
            .rules
            .uri()
            .map(ToString::to_string)
            .unwrap_or_default();
        let message = operator::rules_not_loaded(&uri, &lines, self.rules.len(), shell::now());
        match self.kept.publisher.publish(&message).await {
            Ok(()) => self.kept.told_trouble = Some(trouble),
            Err(error) => error!(
                error_type = error.error_type(),
                "the operator alert about rules was not published, and will be tried again: {error}"
            ),
        }
    }

    fn done(&self, unit: usize) -> String {
        self.notes[unit].join("; ")
    }

    fn log(&self) {
        let counts = outcome::json(&self.counts).unwrap_or_default();
        info!(%counts, "invocation done");
    }
}
