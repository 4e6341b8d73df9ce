//! The audit of digest files, through the whole function: signed chains of digest files and log files arrive in any
//! order, late, twice and never, and somebody alters, replaces and deletes them. What is found must be told once, and
//! nothing that was not done may be told.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use cloudhsm_alerts::{
    clock::Clock, context::Context, function::Function, rule_source::RuleSource,
    settings::Settings, timing::Timing,
};
use cloudhsm_alerts_core::rules::{RuleSet, watched::Watched};
use cloudhsm_alerts_test_support::{
    dice::Dice,
    digests::{Digests, SigningKey, Trail, gunzip, gzip, listed},
    fixtures::{BUCKET, REGION, TOPIC_ARN, call, s3_notification},
    published::Published,
    stub::{ErrorKind, Fault, FaultPlan, Operation, RandomFaults, Stub},
};
use futures_util::{StreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

const PAGING_ARN: &str = "arn:aws:sns:us-west-2:111122223333:pages";
const RULE_ARN: &str = "arn:aws:events:us-west-2:111122223333:rule/cloudhsm-alerts-tick";
/// The start of the first digest file.
const BEGIN: &str = "2027-03-01T00:00:00Z";

const ALTERED: &str = "trail-log-file-altered";
const MISSING: &str = "trail-log-file-missing";
const REPLACED: &str = "trail-log-file-replaced";
const DIGEST_ALTERED: &str = "trail-digest-altered";
const DIGEST_MISSING: &str = "trail-digest-missing";
const SILENT: &str = "trail-digest-silent";
const NOT_VERIFIED: &str = "trail-digest-not-verified";
const COPIED: &str = "trail-digest-copied";

fn hours(count: i64) -> SignedDuration {
    SignedDuration::from_hours(count)
}

fn at(hour: i64) -> Timestamp {
    BEGIN.parse::<Timestamp>().expect("a time") + hours(hour)
}

fn scheduled() -> Value {
    json!({
        "version": "0", "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa", "detail-type": "Scheduled Event",
        "source": "aws.events", "account": "111122223333", "time": BEGIN, "region": REGION,
        "resources": [RULE_ARN], "detail": {},
    })
}

/// A deletion of a backup of its own.
fn deletion(id: &str, time: Timestamp) -> Value {
    let mut call = call("DeleteBackup", id);
    call["eventTime"] = time.to_string().into();
    call["requestParameters"] = json!({"backupId": format!("backup-{id}")});
    call
}

/// A chain with so many hours of two log files each, the second of which has a deletion, `delete-HOUR`.
fn chain(count: usize) -> Digests {
    chain_of(Trail::default(), count)
}

fn chain_of(trail: Trail, count: usize) -> Digests {
    let mut digests = Digests::starting(trail, BEGIN);
    for hour in 0..count {
        add_hour(&mut digests, hour);
    }
    digests
}

fn add_hour(digests: &mut Digests, hour: usize) {
    let time = at(i64::try_from(hour).expect("small"));
    let read = call("DescribeClusters", &format!("read-{hour}"));
    let deleted = deletion(&format!("delete-{hour}"), time);
    digests.hour_of(vec![vec![read], vec![deleted]]);
}

/// The stub, and one instance of the function with its clock.
struct World {
    stub: Stub,
    rules: Arc<RuleSet>,
    clock: Clock,
    function: Option<Function>,
    audit: bool,
}

impl World {
    async fn start() -> World {
        World::with(true).await
    }

    async fn with(audit: bool) -> World {
        let rules = RuleSet::builtin(&Watched::default()).expect("the built-in rules are valid");
        let mut world = World {
            stub: Stub::start(FaultPlan::none()).await,
            rules: Arc::new(rules),
            clock: Clock::default(),
            function: None,
            audit,
        };
        world.advance_to(at(3));
        let keys = vec![SigningKey::first().listed()];
        world.stub.state().public_keys.insert(REGION.into(), keys);
        world.restart().await;
        world
    }

    async fn sdk(&self) -> SdkConfig {
        aws_config::defaults(BehaviorVersion::latest())
            .http_client(cloudhsm_alerts::roots::http_client())
            .region(Region::new(REGION))
            .credentials_provider(aws_sdk_s3::config::Credentials::new(
                "test", "test", None, None, "test",
            ))
            .endpoint_url(&self.stub.endpoint)
            .retry_config(
                RetryConfig::standard()
                    .with_max_attempts(2)
                    .with_initial_backoff(Duration::from_millis(1)),
            )
            .load()
            .await
    }

    /// A new instance, whose memory is empty.
    async fn restart(&mut self) {
        self.stub.drop_connections().await;
        let sdk = self.sdk().await;
        let settings = Settings::from_lookup(|name| {
            match name {
                "ALERT_TOPIC_ARN" => Some(TOPIC_ARN),
                "PAGING_TOPIC_ARN" => Some(PAGING_ARN),
                "LEDGER_TABLE" => Some("ledger"),
                "WATCH_TABLE" => Some("watch"),
                "TICK_RULE_ARN" => Some(RULE_ARN),
                "DIGEST_AUDIT" if self.audit => Some("on"),
                _ => None,
            }
            .map(str::to_owned)
        })
        .expect("valid settings");
        let timing = Timing {
            interval: Duration::ZERO,
            ..Timing::default()
        };
        let rules = RuleSource::fixed(Arc::clone(&self.rules));
        let clock = self.clock.clone();
        self.function = Some(Function::with_timing(settings, rules, &sdk, timing, clock).await);
    }

    fn advance_to(&self, time: Timestamp) {
        let by = time.duration_since(self.clock.now());
        self.clock
            .advance(Duration::try_from(by).unwrap_or_default());
    }

    /// Puts all objects of a chain, and removes those that it has no more.
    fn put(&self, digests: &Digests) {
        let mut state = self.stub.state();
        let bucket = &digests.trail.bucket;
        state.objects.retain(|target, _| {
            !target.starts_with(&format!("{bucket}/{}AWSLogs/", digests.trail.prefix))
        });
        for (key, object) in &digests.objects {
            let target = format!("{bucket}/{key}");
            state.objects.insert(target.clone(), object.body.clone());
            state.metadata.insert(target, object.metadata.clone());
        }
    }

    /// Invokes the function. The error is the error type.
    async fn invoke(&self, payload: &Value) -> Result<Value, String> {
        self.invoke_within(payload, &Context::default()).await
    }

    async fn invoke_within(&self, payload: &Value, context: &Context) -> Result<Value, String> {
        let function = self.function.as_ref().expect("it runs");
        let reply = function.handle(payload, context).await;
        reply.map_err(|failed| failed.0.error_type)
    }

    /// Invokes the function with the notification of an object, and returns the counts that are about the audit.
    async fn notify(&self, key: &str) -> BTreeMap<String, u64> {
        let reply = self.invoke(&s3_notification(&[key])).await;
        audited(&reply.expect("no failure"))
    }

    async fn tick(&self) {
        self.invoke(&scheduled()).await.expect("no failure");
    }

    /// The messages about the trail on the alert topic.
    fn messages(&self) -> Vec<Published> {
        let state = self.stub.state();
        let about = state.messages.iter().filter(|it| it.is_about_the_trail());
        about.cloned().collect()
    }

    /// `code object` of every finding on the alert topic; the object without its folder.
    fn found(&self) -> Vec<String> {
        let findings = self.messages().into_iter().flat_map(|message| {
            let finding = message.finding();
            finding["unmapped"]["findings"]
                .as_array()
                .cloned()
                .expect("findings")
        });
        findings.map(|it| short(&it)).collect()
    }

    fn details(&self) -> String {
        let messages = self.messages();
        let texts: Vec<&str> = messages.iter().map(|it| it.text("email")).collect();
        texts.join("\n")
    }

    fn alerted(&self) -> BTreeMap<String, usize> {
        self.stub.state().alerts_by_event_id()
    }

    fn requests(&self, operation: Operation) -> usize {
        let state = self.stub.state();
        let all = state.requests.iter();
        all.filter(|(key, _)| key.operation == operation).count()
    }
}

fn short(finding: &Value) -> String {
    let key = finding["object"]["key"].as_str().unwrap_or_default();
    let name = key.rsplit('/').next().unwrap_or_default();
    format!("{} {name}", finding["code"].as_str().expect("a code"))
        .trim_end()
        .to_owned()
}

fn name_of(key: &str) -> &str {
    key.rsplit('/').next().expect("a name")
}

fn audited(reply: &Value) -> BTreeMap<String, u64> {
    let names = [
        "digests",
        "proved",
        "caught_up",
        "not_verified",
        "not_checked",
        "trail_findings",
    ];
    names
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), reply.get(name)?.as_u64()?)))
        .collect()
}

fn counts(expected: &[(&str, u64)]) -> BTreeMap<String, u64> {
    expected
        .iter()
        .map(|(name, count)| ((*name).to_owned(), *count))
        .collect()
}

#[tokio::test]
async fn what_was_read_is_proved_by_the_next_digest_file_without_reading_it_again() {
    let world = World::start().await;
    let digests = chain(2);
    world.put(&digests);
    for hour in 0..2 {
        for number in 0..2 {
            world.notify(&digests.log_file(hour, number)).await;
        }
        let before = world.requests(Operation::GetObject);
        let seen = world.notify(&digests.digest(hour)).await;
        assert_eq!(seen, counts(&[("digests", 1), ("proved", 2)]));
        // The digest file, and the previous one.
        assert_eq!(world.requests(Operation::GetObject) - before, 1 + hour);
    }
    // The key is asked for once.
    assert_eq!(world.requests(Operation::ListPublicKeys), 1);
    assert_eq!(world.found(), [""; 0]);
    let state = world.stub.state();
    let key = digests.log_file(1, 1);
    let item = &state.items[&format!("file#{BUCKET}/{key}")];
    assert_eq!(
        item["sha256"]["S"],
        digests.hours[1].document["logFiles"][1]["hashValue"]
    );
    let read_at: i64 = item["read_at"]["N"].as_str().unwrap().parse().unwrap();
    let expires: i64 = item["expires_at"]["N"].as_str().unwrap().parse().unwrap();
    assert_eq!(expires, read_at / 1000 + 72 * 3600);
}

#[tokio::test]
async fn a_notification_that_never_came_is_made_up_for_once() {
    let world = World::start().await;
    let digests = chain(1);
    world.put(&digests);
    world.notify(&digests.log_file(0, 0)).await;
    assert_eq!(world.alerted(), BTreeMap::new());
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(
        seen,
        counts(&[("digests", 1), ("proved", 2), ("caught_up", 1)])
    );
    assert_eq!(world.alerted(), BTreeMap::from([("delete-0".into(), 1)]));
    // Again, and at last the notification itself.
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(seen, counts(&[("digests", 1), ("proved", 2)]));
    world.notify(&digests.log_file(0, 1)).await;
    assert_eq!(world.alerted(), BTreeMap::from([("delete-0".into(), 1)]));
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn a_digest_file_whose_notification_never_came_is_made_up_for_with_the_next() {
    let world = World::start().await;
    let digests = chain(4);
    world.put(&digests);
    world.notify(&digests.digest(0)).await;
    let seen = world.notify(&digests.digest(3)).await;
    assert_eq!(
        seen,
        counts(&[("digests", 3), ("proved", 6), ("caught_up", 6)])
    );
    let alerted = (0..4).map(|hour| (format!("delete-{hour}"), 1));
    assert_eq!(world.alerted(), alerted.collect());
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn without_the_audit_nothing_is_requested_and_nothing_is_noted() {
    let world = World::with(false).await;
    let digests = chain(1);
    world.put(&digests);
    let reply = world.invoke(&s3_notification(&[&digests.digest(0)])).await;
    assert_eq!(reply.expect("no failure")["skipped"], json!({"digest": 1}));
    assert_eq!(world.stub.state().requests.len(), 0);
    world.notify(&digests.log_file(0, 0)).await;
    let requests = |world: &World| {
        let state = world.stub.state();
        let all = state.requests.iter();
        all.map(|(key, _)| key.operation).collect::<Vec<_>>()
    };
    assert_eq!(requests(&world), [Operation::GetObject]);
    assert_eq!(world.stub.state().items.len(), 0);
    world.tick().await;
    assert_eq!(
        requests(&world),
        [
            Operation::GetObject,
            Operation::Tick,
            Operation::ListDeadlines,
            Operation::Tick
        ]
    );
}

type Tamper = fn(&mut Digests);

/// A change, and the findings of the digest files of hours 1 and 2, with a part of what they say.
struct Case {
    name: &'static str,
    tamper: Tamper,
    /// Code, hour, number of the log file (`None`: the digest file), and a part of the sentence.
    expected: &'static [(&'static str, usize, Option<usize>, &'static str)],
}

fn edited(digests: &mut Digests, hour: usize, change: impl FnOnce(&mut Value)) {
    let key = digests.digest(hour);
    digests.change(&key, |body| {
        let mut document: Value = serde_json::from_slice(&gunzip(body)).expect("JSON");
        change(&mut document);
        *body = gzip(document.to_string().as_bytes());
    });
}

const CASES: &[Case] = &[
    Case {
        name: "nothing",
        tamper: |_| {},
        expected: &[],
    },
    Case {
        name: "a log file altered",
        tamper: |digests| {
            let key = digests.log_file(1, 1);
            digests.put(&key, gzip(br#"{"Records": []}"#));
        },
        expected: &[(
            ALTERED,
            1,
            Some(1),
            "The content is not the one that CloudTrail delivered.",
        )],
    },
    Case {
        name: "a log file deleted",
        tamper: |digests| {
            let key = digests.log_file(1, 1);
            digests.remove(&key);
        },
        expected: &[(
            MISSING,
            1,
            Some(1),
            "There is no such object: the log file was deleted.",
        )],
    },
    Case {
        name: "a log file cut off",
        tamper: |digests| {
            let key = digests.log_file(1, 0);
            digests.change(&key, |body| body.truncate(body.len() - 8));
        },
        expected: &[(ALTERED, 1, Some(0), "The log file is cut off")],
    },
    Case {
        name: "a gzip member appended to a log file",
        tamper: |digests| {
            let key = digests.log_file(1, 0);
            digests.change(&key, |body| body.extend(gzip(b"")));
        },
        expected: &[(
            ALTERED,
            1,
            Some(0),
            "something was appended to the log file",
        )],
    },
    Case {
        name: "no JSON in a log file",
        tamper: |digests| {
            let key = digests.log_file(1, 0);
            digests.put(&key, gzip(b"no JSON"));
        },
        expected: &[(
            ALTERED,
            1,
            Some(0),
            "The content is not the one that CloudTrail delivered.",
        )],
    },
    Case {
        name: "an empty log file",
        tamper: |digests| {
            let key = digests.log_file(1, 0);
            digests.put(&key, Vec::new());
        },
        expected: &[(
            ALTERED,
            1,
            Some(0),
            "The content is not the one that CloudTrail delivered.",
        )],
    },
    Case {
        name: "a log file stored uncompressed",
        tamper: |digests| {
            let key = digests.log_file(1, 0);
            digests.change(&key, |body| *body = gunzip(body));
        },
        expected: &[],
    },
    Case {
        name: "a digest file altered",
        tamper: |digests| {
            edited(digests, 1, |document| document["logFiles"] = json!([]));
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "The signature does not belong to this content",
        )],
    },
    Case {
        name: "a digest file without its metadata",
        tamper: |digests| {
            let key = digests.digest(1);
            let object = digests.objects[&key].clone();
            digests.put(&key, object.body);
        },
        expected: &[(DIGEST_ALTERED, 1, None, "no signature in its metadata")],
    },
    Case {
        name: "no JSON in a digest file",
        tamper: |digests| {
            let key = digests.digest(1);
            digests.change(&key, |body| *body = gzip(b"no JSON"));
        },
        expected: &[(DIGEST_ALTERED, 1, None, "The content is not JSON")],
    },
    Case {
        name: "a digest file cut off",
        tamper: |digests| {
            let key = digests.digest(1);
            digests.change(&key, |body| body.truncate(body.len() - 8));
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "the gzip stream ends in the middle",
        )],
    },
    Case {
        name: "a gzip member appended to a digest file",
        tamper: |digests| {
            let key = digests.digest(1);
            digests.change(&key, |body| body.extend(gzip(b"")));
        },
        expected: &[(DIGEST_ALTERED, 1, None, "something was appended")],
    },
    Case {
        name: "members missing",
        tamper: |digests| {
            edited(digests, 1, |document| {
                document.as_object_mut().unwrap().remove("logFiles");
            });
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "logFiles: expected a list, found no such member",
        )],
    },
    Case {
        name: "an unknown algorithm",
        tamper: |digests| {
            edited(digests, 1, |document| {
                document["digestSignatureAlgorithm"] = "SHA512withRSA".into();
            });
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "expected SHA256withRSA, found SHA512withRSA",
        )],
    },
    Case {
        name: "a foreign key",
        tamper: |digests| {
            let mut document = digests.hours[1].document.clone();
            let key = SigningKey::second();
            document["digestPublicKeyFingerprint"] = key.fingerprint().into();
            let object = digests.signed(&key, &document);
            digests.objects.insert(digests.digest(1), object);
        },
        expected: &[(DIGEST_ALTERED, 1, None, "somebody else signed it")],
    },
    Case {
        name: "another digest file in its place",
        tamper: |digests| {
            let other = digests.objects[&digests.digest(0)].clone();
            digests.objects.insert(digests.digest(1), other);
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "another digest file was put in this place",
        )],
    },
    Case {
        name: "a digest file deleted before the next one came",
        tamper: |digests| {
            let key = digests.digest(1);
            digests.remove(&key);
        },
        expected: &[(
            DIGEST_MISSING,
            1,
            None,
            "The digest file is missing: deleted, or never delivered.",
        )],
    },
    Case {
        name: "a digest file replaced by one that is signed",
        tamper: |digests| {
            digests.sign_again(1, |document| {
                document["logFiles"].as_array_mut().unwrap().pop();
            });
        },
        expected: &[(
            DIGEST_ALTERED,
            1,
            None,
            "This is not the digest file that the next one names",
        )],
    },
];

#[tokio::test]
async fn every_change_is_found_once_and_said() {
    for (case, is_notified) in CASES.iter().flat_map(|case| [(case, true), (case, false)]) {
        let name = case.name;
        let world = World::start().await;
        let mut digests = chain(3);
        (case.tamper)(&mut digests);
        world.put(&digests);
        world.notify(&digests.digest(0)).await;
        // Its notification may be lost: then the next digest file leads to it.
        for hour in (1..3).filter(|hour| is_notified || *hour == 2) {
            world.notify(&digests.digest(hour)).await;
        }
        let expected: Vec<String> = case
            .expected
            .iter()
            .map(|(code, hour, number, _)| {
                let key = match number {
                    Some(number) => digests.log_file(*hour, *number),
                    None => digests.digest(*hour),
                };
                format!("{code} {}", name_of(&key))
            })
            .collect();
        assert_eq!(world.found(), expected, "{name}, notified: {is_notified}");
        let details = world.details();
        for (.., sentence) in case.expected {
            let is_said = details.to_lowercase().contains(&sentence.to_lowercase());
            assert!(is_said || !is_notified, "{name}: {details}");
        }
        let pages = world
            .stub
            .state()
            .pages()
            .iter()
            .filter(|it| it.contains("CloudTrail"))
            .count();
        let critical = case
            .expected
            .iter()
            .filter(|(code, ..)| *code != DIGEST_MISSING);
        assert_eq!(pages, critical.count(), "{name}");
        // Once, however often it is looked at.
        for hour in 1..3 {
            let _ = world
                .invoke(&s3_notification(&[&digests.digest(hour)]))
                .await;
        }
        assert_eq!(world.found(), expected, "{name}, again");
    }
}

#[tokio::test]
async fn what_was_read_in_another_form_is_altered() {
    let world = World::start().await;
    let mut digests = chain(1);
    let key = digests.log_file(0, 1);
    let original = digests.objects[&key].body.clone();
    digests.put(&key, gzip(br#"{"Records": []}"#));
    world.put(&digests);
    world.notify(&key).await;
    // Put back before the digest file comes: the function has still read the other content.
    digests.put(&key, original);
    world.put(&digests);
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(
        seen,
        counts(&[
            ("digests", 1),
            ("proved", 1),
            ("caught_up", 1),
            ("trail_findings", 1)
        ])
    );
    assert_eq!(world.found(), [format!("{ALTERED} {}", name_of(&key))]);
}

#[tokio::test]
async fn a_log_file_that_is_delivered_again_with_another_content() {
    let world = World::start().await;
    let mut digests = chain(1);
    world.put(&digests);
    let key = digests.log_file(0, 1);
    world.notify(&key).await;
    assert_eq!(world.notify(&key).await, BTreeMap::new());
    let original = digests.objects[&key].body.clone();
    // The same content in another form is the same content.
    digests.put(&key, gunzip(&original));
    world.put(&digests);
    assert_eq!(world.notify(&key).await, BTreeMap::new());
    digests.put(&key, gzip(br#"{"Records": []}"#));
    world.put(&digests);
    assert_eq!(world.notify(&key).await, counts(&[("trail_findings", 1)]));
    assert_eq!(world.notify(&key).await, BTreeMap::new());
    assert_eq!(world.found(), [format!("{REPLACED} {}", name_of(&key))]);
    let message = &world.messages()[0];
    assert_eq!(message.headline(), "critical TrailIntegrity success");
    assert_eq!(message.attribute("account").1, "111122223333");
    assert_eq!(message.attribute("region").1, REGION);
}

#[tokio::test]
async fn keys_in_another_form_and_regions_that_refuse() {
    let world = World::start().await;
    let spki = listed(&SigningKey::first().subject_public_key_info());
    let fingerprint = spki["Fingerprint"].clone();
    world
        .stub
        .state()
        .public_keys
        .insert(REGION.into(), vec![spki]);
    let mut digests = chain(1);
    digests.sign_again(0, |document| {
        document["digestPublicKeyFingerprint"] = fingerprint
    });
    world.put(&digests);
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(
        seen,
        counts(&[("digests", 1), ("proved", 2), ("caught_up", 2)])
    );

    // Another region refuses. Its log files are read all the same, and nobody is accused.
    let trail = Trail {
        region: "ap-east-1".into(),
        ..Trail::default()
    };
    let mut digests = chain_of(trail, 2);
    let key = digests.log_file(0, 0);
    digests.remove(&key);
    world.put(&digests);
    let first = world.notify(&digests.digest(0)).await;
    assert_eq!(
        first,
        counts(&[
            ("digests", 1),
            ("caught_up", 1),
            ("not_checked", 2),
            ("not_verified", 1),
            ("trail_findings", 1)
        ])
    );
    world.notify(&digests.digest(1)).await;
    assert_eq!(world.found(), [NOT_VERIFIED]);
    assert_eq!(
        world.messages()[0].headline(),
        "medium TrailIntegrity success"
    );
    assert_eq!(
        world
            .stub
            .state()
            .pages()
            .iter()
            .filter(|it| it.contains("CloudTrail"))
            .count(),
        0
    );
}

#[tokio::test]
async fn a_copy_of_a_bucket_is_told_once() {
    let world = World::start().await;
    let trail = Trail {
        bucket: "origin".into(),
        ..Trail::default()
    };
    let mut digests = chain_of(trail, 3);
    // The objects are the same, in another bucket.
    digests.trail.bucket = BUCKET.into();
    world.put(&digests);
    for hour in 0..3 {
        let seen = world.notify(&digests.digest(hour)).await;
        let mut expected = vec![("digests", 1), ("proved", 2), ("caught_up", 2)];
        if hour == 0 {
            expected.push(("trail_findings", 1));
        }
        assert_eq!(seen, counts(&expected), "{hour}");
    }
    assert_eq!(world.found(), [COPIED]);
}

/// The call that stops the trail of the tests.
fn stop(time: Timestamp) -> Value {
    let mut stop = call("StopLogging", "stop");
    stop["eventSource"] = "cloudtrail.amazonaws.com".into();
    stop["eventTime"] = time.to_string().into();
    stop["requestParameters"] =
        json!({"name": "arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts"});
    stop
}

#[tokio::test]
async fn a_silent_chain_is_told_once_until_it_speaks_again() {
    let world = World::start().await;
    let mut digests = chain(2);
    digests.hour_of(vec![vec![stop(at(2) + SignedDuration::from_mins(10))]]);
    digests.stop(7);
    add_hour(&mut digests, 10);
    world.put(&digests);
    // Nothing is known of a chain before its first digest file.
    world.tick().await;
    for hour in 0..2 {
        world.notify(&digests.digest(hour)).await;
    }
    world.advance_to(at(5) - SignedDuration::from_mins(1));
    world.tick().await;
    assert_eq!(world.found(), [""; 0]);
    world.advance_to(at(5) + SignedDuration::from_mins(1));
    world.tick().await;
    assert_eq!(world.found(), [SILENT]);
    assert!(world.details().contains("Who stopped it was not seen."));
    world.tick().await;
    assert_eq!(world.found(), [SILENT]);

    world.notify(&digests.digest(2)).await;
    world.advance_to(at(6) + SignedDuration::from_mins(1));
    world.tick().await;
    world.advance_to(at(7));
    world.tick().await;
    assert_eq!(world.found(), [SILENT, SILENT]);
    let details = world.details();
    assert!(
        details.contains("The trail was stopped or changed: StopLogging by alice at 2027-03-01T02:10:00Z (event ID stop)."),
        "{details}"
    );
    assert_eq!(
        world.messages()[1].headline(),
        "high TrailIntegrity success"
    );

    // Started again: the gap is explained, and nobody is told.
    world.advance_to(at(11));
    world.notify(&digests.digest(3)).await;
    world.advance_to(at(12) + SignedDuration::from_mins(5));
    world.tick().await;
    assert_eq!(world.found(), [SILENT, SILENT]);
    let state = world.stub.state();
    let chain = state.watch.iter().find(|((kind, _), _)| kind == "chain");
    assert_eq!(chain.expect("a chain").1["gaps"], json!({"L": []}));
}

#[tokio::test]
async fn the_last_digest_file_before_a_stop_is_looked_for() {
    let world = World::start().await;
    let mut digests = chain(1);
    digests.hour_of(vec![vec![stop(at(1) + SignedDuration::from_mins(10))]]);
    digests.stop(30);
    add_hour(&mut digests, 32);
    world.put(&digests);
    world.advance_to(at(33));
    world.notify(&digests.digest(0)).await;
    // The notifications of the log file with the call and of its digest file are lost, and no digest file names that.
    let seen = world.notify(&digests.digest(2)).await;
    assert_eq!(
        seen,
        counts(&[("digests", 2), ("proved", 3), ("caught_up", 3)])
    );
    assert_eq!(world.alerted().get("stop"), Some(&1));
    world.advance_to(at(35));
    world.tick().await;
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn a_gap_that_no_call_explains() {
    let world = World::start().await;
    let mut digests = chain(2);
    digests.stop(2);
    add_hour(&mut digests, 4);
    world.put(&digests);
    world.advance_to(at(5));
    for hour in [0, 2] {
        world.notify(&digests.digest(hour)).await;
    }
    // The one before the stop may only be late, and it is.
    world.tick().await;
    world.notify(&digests.digest(1)).await;
    assert_eq!(world.found(), [""; 0]);
    world.advance_to(at(6) + SignedDuration::from_mins(1));
    world.tick().await;
    assert_eq!(world.found(), [DIGEST_MISSING]);
    let details = world.details();
    assert!(
        details.contains("No digest files between 2027-03-01T02:00:00Z and 2027-03-01T04:00:00Z."),
        "{details}"
    );
    world.tick().await;
    assert_eq!(world.found(), [DIGEST_MISSING]);
}

#[tokio::test]
async fn many_missing_log_files_are_one_message() {
    let world = World::start().await;
    let mut digests = Digests::starting(Trail::default(), BEGIN);
    digests.hour(150);
    for number in 0..150 {
        let key = digests.log_file(0, number);
        digests.remove(&key);
    }
    world.put(&digests);
    let seen = world.notify(&digests.digest(0)).await;
    assert_eq!(seen, counts(&[("digests", 1), ("trail_findings", 150)]));
    let messages = world.messages();
    assert_eq!(messages.len(), 1);
    assert_eq!(messages[0].finding()["unmapped"]["count"], 150);
    assert!(messages[0].text("email").contains("and 130 more"));
    assert_eq!(
        world.notify(&digests.digest(0)).await,
        counts(&[("digests", 1)])
    );
}

#[tokio::test]
async fn thousands_of_unseen_log_files_are_read_by_several_invocations() {
    let world = World::start().await;
    let mut digests = Digests::starting(Trail::default(), BEGIN);
    digests.hour(400);
    world.put(&digests);
    world.stub.set_latency(|operation| match operation {
        Operation::GetObject => Duration::from_millis(300),
        _ => Duration::ZERO,
    });
    let payload = s3_notification(&[&digests.digest(0)]);
    let mut errors = Vec::new();
    let mut last = None;
    for _ in 0..40 {
        let context = Context {
            deadline: Some(world.clock.now() + SignedDuration::from_secs(10)),
            ..Context::default()
        };
        match world.invoke_within(&payload, &context).await {
            Ok(reply) => {
                last = Some(reply);
                break;
            }
            Err(error) => errors.push(error),
        }
    }
    assert!(last.is_some(), "{errors:?}");
    assert!(
        errors.contains(&"Object.OutOfTime".to_owned()),
        "{errors:?}"
    );
    // What an invocation has read, the next one does not read again, apart from what was on its way.
    let requests = world.requests(Operation::GetObject);
    assert!(
        requests <= 401 + 18 * errors.len(),
        "{requests}: {errors:?}"
    );
    assert_eq!(world.found(), [""; 0]);
}

#[tokio::test]
async fn what_a_retry_can_mend_fails_and_accuses_nobody() {
    for (operation, fault, error) in [
        (
            Operation::ListPublicKeys,
            ErrorKind::Internal,
            "PublicKeys.Unavailable",
        ),
        (
            Operation::ReadFiles,
            ErrorKind::Throttled,
            "Ledger.Throttled",
        ),
        (
            Operation::NoteFile,
            ErrorKind::Unavailable,
            "Ledger.Unavailable",
        ),
        (
            Operation::GetObject,
            ErrorKind::Unavailable,
            "Object.Throttled",
        ),
        (Operation::GetObject, ErrorKind::Denied, "Object.Denied"),
        (
            Operation::ListChains,
            ErrorKind::Internal,
            "Watch.Unavailable",
        ),
        (Operation::Chain, ErrorKind::Internal, "Watch.Unavailable"),
    ] {
        let world = World::start().await;
        let digests = chain(1);
        world.put(&digests);
        world
            .stub
            .set_faults(FaultPlan::always(operation, Fault::Before(fault)));
        let reply = world.invoke(&s3_notification(&[&digests.digest(0)])).await;
        assert_eq!(reply, Err(error.to_owned()), "{operation:?}");
        assert_eq!(world.found(), [""; 0], "{operation:?}");
        world.stub.set_faults(FaultPlan::none());
        world.notify(&digests.digest(0)).await;
        assert_eq!(
            world.alerted(),
            BTreeMap::from([("delete-0".into(), 1)]),
            "{operation:?}"
        );
        assert_eq!(world.found(), [""; 0], "{operation:?}");
    }
}

/// A chain of four hours in which some things are done to log files, the notifications of its objects in any order, some
/// lost, and faults at all services. The default seeds are few: `AUDIT_SEEDS=0..5000` runs more.
async fn schedule(seed: u64) {
    let mut dice = Dice(seed);
    let mut world = World::start().await;
    let mut digests = chain(4);
    let mut expected = BTreeSet::new();
    let mut lost_calls = BTreeSet::new();
    let mut keys = Vec::new();
    for hour in 0..4 {
        for number in 0..2 {
            let key = digests.log_file(hour, number);
            let is_notified = dice.throw(3) > 0;
            match dice.throw(8) {
                // Whatever is done to it before it is read is found.
                0 => {
                    digests.put(&key, gzip(br#"{"Records": []}"#));
                    expected.insert(format!("{ALTERED} {}", name_of(&key)));
                    lost_calls.insert((hour, number));
                }
                1 if !is_notified => {
                    digests.remove(&key);
                    expected.insert(format!("{MISSING} {}", name_of(&key)));
                    lost_calls.insert((hour, number));
                }
                _ => {}
            }
            if is_notified {
                keys.push(key);
            }
        }
        // The first digest file begins the chain: without it, those before the first that comes are not looked at.
        if hour == 0 || hour == 3 || dice.throw(3) > 0 {
            keys.push(digests.digest(hour));
        }
    }
    let first = keys
        .iter()
        .position(|key| *key == digests.digest(0))
        .expect("it is notified");
    let first = keys.remove(first);
    dice.shuffle(&mut keys);
    keys.insert(0, first);
    world.put(&digests);
    world.advance_to(at(4) + SignedDuration::from_mins(20));
    let per_mille = [0, 50, 150, 300][usize::try_from(dice.throw(4)).expect("small")];
    let kills = dice.throw(2) == 0;
    for (number, key) in keys.iter().enumerate() {
        let payload = s3_notification(&[key]);
        // Lambda's three attempts, of which the last one is without faults: then it is not lost.
        for attempt in 0..3 {
            let random = RandomFaults {
                seed: seed ^ ((number as u64) << 32) ^ (attempt << 48),
                per_mille,
                hangs: false,
                kills,
                denies: None,
            };
            world.stub.set_faults(match attempt {
                2 => FaultPlan::none(),
                _ => FaultPlan {
                    random: Some(random),
                    ..FaultPlan::default()
                },
            });
            let reply = tokio::select! {
                biased;
                () = world.stub.wait_until_held() => None,
                reply = world.invoke(&payload) => Some(reply),
            };
            // Claims of an invocation that died expire.
            world.clock.advance(Duration::from_secs(60));
            match reply {
                None => world.restart().await,
                Some(Ok(_)) => break,
                Some(Err(error)) => assert!(attempt < 2, "seed {seed}: {error}"),
            }
        }
    }
    world.stub.set_faults(FaultPlan::none());
    world.tick().await;
    let faults = {
        let state = world.stub.state();
        let all = state.requests.iter();
        all.filter(|(_, fault)| *fault != Fault::None).count()
    };
    let found = world.found();
    let distinct: BTreeSet<String> = found.iter().cloned().collect();
    assert_eq!(distinct, expected, "seed {seed}");
    for one in &expected {
        let times = found.iter().filter(|it| *it == one).count();
        assert!(times <= 1 + faults, "seed {seed}: {one}, {times} times");
    }
    let alerted = world.alerted();
    for hour in 0..4 {
        let times = alerted.get(&format!("delete-{hour}")).copied().unwrap_or(0);
        let is_lost = lost_calls.contains(&(hour, 1));
        assert_eq!(
            times == 0,
            is_lost,
            "seed {seed}: hour {hour}, {times} times"
        );
        assert!(
            times <= 1 + faults,
            "seed {seed}: hour {hour}, {times} times"
        );
    }
}

#[tokio::test]
async fn nothing_is_lost_and_nobody_is_accused_whatever_fails() {
    #[expect(
        clippy::disallowed_methods,
        reason = "a test is configured by its environment"
    )]
    let seeds = std::env::var("AUDIT_SEEDS").unwrap_or_else(|_| "0..60".into());
    let (from, to) = seeds.split_once("..").expect("FROM..TO");
    let (from, to): (u64, u64) = (
        from.parse().expect("a number"),
        to.parse().expect("a number"),
    );
    stream::iter(from..to)
        .for_each_concurrent(4, schedule)
        .await;
}
