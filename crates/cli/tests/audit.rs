//! `audit`: every kind of tampering, in S3 and in a folder, with the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use cloudhsm_alerts_test_support::{
    digests::{Digests, SigningKey, Trail, gunzip, gzip, listed, public_key_server},
    fixtures::{BUCKET, REGION},
    moto::Moto,
    process::{decode_output, program, run_cli, tool},
};
use serde_json::{Value, json};

const TO: &str = "2026-11-23T06:00:00Z";

/// A change to a sound chain, and what is found.
struct Case {
    name: &'static str,
    change: fn(&mut Digests),
    /// Exit code, and the codes of findings with their numbers.
    exit: i32,
    codes: &'static [(&'static str, u64)],
    /// What the AWS CLI's exit code is, where it is right. `None`: it is not.
    aws: Option<i32>,
}

const fn case(
    name: &'static str,
    change: fn(&mut Digests),
    exit: i32,
    codes: &'static [(&'static str, u64)],
    aws: Option<i32>,
) -> Case {
    Case {
        name,
        change,
        exit,
        codes,
        aws,
    }
}

/// The chain of a test: six hours with two log files each.
fn sound(prefix: &str) -> Digests {
    Digests::six_hours(Trail {
        prefix: prefix.to_owned(),
        ..Trail::default()
    })
}

/// The third digest file with another content and the old signature.
fn alter_digest(digests: &mut Digests) {
    let mut document = digests.hours[2].document.clone();
    document["logFiles"].as_array_mut().unwrap().pop();
    let key = digests.digest(2);
    digests.change(&key, |body| *body = gzip(document.to_string().as_bytes()));
}

fn change_log_file(digests: &mut Digests, change: impl FnOnce(&mut Vec<u8>)) {
    let key = digests.log_file(2, 1);
    digests.change(&key, change);
}

fn change_digest(digests: &mut Digests, change: impl FnOnce(&mut Vec<u8>)) {
    let key = digests.digest(2);
    digests.change(&key, change);
}

/// Two hours, a stop of two hours, and two hours.
fn stop(digests: &mut Digests) {
    let mut stopped = Digests::starting(digests.trail.clone(), "2026-11-23T00:00:00Z");
    stopped.hour(1);
    stopped.hour(1);
    stopped.stop(2);
    stopped.hour(1);
    stopped.hour(1);
    *digests = stopped;
}

/// The same, and the digest file before the stop is deleted.
fn hidden_by_stop(digests: &mut Digests) {
    let mut stopped = Digests::starting(digests.trail.clone(), "2026-11-23T00:00:00Z");
    for _ in 0..3 {
        stopped.hour(1);
    }
    stopped.stop(1);
    stopped.hour(1);
    stopped.hour(1);
    stopped.remove(&stopped.digest(2));
    *digests = stopped;
}

const CASES: &[Case] = &[
    case("well", |_| {}, 0, &[], Some(0)),
    case(
        "log-altered",
        |digests| change_log_file(digests, |body| *body = gzip(br#"{"Records":[]}"#)),
        1,
        &[("log-file-altered", 1)],
        Some(1),
    ),
    case(
        "log-deleted",
        |digests| digests.remove(&digests.log_file(2, 1)),
        1,
        &[("log-file-missing", 1)],
        Some(1),
    ),
    case(
        "log-appended",
        |digests| change_log_file(digests, |body| body.extend(gzip(b"{}"))),
        1,
        &[("log-file-appended", 1)],
        Some(1),
    ),
    case(
        "log-uncompressed",
        |digests| change_log_file(digests, |body| *body = gunzip(body)),
        0,
        &[("log-file-uncompressed", 1)],
        None,
    ),
    case(
        "log-cut",
        |digests| change_log_file(digests, |body| body.truncate(body.len() - 8)),
        1,
        &[("log-file-truncated", 1)],
        None,
    ),
    case(
        "log-slipped-in",
        |digests| {
            let key = digests
                .trail
                .log_file_key("2026-11-23T03:40:00Z".parse().unwrap(), "SlippedInSlipped");
            digests.put(&key, gzip(br#"{"Records":[]}"#));
        },
        1,
        &[("log-file-unlisted", 1)],
        None,
    ),
    case(
        "digest-altered",
        alter_digest,
        1,
        &[("digest-altered", 1)],
        Some(1),
    ),
    case(
        "digest-not-json",
        |digests| change_digest(digests, |body| *body = gzip(b"<x>")),
        1,
        &[("digest-altered", 1)],
        Some(1),
    ),
    case(
        "digest-member-missing",
        |digests| {
            let mut document = digests.hours[2].document.clone();
            document.as_object_mut().unwrap().remove("digestStartTime");
            let key = digests.digest(2);
            digests.sign(&key, &document);
        },
        1,
        &[("digest-altered", 1)],
        None,
    ),
    case(
        "digest-appended",
        |digests| change_digest(digests, |body| body.extend(gzip(b"x"))),
        1,
        &[("digest-altered", 1)],
        None,
    ),
    case(
        "digest-cut",
        |digests| change_digest(digests, |body| body.truncate(body.len() - 8)),
        1,
        &[("digest-truncated", 1)],
        None,
    ),
    case(
        "digest-uncompressed",
        |digests| change_digest(digests, |body| *body = gunzip(body)),
        0,
        &[("digest-uncompressed", 1)],
        None,
    ),
    case(
        "digest-without-metadata",
        |digests| {
            let key = digests.digest(2);
            digests.objects.get_mut(&key).unwrap().metadata.clear();
        },
        1,
        &[("digest-unsigned", 1)],
        Some(1),
    ),
    case(
        "digest-foreign-key",
        |digests| {
            let other = SigningKey::second();
            let mut document = digests.hours[2].document.clone();
            document["digestPublicKeyFingerprint"] = json!(other.fingerprint());
            let signed = digests.signed(&other, &document);
            digests.objects.insert(digests.digest(2), signed);
        },
        1,
        &[("digest-foreign-key", 1)],
        Some(1),
    ),
    case(
        "digest-forged",
        |digests| {
            let signed = digests.signed(&SigningKey::second(), &digests.hours[2].document);
            digests.objects.insert(digests.digest(2), signed);
        },
        1,
        &[("digest-altered", 1)],
        Some(1),
    ),
    case(
        "digest-unknown-algorithm",
        |digests| {
            digests.sign_again(5, |document| {
                document["digestSignatureAlgorithm"] = json!("SHA512withRSA");
            });
        },
        1,
        &[("digest-altered", 1)],
        None,
    ),
    case(
        "digest-of-another-hour",
        |digests| {
            let other = digests.objects[&digests.digest(1)].clone();
            digests.objects.insert(digests.digest(2), other);
        },
        1,
        &[("digest-misplaced", 1)],
        None,
    ),
    case(
        "digest-signed-anew",
        |digests| digests.sign_again(2, |document| document["newestEventTime"] = Value::Null),
        1,
        &[("digest-replaced", 1)],
        None,
    ),
    case(
        "previous-hash-wrong",
        |digests| {
            digests.sign_again(5, |document| {
                document["previousDigestHashValue"] = json!("00".repeat(32));
            });
        },
        1,
        &[("digest-replaced", 1)],
        None,
    ),
    case(
        "one-digest-deleted",
        |digests| digests.remove(&digests.digest(2)),
        1,
        &[("digest-missing", 1), ("log-file-unlisted", 2)],
        Some(1),
    ),
    case(
        "starting-digest-deleted",
        |digests| digests.remove(&digests.digest(0)),
        1,
        &[("digest-missing", 1), ("log-file-unlisted", 2)],
        Some(1),
    ),
    case(
        "two-digests-deleted",
        |digests| {
            digests.remove(&digests.digest(2));
            digests.remove(&digests.digest(3));
        },
        1,
        &[("digest-missing", 1), ("log-file-unlisted", 4)],
        Some(1),
    ),
    case(
        "newest-two-deleted",
        |digests| {
            digests.remove(&digests.digest(4));
            digests.remove(&digests.digest(5));
        },
        1,
        &[("digest-silent", 1), ("log-file-unlisted", 4)],
        None,
    ),
    case(
        "all-deleted",
        |digests| {
            for hour in 0..6 {
                digests.remove(&digests.digest(hour));
            }
        },
        2,
        &[],
        None,
    ),
    case("stopped", stop, 0, &[("logging-stopped", 1)], Some(0)),
    case(
        "hidden-by-stop",
        hidden_by_stop,
        1,
        &[("log-file-unlisted", 1), ("logging-stopped", 1)],
        None,
    ),
    case(
        "digest-with-another-name",
        |digests| {
            let key = digests.digest(2).replace("_2026", "_\u{1b}[2J_2026");
            digests.put(&key, b"{}".to_vec());
        },
        0,
        &[("unknown-name", 1)],
        None,
    ),
];

fn run(arguments: &[&str], aws: &Moto, cloudtrail: &str) -> Output {
    Command::new(program("cloudhsm-alerts"))
        .args(arguments)
        .env_clear()
        .env("AWS_REGION", REGION)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_MAX_ATTEMPTS", "1")
        .env("AWS_ENDPOINT_URL_S3", &aws.endpoint)
        .env("AWS_ENDPOINT_URL_CLOUDTRAIL", cloudtrail)
        .output()
        .expect("the program starts")
}

/// Exit code and JSON of an audit.
fn json_of(output: &Output) -> (Option<i32>, Value) {
    let (code, stdout, stderr) = decode_output(output);
    let value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, value)
}

/// The codes of all findings with their numbers.
fn codes(result: &Value) -> Value {
    let mut counts = serde_json::Map::new();
    for chain in result["chains"].as_array().unwrap() {
        for (code, count) in chain["finding_counts"].as_object().unwrap() {
            let sum = counts.get(code).and_then(Value::as_u64).unwrap_or(0);
            counts.insert(code.clone(), json!(sum + count.as_u64().unwrap()));
        }
    }
    Value::Object(counts)
}

fn expected_codes(case: &Case) -> Value {
    let counts = case.codes.iter();
    Value::Object(
        counts
            .map(|(code, count)| ((*code).to_owned(), json!(count)))
            .collect(),
    )
}

fn key_server() -> String {
    public_key_server(|_| Some(json!({ "PublicKeyList": [SigningKey::first().listed()] })))
}

#[test]
fn every_kind_of_tampering_in_s3() {
    let aws = Moto::start();
    let cloudtrail = key_server();
    for case in CASES {
        let mut digests = sound(&format!("{}/", case.name));
        (case.change)(&mut digests);
        aws.put_objects(&digests.objects);
        let place = format!("s3://{BUCKET}/{}", case.name);
        let audit = ["audit", &place, "--to", TO, "--format", "json"];
        let (code, result) = json_of(&run(&audit, &aws, &cloudtrail));
        assert_eq!(
            (code, codes(&result)),
            (Some(case.exit), expected_codes(case)),
            "{}: {result:#}",
            case.name
        );
    }
    // All at once: each prefix is a chain of its own.
    let (code, result) = json_of(&run(
        &[
            "audit",
            &format!("s3://{BUCKET}"),
            "--to",
            TO,
            "--format",
            "json",
        ],
        &aws,
        &cloudtrail,
    ));
    assert_eq!(code, Some(1));
    assert_eq!(result["chains"].as_array().unwrap().len(), CASES.len() - 1);
    assert_eq!(result["without_digests"].as_array().unwrap().len(), 1);

    // The whole of one result, as text.
    let place = format!("s3://{BUCKET}/two-digests-deleted");
    let output = run(&["audit", &place, "--to", TO], &aws, &cloudtrail);
    let folder = format!(
        "s3://{BUCKET}/two-digests-deleted/AWSLogs/111122223333/CloudTrail/us-west-2/2026/11/23/111122223333_CloudTrail_us-west-2_20261123T"
    );
    let unlisted = "  wrong: a log file from a period without digest files: logging was not stopped then, and the digest file that listed it is gone (log-file-unlisted)\n    ";
    let expected = format!(
        "WRONG  account 111122223333, us-west-2, trail cloudhsm-alerts
  proved      2026-11-23T00:00Z to 2026-11-23T02:00Z
  proved      2026-11-23T04:00Z to 2026-11-23T06:00Z
  not proved  2026-11-23T02:00Z to 2026-11-23T04:00Z: digest files are missing (2, ending 2026-11-23T03:00Z, 2026-11-23T04:00Z)
  digest files  4 of 4 proved; 2 missing
  log files     8 of 8 proved; 4 that no digest file lists
{unlisted}{folder}0205Z_AbCdEfGh00000000.json.gz
{unlisted}{folder}0215Z_AbCdEfGh00000001.json.gz
{unlisted}{folder}0305Z_AbCdEfGh00000000.json.gz
{unlisted}{folder}0315Z_AbCdEfGh00000001.json.gz
"
    );
    assert_eq!(
        decode_output(&output),
        (
            Some(1),
            expected,
            "WRONG: 1 chain: 0 proved; 1 with something wrong\n".into()
        )
    );
}

/// The AWS CLI's own validator, wherever it is right. It lists by prefix, and does not see what is not there.
#[test]
fn the_aws_cli_agrees_where_it_is_right() {
    let aws = Moto::start();
    let cloudtrail = key_server();
    let cases = CASES.iter().filter_map(|case| Some((case, case.aws?)));
    let running: Vec<_> = cases
        .map(|(case, expected)| {
            let mut digests = sound(&format!("{}/", case.name));
            (case.change)(&mut digests);
            aws.put_objects(&digests.objects);
            let validator = Command::new(tool("awscli/bin/aws"))
                .args([
                    "cloudtrail",
                    "validate-logs",
                    "--verbose",
                    "--region",
                    REGION,
                ])
                .args([
                    "--trail-arn",
                    "arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts",
                ])
                .args(["--s3-bucket", BUCKET, "--s3-prefix", case.name])
                .args(["--start-time", "2026-11-23T00:00:00Z", "--end-time", TO])
                .env_clear()
                .env("AWS_ACCESS_KEY_ID", "test")
                .env("AWS_SECRET_ACCESS_KEY", "test")
                .env("AWS_ENDPOINT_URL_S3", &aws.endpoint)
                .env("AWS_ENDPOINT_URL_CLOUDTRAIL", &cloudtrail)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the AWS CLI starts");
            (case, expected, validator)
        })
        .collect();
    for (case, expected, validator) in running {
        let output = validator.wait_with_output().expect("it ends");
        let (code, stdout, stderr) = decode_output(&output);
        assert_eq!(code, Some(expected), "{}: {stdout}{stderr}", case.name);
        assert_eq!(code, Some(case.exit), "{}", case.name);
        // It has read the chain: all that is left of six digest files, or of four.
        assert!(
            stdout.contains("digest files valid"),
            "{}: {stdout}",
            case.name
        );
    }
}

fn audit_folder(folder: &Path, more: &[&str]) -> (Option<i32>, Value) {
    let arguments = [
        &[
            "audit",
            "copy",
            "--public-keys",
            "keys.json",
            "--to",
            TO,
            "--format",
            "json",
        ],
        more,
    ]
    .concat();
    json_of(&run_cli(&arguments, folder))
}

/// A folder with the objects, below `copy`, and the public keys.
fn folder_with(digests: &Digests) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    digests.write_to(&folder.path().join("copy"));
    let keys = digests.public_keys().to_string();
    fs::write(folder.path().join("keys.json"), keys).unwrap();
    folder
}

/// Without metadata, what a signature shows is shown by the next digest file.
#[test]
fn every_kind_of_tampering_in_a_folder() {
    for case in CASES {
        let mut digests = sound("");
        (case.change)(&mut digests);
        let folder = folder_with(&digests);
        let (code, result) = audit_folder(folder.path(), &["--as", &format!("s3://{BUCKET}")]);
        let mut expected = expected_codes(case);
        let mut exit = case.exit;
        match case.name {
            "digest-without-metadata" => {
                expected = json!({});
                exit = 0;
            }
            // The next one has the signature of what was there before.
            "digest-signed-anew" => expected = json!({"digest-altered": 1}),
            // The signature is that of the one that was there: the next one has it.
            "digest-of-another-hour" => {
                expected = json!({"digest-misplaced": 1, "digest-altered": 1})
            }
            "digest-foreign-key" => {
                expected = json!({"digest-not-verified": 1, "digest-replaced": 1});
            }
            _ => {}
        }
        if case.name != "all-deleted" {
            expected["digest-newest-unsigned"] = json!(1);
        }
        if case.name == "digest-forged" {
            // The same content: only its signature was another one.
            expected = json!({"digest-newest-unsigned": 1});
            exit = 0;
        }
        if case.name == "newest-two-deleted" {
            assert_eq!(
                result["chains"][0]["proved"][0]["to"],
                "2026-11-23T03:00:00Z"
            );
        }
        if case.name == "stopped" {
            // Nothing names the last one before the stop.
            expected["digest-newest-unsigned"] = json!(2);
        }
        if case.name == "one-digest-deleted" || case.name == "two-digests-deleted" {
            // The one before is named by none that is there.
            expected["digest-newest-unsigned"] = json!(2);
        }
        // What they name is not known, so the one before is named by none.
        let is_unreadable = matches!(
            case.name,
            "digest-not-json"
                | "digest-member-missing"
                | "digest-appended"
                | "digest-cut"
                | "digest-of-another-hour"
        );
        if case.name == "hidden-by-stop" || is_unreadable {
            expected["digest-newest-unsigned"] = json!(2);
        }
        assert_eq!(
            (code, codes(&result)),
            (Some(exit), expected),
            "{}: {result:#}",
            case.name
        );
    }
}

#[test]
fn a_folder_is_a_copy_of_what_it_is_said_to_be() {
    let digests = sound("logs/");
    let folder = folder_with(&digests);
    // Without --as, one notice says what it is a copy of.
    let (code, result) = audit_folder(folder.path(), &[]);
    assert_eq!(code, Some(0));
    assert_eq!(
        codes(&result),
        json!({"copied": 1, "digest-newest-unsigned": 1})
    );
    // A part of the folder.
    let below = folder.path().join("copy/logs/AWSLogs/111122223333");
    let output = run_cli(
        &[
            "audit",
            below.to_str().unwrap(),
            "--public-keys",
            "keys.json",
            "--from",
            "2026-11-23T01:00:00Z",
            "--to",
            "2026-11-23T03:00:00Z",
        ],
        folder.path(),
    );
    let (code, stdout, stderr) = decode_output(&output);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("PROVED  account 111122223333, us-west-2, trail cloudhsm-alerts\n  proved      2026-11-23T01:00Z to 2026-11-23T02:00Z\n"),
        "{stdout}"
    );
}

#[test]
fn several_accounts_regions_and_trails_in_one_run() {
    let aws = Moto::start();
    let mut expected = Vec::new();
    for (account, region, organization, name) in [
        ("111122223333", "us-west-2", "", "one"),
        ("111122223333", "us-west-2", "", "two_a"),
        ("111122223333", "eu-central-1", "", "one"),
        ("444455556666", "us-west-2", "o-a1b2c3d4e5/", "org"),
        ("444455556666", "ap-south-1", "o-a1b2c3d4e5/", "org"),
    ] {
        let digests = Digests::six_hours(Trail {
            account: account.into(),
            region: region.into(),
            organization: organization.into(),
            name: name.into(),
            ..Trail::default()
        });
        aws.put_objects(&digests.objects);
        let verdict = if region == "ap-south-1" {
            "not_proved"
        } else {
            "proved"
        };
        expected.push(json!([account, region, name, verdict]));
    }
    // A region that refuses to list its public keys.
    let cloudtrail = public_key_server(|region| {
        (region != "ap-south-1")
            .then(|| json!({ "PublicKeyList": [listed(&SigningKey::first().public_key_der())] }))
    });
    let place = format!("s3://{BUCKET}");
    let audit = ["audit", &place, "--to", TO, "--format", "json"];
    let (code, result) = json_of(&run(&audit, &aws, &cloudtrail));
    let mut found: Vec<Value> = result["chains"]
        .as_array()
        .unwrap()
        .iter()
        .map(|chain| {
            json!([
                chain["account"],
                chain["region"],
                chain["trail"],
                chain["verdict"]
            ])
        })
        .collect();
    found.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!((code, &found), (Some(1), &expected), "{result:#}");
    assert_eq!(codes(&result), json!({"digest-not-verified": 6}));

    // What is asked for.
    let only = [
        &audit[..],
        &["--region", "us-west-2", "--account", "111122223333"],
    ]
    .concat();
    let (code, result) = json_of(&run(&only, &aws, &cloudtrail));
    assert_eq!(
        (code, result["chains"].as_array().unwrap().len()),
        (Some(0), 2)
    );
    // A period without digest files, long after.
    let later = [
        "audit",
        &place,
        "--from",
        "2026-11-26",
        "--to",
        "2026-11-26",
        "--region",
        "eu-central-1",
        "--format",
        "json",
    ];
    let (code, result) = json_of(&run(&later, &aws, &cloudtrail));
    assert_eq!(
        (code, codes(&result)),
        (Some(1), json!({"digest-silent": 1}))
    );
}

/// A copy of a bucket says so once.
#[test]
fn a_copied_bucket_is_one_notice() {
    let aws = Moto::start();
    let digests = Digests::six_hours(Trail {
        bucket: "original".into(),
        ..Trail::default()
    });
    let moved: std::collections::BTreeMap<_, _> = digests
        .objects
        .iter()
        .map(|(key, object)| (format!("backup/{key}"), object.clone()))
        .collect();
    aws.put_objects(&moved);
    let place = format!("s3://{BUCKET}/backup/");
    let audit = ["audit", &place, "--to", TO, "--format", "json"];
    let (code, result) = json_of(&run(&audit, &aws, &key_server()));
    assert_eq!((code, codes(&result)), (Some(0), json!({"copied": 1})));
}

/// A key in a SubjectPublicKeyInfo, as one of AWS's samples has it; and an object of another bucket is read only for a
/// digest file that is authentic.
#[test]
fn another_form_of_key_and_another_bucket() {
    let aws = Moto::start();
    let key = SigningKey::first().subject_public_key_info();
    let fingerprint = listed(&key)["Fingerprint"].clone();
    for (prefix, is_forged, expected) in [
        ("authentic", false, json!({"log-file-missing": 1})),
        (
            "forged",
            true,
            json!({"digest-altered": 1, "log-file-not-checked": 1}),
        ),
    ] {
        let mut digests = Digests::starting(
            Trail {
                prefix: format!("{prefix}/"),
                ..Trail::default()
            },
            "2026-11-23T05:00:00Z",
        );
        digests.hour(2);
        digests.sign_again(0, |document| {
            document["digestPublicKeyFingerprint"] = fingerprint.clone();
            document["logFiles"][1]["s3Bucket"] = json!("another-bucket");
        });
        digests.remove(&digests.log_file(0, 1));
        if is_forged {
            let key = digests.digest(0);
            let metadata = &mut digests.objects.get_mut(&key).unwrap().metadata;
            metadata.insert("signature".into(), "00".repeat(256));
        }
        aws.put_objects(&digests.objects);
        let key = key.clone();
        let cloudtrail =
            public_key_server(move |_| Some(json!({ "PublicKeyList": [listed(&key)] })));
        let place = format!("s3://{BUCKET}/{prefix}");
        let audit = ["audit", &place, "--to", TO, "--format", "json"];
        let (code, result) = json_of(&run(&audit, &aws, &cloudtrail));
        assert_eq!(
            (code, codes(&result)),
            (Some(1), expected),
            "{prefix}: {result:#}"
        );
    }
}

#[test]
fn who_stopped_the_trail() {
    let aws = Moto::start();
    let mut digests = Digests::starting(Trail::default(), "2026-11-23T00:00:00Z");
    let stop_logging = json!({
        "eventVersion": "1.11",
        "userIdentity": {"type": "IAMUser", "userName": "mallory", "accountId": "111122223333", "arn": "arn:aws:iam::111122223333:user/mallory", "principalId": "AIDAX"},
        "eventTime": "2026-11-23T00:40:00Z",
        "eventSource": "cloudtrail.amazonaws.com",
        "eventName": "StopLogging",
        "awsRegion": "us-west-2",
        "eventID": "1",
        "recipientAccountId": "111122223333",
        "requestParameters": {"name": "arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts"},
    });
    digests.hour_of(vec![vec![stop_logging]]);
    digests.stop(3);
    digests.hour(1);
    aws.put_objects(&digests.objects);
    let place = format!("s3://{BUCKET}");
    let audit = [
        "audit",
        &place,
        "--to",
        "2026-11-23T05:00:00Z",
        "--format",
        "json",
    ];
    let (code, result) = json_of(&run(&audit, &aws, &key_server()));
    assert_eq!(code, Some(0), "{result:#}");
    assert_eq!(
        result["chains"][0]["not_proved"],
        json!([{
            "from": "2026-11-23T01:00:00Z",
            "to": "2026-11-23T04:00:00Z",
            "reason": "logging-stopped",
            "hours": 3,
            "stopped_by": {"time": "2026-11-23T00:40:00Z", "event_name": "StopLogging", "actor": "mallory"},
        }])
    );
}

#[test]
fn a_log_file_that_cannot_be_read_costs_only_itself() {
    let mut digests = sound("");
    let key = digests.log_file(2, 1);
    digests.remove(&key);
    let folder = folder_with(&digests);
    fs::create_dir(folder.path().join("copy").join(&key)).unwrap();
    let (code, result) = audit_folder(folder.path(), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(result["verdict"], "not_proved");
    assert_eq!(result["chains"][0]["log_files"]["not_checked"], 1);
    assert_eq!(result["chains"][0]["log_files"]["proved"], 9);
}

#[test]
fn invalid_usage_and_nothing_to_prove() {
    let digests = sound("");
    let folder = folder_with(&digests);
    fs::write(folder.path().join("other.json"), "{}").unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    for (arguments, expected) in [
        (
            &["audit", "empty"][..],
            "NOTHING TO PROVE: no digest files in this period under ",
        ),
        (&["audit", "missing"], "error: missing: No such file"),
        (
            &["audit", "keys.json"],
            "error: keys.json: expected a folder with AWSLogs, or s3://BUCKET",
        ),
        (
            &["audit", "copy", "--public-keys", "other.json"],
            "error: --public-keys other.json: expected the output of `aws cloudtrail list-public-keys` (missing field `PublicKeyList`",
        ),
        (
            &["audit", "copy", "--as", "bucket"],
            "error: --as bucket: expected s3://BUCKET or s3://BUCKET/PREFIX",
        ),
        (
            &[
                "audit",
                "copy",
                "--from",
                "2026-11-24",
                "--to",
                "2026-11-23",
            ],
            "error: --from must be earlier than --to",
        ),
        (
            &["audit", "copy", "--account", "444455556666"],
            "NOTHING TO PROVE: no digest files in this period under ",
        ),
    ] {
        let (code, stdout, stderr) = decode_output(&run_cli(arguments, folder.path()));
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments:?}: {stderr}"
        );
        assert!(stderr.starts_with(expected), "{arguments:?}: {stderr}");
    }
    // Without public keys nothing is proved, and nothing is wrong.
    let output = run_cli(&["audit", "copy", "--to", TO], folder.path());
    let (code, stdout, stderr) = decode_output(&output);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.starts_with("NOT PROVED  "), "{stdout}");
    assert_eq!(stderr, "NOT PROVED: 1 chain: 0 proved; 1 not proved\n");
}

/// The result in a report.
#[test]
fn a_report_shows_the_result() {
    let mut digests = sound("");
    change_log_file(&mut digests, |body| *body = gzip(br#"{"Records":[]}"#));
    let folder = folder_with(&digests);
    let audit = [
        "audit",
        "copy",
        "--public-keys",
        "keys.json",
        "--to",
        TO,
        "--format",
        "json",
        "--output",
        "result.json",
    ];
    let (code, stdout, stderr) = decode_output(&run_cli(&audit, folder.path()));
    assert_eq!((code, stdout.as_str()), (Some(1), ""), "{stderr}");
    let report = |more: &[&str]| {
        let arguments = [&["report", "copy"], more].concat();
        decode_output(&run_cli(&arguments, folder.path()))
    };
    let (code, page, stderr) = report(&["--audit", "result.json"]);
    assert_eq!(code, Some(0), "{stderr}");
    let section = &page[page.find("<section id=\"audit\"").unwrap()..];
    let section = &section[..section.find("</section>").unwrap()];
    for expected in [
        "<b>WRONG</b>. 0 of 1 chain proved.",
        "<h3>WRONG: account 111122223333, us-west-2, trail cloudhsm-alerts</h3>",
        "<li>proved: 2026-11-23T00:00:00Z to 2026-11-23T02:00:00Z</li>",
        "<li>not proved: 2026-11-23T02:00:00Z to 2026-11-23T03:00:00Z (log-files)</li>",
        "<li>wrong: the content is not the one that CloudTrail delivered <code>AWSLogs/111122223333/CloudTrail/",
    ] {
        assert!(section.contains(expected), "{expected}: {section}");
    }
    let (_, json, _) = report(&["--audit", "result.json", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["audit"]["verdict"], "wrong");
    // Without it, nothing changes.
    let (_, page, _) = report(&[]);
    assert!(!page.contains("id=\"audit\""));
    let (_, json, _) = report(&["--format", "json"]);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.get("audit"), None);

    fs::write(
        folder.path().join("old.json"),
        r#"{"format":"x/2","place":"","verdict":"proved","at":"","chains":[]}"#,
    )
    .unwrap();
    for (file, expected) in [
        (
            "keys.json",
            "error: --audit keys.json: expected the output of `cloudhsm-alerts audit --format json` (missing field `format`",
        ),
        (
            "old.json",
            "error: --audit old.json: expected the output of `cloudhsm-alerts audit --format json` with the format cloudhsm-alerts-audit/1, found x/2",
        ),
        ("none.json", "error: --audit none.json: No such file"),
    ] {
        let (code, _, stderr) = report(&["--audit", file]);
        assert_eq!(code, Some(2));
        assert!(stderr.starts_with(expected), "{stderr}");
    }
}

/// Names that act on a terminal are escaped.
#[test]
fn names_are_data() {
    let mut digests = sound("");
    let key = digests.trail.log_file_key(
        "2026-11-23T03:40:00Z".parse().unwrap(),
        "\u{1b}]0;x\u{7}\u{202e}",
    );
    digests.put(&key, Vec::new());
    let folder = folder_with(&digests);
    for format in ["text", "json"] {
        let output = run_cli(
            &[
                "audit",
                "copy",
                "--public-keys",
                "keys.json",
                "--to",
                TO,
                "--format",
                format,
            ],
            folder.path(),
        );
        let (_, stdout, _) = decode_output(&output);
        assert!(stdout.contains("log-file-unlisted"), "{stdout}");
        assert!(
            !stdout.contains(['\u{1b}', '\u{7}', '\u{202e}']),
            "{stdout:?}"
        );
    }
}
