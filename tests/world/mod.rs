//! The world of the function: a stub of AWS, a clock that tests advance, and instances that are killed and started again.
//! What happens in it, such as log files and digest files, is up to each test program: it adds methods of its own.

#![allow(dead_code, reason = "no test program uses all of it")]

use std::{
    collections::BTreeMap,
    sync::{Arc, LazyLock},
    time::Duration,
};

use aws_config::{SdkConfig, retry::RetryConfig};
use cloudhsm_alerts::{
    clock::Clock, context::Context, function::Function, roots::http_client,
    rule_source::RuleSource, settings::Settings, timing::Timing,
};
use cloudhsm_alerts_core::rules::{RuleSet, watched::Watched};
use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, REGION, TOPIC_ARN, key_named, log_file_of, s3_notification},
    sdk::sdk_config,
    stub::{Fault, FaultPlan, RandomFaults, Stub},
};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub const PAGING_ARN: &str = "arn:aws:sns:us-west-2:111122223333:pages";
pub const RULE_ARN: &str = "arn:aws:events:us-west-2:111122223333:rule/cloudhsm-alerts-tick";
/// The time at which the world begins: later than now, because clocks only advance.
pub const BEGIN: &str = "2027-03-01T00:00:00Z";

static RULES: LazyLock<Arc<RuleSet>> = LazyLock::new(|| {
    Arc::new(RuleSet::builtin(&Watched::default()).expect("the built-in rules are valid"))
});

pub fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

/// So many hours after the beginning.
pub fn at(hour: i64) -> Timestamp {
    BEGIN.parse::<Timestamp>().expect("a time") + hours(hour)
}

/// The event of a schedule, as EventBridge sends it.
pub fn scheduled(rule: &str) -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": "111122223333", "time": BEGIN, "region": REGION,
        "resources": [rule], "detail": {},
    })
}

/// What an instance replies to a payload, or the type of its error.
pub type Reply = Result<Value, String>;

pub struct World {
    pub stub: Stub,
    pub clock: Clock,
    /// Variables, SDK configuration and timing of instances that start.
    pub variables: BTreeMap<&'static str, String>,
    pub sdk: SdkConfig,
    pub timing: Timing,
    /// How many instances start.
    pub instances: usize,
    pub functions: Vec<Function>,
}

impl World {
    /// Without instances: [`World::restart`] starts them.
    pub async fn empty() -> World {
        let stub = Stub::start(FaultPlan::none()).await;
        let retries = RetryConfig::standard()
            .with_max_attempts(2)
            .with_initial_backoff(Duration::from_millis(1));
        let variables = [
            ("ALERT_TOPIC_ARN", TOPIC_ARN),
            ("PAGING_TOPIC_ARN", PAGING_ARN),
            ("LEDGER_TABLE", "ledger"),
            ("WATCH_TABLE", "watch"),
            ("TICK_RULE_ARN", RULE_ARN),
        ];
        World {
            sdk: sdk_config(&stub.endpoint, http_client(), retries),
            stub,
            clock: Clock::default(),
            variables: variables.map(|(name, value)| (name, value.into())).into(),
            timing: Timing {
                interval: Duration::ZERO,
                ..Timing::default()
            },
            instances: 1,
            functions: Vec::new(),
        }
    }

    /// Kills all instances, and with them their memory and the requests that are still on their way, and starts others.
    pub async fn restart(&mut self) {
        self.stub.drop_connections().await;
        self.functions.clear();
        let sdk = self.sdk.to_builder().endpoint_url(&self.stub.endpoint);
        let sdk = sdk.build();
        let settings = Settings::from_lookup(|name| self.variables.get(name).cloned());
        let settings = settings.expect("valid settings");
        for _ in 0..self.instances {
            let (settings, timing) = (settings.clone(), self.timing.clone());
            let rules = RuleSource::fixed(Arc::clone(&RULES));
            let clock = self.clock.clone();
            let function = Function::with_timing(settings, rules, &sdk, timing, clock).await;
            self.functions.push(function);
        }
    }

    pub fn advance_to(&self, time: Timestamp) {
        let by = time.duration_since(self.clock.now());
        self.clock
            .advance(Duration::try_from(by).unwrap_or_default());
    }

    /// Puts a log file and returns its notification.
    pub fn file(&self, name: &str, records: &[Value]) -> Value {
        let key = key_named(name);
        let object = format!("{BUCKET}/{key}");
        self.stub
            .state()
            .objects
            .insert(object, log_file_of(records));
        s3_notification(&[&key])
    }

    /// Invokes the first instance.
    pub async fn invoke(&self, payload: &Value) -> Reply {
        self.invoke_within(payload, &Context::default()).await
    }

    pub async fn invoke_within(&self, payload: &Value, context: &Context) -> Reply {
        reply(&self.functions[0], payload, context).await
    }

    pub async fn tick(&self) {
        let reply = self.invoke(&scheduled(RULE_ARN)).await;
        reply.expect("no failure");
    }

    /// Invokes the first `count` instances at the same time. `None`: a request was held, and all instances were killed.
    pub async fn invoke_or_die(&mut self, payload: &Value, count: usize) -> Option<Vec<Reply>> {
        let context = Context::default();
        let instances = self.functions[..count].iter();
        let running = instances.map(|function| reply(function, payload, &context));
        let replies = tokio::select! {
            biased;
            () = self.stub.wait_until_held() => None,
            replies = join_all(running) => Some(replies),
        };
        if replies.is_none() {
            self.restart().await;
        }
        replies
    }

    /// The two attempts of Lambda's three that may have faults, a minute apart, so that claims of killed instances expire.
    /// Returns whether one succeeded.
    pub async fn succeeds_despite(
        &mut self,
        faults: RandomFaults,
        payload: &Value,
        count: usize,
    ) -> bool {
        let mut is_done = false;
        for attempt in 0..2 {
            let seed = faults.seed ^ (attempt << 48);
            self.stub.set_faults(FaultPlan {
                random: Some(RandomFaults { seed, ..faults }),
                ..FaultPlan::default()
            });
            let replies = self.invoke_or_die(payload, count).await;
            self.clock.advance(Duration::from_secs(60));
            is_done = replies.is_some_and(|replies| replies.iter().all(Result::is_ok));
            if is_done {
                break;
            }
        }
        self.stub.set_faults(FaultPlan::none());
        is_done
    }

    /// How many requests had a fault, without the first ones.
    pub fn faults_after(&self, requests: usize) -> usize {
        let state = self.stub.state();
        let faults = state.requests[requests..].iter().map(|(_, fault)| fault);
        faults.filter(|fault| **fault != Fault::None).count()
    }
}

async fn reply(function: &Function, payload: &Value, context: &Context) -> Reply {
    let reply = function.handle(payload, context).await;
    reply.map_err(|failed| failed.0.error_type)
}
