//! Loading many rule files from S3 (`RULES_URI`).

use cloudhsm_alerts_test_support::{
    fixtures::{BUCKET, TOPIC_ARN, s3_notification},
    runtime_api::Bootstrap,
    stub::{FaultPlan, Operation, Stub},
};

use super::{Bench, LONG_ROUNDS, in_region, limit, medians, no_calls, print_table, put};

const FILES: usize = 2000;
const MEGABYTES: u64 = 128;
/// With more invocations without the rules, something is broken.
const MAX_INVOCATIONS: usize = 20;

impl Bench {
    pub(super) async fn rules(&self) {
        let mut rounds = Vec::new();
        for _ in 0..LONG_ROUNDS {
            rounds.push(self.rules_once().await);
        }
        print_table(
            &format!(
                "{FILES} rule files below RULES_URI, latency in a region, {LONG_ROUNDS} rounds"
            ),
            &[
                "",
                "looks at the bucket",
                "in use after, s",
                "processor time, s",
                "peak resident, MB",
                "files fetched",
            ],
            &[(format!("{MEGABYTES} MB"), medians(&rounds, 1))],
        );
    }

    async fn rules_once(&self) -> [f64; 5] {
        let stub = Stub::start(FaultPlan::none()).await;
        for n in 0..FILES {
            let key = format!("{BUCKET}/rules/rule-{n}.yml");
            let file = rule_file(n).into_bytes();
            stub.state().objects.insert(key, file);
        }
        let idle = put(&stub, "none", no_calls());
        stub.set_latency(in_region);
        let uri = format!("s3://{BUCKET}/rules/");
        let variables = [("ALERT_TOPIC_ARN", TOPIC_ARN), ("RULES_URI", &uri)];
        let mut bootstrap =
            Bootstrap::start_program(&self.program, &stub.endpoint, &variables).await;
        let quota = limit(&bootstrap, MEGABYTES);
        let mut invocations = 0;
        while !bootstrap.log().contains("\"message\":\"rules loaded\"") {
            assert!(invocations < MAX_INVOCATIONS, "{}", bootstrap.log());
            bootstrap.invoke(&s3_notification(&[&idle])).await;
            invocations += 1;
        }
        let times = bootstrap.times();
        let last = times.replies[invocations - 1];
        // Each look lists two pages.
        let looks = count(&stub, Operation::ListObjects).div_ceil(2);
        let fetched = count(&stub, Operation::GetObject) - invocations;
        let figures = [
            looks as f64,
            (last - times.start).as_secs_f64(),
            bootstrap.processor_time().as_secs_f64(),
            bootstrap.peak_resident_kib() as f64 / 1024.0,
            fetched as f64,
        ];
        bootstrap.kill().await;
        drop(quota);
        figures
    }
}

/// How many requests of one kind the stub has had.
fn count(stub: &Stub, operation: Operation) -> usize {
    let state = stub.state();
    let requests = state.requests.iter();
    requests
        .filter(|(key, _)| key.operation == operation)
        .count()
}

/// A rule of usual length, with texts and tests.
fn rule_file(n: usize) -> String {
    const SERVICES: &[&str] = &[
        "s3",
        "kms",
        "sts",
        "ec2",
        "iam",
        "sns",
        "logs",
        "lambda",
        "dynamodb",
        "cloudtrail",
    ];
    let service = SERVICES[n % SERVICES.len()];
    format!(
        "title: Deletion number {n} of a resource that the team watches
id: 00000000-0000-4000-8000-{n:012}
name: team-rule-{n}
status: test
description: |
  Detects calls that delete or stop resource {n} of the service {service}, when they are forced
  and are not made by a service of AWS on behalf of the account.
references:
  - https://docs.aws.amazon.com/{service}/latest/APIReference/API_Delete{n}.html
author: Security team
date: 2026-01-12
tags:
  - attack.impact
  - attack.t1485
logsource:
  product: aws
  service: cloudtrail
detection:
  call:
    eventSource: {service}.amazonaws.com
    eventName:
      - Delete{n}
      - Put{n}
      - Stop{n}
  forced:
    requestParameters.force: true
  resource:
    requestParameters.resourceName|contains:
      - production-{n}
      - staging-{n}
  by_service:
    userIdentity.type: AWSService
  condition: call and (forced or resource) and not by_service
falsepositives:
  - Planned maintenance
level: medium
response: |
  Resource {{requestParameters.resourceName|the resource}} was deleted.
  1. Ask {{actor}} whether this was planned.
tests:
  - matches: a forced deletion
    record: {{eventSource: {service}.amazonaws.com, eventName: Delete{n}, requestParameters: {{force: true}}}}
  - misses: another service
    record: {{eventSource: other.amazonaws.com, eventName: Delete{n}, requestParameters: {{force: true}}}}
"
    )
}
