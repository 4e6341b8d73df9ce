//! An instance of the function: what one Lambda execution environment has from its start, and what one invocation
//! leaves to the next.

use aws_config::SdkConfig;
use tracing::warn;

use crate::{
    account_names::AccountSource,
    audit::{files::ReadFiles, keys::KeyCache},
    channel::PerChannel,
    clock::Clock,
    dynamodb,
    files::LoadError,
    ledger::Ledger,
    metrics::Metrics,
    rule_source::RuleSource,
    s3,
    settings::{Settings, Topic},
    sns::Publisher,
    timing::Timing,
    watch::Watch,
};

/// What does not change.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) settings: Settings,
    pub(crate) rules: RuleSource,
    pub(crate) accounts: AccountSource,
    pub(crate) s3: aws_sdk_s3::Client,
    pub(crate) timing: Timing,
    pub(crate) clock: Clock,
    pub(crate) metrics: Option<Metrics>,
}

/// What invocations change. Lambda runs one invocation at a time in an instance.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    pub(crate) watch: Watch,
    /// The log files that were read; `None`: digest files are not checked.
    pub(crate) files: Option<ReadFiles>,
    /// The public keys for digest files.
    pub(crate) keys: KeyCache,
    /// A publisher for each topic; `None`: there is no paging topic.
    pub(crate) publishers: PerChannel<Option<Publisher>>,
    pub(crate) rule_loads: Loads,
    pub(crate) account_loads: Loads,
    /// The last job of S3 Batch Operations, and the messages about old calls that this instance published for it.
    pub(crate) job_messages: (String, u64),
}

/// What is known of the attempts to load files.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    /// The failure at the start, for the first invocation to report.
    pub(crate) start_error: Option<LoadError>,
    /// The failure that an operational notice was published about, for each topic.
    pub(crate) notified: PerChannel<Option<LoadError>>,
    /// Whether the last attempt failed with an error that a retry may fix.
    pub(crate) last_failed: bool,
}

impl Loads {
    fn started(result: Result<impl Sized, LoadError>) -> Loads {
        let mut loads = Loads::default();
        loads.start_error = result.err().filter(|error| !loads.may_continue(error));
        loads
    }

    /// Whether only time was missing, for the first time in a row: the next look may have enough, so this is logged and
    /// is no error yet.
    pub(crate) fn may_continue(&mut self, error: &LoadError) -> bool {
        if !error.is_incomplete || self.last_failed {
            return false;
        }
        self.last_failed = true;
        for line in &error.lines {
            warn!(error_type = error.error_type, "not loaded yet: {line}");
        }
        true
    }
}

impl Instance {
    pub(crate) async fn start(
        settings: Settings,
        rules: RuleSource,
        sdk: &SdkConfig,
        timing: Timing,
        clock: Clock,
    ) -> (Instance, State) {
        let s3 = s3::client(sdk);
        let accounts = AccountSource::new(settings.account_names.clone(), s3.clone());
        let limit = timing.load_at_start;
        let (rules_loaded, accounts_loaded) =
            tokio::join!(rules.refresh(limit), accounts.refresh(limit));
        let publisher = |topic: &Topic| Publisher::new(sdk, topic.clone(), &timing);
        let table = settings.ledger_table.as_deref();
        let audited = table.filter(|_| settings.digest_audit);
        let state = State {
            files: audited
                .map(|table| ReadFiles::new(dynamodb::client(sdk, &timing), table.to_owned())),
            keys: KeyCache::new(sdk),
            ledger: Ledger::new(sdk, table, &timing, clock.clone()),
            watch: Watch::new(sdk, settings.watch_table.as_deref(), &timing, clock.clone()),
            publishers: PerChannel {
                alert: Some(publisher(&settings.topic)),
                page: settings
                    .paging
                    .as_ref()
                    .map(|paging| publisher(&paging.topic)),
            },
            rule_loads: Loads::started(rules_loaded),
            account_loads: Loads::started(accounts_loaded),
            job_messages: (String::new(), 0),
        };
        let instance = Instance {
            s3,
            metrics: None,
            settings,
            rules,
            accounts,
            timing,
            clock,
        };
        (instance, state)
    }
}
