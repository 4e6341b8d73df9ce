//! Several chains, copies of them, keys in another form, and stops with a call that explains them.

use std::fs;

use cloudhsm_alerts_test_support::{
    digests::{Digests, SigningKey, Trail, listed},
    process::{decode_output, run_cli},
};
use serde_json::{Value, json};

use crate::{BEGIN, Bucket, Folder, TO, codes, sound};

#[test]
fn a_folder_is_a_copy_of_the_bucket_that_as_names() {
    let folder = Folder::of(&sound("logs/"));
    // Without --as, one notice says what it is a copy of.
    let (code, result) = folder.audit(&[]);
    assert_eq!(code, Some(0));
    assert_eq!(codes(&result), "copied 1, digest-newest-unsigned 1");
    // A part of the folder.
    let period = [
        "--from",
        "2026-11-23T01:00:00Z",
        "--to",
        "2026-11-23T03:00:00Z",
    ];
    let part = "copy/logs/AWSLogs/111122223333";
    let audit = ["audit", part, "--public-keys", "keys.json"];
    let output = run_cli(&[&audit[..], &period].concat(), folder.0.path());
    let (code, stdout, stderr) = decode_output(&output);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(
        stdout.starts_with("PROVED  account 111122223333, us-west-2, trail cloudhsm-alerts\n  proved      2026-11-23T01:00Z to 2026-11-23T02:00Z\n"),
        "{stdout}"
    );
}

#[test]
fn several_accounts_regions_and_trails_in_one_run() {
    // A region that refuses to list its public keys.
    let bucket =
        Bucket::with_keys(|region| (region != "ap-south-1").then(|| SigningKey::first().listed()));
    let mut expected = Vec::new();
    for (account, region, organization, name, verdict) in [
        ("111122223333", "us-west-2", "", "one", "proved"),
        ("111122223333", "us-west-2", "", "two_a", "proved"),
        ("111122223333", "eu-central-1", "", "one", "proved"),
        (
            "444455556666",
            "us-west-2",
            "o-a1b2c3d4e5/",
            "org",
            "proved",
        ),
        (
            "444455556666",
            "ap-south-1",
            "o-a1b2c3d4e5/",
            "org",
            "not_proved",
        ),
    ] {
        let digests = Digests::six_hours(Trail {
            account: account.into(),
            region: region.into(),
            organization: organization.into(),
            name: name.into(),
            ..Trail::default()
        });
        bucket.aws.put_objects(&digests.objects);
        expected.push([account, region, name, verdict].map(Value::from));
    }
    let (code, result) = bucket.audit("", TO, &[]);
    let chains = result["chains"].as_array().unwrap().iter();
    let members = ["account", "region", "trail", "verdict"];
    let mut found: Vec<_> = chains
        .map(|chain| members.map(|member| chain[member].clone()))
        .collect();
    found.sort_by_key(|chain| format!("{chain:?}"));
    expected.sort_by_key(|chain| format!("{chain:?}"));
    assert_eq!((code, &found), (Some(1), &expected), "{result:#}");
    assert_eq!(codes(&result), "digest-not-verified 6");

    // What is asked for.
    let only = ["--region", "us-west-2", "--account", "111122223333"];
    let (code, result) = bucket.audit("", TO, &only);
    let count = result["chains"].as_array().unwrap().len();
    assert_eq!((code, count), (Some(0), 2));
    // A period without digest files, long after.
    let later = ["--from", "2026-11-26", "--region", "eu-central-1"];
    let (code, result) = bucket.audit("", "2026-11-26", &later);
    assert_eq!((code, codes(&result)), (Some(1), "digest-silent 1".into()));
}

/// A copy of a bucket says so once.
#[test]
fn a_copied_bucket_is_one_notice() {
    let bucket = Bucket::start();
    let digests = Digests::six_hours(Trail {
        bucket: "original".into(),
        ..Trail::default()
    });
    let moved = digests.objects.into_iter();
    let moved = moved.map(|(key, object)| (format!("backup/{key}"), object));
    bucket.aws.put_objects(&moved.collect());
    let (code, result) = bucket.audit("backup/", TO, &[]);
    assert_eq!((code, codes(&result)), (Some(0), "copied 1".into()));
}

/// A key in a SubjectPublicKeyInfo, as one of AWS's samples has it; and an object of another bucket is read only for a
/// digest file that is authentic.
#[test]
fn another_form_of_key_and_another_bucket() {
    let key = listed(&SigningKey::first().subject_public_key_info());
    let fingerprint = key["Fingerprint"].clone();
    let bucket = Bucket::with_keys(move |_| Some(key.clone()));
    for (prefix, is_forged, expected) in [
        ("authentic", false, "log-file-missing 1"),
        ("forged", true, "digest-altered 1, log-file-not-checked 1"),
    ] {
        let trail = Trail {
            prefix: format!("{prefix}/"),
            ..Trail::default()
        };
        let mut digests = Digests::starting(trail, "2026-11-23T05:00:00Z");
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
        bucket.aws.put_objects(&digests.objects);
        let (code, result) = bucket.audit(prefix, TO, &[]);
        let expected = (Some(1), expected.to_owned());
        assert_eq!((code, codes(&result)), expected, "{prefix}: {result:#}");
    }
}

#[test]
fn who_stopped_the_trail() {
    let bucket = Bucket::start();
    let mut digests = Digests::starting(Trail::default(), BEGIN);
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
    bucket.aws.put_objects(&digests.objects);
    let (code, result) = bucket.audit("", "2026-11-23T05:00:00Z", &[]);
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
    let folder = Folder::of(&digests);
    fs::create_dir(folder.0.path().join("copy").join(&key)).unwrap();
    let (code, result) = folder.audit(&[]);
    assert_eq!(code, Some(1));
    assert_eq!(result["verdict"], "not_proved");
    assert_eq!(result["chains"][0]["log_files"]["not_checked"], 1);
    assert_eq!(result["chains"][0]["log_files"]["proved"], 9);
}
