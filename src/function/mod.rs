//! The function: one invocation, from payload to reply.
//!
//! Every object is read, every finding told, and only then is failure reported: nothing of a batch is
//! lost because of something else in it. An alert belongs to the units (SQS messages, batch tasks, or the
//! whole invocation) whose objects held its call; if it cannot be published, they fail.
//!
//! The rooms: `run` gathers what the objects hold, `read` reads them, `publish` tells what was found,
//! `past` says which of it a backfill may tell, `rules` looks for changed rules when all is told; `timing` says
//! how long any of it may take.

mod context;
mod fold;
mod guard;
mod packed;
mod paging;
mod past;
mod publish;
mod read;
mod rules;
mod run;
mod timing;

use aws_config::SdkConfig;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{Instrument, info_span};

use crate::{
    clock::Clock,
    ledger::Ledger,
    metrics::Metrics,
    outcome::{self, Failed, Failure},
    payload::{self, Invocation, PayloadError},
    rule_source::{RuleSource, Trouble},
    s3,
    settings::Settings,
    sns::Publisher,
};
use cloudhsm_alerts_core::json;
pub use context::Context;
use run::Run;
use timing::Deadline;
pub use timing::Timing;

/// The function with all it keeps between invocations.
#[derive(Debug)]
pub struct Function {
    settings: Settings,
    rules: RuleSource,
    s3: aws_sdk_s3::Client,
    timing: Timing,
    clock: Clock,
    metrics: Option<Metrics>,
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
    /// Whether the last look for rules failed in a way that may mend itself.
    looked_in_vain: bool,
    /// The job last worked for, and the messages about the past that this instance sent for it.
    job_messages: (String, u64),
}

impl Function {
    /// A function with its clients made from the SDK's configuration. The rules of `RULES_URI` are in use from
    /// the first invocation on, if they can be read in time; otherwise the built-in ones are, and the first
    /// invocation tells why.
    pub async fn new(settings: Settings, sdk: &SdkConfig) -> Function {
        let rules = RuleSource::new(
            settings.rules_uri.clone(),
            settings.watched.clone(),
            s3::client(sdk),
        );
        let (timing, clock) = (Timing::default(), Clock::default());
        Function::with_timing(settings, rules, sdk, timing, clock).await
    }

    /// A function in another time: with other limits, by another clock; and with rules that exist.
    pub async fn with_timing(
        settings: Settings,
        rules: RuleSource,
        sdk: &SdkConfig,
        timing: Timing,
        clock: Clock,
    ) -> Function {
        // What is wrong is told after the first invocation, when the same look is taken again.
        let at_start = rules.refresh().await.err();
        let table = settings.ledger_table.as_deref();
        Function {
            s3: s3::client(sdk),
            kept: Mutex::new(Kept {
                ledger: Ledger::new(sdk, table, &timing, clock.clone()),
                publisher: Publisher::new(sdk, settings.topic.clone(), &timing),
                told_trouble: None,
                looked_in_vain: false,
                job_messages: (String::new(), 0),
            }),
            metrics: None,
            at_start: std::sync::Mutex::new(at_start),
            settings,
            rules,
            timing,
            clock,
        }
    }

    /// Writes metrics of each invocation.
    pub fn measured(mut self, metrics: Metrics) -> Function {
        self.metrics = Some(metrics);
        self
    }

    /// Handles one invocation whose payload has not been parsed.
    ///
    /// # Errors
    /// As [`Function::handle`], or the text is not JSON.
    pub async fn handle_text(&self, payload: &str, context: &Context) -> Result<Value, Failed> {
        match json::parse(payload.as_bytes()) {
            Ok(payload) => self.handle(&payload, context).await,
            Err(error) => Err(outcome::failed(&[Failure::Payload(PayloadError {
                at: "payload".into(),
                message: format!("expected JSON: {error}"),
                is_untrusted: false,
            })])),
        }
    }

    /// Handles one invocation.
    ///
    /// # Errors
    /// What makes Lambda count the invocation as failed, with a stable `errorType`.
    pub async fn handle(&self, payload: &Value, context: &Context) -> Result<Value, Failed> {
        let span = info_span!(
            "invocation",
            request_id = context.request_id,
            trace_id = context.trace_id
        );
        let deadline = Deadline::after(context.left(&self.clock));
        // Boxed, because the type of the whole nest of futures is too deep for the compiler.
        let run = Box::pin(async {
            let mut kept = self.kept.lock().await;
            kept.ledger.begin(&context.request_id);
            let mut run = Run::new(self, &mut kept, deadline);
            let reply = match payload::read(payload, &self.settings.trusted_queues) {
                Invocation::Whole(unit) => {
                    let results = run.units(vec![unit]).await;
                    run.look_for_rules().await;
                    let failures: Vec<Failure> = results
                        .into_iter()
                        .flat_map(|(_, failures)| failures)
                        .collect();
                    if failures.is_empty() {
                        outcome::json(&run.counts)
                    } else {
                        Err(outcome::failed(&failures))
                    }
                }
                Invocation::Sqs { queue, messages } => {
                    if self.settings.watched.is("failure_queue", &queue) {
                        run.is_redrive();
                    }
                    let results = run.units(messages).await;
                    run.look_for_rules().await;
                    outcome::sqs_reply(&results)
                }
                Invocation::Batch {
                    schema_version,
                    invocation_id,
                    job,
                    tasks,
                } => {
                    run.is_for(job);
                    let results = run.units(tasks).await;
                    run.look_for_rules().await;
                    let results: Vec<_> = results
                        .into_iter()
                        .enumerate()
                        .map(|(unit, (id, failures))| (id, failures, run.done(unit)))
                        .collect();
                    outcome::batch_reply(&schema_version, &invocation_id, &results)
                }
            };
            run.log(context);
            reply
        });
        run.instrument(span).await
    }
}
