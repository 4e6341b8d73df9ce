//! `audit`, with the real program: of a bucket, and of a folder that is a copy of one.

mod chains;
mod tampering;
mod usage;

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

use cloudhsm_alerts_test_support::{
    digests::{Digests, SigningKey, Trail, public_key_server},
    fixtures::{BUCKET, REGION},
    moto::Moto,
    process::{decode_output, program, run_cli},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const BEGIN: &str = "2026-11-23T00:00:00Z";
/// The end of six hours.
const TO: &str = "2026-11-23T06:00:00Z";

/// Exit code and JSON of an audit.
type Audited = (Option<i32>, Value);

/// The chain of a test: six hours with two log files each.
fn sound(prefix: &str) -> Digests {
    Digests::six_hours(Trail {
        prefix: prefix.to_owned(),
        ..Trail::default()
    })
}

/// A bucket, and the public keys in CloudTrail's API.
struct Bucket {
    aws: Moto,
    cloudtrail: String,
}

impl Bucket {
    fn start() -> Bucket {
        Bucket::with_keys(|_| Some(SigningKey::first().listed()))
    }

    /// A bucket with the public key of each region, if it does not refuse.
    fn with_keys(key: impl Fn(&str) -> Option<Value> + Clone + Send + 'static) -> Bucket {
        Bucket {
            aws: Moto::start(),
            cloudtrail: public_key_server(move |region| {
                Some(json!({ "PublicKeyList": [key(region)?] }))
            }),
        }
    }

    /// The program with the endpoints of this bucket.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("AWS_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("AWS_MAX_ATTEMPTS", "1")
            .env("AWS_ENDPOINT_URL_S3", &self.aws.endpoint)
            .env("AWS_ENDPOINT_URL_CLOUDTRAIL", &self.cloudtrail);
        command
    }

    fn run(&self, prefix: &str, to: &str, more: &[&str]) -> Output {
        let place = format!("s3://{BUCKET}/{prefix}");
        let mut command = self.command(program("cloudhsm-alerts"));
        let command = command.args(["audit", &place, "--to", to]).args(more);
        command.output().expect("the program starts")
    }

    fn audit(&self, prefix: &str, to: &str, more: &[&str]) -> Audited {
        json_of(&self.run(prefix, to, &[more, &["--format", "json"]].concat()))
    }
}

/// A folder with the objects of a chain below `copy`, and the public keys in `keys.json`.
struct Folder(TempDir);

impl Folder {
    fn of(digests: &Digests) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        digests.write_to(&folder.path().join("copy"));
        let keys = digests.public_keys().to_string();
        fs::write(folder.path().join("keys.json"), keys).unwrap();
        Folder(folder)
    }

    fn run(&self, more: &[&str]) -> Output {
        let audit = ["audit", "copy", "--public-keys", "keys.json", "--to", TO];
        run_cli(&[&audit, more].concat(), self.0.path())
    }

    fn audit(&self, more: &[&str]) -> Audited {
        json_of(&self.run(&[more, &["--format", "json"]].concat()))
    }
}

fn json_of(output: &Output) -> Audited {
    let (code, stdout, stderr) = decode_output(output);
    let value =
        serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"));
    (code, value)
}

/// The codes of all findings with their numbers, such as `digest-missing 1, log-file-unlisted 2`.
fn codes(result: &Value) -> String {
    let mut sums: BTreeMap<&String, u64> = BTreeMap::new();
    for chain in result["chains"].as_array().unwrap() {
        for (code, count) in chain["finding_counts"].as_object().unwrap() {
            *sums.entry(code).or_default() += count.as_u64().unwrap();
        }
    }
    let sums = sums.iter().map(|(code, sum)| format!("{code} {sum}"));
    sums.collect::<Vec<_>>().join(", ")
}
