//! An instance of the function: what one Lambda execution environment has from its start, and what one invocation
//! leaves to the next.

use aws_config::SdkConfig;

use crate::{
    clock::Clock,
    ledger::Ledger,
    metrics::Metrics,
    rule_source::{RuleLoadError, RuleSource},
    s3,
    settings::Settings,
    sns::Publisher,
    timing::Timing,
};

/// What does not change.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) settings: Settings,
    pub(crate) rules: RuleSource,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) timing: Timing,
    pub(crate) clock: Clock,
    pub(crate) metrics: Option<Metrics>,
}

/// What invocations change. Lambda runs one invocation at a time in an instance.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) publisher: Publisher,
    /// The failure to load rules at the start, for the first invocation to report.
    pub(crate) start_error: Option<RuleLoadError>,
    /// The failure to load rules that an operational notice was published about.
    pub(crate) notified_error: Option<RuleLoadError>,
    /// Whether the last attempt to load rules failed with an error that a retry may fix.
    pub(crate) last_load_failed: bool,
    /// The last job of S3 Batch Operations, and the messages about old calls that this instance published for it.
    pub(crate) job_messages: (String, u64),
}

impl Instance {
    pub(crate) async fn start(
        settings: Settings,
        rules: RuleSource,
        sdk: &SdkConfig,
        timing: Timing,
        clock: Clock,
    ) -> (Instance, State) {
        let start_error = rules.refresh().await.err();
        let table = settings.ledger_table.as_deref();
        let state = State {
            ledger: Ledger::new(sdk, table, &timing, clock.clone()),
            publisher: Publisher::new(sdk, settings.topic.clone(), &timing),
            start_error,
            notified_error: None,
            last_load_failed: false,
            job_messages: (String::new(), 0),
        };
        let instance = Instance {
            s3: s3::client(sdk),
            metrics: None,
            settings,
            rules,
            timing,
            clock,
        };
        (instance, state)
    }
}
