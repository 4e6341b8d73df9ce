//! Every kind of tampering, in a bucket and in a copy of it, and what the AWS CLI says.

use std::{ops::Range, process::Stdio};

use cloudhsm_alerts_test_support::{
    digests::Digests,
    fixtures::{BUCKET, REGION},
    process::{decode_output, tool},
    tampering::{
        Tampering, append, cut, foreign_key, forge, hour_before, not_json, remove_metadata,
        replace, sign_anew, uncompress, unlist,
    },
};

use crate::{BEGIN, Bucket, Folder, TO, codes, sound};

/// What is changed: the digest file or a log file of the third hour, or the newest digest file.
enum Target {
    Digest,
    LogFile,
    Newest,
}
use Target::{Digest, LogFile, Newest};

/// A change to a sound chain, and what is found.
struct Case {
    name: &'static str,
    target: Target,
    change: Tampering,
    /// Exit code, and the codes of findings with their numbers.
    in_s3: (i32, &'static str),
    /// The same for a folder, where there is no metadata.
    in_folder: (i32, &'static str),
    /// Digest files of a folder that no other one names, so that nothing proves them.
    unsigned: usize,
    /// What the AWS CLI's exit code is, where it is right. `None`: it is not.
    aws: Option<i32>,
}

const fn case(
    name: &'static str,
    target: Target,
    change: Tampering,
    exit: i32,
    codes: &'static str,
) -> Case {
    Case {
        name,
        target,
        change,
        in_s3: (exit, codes),
        in_folder: (exit, codes),
        unsigned: 1,
        aws: None,
    }
}

impl Case {
    const fn aws(mut self, exit: i32) -> Case {
        self.aws = Some(exit);
        self
    }

    const fn folder(mut self, exit: i32, codes: &'static str) -> Case {
        self.in_folder = (exit, codes);
        self
    }

    const fn unsigned(mut self, count: usize) -> Case {
        self.unsigned = count;
        self
    }

    fn digests(&self, prefix: &str) -> Digests {
        let mut digests = sound(prefix);
        let key = match self.target {
            Digest => digests.digest(2),
            LogFile => digests.log_file(2, 1),
            Newest => digests.digest(5),
        };
        (self.change)(&mut digests, &key);
        digests
    }

    fn codes_in_folder(&self) -> String {
        let unsigned = format!("digest-newest-unsigned {}", self.unsigned);
        let mut codes: Vec<&str> = self.in_folder.1.split(", ").collect();
        if self.unsigned > 0 {
            codes.push(&unsigned);
        }
        codes.retain(|code| !code.is_empty());
        codes.sort_unstable();
        codes.join(", ")
    }
}

/// A log file of another hour that no digest file lists.
fn slip_in(digests: &mut Digests, key: &str) {
    replace(digests, &key.replace("T0215Z", "T0340Z"));
}

/// What CloudTrail never does: an authentic digest file without a member, or with another value.
fn remove_member(digests: &mut Digests, key: &str) {
    let mut document = digests.document(key);
    document.as_object_mut().unwrap().remove("digestStartTime");
    digests.sign(key, &document);
}

fn sign_with(digests: &mut Digests, key: &str, member: &str, value: &str) {
    let mut document = digests.document(key);
    document[member] = value.into();
    digests.sign(key, &document);
}

fn rename(digests: &mut Digests, key: &str) {
    digests.put(&key.replace("_2026", "_\u{1b}[2J_2026"), b"{}".to_vec());
}

fn remove_digests(digests: &mut Digests, hours: Range<usize>) {
    for hour in hours {
        digests.remove(&digests.digest(hour));
    }
}

/// Hours with one log file each, a stop of so many hours, and two hours more.
fn stop(digests: &mut Digests, hours: usize, stopped: i64) {
    *digests = Digests::starting(digests.trail.clone(), BEGIN);
    (0..hours).for_each(|_| digests.hour(1));
    digests.stop(stopped);
    (0..2).for_each(|_| digests.hour(1));
}

/// The digest file before a stop is deleted.
fn hide_by_stop(digests: &mut Digests, _: &str) {
    stop(digests, 3, 1);
    remove_digests(digests, 2..3);
}

// A line a case, with what is expected beside it.
#[rustfmt::skip]
const CASES: &[Case] = &[
    case("well", LogFile, |_, _| {}, 0, "").aws(0),
    case("log-altered", LogFile, replace, 1, "log-file-altered 1").aws(1),
    case("log-deleted", LogFile, Digests::remove, 1, "log-file-missing 1").aws(1),
    case("log-appended", LogFile, append, 1, "log-file-appended 1").aws(1),
    case("log-uncompressed", LogFile, uncompress, 0, "log-file-uncompressed 1"),
    case("log-cut", LogFile, cut, 1, "log-file-truncated 1"),
    case("log-slipped-in", LogFile, slip_in, 1, "log-file-unlisted 1"),
    case("digest-altered", Digest, unlist, 1, "digest-altered 1").aws(1),
    // What the unreadable ones name is not known, so the one before is named by none.
    case("digest-not-json", Digest, not_json, 1, "digest-altered 1").unsigned(2).aws(1),
    case("digest-member-missing", Digest, remove_member, 1, "digest-altered 1").unsigned(2),
    case("digest-appended", Digest, append, 1, "digest-altered 1").unsigned(2),
    case("digest-cut", Digest, cut, 1, "digest-truncated 1").unsigned(2),
    case("digest-uncompressed", Digest, uncompress, 0, "digest-uncompressed 1"),
    case("digest-without-metadata", Digest, remove_metadata, 1, "digest-unsigned 1").folder(0, "").aws(1),
    case("digest-foreign-key", Digest, foreign_key, 1, "digest-foreign-key 1").folder(1, "digest-not-verified 1, digest-replaced 1").aws(1),
    // In a folder it is the same content: only its signature was another one.
    case("digest-forged", Digest, forge, 1, "digest-altered 1").folder(0, "").aws(1),
    case("digest-unknown-algorithm", Newest, |d, key| sign_with(d, key, "digestSignatureAlgorithm", "SHA512withRSA"), 1, "digest-altered 1"),
    // The signature is that of the one that was there: the next one has it.
    case("digest-of-another-hour", Digest, hour_before, 1, "digest-misplaced 1").folder(1, "digest-altered 1, digest-misplaced 1").unsigned(2),
    case("digest-signed-anew", Digest, sign_anew, 1, "digest-replaced 1").folder(1, "digest-altered 1"),
    case("previous-hash-wrong", Newest, |d, key| sign_with(d, key, "previousDigestHashValue", &"00".repeat(32)), 1, "digest-replaced 1"),
    // The one before is named by none that is there.
    case("one-digest-deleted", Digest, Digests::remove, 1, "digest-missing 1, log-file-unlisted 2").unsigned(2).aws(1),
    case("starting-digest-deleted", Digest, |d, _| remove_digests(d, 0..1), 1, "digest-missing 1, log-file-unlisted 2").aws(1),
    case("two-digests-deleted", Digest, |d, _| remove_digests(d, 2..4), 1, "digest-missing 1, log-file-unlisted 4").unsigned(2).aws(1),
    case("newest-two-deleted", Digest, |d, _| remove_digests(d, 4..6), 1, "digest-silent 1, log-file-unlisted 4"),
    case("all-deleted", Digest, |d, _| remove_digests(d, 0..6), 2, "").unsigned(0),
    // Nothing names the last one before the stop.
    case("stopped", Digest, |d, _| stop(d, 2, 2), 0, "logging-stopped 1").unsigned(2).aws(0),
    case("hidden-by-stop", Digest, hide_by_stop, 1, "log-file-unlisted 1, logging-stopped 1").unsigned(2),
    case("digest-with-another-name", Digest, rename, 0, "unknown-name 1"),
];

#[test]
fn every_kind_of_tampering_in_a_bucket_and_in_a_folder() {
    let bucket = Bucket::start();
    for case in CASES {
        let name = case.name;
        bucket
            .aws
            .put_objects(&case.digests(&format!("{name}/")).objects);
        let (code, result) = bucket.audit(name, TO, &[]);
        let expected = (Some(case.in_s3.0), case.in_s3.1.to_owned());
        assert_eq!((code, codes(&result)), expected, "{name}: {result:#}");

        // Without metadata, what a signature shows is shown by the next digest file.
        let folder = Folder::of(&case.digests(""));
        let (code, result) = folder.audit(&["--as", &format!("s3://{BUCKET}")]);
        let expected = (Some(case.in_folder.0), case.codes_in_folder());
        assert_eq!((code, codes(&result)), expected, "{name}: {result:#}");
        if name == "newest-two-deleted" {
            let proved = &result["chains"][0]["proved"][0];
            assert_eq!(proved["to"], "2026-11-23T03:00:00Z");
        }
    }
    // All at once: each prefix is a chain of its own.
    let (code, result) = bucket.audit("", TO, &[]);
    assert_eq!(code, Some(1));
    assert_eq!(result["chains"].as_array().unwrap().len(), CASES.len() - 1);
    assert_eq!(result["without_digests"].as_array().unwrap().len(), 1);

    // The whole of one result, as text.
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
    let summary = "WRONG: 1 chain: 0 proved; 1 with something wrong\n".to_owned();
    let output = bucket.run("two-digests-deleted", TO, &[]);
    assert_eq!(decode_output(&output), (Some(1), expected, summary));
}

/// The AWS CLI's own validator, wherever it is right. It lists by prefix, and does not see what is not there.
#[test]
fn the_aws_cli_agrees_where_it_is_right() {
    let bucket = Bucket::start();
    let cases = CASES.iter().filter_map(|case| Some((case, case.aws?)));
    let running: Vec<_> = cases
        .map(|(case, expected)| {
            bucket
                .aws
                .put_objects(&case.digests(&format!("{}/", case.name)).objects);
            let trail = "arn:aws:cloudtrail:us-west-2:111122223333:trail/cloudhsm-alerts";
            let validator = bucket
                .command(tool("awscli/bin/aws"))
                .args([
                    "cloudtrail",
                    "validate-logs",
                    "--verbose",
                    "--region",
                    REGION,
                ])
                .args([
                    "--trail-arn",
                    trail,
                    "--s3-bucket",
                    BUCKET,
                    "--s3-prefix",
                    case.name,
                ])
                .args(["--start-time", BEGIN, "--end-time", TO])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the AWS CLI starts");
            (case, expected, validator)
        })
        .collect();
    for (case, expected, validator) in running {
        let name = case.name;
        let output = validator.wait_with_output().expect("it ends");
        let (code, stdout, stderr) = decode_output(&output);
        assert_eq!(code, Some(expected), "{name}: {stdout}{stderr}");
        assert_eq!(code, Some(case.in_s3.0), "{name}");
        // It has read the chain: all that is left of six digest files, or of four.
        assert!(stdout.contains("digest files valid"), "{name}: {stdout}");
    }
}
