//! The function as Lambda invokes it: an instance, and a way to handle a payload.

use aws_config::SdkConfig;
use cloudhsm_alerts_core::json;
use serde_json::Value;
use tokio::sync::Mutex;
use tracing::{Instrument, info_span};

use crate::{
    clock::Clock,
    context::Context,
    failure::Failure,
    instance::{Instance, State},
    invocation,
    metrics::Metrics,
    payload::PayloadError,
    reply::{self, Failed},
    rule_source::RuleSource,
    s3,
    settings::Settings,
    timing::Timing,
};

/// The function.
#[derive(Debug)]
pub struct Function {
    instance: Instance,
    state: Mutex<State>,
}

impl Function {
    /// A function with its clients made from the SDK's configuration. The rules of `RULES_URI` are in use from
    /// the first invocation on, if they can be read in time. Otherwise the built-in rules are, and the first
    /// invocation reports why.
    pub async fn new(settings: Settings, sdk: &SdkConfig) -> Function {
        let rules = RuleSource::new(
            settings.rules_uri.clone(),
            settings.watched.clone(),
            s3::client(sdk),
        );
        let (timing, clock) = (Timing::default(), Clock::default());
        Function::with_timing(settings, rules, sdk, timing, clock).await
    }

    /// A function with other time limits, another clock and existing rules.
    pub async fn with_timing(
        settings: Settings,
        rules: RuleSource,
        sdk: &SdkConfig,
        timing: Timing,
        clock: Clock,
    ) -> Function {
        // Boxed, because the nested type of all these futures is too deep for the compiler; likewise below.
        let start = Box::pin(Instance::start(settings, rules, sdk, timing, clock));
        let (instance, state) = start.await;
        Function {
            instance,
            state: Mutex::new(state),
        }
    }

    /// Writes metrics of each invocation.
    pub fn measured(mut self, metrics: Metrics) -> Function {
        self.instance.metrics = Some(metrics);
        self
    }

    /// Handles one invocation whose payload has not been parsed.
    ///
    /// # Errors
    /// As [`Function::handle`], or the text is not JSON.
    pub async fn handle_text(&self, payload: &str, context: &Context) -> Result<Value, Failed> {
        match json::parse(payload.as_bytes()) {
            Ok(payload) => self.handle(&payload, context).await,
            Err(error) => Err(reply::failed(&[Failure::Payload(PayloadError {
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
        let run = Box::pin(async {
            let mut state = self.state.lock().await;
            invocation::run(&self.instance, &mut state, payload, context).await
        });
        run.instrument(span).await
    }
}
