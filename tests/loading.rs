//! Rules and account names that one look at the bucket or folder cannot read: what was read is kept, the next look goes
//! on, and only a complete set is used.

use std::{fs, time::Duration};

use aws_config::{SdkConfig, retry::RetryConfig};
use cloudhsm_alerts::{
    account_names::{AccountNames, AccountSource},
    clock::Clock,
    context::Context,
    files::{LoadError, Refresh},
    function::Function,
    roots::http_client,
    rule_source::RuleSource,
    s3,
    settings::Settings,
    timing::Timing,
};
use cloudhsm_alerts_core::rules::watched::Watched;
use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, call, key_named, log_file_of, s3_notification},
    sdk::sdk_config,
    stub::{Fault, FaultPlan, Operation, RequestKey, Stub},
};
use serde_json::Value;

/// Ends a look of which one response stalls. All others must have arrived by then.
const SHORT: Duration = Duration::from_secs(3);
/// Ends no look.
const LONG: Duration = Duration::from_secs(120);

fn rule(n: usize, name: &str) -> Vec<u8> {
    format!(
        "title: Anything done with tags
id: 11111111-2222-4333-8444-{n:012}
name: {name}
level: high
logsource: {{product: aws, service: cloudtrail}}
detection:
  call:
    eventSource: cloudhsm.amazonaws.com
    eventName: TagResource
  condition: call
"
    )
    .into_bytes()
}

fn put(stub: &Stub, key: &str, body: Vec<u8>) {
    let object = format!("{BUCKET}/{key}");
    stub.state().objects.insert(object, body);
}

/// How often an object was requested.
fn fetches(stub: &Stub, key: &str) -> usize {
    let target = format!("{BUCKET}/{key}");
    let state = stub.state();
    let is_fetch = |request: &RequestKey| {
        request.operation == Operation::GetObject && request.target == target
    };
    state
        .requests
        .iter()
        .filter(|(key, _)| is_fetch(key))
        .count()
}

/// The first responses for an object stall.
fn stalling(key: &str, times: u32) -> FaultPlan {
    let fault = |attempt| {
        let request = RequestKey {
            operation: Operation::GetObject,
            target: format!("{BUCKET}/{key}"),
            attempt,
        };
        (request, Fault::HangBefore)
    };
    FaultPlan {
        fixed: (0..times).map(fault).collect(),
        ..FaultPlan::none()
    }
}

fn sdk(stub: &Stub) -> SdkConfig {
    sdk_config(&stub.endpoint, http_client(), RetryConfig::disabled())
}

fn rule_source(uri: &str, sdk: &SdkConfig) -> RuleSource {
    let uri = uri.parse().expect("an address");
    RuleSource::new(Some(uri), Watched::default(), s3::client(sdk))
}

fn rules_uri() -> String {
    format!("s3://{BUCKET}/rules/")
}

/// The names of the rules in use that are not built in.
fn own_rules(source: &RuleSource) -> Vec<String> {
    let rules = source.current().rules();
    let names = rules.iter().map(|rule| rule.name.clone());
    names.filter(|name| name.starts_with("my-")).collect()
}

fn incomplete(line: &str) -> Result<Refresh, LoadError> {
    Err(LoadError {
        error_type: "Rules.Incomplete",
        is_temporary: true,
        is_incomplete: true,
        lines: vec![line.to_owned()],
    })
}

/// A function whose look at the start ends after [`SHORT`], and each later one after `later`.
async fn function(stub: &Stub, rules: RuleSource, later: Duration) -> Function {
    let settings =
        Settings::from_lookup(|name| (name == "ALERT_TOPIC_ARN").then(|| TOPIC_ARN.to_owned()));
    let timing = Timing {
        interval: Duration::ZERO,
        load_at_start: SHORT,
        load: later,
        ..Timing::default()
    };
    let settings = settings.expect("valid settings");
    Function::with_timing(settings, rules, &sdk(stub), timing, Clock::default()).await
}

/// Invokes the function for a log file with one call, and returns its reply.
async fn tag_resource(stub: &Stub, function: &Function, event_id: &str) -> Value {
    let key = key_named(event_id);
    put(stub, &key, log_file_of(&[call("TagResource", event_id)]));
    function
        .handle(&s3_notification(&[&key]), &Context::default())
        .await
        .expect("it succeeds")
}

/// Event name and rule of each message.
fn messages(stub: &Stub) -> Vec<[String; 2]> {
    let state = stub.state();
    let messages = state.messages.iter();
    messages
        .map(|message| ["event_name", "rule"].map(|name| message.attribute(name).1))
        .collect()
}

fn load_errors(reply: &Value) -> u64 {
    reply["rule_load_errors"].as_u64().unwrap_or_default()
}

#[tokio::test]
async fn the_first_invocation_completes_the_look_at_the_start() {
    let stub = Stub::start(stalling("rules/19.yml", 1)).await;
    for n in 0..20 {
        put(
            &stub,
            &format!("rules/{n:02}.yml"),
            rule(n, &format!("my-{n:02}")),
        );
    }
    let rules = rule_source(&rules_uri(), &sdk(&stub));
    let function = function(&stub, rules, LONG).await;
    // Nineteen of the rules have been read, and none is used.
    for id in ["a", "b"] {
        let reply = tag_resource(&stub, &function, id).await;
        assert_eq!(load_errors(&reply), 0, "{reply}");
    }
    assert_eq!(
        messages(&stub),
        [
            ["TagResource", "hsm-resource-tagged"],
            ["TagResource", "my-00"]
        ]
    );
    let counts: Vec<usize> = (0..20)
        .map(|n| fetches(&stub, &format!("rules/{n:02}.yml")))
        .collect();
    assert_eq!(counts, [[1; 19].as_slice(), &[2]].concat());
}

#[tokio::test]
async fn a_load_that_stays_incomplete_is_an_error_and_noticed_once() {
    let stub = Stub::start(stalling("rules/b.yml", 3)).await;
    put(&stub, "rules/a.yml", rule(1, "my-a"));
    put(&stub, "rules/b.yml", rule(2, "my-b"));
    let rules = rule_source(&rules_uri(), &sdk(&stub)).refreshed_every(Duration::ZERO);
    let function = function(&stub, rules, Duration::from_millis(100)).await;
    let mut errors = Vec::new();
    for id in ["a", "b"] {
        errors.push(load_errors(&tag_resource(&stub, &function, id).await));
    }
    assert_eq!(errors, [1, 1]);
    let messages = messages(&stub);
    assert_eq!(
        messages,
        [
            ["TagResource", "hsm-resource-tagged"],
            ["RulesNotLoaded", "?"],
            ["TagResource", "hsm-resource-tagged"]
        ]
    );
    let notices = stub.state().messages.clone();
    let line = format!(
        "  {}: no further rule files could be read in 0.1 s; reading continues after a later invocation\n",
        rules_uri()
    );
    assert!(notices[1].text("email").contains(&line), "{:?}", notices[1]);
}

#[tokio::test]
async fn what_has_changed_since_the_last_look_is_read_again() {
    let stub = Stub::start(FaultPlan::none()).await;
    let source = rule_source(&rules_uri(), &sdk(&stub));
    put(&stub, "rules/a.yml", rule(1, "my-old"));
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::InUse));
    assert_eq!(own_rules(&source), ["my-old"]);
    // Within a minute, no other look is due.
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::NotDue));

    for (n, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
        put(
            &stub,
            &format!("rules/{name}.yml"),
            rule(n, &format!("my-{name}")),
        );
    }
    stub.set_faults(stalling("rules/d.yml", 1));
    let source = source.refreshed_every(Duration::ZERO);
    let line = format!(
        "{}: 3 of 4 rule files were read in 3 s; reading continues after the next invocation",
        rules_uri()
    );
    assert_eq!(source.refresh(SHORT).await, incomplete(&line));
    assert_eq!(own_rules(&source), ["my-old"]);

    // The interval does not apply to a look that goes on.
    let source = source.refreshed_every(LONG * 10);
    put(&stub, "rules/b.yml", rule(2, "my-new"));
    stub.state()
        .objects
        .remove(&format!("{BUCKET}/rules/c.yml"));
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::InUse));
    assert_eq!(own_rules(&source), ["my-a", "my-d", "my-new"]);
    let counts = ["a", "b", "c", "d"].map(|name| fetches(&stub, &format!("rules/{name}.yml")));
    assert_eq!(counts, [2, 2, 1, 2]);
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::NotDue));
}

#[tokio::test]
async fn what_was_read_before_an_error_is_kept() {
    let stub = Stub::start(FaultPlan::none()).await;
    let source = rule_source(&rules_uri(), &sdk(&stub)).refreshed_every(Duration::ZERO);
    put(&stub, "rules/a.yml", rule(1, "my-a"));
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::InUse));
    put(&stub, "rules/b.yml", rule(2, "my-b"));
    stub.set_faults(FaultPlan::first(Operation::GetObject, Fault::CutBefore));
    let error = source.refresh(LONG).await.expect_err("no response");
    assert_eq!(
        (error.error_type, error.is_temporary, error.is_incomplete),
        ("Rules.Unreadable", true, false)
    );
    assert_eq!(own_rules(&source), ["my-a"]);
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::InUse));
    assert_eq!(own_rules(&source), ["my-a", "my-b"]);
    let counts = ["a", "b"].map(|name| fetches(&stub, &format!("rules/{name}.yml")));
    assert_eq!(counts, [1, 2]);
}

#[tokio::test]
async fn a_folder_is_read_over_several_looks() {
    const FILES: usize = 300;
    let stub = Stub::start(FaultPlan::none()).await;
    let folder = tempfile::tempdir().expect("a folder");
    for n in 0..FILES {
        let path = folder.path().join(format!("{n}.yml"));
        fs::write(path, rule(n, &format!("my-{n}"))).expect("written");
    }
    let uri = folder.path().to_str().expect("UTF-8");
    let source = rule_source(uri, &sdk(&stub));
    let mut looks = 1;
    // No machine parses 300 rules in this time, but each look at least one.
    while let Err(error) = source.refresh(Duration::from_millis(1)).await {
        assert!(error.is_incomplete, "{error:?}");
        assert_eq!(own_rules(&source), Vec::<String>::new());
        looks += 1;
    }
    assert_eq!(own_rules(&source).len(), FILES);
    assert!((2..=FILES).contains(&looks), "{looks}");
}

#[tokio::test]
async fn account_names_that_stall_are_read_by_the_next_look() {
    let stub = Stub::start(stalling("accounts.csv", 1)).await;
    put(
        &stub,
        "accounts.csv",
        b"account,name\n111122223333,prod\n".to_vec(),
    );
    let names = AccountNames::parse(&format!("s3://{BUCKET}/accounts.csv")).expect("an address");
    let source = AccountSource::new(names, s3::client(&sdk(&stub)));
    let source = source.refreshed_every(Duration::ZERO);
    let expected = LoadError {
        error_type: "AccountNames.Incomplete",
        is_temporary: true,
        is_incomplete: true,
        lines: vec![format!(
            "s3://{BUCKET}/accounts.csv: no further account names could be read in 0.1 s; reading continues after a later invocation"
        )],
    };
    assert_eq!(
        source.refresh(Duration::from_millis(100)).await,
        Err(expected)
    );
    assert_eq!(source.current().name("111122223333"), None);
    assert_eq!(source.refresh(LONG).await, Ok(Refresh::InUse));
    assert_eq!(source.current().name("111122223333"), Some("prod"));
}
