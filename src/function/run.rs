//! One invocation on its way: what its units ask for, what was found, what failed, and the counts of both.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use futures_util::stream::{FuturesUnordered, StreamExt};
use jiff::civil::Date;
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use super::{
    Context, Function, Kept,
    guard::guarded,
    packed::{Bases, Packed},
    read::{self, Found, Place, Reading, Report, What},
    timing::Deadline,
};
use crate::{
    metrics::Measures,
    outcome::{self, Counts, Failure},
    payload::{BatchMode, Done, Item, Job, Unit},
    sns::PublishError,
};
use cloudhsm_alerts_core::{
    alert::Source,
    call_id::CallId,
    finding::Finding,
    object::{ObjectRef, Skip},
    record::Record,
    rules::RuleSet,
    text::one_line,
};

/// Memory for calls that wait to be told, in bytes: some ten thousand of them. When it is used up they are
/// told at once, most severe first, and reading goes on: memory stays bounded whatever a file holds.
const WAITING: usize = 24 * 1024 * 1024;
/// Event IDs in the line about alerts that were not published.
const EVENT_IDS_LOGGED: usize = 5;
/// Sets of findings on their way from the readers.
const ON_THE_WAY: usize = 4;

/// One invocation on its way.
pub(super) struct Run<'f> {
    pub(super) function: &'f Function,
    /// The rules in use when the invocation began, for all of it.
    pub(super) rules: Arc<RuleSet>,
    today: Date,
    pub(super) kept: &'f mut Kept,
    pub(super) deadline: Deadline,
    /// The job of S3 Batch Operations that it is a part of; otherwise one that is told like any log file.
    pub(super) job: Job,
    /// Whether log files are read because they have just been delivered, which is what the heartbeat hears.
    is_live: bool,
    /// Whether the job has sent all the messages about the past that it may.
    pub(super) allowance_is_used: bool,
    pub(super) counts: Counts,
    pub(super) measures: Measures,
    /// Single alerts that may still be sent.
    pub(super) singles: usize,
    /// Event names that have had a single alert while more remained to be read.
    pub(super) single_names: HashSet<String>,
    pub(super) waiting: Vec<Waiting>,
    /// Calls that another invocation has claimed.
    pub(super) held: Vec<Waiting>,
    /// Calls told, of which the table has not taken note.
    pub(super) unnoted: Vec<CallId>,
    /// Why the topic takes nothing more in this invocation.
    pub(super) topic_is_down: Option<PublishError>,
    /// Messages in a row that SNS did not take for want of an answer.
    pub(super) unanswered: u32,
    /// A call's place in `waiting`.
    places: HashMap<CallId, usize>,
    /// Calls whose alerts were not published, by error type.
    unpublished: BTreeMap<&'static str, Unpublished>,
    /// The calls found so far, by event ID.
    by_event_id: HashMap<String, CallId>,
    weight: usize,
    /// Failures by unit, each with the place of the item it is about: they are told in that order, however
    /// fast each object was read.
    failures: Vec<Vec<(usize, Failure)>>,
    /// What to say of a batch task that succeeded: in words, and in numbers where a log file was read.
    notes: Vec<Vec<String>>,
    done: Vec<Option<Done>>,
}

/// A call that waits to be told, and the units that fail if it is not.
pub(super) struct Waiting {
    pub(super) call: Packed,
    pub(super) place: Place,
    pub(super) units: Vec<usize>,
    /// How often the call was met again meanwhile.
    pub(super) again: u64,
}

/// Calls whose alerts were not published, of one error type.
struct Unpublished {
    /// That of the first of them.
    reason: String,
    count: u64,
    /// The first event IDs.
    first: Vec<String>,
}

/// An object to read, for the units that name it, each once.
struct ToRead {
    object: ObjectRef,
    units: Vec<usize>,
    item: usize,
}

impl<'f> Run<'f> {
    pub(super) fn new(function: &'f Function, kept: &'f mut Kept, deadline: Deadline) -> Run<'f> {
        Run {
            counts: Counts::default(),
            measures: Measures::default(),
            singles: function.settings.max_alerts,
            single_names: HashSet::new(),
            waiting: Vec::new(),
            held: Vec::new(),
            unnoted: Vec::new(),
            topic_is_down: None,
            unanswered: 0,
            places: HashMap::new(),
            unpublished: BTreeMap::new(),
            by_event_id: HashMap::new(),
            weight: 0,
            failures: Vec::new(),
            notes: Vec::new(),
            done: Vec::new(),
            rules: function.rules.current(),
            today: function.clock.today(),
            deadline,
            job: Job::default(),
            is_live: true,
            allowance_is_used: false,
            function,
            kept,
        }
    }

    /// It is part of a job of S3 Batch Operations.
    pub(super) fn is_for(&mut self, job: Job) {
        self.is_live = false;
        self.job = job;
    }

    /// What it reads has failed before, perhaps days ago.
    pub(super) fn is_redrive(&mut self) {
        self.is_live = false;
    }

    /// Does what the units ask for; gives each one's id and failures, in order.
    pub(super) async fn units(&mut self, units: Vec<Unit>) -> Vec<(String, Vec<Failure>)> {
        self.failures = vec![Vec::new(); units.len()];
        self.notes = vec![Vec::new(); units.len()];
        self.done = vec![None; units.len()];
        let mut to_read: Vec<ToRead> = Vec::new();
        let mut place_of: HashMap<ObjectRef, usize> = HashMap::new();
        let mut ids = Vec::with_capacity(units.len());
        let mut items = 0;
        for (number, unit) in units.into_iter().enumerate() {
            ids.push(unit.id);
            for item in unit.items {
                items += 1;
                match item {
                    Item::Object(object) => match place_of.get(&object) {
                        Some(&place) => {
                            let units = &mut to_read[place].units;
                            if !units.contains(&number) {
                                units.push(number);
                                self.notes[number].push("the same object as another task".into());
                            }
                        }
                        None => {
                            place_of.insert(object.clone(), to_read.len());
                            to_read.push(ToRead {
                                object,
                                units: vec![number],
                                item: items,
                            });
                        }
                    },
                    Item::Record(record, event) => self.record(record, event, number, items),
                    Item::Skipped(skip, what) => self.skip(skip, &what, number),
                    Item::Bad(error) => {
                        self.counts.untrusted += u64::from(error.is_untrusted);
                        self.fail_at(items, Failure::Payload(error), &[number]);
                    }
                }
            }
        }
        self.read(to_read).await;
        self.publish(true).await;
        self.finish().await;
        ids.into_iter()
            .zip(std::mem::take(&mut self.failures))
            .map(|(id, mut failures)| {
                failures.sort_by_key(|(item, _)| *item);
                let failures = failures.into_iter().map(|(_, failure)| failure);
                (id, failures.collect())
            })
            .collect()
    }

    /// Reads objects, some at a time, and takes what they hold.
    async fn read(&mut self, objects: Vec<ToRead>) {
        let function = self.function;
        let rules = Arc::clone(&self.rules);
        let (sender, mut found) = mpsc::channel(ON_THE_WAY);
        let mut objects = objects.into_iter();
        let mut readers = FuturesUnordered::new();
        loop {
            while readers.len() < read::CONCURRENT && !self.deadline.reading_is_over() {
                let Some(next) = objects.next() else { break };
                let reading = Reading {
                    client: &function.s3,
                    rules: &rules,
                    today: self.today,
                    settings: &function.settings,
                    deadline: self.deadline,
                    object: next.object,
                    units: next.units.into(),
                    item: next.item,
                    findings: sender.clone(),
                };
                readers.push(reading.report());
            }
            let report = tokio::select! {
                biased;
                Some(found) = found.recv() => {
                    self.take_all(found);
                    None
                }
                report = readers.next() => match report {
                    Some(report) => Some(report),
                    None => break,
                },
            };
            if let Some(report) = report {
                // What it found was sent before it ended.
                while let Ok(found) = found.try_recv() {
                    self.take_all(found);
                }
                self.read_through(report);
            }
            if self.weight > WAITING {
                self.publish(false).await;
            }
        }
        for late in objects {
            let failure = Failure::ObjectOutOfTime {
                object: late.object,
                read: 0,
            };
            self.fail_at(late.item, failure, &late.units);
        }
    }

    fn read_through(&mut self, report: Report) {
        let Report {
            units,
            item,
            object,
            counts,
            ..
        } = report;
        if !report.was_opened {
            if let Some(failure) = report.failure {
                self.fail_at(item, failure, &units);
            }
            return;
        }
        if report.compressed == 0 && report.failure.is_none() {
            return self.skip(Skip::Empty, &object.to_string(), units[0]);
        }
        self.counts.objects += 1;
        self.measures.live_objects += u64::from(self.is_live);
        self.counts.records += counts.records;
        self.counts.evaluated += counts.evaluated;
        self.counts.unreadable += counts.unreadable;
        self.measures.compressed += report.compressed;
        self.measures.uncompressed += report.uncompressed;
        for unreadable in &report.unreadable {
            error!(object = %object, record = unreadable.index, "{unreadable}");
        }
        info!(
            object = %object,
            compressed = report.compressed,
            uncompressed = report.uncompressed,
            records = counts.records,
            evaluated = counts.evaluated,
            unreadable = counts.unreadable,
            matched = counts.matched,
            "log file read"
        );
        let done = self.done[units[0]].get_or_insert_default();
        done.records += counts.records;
        done.matched += counts.matched;
        if let Some(failure) = report.failure {
            self.fail_at(item, failure, &units);
        }
        // Whatever it was, it may have been a call: nobody would look at a line in a log.
        if let Some(first) = report.unreadable.into_iter().next() {
            let failure = Failure::Unreadable {
                object,
                count: counts.unreadable,
                first,
            };
            self.fail_at(item, failure, &units);
        }
    }

    /// A record that the payload itself carries.
    fn record(&mut self, record: Record, event: String, unit: usize, item: usize) {
        self.counts.records += 1;
        self.counts.evaluated += 1;
        let source = Arc::new(Source::Event(event));
        let function = self.function;
        let found = guarded(|| {
            Finding::of(record, &self.rules, self.today).map(|finding| {
                let bases = &mut Bases::default();
                Found::of(
                    finding,
                    &function.settings,
                    &source,
                    [unit].into(),
                    item,
                    bases,
                )
            })
        });
        match found {
            Ok(found) => self.take_all(found),
            Err(message) => {
                let at = source.to_string();
                self.fail_at(item, Failure::Panicked { at, message }, &[unit]);
            }
        }
    }

    fn take_all(&mut self, found: impl IntoIterator<Item = Found>) {
        for found in found {
            self.take(found);
        }
    }

    /// Decides what becomes of a finding.
    fn take(&mut self, found: Found) {
        self.counts.matched += 1;
        self.counts.note_filtered(&found.filtered);
        let call = match found.what {
            What::Filtered => {
                self.counts.filtered += 1;
                return;
            }
            What::BelowMinimum => {
                self.counts.below_minimum += 1;
                return;
            }
            What::Call(call) => *call,
        };
        if self.kept.ledger.remembers(&call.call_id) {
            self.counts.already_told += 1;
            return;
        }
        if let Some(&place) = self.places.get(&call.call_id) {
            let known = &mut self.waiting[place];
            known.again += 1;
            for &unit in found.units.iter() {
                if !known.units.contains(&unit) {
                    known.units.push(unit);
                }
            }
            // The alert is about the most severe of its records (two accounts may each have one), and of
            // equals about the first in the payload, whichever was read first.
            let order = |call: &Packed, place| (Reverse(call.severity), place);
            if order(&call, found.place) < order(&known.call, known.place) {
                self.weight = (self.weight + call.weight()).saturating_sub(known.call.weight());
                (known.call, known.place) = (call, found.place);
            }
            return;
        }
        let event_id = call.call_id.event_id();
        let first = self
            .by_event_id
            .entry(event_id.to_owned())
            .or_insert_with(|| call.call_id.clone());
        if *first != call.call_id || self.kept.ledger.remembers_event_id(event_id) {
            self.counts.event_ids_reused += 1;
            // A storm of them needs one line.
            if self.counts.event_ids_reused == 1 {
                warn!(
                    event_id = one_line(event_id, 256),
                    "another call has the same event ID: one of the records may be made up"
                );
            }
        }
        self.weight += call.weight();
        self.places.insert(call.call_id.clone(), self.waiting.len());
        self.waiting.push(Waiting {
            call,
            place: found.place,
            units: found.units.to_vec(),
            again: 0,
        });
    }

    /// What waits, to be published; nothing waits after that.
    pub(super) fn take_waiting(&mut self) -> Vec<Waiting> {
        self.places.clear();
        self.weight = 0;
        std::mem::take(&mut self.waiting)
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

    /// Fails units with what is about an alert; what is about their items comes before it.
    pub(super) fn fail(&mut self, failure: Failure, units: &[usize]) {
        self.fail_at(usize::MAX, failure, units);
    }

    fn fail_at(&mut self, item: usize, failure: Failure, units: &[usize]) {
        match failure.about_alert() {
            // A storm that fails must not become a storm of lines: one for each kind, at the end.
            Some((event_id, reason)) => {
                let unpublished =
                    self.unpublished
                        .entry(failure.error_type())
                        .or_insert(Unpublished {
                            reason,
                            count: 0,
                            first: Vec::new(),
                        });
                unpublished.count += 1;
                if unpublished.first.len() < EVENT_IDS_LOGGED {
                    unpublished.first.push(event_id.to_owned());
                }
            }
            None => error!(error_type = failure.error_type(), "{failure}"),
        }
        self.measures.failures += 1;
        for &unit in units {
            self.failures[unit].push((item, failure.clone()));
        }
    }

    /// Calls that the job's mode or allowance leaves untold. Of several tasks that hold one, the first has it.
    pub(super) fn only_counted(&mut self, calls: u64, units: &[usize]) {
        self.counts.only_counted += calls;
        let done = units
            .first()
            .map(|&unit| self.done[unit].get_or_insert_default());
        match (done, self.job.mode) {
            (Some(done), BatchMode::DryRun) => done.to_tell += calls,
            (Some(done), _) => done.untold += calls,
            (None, _) => {}
        }
    }

    pub(super) fn done(&self, unit: usize) -> String {
        let done = self.done[unit].map(|done| done.to_string());
        let texts: Vec<String> = done.into_iter().chain(self.notes[unit].clone()).collect();
        texts.join("; ")
    }

    /// The last words: counts to the log, metrics where they are wanted.
    pub(super) fn log(&mut self, context: &Context) {
        let function = self.function;
        for (error_type, unpublished) in &self.unpublished {
            let Unpublished {
                reason,
                count,
                first,
            } = unpublished;
            error!(
                error_type,
                calls = count,
                event_ids = first.join(", "),
                "alerts were not published: {reason}"
            );
        }
        let counts = outcome::json(&self.counts).unwrap_or_default();
        if !self.counts.sums_hold() {
            error!(%counts, "the sums do not hold: calls may have been lost; please report it");
        }
        info!(%counts, messages = self.measures.messages, "invocation done");
        if let Some(metrics) = &function.metrics {
            metrics.emit(function.clock.now(), context, &self.counts, &self.measures);
        }
    }
}
