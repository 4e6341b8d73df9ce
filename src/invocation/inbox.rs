//! The inbox: the items of a payload, by unit, and their results.
//!
//! A unit is a part of a payload that has its own result in the reply: an SQS message, a task of S3 Batch Operations,
//! or the whole invocation. Each unit has its failures and results here. An object that several units name is read
//! once and belongs to all of them.

use std::collections::{BTreeMap, HashMap};

use cloudhsm_alerts_core::object::{ObjectRef, Skip};
use tracing::{error, info};

use super::{
    items::{ObjectItem, RecordItem, RemovalItem},
    reading::Report,
};
use crate::{
    channel::Channel,
    counts::Counts,
    failure::Failure,
    metrics::Measures,
    payload::{BatchMode, FileResult, Item, Unit},
    reply::UnitResult,
};

/// The number of the item of a failure that is about no item of the payload: it comes after all others.
const NO_ITEM: usize = usize::MAX;
/// Event IDs in the log line about alerts that were not published.
const LOGGED_EVENT_IDS: usize = 5;

/// The units of one invocation.
#[derive(Default)]
pub(super) struct Inbox {
    units: Vec<UnitState>,
    pub(super) counts: Counts,
    pub(super) measures: Measures,
    /// Compressed bytes of all objects that were read.
    pub(super) compressed: u64,
    /// Calls whose alerts or pages were not published, by that and by error type.
    unpublished: BTreeMap<(Channel, &'static str), Unpublished>,
    /// Failures that are about no item: alerts, pages, deadlines and the audit.
    failed_after_reading: u64,
}

/// What a payload names: each object once.
#[derive(Default)]
pub(super) struct Opened {
    /// Log files to read.
    pub(super) objects: Vec<ObjectItem>,
    /// Records to evaluate.
    pub(super) records: Vec<RecordItem>,
    /// Digest files to check.
    pub(super) digests: Vec<ObjectItem>,
    /// Removals to look at.
    pub(super) removals: Vec<RemovalItem>,
}

/// One unit.
struct UnitState {
    id: String,
    /// Whether it belongs to other instances, whose calls are published here, too. Each of them handles its own
    /// failures.
    is_others: bool,
    /// Each failure with the number of the item it is about: they are reported in the order of the payload, however
    /// fast each object was read. Those about no item come last.
    failures: Vec<(usize, Failure)>,
    /// What else the report of a job gets.
    notes: Vec<String>,
    /// The figures of its log file, if one was read.
    file: Option<FileResult>,
}

/// Calls whose alerts or pages were not published, of one error type.
struct Unpublished {
    /// The reason for the first of them.
    reason: String,
    count: u64,
    event_ids: Vec<String>,
}

impl Inbox {
    /// Adds the units of a payload. Items that are skipped or cannot be read are counted here. Without `audit`, digest
    /// files and removals are skipped.
    pub(super) fn open(&mut self, units: Vec<Unit>, audit: bool) -> Opened {
        let Opened {
            mut objects,
            mut records,
            mut digests,
            mut removals,
        } = Opened::default();
        let mut index: HashMap<ObjectRef, usize> = HashMap::new();
        let mut number = 0;
        for (unit, Unit { id, items }) in units.into_iter().enumerate() {
            self.units.push(UnitState {
                id,
                is_others: false,
                failures: Vec::new(),
                notes: Vec::new(),
                file: None,
            });
            for item in items {
                number += 1;
                match item {
                    Item::Object(object) => match index.get(&object) {
                        Some(&at) => {
                            let units = &mut objects[at].units;
                            if !units.contains(&unit) {
                                units.push(unit);
                                self.units[unit]
                                    .notes
                                    .push("the same object as another task".into());
                            }
                        }
                        None => {
                            index.insert(object.clone(), objects.len());
                            objects.push(ObjectItem {
                                object,
                                units: vec![unit],
                                item: number,
                            });
                        }
                    },
                    Item::Record(record, event_id) => {
                        self.counts.records += 1;
                        self.counts.evaluated += 1;
                        records.push(RecordItem {
                            record,
                            event_id,
                            unit,
                            item: number,
                        });
                    }
                    Item::Digest(object) if !audit => {
                        self.skip(Skip::Digest, &object.to_string(), unit);
                    }
                    Item::Digest(object) => {
                        let known = digests
                            .iter_mut()
                            .find(|it: &&mut ObjectItem| it.object == object);
                        match known {
                            Some(known) if known.units.contains(&unit) => {}
                            Some(known) => known.units.push(unit),
                            None => digests.push(ObjectItem {
                                object,
                                units: vec![unit],
                                item: number,
                            }),
                        }
                    }
                    Item::Removed(removal) if !audit => {
                        let what = format!("removal of {}", removal.object);
                        self.skip(Skip::NotCreated, &what, unit);
                    }
                    Item::Removed(removal) => removals.push(RemovalItem {
                        removal,
                        unit,
                        item: number,
                    }),
                    Item::Skipped(skip, what) => self.skip(skip, &what, unit),
                    Item::Bad(error) => {
                        self.counts.untrusted += u64::from(error.is_untrusted);
                        self.fail_item(number, Failure::Payload(error), &[unit]);
                    }
                }
            }
        }
        Opened {
            objects,
            records,
            digests,
            removals,
        }
    }

    /// Whether everything succeeded that followed the reading: alerts, pages and deadlines.
    pub(super) fn is_alerted(&self) -> bool {
        self.failed_after_reading == 0
    }

    /// Adds log files of other instances. Returns the objects to read.
    pub(super) fn open_others(&mut self, objects: Vec<ObjectRef>) -> Vec<ObjectItem> {
        let unit = self.units.len();
        self.units.push(UnitState {
            id: String::new(),
            is_others: true,
            failures: Vec::new(),
            notes: Vec::new(),
            file: None,
        });
        objects
            .into_iter()
            .map(|object| ObjectItem {
                object,
                units: vec![unit],
                item: NO_ITEM,
            })
            .collect()
    }

    /// Adds the result of reading one object. `is_live`: its notification has just arrived for the first time.
    pub(super) fn add_report(&mut self, report: Report, is_live: bool) {
        let Report {
            units,
            item,
            object,
            counts,
            ..
        } = report;
        if !report.was_opened {
            if let Some(failure) = report.failure {
                self.fail_item(item, failure, &units);
            }
            return;
        }
        if report.compressed == 0 && report.failure.is_none() {
            return self.skip(Skip::Empty, &object.to_string(), units[0]);
        }
        self.counts.objects += 1;
        self.compressed += report.compressed;
        self.measures.live_objects += u64::from(is_live);
        self.counts.records += counts.records;
        self.counts.evaluated += counts.evaluated;
        self.counts.unreadable += counts.unreadable;
        for unreadable in &report.unreadable {
            error!(object = %object, record = unreadable.index, "{unreadable}");
        }
        // Most log files match nothing; a line about each would be most of the log, and of its cost.
        if counts.matched + counts.unreadable > 0 || report.failure.is_some() {
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
        }
        let file = self.units[units[0]].file.get_or_insert_default();
        file.records += counts.records;
        file.matched += counts.matched;
        if let Some(failure) = report.failure {
            self.fail_item(item, failure, &units);
        }
        // An element that is not a record may still have been a call, so it is not only logged.
        if let Some(first) = report.unreadable.into_iter().next() {
            let failure = Failure::Unreadable {
                object,
                count: counts.unreadable,
                first,
            };
            self.fail_item(item, failure, &units);
        }
    }

    /// Counts what is skipped.
    pub(super) fn skip(&mut self, skip: Skip, what: &str, unit: usize) {
        *self.counts.skipped.entry(skip.as_str()).or_default() += 1;
        info!(
            what,
            reason = skip.as_str(),
            "skipped: holds no records of management calls"
        );
        self.units[unit]
            .notes
            .push(format!("skipped: {}", skip.as_str()));
    }

    /// Fails units with a failure that is about no item of the payload.
    pub(super) fn fail(&mut self, failure: Failure, units: &[usize]) {
        self.fail_item(NO_ITEM, failure, units);
    }

    /// Fails units with a failure about the item with this number.
    pub(super) fn fail_item(&mut self, item: usize, failure: Failure, units: &[usize]) {
        if self.are_others(units) {
            info!("{failure}; another instance handles it");
            return;
        }
        error!(error_type = failure.error_type(), "{failure}");
        self.add_failure(item, failure, units);
    }

    /// Fails units with a failure about an alert. Many failed alerts must not flood the log, so
    /// [`Inbox::log_unpublished`] writes one line for each error type and topic.
    pub(super) fn fail_alert(&mut self, failure: Failure, units: &[usize]) {
        if self.are_others(units) {
            return;
        }
        let Some((event_id, channel, reason)) = failure.about_alert() else {
            return self.fail(failure, units);
        };
        let unpublished = self
            .unpublished
            .entry((channel, failure.error_type()))
            .or_insert(Unpublished {
                reason,
                count: 0,
                event_ids: Vec::new(),
            });
        unpublished.count += 1;
        if unpublished.event_ids.len() < LOGGED_EVENT_IDS {
            unpublished.event_ids.push(event_id.to_owned());
        }
        self.add_failure(NO_ITEM, failure, units);
    }

    fn are_others(&self, units: &[usize]) -> bool {
        units.iter().all(|unit| self.units[*unit].is_others)
    }

    fn add_failure(&mut self, item: usize, failure: Failure, units: &[usize]) {
        self.measures.failures += 1;
        self.failed_after_reading += u64::from(item == NO_ITEM);
        for &unit in units {
            self.units[unit].failures.push((item, failure.clone()));
        }
    }

    /// Counts calls that a backfill does not alert. If several tasks contain one, it is in the result of the first.
    pub(super) fn count_only(&mut self, calls: u64, units: &[usize], mode: BatchMode) {
        self.counts.only_counted += calls;
        let Some(&unit) = units.first() else {
            return;
        };
        let file = self.units[unit].file.get_or_insert_default();
        if mode == BatchMode::DryRun {
            file.to_alert += calls;
        } else {
            file.not_alerted += calls;
        }
    }

    /// Logs the alerts and pages that were not published, by error type.
    pub(super) fn log_unpublished(&self) {
        for ((channel, error_type), unpublished) in &self.unpublished {
            let Unpublished {
                reason,
                count,
                event_ids,
            } = unpublished;
            error!(
                error_type,
                calls = count,
                event_ids = event_ids.join(", "),
                "{channel}s were not published: {reason}"
            );
        }
    }

    /// The result of each unit, in the order of the payload.
    pub(super) fn into_results(self) -> Vec<UnitResult> {
        let result = |mut unit: UnitState| {
            unit.failures.sort_by_key(|(item, _)| *item);
            let file = unit.file.map(|file| file.to_string());
            let summary: Vec<String> = file.into_iter().chain(unit.notes).collect();
            UnitResult {
                id: unit.id,
                failures: unit
                    .failures
                    .into_iter()
                    .map(|(_, failure)| failure)
                    .collect(),
                summary: summary.join("; "),
            }
        };
        let own = self.units.into_iter().filter(|unit| !unit.is_others);
        own.map(result).collect()
    }
}
