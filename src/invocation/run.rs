//! The flow of one invocation, from top to bottom.

use std::sync::Arc;

use cloudhsm_alerts_core::{alert::Source, finding::Finding};
use serde_json::Value;
use tracing::{error, info};

use super::{
    audit::Audit,
    inbox::{Inbox, Opened},
    items::{ObjectItem, RecordItem},
    pending::Bases,
    publishing::Publishing,
    queue::{Found, Queue},
    read_all::read_all,
    reading::{Report, Shared},
    reload, tick,
};
use crate::{
    context::Context,
    failure::Failure,
    instance::{Instance, State},
    panics,
    payload::{self, Invocation, Job},
    reply::{self, Failed, UnitResult},
    timing::Deadline,
};

/// Handles one invocation.
///
/// # Errors
/// What makes Lambda count the invocation as failed.
pub(crate) async fn run(
    instance: &Instance,
    state: &mut State,
    payload: &Value,
    context: &Context,
) -> Result<Value, Failed> {
    let deadline = Deadline::after(context.left(&instance.clock));
    state.ledger.begin(&context.request_id);
    state.watch.begin(&context.request_id);
    let Request {
        units,
        job,
        is_live,
        is_tick,
        reply_to,
    } = Request::of(
        payload::read(payload, instance.settings.trusted()),
        instance,
    );
    // What a job reads is older than digest files, and the command line audits it.
    let is_audited = instance.settings.digest_audit && !matches!(reply_to, ReplyTo::Batch { .. });
    // The whole invocation uses one set of rules.
    let rules = instance.rules.current();
    let shared = Shared {
        client: &instance.s3,
        rules: &rules,
        now: instance.clock.now(),
        settings: &instance.settings,
        deadline,
        audit: is_audited,
    };
    let job_mode = job.mode;
    let mut inbox = Inbox::default();
    let mut queue = Queue::default();
    let mut publishing = Publishing::new(instance, state, deadline, job);

    let mut audit = Audit::default();
    let Opened {
        objects,
        records,
        digests,
        removals,
    } = inbox.open(units, is_audited);
    for record in records {
        if let Some(found) = evaluate(record, shared, &mut inbox) {
            publishing.push(found, &mut queue, &mut inbox);
        }
    }
    let on_read = |report: Report, inbox: &mut Inbox| {
        if is_audited {
            audit.add_report(&report);
        }
        inbox.add_report(report, is_live);
    };
    let unread = read_all(
        objects,
        shared,
        on_read,
        &mut queue,
        &mut publishing,
        &mut inbox,
    )
    .await;
    fail_unread(unread, &mut inbox);
    publishing.publish(queue.take(), true, &mut inbox).await;
    audit.removals(removals, shared, &mut inbox).await;
    audit
        .digests(digests, shared, &mut queue, &mut publishing, &mut inbox)
        .await;
    if let Some(objects) = publishing.share(&mut inbox).await {
        let objects = inbox.open_others(objects);
        // Each of the others notes what it has read itself.
        let unread = read_all(
            objects,
            shared,
            |report, inbox| inbox.add_report(report, false),
            &mut queue,
            &mut publishing,
            &mut inbox,
        )
        .await;
        fail_unread(unread, &mut inbox);
        publishing.publish_shared(queue.take(), &mut inbox).await;
    }
    publishing.finish(&mut inbox).await;
    publishing.write_watch(&mut inbox).await;
    audit.finish(&mut publishing, &mut inbox).await;
    if is_tick {
        tick::run(&mut publishing, &mut inbox).await;
    }
    reload::reload(instance, &mut publishing, job_mode, &mut inbox).await;
    inbox.counts.ledger_errors = publishing.ledger().errors();
    inbox.counts.watch_errors = publishing.state.watch.errors();
    log(instance, context, &inbox);
    reply_to.reply(inbox)
}

fn fail_unread(unread: Vec<ObjectItem>, inbox: &mut Inbox) {
    for item in unread {
        let failure = Failure::ObjectOutOfTime {
            object: item.object,
            read: 0,
        };
        inbox.fail_item(item.item, failure, &item.units);
    }
}

/// The units of a payload, and the form of the reply to it.
struct Request {
    units: Vec<payload::Unit>,
    job: Job,
    /// Whether its log files are read because they have just been delivered. What a job reads is older, and what is
    /// in the failure queue has failed before.
    is_live: bool,
    is_tick: bool,
    reply_to: ReplyTo,
}

/// The form of the reply.
enum ReplyTo {
    Lambda,
    Sqs,
    Batch {
        schema_version: String,
        invocation_id: String,
    },
}

impl Request {
    fn of(invocation: Invocation, instance: &Instance) -> Request {
        let is_tick = invocation == Invocation::Tick;
        match invocation {
            // It has one unit, which fails if the tick does.
            Invocation::Tick => Request {
                units: vec![payload::Unit::default()],
                job: Job::default(),
                is_live: true,
                is_tick,
                reply_to: ReplyTo::Lambda,
            },
            Invocation::Whole(unit) => Request {
                units: vec![unit],
                job: Job::default(),
                is_live: true,
                is_tick,
                reply_to: ReplyTo::Lambda,
            },
            Invocation::Sqs { queue, messages } => Request {
                units: messages,
                job: Job::default(),
                is_live: !instance.settings.watched.is("failure_queue", &queue),
                is_tick,
                reply_to: ReplyTo::Sqs,
            },
            Invocation::Batch {
                schema_version,
                invocation_id,
                job,
                tasks,
            } => Request {
                units: tasks,
                job,
                is_live: false,
                is_tick,
                reply_to: ReplyTo::Batch {
                    schema_version,
                    invocation_id,
                },
            },
        }
    }
}

impl ReplyTo {
    fn reply(self, inbox: Inbox) -> Result<Value, Failed> {
        match self {
            ReplyTo::Lambda => {
                let counts = reply::json(&inbox.counts);
                let failures: Vec<Failure> = inbox
                    .into_results()
                    .into_iter()
                    .flat_map(|unit: UnitResult| unit.failures)
                    .collect();
                if failures.is_empty() {
                    counts
                } else {
                    Err(reply::failed(&failures))
                }
            }
            ReplyTo::Sqs => reply::sqs(&inbox.into_results()),
            ReplyTo::Batch {
                schema_version,
                invocation_id,
            } => reply::batch(&schema_version, &invocation_id, &inbox.into_results()),
        }
    }
}

/// Applies the rules to a record that the payload contains.
fn evaluate(item: RecordItem, shared: Shared<'_>, inbox: &mut Inbox) -> Option<Found> {
    let source = Arc::new(Source::Event(item.event_id));
    let found = panics::catch(|| {
        let finding = Finding::of(item.record, shared.rules, shared.now)?;
        let units = [item.unit].into();
        Some(Found::of(
            finding,
            shared.rules,
            shared.settings,
            &source,
            units,
            item.item,
            &mut Bases::default(),
        ))
    });
    match found {
        Ok(found) => found,
        Err(message) => {
            let at = source.to_string();
            inbox.fail_item(item.item, Failure::Panicked { at, message }, &[item.unit]);
            None
        }
    }
}

/// Logs a summary of the invocation and emits its metrics.
fn log(instance: &Instance, context: &Context, inbox: &Inbox) {
    inbox.log_unpublished();
    let counts = inbox.counts.without_zeros();
    if !inbox.counts.sums_hold() {
        error!(%counts, "the counts do not add up: calls may have been lost; please report it");
    }
    let measures = &inbox.measures;
    match &instance.metrics {
        Some(metrics) => metrics.emit(instance.clock.now(), context, &inbox.counts, measures),
        None => info!(%counts, messages = measures.messages, "invocation done"),
    }
}
